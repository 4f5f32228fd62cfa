"""Groups beside chunks: every answer is as right with them as without, whatever becomes of their files."""

import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hft_mmap import Limits, Store, SymbolNotFound
from hft_mmap.durable.groups import summarise
from hft_mmap.files import proved
from hft_mmap.files.layout import GROUPS
from hft_mmap.named import PATHS, TRADES
from hft_mmap.series import Series
from hft_mmap.ticks import Ticks
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.test_exact_answers import drawn_ranges, rows, stored
from tests.hft_mmap.test_kernels import prices
from tests.hft_mmap.test_path import assert_exact_path

NAMES = tuple(PATHS)
ALL = (*PATHS, *TRADES)
OF_PRICES = ("returns", "extremes", "moments")
"""The groups of a series that has neither times nor sizes."""
LIMITS = Limits(max_data_retention=20_000, cleanup_keep_count=20_000, starting_capacity=0, chunk_points=4096)
SUFFIXES = tuple(one.suffix for one in GROUPS)


@pytest.fixture(autouse=True, scope="module")
def groups_of_few_points() -> Iterator[None]:
    """Have groups looked for where they would save a few points only, and at every question."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proved, "FEW_POINTS", 1)
        patch.setattr(proved, "_LOOK_S", 0.0)
        yield


def covered(series: Series, names: Sequence[str] = NAMES) -> set[int]:
    """Return up to which point each group has been found to cover the series, by a question for all of it."""
    start, total = series.bounds()
    series.statistics(names, start=start, end=total)
    view = series.part()[0].view
    return set(view.groups.covered.values()) if isinstance(view.groups, proved.Stored) else {view.first}


def ticks_from(begin: int, values: NDArray[np.float64]) -> Ticks:
    """Return `values` as ticks, of which the first has the index `begin`: times and sizes follow from the index."""
    indexes = np.arange(begin, begin + len(values))
    spread = indexes * 7919
    return Ticks(values, 10**9 * indexes + spread % 10**9, (spread % 201 - 100) / 4)


def append(store: Store, values: NDArray[np.float64], symbol: str = "A") -> None:
    """Append prices with their times and sizes."""
    try:
        begin = store.series(symbol).total
    except SymbolNotFound:
        begin = 0
    rows = ticks_from(begin, values)
    store.append(symbol, rows.prices, times=rows.times, sizes=rows.sizes)


def scan_of(store: Store, rows: Ticks) -> dict[str, float | int | None]:
    """Return all statistics that groups have a part in, of `rows`, as a series without groups has them."""
    store.append("WITHOUT", rows.prices, times=rows.times, sizes=rows.sizes)
    return store.statistics("WITHOUT", ALL, window=len(rows.prices))


def assert_alike(found: dict[str, float | int | None], scanned: dict[str, float | int | None]) -> None:
    """Assert that an answer is that of a scan, as far as sums in another order are alike."""
    assert found.keys() == scanned.keys()
    for name, value in scanned.items():
        one = found[name]
        assert (one is None) == (value is None), name
        if one is not None and value is not None:
            same = (
                one == value if name in {"drawdown", "runup"} else math.isclose(one, value, rel_tol=1e-9, abs_tol=1e-9)
            )
            assert same, (name, one, value)


# -- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_points", [64, 320, 4096])
@settings(max_examples=10)
@given(data=st.data())
def test_the_path_of_every_range_is_exact_with_groups(chunk_points: int, data: st.DataObject) -> None:
    """Whatever the prices, over the borders of nodes and chunks, and whichever points the groups cover."""
    with stored(data, chunk_points) as (series, values, start):
        report = summarise("A", (series.part()[0].view, *series.bounds()), GROUPS, lambda: series.start)
        assert (report.points, report.left) == (max(len(values) // 64 * 64 - start, 0), ())
        starts, ends = drawn_ranges(data, start, len(values), 3)
        for begin, end, row in rows(series.stats_many(starts, ends, NAMES)):
            assert_exact_path(row, values[begin:end].tolist())
            assert series.statistics(NAMES, start=begin, end=end) == {name: row[name] for name in NAMES}
        assert covered(series) == {len(values) // 64 * 64}


@pytest.mark.parametrize("kind", ["uniform", "ticks", "far", "outlier", "wide", "constant", "subnormal", "huge"])
def test_the_path_is_exact_over_two_levels_of_groups(open_store: OpenStore, kind: str) -> None:
    """Windows that begin and end anywhere in three chunks, among them whole chunks."""
    store = open_store(limits=LIMITS, durability="process")
    values = prices(kind, 2 * 4096 + 100, seed=5)
    store.append("A", values)
    store.summarise("A")
    for begin, end in ((0, len(values)), (63, 8201)):
        assert_exact_path(store.statistics("A", NAMES, start=begin, end=end), values[begin:end].tolist())


def test_a_price_far_from_all_others_costs_no_digit(open_store: OpenStore) -> None:
    """One price of 0.01 among those near 100.1: what nodes keep of the mean beside its float64 is what is left."""
    store = open_store(limits=LIMITS, durability="process")
    values = np.full(8192, 100.1)
    values[5000] = 0.01
    values[[1, 8000]] += 0.1
    store.append("A", values)
    store.summarise("A")
    assert_exact_path(store.statistics("A", NAMES), values.tolist())


@pytest.mark.parametrize(("first", "last"), [(0.0, 3.0), (2.0, 0.0), (0.0, 0.0)])
def test_a_price_of_zero_below_a_node(open_store: OpenStore, first: float, last: float) -> None:
    """What has no logarithm and no ratio is undefined, with groups as without, and a fall to 0 is one of all."""
    store = open_store(limits=LIMITS, durability="process")
    values = np.full(1000, 4.0)
    values[[0, 500]] = first, last
    store.append("A", values)
    store.summarise("A")
    for begin in (0, 1, 64, 501):
        assert_exact_path(store.statistics("A", NAMES, start=begin, end=1000), values[begin:].tolist())


# -- which points they cover ------------------------------------------------------------------------------------------


def test_points_that_came_since_are_read_one_by_one(open_store: OpenStore) -> None:
    """Until the groups are brought up, which is done by the same command; full chunks are left as they are."""
    store = open_store(limits=LIMITS, durability="process")
    values = prices("ticks", 9000, seed=3)
    store.append("A", values[:5000])
    assert [report[1:] for report in store.summarise()] == [(OF_PRICES, 4992, (), ("trades",))]
    store.append("A", values[5000:])
    series = store.series("A")
    assert covered(series) == {4992}
    assert_exact_path(store.statistics("A", NAMES), values.tolist())
    before = {path.name: path.stat().st_mtime_ns for path in series.directory.iterdir() if path.suffix in SUFFIXES}
    assert store.summarise("A")[0].points == 8960
    assert covered(series) == {8960}
    assert_exact_path(store.statistics("A", NAMES), values.tolist())
    store.summarise("A")
    after = {path.name: path.stat().st_mtime_ns for path in series.directory.iterdir() if path.suffix in SUFFIXES}
    assert after.keys() > before.keys()


def test_only_the_groups_that_were_named_are_made(open_store: OpenStore) -> None:
    """And one that there is not is refused, with those there are."""
    store = open_store(limits=LIMITS, durability="process")
    store.append("A", prices("ticks", 5000, seed=3))
    assert store.summarise("A", groups=("moments",))[0].groups == ("moments",)
    assert {path.suffix for path in (store.path / "A").iterdir()} == {"", ".chunk", ".moments"}
    with pytest.raises(ValueError, match="no group 'trade'; there are returns, extremes, moments, trades"):
        store.summarise("A", groups=("trade",))


def test_another_store_finds_the_groups(open_store: OpenStore) -> None:
    """Also one that only reads; and those that came while it was open."""
    store = open_store(limits=LIMITS, durability="process")
    values = prices("ticks", 9000, seed=3)
    store.append("A", values[:5000])
    reader = open_store(store.path, mode="r").series("A")
    assert covered(reader) == {0}
    store.summarise()
    assert covered(reader) == {4992}
    store.append("A", values[5000:])
    store.summarise()
    assert covered(reader) == {8960}
    assert_exact_path(reader.statistics(NAMES), values.tolist())


def test_groups_never_come_from_points_that_were_lost(open_store: OpenStore, tmp_path: Path) -> None:
    """Where a series goes back to an earlier state, and others are appended, the groups of the first are no groups."""
    store = open_store(limits=LIMITS, durability="process")
    values = prices("ticks", 9000, seed=3)
    store.append("A", values[:2000])
    store.close()
    shutil.copytree(store.path, tmp_path / "before")
    store = open_store(limits=LIMITS, durability="process")
    store.append("A", values[2000:])
    store.summarise()
    store.close()
    for path in (tmp_path / "before" / "A").iterdir():
        shutil.copyfile(path, store.path / "A" / path.name)
    (store.path / "A" / f"{4096:020d}.chunk").unlink()
    store = open_store(limits=LIMITS, durability="process")
    assert store.series("A").total == 2000
    others = np.concatenate([values[:2000], prices("uniform", 7000, seed=4)])
    for end in (4000, 5000, 9000):
        store.append("A", others[store.series("A").total : end])
        assert_exact_path(store.statistics("A", NAMES), others[:end].tolist())
    store.summarise()
    assert covered(store.series("A")) == {8960}
    assert_exact_path(store.statistics("A", NAMES), others.tolist())


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ticks, dict[str, float | int | None]]:
    """Return a data directory whose series A has groups, one of them behind, its points, and its answer by a scan."""
    path = tmp_path_factory.mktemp("sound") / "data"
    rows = ticks_from(0, prices("ticks", 10_000, seed=3))
    with Store(path, limits=LIMITS, durability="process") as store:
        scanned = scan_of(store, rows)
        append(store, rows.prices[:9000])
        store.sync()
        store.summarise("A")
        append(store, rows.prices[9000:])
        store.summarise("A", groups=("returns", "moments", "trades"))
    return path, rows, scanned


@settings(max_examples=60)
@given(data=st.data())
def test_damage_of_groups_never_makes_a_wrong_answer(
    sound: tuple[Path, Ticks, dict[str, float | int | None]],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    """Bytes that changed anywhere, files that are cut, missing, of another chunk, or of another group."""
    path, rows, scanned = sound
    copy = tmp_path_factory.mktemp("damaged") / "data"
    shutil.copytree(path, copy)
    files = sorted(one for one in (copy / "A").iterdir() if one.suffix in SUFFIXES)
    for file in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=4), label="files"):
        content = bytearray(file.read_bytes()) if file.exists() else bytearray()
        how = data.draw(st.sampled_from(["bytes", "footer", "zeros", "cut", "other", "missing"]), label="how")
        if how in {"bytes", "footer"} and content:
            least = max(len(content) - 4096, 0) if how == "footer" else 0
            for place in data.draw(st.lists(st.integers(least, least + 700), min_size=1, max_size=3), label="places"):
                content[min(place, len(content) - 1)] ^= data.draw(st.integers(1, 255), label="bits")
        elif how == "zeros":
            content[: len(content) - 4096] = bytes(max(len(content) - 4096, 0))
        elif how == "cut":
            content = content[: data.draw(st.integers(0, len(content)), label="length")]
        elif how == "other":
            content = bytearray(data.draw(st.sampled_from(files), label="other").read_bytes()) if files else content
        file.write_bytes(content)
        if how == "missing":
            file.write_bytes(b"")
    with Store(copy, limits=LIMITS, durability="process") as store:
        assert_alike(store.statistics("A", ALL), scanned)
        for begin, end in ((100, 4196), (4096, 10_000), (8191, 9500)):
            store.remove("WITHOUT")
            part = scan_of(store, rows.cut(begin, end))
            assert_alike(store.statistics("A", ALL, start=begin, end=end), part)
        store.summarise("A")
        assert covered(store.series("A"), ALL) == {9984}
        assert_alike(store.statistics("A", ALL), scanned)
    shutil.rmtree(copy.parent)
