"""The group of times and sizes: every answer is as right with it as without, and it is of no other columns."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hft_mmap import Limits, Store
from hft_mmap.durable.groups import summarise
from hft_mmap.files import proved
from hft_mmap.files.layout import GROUPS
from hft_mmap.named import TRADES
from hft_mmap.series import Series
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.damage import flip
from tests.hft_mmap.test_exact_answers import drawn_ranges, rows
from tests.hft_mmap.test_groups import append, covered, ticks_from
from tests.hft_mmap.test_kernels import prices
from tests.hft_mmap.test_trades import MOST, assert_exact, stored
from tests.service import ROOT

NAMES = tuple(TRADES)
POINTS = 4096
LIMITS = Limits(max_data_retention=20_000, cleanup_keep_count=20_000, starting_capacity=0, chunk_points=POINTS)
OF_TRADES = tuple(one for one in GROUPS if one.name == "trades")
KINDS = ("uniform", "ticks", "far", "outlier", "wide", "constant", "subnormal", "huge")


@pytest.fixture(autouse=True, scope="module")
def groups_are_looked_for_at_once() -> Iterator[None]:
    """Have groups looked for where they would save a few points only, and at every question."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proved, "FEW_POINTS", 1)
        patch.setattr(proved, "_LOOK_S", 0.0)
        yield


def assert_right(series: Series, begin: int, end: int, columns: tuple[Any, Any, Any]) -> None:
    """Assert that all statistics of the points [begin, end) are those of the columns: prices, times and sizes."""
    values, times, sizes = (column[begin:end].tolist() for column in columns)
    assert_exact(series.statistics(NAMES, start=begin, end=end), values, times, sizes)


# -- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_points", [64, 320, 4096])
@settings(max_examples=25)
@given(data=st.data())
def test_every_range_is_exact_with_the_group(chunk_points: int, data: st.DataObject) -> None:
    """Whatever prices, times and sizes are, over the borders of nodes and chunks, and whichever points are kept."""
    with stored(data, chunk_points) as (series, values, times, sizes, start):
        report = summarise("A", (series.part()[0].view, *series.bounds()), OF_TRADES, lambda: series.start)
        assert (report.points, report.left) == (max(len(values) // 64 * 64 - start, 0), ())
        starts, ends = drawn_ranges(data, start, len(values), 4)
        for begin, end, row in rows(series.stats_many(starts, ends, NAMES)):
            here = slice(begin, end)
            assert_exact(row, values[here].tolist(), times[here].tolist(), sizes[here].tolist())
            assert series.statistics(NAMES, start=begin, end=end) == {name: row[name] for name in NAMES}
        assert proved_until(series) == len(values) // 64 * 64


def proved_until(series: Series) -> int:
    """Return up to which point the group has been found to cover the series, by a question for all of it."""
    start, total = series.bounds()
    series.statistics(NAMES, start=start, end=total)
    view = series.part()[0].view
    assert isinstance(view.groups, proved.Stored)
    return view.groups.covered[OF_TRADES[0].bit]


def of_three_chunks(kind: str) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return prices of a kind, with times of which the longest wait crosses from chunk to chunk, and sizes."""
    values, rng = prices(kind, 3 * POINTS + 100, seed=5), np.random.default_rng(5)
    waits = rng.integers(0, 10**9, len(values))
    waits[2 * POINTS] = 10**15
    sizes = np.where(rng.random(len(values)) < 0.3, 0.0, np.round(rng.normal(0, 40, len(values)), 2)) + 0.0
    return values, np.cumsum(waits), sizes


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_exact_over_two_levels_and_whole_chunks(open_store: OpenStore, kind: str) -> None:
    """They begin and end anywhere in four chunks, and at their borders."""
    store = open_store(limits=LIMITS, durability="process")
    columns = of_three_chunks(kind)
    store.append("A", columns[0], times=columns[1], sizes=columns[2])
    store.summarise("A")
    series, total = store.series("A"), len(columns[0])
    assert proved_until(series) == total // 64 * 64
    for begin, end in ((63, total), (POINTS - 1, 2 * POINTS + 1), (2 * POINTS, 3 * POINTS), (64, 128)):
        assert_right(series, begin, end, columns)


@pytest.mark.parametrize("sizes", [1e-300, 5e-324, 1e140, 0.0])
@pytest.mark.parametrize("values", [0.0, 5e-324, 1e-200, 1e140, 150.0])
def test_no_size_and_no_price_is_too_small_or_too_great(open_store: OpenStore, values: float, sizes: float) -> None:
    """Products of the least and of the greatest numbers that there are, over all the time there is."""
    store = open_store(limits=LIMITS, durability="process")
    n = POINTS + 300
    columns = np.full(n, values), np.full(n, -MOST), np.resize([sizes, -sizes, sizes / 2], n) + 0.0
    columns[0][::7] *= 0.5
    columns[1][n // 2 :] = MOST
    store.append("A", columns[0], times=columns[1], sizes=columns[2])
    store.summarise("A")
    assert proved_until(store.series("A")) == n // 64 * 64
    for begin, end in ((0, n), (n // 2 - 64, n // 2 + 64)):
        assert_right(store.series("A"), begin, end, columns)


# -- of which columns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "column"), [(("volume", "signed_volume", "vwap"), "sizes"), (("twap", "gap"), "times")]
)
def test_a_series_with_one_column_has_the_group_of_it(
    open_store: OpenStore, names: tuple[str, ...], column: str
) -> None:  # fmt: skip
    """It answers what can be asked, is verified, and goes on with the points that come."""
    store = open_store(limits=LIMITS, durability="process")
    every = ticks_from(0, prices("ticks", 9000, seed=3))
    append(store, every.prices, "BOTH")
    for begin, end in ((0, 5000), (5000, 9000)):
        part = every.cut(begin, end)
        store.append("A", part.prices, **{column: getattr(part, column)})
        assert store.summarise("A")[0].points == end // 64 * 64
    found, right = store.statistics("A", names), store.statistics("BOTH", names)
    assert found == pytest.approx(right, rel=1e-13)
    view = store.series("A").part()[0].view
    assert isinstance(view.groups, proved.Stored)
    assert view.groups.covered[OF_TRADES[0].bit] == 8960
    assert [report.faults for report in store.verify()] == [(), ()]


def changed(path: Path, suffix: str, chunk: int, seed: int) -> None:
    """Put in place of a column of series A that of a series of the same points whose times or sizes are others."""
    source = path.with_name(f"other-{seed}")
    rows, at = ticks_from(0, prices("ticks", 9000, seed=3)), 4096 * chunk + 100
    if suffix == ".size" and rows.sizes is not None:
        rows.sizes[at] += 1
    elif rows.times is not None:
        rows.times[at] += 1
    with Store(source, limits=LIMITS) as store:
        store.append("A", rows.prices, times=rows.times, sizes=rows.sizes)
    target = path / "A" / f"{4096 * chunk:020d}{suffix}"
    raw = bytearray((source / "A" / target.name).read_bytes())
    footer = len(raw) - 4096
    raw[footer : footer + 52] = target.read_bytes()[footer : footer + 52]  # the identity, with the series id
    target.write_bytes(raw)


@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("suffix", [".time", ".size"])
def test_a_group_of_other_columns_is_not_believed(tmp_path: Path, suffix: str, chunk: int) -> None:
    """Neither where the column is sealed, with a seal that fits it, nor in the newest chunk: the points are read."""
    data = tmp_path / "data"
    with Store(data, limits=LIMITS) as store:
        append(store, prices("ticks", 9000, seed=3))
        store.sync()
        store.summarise("A")
    changed(data, suffix, chunk, chunk)
    with Store(data, limits=LIMITS, mode="r") as store:
        series = store.series("A")
        if series.total < 9000:
            pytest.skip("the newest points were found to be lost")
        here = store.ticks("A", 9000)
        assert proved_until(series) == POINTS * chunk
        assert_right(series, 0, 9000, (here.prices, here.times, here.sizes))
        assert any(
            f"{POINTS * chunk:020d}.trades: it was made of other points" in one for one in store.verify()[0].faults
        )


def test_a_changed_size_is_told_by_the_group(tmp_path: Path) -> None:
    """And the group, which would make it look right, is left as it is."""
    data = tmp_path / "data"
    with Store(data, limits=LIMITS) as store:
        append(store, prices("ticks", 9000, seed=3))
        store.sync()
        store.summarise("A")
    flip(data / "A" / f"{0:020d}.size", 8 * 777)
    group = data / "A" / f"{0:020d}.trades"
    before = group.read_bytes()
    with Store(data, limits=LIMITS) as store:
        faults = store.verify("A")[0].faults
        assert [fault for fault in faults if group.name in fault] == [f"{group.name}: it was made of other points"]
        assert store.repair("A")[0].remaining == faults
    assert group.read_bytes() == before


def test_points_that_came_since_are_read_one_by_one(open_store: OpenStore) -> None:
    """Also those that come in another process after the group was proved."""
    store = open_store(limits=LIMITS, durability="process")
    every = ticks_from(0, prices("ticks", 9000, seed=3))
    append(store, every.prices[:5000])
    store.summarise("A", groups=["trades"])
    reader = open_store(store.path, mode="r").series("A")
    assert proved_until(reader) == 4992
    append(store, every.prices[5000:])
    assert proved_until(reader) == 4992
    assert_right(reader, 100, 9000, (every.prices, every.times, every.sizes))
    store.summarise("A", groups=["trades"])
    assert proved_until(reader) == 8960
    assert_right(reader, 100, 9000, (every.prices, every.times, every.sizes))
    assert covered(reader, ("rv", "vwap")) == {0, 8960}


QUESTION = """
import sys
from numba.core.event import install_recorder
from hft_mmap import Store
from hft_mmap.named import STATISTICS
with Store(sys.argv[1], mode="r") as store, install_recorder("numba:compile") as compiled:
    store.series("A").statistics(STATISTICS, start=0, end=9000)
    covered = store.series("A").part()[0].view.groups.covered
print(len(compiled.buffer), *covered.values())
"""


def test_the_first_question_compiles_nothing(tmp_path: Path) -> None:
    """All that it needs was compiled when the package was installed; 80 ms for one small function are a stall."""
    with Store(tmp_path, limits=LIMITS) as store:
        append(store, prices("ticks", 9000, seed=3))
        store.summarise("A")
    command = [sys.executable, "-c", QUESTION, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "8192", "8192", "8192", "8192"]
