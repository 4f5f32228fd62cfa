"""A real file system that fills up, in memory; needs root, for mounting it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import DiskFull, Limits, Store
from hft_mmap.chunk import list_chunks
from tests.hft_mmap.conftest import OpenStore
from tests.service import wait_until

SIZE = 1 << 20


class SmallDisk:
    """A mounted file system of a megabyte."""

    def __init__(self, path: Path) -> None:
        """Use the file system mounted at `path`."""
        self.path = path
        self._ballast = path / "ballast"

    def free(self) -> int:
        """Return how many bytes are free."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_bsize

    def fill(self, but: int = 0) -> None:
        """Take all of the space but so many bytes."""
        with self._ballast.open("ab") as file:
            file.write(bytes(max(self.free() - but, 0)))

    def clear(self) -> None:
        """Give the space back."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Yield a small disk, unmounted when the test ends."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"can't mount here: {mounted.stderr.decode().strip()}")
    yield SmallDisk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607


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
    """Closing, opening and reading need no space."""
    disk.fill()
    store.close()
    again = open_store(disk.path / "data", limits=LIMITS)
    assert again.stats("A", 5000).points == 5000
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
