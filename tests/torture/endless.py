"""A stream of batches without an end, for a soak: which points a series must hold is a function of its total alone."""

from array import array
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from hft_mmap import Limits, Series, Store, WindowStats
from hft_mmap.stats import STANDARD_WINDOWS
from hft_mmap.testing import assert_close
from tests.torture.stream import Fault, exact_stats, prices

SYMBOLS = ("ABC-USD", "日本/円")
LIMITS = Limits(
    max_data_retention=3000, cleanup_keep_count=500, max_symbols=len(SYMBOLS), starting_capacity=0, chunk_points=320
)
"""A cleanup every twenty batches or so, and a new chunk every three."""
_SIZES = np.random.default_rng(4).integers(1, 250, 1009).tolist()
"""The sizes of the batches, again and again; a prime number of them."""


class Endless:
    """The batches of one symbol, as far as they were needed. Batch k is the points [bounds[k], bounds[k + 1])."""

    def __init__(self, which: int) -> None:
        """Begin with no batch."""
        self.symbol = SYMBOLS[which]
        self._salt = which + 1
        self._bounds = array("q", [0])
        self._starts = array("q", [0])

    def _reach(self, total: int) -> None:
        """Work out the batches up to `total`, by the rules of `Limits`."""
        bounds, starts = self._bounds, self._starts
        most, keep = LIMITS.max_data_retention, LIMITS.cleanup_keep_count
        while bounds[-1] <= total:
            n, end, start = _SIZES[(len(bounds) - 1) % len(_SIZES)], bounds[-1], starts[-1]
            starts.append(max(start, end - min(keep, most - n)) if end - start + n > most else start)
            bounds.append(end + n)

    def index(self, total: int) -> int:
        """Return how many batches make up `total`; Fault if that is not a whole number of batches."""
        self._reach(total)
        k = bisect_left(self._bounds, total)
        if self._bounds[k] != total:
            raise Fault(f"{self.symbol}: total {total} is not the end of a batch")
        return k

    def batch(self, total: int) -> tuple[NDArray[np.float64], int]:
        """Return the batch that follows on `total`, and the total after it."""
        end = self._bounds[self.index(total) + 1]
        return prices(self._salt, total, end).astype(np.float64), end

    def points(self, start: int, total: int) -> NDArray[np.int64]:
        """Return the points [start, total); Fault if no series that has `total` points can start there."""
        k = self.index(total)
        # The next append moves `start` before it moves `total`.
        if start not in self._starts[k : k + 2]:
            raise Fault(f"{self.symbol}: start is {start} at total {total}, not in {self._starts[k : k + 2]}")
        return prices(self._salt, start, total)

    def check_windows(self, start: int, total: int, found: tuple[WindowStats, ...]) -> None:
        """Check the statistics of the eight standard windows."""
        kept = self.points(start, total)
        for window, stats in zip(STANDARD_WINDOWS, found, strict=True):
            assert_close(stats, exact_stats(kept, window))

    def check_reads(self, series: Series, window: int) -> int:
        """Ask for points and statistics, and check them; return the total of which this is true at least.

        Points and the statistics of one window come without their total: they must be right for one that the series
        had between two looks at it.
        """
        before = series.bounds()[1]
        values, stats = series.window(10**9), series.stats(window)
        after = series.bounds()[1]
        first, last = self.index(before), self.index(after)
        totals = self._bounds[first : last + 1]
        if not any(self._is_window(values, total) for total in totals):
            raise Fault(f"{self.symbol}: {len(values)} points are those of no total from {before} to {after}")
        for total in totals:
            for start in self._starts[self.index(total) : self.index(total) + 2]:
                exact = exact_stats(prices(self._salt, start, total), window)
                if exact.points == stats.points and exact.last == stats.last:
                    assert_close(stats, exact)
                    return before
        raise Fault(f"{self.symbol}: {stats} are those of no total from {before} to {after}")

    def _is_window(self, values: NDArray[np.float64], total: int) -> bool:
        k = self.index(total)
        return total - len(values) in self._starts[k : k + 2] and np.array_equal(
            values, prices(self._salt, total - len(values), total)
        )

    def check_end(self, store: Store) -> int:
        """Check a series that nobody writes to any more, and return its total."""
        start, total, windows = store.series(self.symbol).windows_at()
        self.check_windows(start, total, windows)
        if not np.array_equal(store.window(self.symbol, 10**9), self.points(start, total)):
            raise Fault(f"{self.symbol}: the points {start} to {total - 1} are not those that were sent")
        return total
