"""The disk space of a series is taken when its symbol is created, and kept."""

from pathlib import Path

from hft_mmap import Limits, Store

POINTS = 100_000


def test_the_starting_capacity_stays_allocated_when_the_first_batch_comes(tmp_path: Path) -> None:
    """The first append does not give back what the creation of the symbol has allocated."""
    with Store(tmp_path, limits=Limits(starting_capacity=POINTS)) as store:
        store.append("ABC-USD", [150.1])
        assert store.symbols()[0].bytes >= 8 * POINTS
