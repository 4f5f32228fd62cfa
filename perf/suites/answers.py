"""Any range of a series: one, many at once, first passages, medians, ranks, bars, a row for each symbol."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from api.app import create_app
from hft_mmap import Durability, Limits, Series, Store
from perf.case import Case, Prepare, TimeFunction, Work, name, timed
from perf.lab import ROOMY, SYMBOL, Lab
from perf.prices import random_walk
from perf.settings import settings
from perf.suites.http_app import scope, timing

Indexes = NDArray[np.int64]
STORED = (1_000_000, 100_000_000)
LONGEST = 1_000_000
SYMBOLS = (50, 1_000)
"""The gate prepares a case anew for each round, and a thousand series take seconds."""
_PLACES = 1_000
_BARS = 1_000
_BARRIER = 0.01
_SYMBOL_POINTS = 10_000
_PATHS = ("rv", "path", "drawdown", "runup", "skew", "kurtosis", "slope", "r2")


def ranges(points: int, n: int) -> tuple[Indexes, Indexes]:
    """Return starts and ends of `n` ranges of 1 to LONGEST points, at random places of a series of `points`."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, min(LONGEST, points) + 1, n)
    starts = rng.integers(0, points - lengths + 1)
    return starts, starts + lengths


def _asking(stored: int, question: Callable[[Series], Callable[[], object]], kind: str = "series") -> Prepare:
    """Time what `question` makes of the series."""

    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with Store(lab.stored(stored, kind), mode="r", limits=ROOMY) as store:
            yield timed(question(store.series(SYMBOL)))

    return prepare


def _range(series: Series) -> Callable[[], object]:
    """Ask for ranges anywhere: the place is another one each time, so no node is in the cache by luck."""
    rng = np.random.default_rng(2)
    bounds = np.sort(rng.integers(0, series.total + 1, (_PLACES, 2)), axis=1)
    places = cycle([(lo, hi) for lo, hi in bounds.tolist() if lo < hi])

    def ask() -> object:
        return series.range(*next(places))

    return ask


def _many(n: int) -> Callable[[Series], Callable[[], object]]:
    def question(series: Series) -> Callable[[], object]:
        starts, ends = ranges(series.total, n)
        return lambda: series.stats_many(starts, ends)

    return question


def _first(series: Series) -> Callable[[], object]:
    """Ask for the first price that is one per cent away from that of a random place in the first half."""
    after = np.random.default_rng(3).integers(0, series.total // 2, _PLACES).tolist()
    prices = [series.asof(index).value for index in after]
    places = cycle(
        [(index, price * (1 + _BARRIER), price * (1 - _BARRIER)) for index, price in zip(after, prices, strict=True)]
    )

    def ask() -> object:
        index, above, below = next(places)
        return series.first(index, above=above, below=below)

    return ask


def _rank(series: Series) -> Callable[[], object]:
    value = series.stats(series.total).avg
    return lambda: series.rank(value)


def _quantile(series: Series) -> Callable[[], object]:
    return lambda: series.quantile((0.5,))


def _bars(series: Series) -> Callable[[], object]:
    size = series.total // _BARS
    return lambda: series.stats_bars(size)


def _path(*stats: str) -> Callable[[Series], Callable[[], object]]:
    """Ask for statistics that read every point, of all of them."""

    def question(series: Series) -> Callable[[], object]:
        return lambda: series.statistics(stats, window=series.total)

    return question


def _grouped(stored: int, *stats: str) -> Prepare:
    """Time statistics of the path of nearly all points, from groups: made in a copy that shares the chunks."""

    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with lab.scratch() as scratch:
            with Store(lab.stored(stored), mode="r", limits=ROOMY) as source:
                source.snapshot(scratch / "data")
            with Store(scratch / "data", limits=ROOMY, durability=Durability.PROCESS) as store:
                store.summarise()
                series = store.series(SYMBOL)
                lo, hi = series.start + 5, series.total - 5
                yield timed(lambda: series.statistics(stats, start=lo, end=hi))

    return prepare


def _asof(series: Series) -> Callable[[], object]:
    places = cycle(np.random.default_rng(4).integers(0, series.total, _PLACES).tolist())
    return lambda: series.asof(next(places))


@contextmanager
def _many_symbols(lab: Lab, symbols: int) -> Iterator[tuple[Store, list[str]]]:
    """Yield a store with so many series of _SYMBOL_POINTS points each."""
    names = [f"S{number:04}" for number in range(symbols)]
    limits = Limits(max_symbols=symbols, max_data_retention=10**6, cleanup_keep_count=10**6, starting_capacity=4096)
    prices = random_walk(_SYMBOL_POINTS)
    with lab.scratch() as scratch, Store(scratch / "data", limits=limits, durability=Durability.PROCESS) as store:
        for symbol in names:
            store.append(symbol, prices)
        yield store, names


@contextmanager
def _across(lab: Lab, symbols: int) -> Iterator[TimeFunction]:
    with _many_symbols(lab, symbols) as (store, names):
        yield timed(lambda: store.stats_across(names, window=1_000))


@contextmanager
def _across_asked(lab: Lab, symbols: int) -> Iterator[TimeFunction]:
    """Ask for the statistics of all symbols in one request, the JSON of the answer included."""
    with _many_symbols(lab, symbols) as (store, names):
        query = "&".join(f"symbol={symbol}" for symbol in names) + "&window=1000"
        with timing(create_app(store, settings()), scope("GET", "/stats", query.encode()), [b""]) as run:
            yield run


def cases() -> list[Case]:
    """Return the cases of this suite."""
    few, big = STORED
    some, _all = SYMBOLS
    found = [
        Case(name("answers", "range", stored=n), _asking(n, _range), Work(1, "ranges"), guarded=n == few)
        for n in STORED
    ]  # fmt: skip
    found += [
        Case(
            name("answers", "stats_many", stored=n, windows=windows), _asking(n, _many(windows)),
            Work(windows, "windows"), guarded=n == few,
        )
        for n, windows in ((few, 1_000), (big, 10_000))
    ]  # fmt: skip
    found += [
        Case(name("answers", "first", stored=n), _asking(n, _first), Work(1, "questions"), guarded=n == few)
        for n in STORED
    ]  # fmt: skip
    found.append(
        Case(
            name("answers", "median", stored=few), _asking(few, _quantile, "ticks"), Work(1, "questions"), guarded=True
        )
    )
    for case, question in (("rank", _rank), ("bars", _bars), ("asof", _asof)):
        work = Work(_BARS, "bars") if case == "bars" else Work(1, "questions")
        found += [
            Case(name("answers", case, stored=n), _asking(n, question), work, guarded=n == few) for n in STORED
        ]  # fmt: skip
    found += [
        Case(name("answers", case, stored=few), _asking(few, _path(*stats)), Work(few, "points"))
        for case, stats in (("rv", ("rv",)), ("drawdown", ("drawdown",)), ("skew", ("skew",)), ("path", _PATHS))
    ]
    found += [
        Case(name("answers", case, stored=n), _grouped(n, *stats), Work(1, "questions"), guarded=n == few)
        for case, stats in (
            ("rv_grouped", ("rv",)), ("drawdown_grouped", ("drawdown",)), ("skew_grouped", ("skew",)),
            ("path_grouped", _PATHS),
        )
        for n in STORED
    ]  # fmt: skip
    for case, prepare in (("across", _across), ("across_asked", _across_asked)):
        found += [
            Case(name("answers", case, symbols=n), partial(prepare, symbols=n), Work(n, "symbols"), guarded=n == some)
            for n in SYMBOLS
        ]
    return found
