"""The same answers as one would get them first, to show what each idea is worth; see perf.baselines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle

from hft_mmap import STANDARD_WINDOWS, Store
from perf.baselines.rescan import rescan
from perf.baselines.tree import SegmentTree
from perf.case import Case, Prepare, TimeFunction, Work, name, simple, timed
from perf.lab import ROOMY, SYMBOL, Lab
from perf.prices import random_walk

TREE_POINTS = 100_000  # a Python tuple a node: 1e8 points would take 40 GB


def _rescan(stored: int, window: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with Store(lab.stored(stored), mode="r", limits=ROOMY) as store:
            values = store.window(SYMBOL, stored)
            yield timed(lambda: rescan(values, window))

    return prepare


def _tree_append(points: int) -> Prepare:
    def build() -> Callable[[], object]:
        batches = cycle([random_walk(points, seed).tolist() for seed in range(4)])
        tree = SegmentTree()
        return lambda: tree.append(next(batches))

    return simple(build)


def _tree_window(window: int) -> Prepare:
    def build() -> Callable[[], object]:
        tree = SegmentTree()
        tree.append(random_walk(TREE_POINTS).tolist())
        return lambda: tree.stats(window)

    return simple(build)


def cases() -> list[Case]:
    """Return the cases of this suite."""
    found = [
        Case(name("naive", "rescan", stored=10**8, window=window), _rescan(10**8, window), Work(1, "windows"),
             slow_s=window / 2e8)
        for window in STANDARD_WINDOWS
    ]  # fmt: skip
    found += [Case(name("naive", "tree_append", points=10), _tree_append(10), Work(10, "points"))]
    found += [
        Case(name("naive", "tree_window", stored=TREE_POINTS, window=window), _tree_window(window), Work(1, "windows"))
        for window in STANDARD_WINDOWS[:5]
    ]
    return found
