"""A real file system that fills up, in memory; needs root, for mounting it."""

import os

import numpy as np
import pytest

from hft_mmap import DiskFull, Limits, Store
from hft_mmap.files.names import list_chunks
from tests.hft_mmap.conftest import OpenStore
from tests.service import wait_until
from tests.small_disk import SmallDisk

LIMITS = Limits(starting_capacity=0, chunk_points=4096)


@pytest.fixture
def store(disk: SmallDisk, open_store: OpenStore) -> Store:
    """Return a store on the small disk with 5,000 points in A."""
    store = open_store(disk.path / "data", limits=LIMITS, durability="process")
    store.append("A", np.arange(5000.0))
    store.sync()
    return store


def test_a_full_disk_refuses_batches_whole_and_nothing_else(disk: SmallDisk, store: Store) -> None:
    """DiskFull stores nothing, over a chunk's border too; reads go on, and a reason says that the disk is full."""
    disk.fill()
    before = store.windows("A")
    for size in (4096, 100_000):
        with pytest.raises(DiskFull, match=f"no space for {size} values of A: .*nothing was stored, free space"):
            store.append("A", np.full(size, 7.0))
    assert store.series("A").total == 5000
    assert store.windows("A") == before
    assert np.array_equal(store.window("A", 10_000), np.arange(5000.0))
    assert [(reason.symbol, reason.code) for reason in store.reasons()] == [(None, "disk_full")]


def test_writes_resume_when_there_is_space(disk: SmallDisk, store: Store) -> None:
    """The reason goes by itself, without a write, and the batch sent again is stored once, with sound nodes."""
    disk.fill()
    with pytest.raises(DiskFull):
        store.append("A", np.full(20_000, 7.0))
    assert store.reasons() != []
    disk.clear()
    assert store.reasons() == []
    assert store.append("A", np.arange(5000.0, 25_000.0), offset=5000) == 25_000
    assert np.array_equal(store.window("A", 10**6), np.arange(25_000.0))
    store.sync()
    assert store.verify()[0].faults == ()


def test_a_batch_that_the_disk_takes_in_part_is_not_stored(disk: SmallDisk, store: Store) -> None:
    """Space for some of the chunks of a batch is not space for the batch; what was written is written over later."""
    disk.fill(but=100_000)
    with pytest.raises(DiskFull):
        store.append("A", np.full(40_000, 7.0))
    assert store.series("A").total == 5000
    assert store.append("A", np.arange(5000.0, 6000.0)) == 6000
    disk.clear()
    assert store.append("A", np.arange(6000.0, 26_000.0)) == 26_000
    assert np.array_equal(store.window("A", 10**6), np.arange(26_000.0))
    assert store.verify()[0].faults == ()


def test_a_symbol_is_not_made_without_space(disk: SmallDisk, store: Store) -> None:
    """A new symbol is refused with DiskFull and leaves nothing; it is made when there is space."""
    disk.fill()
    files = sorted(os.listdir(store.path))
    with pytest.raises(DiskFull, match=r"no space to create B: .*nothing was stored"):
        store.append("B", [1.0])
    assert sorted(os.listdir(store.path)) == files
    assert [reason.code for reason in store.reasons()] == ["disk_full"]
    disk.clear()
    assert store.reasons() == []
    assert store.append("B", [1.0]) == 1


def test_the_starting_capacity_must_fit(disk: SmallDisk, open_store: OpenStore) -> None:
    """A capacity larger than the disk is refused when the symbol is made, not later in the middle of the day."""
    store = open_store(disk.path / "data", limits=Limits(starting_capacity=1_000_000))
    with pytest.raises(DiskFull, match="no space to create A"):
        store.append("A", [1.0])
    assert os.listdir(store.path) == [".lock"]


def test_a_restart_on_a_full_disk_serves(disk: SmallDisk, store: Store, open_store: OpenStore) -> None:
    """Closing, opening and reading need no space, and the store says that there is none before a batch meets that."""
    disk.fill()
    store.close()
    again = open_store(disk.path / "data", limits=LIMITS)
    assert again.stats("A", 5000).points == 5000
    assert [reason.code for reason in again.reasons()] == ["disk_full"]
    assert open_store(disk.path / "data", mode="r").reasons() == []
    disk.clear()
    assert again.reasons() == []


def test_a_cleanup_makes_room_by_itself(disk: SmallDisk, open_store: OpenStore) -> None:
    """On a full disk a batch that triggers a cleanup is stored, now or as soon as the old chunks are unlinked."""
    limits = Limits(max_data_retention=40_000, cleanup_keep_count=4096, starting_capacity=0, chunk_points=4096)
    store = open_store(disk.path / "data", limits=limits, durability="process")
    store.append("A", np.arange(40_000.0))
    store.sync()
    disk.fill()

    def appended() -> bool:
        try:
            return store.append("A", np.full(8192, 7.0), offset=40_000) == 48_192
        except DiskFull:
            return False

    wait_until(appended, "space that the cleanup gives back")
    assert store.series("A").bounds() == (40_000 - 4096, 48_192)
    wait_until(lambda: list_chunks(disk.path / "data" / "A")[0] == 32_768, "the cleanup")
    assert store.verify()[0].faults == ()


def test_a_symbol_whose_first_batch_does_not_fit_is_not_made(disk: SmallDisk, open_store: OpenStore) -> None:
    """However little space there is, a new symbol has its first batch, or there is no symbol that counts."""
    store = open_store(disk.path / "data", limits=Limits(starting_capacity=0, chunk_points=4096, max_symbols=1))
    refused = 0
    for pages in range(30):
        disk.fill(but=4096 * pages)
        try:
            assert store.append("A", np.ones(4000)) == 4000
            break
        except DiskFull:
            refused += 1
            assert os.listdir(store.path) == [".lock"]
        disk.clear()
    assert refused >= 8
    assert store.series("A").total == 4000
