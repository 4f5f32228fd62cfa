"""A day of ticks with times and sizes: windows by time, candles of a minute, points as of many times, appends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle

import numpy as np

from api.app import create_app
from hft_mmap import Durability, Series, Store
from perf.case import Case, Prepare, TimeFunction, Work, name, timed
from perf.lab import DAY, ROOMY, SYMBOL, Lab
from perf.memory import no_collection, touch
from perf.prices import DAY_NS, OPEN_NS, random_walk
from perf.settings import settings
from perf.suites.http_app import scope, timing
from perf.suites.store import LIMITS, warm_bytes

STORED = (100_000, 10_000_000, 100_000_000)
GUARDED = STORED[0]
BATCHES = (10, 1_000_000)
_MINUTES = 1_440
_PLACES = 1_000
_STEPS = 1_000
_FURTHER = ("min", "max", "last", "avg", "var", "vwap", "rv", "drawdown", "skew")


@contextmanager
def _stored(lab: Lab, stored: int) -> Iterator[Store]:
    with Store(lab.stored(stored, DAY), mode="r", limits=ROOMY) as store:
        yield store


@contextmanager
def _asking(lab: Lab, stored: int, question: Callable[[Series], Callable[[], object]]) -> Iterator[TimeFunction]:
    with _stored(lab, stored) as store:
        yield timed(question(store.series(SYMBOL)))


def _window(series: Series) -> Callable[[], object]:
    """Ask for the five statistics of five minutes that end anywhere in the day."""
    ends = np.random.default_rng(2).integers(OPEN_NS + DAY_NS // 100, OPEN_NS + DAY_NS, _PLACES)
    places = cycle([f"{end}ns" for end in ends.tolist()])
    return lambda: series.statistics(("min", "max", "last", "avg", "var"), window="5m", at=next(places))


def _newest(series: Series) -> Callable[[], object]:
    return lambda: series.stats("5m")


def _further(series: Series) -> Callable[[], object]:
    """Ask for what the last five minutes were traded at, and what the path was."""
    return lambda: series.statistics(_FURTHER, window="5m")


def _asof(series: Series) -> Callable[[], object]:
    times = OPEN_NS + np.random.default_rng(3).integers(0, DAY_NS, _PLACES)
    return lambda: series.asof_many(times, "1m")


@contextmanager
def _candles(lab: Lab, stored: int) -> Iterator[TimeFunction]:
    """Ask for all candles of the day in one request, with volume and VWAP, the JSON of the answer included."""
    query = f"symbol={SYMBOL}&every=1m&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
    with (
        _stored(lab, stored) as store,
        timing(create_app(store, settings()), scope("GET", "/bars", query.encode()), [b""]) as run,
    ):
        yield run


@contextmanager
def _query_range(lab: Lab, stored: int) -> Iterator[TimeFunction]:
    """Ask as Grafana does for the mean of five minutes at a thousand steps over the day, the JSON included."""
    begin, step = OPEN_NS // 10**9, DAY_NS // 10**9 // _STEPS
    query = f"query=avg_over_time(price[5m])&start={begin + step}&end={begin + step * _STEPS}&step={step}"
    with (
        _stored(lab, stored) as store,
        timing(create_app(store, settings()), scope("GET", "/api/v1/query_range", query.encode()), [b""]) as run,
    ):
        yield run


def _append(points: int) -> Prepare:
    """Append ticks, each batch later than the one before; the arrays differ, as those of `store.append` do."""

    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        rng = np.random.default_rng(4)
        sizes = [rng.integers(1, 100, points).astype(np.float64) for _ in range(4)]
        batches = cycle(zip([random_walk(points, seed) for seed in range(4)], sizes, strict=True))
        times = OPEN_NS + np.arange(points)
        touch(2 * warm_bytes(points))

        def append() -> None:
            prices, sizes = next(batches)
            times[:] += points  # as a caller's array that is filled anew
            store.append(SYMBOL, prices, times=times, sizes=sizes)

        with (
            lab.scratch() as scratch,
            Store(scratch / "data", limits=LIMITS, durability=Durability.PROCESS) as store,
            no_collection(),
        ):
            append()
            yield timed(append)

    return prepare


def cases() -> list[Case]:
    """Return the cases of this suite."""
    found = []
    for n in STORED:
        for case, question, work in (
            ("newest", _newest, Work(1, "windows")), ("window", _window, Work(1, "windows")),
            ("further", _further, Work(1, "windows")), ("asof_many", _asof, Work(_PLACES, "points")),
        ):  # fmt: skip
            prepare = partial(_asking, stored=n, question=question)
            found.append(Case(name("ticks", case, stored=n), prepare, work, guarded=n == GUARDED))
        candles = partial(_candles, stored=n)
        found.append(Case(name("ticks", "candles", stored=n), candles, Work(_MINUTES, "bars"), guarded=n == GUARDED))
        steps = partial(_query_range, stored=n)
        found.append(Case(name("ticks", "query_range", stored=n), steps, Work(_STEPS, "steps"), guarded=n == GUARDED))
    found += [
        Case(
            name("ticks", "append", points=points), _append(points), Work(points, "points"),
            guarded=points == BATCHES[0], metadata={"durability": Durability.PROCESS},
        )
        for points in BATCHES
    ]  # fmt: skip
    return found
