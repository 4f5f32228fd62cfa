"""A day of ticks with times and sizes: windows by time, candles of a minute, points as of many times."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle

import numpy as np

from api.app import create_app
from hft_mmap import Durability, Series, Store
from perf.case import Case, TimeFunction, Work, name, timed
from perf.lab import ROOMY, SYMBOL, Lab
from perf.prices import BLOCK_POINTS, price_blocks
from perf.settings import settings
from perf.suites.http_app import scope, timing

STORED = (100_000, 10_000_000)
_DAY_NS = 86_400 * 10**9
_OPEN_NS = 1_767_225_600 * 10**9  # 2026-01-01T00:00:00Z
_MINUTES = 1_440
_PLACES = 1_000
_FURTHER = ("min", "max", "last", "avg", "var", "vwap", "rv", "drawdown", "skew")


@contextmanager
def _stored(lab: Lab, stored: int) -> Iterator[Store]:
    """Yield a store with a day of so many ticks, at random times and of random sizes."""
    rng = np.random.default_rng(1)
    times = _OPEN_NS + np.sort(rng.integers(0, _DAY_NS, stored))
    sizes = rng.integers(1, 100, stored) * rng.choice([-1.0, 1.0], stored)
    prices = price_blocks()
    with lab.scratch() as scratch, Store(scratch / "data", limits=ROOMY, durability=Durability.PROCESS) as store:
        for begin in range(0, stored, BLOCK_POINTS):
            part = slice(begin, min(begin + BLOCK_POINTS, stored))
            store.append(SYMBOL, next(prices)[: part.stop - begin], times=times[part], sizes=sizes[part])
        yield store


@contextmanager
def _asking(lab: Lab, stored: int, question: Callable[[Series], Callable[[], object]]) -> Iterator[TimeFunction]:
    with _stored(lab, stored) as store:
        yield timed(question(store.series(SYMBOL)))


def _window(series: Series) -> Callable[[], object]:
    """Ask for the five statistics of five minutes that end anywhere in the day."""
    ends = np.random.default_rng(2).integers(_OPEN_NS + _DAY_NS // 100, _OPEN_NS + _DAY_NS, _PLACES)
    places = cycle([f"{end}ns" for end in ends.tolist()])
    return lambda: series.statistics(("min", "max", "last", "avg", "var"), window="5m", at=next(places))


def _newest(series: Series) -> Callable[[], object]:
    return lambda: series.stats("5m")


def _further(series: Series) -> Callable[[], object]:
    """Ask for what the last five minutes were traded at, and what the path was."""
    return lambda: series.statistics(_FURTHER, window="5m")


def _asof(series: Series) -> Callable[[], object]:
    times = _OPEN_NS + np.random.default_rng(3).integers(0, _DAY_NS, _PLACES)
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


def cases() -> list[Case]:
    """Return the cases of this suite."""
    found = []
    for n in STORED:
        for case, question, work in (
            ("newest", _newest, Work(1, "windows")), ("window", _window, Work(1, "windows")),
            ("further", _further, Work(1, "windows")), ("asof_many", _asof, Work(_PLACES, "points")),
        ):  # fmt: skip
            prepare = partial(_asking, stored=n, question=question)
            found.append(Case(name("ticks", case, stored=n), prepare, work))
        found.append(Case(name("ticks", "candles", stored=n), partial(_candles, stored=n), Work(_MINUTES, "bars")))
    return found
