"""The life of a symbol: made, renamed, cut, brought back, removed; beside whoever has it open."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hft_mmap import (
    ColumnsDiffer,
    Durability,
    HftMmapError,
    InvalidRange,
    InvalidSymbol,
    Limits,
    OffsetConflict,
    OutOfRange,
    SeriesBusy,
    SeriesRemoved,
    SeriesSetAside,
    Store,
    StoreClosed,
    StoreReadOnly,
    SymbolExists,
    SymbolLimitReached,
    SymbolNotFound,
    SymbolUnknown,
)
from tests.hft_mmap.conftest import OpenStore, StartStore
from tests.locks import held

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS = np.arange(1.0, 201.0)


def names(store: Store) -> list[str]:
    """Return the names in the data directory."""
    return sorted(os.listdir(store.path))


def test_a_removed_symbol_is_gone_with_its_files(open_store: OpenStore) -> None:
    """Nothing of it is left on the disk or in any answer; the other symbols are as they were."""
    events: list[str] = []
    store = open_store(on_event=lambda name, _: events.append(name))
    for symbol in ("A", "B"):
        store.append(symbol, POINTS)
    store.remove("A")
    assert names(store) == [".lock", "B"]
    assert (list(store), store.reasons()) == (["B"], [])
    with pytest.raises(SymbolNotFound):
        store.stats("A", 1)
    with pytest.raises(SymbolNotFound):
        store.remove("A")
    assert store.stats("B", 1000).points == 200
    assert "series_removed" in events
    assert "removed" not in events


def test_a_removal_makes_room_for_another_symbol(open_store: OpenStore) -> None:
    """The limit counts what there is."""
    store = open_store(limits=Limits(max_symbols=1, starting_capacity=0))
    store.append("A", [1.0])
    with pytest.raises(SymbolLimitReached, match=r"store\.max_symbols"):
        store.append("B", [1.0])
    store.remove("A")
    assert store.append("B", [1.0]) == 1


@pytest.mark.parametrize("durability", Durability)
def test_a_symbol_that_is_made_again_begins_anew(open_store: OpenStore, durability: Durability) -> None:
    """Its total counts from 0, and what was held of the old one refuses both questions and batches."""
    store = open_store(durability=durability)
    store.append("A", POINTS)
    old = store.series("A")
    store.remove("A")
    assert store.append("A", [7.0, 8.0]) == 2
    assert store.stats("A", 1000)[:3] == (7.0, 8.0, 8.0)
    with pytest.raises(SymbolNotFound):
        old.stats(1)
    with pytest.raises(SeriesRemoved, match="A was removed, or given another name"):
        old.append_nowait([1.0])
    store.sync()


@pytest.mark.parametrize("end", ["remove", "rename"])
def test_a_producer_that_counts_meets_a_conflict(open_store: OpenStore, start_store: StartStore, end: str) -> None:
    """An offset above 0 makes no symbol anew, in the process that took the name away and in any other."""
    other = start_store()
    other.append("A", POINTS)
    store = open_store()
    assert store.append("A", [1.0], offset=200) == 201
    if end == "remove":
        store.remove("A")
    else:
        store.rename("A", "B")
    for producer in (store, other):
        with pytest.raises(OffsetConflict, match="A does not exist yet, its total is 0") as refusal:
            producer.append("A", [2.0], offset=201)
        assert refusal.value.total == 0
    assert list(store) == ([] if end == "remove" else ["B"])


def test_another_process_finds_a_removed_symbol_no_more(open_store: OpenStore, start_store: StartStore) -> None:
    """It need neither write nor be started anew: the removed series is not mixed up with a later one."""
    other = start_store()
    other.append("A", POINTS)
    store = open_store()
    store.remove("A")
    with pytest.raises(SymbolNotFound):
        other.stats("A", 10)
    assert (other.symbols(), other.reasons()) == ([], [])
    store.append("A", [5.0])
    assert other.stats("A", 10).last == 5.0
    assert other.append("A", [6.0], offset=1) == 2
    assert store.stats("A", 10).last == 6.0


def test_a_reader_finds_a_removed_symbol_no_more(open_store: OpenStore) -> None:
    """Nor does a store that only reads keep to what it had open."""
    store = open_store()
    store.append("A", POINTS)
    reader = open_store(mode="r")
    assert reader.stats("A", 10).points == 10
    store.remove("A")
    with pytest.raises(SymbolNotFound):
        reader.stats("A", 10)
    store.append("A", [5.0])
    assert reader.stats("A", 10).points == 1


def test_a_renamed_symbol_goes_on_under_its_new_name(open_store: OpenStore, start_store: StartStore) -> None:
    """Points, total and start are the same, in each process; there is nothing under the old name."""
    other = start_store()
    store = open_store()
    other.append("A", POINTS)
    assert store.rename("A", "EUR/USD") == 200
    assert names(store) == [".lock", "EUR%2FUSD"]
    for one in (store, other):
        np.testing.assert_array_equal(one.window("EUR/USD", 1000), POINTS)
        with pytest.raises(SymbolNotFound):
            one.stats("A", 1)
    assert other.append("EUR/USD", [3.0], offset=200) == 201
    assert other.append("A", [4.0]) == 1
    assert store.stats("EUR/USD", 1).last == 3.0
    assert store.stats("A", 1).last == 4.0
    store.close()
    other.close()
    with Store(store.path, mode="r") as again:
        assert [report.faults for report in again.verify()] == [(), ()]
        assert [(info.symbol, info.total) for info in again.symbols()] == [("A", 1), ("EUR/USD", 201)]


def test_a_symbol_is_renamed_there_and_back(open_store: OpenStore) -> None:
    """As often as one likes, with batches in between."""
    store = open_store()
    store.append("A", POINTS)
    for turn, (old, new) in enumerate([("A", "B"), ("B", "C"), ("C", "A")], start=1):
        store.rename(old, new)
        assert store.append(new, [float(turn)]) == 200 + turn
    np.testing.assert_array_equal(store.window("A", 203), [*POINTS, 1.0, 2.0, 3.0])
    assert store.losses() == []


def test_a_name_that_is_taken_is_refused(open_store: OpenStore) -> None:
    """Both series stay as they are; a series can't take its own name either."""
    store = open_store()
    store.append("A", [1.0])
    store.append("B", [2.0])
    for new in ("A", "B"):
        with pytest.raises(SymbolExists, match=f"{new} exists already, so A was not renamed"):
            store.rename("A", new)
    with pytest.raises(InvalidSymbol):
        store.rename("A", "")
    assert (store.stats("A", 1).last, store.stats("B", 1).last) == (1.0, 2.0)


def test_a_truncation_keeps_the_newest_points(open_store: OpenStore, start_store: StartStore) -> None:
    """`start` moves up and `total` stays, as in a cleanup; chunks that hold no point any more are off the disk."""
    other = start_store()
    store = open_store()
    store.append("A", POINTS)
    assert other.stats("A", 1000).points == 200
    assert store.truncate("A", keep=50) == 150
    assert store.truncate("A", keep=1000) == 0
    for one in (store, other):
        assert one.stats("A", 1000) == (151.0, 200.0, 200.0, 175.5, np.var(POINTS[150:]), 50)
    assert store.series("A").bounds() == (150, 200)
    assert len(list((store.path / "A").glob("*.chunk"))) == 2
    assert other.append("A", [1.0], offset=200) == 201
    with pytest.raises(OffsetConflict, match="points before 150 are no longer kept"):
        other.append("A", POINTS[140:], offset=140)
    with pytest.raises(ValueError, match="keep must be a whole number from 1, not 0"):
        store.truncate("A", keep=0)
    for both in ({}, {"keep": 1, "before": "1s"}):
        with pytest.raises(ValueError, match="either keep, a number of points, or before, a time"):
            store.truncate("A", **both)  # type: ignore[arg-type]


def test_a_truncation_by_time_keeps_the_points_of_that_time_and_later(
    open_store: OpenStore, start_store: StartStore
) -> None:
    """Several points of one time stay or go together; what would leave no point, or knows no time, changes nothing."""
    other = start_store()
    store = open_store()
    seconds = np.arange(200, dtype=np.int64) // 4
    store.append("A", POINTS, times=seconds * 10**9)
    store.append("B", POINTS)
    assert other.stats("A", 1000).points == 200
    assert store.truncate("A", before="20s") == 80
    for before in ("20s", "19.000000001s", "1s", np.datetime64(20, "s"), datetime.fromtimestamp(20, tz=UTC)):
        assert store.truncate("A", before=before) == 0
    for wrong, error in (("50s", OutOfRange), ("soon", InvalidRange)):
        with pytest.raises(error):
            store.truncate("A", before=wrong)
    with pytest.raises(ColumnsDiffer, match="B has no times"):
        store.truncate("B", before="20s")
    for one in (store, other):
        np.testing.assert_array_equal(one.window("A", 1000), POINTS[80:])
        assert one.stats("B", 1000).points == 200
    assert store.truncate("A", before="49s") == 116
    store.close()
    store = open_store()
    assert store.series("A").bounds() == (196, 200)
    assert store.append("A", [1.0], times=[50 * 10**9], offset=200) == 201


def test_a_symbol_comes_back_from_a_snapshot(open_store: OpenStore, tmp_path: Path) -> None:
    """As it was then, beside what has happened since; the snapshot stays, and can be used again."""
    store = open_store()
    store.append("A", POINTS)
    store.append("B", [1.0])
    store.snapshot(tmp_path / "snapshot")
    store.append("A", [1.0])
    store.append("B", [2.0])
    with pytest.raises(SymbolExists, match="remove or rename it first"):
        store.restore(tmp_path / "snapshot", "A")
    for _ in range(2):
        store.remove("A")
        assert store.restore(tmp_path / "snapshot", "A") == 200
        np.testing.assert_array_equal(store.window("A", 1000), POINTS)
        assert store.append("A", [9.0], offset=200) == 201
    assert store.stats("B", 10).points == 2
    with pytest.raises(SymbolNotFound):
        store.restore(tmp_path / "snapshot", "C")
    with Store(tmp_path / "snapshot", mode="r") as snapshot:
        assert [report.faults for report in snapshot.verify()] == [(), ()]


def test_a_symbol_that_is_set_aside_can_be_removed_and_restored(open_store: OpenStore, tmp_path: Path) -> None:
    """The store that has set it aside serves it then, with no restart."""
    store = open_store()
    store.append("A", POINTS)
    store.snapshot(tmp_path / "snapshot")
    store.close()
    (store.path / "A" / "head").write_bytes(bytes(4096))
    store, other = open_store(), open_store()
    assert [reason.code for reason in store.reasons()] == ["set_aside"]
    with pytest.raises(SeriesSetAside):
        store.rename("A", "B")
    other.remove("A")
    other.restore(tmp_path / "snapshot", "A")
    assert store.stats("A", 1000).points == 200
    assert store.reasons() == []


def test_only_named_symbols_are_made_where_batches_make_none(open_store: OpenStore) -> None:
    """The refusal names the setting; a symbol that was made takes batches, and one that is there is not made again."""
    store = open_store(create_on_append=False)
    with pytest.raises(SymbolUnknown, match=r"Symbol not found: A; store.create_on_append is false"):
        store.append("A", [1.0])
    with pytest.raises(OffsetConflict):
        store.append("A", [1.0], offset=3)
    assert list(store) == []
    assert [store.create("A"), store.create("A")] == [True, False]
    assert store.append("A", [1.0], offset=0) == 1


def test_a_series_that_is_held_stays_as_it_is(open_store: OpenStore) -> None:
    """Where another process holds it for longer than the caller waits, nothing is changed."""
    store = open_store()
    store.append("A", [1.0])
    with held(store.path / "A" / "head"):
        with pytest.raises(SeriesBusy):
            store.remove("A", wait_s=0)
        with pytest.raises(SeriesBusy):
            store.rename("A", "B", wait_s=0)
        with pytest.raises(SeriesBusy):
            store.truncate("A", keep=1, wait_s=0)
    assert store.append("A", [2.0]) == 2
    assert names(store) == [".lock", "A"]


def test_a_store_that_reads_or_is_closed_changes_nothing(open_store: OpenStore, tmp_path: Path) -> None:
    """Every step is refused with the reason."""
    store = open_store()
    store.append("A", [1.0])
    reader = open_store(mode="r")
    store.close()
    steps: list[Callable[[Store], object]] = [
        lambda one: one.remove("A"),
        lambda one: one.rename("A", "B"),
        lambda one: one.truncate("A", keep=1),
        lambda one: one.restore(tmp_path, "B"),
        lambda one: one.create("B"),
    ]
    refusals: list[type[HftMmapError]] = [StoreReadOnly, StoreClosed]
    for one, refusal in zip((reader, store), refusals, strict=True):
        for step in steps:
            with pytest.raises(refusal):
                step(one)


def test_what_a_crash_left_is_cleaned_up_by_the_next_writer(open_store: OpenStore) -> None:
    """Of a removal and of a rename, whichever of its two halves was done."""
    store = open_store()
    for symbol in ("A", "B", "C"):
        store.append(symbol, POINTS)
    store.close()
    (store.path / "A").rename(store.path / ".removed-0123")
    shutil.copy(store.path / "C" / "head", store.path / "B" / "head.renamed")
    shutil.copy(store.path / "B" / "head", store.path / ".removed-0123" / "head.renamed")
    store = open_store()
    assert names(store) == [".lock", "B", "C"]
    assert not (store.path / "B" / "head.renamed").exists()
    assert [info.count for info in store.symbols()] == [200, 200]
