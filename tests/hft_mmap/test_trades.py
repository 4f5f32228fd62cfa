"""The statistics of times and sizes against exact rationals; through the public door."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_mmap import ColumnsDiffer, Limits, Series, Store
from hft_mmap.named import TRADES
from tests.hft_mmap.exact_windows import whole
from tests.hft_mmap.test_exact_answers import drawn_ranges, rows, with_signs
from tests.hft_mmap.test_kernels import KINDS, prices

NAMES = tuple(TRADES)
ERROR = Fraction(1, 10**14)
UNDERFLOW = Fraction(1, 2**1060)
MOST = 2**63 - 1


def assert_near(found: float | None, exact: Fraction | None, error: Fraction, what: str) -> None:
    """Assert that a statistic is undefined where it has to be, and off by no more than `error` elsewhere."""
    assert (found is None) == (exact is None), (what, found, exact)
    if found is not None and exact is not None:
        assert abs(Fraction(found) - exact) <= error + UNDERFLOW, (what, found, float(exact))


def assert_exact(
    found: dict[str, float | int | None], part: Sequence[float], times: Sequence[int], sizes: Sequence[float]
) -> None:
    """Assert that all statistics of one range are right, or undefined where they have to be."""
    (prices, unit), (signed, size_unit) = whole(np.asarray(part)), whole(np.asarray(sizes))
    volume = Fraction(sum(map(abs, signed)), size_unit)
    assert_near(found["volume"], volume, ERROR * volume, "volume")
    assert_near(found["signed_volume"], Fraction(sum(signed), size_unit), ERROR * volume, "signed_volume")
    worth = Fraction(sum(p * abs(size) for p, size in zip(prices, signed, strict=True)), unit * size_unit)
    vwap = worth / volume if volume else None
    low = Fraction(min(part))
    assert_near(found["vwap"], vwap, ERROR * (abs(low) + ((vwap or low) - low)), "vwap")
    waits = [b - a for a, b in pairwise(times)]
    span = times[-1] - times[0]
    held = Fraction(sum(p * wait for p, wait in zip(prices, waits, strict=False)), unit)
    twap = held / span if span else None
    assert_near(found["twap"], twap, ERROR * (abs(low) + ((twap or low) - low)), "twap")
    gap = Fraction(max(waits), 10**9) if waits else None
    assert_near(found["gap"], gap, ERROR * (gap or 0), "gap")
    rate = Fraction(len(waits) * 10**9, span) if span else None
    assert_near(found["rate"], rate, ERROR * (rate or 0), "rate")
    for name in ("vwap", "twap"):
        value = found[name]
        assert value is None or min(part) <= value <= max(part)


sizes_of = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.1, 5e-324, -1e140, 1e140, 1e-300]), st.floats(-1e3, 1e3))
times_of = st.one_of(st.integers(0, 10**9), st.sampled_from([0, 0, 1, 10**15]))


@contextmanager
def stored(data: st.DataObject, chunk_points: int) -> Iterator[tuple[Series, Any, Any, Any, int]]:
    """Yield a series with both columns, what is in it, and where it begins after a cleanup."""
    n = data.draw(st.integers(1, 700))
    values = with_signs(data, prices(data.draw(st.sampled_from(KINDS)), n, seed=data.draw(st.integers(0, 99))))
    few = data.draw(st.lists(sizes_of, min_size=1, max_size=9))
    waits = data.draw(st.lists(times_of, min_size=1, max_size=9))
    sizes = np.resize(np.array(few), n) + 0.0
    times = np.cumsum(np.resize(np.array(waits, dtype=np.int64), n))
    limits = Limits(chunk_points=chunk_points, starting_capacity=0, negative_prices=True)
    with TemporaryDirectory() as path, Store(path, limits=limits, durability="process") as store:
        store.append("A", values, times=times, sizes=sizes)
        start = data.draw(st.integers(0, n - 1))
        if start:
            store.truncate("A", keep=n - start)
        yield store.series("A"), values, times, sizes, start


@pytest.mark.parametrize("chunk_points", [64, 320])
@settings(max_examples=40)
@given(data=st.data())
def test_every_range_is_exact(chunk_points: int, data: st.DataObject) -> None:
    """Whatever prices, times and sizes are, over the borders of runs and chunks, and whichever points are kept."""
    with stored(data, chunk_points) as (series, values, times, sizes, start):
        starts, ends = drawn_ranges(data, start, len(values), 4)
        for begin, end, row in rows(series.stats_many(starts, ends, NAMES)):
            here = slice(begin, end)
            assert_exact(row, values[here].tolist(), times[here].tolist(), sizes[here].tolist())
            assert series.statistics(NAMES, start=begin, end=end) == {name: row[name] for name in NAMES}


@settings(max_examples=150)
@given(
    points=st.lists(
        st.tuples(
            st.one_of(st.floats(-1e140, 1e140), st.sampled_from([0.0, 5e-324, 1e140, 1e-200, 150.0, -150.0])),
            st.integers(-MOST, MOST), sizes_of,
        ),
        min_size=1, max_size=70,
    )
)  # fmt: skip
def test_any_points_are_exact(points: list[tuple[float, int, float]]) -> None:
    """Points that have nothing to do with each other, over all the time there is."""
    values, times, sizes = ([point[i] for point in points] for i in range(3))
    limits = Limits(negative_prices=True)
    with TemporaryDirectory() as path, Store(path, limits=limits, durability="process") as store:
        store.append("A", values, times=times, sizes=sizes)
        known = np.maximum.accumulate(np.array(times, dtype=np.int64)).tolist()
        assert_exact(store.statistics("A", NAMES), [value + 0.0 for value in values], known, sizes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a store: A has times and sizes, T times alone, S sizes alone, P neither."""
    with Store(tmp_path / "data") as opened:
        seconds = {"times": [0, 60, 110, 400], "time_unit": "s"}
        sizes = {"sizes": [2, -1.5, 0.25, 1]}
        for symbol, columns in (("A", seconds | sizes), ("T", seconds), ("S", sizes), ("P", {})):
            opened.append(symbol, [150.0, 150.5, 151.0, 149.0], **columns)
        yield opened


def test_what_was_traded_has_names(store: Store) -> None:
    """Of four ticks that anybody can add up."""
    assert store.statistics("A", NAMES) == {
        "volume": 4.75, "signed_volume": 1.75, "vwap": 149.0 + (2 + 1.5 * 1.5 + 0.25 * 2) / 4.75,
        "twap": 149.0 + (60 * 1 + 50 * 1.5 + 290 * 2) / 400, "gap": 290.0, "rate": 3 / 400,
    }  # fmt: skip


@pytest.mark.parametrize(("start", "undefined"), [(3, {"twap", "gap", "rate"})])
def test_one_point_has_no_time(store: Store, start: int, undefined: set[str]) -> None:
    """What needs two is undefined; its own price is all it was traded at."""
    found = store.statistics("A", NAMES, start=start, end=start + 1)
    assert {name for name, value in found.items() if value is None} == undefined
    assert (found["volume"], found["vwap"]) == (1.0, 149.0)


def test_without_volume_there_is_no_price_of_it(tmp_path: Path) -> None:
    """Nor a time-weighted one where no time passed; what is a sum is 0."""
    with Store(tmp_path) as store:
        store.append("A", [1.0, 2.0], times=[5, 5], sizes=[0, 0])
        assert store.statistics("A", NAMES) == {
            "volume": 0.0, "signed_volume": 0.0, "vwap": None, "twap": None, "gap": 0.0, "rate": None,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "name", "column"),
    [("P", "volume", "sizes"), ("T", "vwap", "sizes"), ("P", "gap", "times"), ("S", "rate", "times")],
)
def test_a_series_without_the_column_says_which(store: Store, symbol: str, name: str, column: str) -> None:
    """Wherever statistics are named."""
    series = store.series(symbol)
    for ask in (
        lambda: series.statistics(("avg", name)), lambda: series.statistics((name,), window=2),
        lambda: series.stats_many([0], [2], (name,)), lambda: series.stats_bars(2, stats=(name,)),
        lambda: series.stats_windows((name,)), lambda: store.stats_across(("A", symbol), (name,), window=2),
        lambda: store.stats_across(("A", symbol), (name,), start=0, end=2),
    ):  # fmt: skip
        with pytest.raises(ColumnsDiffer, match=f"{symbol} has no {column}, and {name} is made of them"):
            ask()


def test_symbols_bars_and_windows_have_them(store: Store) -> None:
    """To the bit what the range has; each series may lie in columns of its own."""
    store.append("B", [1.0, 2.0, 3.0], times=[1, 2, 4], sizes=[1, 2, 3])
    across = store.stats_across(("B", "A"), NAMES, window=3)
    ranges = store.stats_across(("B", "A"), NAMES, start=0, end=3)
    bars = store.stats_bars("A", 2, stats=NAMES)
    windows = store.series("A").stats_windows(NAMES, (3,))[2]
    for name in NAMES:
        newest = store.statistics("A", (name,), window=3)[name]
        assert across[name][1] == windows[name][0] == newest
        assert across[name][0] == store.statistics("B", (name,))[name]
        assert ranges[name][1] == store.statistics("A", (name,), start=0, end=3)[name]
        assert bars[name][1] == store.statistics("A", (name,), start=2, end=4)[name]
