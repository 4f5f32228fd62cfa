"""Each call timed on its own: what pyperf does not tell, which times many together and keeps their mean.

A clock that is read before and after each call adds some 0.05 us to it, so the middle lies above that of the suites.
"""

from collections.abc import Iterator
from time import perf_counter

import numpy as np

from perf import catalogue
from perf.experiment import Effort, Experiment
from perf.lab import Lab
from perf.memory import no_collection
from perf.record import Benchmark, benchmark

CASES = (
    "reading.window[stored=1e8,window=10]",
    "reading.window[stored=1e8,window=1e8]",
    "reading.all_windows[stored=1e8]",
    "store.append[points=10]",
    "store.append[points=10,durability=interval]",
    "store.append[points=10,durability=sync]",
    "store.append[points=1e6]",
    "decode.batch[values=10]",
    "decode.batch[values=1e4]",
    "protocol.stats[exponent=5,server=ours]",
    "protocol.add_batch[values=10,server=ours]",
)
PERCENTILES = (50.0, 95.0, 99.0)
_MOST_CALLS = 50_000
_WARM_UP_CALLS = 20


def label(case: str, p: float) -> str:
    """Return the name of the benchmark that has a percentile of the calls of a case."""
    return f"calls.p{p:g}[{case}]"


def _take(lab: Lab, case: str, seconds: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    with catalogue.find(case).prepare(lab) as run, no_collection():
        for _ in range(_WARM_UP_CALLS):
            run(1)
        taken: list[float] = []
        end = perf_counter() + seconds
        while len(taken) < _MOST_CALLS and perf_counter() < end:
            taken.append(run(1))
    return np.array(taken)


def _measure(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    for case in CASES:
        yield from _percentiles(lab, effort, case)


def _percentiles(lab: Lab, effort: Effort, case: str) -> Iterator[Benchmark]:
    rounds = [_take(lab, case, effort.seconds / 4) for _ in range(effort.rounds)]
    together = np.concatenate(rounds)
    metadata: dict[str, str | int | float] = {**catalogue.find(case).metadata, "calls": len(together)}
    for p in PERCENTILES:
        value = float(np.percentile(together, p, method="higher"))
        yield benchmark(label(case, p), [[value]], metadata=metadata)


EXPERIMENTS = (Experiment("calls.", _measure, setup_s=15.0, round_s=5.0, loads=3),)
