"""The running checksum: what was never written, and what has one bit changed everywhere, has another one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hft_mmap.tree.checksum import checksum as running

SEEDS = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 300).tolist()


def checksum(values: NDArray[np.generic], seed: int) -> int:
    """Return the checksum of the bits of `values`, as of the second chunk of 64 points."""
    return int(running(values.ctypes.data, len(values), 64, seed)[0])


@pytest.mark.parametrize("n", [1, 64, 512])
def test_a_page_of_one_number_is_told_from_one_that_was_never_written(n: int) -> None:
    """Whichever bit it has set: keys in even steps gave both the same sum for one seed in seven."""
    columns = [np.full(n, 1 << bit, dtype=np.uint64) for bit in range(64)]
    for seed in SEEDS:
        zeros = checksum(np.zeros(n), seed)
        assert all(checksum(column, seed) != zeros for column in columns)


@pytest.mark.parametrize(("was", "became"), [(2.0, 0.0), (1.0, -1.0), (1.0, 2.0), (100.0, 101.0)])
def test_a_page_of_prices_or_sizes_is_told_from_one_of_others(was: float, became: float) -> None:
    """With the sign of all turned, or another bit."""
    for seed in SEEDS:
        assert checksum(np.full(64, was), seed) != checksum(np.full(64, became), seed)


def test_checksums_of_runs_that_follow_each_other_add_up() -> None:
    """So an append needs what it appends, and nothing else."""
    times = np.arange(1_767_225_600_000_000_000, 1_767_225_600_000_000_100)
    halves = [int(running(times[at:].ctypes.data, 50, at, 7)[0]) for at in (0, 50)]
    whole = int(running(times.ctypes.data, 100, 0, 7)[0])
    assert (sum(halves) - whole) % 2**64 == 0
