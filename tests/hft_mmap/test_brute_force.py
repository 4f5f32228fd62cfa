"""Every statistic by its name, of random windows by time and by count, against exact arithmetic; a quick share.

`make brute-force` takes all of them: 120,000 windows, of points with groups and without.
"""

import math
from collections.abc import Iterator
from decimal import localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hft_mmap import STATISTICS, Columns, Limits, Store
from tests.hft_mmap.exact_windows import KINDS, ExactSeries, check_empty

Indexes = NDArray[np.int64]
START_NS = 1_767_225_600 * 10**9
WINDOWS_A_CALL = 250
ALONE = 50
"""Of so many windows one is asked for alone as well."""


def lengths(rng: np.random.Generator, n: int, most: int) -> Indexes:
    """Return `n` lengths of 1 to `most`, as many of each order of magnitude."""
    return np.exp(rng.uniform(0, math.log(most + 1), n)).astype(np.int64).clip(1, most)


def rows(columns: Columns) -> Iterator[dict[str, Any]]:
    """Yield each row, None where a statistic is undefined."""
    listed = [[None if math.isnan(value) else value for value in column.tolist()] for column in columns.values()]
    for row in zip(*listed, strict=True):
        yield dict(zip(columns, row, strict=True))


class Asked:
    """A series, and exactly what is in it."""

    def __init__(self, store: Store, kind: str, points: int, seed: int) -> None:
        """Fill it: ticks of which some have one time, and some a size of 0."""
        self.rng = np.random.default_rng(seed)
        prices = np.asarray(KINDS[kind](self.rng, points), dtype=np.float64)
        waits = np.where(self.rng.random(points) < 0.1, 0, self.rng.exponential(3e8, points)).astype(np.int64)
        sizes = np.round(self.rng.normal(0, 40, points), 2) + 0.0
        self.exact = ExactSeries(prices, START_NS + np.cumsum(waits), sizes)
        store.append("A", prices, times=self.exact.times, sizes=sizes)
        self.series, self.points = store.series("A"), points
        self.windows = 0

    def check(self, columns: Columns, starts: Indexes, ends: Indexes) -> None:
        """Hold every row against exact arithmetic; where the windows lie is told beside it."""
        assert columns["start"].tolist() == starts.tolist()
        assert columns["end"].tolist() == ends.tolist()
        for row in rows(columns):
            begin, end = row.pop("start"), row.pop("end")
            if begin == end:
                check_empty(row)
            else:
                self.exact.check(begin, end, row)
            if end > begin and self.windows % ALONE == 0:
                assert self.series.statistics(STATISTICS, start=begin, end=end) == row
            self.windows += 1

    def by_count(self, n: int) -> None:
        """Ask for ranges of indexes, and for windows that end with a point."""
        longs = lengths(self.rng, n, self.points)
        ends = self.rng.integers(longs, self.points + 1)
        self.check(self.series.stats_many(ends - longs, ends, STATISTICS), ends - longs, ends)
        window, last = int(longs[0]), int(ends[0]) - 1
        self.exact.check(last + 1 - window, last + 1, self.series.statistics(STATISTICS, window=window, at=last))
        self.exact.check(self.points - window, self.points, self.series.statistics(STATISTICS, window=window))

    def by_time(self, n: int) -> None:
        """Ask for the points between two times, and around one, some of which are none."""
        times, rng = self.exact.times, self.rng
        begins = rng.integers(times[0] - 10**9, times[-1] + 1, n)
        until = begins + lengths(rng, n, int(times[-1] - times[0]))
        found = self.series.stats_between(begins, until, STATISTICS)
        self.check(found, np.searchsorted(times, begins), np.searchsorted(times, until))
        before, after = (int(one) for one in lengths(rng, 2, int(times[-1] - times[0])))
        places = rng.integers(times[0], times[-1] + 1, n // 10)
        found = self.series.stats_around(places, before=f"{before}ns", after=f"{after}ns", stats=STATISTICS)
        self.check(found, np.searchsorted(times, places - before), np.searchsorted(times, places + after, "right"))
        newest = int(np.searchsorted(times, times[-1] - before, "right"))
        self.exact.check(newest, self.points, self.series.statistics(STATISTICS, window=f"{before}ns"))


def brute_force(path: Path, kind: str, *, points: int, windows: int, groups: bool, seed: int) -> None:
    """Ask for so many windows at least, half by count and half by time, and hold each against exact arithmetic."""
    limits = Limits(chunk_points=4096, starting_capacity=0, negative_prices=True)
    with localcontext(), Store(path, limits=limits, durability="process") as store:
        asked = Asked(store, kind, points, seed)
        if groups:
            store.summarise("A")
        while asked.windows < windows:
            asked.by_count(WINDOWS_A_CALL)
            asked.by_time(WINDOWS_A_CALL)


@pytest.mark.parametrize("groups", [0, 1], ids=["points", "groups"])
@pytest.mark.parametrize("kind", KINDS)
def test_five_hundred_windows_are_exact(memory_path: Path, kind: str, groups: int) -> None:
    """Every statistic that has a name, within the error that the documents give."""
    brute_force(memory_path, kind, points=5_000, windows=500, groups=bool(groups), seed=16 + groups)


@pytest.mark.brute_force
@pytest.mark.parametrize("groups", [0, 1], ids=["points", "groups"])
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_windows_are_exact(memory_path: Path, kind: str, groups: int) -> None:
    """Of each kind, so 120,000 in all, of up to 200,000 points each."""
    brute_force(memory_path, kind, points=200_000, windows=10_000, groups=bool(groups), seed=61 + groups)
