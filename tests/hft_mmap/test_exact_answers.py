"""Every statistic that can be named, and every quantile and rank, against exact rationals.

Over the borders of nodes and chunks, with prices that are hard, with points that were cleaned up, and beside another
process that appends. What readers of Arrow take of the columns is what stands in them.
"""

import importlib
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Context, Decimal
from fractions import Fraction
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hft_mmap import STATISTICS, Columns, Limits, OutOfRange, Series, Store, SymbolNotFound
from hft_mmap.named import FIVE, TRADES
from hft_mmap.stats import summarise_exactly
from hft_mmap.testing import UNDERFLOW
from hft_mmap.tree.kernels import MAX_PRICE
from tests.hft_mmap import actors
from tests.hft_mmap.test_kernels import KINDS, prices

Floats = NDArray[np.float64]
ERROR = Fraction(1, 10**14)
"""Largest error: of what is positive relative to it, of a difference relative to what is subtracted."""
ROUNDING = Fraction(1, 2**51)
OF_PRICES = tuple(name for name in STATISTICS if name not in TRADES)
TINY = 1e-280
"""Below such a variance its squares have left the normal float64 numbers, and only their place is held to account."""
_EXACT = Context(prec=60)
# polars and DuckDB take 240 MB: where somebody has installed them, they are held to the same.
READERS = ("pyarrow", "pandas", *(name for name in ("polars", "duckdb") if find_spec(name)))


def root(x: Fraction) -> Fraction:
    """Return the square root to 60 digits."""
    return Fraction(_EXACT.sqrt(_EXACT.divide(Decimal(x.numerator), Decimal(x.denominator))))


def assert_near(found: float | None, exact: Fraction | None, error: Fraction, what: str) -> None:
    """Assert that a statistic is undefined where it has to be, and off by no more than `error` elsewhere."""
    assert (found is None) == (exact is None), (what, found, exact)
    if found is not None and exact is not None:
        assert abs(Fraction(found) - exact) <= error + Fraction(UNDERFLOW), (what, found, float(exact))


def assert_exact(found: dict[str, float | int | None], part: Sequence[float], begin: int) -> None:
    """Assert that all statistics of the points `part`, of which the first has the index `begin`, are right."""
    n, first, last = len(part), Fraction(part[0]), Fraction(part[-1])
    low, high = min(part), max(part)
    assert [found[name] for name in ("count", "first", "last", "min", "max")] == [n, part[0], part[-1], low, high]
    assert (found["argmin"], found["argmax"]) == (begin + part.index(low), begin + part.index(high))
    assert (found["range"], found["change"]) == (float(Fraction(high) - Fraction(low)), float(last - first))
    change = (last - first) / first if first > 0 and last >= 0 else None
    if change is not None and change > Fraction(sys.float_info.max):
        change = None
    assert_near(found["return"], change, ROUNDING * abs(change or Fraction(0)), "return")
    exact = summarise_exactly(part)
    mean, m2 = exact.mean, exact.m2
    size = abs(exact.min) + (mean - exact.min)  # which is the mean where no price is negative
    assert_near(found["avg"], mean, ERROR * size, "avg")
    assert_near(found["var"], m2 / n, ERROR * m2 / n, "var")
    sample = m2 / (n - 1) if n > 1 else None
    assert_near(found["var_sample"], sample, ERROR * (sample or 0), "var_sample")
    if 0 < m2 / n < TINY:
        return
    std = root(m2 / n)
    assert_near(found["std"], std, ERROR * std, "std")
    std_sample = None if sample is None else root(sample)
    assert_near(found["std_sample"], std_sample, ERROR * (std_sample or 0), "std_sample")
    assert_near(found["bollinger_lower"], mean - 2 * std, ERROR * (size + 2 * std), "bollinger_lower")
    assert_near(found["bollinger_upper"], mean + 2 * std, ERROR * (size + 2 * std), "bollinger_upper")
    zscore = (last - mean) / std if std else None
    assert_near(found["zscore"], zscore, ERROR * (abs(last) + size) / std + ERROR if std else Fraction(0), "zscore")


def rows(columns: Columns) -> Iterator[tuple[int, int, dict[str, float | int | None]]]:
    """Yield begin, end and the statistics of each row, None where one is undefined."""
    for values in zip(*(column.tolist() for column in columns.values()), strict=True):
        row = {name: None if math.isnan(x) else x for name, x in zip(columns, values, strict=True)}
        yield values[0], values[1], row


def with_signs(data: st.DataObject, values: Floats) -> Floats:
    """Return prices as they are, all of them negative, or of both signs: 0 stays what it is."""
    kind = data.draw(st.sampled_from(["positive", "negative", "both"]), label="signs")
    signs = (
        np.resize([1.0, 1.0, -1.0, 1.0, -1.0], len(values)) if kind == "both" else -1.0 if kind == "negative" else 1.0
    )
    found: Floats = values * signs + 0.0
    return found


@contextmanager
def stored(data: st.DataObject, chunk_points: int) -> Iterator[tuple[Series, Floats, int]]:
    """Yield a series in chunks of that many points, all that was ever appended to it, and the oldest that it keeps."""
    n = data.draw(st.integers(1, 3 * chunk_points + 70), label="n")
    values = prices(data.draw(st.sampled_from(KINDS), label="kind"), n, data.draw(st.integers(0, 2**32 - 1)))
    if data.draw(st.booleans(), label="extremes"):  # among the others, and also at both ends
        places = data.draw(st.lists(st.sampled_from([0, n // 2, n - 1]), max_size=3), label="places")
        values[places] = data.draw(st.sampled_from([0.0, 5e-324, 1e-200, MAX_PRICE]), label="extreme")
    if data.draw(st.booleans(), label="ties"):
        values = values[np.arange(n) // 7]
    values = with_signs(data, values)
    # Two batches; with a cleanup the second one is too many by a point.
    cleans_up = n > 1 and data.draw(st.booleans(), label="cleanup")
    cut = data.draw(st.integers(1, n - 1), label="cut") if n > 1 else n
    most = n - 1 if cleans_up else n
    kept = data.draw(st.integers(1, most), label="kept")
    limits = Limits(
        max_data_retention=most, cleanup_keep_count=kept, starting_capacity=0, chunk_points=chunk_points,
        negative_prices=True,
    )  # fmt: skip
    with TemporaryDirectory() as path, Store(path, limits=limits, durability="process") as store:
        for batch in (values[:cut], values[cut:]):
            if len(batch):
                store.append("A", batch)
        series = store.series("A")
        start, total = series.bounds()
        assert (total, start > 0) == (n, cleans_up)
        yield series, values, start


def drawn_ranges(
    data: st.DataObject, start: int, total: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ranges of kept points whose ends like the borders of nodes and chunks."""
    border = st.one_of(
        st.integers(start, total), st.sampled_from([k for k in range(start, total + 1) if k % 64 == 0] or [start])
    )
    pairs = data.draw(st.lists(st.tuples(border, border).filter(lambda pair: pair[0] != pair[1]), max_size=count))
    edges = np.array([sorted(pair) for pair in pairs] + [[start, total]], dtype=np.int64)
    return edges[:, 0].copy(), edges[:, 1].copy()


@pytest.mark.parametrize("chunk_points", [64, 320])
@settings(max_examples=25)
@given(data=st.data())
def test_every_statistic_of_every_range_is_exact(chunk_points: int, data: st.DataObject) -> None:
    """Whatever the prices, whichever points are kept, and in whichever batches they came."""
    with stored(data, chunk_points) as (series, values, start):
        starts, ends = drawn_ranges(data, start, len(values), 4)
        for begin, end, row in rows(series.stats_many(starts, ends, OF_PRICES)):
            assert_exact(row, values[begin:end].tolist(), begin)
            assert series.statistics(OF_PRICES, start=begin, end=end) == {name: row[name] for name in OF_PRICES}
            assert series.range(begin, end) == (*(row[name] for name in FIVE), end - begin)
        if start:
            with pytest.raises(OutOfRange):
                series.stats_many([start - 1], [start + 1], OF_PRICES)


@settings(max_examples=8)
@given(data=st.data())
def test_every_statistic_is_exact_over_three_levels(data: st.DataObject) -> None:
    """Where a chunk has nodes of nodes."""
    with stored(data, 4096) as (series, values, start):
        starts, ends = drawn_ranges(data, start, len(values), 1)
        for begin, end, row in rows(series.stats_many(starts, ends, OF_PRICES)):
            assert_exact(row, values[begin:end].tolist(), begin)


@pytest.mark.parametrize("chunk_points", [64, 320])
@settings(max_examples=25)
@given(data=st.data())
def test_quantiles_and_ranks_are_those_of_a_sort(chunk_points: int, data: st.DataObject) -> None:
    """Each is the stored value that a sort puts there, with ties, at 0, at 1 and at the borders between two values."""
    with stored(data, chunk_points) as (series, values, start):
        starts, ends = drawn_ranges(data, start, len(values), 3)
        for begin, end in zip(starts.tolist(), ends.tolist(), strict=True):
            part = np.sort(values[begin:end]).tolist()
            n = len(part)
            step = data.draw(st.integers(0, n), label="step")
            shares = [0.0, 1.0, 0.5, step / n, *data.draw(st.lists(st.floats(0, 1), max_size=3), label="shares")]
            places = [max(math.ceil(Fraction(repr(share)) * n) - 1, 0) for share in shares]
            assert series.quantile(shares, start=begin, end=end) == tuple(part[place] for place in places)
            x = data.draw(st.sampled_from(part) | st.floats(-1e140, 1e140), label="x")
            below, equal = sum(v < x for v in part), part.count(x)
            assert series.rank(x, start=begin, end=end) == (below, equal, n - below - equal)


def test_answers_are_exact_beside_a_process_that_appends(tmp_path: Path) -> None:
    """And that cleans up: a range is refused as a whole or answered exactly, and the newest window is of one moment."""
    total = 60_000
    writer = get_context("spawn").Process(target=actors.append_pattern, args=(tmp_path, total))
    writer.start()
    rng = np.random.default_rng(3)
    answered = seen = 0
    with Store(tmp_path, mode="r") as store:
        while seen < total:
            try:
                series = store.series("A")
                start, seen = series.bounds()
                if start == seen:  # it was made, and nothing was appended yet
                    continue
                begin, _, window = series.stats_windows(OF_PRICES, (150,))
                lows = rng.integers(start, max(seen - 1, start + 1), 5)
                highs = np.minimum(lows + rng.integers(1, 200, 5), seen)
                many = series.stats_many(lows, highs, OF_PRICES)
            except (OutOfRange, SymbolNotFound):
                continue
            assert begin <= window["start"][0]
            for columns in (window, many):
                for lo, hi, row in rows(columns):
                    assert_exact(row, actors.pattern(lo, hi).tolist(), lo)
            answered += 1
    writer.join()
    assert writer.exitcode == 0
    assert answered


def test_extremes_beside_each_other_are_exact(tmp_path: Path) -> None:
    """The least price above 0 and the largest one: what is beyond float64 is undefined, and warns of nothing."""
    rows_of = [
        [5e-324, 1e140],
        [1e140, 5e-324],
        [0.0, 1e140, 5e-324],
        [1e-170, 1e140],
        [1e140] * 3,
        [5e-324] * 3,
        [0.0],
    ]
    with Store(tmp_path, durability="process") as store, warnings.catch_warnings():
        warnings.simplefilter("error")
        for k, part in enumerate(rows_of):
            store.append(f"S{k}", part)
            found = store.statistics(f"S{k}", OF_PRICES, start=0, end=len(part))
            assert_exact(found, part, 0)
        assert store.statistics("S0", ("return", "change")) == {"return": None, "change": 1e140}


def taken_by(reader: str) -> Callable[[Any], dict[str, list[Any]]]:
    """Return how a reader of Arrow takes what has `__arrow_c_stream__`, as columns with None for null."""
    package = importlib.import_module(reader)
    if reader == "pyarrow":
        return lambda found: dict(package.table(found).to_pydict())
    if reader == "polars":
        return lambda found: dict(package.from_arrow(found).struct.unnest().to_dict(as_series=False))
    if reader == "pandas":
        return lambda found: {
            name: [None if x != x else x for x in column.tolist()]  # noqa: PLR0124 - what NaN alone is
            for name, column in package.DataFrame.from_arrow(found).items()
        }

    def duck(found: Any) -> dict[str, list[Any]]:
        asked = package.connect().from_arrow(pa.table(found))
        return dict(zip(asked.columns, map(list, zip(*asked.fetchall(), strict=True)), strict=True))

    return duck


@pytest.mark.parametrize("reader", READERS)
def test_readers_of_arrow_take_every_kind_of_columns(reader: str, tmp_path: Path) -> None:
    """Ranges, windows, bars and symbols: the same numbers, and null where a statistic is undefined."""
    take = taken_by(reader)
    with Store(tmp_path, durability="process") as store:
        for symbol in "AB":
            store.append(symbol, [0.0, 2.5, 2.5, 1.0])
        series = store.series("A")
        for found in (
            series.stats_many([0, 1, 1], [4, 2, 3], OF_PRICES),
            series.stats_windows(OF_PRICES, (1, 10))[2],
            series.stats_bars(3, stats=OF_PRICES),
            store.stats_across(("A", "B"), OF_PRICES, start=1, end=2),
        ):
            expected = [row for _, _, row in rows(found)]
            table = take(found)
            assert list(table) == list(found)
            assert [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)] == expected
            assert table["var_sample"].count(None) == sum(row["count"] == 1 for row in expected)
