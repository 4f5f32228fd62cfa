"""The lines of the plots: each query timed on its own, against the points stored and against the window.

Beside the store: one numpy pass over the window, and a binary tree in plain Python.
"""

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

import numpy as np

from hft_mmap import STANDARD_WINDOWS, Store
from perf.baselines.rescan import rescan
from perf.baselines.tree import SegmentTree
from perf.case import name
from perf.experiment import Effort, Experiment
from perf.lab import ROOMY, SYMBOL, Lab
from perf.memory import no_collection
from perf.prices import random_walk
from perf.record import Benchmark, benchmark

STORED = tuple(10**k for k in range(3, 9))
PERCENTILES = (50, 95)
TREE_POINTS = 100_000
_LEAST_CALLS, _MOST_CALLS = 5, 2_000
_EACH_S = 0.3


def label(what: str, stored: int, window: int, p: int) -> str:
    """Return the name of the benchmark that has a percentile of one point of a line."""
    return name("sweep", what, stored=stored, window=window, p=p)


def _percentiles(what: str, stored: int, window: int, ask: Callable[[], object]) -> Iterator[Benchmark]:
    """Time single calls for a moment; a remembered answer is none, for a window is folded at each call."""
    ask()
    taken: list[float] = []
    begin = perf_counter()
    while len(taken) < _LEAST_CALLS or (len(taken) < _MOST_CALLS and perf_counter() - begin < _EACH_S):
        start = perf_counter()
        ask()
        taken.append(perf_counter() - start)
    for p in PERCENTILES:
        value = float(np.percentile(taken, p, method="higher"))
        yield benchmark(label(what, stored, window, p), [[value]], metadata={"calls": len(taken)})


def _measure(lab: Lab, _effort: Effort) -> Iterator[Benchmark]:
    for stored in STORED:
        with Store(lab.stored(stored), mode="r", limits=ROOMY) as store, no_collection():
            series = store.series(SYMBOL)
            values = store.window(SYMBOL, stored)
            for window in STANDARD_WINDOWS if stored == STORED[-1] else (10, stored):
                yield from _percentiles("window", stored, window, partial(series.stats, window))
                yield from _percentiles("rescan", stored, window, partial(rescan, values, window))
            yield from _percentiles("all_windows", stored, stored, series.windows)
    tree = SegmentTree()
    tree.append(random_walk(TREE_POINTS).tolist())
    for window in STANDARD_WINDOWS[:5]:
        yield from _percentiles("tree", TREE_POINTS, window, partial(tree.stats, window))


EXPERIMENTS = (Experiment("sweep.", _measure, setup_s=25.0),)
