"""Any range, many ranges, first passages, quantiles and ranks against brute force and exact rationals."""

import math
import threading
from array import array
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hft_mmap import (
    InvalidRange,
    InvalidStatistic,
    InvalidSymbol,
    Limits,
    OutOfRange,
    Passage,
    Point,
    Series,
    Store,
    SymbolNotFound,
)
from hft_mmap.stats import exact_window_stats
from hft_mmap.testing import RELATIVE_ERROR, UNDERFLOW
from hft_mmap.tree.order import count_below, select, split
from hft_mmap.tree.passage import find_first
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.test_exact_answers import OF_PRICES
from tests.hft_mmap.test_kernels import CHUNK_POINTS, KINDS, Tree, prices

Floats = NDArray[np.float64]
LIMITS = Limits(max_data_retention=1000, cleanup_keep_count=600, starting_capacity=0, chunk_points=64)
VALUES = np.round(prices("uniform", 1001, seed=7), 1)


@pytest.fixture
def series(open_store: OpenStore) -> Series:
    """Return a series of 1,001 points in chunks of 64, of which a cleanup has left those from 400 on."""
    store = open_store(limits=LIMITS, durability="process")
    store.append("A", VALUES[:1000])
    store.append("A", VALUES[1000:])
    assert store.series("A").bounds() == (400, 1001)
    return store.series("A")


def drawn(data: st.DataObject, points: int) -> tuple[Floats, int, int]:
    """Return values over up to four chunks, and a range of them whose ends like the borders of nodes."""
    n = data.draw(st.integers(1, 3 * points + 70), label="n")
    kind = data.draw(st.sampled_from(KINDS), label="kind")
    values = prices(kind, n, data.draw(st.integers(0, 2**32 - 1), label="seed"))
    if data.draw(st.booleans(), label="ties"):
        values = values[np.arange(n) // 7]
    border = st.one_of(st.integers(0, n), st.integers(0, n // 64).map(lambda node: node * 64))
    lo, hi = sorted((data.draw(border, label="lo"), data.draw(border, label="hi")))
    return (values, lo, hi) if lo < hi else (values, 0, n)


@pytest.mark.parametrize("points", CHUNK_POINTS)
@given(data=st.data())
def test_a_first_passage_is_the_one_a_scan_finds(points: int, data: st.DataObject) -> None:
    """Whatever the barriers, the range, and the borders of nodes and chunks between them."""
    values, lo, hi = drawn(data, points)
    tree = Tree(values, points)
    barrier = st.one_of(st.sampled_from(values.tolist()), st.just(math.inf))
    above, below = data.draw(barrier, label="above"), -data.draw(st.just(math.inf) | st.just(-values[-1]))
    met = np.flatnonzero((values[lo:hi] >= above) | (values[lo:hi] <= below))
    expected = lo + int(met[0]) if len(met) else -1
    assert find_first(tree.table, tree.roots, lo, hi, above, below) == expected


@pytest.mark.parametrize("points", CHUNK_POINTS)
@given(data=st.data())
def test_counts_and_ranks_are_those_of_a_sort(points: int, data: st.DataObject) -> None:
    """A count has the stored values beside it, and a rank gives the value that a sort puts there, ties and all."""
    values, lo, hi = drawn(data, points)
    tree = Tree(values, points)
    part = np.sort(values[lo:hi])
    x = data.draw(st.sampled_from(values.tolist()), label="x")
    count, under, over, _ = count_below(tree.table, tree.roots, lo, hi, x)
    below, rest = part[part < x], part[part >= x]
    assert (count, under, over) == (len(below), max(below, default=-math.inf), min(rest, default=math.inf))
    rank = data.draw(st.integers(0, hi - lo - 1), label="rank")
    assert select(tree, lo, hi, rank) == part[rank]


@pytest.mark.parametrize("points", CHUNK_POINTS)
@given(data=st.data())
def test_points_between_two_values_are_gathered(points: int, data: st.DataObject) -> None:
    """All of them, in their order, as far as there is room; and those below are counted, as is what had no room."""
    values, lo, hi = drawn(data, points)
    tree = Tree(values, points)
    low, high = sorted(data.draw(st.lists(st.sampled_from(values.tolist()), min_size=2, max_size=2), label="between"))
    room = data.draw(st.sampled_from([0, 1, 70, hi - lo]), label="room")
    found = np.full(room + 1, -1.0)
    part = values[lo:hi]
    inside = part[(part >= low) & (part <= high)]
    assert split(tree.table, tree.roots, lo, hi, low, high, found[:room]) == (int((part < low).sum()), len(inside))
    assert found[: min(room, len(inside))].tolist() == inside[:room].tolist()
    assert found[room] == -1.0


@pytest.mark.parametrize("few", [1, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_is_found_however_little_may_be_gathered(kind: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything is found by counting, down to one value, and where a sample gives the bracket."""
    monkeypatch.setattr("hft_mmap.tree.order._FEW", few)
    monkeypatch.setattr("hft_mmap.tree.order._MOST_GATHERED", few)
    values = prices(kind, 5000, seed=3)
    tree = Tree(values, 320)
    for rank in (0, 1, 2499, 4998, 4999):
        assert select(tree, 0, 5000, rank) == np.sort(values)[rank]


@pytest.mark.parametrize("gathered", [5_000, 700, 10])
@pytest.mark.parametrize("decimals", [9, 1, 0])
def test_a_rank_among_noise_is_found_by_a_sample(decimals: int, gathered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what lies around it may be gathered, or not, and how many of these values are the same."""
    monkeypatch.setattr("hft_mmap.tree.order._FEW", 1)
    monkeypatch.setattr("hft_mmap.tree.order._MOST_GATHERED", gathered)
    values = np.round(np.random.default_rng(6).normal(100.0, 1.0, 50_001), decimals)
    tree = Tree(values, 4096)
    for lo, hi in ((0, 50_001), (63, 49_999)):
        part = np.sort(values[lo:hi])
        for rank in (0, 7, *range(20_000, 30_000, 777), 49_000, hi - lo - 1):
            assert select(tree, lo, hi, rank) == part[rank]


@pytest.mark.parametrize("points", CHUNK_POINTS)
@given(data=st.data())
def test_a_rank_is_that_of_a_sort_however_it_is_looked_for(points: int, data: st.DataObject) -> None:
    """By counts alone or by a sample, wide or narrow, whatever fits into memory, and whatever comes back how often."""
    values, lo, hi = drawn(data, points)
    if data.draw(st.booleans(), label="few values"):  # as many at both ends of a bracket as between them
        values = values[np.minimum(np.arange(len(values)) % 97, 31)]
    tree = Tree(values, points)
    rank = data.draw(st.integers(0, hi - lo - 1), label="rank")
    with pytest.MonkeyPatch.context() as patch:
        for name, choices in (
            ("_FEW", (1, 50)), ("_MOST_GATHERED", (1, 10, 700)), ("_MANY", (-1, 512)), ("_SPREAD", (0, 512)),
        ):  # fmt: skip
            patch.setattr(f"hft_mmap.tree.order.{name}", data.draw(st.sampled_from(choices), label=name))
        assert select(tree, lo, hi, rank) == np.sort(values[lo:hi])[rank]


def test_a_rank_is_not_counted_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the blocks that are looked at are calm and all others are not, a count that reads much tells it."""
    blocks = 2048
    values = np.exp(np.random.default_rng(8).normal(0.0, 20.0, blocks * 64))
    values.reshape(blocks, 64)[:: blocks // 512] = 1e-9
    counted = []

    def counting(*asked: Any) -> Any:
        counted.append(count_below(*asked))
        return counted[-1]

    monkeypatch.setattr("hft_mmap.tree.order._FEW", 1)
    monkeypatch.setattr("hft_mmap.tree.order._MOST_GATHERED", len(values) // 2)
    monkeypatch.setattr("hft_mmap.tree.order.count_below", counting)
    rank = len(values) // 2
    assert select(Tree(values, 4096), 0, len(values), rank) == np.sort(values)[rank]
    assert sum(reads > len(values) // 8 for *_, reads in counted) == 1


def test_many_ranges_are_each_exact(series: Series) -> None:
    """Every name, of 300 ranges over all borders: stored values to the bit, the others beside exact rationals."""
    rng = np.random.default_rng(5)
    starts = rng.integers(400, 1001, 300)
    ends = rng.integers(starts + 1, 1002)
    found = series.stats_many(starts, ends, OF_PRICES)
    assert list(found) == ["start", "end", *OF_PRICES]
    for k, (lo, hi) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        row = {name: column[k].item() for name, column in found.items()}
        part = VALUES[lo:hi]
        exact = exact_window_stats(part.tolist(), hi - lo)
        assert (row["min"], row["max"], row["last"], row["first"]) == (exact.min, exact.max, exact.last, part[0])
        assert (row["argmin"], row["argmax"]) == (lo + int(part.argmin()), lo + int(part.argmax()))
        assert (row["count"], row["range"], row["change"]) == (hi - lo, exact.max - exact.min, part[-1] - part[0])
        n = hi - lo
        expected = {
            "avg": exact.avg,
            "var": exact.var,
            "std": math.sqrt(exact.var),
            "var_sample": float(Fraction(exact.var) * n / (n - 1)) if n > 1 else math.nan,
            "return": float((Fraction(part[-1]) - Fraction(part[0])) / Fraction(part[0])),
            "bollinger_upper": exact.avg + 2 * math.sqrt(exact.var),
            "bollinger_lower": exact.avg - 2 * math.sqrt(exact.var),
            "zscore": (exact.last - exact.avg) / math.sqrt(exact.var) if exact.var else math.nan,
        }
        for name, value in expected.items():
            close = math.isclose(row[name], value, rel_tol=1e-9, abs_tol=1e-9)
            assert close or (math.isnan(row[name]) and math.isnan(value)), (name, row[name], value)


def test_a_range_is_the_window_that_ends_there(series: Series) -> None:
    """The five statistics of [start, end), and of the newest points where it ends at the total."""
    exact = exact_window_stats(VALUES[450:700].tolist(), 250)
    found = series.range(450, 700)
    assert (found.min, found.max, found.last, found.points) == (exact.min, exact.max, exact.last, 250)
    assert math.isclose(found.var, exact.var, rel_tol=RELATIVE_ERROR, abs_tol=UNDERFLOW)
    assert series.range(901, 1001) == series.stats(100)


def test_a_window_ends_where_it_is_told_to(series: Series) -> None:
    """With `at`, it is the window that was the newest when that point was; what is no longer kept is not in it."""
    names = ("count", "first", "last", "avg")
    assert series.statistics(names, window=100, at=700) == series.statistics(names, start=601, end=701)
    assert series.statistics(names, window=100, at=1000) == series.statistics(names, window=100)
    assert series.statistics(("count", "first"), window=100, at=409) == {"count": 10, "first": VALUES[400]}
    for at in (399, 1001):
        with pytest.raises(OutOfRange, match="from 400 up to 1001"):
            series.statistics(names, window=10, at=at)
    with pytest.raises(InvalidRange, match="goes with a window"):
        series.statistics(names, at=500)
    with pytest.raises(InvalidRange, match="at must be"):
        series.statistics(names, window=10, at=-1)


def test_windows_are_answered_together(series: Series) -> None:
    """The newest points of each size, all of one moment; more than are kept gives all."""
    start, total, found = series.stats_windows(("count", "std", "argmin"), (10, 300, 10**30))
    assert (start, total, found["count"].tolist()) == (400, 1001, [10, 300, 601])
    for k, size in enumerate((10, 300, 601)):
        one = series.statistics(("count", "std", "argmin"), window=size)
        assert one == {name: found[name][k] for name in one}
    assert len(series.stats_windows()[2]["avg"]) == 8


def test_symbols_are_answered_together(open_store: OpenStore) -> None:
    """One row a symbol, in their order, as each alone; all of them or none."""
    store = open_store(limits=LIMITS, durability="process")
    for k, symbol in enumerate("ABC"):
        store.append(symbol, VALUES[k * 300 : k * 300 + 200 + k])
    found = store.stats_across(("C", "A", "B"), OF_PRICES, window=150)
    assert found["end"].tolist() == [202, 200, 201]
    for k, symbol in enumerate("CAB"):
        one = store.statistics(symbol, OF_PRICES, window=150)
        assert one == {name: found[name][k] for name in one}
    assert store.stats_across((), ("std",), window=5)["std"].tolist() == []
    with pytest.raises(SymbolNotFound, match="D"):
        store.stats_across(("A", "D"), window=5)
    with pytest.raises(InvalidSymbol, match="not the text 'ABC'"):
        store.stats_across("ABC", window=5)
    with pytest.raises(OutOfRange):
        store.stats_across(("A", "C"), start=0, end=202)


@pytest.mark.parametrize("appended", [1, 100, 950])
def test_symbols_are_answered_as_another_store_has_left_them(appended: int, tmp_path: Path) -> None:
    """Whether it has appended to a chunk that is mapped, begun new ones, or cleaned up those that were mapped."""
    with Store(tmp_path, limits=LIMITS, durability="process") as store, Store(tmp_path, mode="r") as reader:
        for symbol in "AB":
            store.append(symbol, VALUES[:100])
        assert reader.stats_across(["A", "B"], window=70)["end"].tolist() == [100, 100]
        for begin in range(0, appended, 500):
            store.append("B", VALUES[begin : min(begin + 500, appended)] + 1.0)
        found = reader.stats_across(["A", "B"], OF_PRICES, window=70)
        assert (found["start"] + 70).tolist() == found["end"].tolist() == [100, 100 + appended]
        for k, symbol in enumerate("AB"):
            one = store.statistics(symbol, OF_PRICES, window=70)
            assert one == {name: found[name][k] for name in one}


@given(data=st.data())
def test_bars_have_every_statistic(data: st.DataObject) -> None:
    """They begin and end where the plain bars do, and each is the range between."""
    with TemporaryDirectory() as path, Store(path, limits=LIMITS, durability="process") as store:
        n = data.draw(st.integers(1, 999), label="n")
        store.append("A", VALUES[:n])
        size = data.draw(st.integers(1, 1100), label="size")
        start, end = sorted((data.draw(st.integers(0, 1100)), data.draw(st.integers(0, 1100))))
        plain, found = store.series("A").bars(start, end, size), store.stats_bars("A", size, start, end)
        assert found["start"].tolist() == plain.index.tolist()
        assert found["end"].tolist() == [*plain.index.tolist()[1:], *([plain.end] if len(plain.index) else [])]
        again = store.stats_many("A", found["start"], found["end"])
        assert all(np.array_equal(found[name], again[name]) for name in again)


def test_what_is_no_bar_is_refused(series: Series) -> None:
    """As for the plain bars."""
    for size, start, end in ((0, 0, 5), (5, 5, 4), (True + 0.5, 0, 5)):
        with pytest.raises(InvalidRange, match="must be"):
            series.stats_bars(size, start, end)  # type: ignore[arg-type]
    assert series.stats_bars(1000)["start"].tolist() == [400, 1000]


def test_what_is_undefined_is_none(series: Series) -> None:
    """One point has no sample variance, and no z-score."""
    found = series.statistics(("std", "var_sample", "zscore", "count"), window=1)
    assert found == {"std": 0.0, "var_sample": None, "zscore": None, "count": 1}


@pytest.mark.parametrize("bad", [(5, 5), (6, 5), (-1, 5), (0.5, 5), (True, 5), ("1", 5)])
def test_what_is_no_range_is_refused(series: Series, bad: tuple[int, int]) -> None:
    """An empty range, one that ends before it begins, and what is no index."""
    with pytest.raises(InvalidRange, match="start"):
        series.range(*bad)


@pytest.mark.parametrize("bad", [(399, 500), (500, 1002), (10**30, 10**31)])
def test_a_range_that_is_not_all_kept_is_refused(series: Series, bad: tuple[int, int]) -> None:
    """A part of it would be another answer; the error has the bounds."""
    with pytest.raises(OutOfRange, match="from 400 up to 1001"):
        series.range(*bad)


def test_many_ranges_are_refused_whole(series: Series) -> None:
    """The text names the range that is wrong."""
    for starts, ends, error, text in (
        ([400, 5], [401, 5], InvalidRange, "window 1"),
        ([400, 399], [401, 500], OutOfRange, "399"),
        ([400], [401, 402], InvalidRange, "one length"),
        ([400.0], [401], InvalidRange, "whole numbers"),
        (np.ma.masked_array([400], mask=[True]), [401], InvalidRange, "null"),
    ):
        with pytest.raises(error, match=text):
            series.stats_many(starts, ends)
    with pytest.raises(InvalidStatistic, match=r"'mode'.*zscore"):
        series.stats_many([400], [401], ("mode",))
    assert len(series.stats_many([], [])["min"]) == 0


class OnlyArrow:
    """What has nothing but the Arrow PyCapsule interface."""

    def __init__(self, values: list[int | None]) -> None:
        self._array = pa.array(values)

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        found: tuple[object, object] = self._array.__arrow_c_array__(requested_schema)
        return found


@pytest.mark.parametrize(
    "taken",
    [
        np.array([400, 401], ">i8"),
        np.array([400, 401], np.uint16),
        np.array([401, 400])[::-1],
        np.ma.masked_array([400, 401], mask=[False, False]),
        pa.array([400, 401], pa.int16()),
        pa.chunked_array([[400], [401]]),
        pd.Series([400, 401], dtype="Int64"),
        OnlyArrow([400, 401]),
        memoryview(array("q", [400, 401])),
        range(400, 402),
    ],
    ids=lambda taken: type(taken).__name__,
)
def test_indexes_come_as_whatever_holds_whole_numbers(series: Series, taken: Any) -> None:
    """Arrays of every library, of any width and order of bytes, in any order of memory."""
    found = series.stats_many(taken, [500, 501], ("count",))
    assert found["start"].tolist() == [400, 401]
    assert found["start"].dtype == np.dtype(np.int64)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (pa.array([400, None]), r"starts\[1\] is null"),
        (pa.chunked_array([[400], [None]]), r"starts\[1\] is null"),
        (pd.Series([None, 401], dtype="Int64"), r"starts\[0\] is null"),
        (np.ma.masked_array([400, 401], mask=[False, True]), r"starts\[1\] is null"),
        (OnlyArrow([400, None]), r"starts\[1\] is null"),
        ([400, True], "holds a bool"),
        ([[400], [401, 402]], "one row of whole numbers"),
        ([2**70, 400], "one row of whole numbers"),
        (np.array([2**63, 400], np.uint64), "more points than a series"),
        (np.array([-(2**63), 400]), "window 0"),
        (np.array([400, 401], "M8[ns]"), "one row of whole numbers"),
        ({400, 401}, "one row of whole numbers"),
    ],
)
def test_what_are_no_indexes_is_refused_by_name(series: Series, bad: Any, text: str) -> None:
    """Nulls are called so, and no bool is taken for a number."""
    with pytest.raises(InvalidRange, match=text):
        series.stats_many(bad, [500, 501])


def test_what_is_no_number_is_refused_by_name(series: Series) -> None:
    """A text, a bool and a whole number beyond float64 are no barrier, no share, no price; nor is a float an index."""
    bad: Any
    for bad in ("500", True, 10**400, None, b"5"):
        if bad is not None:
            with pytest.raises(InvalidRange, match="above must be a finite number"):
                series.first(450, above=bad)
        with pytest.raises(InvalidRange, match="q must be a finite number"):
            series.quantile((bad,))
        with pytest.raises(InvalidRange, match="value must be a finite number"):
            series.rank(bad)
    for bad in ("0.5", 0.5):
        with pytest.raises(InvalidRange, match="q must be a sequence"):
            series.quantile(bad)
    for bad in (500.0, "500", True):
        with pytest.raises(InvalidRange, match="at must be a whole number"):
            series.statistics(("avg",), window=5, at=bad)
    for bad in (["avg"], b"avg", 5):
        with pytest.raises(InvalidStatistic, match="there is no statistic"):
            series.statistics((bad,), window=5)


def test_a_barrier_is_met_behind_an_index(series: Series) -> None:
    """The point, its value and which barrier; None where nothing met it; an error where it may have been dropped."""
    met = int(np.flatnonzero(VALUES[451:] >= VALUES[451:].max())[0]) + 451
    assert series.first(450, above=VALUES[met]) == Passage(met, VALUES[met], "above")
    assert series.first(450, above=VALUES[met], until=met) is None
    low = int(np.flatnonzero(VALUES[451:] <= VALUES[451:].min())[0]) + 451
    assert series.first(450, above=1e9, below=VALUES[low]) == Passage(low, VALUES[low], "below")
    assert series.first(5000, above=0.0) is None
    assert series.first(450, above=VALUES[met], until=10**30) == Passage(met, VALUES[met], "above")
    assert series.first(399, above=0, below=None) == Passage(400, VALUES[400], "above")
    with pytest.raises(OutOfRange):
        series.first(10, above=1.0)
    for above, below in (
        (None, None),
        (1.0, 1.0),
        (math.nan, None),
        (math.inf, 1.0),
        (1.0, -math.inf),
        (math.inf, None),
    ):
        with pytest.raises(InvalidRange):
            series.first(450, above=above, below=below)


def test_quantiles_are_stored_values(series: Series) -> None:
    """The ends are minimum and maximum, and 0.07 of 100 points are seven, not eight."""
    part = np.sort(VALUES[500:600])
    assert series.quantile((0, 0.07, 0.5, 1), start=500, end=600) == (part[0], part[6], part[49], part[99])
    assert series.quantile((0.5,), window=1) == (VALUES[-1],)
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(InvalidRange, match="q must"):
            series.quantile((bad,))
    with pytest.raises(InvalidRange, match="not both"):
        series.quantile((0.5,), window=1, start=500)


def test_a_rank_counts_ties_apart(series: Series) -> None:
    """What is below, equal and above adds up to all points."""
    part = VALUES[500:600]
    x = float(part[3])
    assert series.rank(x, start=500, end=600) == ((part < x).sum(), (part == x).sum(), (part > x).sum())


def test_as_of_is_the_point_at_or_before(series: Series) -> None:
    """The newest one where the index lies ahead; an error where it is no longer kept."""
    assert series.asof(500) == Point(500, VALUES[500])
    assert series.asof(10**30) == Point(1000, VALUES[1000])
    with pytest.raises(OutOfRange):
        series.asof(399)


def test_columns_are_arrow_with_nulls(series: Series) -> None:
    """What speaks the PyCapsule interface takes them, and what is undefined is null there."""
    found = series.stats_many([400, 400], [401, 410], ("var_sample", "argmin"))
    table = pa.table(found)
    assert table.column_names == ["start", "end", "var_sample", "argmin"]
    assert table["var_sample"].null_count == 1
    assert table["argmin"].to_pylist() == found["argmin"].tolist()


def test_a_symbol_without_points_is_not_found(open_store: OpenStore) -> None:
    """As for the statistics of a window."""
    with pytest.raises(SymbolNotFound):
        open_store().statistics("A", ("std",))


def test_answers_beside_a_writer_are_of_one_moment(open_store: OpenStore) -> None:
    """While points are appended and cleaned up, each answer fits together: value i is always i."""
    store = open_store(limits=LIMITS, durability="process")
    store.append("A", [0.0])
    done = threading.Event()

    def write() -> None:
        for total in range(1, 40_001, 50):
            store.append("A", np.arange(float(total), total + 50))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        found = store.statistics("A", ("first", "last", "argmin", "argmax", "count"), window=300)
        assert (found["first"], found["last"]) == (found["argmin"], found["argmax"])
        low, high = store.quantile("A", (0, 1))
        assert high - low + 1 <= LIMITS.max_data_retention
    writer.join()
