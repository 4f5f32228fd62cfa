"""Processes killed at random moments lose nothing that was acknowledged, in any tier."""

import pytest

from hft_mmap import Durability
from tests.torture.counts import Counts, Kind
from tests.torture.kills import library_life, service_life
from tests.torture.nursery import Nursery


@pytest.mark.parametrize(("durability", "seed"), [("process", 1), ("interval", 2), ("sync", 3)])
def test_a_killed_process_loses_no_acknowledged_batch(
    nursery: Nursery, counts: Counts, durability: str, seed: int
) -> None:
    """Killed a dozen times over one directory, the store holds whole batches, all that were acknowledged."""
    library_life(nursery, seed, Durability(durability), 12, counts)
    assert (counts.of(Kind.KILLS), counts.texts) == (12, [])


@pytest.mark.parametrize(("durability", "seed"), [("process", 1), ("interval", 2), ("sync", 3)])
def test_a_killed_service_loses_no_answered_batch(nursery: Nursery, counts: Counts, durability: str, seed: int) -> None:
    """What a POST was answered for with 200 is there after kill -9 of the service, and it starts again by itself."""
    service_life(nursery, seed, Durability(durability), 3, counts)
    assert (counts.of(Kind.SERVICE_KILLS), counts.texts) == (3, [])
