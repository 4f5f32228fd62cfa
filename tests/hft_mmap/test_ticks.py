"""Points with times and sizes: what is stored of them, by whom, and what is refused; through the public door."""

import errno
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hft_mmap import (
    Appended,
    ColumnsDiffer,
    InvalidSizes,
    InvalidTimes,
    InvalidValues,
    Late,
    LateTimes,
    Limits,
    OffsetConflict,
    SeriesSetAside,
    Store,
    as_ticks,
)
from hft_mmap.files.head import HEAD_NAME
from hft_mmap.files.names import chunk_name
from hft_mmap.testing import lose_power, restart_machine
from tests.hft_mmap.conftest import StartStore
from tests.hft_mmap.damage import contents, flip

SMALL = Limits(chunk_points=64, starting_capacity=0)
TIME, SIZE = ".time", ".size"


def rows(n: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return prices, times that go back now and then, and sizes of both signs."""
    draw = np.random.default_rng(seed)
    return draw.random(n) * 100, 10 * np.arange(n) + draw.integers(0, 40, n), np.round(draw.normal(size=n), 2) + 0.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Leave a store closed in order: A has 200 points with both columns, three full chunks and a part of one."""
    path = tmp_path / "data"
    prices, times, sizes = rows(200)
    with Store(path, limits=SMALL) as store:
        for begin in range(0, 200, 40):
            part = slice(begin, begin + 40)
            store.append("A", prices[part], times=times[part], sizes=sizes[part])
    return path


def assert_whole(store: Store, symbol: str = "A", first: int = 0, n: int = 200) -> None:
    """Assert that the points from `first` up to `n` are there with all that they came with, and no fault is found."""
    prices, times, sizes = rows(200)
    found = store.ticks(symbol, 1000)
    assert found.times is not None
    assert found.sizes is not None
    assert found.prices.tolist() == prices[first:n].tolist()
    assert found.times.tolist() == np.maximum.accumulate(times)[first:n].tolist()
    assert found.sizes.tolist() == sizes[first:n].tolist()
    assert [report.faults for report in store.verify(symbol)] == [()]


# -- what is stored ---------------------------------------------------------------------------------------------------


def test_points_have_the_times_and_sizes_that_they_came_with(data: Path) -> None:
    """Also over the ends of chunks, and in a store that is opened anew; a late time is that of the point before it."""
    with Store(data, limits=SMALL) as store:
        assert_whole(store)
        assert store.series("A").columns == ("times", "sizes")


@pytest.mark.parametrize("columns", [("times",), ("sizes",), ("times", "sizes")])
def test_the_first_batch_chooses_the_columns(tmp_path: Path, columns: tuple[str, ...]) -> None:
    """Every later batch has the same; what has others is refused by name, and changes nothing."""
    given: dict[str, Any] = {"times": [1], "sizes": [1.0]}
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.append("A", [1.0], **{name: given[name] for name in columns})
        for others in ((), ("times",), ("sizes",), ("times", "sizes")):
            if others == columns:
                assert store.append("A", [2.0], **{name: given[name] for name in others}) == 2
                continue
            with pytest.raises(ColumnsDiffer, match=r"A has prices.*, and the batch has prices.*nothing was stored"):
                store.append("A", [2.0], **{name: given[name] for name in others})
        assert (store.series("A").total, store.series("A").columns) == (2, columns)


def test_a_series_of_prices_takes_no_other_column(tmp_path: Path) -> None:
    """Its files are those of every release before: a head of version 1 and chunks, and nothing beside them."""
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.append("A", np.ones(100))
        with pytest.raises(ColumnsDiffer, match="A has prices, and the batch has prices and times"):
            store.append("A", [1.0], times=[1])
    directory = tmp_path / "data" / "A"
    assert sorted(contents(directory)) == [chunk_name(0), chunk_name(64), HEAD_NAME]
    head = (directory / HEAD_NAME).read_bytes()
    assert struct.unpack_from("<I", head, 8) == (1,)
    assert not any(head[118:512])


@pytest.mark.parametrize("restarted", [False, True])
def test_the_first_batch_chooses_for_a_symbol_that_was_made_before(tmp_path: Path, *, restarted: bool) -> None:
    """Also where another process has it open, which then reads and writes the columns as well."""
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.create("A")
        if restarted:
            store.close()
        else:
            assert store.series("A").columns == ()
        reader = Store(tmp_path / "data", mode="r")
        with Store(tmp_path / "data", limits=SMALL) as other, reader:
            assert reader.series("A").columns == ()
            assert other.append("A", [1.0], times=[5], sizes=[2.0]) == 1
            if not restarted:
                with pytest.raises(ColumnsDiffer):
                    store.append("A", [1.0])
                assert store.append("A", [2.0], times=[7], sizes=[0.0]) == 2
            assert reader.ticks("A", 1).sizes is not None
            assert reader.series("A").columns == ("times", "sizes")
    lose_power(tmp_path / "data")
    with Store(tmp_path / "data", limits=SMALL) as again:
        assert again.series("A").columns == ("times", "sizes")


def test_the_columns_of_a_batch_that_failed_are_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing was ever stored, the next batch is the first one, and leaves no file of a column behind."""
    real = os.ftruncate

    def full(_fd: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with Store(tmp_path / "data", limits=SMALL) as store:
        store.create("A")
        monkeypatch.setattr(os, "ftruncate", full)
        with pytest.raises(Exception, match="no space for 1 values"):
            store.append("A", [1.0], times=[1], sizes=[1.0])
        monkeypatch.setattr(os, "ftruncate", real)
        assert sorted(contents(tmp_path / "data" / "A")) == [HEAD_NAME]
        assert store.append("A", [1.0]) == 1
        assert sorted(contents(tmp_path / "data" / "A")) == [chunk_name(0), HEAD_NAME]
        assert store.verify()[0].faults == ()


# -- late points ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 64, 200])
def test_late_points_are_counted(tmp_path: Path, size: int) -> None:
    """In the answer of each batch, and in all; by how much, too; whatever the way that the batch takes."""
    prices, times, sizes = rows(200)
    stored = np.maximum.accumulate(times)
    before = np.concatenate([[times[0]], stored[:-1]])
    late = (before - times).clip(0)
    with Store(tmp_path / "data", limits=SMALL) as store:
        for begin in range(0, 200, size):
            part = slice(begin, begin + size)
            done = store.append_ticks_nowait("A", as_ticks(prices[part], times[part], sizes[part]))
            expected = Appended(min(begin + size, 200), int((late[part] > 0).sum()), int(late[part].max()))
            assert done == expected
        series = store.series("A")
        assert (series.late, series.latest_ns) == (int((late > 0).sum()), int(late.max()))
        counted = store.counters().series[0]
        assert (counted.late, counted.latest_s) == (series.late, series.latest_ns / 1e9)
        assert_whole(store)


@pytest.mark.parametrize("place", [0, 3, 9])
def test_the_number_before_every_time_is_no_time(tmp_path: Path, place: int) -> None:
    """Whichever way the batch takes, the first of a series or behind others, and whatever becomes of late points."""
    times = np.arange(10)
    times[place] = -(2**63)
    for late in ("clamp", "refuse"):
        with Store(tmp_path / late, limits=replace(SMALL, late=Late(late))) as store:
            for total in (0, 2):
                with pytest.raises(InvalidTimes, match=rf"times\[{place}\] is -9223372036854775808"):
                    store.append("A", np.ones(10), times=times)
                store.append("A", [1.0, 2.0], times=np.arange(total, total + 2))
            assert store.ticks("A", 99).times.tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]


def test_the_largest_lateness_there_is_does_not_wrap(tmp_path: Path) -> None:
    """From one end of 64 bits to the other it is more than fits, and told as the most that does."""
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.append("A", [1.0], times=[2**63 - 1])
        assert store.append_ticks_nowait("A", as_ticks([2.0], [-(2**63) + 1], None)) == (2, 1, 2**63 - 1)
        assert store.ticks("A", 1).times.tolist() == [2**63 - 1]  # type: ignore[union-attr]


def test_late_points_can_be_refused(tmp_path: Path) -> None:
    """With the place, the whole batch, and nothing changed; equal times are not late."""
    limits = Limits(chunk_points=64, starting_capacity=0, late="refuse")  # type: ignore[arg-type]
    with Store(tmp_path / "data", limits=limits) as store:
        with pytest.raises(LateTimes, match=r"times\[2\] is 4, 1 ns before that of the point before it \(5\)"):
            store.append("A", [1.0, 2.0, 3.0], times=[1, 5, 4])
        assert "A" not in store
        assert store.append("A", [1.0, 2.0, 3.0], times=[1, 5, 5]) == 3
        for batch in ([4], [5, 4], [6] * 70 + [5]):
            with pytest.raises(LateTimes) as refusal:
                store.append("A", np.ones(len(batch)), times=batch)
            assert (refusal.value.index, refusal.value.total) == (len(batch) - 1, 3)
        assert store.append("A", [4.0], times=[5]) == 4
        assert store.series("A").late == 0


def test_where_no_point_is_kept_any_time_is_in_time(tmp_path: Path) -> None:
    """Points are late against the newest that is kept, and there is none after a cleanup that keeps none."""
    limits = Limits(chunk_points=64, starting_capacity=0, max_data_retention=64, cleanup_keep_count=0)
    with Store(tmp_path / "data", limits=limits) as store:
        store.append("A", np.ones(64), times=np.full(64, 100))
        store.append("A", np.ones(64), times=np.full(64, 90))
        assert store.ticks("A", 64).times.tolist() == [100] * 64  # type: ignore[union-attr]


# -- exactly once -----------------------------------------------------------------------------------------------------


def test_a_repeated_batch_is_stored_once(data: Path) -> None:
    """At any place that is kept, as it was sent: late times are compared as they are stored."""
    prices, times, sizes = rows(200)
    with Store(data, limits=SMALL) as store:
        for begin in (0, 1, 40, 63, 64, 100, 199):
            part = slice(begin, begin + 40)
            end = min(begin + 40, 200)
            assert store.append("A", prices[part], times=times[part], sizes=sizes[part], offset=begin) == end
        assert_whole(store)


@pytest.mark.parametrize("changed", [0, 1, 2])
@pytest.mark.parametrize("begin", [0, 1, 60])
def test_another_batch_at_the_place_is_refused(data: Path, changed: int, begin: int) -> None:
    """One other price, time or size is enough."""
    with Store(data, limits=SMALL) as store:
        batch = [column[begin : begin + 9].copy() for column in rows(200)]
        batch[changed][8] += 1000
        with pytest.raises(OffsetConflict, match="other rows are stored there"):
            store.append("A", batch[0], times=batch[1], sizes=batch[2], offset=begin)
        assert_whole(store)


def test_a_repeat_is_known_where_the_point_before_it_is_gone(tmp_path: Path) -> None:
    """Its first point may have been late against a point that is no longer kept."""
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.append("A", [1.0], times=[100])
        store.append("A", [2.0, 3.0], times=[90, 110])
        store.truncate("A", keep=2)
        assert store.append("A", [2.0, 3.0], times=[90, 110], offset=1) == 3
        with pytest.raises(OffsetConflict):
            store.append("A", [2.0, 3.0], times=[101, 110], offset=1)
        with pytest.raises(OffsetConflict):
            store.append("A", [2.0, 3.0], times=[90, 111], offset=1)


def test_the_first_point_of_all_was_never_late(tmp_path: Path) -> None:
    """So a batch whose first time lies before that of what is stored at 0 is another one."""
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.append("A", [1.0, 2.0], times=[10, 5], offset=0)
        assert store.append("A", [1.0, 2.0], times=[10, 5], offset=0) == 2
        for first in (9, 11):
            with pytest.raises(OffsetConflict, match="other rows are stored there"):
                store.append("A", [1.0, 2.0], times=[first, 5], offset=0)


def test_a_batch_of_ticks_without_columns_is_one_of_prices(tmp_path: Path) -> None:
    """It takes the way of prices, and is refused where there are columns."""
    with Store(tmp_path / "data", limits=SMALL) as store:
        batch = as_ticks([1.0, 2.0], None, None)
        assert [store.append_ticks_nowait("A", batch) for _ in range(3)] == [Appended(2), Appended(4), Appended(6)]
        assert (store.series("A").columns, store.window("A", 9).tolist()) == ((), [1.0, 2.0] * 3)
        assert [report.faults for report in store.verify()] == [()]
        store.append("B", [1.0], times=[1])
        with pytest.raises(ColumnsDiffer, match="B has prices and times, and the batch has prices"):
            store.append_ticks_nowait("B", batch)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "text"),
    [
        ([1], "times must have one number for each of the 2 values, not 1"),
        ([1.0, 2.0], r"times\[0\] must be a whole number or a datetime, not float"),
        ([1, True], r"times\[1\] must be a whole number or a datetime, not bool"),
        ([1, None], r"times\[1\] must be a whole number or a datetime, not NoneType"),
        (np.array([1.0, 2.0]), "times must be whole numbers or datetime64, not an array of float64"),
        (np.zeros((2, 1), dtype=int), r"one row of whole numbers, not the shape \(2, 1\)"),
        ("12", "times must be an array or a sequence of whole numbers, not str"),
        (7, "times must be an array or a sequence of whole numbers, not int"),
        ([0, 2**63], r"times\[1\] is 9223372036854775808, and times are from 1677 to 2262"),
        (np.array([0, 2**63], dtype=np.uint64), r"times\[1\] is 9223372036854775808 ns, and times are from 1677"),
        (np.array(["2026-01-01", "NaT"], dtype="M8[s]"), r"times\[1\] is NaT"),
        (np.array(["2026-01-01", "3000-01-01"], dtype="M8[s]"), r"times\[1\] is 3000-01-01T00:00:00, and times are"),
        ([0, pd.NaT], r"times\[1\] is NaT, which is no time"),
        (
            [datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))] * 2,
            r"times\[0\] is 0001-01-01 00:00:00\+01:00, and",
        ),
        ([datetime(2026, 1, 1)] * 2, r"times\[0\] is 2026-01-01T00:00:00, which has no time zone"),  # noqa: DTZ001
    ],
)
def test_what_is_no_time_is_refused_by_its_place(data: Path, times: object, text: str) -> None:
    """And nothing is stored."""
    with Store(data, limits=SMALL) as store:
        with pytest.raises(InvalidTimes, match=text):
            store.append("A", [1.0, 2.0], times=times, sizes=[1.0, 2.0])
        assert_whole(store)


@pytest.mark.parametrize("n", [2, 90])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.1e140, -1.1e140])
def test_what_is_no_size_is_refused_by_its_place(data: Path, n: int, bad: float) -> None:
    """Whatever way the batch takes."""
    prices, times, sizes = rows(n)
    sizes[n - 1] = bad
    with Store(data, limits=SMALL) as store:
        with pytest.raises(InvalidSizes, match=rf"sizes\[{n - 1}\] is .*: a size must be finite"):
            store.append("A", prices, times=times, sizes=sizes)
        with pytest.raises(InvalidSizes, match="sizes must have one number for each of the 1 values, not 2"):
            store.append("A", [1.0], times=[1], sizes=[1.0, 2.0])
        with pytest.raises(InvalidValues, match=r"values\[0\] is nan"):
            store.append("A", [np.nan], times=[1], sizes=[1.0])
        assert_whole(store)


def test_a_batch_that_was_put_together_by_hand_is_looked_at_as_well(data: Path) -> None:
    """Columns that are not of the length of its prices are refused, whatever way it would take."""
    with Store(data, limits=SMALL) as store:
        whole = as_ticks(*rows(3))
        assert whole.times is not None
        for symbol in ("A", "NEW"):
            with pytest.raises(InvalidTimes, match="one number for each of the 3 values, not 2"):
                store.append_ticks_nowait(symbol, whole._replace(times=whole.times[:2]))
            with pytest.raises(InvalidSizes, match="one number for each of the 3 values, not 4"):
                store.append_ticks_nowait(symbol, whole._replace(sizes=np.ones(4)))
        assert "NEW" not in store
        assert_whole(store)


def test_a_size_of_minus_zero_is_zero(tmp_path: Path) -> None:
    """As a price of -0.0 is; the largest sizes of both signs are sizes."""
    with Store(tmp_path / "data", limits=SMALL) as store:
        for batch in ([-0.0, 1e140], [-0.0, -1e140]):
            store.append("A", [1.0, 2.0], sizes=batch)
        found = store.ticks("A", 4).sizes
        assert found is not None
        assert found.tolist() == [0.0, 1e140, 0.0, -1e140]
        assert not np.signbit(found[[0, 2]]).any()


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        ([1_767_225_600_000_000_001], "ns"),
        (np.array([1_767_225_600_000_000_001]), "ns"),
        (np.array(["2026-01-01T00:00:00.000000001"], dtype="M8[ns]"), "s"),
        ([np.datetime64("2026-01-01T00:00:00.000000001")], "ns"),
    ],
)
def test_times_are_taken_in_every_form(tmp_path: Path, times: object, unit: str) -> None:
    """Whole numbers, datetime64 of any unit, datetimes with a time zone."""
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.append("A", [1.0], times=times, time_unit=unit)
        assert store.ticks("A", 1).times.tolist() == [1_767_225_600_000_000_001]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        ([1_767_225_600], "s"),
        (np.array([1_767_225_600_000], dtype=np.uint64), "ms"),
        (np.array([1_767_225_600_000_000]), "us"),
        ([datetime(2026, 1, 1, tzinfo=UTC)], "ns"),
        ([datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))], "ns"),
        (np.array(["2026-01-01"], dtype="M8[D]"), "ns"),
    ],
)
def test_times_are_taken_in_every_unit(tmp_path: Path, times: object, unit: str) -> None:
    """As above."""
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.append("A", [1.0], times=times, time_unit=unit)
        assert store.ticks("A", 1).times.tolist() == [1_767_225_600_000_000_000]  # type: ignore[union-attr]


def test_a_caller_that_changes_its_arrays_meanwhile_changes_nothing_that_is_stored(tmp_path: Path) -> None:
    """What was appended is a copy."""
    prices, times, sizes = (column[:100].copy() for column in rows(200))
    with Store(tmp_path / "data", limits=SMALL) as store:
        store.append("A", prices, times=times, sizes=sizes)
        times[:], sizes[:] = 0, 0
        assert_whole(store, n=100)


# -- every file of a chunk ------------------------------------------------------------------------------------------


def test_a_cleanup_removes_every_file_of_a_chunk(tmp_path: Path) -> None:
    """And so does the cutting of a series."""
    limits = Limits(chunk_points=64, starting_capacity=0, max_data_retention=150, cleanup_keep_count=20)
    prices, times, sizes = rows(200)
    with Store(tmp_path / "data", limits=limits) as store:
        for begin in range(0, 200, 20):
            part = slice(begin, begin + 20)
            store.append("A", prices[part], times=times[part], sizes=sizes[part])
        store.sync()
        assert_whole(store, first=store.series("A").start)
        store.truncate("A", keep=5)
        assert_whole(store, first=195)
    names = [chunk_name(192, suffix) for suffix in (".chunk", SIZE, TIME)]
    assert sorted(contents(tmp_path / "data" / "A")) == [*names, HEAD_NAME]


def test_a_series_with_columns_is_renamed_removed_and_restored(data: Path, tmp_path: Path) -> None:
    """With every file, whoever has it open."""
    with Store(data, limits=SMALL) as store, Store(data, limits=SMALL) as other:
        assert_whole(other)
        assert store.snapshot(tmp_path / "copy") == {"A": 200}
        assert store.rename("A", "B") == 200
        assert_whole(other, "B")
        store.remove("B")
        assert "B" not in other
        assert store.restore(tmp_path / "copy", "A") == 200
        assert_whole(other)
        assert other.append("A", [1.0], times=[10**9], sizes=[0.0]) == 201
        assert store.series("A").total == 201
    with Store(tmp_path / "copy", limits=SMALL) as copy:
        assert_whole(copy)


def test_processes_share_a_series_with_columns(tmp_path: Path, start_store: StartStore) -> None:
    """Each appends behind the other, late points against those of the other too."""
    one = start_store(durability="process")
    with Store(tmp_path / "data", limits=SMALL) as store:
        prices, times, sizes = rows(200)
        for begin in range(0, 200, 10):
            part = slice(begin, begin + 10)
            where: Any = one if begin % 20 else store
            where.append("A", prices[part], times=times[part], sizes=sizes[part])
        assert_whole(store)
        one.kill()
        assert_whole(store)


def test_a_series_at_rest_opens_its_columns_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has no descriptors is appended to like any other; idle it has none of a column either."""
    monkeypatch.setattr("hft_mmap.directory.opening.most_awake", lambda: 1)
    with Store(data, limits=SMALL) as store:
        for number in range(3):
            for symbol in ("A", "B"):
                store.append(symbol, [1.0], times=[10**9 + number], sizes=[float(number)])
                store.sync()
        found = store.ticks("A", 3)
        assert found.sizes is not None
        assert found.sizes.tolist() == [0.0, 1.0, 2.0]
        links = [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
        assert [link for link in links if "/data/A/" in link] == []


def _is_open(fd: str) -> bool:
    try:
        os.stat(f"/proc/self/fd/{fd}")
    except OSError:
        return False
    return True


# -- after a crash ----------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(start_store: StartStore, tmp_path: Path) -> Path:
    """Leave what a killed process leaves: 100 points on the disk for certain, 60 more in memory only; the directory."""
    store: Any = start_store(durability="process")
    prices, times, sizes = rows(200)
    store.append("A", prices[:100], times=times[:100], sizes=sizes[:100])
    store.sync()
    # 60 more stay below the next roll but one, so that no commit is asked for them in time.
    store.append("A", prices[100:120], times=times[100:120], sizes=sizes[100:120])
    store.kill()
    return tmp_path / "data" / "A"


def test_rows_outlive_a_kill(killed: Path) -> None:
    """They prove themselves, all columns of them."""
    with Store(killed.parent, limits=SMALL) as store:
        assert_whole(store, n=120)


def test_rows_outlive_a_power_loss_as_far_as_they_were_committed(killed: Path) -> None:
    """What lies above is gone, in all files."""
    lose_power(killed.parent)
    with Store(killed.parent, limits=SMALL) as store:
        assert_whole(store, n=100)
        prices, times, sizes = rows(200)
        assert store.append("A", prices[100:], times=times[100:], sizes=sizes[100:]) == 200
        assert_whole(store)


@pytest.mark.parametrize("suffix", [TIME, SIZE])
def test_a_row_is_certain_only_if_all_its_columns_are(killed: Path, suffix: str) -> None:
    """A time or a size that memory has lost takes the batch with it, which is told; what was committed is there."""
    flip(killed / chunk_name(64, suffix), 8 * (110 - 64) + 2)
    told: list[str] = []
    with Store(killed.parent, limits=SMALL, on_event=lambda name, _: told.append(name)) as store:
        assert [(loss.points, loss.total) for loss in store.losses()] == [(20, 100)]
        assert "lost" in told
        assert_whole(store, n=100)


@pytest.mark.parametrize("suffix", [TIME, SIZE])
@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (Path.unlink, "is missing: it held the {} of the points 64 to 127"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "has 8191 bytes instead of 8192"),
        (lambda path: flip(path, 4096), "its identity is not sound"),
        (lambda path: flip(path, 4096 + 13), "its identity is not sound"),
        (lambda path: shutil.copy(path.with_name(chunk_name(0, path.suffix)), path), "holds 64 points from 0, not"),
        (lambda path: shutil.copy(path.with_suffix(SIZE if path.suffix == TIME else TIME), path), "is of kind"),
    ],
)
def test_a_series_without_a_sound_column_is_set_aside(
    data: Path, suffix: str, harm: Callable[[Path], object], text: str
) -> None:
    """With the reason, and its files are left as they are."""
    harm(data / "A" / chunk_name(64, suffix))
    before = contents(data / "A")
    with Store(data, limits=SMALL) as store:
        (reason,) = store.reasons()
        assert text.format("times" if suffix == TIME else "sizes") in reason.detail
        with pytest.raises(SeriesSetAside):
            store.ticks("A", 1)
        assert store.verify()[0].faults
    assert contents(data / "A") == before


@pytest.mark.parametrize("restarted", [False, True])
def test_leftovers_of_columns_are_removed(data: Path, *, restarted: bool) -> None:
    """Files above the total after a power loss, and what lies below the start: of columns as of chunks."""
    (data / "A" / chunk_name(64 * 50, TIME)).write_bytes(b"half a column")
    if restarted:
        restart_machine(data)
    with Store(data, limits=SMALL) as store:
        assert_whole(store)
        store.truncate("A", keep=10)
    (data / "A" / chunk_name(0, SIZE)).write_bytes(b"of a cleanup that was cut short")
    with Store(data, limits=SMALL) as store:
        assert_whole(store, first=190)
    left = {name for name in contents(data / "A") if not name.startswith(f"{192:020d}")}
    assert left - {HEAD_NAME} <= {chunk_name(128, suffix) for suffix in (".chunk", TIME, SIZE)} | (
        set() if restarted else {chunk_name(64 * 50, TIME)}
    )


@pytest.mark.parametrize("suffix", [TIME, SIZE])
def test_every_flipped_bit_of_a_column_is_found(data: Path, suffix: str) -> None:
    """By verify, whether the chunk is sealed or not; repair makes none of them look right."""
    sealed, growing = data / "A" / chunk_name(0, suffix), data / "A" / chunk_name(192, suffix)
    for path, offsets in (
        (sealed, (*range(0, 512, 37), 4096, 4141, 4145, 4608, 4613, 4700)),
        (growing, range(0, 64, 5)),
    ):
        for offset in offsets:
            flip(path, offset)
            with Store(data, mode="r") as store:
                assert store.verify()[0].faults, (path.name, offset)
            with Store(data, limits=SMALL) as store:
                served = not store.reasons()
                if served:
                    store.repair()
                # A seal is made anew where the running checksum proves what it covers, and nothing else is.
                mended = served and 4608 <= offset < 4616
                assert bool(store.verify()[0].faults) != mended, (path.name, offset)
            if not mended:
                flip(path, offset)
    with Store(data, limits=SMALL) as store:
        assert_whole(store)


def test_repair_rebuilds_nodes_beside_columns(data: Path) -> None:
    """And a damaged seal of a column whose values prove themselves."""
    flip(data / "A" / chunk_name(0), 512)  # the node
    flip(data / "A" / chunk_name(64, TIME), 4096 + 512)  # the seal
    with Store(data, limits=SMALL) as store:
        faults = store.verify()[0].faults
        assert len(faults) == 4  # the node, the checksum of the nodes, the root, the seal
        assert any("the seal is damaged" in fault for fault in faults)
        assert (store.repair()[0].remaining, store.verify()[0].faults) == ((), ())
        assert_whole(store)


def test_a_head_names_its_columns_under_a_checksum(data: Path) -> None:
    """A damaged one, or one of a kind that this release does not know, is no head."""
    head = data / "A" / HEAD_NAME
    raw = head.read_bytes()
    assert struct.unpack_from("<I", raw, 8) == (2,)
    assert struct.unpack_from("<Q", raw, 120) == (3,)
    for bits, text in ((4, "columns of kinds 0x4"), (0, "and no columns")):
        block = raw[:120] + struct.pack("<Q", bits)
        head.write_bytes(block + struct.pack("<I", zlib.crc32(block)) + raw[132:])
        with Store(data, limits=SMALL) as store:
            assert text in store.reasons()[0].detail
    head.write_bytes(raw)
    flip(head, 120)
    with Store(data, limits=SMALL) as store:
        assert "a wrong checksum of its columns" in store.reasons()[0].detail
