"""Whatever fails, replicas hold the same points: histories from their seeds."""

import pytest

from tests.cluster.histories import History
from tests.cluster.moves import MoveHistory

KEPT = (
    240,  # a record that was dropped came first, and the copy of the block that was given up too early counted
)


@pytest.mark.parametrize("seed", [*range(24), *KEPT])
def test_any_order_of_late_repeated_and_stale_blocks_gives_one_state(seed: int) -> None:
    """Any order of late repeated and stale blocks gives one state."""
    History(seed).run()


KEPT_MOVES = (
    205,  # the other replica had not read what was written before the seal: where it ends the symbol is no end
)


@pytest.mark.parametrize("seed", [*range(24), *KEPT_MOVES])
def test_a_symbol_that_moves_is_in_one_shard_whole(seed: int) -> None:
    """Whatever is lost, late, repeated, killed and begun again meanwhile."""
    MoveHistory(seed).run()
