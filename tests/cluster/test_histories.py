"""Whatever fails, replicas hold the same points: histories from their seeds."""

import pytest

from tests.cluster.histories import History

KEPT = (
    146,  # a record that was dropped came first, and the copy of the block that was given up too early counted
)


@pytest.mark.parametrize("seed", [*range(24), *KEPT])
def test_any_order_of_late_repeated_and_stale_blocks_gives_one_state(seed: int) -> None:
    """Any order of late repeated and stale blocks gives one state."""
    History(seed).run()
