"""More symbols than a store opens at its start: each is opened by its first use, and looked at whether used or not."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from hft_mmap import (
    Durability,
    HftMmapError,
    Limits,
    SeriesReadOnly,
    SeriesRemoved,
    SeriesSetAside,
    Store,
    StoreClosed,
    SymbolLimitReached,
    SymbolUnknown,
)
from hft_mmap.directory.starting import OPENED_AT_ONCE
from hft_mmap.files.head import HEAD_NAME, Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.files.names import chunk_name
from hft_mmap.series import Series
from hft_mmap.testing.disk import SimulatedDisk
from hft_mmap.testing.stepped import SteppedStore
from hft_mmap.tree.words import FLAGS
from tests.hft_mmap.conftest import OpenStore, StartStore
from tests.hft_mmap.damage import flip, set_flags, write_at
from tests.hft_mmap.descriptors import descriptors_left, open_files
from tests.service import PATIENCE_S, wait_until

SYMBOLS = [f"S{number:03}" for number in range(OPENED_AT_ONCE + 5)]
MANY = Limits(max_symbols=500, starting_capacity=0, chunk_points=64)


@pytest.fixture
def tmp_path(memory_path: Path) -> Path:
    """Return a directory in memory: a hundred series are made for each test, and put on the disk."""
    return memory_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the directory of a store that was closed in order: the symbol of number n holds n and n + 1."""
    with Store(tmp_path / "data", limits=MANY) as store:
        for number, symbol in enumerate(SYMBOLS):
            store.append_nowait(symbol, [float(number), number + 1.0])
    return tmp_path / "data"


def looked_at(store: Store) -> None:
    """Wait until every symbol was looked at."""
    wait_until(lambda: not store.unopened, "the look at every symbol")


def test_a_use_waits_for_a_look_that_began_while_it_did(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for as long as for another process: a look takes two syncs, and nobody is to be told that it is held."""
    with SteppedStore(data, limits=MANY) as store, (data / "S003" / HEAD_NAME).open("rb+") as held:
        opened, waits = store._opened, []

        def look_meanwhile(symbol: str, *, wait_s: float, **options: Any) -> Series | None:
            waits.append(wait_s)
            if len(waits) == 1:
                flock(held, LOCK_EX)
                store._being_looked_at = symbol
            else:
                flock(held, LOCK_UN)
            return opened(symbol, wait_s=wait_s, **options)

        monkeypatch.setattr(store, "_opened", look_meanwhile)
        assert store.series("S003").total == 2
        assert waits[0] < waits[1]


def test_the_start_opens_none_and_every_one_answers(data: Path, open_store: OpenStore) -> None:
    """Before and after it was looked at; what was looked at holds no file, and ends in order."""
    events: list[str] = []
    store = open_store(limits=MANY, on_event=lambda name, _: events.append(name))
    assert store.stats(SYMBOLS[-1], 2).avg == len(SYMBOLS) - 0.5
    looked_at(store)
    assert {Path(name).parent.name for name in open_files(data)} == {SYMBOLS[-1]}
    assert (store.reasons(), store.losses()) == ([], [])
    for number, symbol in enumerate(SYMBOLS):
        assert store.append(symbol, [number + 2.0]) == 3
        assert store.stats(symbol, 3).avg == number + 1.0
    store.close()
    with Store(data, limits=MANY, on_event=lambda name, _: events.append(name)) as again:
        assert [info.total for info in again.symbols()] == [3] * len(SYMBOLS)
        looked_at(again)
    assert not {"recovery", "set_aside", "lost"} & set(events)


def test_a_damaged_one_is_told_of_though_nobody_asks_for_it(data: Path, open_store: OpenStore) -> None:
    """It is set aside as ever, never served, and the others serve."""
    flip(data / SYMBOLS[7] / chunk_name(0), Layout.of(64).footer + 3)
    store = open_store(limits=MANY)
    looked_at(store)
    assert [(reason.symbol, reason.code) for reason in store.reasons()] == [(SYMBOLS[7], "set_aside")]
    with pytest.raises(SeriesSetAside):
        store.stats(SYMBOLS[7], 1)
    assert len(store.symbols()) == len(SYMBOLS) - 1


def test_what_a_failed_sync_left_is_made_good_though_nobody_asks_for_it(data: Path, open_store: OpenStore) -> None:
    """It is put on the disk once more, and its flag is taken back."""
    set_flags(data / SYMBOLS[5], FLAG_SYNC_FAILED)
    store = open_store(limits=MANY)
    looked_at(store)
    head = Head(data / SYMBOLS[5], writable=False)
    assert not head.words[FLAGS] & FLAG_SYNC_FAILED
    head.close()
    assert (store.reasons(), store.stats(SYMBOLS[5], 2).avg) == ([], 5.5)


def test_after_a_kill_each_goes_as_far_as_it_was_published(data: Path, start_store: StartStore) -> None:
    """Whether it is asked for first, or looked at first; what was looked at has an orderly end after that."""
    process = start_store(limits=MANY)
    for symbol in SYMBOLS[:20]:
        process.append(symbol, [5.0])
    process.kill()
    events: list[tuple[str, object]] = []
    with Store(data, limits=MANY, on_event=lambda name, fields: events.append((name, fields.get("symbol")))) as store:
        assert [store.series(symbol).total for symbol in SYMBOLS[:3]] == [3, 3, 3]
        looked_at(store)
        assert [info.total for info in store.symbols()] == [3] * 20 + [2] * (len(SYMBOLS) - 20)
        assert {symbol for name, symbol in events if name == "recovery"} == set(SYMBOLS[:20])
        assert not [name for name in open_files(data) if SYMBOLS[19] in name]
    events.clear()
    with Store(data, limits=MANY, on_event=lambda name, fields: events.append((name, fields.get("symbol")))) as store:
        looked_at(store)
        assert [report.faults for report in store.verify(SYMBOLS[19])] == [()]
    assert [event for event in events if event[0] in {"recovery", "lost"}] == []


def test_what_another_process_appends_is_listed(data: Path, open_store: OpenStore, start_store: StartStore) -> None:
    """Of symbols that nobody has used here, and of those that it makes; a list opens none of them."""
    store = open_store(limits=MANY)
    looked_at(store)
    assert [info.symbol for info in store.symbols()] == SYMBOLS
    process = start_store(limits=MANY)
    process.append(SYMBOLS[1], [7.0])
    process.append("NEW", [1.0])
    rows = {info.symbol: (info.total, info.last) for info in store.symbols()}
    assert (rows[SYMBOLS[1]], rows["NEW"], len(rows)) == ((3, 7.0), (1, 1.0), len(SYMBOLS) + 1)
    assert [name for name in open_files(data) if SYMBOLS[1] in name] == []


def test_a_snapshot_and_a_removal_take_those_that_nobody_has_used(data: Path, open_store: OpenStore) -> None:
    """As they take the others."""
    store = open_store(limits=MANY)
    store.remove(SYMBOLS[0])
    store.rename(SYMBOLS[1], "Z")
    totals = store.snapshot(data.parent / "copy")
    assert totals == dict.fromkeys([*SYMBOLS[2:], "Z"], 2)
    assert {Path(name).parent.name for name in open_files(data)} <= {SYMBOLS[1], "Z"}
    store.append(SYMBOLS[0], [9.0])
    assert store.stats(SYMBOLS[0], 10).points == 1
    looked_at(store)
    assert store.reasons() == []


def test_a_reader_opens_none_either(data: Path, open_store: OpenStore) -> None:
    """And finds what the writer appends after it has looked at it."""
    reader = open_store(mode="r", limits=MANY)
    looked_at(reader)
    assert open_files(data) == []
    with Store(data, limits=MANY) as writer:
        writer.append(SYMBOLS[4], [8.0])
        assert reader.stats(SYMBOLS[4], 1).last == 8.0


def test_those_that_serve_are_found_without_opening_them_for_good(data: Path, open_store: OpenStore) -> None:
    """In the order of their names, of those that are wanted; one that is damaged is left out, and none stays open."""
    flip(data / SYMBOLS[7] / chunk_name(0), Layout.of(64).footer + 3)
    store = open_store(mode="r", limits=MANY)
    looked_at(store)
    wanted = set(SYMBOLS[5:10])
    found = [(series.symbol, series.stats(1).last) for series in store.serving(where=wanted.__contains__)]
    assert [symbol for symbol, _ in found] == [*SYMBOLS[5:7], *SYMBOLS[8:10]]
    assert all(last == store.stats(symbol, 1).last for symbol, last in found)
    assert [series.symbol for series in store.serving()] == [*SYMBOLS[:7], *SYMBOLS[8:]]
    assert not [name for name in open_files(data) if Path(name).parent.name not in wanted]


@pytest.mark.parametrize("foreign", ["lost+found", ".trash", "no-series"])
def test_what_is_no_symbol_takes_no_place(open_store: OpenStore, foreign: str) -> None:
    """Directories of others are not counted, and the limit is met exactly."""
    store = open_store(limits=Limits(max_symbols=3, starting_capacity=0))
    (store.path / foreign).mkdir()
    for symbol in "ABC":
        store.append(symbol, [1.0])
    with pytest.raises(SymbolLimitReached, match="the store holds 3 of at most 3 symbols"):
        store.append("D", [1.0])
    (store.path / foreign).rmdir()
    store.remove("A")
    assert store.append("D", [1.0]) == 1


def test_a_symbol_that_lies_elsewhere_takes_a_place(tmp_path: Path, open_store: OpenStore) -> None:
    """Also where its name in the data directory is a symbolic link, which adds nothing to the links of that."""
    with Store(tmp_path / "elsewhere") as other:
        other.append("A", [1.0])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "A").symlink_to(tmp_path / "elsewhere" / "A")
    store = open_store(tmp_path / "data", limits=Limits(max_symbols=2, starting_capacity=0))
    assert store.append("A", [2.0]) == 2
    assert store.append("B", [1.0]) == 1
    with pytest.raises(SymbolLimitReached, match="the store holds 2 of at most 2 symbols"):
        store.append("C", [1.0])


def test_a_used_symbol_has_two_files_open(open_store: OpenStore) -> None:
    """Its head and its newest chunk; mappings take none, however many chunks there are."""
    store = open_store(limits=Limits(max_symbols=3, starting_capacity=0, chunk_points=64))
    store.append("A", [1.0] * 640)
    store.sync()
    assert len(open_files(store.path)) <= 2
    assert store.stats("A", 640).points == 640


@pytest.fixture
def few_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three series of a store have descriptors."""
    monkeypatch.setattr("hft_mmap.directory.opening.most_awake", lambda: 3)


def at_rest(store: Store, symbol: str) -> Series:
    """Return the series of `symbol` without files: also where its commit came late, and was the last of all."""
    series = store.series(symbol)
    wait_until(lambda: not series.is_asked and series.rest(), f"the commit of {symbol}")
    return series


def have_files(store: Store) -> set[int]:
    """Return how many symbols have files open: as the store counts them, and as the system does."""
    return {store.counters().with_files, len({Path(name).parent.name for name in open_files(store.path)})}


@pytest.mark.usefixtures("few_awake")
@pytest.mark.parametrize("tier", Durability)
def test_a_bounded_number_of_symbols_has_files_open(data: Path, open_store: OpenStore, tier: Durability) -> None:
    """Whatever the number in use: the ones used last; the others are read, written and committed as ever."""
    store = open_store(data, limits=MANY, durability=tier)
    for number, symbol in enumerate(SYMBOLS):
        assert store.append(symbol, [number + 2.0]) == 3
    store.sync()
    wait_until(lambda: have_files(store) == {3}, "the files of the others to be closed")
    assert [store.stats(symbol, 3).avg for symbol in SYMBOLS] == [number + 1.0 for number in range(len(SYMBOLS))]
    assert len(open_files(data)) <= 6
    assert [store.append(symbol, [0.0], offset=3) for symbol in SYMBOLS] == [4] * len(SYMBOLS)
    store.sync()
    assert store.reasons() == []
    store.close()
    assert open_files(data) == []
    with Store(data, mode="r", limits=MANY) as again:
        assert {info.total for info in again.symbols()} == {4}


@pytest.mark.usefixtures("few_awake")
def test_what_is_committed_at_once_closes_its_files_when_that_is_done(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody uses any of them after that, and none could be closed while all were at it."""
    store = open_store(limits=MANY, sync_interval_ms=1)
    last, at_it = set(SYMBOLS[25:33]), set[str]()
    begun, appended, together = threading.Event(), threading.Event(), threading.Event()
    really = os.fdatasync

    def fdatasync(fd: int) -> None:
        symbol = Path(f"/proc/self/fd/{fd}").readlink().parent.name
        if symbol == SYMBOLS[0]:
            begun.set()
            assert appended.wait(PATIENCE_S)
        if symbol in last:
            at_it.add(symbol)
            if at_it == last:
                together.set()
            assert together.wait(PATIENCE_S)
        really(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    store.append(SYMBOLS[0], [1.0])
    assert begun.wait(PATIENCE_S)
    for symbol in SYMBOLS[1:33]:  # all of them are committed when the first is, by as many threads as there may be
        store.append(symbol, [1.0])
    appended.set()  # no `sync`, which would use each once more
    wait_until(lambda: all(one.durable_total == 1 for one in store.counters().series), "the commits")
    wait_until(lambda: have_files(store) == {3}, "the files of the others to be closed")
    assert (store.reasons(), at_it) == ([], last)


@pytest.mark.usefixtures("few_awake")
def test_a_symbol_without_files_is_found_removed(data: Path, open_store: OpenStore) -> None:
    """By its own store, by another process, and by hand; and the one that is made anew in its place is another."""
    store = open_store(data, limits=MANY, create_on_append=False)
    others = [store.series(symbol) for symbol in SYMBOLS]
    assert len(open_files(data)) <= 6
    with Store(data, limits=MANY) as other:
        other.remove(SYMBOLS[0])
        other.rename(SYMBOLS[1], "Z")
        other.remove(SYMBOLS[2])
        other.append(SYMBOLS[2], [9.0])
    for symbol in SYMBOLS[:2]:
        with pytest.raises(SymbolUnknown):
            store.append(symbol, [1.0])
    assert store.append(SYMBOLS[2], [8.0]) == 2
    shutil.rmtree(data / SYMBOLS[3])
    wait_until(lambda: [(one.symbol, one.code) for one in store.reasons()] == [(SYMBOLS[3], "removed")], "the reason")
    with pytest.raises(HftMmapError):
        store.append(SYMBOLS[3], [1.0])
    assert others[4].stats(2).avg == 4.5


@pytest.mark.usefixtures("few_awake")
@pytest.mark.parametrize("tier", Durability)
def test_a_symbol_without_files_whose_directory_is_moved_is_not_removed(
    data: Path, open_store: OpenStore, tier: Durability
) -> None:
    """As one with files: what is appended and committed meanwhile is there when the directory is moved back."""
    store = open_store(data, limits=MANY, durability=tier)
    for symbol in SYMBOLS:
        store.append(symbol, [7.0])
    store.sync()
    series = at_rest(store, SYMBOLS[0])
    moved = data.parent / "moved"
    (data / SYMBOLS[0]).rename(moved)
    assert not [name for name in open_files(moved) if HEAD_NAME in name]
    assert store.reasons() == []
    assert (series.append_nowait(np.array([8.0])), series.stats(4).last) == (4, 8.0)
    store.sync()
    assert store.reasons() == []
    moved.rename(data / SYMBOLS[0])
    for symbol in SYMBOLS[1:]:
        assert store.append(symbol, [9.0]) == 4
    assert store.append(SYMBOLS[0], [9.0]) == 5
    store.close()
    with Store(data, mode="r", limits=MANY) as again:
        assert again.stats(SYMBOLS[0], 3).avg == 8.0


@pytest.mark.usefixtures("few_awake")
def test_a_symbol_without_files_is_not_written_to_another_file(data: Path, open_store: OpenStore) -> None:
    """Where head or chunk are copies by now, a batch is refused, and nothing is written to them."""
    store = open_store(data, limits=MANY)
    for symbol in SYMBOLS:
        store.append(symbol, [7.0])
    store.sync()
    for symbol, file in ((SYMBOLS[0], HEAD_NAME), (SYMBOLS[1], chunk_name(0))):
        at_rest(store, symbol)
        copy = data.parent / "copy"
        shutil.copy2(data / symbol / file, copy)
        content = copy.read_bytes()
        copy.rename(data / symbol / file)
        with pytest.raises(HftMmapError):
            store.append(symbol, [8.0])
        assert (data / symbol / file).read_bytes() == content
    assert store.append(SYMBOLS[2], [8.0]) == 4


def test_who_waits_for_a_symbol_whose_files_cannot_be_opened_again_is_told(open_store: OpenStore) -> None:
    """It is read-only, with every point in memory; and none is lost where the next start can open them."""
    store = open_store(durability="process")
    store.append("A", np.arange(30.0))
    series = at_rest(store, "A")  # with the commit of the opening behind it
    store.append("A", np.arange(30.0, 60.0))  # of one chunk: a roll would have them committed
    head = store.path / "A" / HEAD_NAME
    head.rename(store.path / "kept")
    head.symlink_to(head)  # opened by nobody: too many levels of links
    assert series.rest()
    with pytest.raises(SeriesReadOnly, match="disk failed"):
        store.sync()
    assert np.array_equal(store.window("A", 1000), np.arange(60.0))
    assert store.losses() == []
    store.close()
    (store.path / "kept").rename(head)
    again = open_store()
    assert np.array_equal(again.window("A", 1000), np.arange(60.0))
    assert again.append("A", [1.0]) == 61


@pytest.mark.usefixtures("few_awake")
def test_a_symbol_without_files_that_was_removed_by_hand_says_so_to_who_appends(
    data: Path, open_store: OpenStore
) -> None:
    """At the first batch, which is refused as one for a removed symbol, not as one that the disk did not take."""
    store = open_store(data, limits=MANY)
    for symbol in SYMBOLS:
        store.append(symbol, [7.0])
    store.sync()
    at_rest(store, SYMBOLS[0])
    shutil.rmtree(data / SYMBOLS[0])
    for _ in range(2):
        with pytest.raises(SeriesRemoved):
            store.append(SYMBOLS[0], [8.0])


@pytest.mark.usefixtures("few_awake")
@pytest.mark.parametrize("left", [1, 4])
def test_a_close_without_descriptors_leaves_no_symbol_in_doubt(
    data: Path, open_store: OpenStore, start_store: StartStore, left: int
) -> None:
    """What other processes have open goes on taking batches, and those in use end in order."""
    store = open_store(data, limits=MANY)
    for symbol in SYMBOLS[:12]:
        store.append(symbol, [7.0])
    store.sync()
    other = start_store(limits=MANY)
    for symbol in SYMBOLS[:12]:
        assert other.append(symbol, [8.0]) == 4
    with descriptors_left(left):
        store.close()
    assert open_files(data) == []
    for symbol in SYMBOLS[:12]:
        assert other.append(symbol, [9.0]) == 5
    other.close()
    with Store(data, limits=MANY) as again:
        assert [again.stats(symbol, 5).last for symbol in SYMBOLS[:12]] == [9.0] * 12
        assert again.reasons() == []


def test_a_symbol_that_is_made_while_the_store_is_closed_takes_no_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would put the batch on the disk: its thread is told that the store was closed, and nothing stays open."""
    store = Store(tmp_path / "data", limits=MANY)
    begun, closed = threading.Event(), threading.Event()
    sync = os.fsync

    def late(fd: int) -> None:
        if os.path.realpath(f"/proc/self/fd/{fd}") == str(store.path):
            begun.set()
            assert closed.wait(30)
        sync(fd)

    monkeypatch.setattr(os, "fsync", late)
    with ThreadPoolExecutor() as pool:
        appended = pool.submit(store.append, "A", [1.0])
        assert begun.wait(30)
        store.close()
        closed.set()
        with pytest.raises(StoreClosed):
            appended.result()
    assert open_files(store.path) == []
    with Store(store.path, limits=MANY) as again:
        assert again.append("A", [1.0]) == 1


@pytest.mark.usefixtures("few_awake")
@pytest.mark.parametrize("tier", Durability)
def test_who_loses_its_files_is_committed_in_every_tier(data: Path, open_store: OpenStore, tier: Durability) -> None:
    """Or in tier `process`, which asks for no commit, each symbol that was written to once would keep a file open."""
    store = open_store(data, limits=MANY, durability=tier)
    for symbol in SYMBOLS:
        store.append_nowait(symbol, [5.0])
    opened = [store.series(symbol) for symbol in SYMBOLS]
    wait_until(lambda: sum(one.committed_total == 3 for one in opened) >= len(SYMBOLS) - 3, "the commits")
    wait_until(lambda: len(open_files(data)) <= 6, "the files to be closed")


@pytest.mark.usefixtures("few_awake")
def test_what_is_not_committed_keeps_its_chunk_open(data: Path) -> None:
    """And no head: its descriptor sees that the system could not write the points, until a commit has done so."""
    store = SteppedStore(data, limits=MANY)
    for symbol in SYMBOLS[:10]:
        store.append_nowait(symbol, [5.0])
    names = [Path(name) for name in open_files(data)]
    assert {path.parent.name for path in names if path.name != HEAD_NAME} == set(SYMBOLS[:10])
    assert len([path for path in names if path.name == HEAD_NAME]) == 3
    store.step()
    assert len(open_files(data)) <= 6
    assert {series.committed_total for series in store.opened} == {3}
    store.close()


def test_a_closed_store_makes_no_snapshot(data: Path, open_store: OpenStore) -> None:
    """It opens nothing any more, used or not."""
    store = open_store(limits=MANY)
    store.close()
    with pytest.raises(StoreClosed):
        store.snapshot(data.parent / "copy")


def test_what_was_lost_is_told_of_while_the_store_is_open(data: Path, open_store: OpenStore) -> None:
    """Also once the symbol is used, until it is removed."""
    killed = SteppedStore(data, limits=MANY)  # which commits when it is told to, and is not
    for symbol in SYMBOLS[:2]:
        killed.append_nowait(symbol, [5.0])
    killed.abandon()
    for symbol in SYMBOLS[:2]:
        write_at(data / symbol / chunk_name(0), 16, bytes(8))
    store = open_store(limits=MANY)
    looked_at(store)
    assert [(loss.symbol, loss.points) for loss in store.losses()] == [(symbol, 1) for symbol in SYMBOLS[:2]]
    assert store.append(SYMBOLS[0], [6.0]) == 3
    assert [loss.symbol for loss in store.losses()] == SYMBOLS[:2]
    store.remove(SYMBOLS[1])
    assert store.reasons() == []
    assert [loss.symbol for loss in store.losses()] == SYMBOLS[:1]


def test_a_sync_that_fails_under_the_look_makes_the_series_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any failed sync does: it is named, takes no batches, and keeps to that until the next start."""
    monkeypatch.setattr("hft_mmap.directory.starting.OPENED_AT_ONCE", 0)
    disk = SimulatedDisk(tmp_path, Random(1), Random(1))
    with disk.calls():
        killed = SteppedStore(disk.data, limits=MANY)
        killed.append("A", [1.0, 2.0])
        killed.abandon()
        store = SteppedStore(disk.data, limits=MANY)
        disk.fail_in("sync", 1)
        store.look()
        disk.revive()
        assert store.unopened == 0
        assert [(reason.symbol, reason.code) for reason in store.reasons()] == [("A", "read_only")]
        with pytest.raises(SeriesReadOnly):
            store.append("A", [3.0])
        store.close()


@pytest.mark.parametrize("way", ["sync", "close"])
def test_what_a_killed_process_has_published_is_put_on_the_disk_before_anybody_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """By `sync`, and by an orderly stop, also where those come before the look at it."""
    monkeypatch.setattr("hft_mmap.directory.starting.OPENED_AT_ONCE", 0)
    disk = SimulatedDisk(tmp_path, Random(1), Random(1))
    with disk.calls():
        killed = SteppedStore(disk.data, limits=MANY, durability="process")
        killed.append("A", [1.0, 2.0])
        killed.abandon()
        store = SteppedStore(disk.data, limits=MANY)
        store.sync() if way == "sync" else store.close()
        store.abandon()
        disk.cut(restart=True)
        with SteppedStore(disk.data, limits=MANY) as again:
            assert again.window("A", 2).tolist() == [1.0, 2.0]
