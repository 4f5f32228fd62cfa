"""Growth from nothing to 1e8 points in batches of 10,000, cleanup included: every append timed on its own."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from time import perf_counter

import numpy as np

from hft_mmap import Durability, Limits, Store
from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.lab import SYMBOL, Lab
from perf.memory import no_collection, touch
from perf.prices import price_blocks
from perf.record import Benchmark, benchmark

BATCH = 10_000
POINTS = 100_000_000
# The retention is passed once on the way, at 75 million points: 25 million are removed.
LIMITS = Limits(max_data_retention=75_000_000, cleanup_keep_count=50_000_000)
PERCENTILES = (50.0, 99.0, 99.9)
_WARM_BYTES = 1_000_000_000


def _grow(lab: Lab, durability: Durability) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the seconds of each append."""
    batches = cycle([block[i : i + BATCH] for block in islice(price_blocks(), 4) for i in range(0, len(block), BATCH)])
    seconds = np.empty(POINTS // BATCH)
    touch(_WARM_BYTES)
    with (
        lab.scratch() as scratch,
        Store(scratch / "data", limits=LIMITS, durability=durability) as store,
        no_collection(),
    ):
        for i in range(len(seconds)):
            batch = next(batches)
            begin = perf_counter()
            store.append(SYMBOL, batch)
            seconds[i] = perf_counter() - begin
        series = store.series(SYMBOL)
        assert series.total == POINTS
        assert series.start > 0
    return seconds


def _write_bare(lab: Lab) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the seconds that each write of the same batches takes, to one file and with nothing else done."""
    content = next(price_blocks())[:BATCH].tobytes()
    seconds = np.empty(POINTS // BATCH)
    touch(_WARM_BYTES)
    with lab.scratch() as scratch, (scratch / "bytes").open("wb", buffering=0) as file, no_collection():
        for i in range(len(seconds)):
            begin = perf_counter()
            file.write(content)
            seconds[i] = perf_counter() - begin
    return seconds


def _measure_bare(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    worst = [[float(_write_bare(lab).max())] for _ in range(max(effort.rounds // 2, 1))]
    yield benchmark(name("growth", "bare_file", p="worst"), worst, work=Work(BATCH, "points"))


def _measure(lab: Lab, effort: Effort, durability: Durability) -> Iterator[Benchmark]:
    def named(**params: object) -> str:
        return name("growth", "append", durability=durability, **params)

    taken = [_grow(lab, durability) for _ in range(max(effort.rounds // 2, 1))]
    metadata = {"durability": durability.value, "batch": BATCH, "points": POINTS}

    def made(label: str, value: Callable[[np.ndarray[tuple[int], np.dtype[np.float64]]], float]) -> Benchmark:
        work = Work(BATCH, "points")
        return benchmark(named(p=label), [[value(one)] for one in taken], work=work, metadata=metadata)

    yield made("mean", lambda one: float(one.mean()))
    for p in PERCENTILES:
        yield made(f"{p:g}", lambda one, p=p: float(np.percentile(one, p)))  # type: ignore[misc]
    yield made("worst", lambda one: float(one.max()))


EXPERIMENTS = (
    *(
        Experiment(f"growth.append[durability={tier}", partial(_measure, durability=tier), tier, round_s=3.0)
        for tier in (Durability.PROCESS, Durability.INTERVAL)
    ),
    Experiment("growth.bare_file", _measure_bare, "page cache only", round_s=1.0),
)
