"""The statistics of the path of a range against exact rationals, and logarithms to 60 digits."""

import math
from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import accumulate, pairwise, starmap
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hft_mmap import Limits, Store
from hft_mmap.named import PATHS
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.exact_windows import whole
from tests.hft_mmap.test_exact_answers import drawn_ranges, root, rows, stored
from tests.hft_mmap.test_kernels import prices

NAMES = tuple(PATHS)
POSITIVE = Fraction(1, 10**14)
"""Largest error of what is a sum of positive numbers, relative to it."""
SIGNED = Fraction(1, 10**13)
"""Largest error of what has signs, relative to the sum of the absolute terms."""
LIMITS = Limits(
    max_data_retention=10_000, cleanup_keep_count=10_000, starting_capacity=0, chunk_points=64, negative_prices=True
)
_EXACT = Context(prec=60)


@lru_cache(maxsize=100_000)
def squared_return(before: float, price: float) -> Decimal:
    """Return ln(price / before)^2 to 60 digits."""
    return _EXACT.power(_EXACT.ln(_EXACT.divide(Decimal(price), Decimal(before))), 2)


def ratio_of(price: float, earlier: float) -> float:
    """Return the float64 next to price / earlier, infinite where there is none."""
    try:
        return float(Fraction(price) / Fraction(earlier))
    except OverflowError:
        return math.inf


def assert_near(found: float | None, exact: Fraction, error: Fraction, what: str) -> None:
    """Assert that `found` is off by no more than `error`."""
    assert found is not None, (what, float(exact))
    assert abs(Fraction(found) - exact) <= error + Fraction(1, 2**1060), (what, found, float(exact))


def assert_exact_path(found: dict[str, float | int | None], part: Sequence[float]) -> None:
    """Assert that all statistics of the path `part` are right, or undefined where they have to be."""
    if min(part) > 0:
        rv = Fraction(reduce(_EXACT.add, starmap(squared_return, pairwise(part)), Decimal(0)))
        assert_near(found["rv"], rv, POSITIVE * rv, "rv")
        assert_near(found["volatility"], root(rv), POSITIVE * root(rv), "volatility")
        # The greatest of correctly rounded quotients is that of the greatest ratio, which is then looked at exactly.
        rise = ratio_of(*max(zip(part, accumulate(part, min), strict=True), key=lambda pair: pair[0] / pair[1])) - 1
        assert found["runup"] == (rise if rise < math.inf else None)
    else:
        assert (found["rv"], found["volatility"], found["runup"]) == (None, None, None)
    prices, unit = whole(np.asarray(part))
    path = Fraction(sum(abs(b - a) for a, b in pairwise(prices)), unit)
    assert_near(found["path"], path, POSITIVE * path, "path")
    fall = None
    if part[0] > 0:
        fall = ratio_of(*min(zip(part, accumulate(part, max), strict=True), key=lambda pair: pair[0] / pair[1])) - 1
    assert found["drawdown"] == (None if min(part) < 0 else fall)
    assert_exact_shape(found, prices, unit)


def assert_exact_shape(found: dict[str, float | int | None], prices: Sequence[int], unit: int) -> None:
    """Assert that skew, kurtosis, slope and r2 are right, or undefined where they have to be.

    prices: in 1 / unit. All sums are of whole numbers: of deviations from the mean in 1 / (n unit), and of indexes from
    the middle one in halves.
    """
    n, total = len(prices), sum(prices)
    deviations = [n * price - total for price in prices]
    m2 = Fraction(sum(d * d for d in deviations), n * (n * unit) ** 2)
    index_squares = Fraction(n * (n * n - 1), 12)
    terms = [(2 * i - n + 1) * d for i, d in enumerate(deviations)]
    cross, absolute = (Fraction(sum(of), 2 * n * unit) for of in (terms, map(abs, terms)))
    if n > 1:
        assert_near(found["slope"], cross / index_squares, SIGNED * absolute / index_squares, "slope")
    else:
        assert found["slope"] is None
    if not m2:
        assert (found["skew"], found["kurtosis"], found["r2"]) == (None, None, None)
        return
    # In units of the deviation, whose root is taken to 60 digits.
    cubes, std = [d**3 for d in deviations], root(m2)
    skew, thirds = (Fraction(sum(of), n * (n * unit) ** 3) / std**3 for of in (cubes, map(abs, cubes)))
    assert_near(found["skew"], skew, SIGNED * thirds, "skew")
    fourth = Fraction(sum(d**4 for d in deviations), n * (n * unit) ** 4) / (m2 * m2)
    assert_near(found["kurtosis"], fourth - 3, SIGNED * fourth, "kurtosis")
    both = root(index_squares * m2 * n)
    error = SIGNED * absolute / both
    assert_near(found["r2"], (cross / both) ** 2, error * (2 * abs(cross) / both + error), "r2")


@pytest.mark.parametrize("chunk_points", [64, 320])
@settings(max_examples=25)
@given(data=st.data())
def test_the_path_of_every_range_is_exact(chunk_points: int, data: st.DataObject) -> None:
    """Whatever the prices, over the borders of runs, nodes and chunks, and whichever points are kept."""
    with stored(data, chunk_points) as (series, values, start):
        starts, ends = drawn_ranges(data, start, len(values), 3)
        for begin, end, row in rows(series.stats_many(starts, ends, NAMES)):
            assert_exact_path(row, values[begin:end].tolist())
            assert series.statistics(NAMES, start=begin, end=end) == {name: row[name] for name in NAMES}


@settings(max_examples=3)
@given(data=st.data())
def test_the_path_is_exact_over_three_levels(data: st.DataObject) -> None:
    """Where falls and rises pass over nodes of nodes, and moments are merged many times."""
    with stored(data, 4096) as (series, values, _):
        (row,) = (row for *_, row in rows(series.stats_many([series.start], [series.total], NAMES)))
        assert_exact_path(row, values[series.start :].tolist())


@settings(max_examples=100)
@given(
    values=st.lists(
        st.one_of(st.floats(0, 1e140), st.floats(-1e140, 1e140), st.sampled_from([0.0, 1.0, 2.5, 5e-324, 1e140])),
        min_size=1, max_size=70,
    )
)  # fmt: skip
def test_the_path_of_any_prices_is_exact(values: list[float]) -> None:
    """Prices that have nothing to do with each other, zeros and subnormal ones among them."""
    values = [value + 0.0 for value in values]
    with TemporaryDirectory() as path, Store(path, limits=LIMITS, durability="process") as store:
        store.append("A", values)
        assert_exact_path(store.statistics("A", NAMES), values)


def path_of(open_store: OpenStore, values: Sequence[float] | NDArray[np.float64]) -> dict[str, float | int | None]:
    """Return the statistics of the path of `values`."""
    store = open_store(limits=LIMITS, durability="process")
    store.append("A", values)
    return store.statistics("A", NAMES)


def test_one_point_has_gone_nowhere(open_store: OpenStore) -> None:
    """Sums over no returns are 0; what needs two points, or a variance, is undefined."""
    undefined = dict.fromkeys(("skew", "kurtosis", "slope", "r2"))
    assert path_of(open_store, [2.5]) == undefined | {
        "rv": 0.0, "volatility": 0.0, "path": 0.0, "drawdown": 0.0, "runup": 0.0,
    }  # fmt: skip


def test_two_points_are_a_line(open_store: OpenStore) -> None:
    """The slope is their difference, and the fit is perfect; half of them below the mean is no skew."""
    found = path_of(open_store, [4.0, 2.0])
    assert found["rv"] == pytest.approx(math.log(2) ** 2, rel=1e-15)
    assert found["volatility"] == pytest.approx(math.log(2), rel=1e-15)
    expected = {"path": 2.0, "drawdown": -0.5, "runup": 0.0, "skew": 0.0, "kurtosis": -2.0, "slope": -2.0, "r2": 1.0}
    assert {name: found[name] for name in expected} == expected


def test_prices_that_do_not_move_have_no_shape(open_store: OpenStore) -> None:
    """Their slope is 0; what would be divided by a variance of 0 is undefined."""
    undefined = dict.fromkeys(("skew", "kurtosis", "r2"))
    zero = dict.fromkeys(("rv", "volatility", "path", "drawdown", "runup", "slope"), 0.0)
    assert path_of(open_store, [0.1] * 200) == undefined | zero


@pytest.mark.parametrize(
    ("values", "drawdown"), [([4.0, 0.0, 3.0], -1.0), ([0.0, 4.0, 3.0], None), ([4.0, 3.0, 0.0], -1.0), ([0.0], None)]
)
def test_a_price_of_zero_has_no_logarithm(open_store: OpenStore, values: list[float], drawdown: float | None) -> None:
    """Returns and rises from it are undefined, and falls from it; a fall to it is one of all."""
    found = path_of(open_store, values)
    assert (found["rv"], found["volatility"], found["runup"], found["drawdown"]) == (None, None, None, drawdown)
    assert found["path"] == sum(abs(b - a) for a, b in pairwise(values))


def test_falls_are_found_below_nodes_that_hide_them(open_store: OpenStore) -> None:
    """The deepest fall lies inside a run that begins with a new high; the next high comes behind it."""
    values = np.arange(1.0, 4097.0)
    values[1000:1003] = (2000.0, 500.0, 1003.0)
    store = open_store(limits=LIMITS, durability="process")
    store.append("UP", values)
    store.append("DOWN", 1e4 / values)
    assert store.statistics("UP", ("drawdown", "runup")) == {"drawdown": -0.75, "runup": 4095.0}
    assert store.statistics("DOWN", ("runup",)) == {"runup": 3.0}


@pytest.mark.parametrize("kind", ["uniform", "ticks", "far", "huge"])
def test_symbols_and_windows_have_paths(open_store: OpenStore, kind: str) -> None:
    """Bars, windows and a row for each symbol have what the ranges have, to the bit."""
    store = open_store(limits=LIMITS, durability="process")
    values = prices(kind, 1000, seed=11)
    store.append("A", values)
    store.append("B", values[::-1].copy())
    bars = store.stats_bars("A", 100, stats=NAMES)
    start, total, windows = store.series("A").stats_windows(NAMES, (10, 300))
    across = store.stats_across(("A", "B"), NAMES, window=300)
    for name in NAMES:
        assert bars[name][3] == store.statistics("A", NAMES, start=300, end=400)[name]
        assert windows[name][1] == across[name][0] == store.statistics("A", NAMES, window=300)[name]
        assert across[name][1] == store.statistics("B", NAMES, window=300)[name]
    assert (start, total) == (0, 1000)
