"""What of a series is believed when it is opened, by what survived beside its head: pages, files, a flag."""

import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from hft_mmap import InvalidValues, Limits, Reason, Store
from hft_mmap.durable import verify
from hft_mmap.files.head import HEAD_NAME, SLOT_OFFSETS, Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.files.marks import Mark
from hft_mmap.files.names import chunk_name
from hft_mmap.testing import move_in, restart_machine
from hft_mmap.testing.stepped import SteppedStore
from hft_mmap.tree.words import EPOCH, FLAGS, RING, RING_OFFSET, RING_PLACES, SETTLED, TOTAL
from tests.hft_mmap.damage import flip, write_at

LIMITS = Limits(chunk_points=4096, starting_capacity=0)
LAYOUT = Layout.of(4096)
COMMITTED = np.arange(1.0, 1001.0)
BATCHES = [np.arange(1001.0, 1101.0), np.arange(1101.0, 1111.0), np.arange(1111.0, 3001.0)]
EVERYTHING = np.concatenate([COMMITTED, *BATCHES])


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """Leave a series whose writer was killed: 1,000 points are on the disk, three batches more were published."""
    store = SteppedStore(tmp_path / "data", limits=LIMITS, durability="process")  # which commits when it is told to
    store.append("A", COMMITTED)
    store.step()
    for batch in BATCHES:
        store.append("A", batch)
    store.abandon()
    return tmp_path / "data" / "A"


def drop(directory: Path, begin: int, end: int) -> None:
    """Make the places [begin, end) of the first chunk, and their nodes, what a page never written is: zeros."""
    path = directory / chunk_name(0)
    write_at(path, 8 * begin, bytes(8 * (end - begin)))
    first, last = (LAYOUT.offsets[1] + 32 * (place // 64) for place in (begin, end))
    write_at(path, first, bytes(last - first))


def fail_a_sync(directory: Path) -> None:
    """Leave the note that a sync has failed in this boot."""
    head = Head(directory, writable=True)
    head.raise_flag(FLAG_SYNC_FAILED)
    head.close()


def opened(directory: Path) -> tuple[Store, list[tuple[str, Mapping[str, object]]]]:
    """Open the store of a series, and return what it told with it."""
    told: list[tuple[str, Mapping[str, object]]] = []
    return Store(directory.parent, limits=LIMITS, on_event=lambda name, fields: told.append((name, fields))), told


def assert_ends_at(directory: Path, total: int) -> None:
    """Assert that the series holds its first `total` points, has said what is lost, goes on, and keeps all of that."""
    store, told = opened(directory)
    with store:
        assert np.array_equal(store.window("A", 10**6), EVERYTHING[:total])
        lost = [(fields["points"], fields["total"]) for name, fields in told if name == "lost"]
        assert lost == ([(3000 - total, total)] if total < 3000 else [])
        assert [(loss.symbol, loss.points, loss.total) for loss in store.losses()] == [("A", *one) for one in lost]
        assert store.append("A", [7.0, 8.0]) == total + 2
        assert store.reasons() == []
        store.sync()
        assert store.verify()[0].faults == ()
    move_in(directory.parent)
    with Store(directory.parent, limits=LIMITS) as store:
        assert np.array_equal(store.window("A", 10**6), [*EVERYTHING[:total], 7.0, 8.0])
        assert store.losses() == []


@pytest.mark.parametrize("after", [lambda _: None, fail_a_sync], ids=["killed", "sync failed"])
@pytest.mark.parametrize(
    ("begin", "end", "total"),
    [(2000, 3000, 1110), (1105, 1106, 1100), (1000, 3000, 1000), (2999, 3000, 1110), (3000, 4096, 3000)],
)
def test_pages_that_were_dropped_are_told_as_lost(
    killed: Path, after: Callable[[Path], None], begin: int, end: int, total: int
) -> None:
    """The series ends at the newest batch whose points prove themselves, and nothing is served as 0.0."""
    after(killed)
    drop(killed, begin, end)
    assert_ends_at(killed, total)


@pytest.mark.parametrize("after", [lambda _: None, fail_a_sync], ids=["killed", "sync failed"])
def test_the_room_that_was_made_for_lost_points_is_given_back(after: Callable[[Path], None], tmp_path: Path) -> None:
    """A series begins where its newest commit has it begin, also for readers that have followed it further."""
    limits = Limits(chunk_points=64, starting_capacity=0, max_data_retention=1000, cleanup_keep_count=600)
    killed = SteppedStore(tmp_path, limits=limits, durability="process")
    killed.append("A", EVERYTHING[:900])
    killed.step()
    for begin in range(900, 1500, 100):
        killed.append("A", EVERYTHING[begin : begin + 100])
    with Store(tmp_path, mode="r") as reader:
        assert reader.series("A").bounds() == (800, 1500)
        killed.abandon()
        after(tmp_path / "A")
        write_at(tmp_path / "A" / chunk_name(896), 8 * 4, bytes(8 * 60))
        with Store(tmp_path, limits=limits) as store:
            for one in (store, reader):
                assert one.series("A").bounds() == (0, 900)
                assert np.array_equal(one.window("A", 1000), EVERYTHING[:900])
                assert one.stats("A", 900).min == 1.0
            store.append("A", np.full(200, 5.0))
            assert store.series("A").bounds() == reader.series("A").bounds() == (300, 1100)
            assert store.reasons() == []
            store.sync()
            assert store.verify()[0].faults == ()


def test_a_loss_is_told_by_the_next_process_where_the_one_that_found_it_could_not(killed: Path) -> None:
    """The one was ended between what it published and what it told; `verify` knows of it until somebody is told."""

    def end(name: str, _: Mapping[str, object]) -> None:
        if name == "lost":
            raise KeyboardInterrupt

    drop(killed, 2000, 3000)
    with pytest.raises(KeyboardInterrupt):
        Store(killed.parent, limits=LIMITS, on_event=end)
    with Store(killed.parent, mode="r") as store:
        assert any("points 1110 to 2999 were lost" in fault for fault in store.verify()[0].faults)
    assert_ends_at(killed, 1110)


def test_a_failed_sync_loses_nothing_while_the_memory_is_there(killed: Path) -> None:
    """What proves itself is written again with its nodes, synced, and vouched for."""
    fail_a_sync(killed)
    assert_ends_at(killed, 3000)
    head = Head(killed, writable=False)
    assert not head.words[FLAGS] & FLAG_SYNC_FAILED
    head.close()


def test_prices_of_zero_are_told_from_pages_that_were_never_written(tmp_path: Path) -> None:
    """Zeros that were appended prove themselves; zeros in place of other prices do not."""
    for place, dropped in (("real", False), ("lost", True)):
        killed = SteppedStore(tmp_path / place, limits=LIMITS, durability="process")
        killed.append("A", [1.0])
        killed.step()
        killed.append("A", np.full(200, 5.0) if dropped else np.zeros(200))
        killed.abandon()
        drop(tmp_path / place / "A", 1, 201)
        with Store(tmp_path / place, limits=LIMITS) as store:
            assert store.series("A").total == (1 if dropped else 201)
            assert store.stats("A", 200).min == (1.0 if dropped else 0.0)
            assert store.verify()[0].faults == ()


def test_a_reader_believes_no_more_than_a_writer(killed: Path) -> None:
    """Opened for reading only, before any writer, it serves what proves itself, and changes no byte."""
    drop(killed, 2000, 3000)
    before = (killed / HEAD_NAME).read_bytes()
    with Store(killed.parent, mode="r") as store:
        assert np.array_equal(store.window("A", 10**6), EVERYTHING[:1110])
    assert (killed / HEAD_NAME).read_bytes() == before


def test_a_head_that_ran_ahead_of_its_points_is_not_believed(killed: Path) -> None:
    """As after a device that went and came back in one boot: the head reached it, the chunk did not."""
    shutil.copy(killed / HEAD_NAME, killed.parent / "newest")
    drop(killed, 1000, 4096)
    head = (killed.parent / "newest").read_bytes()
    write_at(killed / HEAD_NAME, 0, head)
    (killed.parent / "newest").unlink()
    assert_ends_at(killed, 1000)


def test_a_ring_that_a_power_cut_has_torn_accuses_no_point(killed: Path) -> None:
    """Sectors of it may be of the time before points were lost: then they are no marks of what is there now."""
    older = (killed / HEAD_NAME).read_bytes()
    drop(killed, 1000, 3000)
    assert_ends_at(killed, 1000)
    restart_machine(killed.parent)
    write_at(killed / HEAD_NAME, RING_OFFSET, older[RING_OFFSET:])
    with Store(killed.parent, mode="r") as store:
        assert store.verify()[0].faults == ()
        assert store.series("A").total == 1002


def test_a_copy_is_no_less_whole_for_a_ring_of_points_that_were_lost(killed: Path, tmp_path: Path) -> None:
    """What slots speak of is held to them alone."""
    test_a_ring_that_a_power_cut_has_torn_accuses_no_point(killed)
    shutil.copytree(killed.parent, tmp_path / "copy")
    with Store(tmp_path / "copy", limits=LIMITS) as store:
        assert np.array_equal(store.window("A", 10**6), [*EVERYTHING[:1000], 7.0, 8.0])


def test_a_reader_that_is_held_up_while_the_ring_goes_round_finds_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its looks at the total and at the marks, another writer may publish more than there are places."""
    published = Head.marks

    def after_a_while(head: Head) -> dict[int, Mark]:
        for _ in range(RING_PLACES + 1 if store.series("A").total < 1000 else 0):
            store.append("A", np.arange(10.0))
        return published(head)

    with Store(tmp_path, limits=LIMITS, durability="process") as store:
        store.append("A", np.arange(10.0))
        store.sync()
        store.append("A", np.arange(10.0))
        monkeypatch.setattr(Head, "marks", after_a_while)
        assert store.verify()[0].faults == ()


class DiedError(BaseException):
    """What ends an opening as the end of its process does."""


def die_while_the_ring_begins(directory: Path, stores: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Open the series, and die after so many `stores` of the ring that begins anew; say whether it came to that."""
    begin, store = Head.begin_ring, Head.store
    left = [stores]

    def counted(head: Head, word: int, value: int) -> None:
        if left[0] == 0:
            raise DiedError
        left[0] -= 1
        store(head, word, value)

    def beginning(head: Head, total: int, mark: Mark) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Head, "store", counted)
            begin(head, total, mark)

    with monkeypatch.context() as patch:
        patch.setattr(Head, "begin_ring", beginning)
        try:
            Store(directory.parent, limits=LIMITS).close()
        except DiedError:
            return True
    return False


def publish_in_part(directory: Path, total: int) -> None:
    """Leave what a process leaves that is killed after it has noted a publication, and before it publishes it."""
    head = Head(directory, writable=True)
    before = head.words[TOTAL]
    head.publish(total, 12345)
    head.store(TOTAL, before)
    head.close()


@pytest.mark.parametrize("stores", range(6))
@pytest.mark.parametrize("lost", [0, 1890])
def test_a_ring_whose_beginning_was_cut_short_loses_nothing(
    killed: Path, monkeypatch: pytest.MonkeyPatch, stores: int, lost: int
) -> None:
    """Wherever that was: readers, the next writer, and who had the series open go on with every point of it."""
    survivor = SteppedStore(killed.parent, limits=LIMITS, durability="process")
    assert survivor.series("A").total == 3000
    if lost:
        drop(killed, 2000, 3000)
        fail_a_sync(killed)
    else:
        publish_in_part(killed, 3500)
    assert die_while_the_ring_begins(killed, stores, monkeypatch) == (stores < 5)
    total = 3000 - lost
    with Store(killed.parent, mode="r") as reader:
        assert np.array_equal(reader.window("A", 10**6), EVERYTHING[:total])
    if not lost:
        assert survivor.append("A", [5.0, 6.0]) == 3002
    survivor.abandon()
    with Store(killed.parent, limits=LIMITS) as store:
        assert np.array_equal(store.window("A", 10**6), [*EVERYTHING[:total], *([] if lost else [5.0, 6.0])])
        assert store.verify()[0].faults == ()


SMALL = Limits(chunk_points=64, starting_capacity=0)


def lose_the_end(directory: Path, total: int) -> None:
    """Make every value and node of the chunks from point `total` on, which begins one, what was never written."""
    layout = Layout.of(SMALL.chunk_points)
    for path in sorted(directory.glob("*.chunk")):
        if int(path.stem) >= total:
            write_at(path, 0, bytes(layout.footer))


@pytest.mark.parametrize("more", [1, 40, 64, 100, 400])
@pytest.mark.parametrize("mode", ["r", "a"])
def test_who_has_mapped_what_was_lost_serves_what_came_in_its_place(
    tmp_path: Path, mode: Literal["r", "a"], more: int
) -> None:
    """Another process finds the loss and goes on: a chunk may be another file by then, and have another root."""
    killed = SteppedStore(tmp_path, limits=SMALL, durability="process")  # as all of them, it commits when it is told to
    killed.append("A", np.arange(640.0))
    killed.step()
    killed.append("A", np.arange(1000.0, 1300.0))
    with SteppedStore(tmp_path, mode=mode, limits=SMALL, durability="process") as store:
        series = store.series("A")
        assert series.stats(900).points == 900
        killed.abandon()
        lose_the_end(tmp_path / "A", 640)
        with SteppedStore(tmp_path, limits=SMALL, durability="process") as other:
            assert [loss.points for loss in other.losses()] == [300]
            there = other.series("A")
            other.append("A", np.arange(5000.0, 5000.0 + more))
            for window in (1, 50, 200, 900):
                assert series.stats(window) == there.stats(window)
            assert series.window(2000).tolist() == [*np.arange(640.0), *np.arange(5000.0, 5000.0 + more)]
            assert series.range(600, 640 + more) == there.range(600, 640 + more)
            assert series.first(600, above=5000.0) == there.first(600, above=5000.0)
            if mode == "a":
                assert series.append_nowait([7.0], offset=640 + more) == 641 + more
                assert there.window(2).tolist() == [4999.0 + more, 7.0]
            assert [report.faults for report in other.verify()] == [()]


@pytest.mark.parametrize("kept", [500, 999])
def test_a_copy_whose_chunk_is_older_than_its_head_is_set_aside(killed: Path, tmp_path: Path, kept: int) -> None:
    """No slot of a copied head vouches for a chunk that was read before: points that are missing are not served."""
    copy = tmp_path / "copy"
    shutil.copytree(killed.parent, copy)
    drop(copy / "A", kept, 4096)
    with Store(copy, limits=LIMITS) as store:
        reasons: list[Reason] = store.reasons()
        assert [(reason.symbol, reason.code) for reason in reasons] == [("A", "set_aside")]
        assert "no whole copy" in reasons[0].detail
        assert "hft-mmap snapshot" in reasons[0].detail


def test_a_whole_copy_proves_itself_and_is_at_home_from_then_on(killed: Path, tmp_path: Path) -> None:
    """A copy of a store in use holds all that was published when it was made; the next opening takes it as its own."""
    copy = tmp_path / "copy"
    shutil.copytree(killed.parent, copy)
    store, told = opened(copy / "A")
    with store:
        assert np.array_equal(store.window("A", 10**6), EVERYTHING)
    assert [fields["origin"] for name, fields in told if name == "recovery"] == ["copy"]
    store, told = opened(copy / "A")
    with store:
        assert np.array_equal(store.window("A", 10**6), EVERYTHING)
    assert [name for name, _ in told if name in {"recovery", "lost"}] == []


def test_points_of_a_release_without_checksums_open_as_before(killed: Path) -> None:
    """The live words count within one boot, and the checksums begin with the next append."""
    head = Head(killed, writable=True)
    for word in (EPOCH, SETTLED, *range(RING, RING + 2 * RING_PLACES)):
        head.store(word, 0)
    for slot in SLOT_OFFSETS:
        write_at(killed / HEAD_NAME, slot + 72, bytes(20))
    head.close()
    assert_ends_at(killed, 3000)


def test_nodes_that_were_dropped_are_made_again_from_points_that_prove_themselves(killed: Path) -> None:
    """Values survive beside nodes that did not: no statistic is folded from zeros."""
    path = killed / chunk_name(0)
    first = LAYOUT.offsets[1] + 32 * (1000 // 64)
    write_at(path, first, bytes(LAYOUT.offsets[2] - first))
    with Store(killed.parent, mode="r") as store:
        assert store.reasons()[0].detail.endswith("a store that is opened for writing makes it anew")
    with Store(killed.parent, limits=LIMITS) as store:
        assert store.stats("A", 3000).min == 1.0
        assert store.stats("A", 2000).avg == EVERYTHING[-2000:].mean()
        assert store.verify()[0].faults == ()


def test_a_batch_that_changes_while_it_is_appended_stores_no_nan(tmp_path: Path) -> None:
    """What is checked is what was written: a caller that writes into its array meanwhile can't bring a NaN in."""
    batch = np.full(50_000, 1.0)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            batch[::97] = np.nan
            batch[::97] = 1.0

    changer = threading.Thread(target=change)
    with Store(tmp_path / "data", limits=Limits(starting_capacity=0), durability="process") as store:
        store.append("A", [1.0])
        changer.start()
        try:
            for _ in range(100):
                with suppress(InvalidValues):
                    store.append("A", batch)
        finally:
            stop.set()
            changer.join()
        assert bool((store.window("A", 10**9) == 1.0).all())
        assert store.verify()[0].faults == ()


UNNOTICED = {"the run of the machine that the live words are of": range(528, 552)}
"""Bytes of the head of which one that changes looks like a machine that was restarted: then the words do not count."""


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=[pytest.mark.torture, pytest.mark.timeout(0)])])
def test_verify_notices_every_changed_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Any byte of the head, and of what is kept in a chunk, full or not; places of the ring that are history aside.

    Of zeros, which are most of the bytes, every `step`-th.
    """
    monkeypatch.setattr(verify, "_PATIENCE_S", 0.0)  # nobody writes here: a look is enough
    data = tmp_path / "data"
    with Store(data, limits=Limits(chunk_points=64, starting_capacity=0)) as store:
        for size in (10, 60, 40):
            store.append("A", np.arange(1.0, size + 1.0))
            store.sync()
    layout = Layout.of(64)
    head, full, last = (data / "A" / name for name in (HEAD_NAME, chunk_name(0), chunk_name(64)))
    history = range(RING_OFFSET, RING_OFFSET + 16 * RING_PLACES)
    skipped = {*history, *(offset for run in UNNOTICED.values() for offset in run)}
    places = [(head, offset) for offset in range(4096) if offset not in skipped]
    places += [(full, offset) for offset in range(layout.offsets[1] + 32)]
    places += [(full, offset) for offset in range(layout.footer, layout.size)]
    places += [(last, offset) for offset in range(8 * 46)]
    unnoticed = []
    content = {path: path.read_bytes() for path in (head, full, last)}
    with Store(data, mode="r") as store:
        for path, offset in places:
            if content[path][offset] == 0 and offset % step:
                continue
            flip(path, offset)
            if not store.verify("A")[0].faults:
                unnoticed.append((path.name, offset))
            flip(path, offset)
        assert unnoticed == [], len(unnoticed)
        assert store.verify("A")[0].faults == ()
