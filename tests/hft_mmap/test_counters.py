"""What a store says about itself in numbers, for monitoring."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from hft_mmap import DiskFull, Limits, SeriesReadOnly, Store, StoreClosed
from hft_mmap.files.head import Head
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.tree.words import FLAGS
from tests.hft_mmap.conftest import OpenStore, StartStore
from tests.service import wait_until
from tests.small_disk import SmallDisk

LIMITS = Limits(max_data_retention=100, cleanup_keep_count=60, starting_capacity=0, chunk_points=4096)


def test_a_new_store_has_only_a_disk(open_store: OpenStore) -> None:
    """Whose space is what statvfs says."""
    store = open_store()
    counters = store.counters()
    disk = os.statvfs(store.path)
    assert (counters.series, counters.set_aside) == ((), ())
    assert counters.size_bytes == disk.f_blocks * disk.f_frsize
    assert 0 < counters.free_bytes <= counters.size_bytes


def test_each_series_says_where_it_stands(open_store: OpenStore) -> None:
    """Bounds and bytes as `symbols` has them, sorted by symbol, and how often it was cleaned up."""
    store = open_store(limits=LIMITS, durability="process")
    store.append("B", [1.0] * 10)
    for _ in range(5):
        store.append("A", [1.0] * 50)
    counters = store.counters()
    assert [(one.symbol, one.total, one.count) for one in counters.series] == [("A", 250, 100), ("B", 10, 10)]
    assert [(one.symbol, one.total, one.start, one.count, one.bytes) for one in counters.series] == [
        (info.symbol, info.total, info.start, info.count, info.bytes) for info in store.symbols()
    ]
    assert [one.cleanups for one in counters.series] == [3, 0]
    assert (counters.events["cleanup"], counters.events["series_created"]) == (3, 2)


def test_syncs_are_counted_and_timed(open_store: OpenStore) -> None:
    """Each moves the durable total, takes some time, and is the last one for a while."""
    store = open_store(durability="process")
    store.append("A", [1.0] * 10)
    (before,) = store.counters().series
    store.sync()
    (after,) = store.counters().series
    assert (before.durable_total, after.durable_total) == (0, 10)
    assert after.syncs == before.syncs + 1
    assert after.sync_s > before.sync_s
    wait_until(lambda: store.counters().series[0].last_sync_age_s > after.last_sync_age_s, "time to pass")
    (later,) = store.counters().series
    assert (later.syncs, later.sync_s) == (after.syncs, after.sync_s)


def test_a_recovery_is_counted(open_store: OpenStore, start_store: StartStore) -> None:
    """Once for each series that was not closed in order."""
    killed = start_store()
    killed.append("A", [1.0])
    killed.kill()
    counters = open_store().counters()
    assert [one.recoveries for one in counters.series] == [1]
    assert counters.events["recovery"] == 1


def test_a_series_that_is_read_only_says_so(open_store: OpenStore) -> None:
    """Here because a sync failed in another process. A store that is opened for reading has not failed."""
    store = open_store()
    for symbol in ("A", "B"):
        store.append(symbol, [1.0])
    Head(store.path / "A", writable=True).store(FLAGS, FLAG_SYNC_FAILED)
    with pytest.raises(SeriesReadOnly):
        store.append("A", [2.0])
    assert [(one.symbol, one.read_only) for one in store.counters().series] == [("A", True), ("B", False)]
    assert store.counters().events["read_only"] == 1
    assert [one.read_only for one in open_store(mode="r").counters().series] == [False, False]


def test_what_is_set_aside_is_named(open_store: OpenStore) -> None:
    """It has no numbers, since nothing in its files can be trusted."""
    store = open_store()
    for symbol in ("A", "B"):
        store.append(symbol, [1.0])
    store.close()
    (store.path / "A" / "head").write_bytes(bytes(4096))
    counters = open_store().counters()
    assert [one.symbol for one in counters.series] == ["B"]
    assert counters.set_aside == ("A",)
    assert counters.events["set_aside"] == 1


def test_made_up_symbols_leave_no_trace(disk: SmallDisk, open_store: OpenStore) -> None:
    """Whoever sends batches of new symbols to a full disk adds to one count, and to nothing that grows."""
    store = open_store(disk.path / "data")
    disk.fill()
    for number in range(50):
        with pytest.raises(DiskFull):
            store.append(f"S{number}", [1.0])
    counters = store.counters()
    assert counters.series == ()
    assert counters.events == {**counters.events, "disk_full": 50}
    assert len(store._on_event._counts_by_symbol) == 0


def test_events_are_counted_and_passed_on(tmp_path: Path) -> None:
    """The callback of the user gets every one of them."""
    seen: list[str] = []

    def note(name: str, _fields: Mapping[str, object]) -> None:
        seen.append(name)

    with Store(tmp_path / "data", on_event=note) as store:
        store.append("A", [1.0])
        assert sum(store.counters().events.values()) == len(seen)
        assert "series_created" in seen
    with pytest.raises(StoreClosed):
        store.counters()


def test_a_series_of_another_process_is_counted(open_store: OpenStore, start_store: StartStore) -> None:
    """As soon as it is there, whoever made it."""
    store, other = open_store(), start_store()
    other.append("A", [1.0, 2.0])
    wait_until(lambda: [one.total for one in store.counters().series] == [2], "the series of the other process")
