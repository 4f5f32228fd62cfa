"""A real file system on a disk that begins to fail its writes, and is well again; needs root, nbdkit and nbdfuse."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Durability, Limits, SeriesReadOnly
from hft_mmap.testing import StoreProcess
from tests.service import PATIENCE_S, wait_until

LIMITS = Limits(starting_capacity=0, chunk_points=64)
NEEDED = {"nbdkit": "nbdkit", "nbdfuse": "libnbd-bin", "mkfs.ext4": "e2fsprogs", "losetup": "mount"}


def run(*command: str) -> str:
    """Run a command to its end, and return what it printed; skip the test where the machine does not allow it."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]} does not work here: {done.stderr.strip()}")
    return done.stdout.strip()


class FailingDisk:
    """An ext4 of 64 MB over a block device whose writes fail while a file says so."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        """Start the device below `place`, and mount the file system at `path`."""
        self.path = place / "mounted"
        self._flag = place / "fail"
        device = place / "device"
        self.path.mkdir()
        device.mkdir()
        error = ["error-pwrite=EIO", "error-pwrite-rate=100%", f"error-file={self._flag}"]
        command = [
            "nbdfuse", f"{device}/", "[", "nbdkit", "--exit-with-parent", "--filter=error", "memory", "64M", *error, "]"
        ]  # fmt: skip
        server = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        stack.callback(server.terminate)
        file = device / "nbd"
        wait_until(lambda: file.exists() or server.poll() is not None, "the device")
        if server.poll() is not None:
            pytest.skip(f"nbdfuse does not work here: {server.communicate()[1].strip()}")
        run("mkfs.ext4", "-qF", str(file))
        self._loop = run("losetup", "--find", "--show", str(file))
        stack.callback(run, "losetup", "--detach", self._loop)
        run("mount", self._loop, str(self.path))
        stack.callback(run, "umount", "--lazy", str(self.path))

    def fail(self, *, broken: bool) -> None:
        """Have every write to the device fail from now on, or none."""
        if broken:
            self._flag.touch()
        else:
            self._flag.unlink()

    def mount_again(self) -> None:
        """Forget what is only in memory."""
        run("umount", str(self.path))
        run("mount", self._loop, str(self.path))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FailingDisk]:
    """Yield a disk that works until it is told not to."""
    missing = [package for command, package in NEEDED.items() if shutil.which(command) is None]
    if os.geteuid() != 0 or missing or not Path("/dev/fuse").exists():
        pytest.skip(f"needs root, /dev/fuse and the Debian packages {', '.join(sorted(NEEDED.values()))}")
    with ExitStack() as stack:
        yield FailingDisk(tmp_path, stack)


@pytest.mark.parametrize("durability", Durability)
def test_a_disk_that_fails_for_a_while_loses_nothing_acknowledged(disk: FailingDisk, durability: Durability) -> None:
    """While it fails: read-only, reads go on. After a start on a disk that is well: all is there, on the disk too."""
    path = disk.path / "data"
    store = StoreProcess(path, limits=LIMITS, durability=durability, sync_interval_ms=1)
    assert store.append("A", np.arange(50.0)) == 50
    store.sync()
    disk.fail(broken=True)
    with pytest.raises(SeriesReadOnly, match=r"read-only since the disk failed \(\[Errno 5\]"):
        append_until_refused(store)
    assert [(reason.symbol, reason.code) for reason in store.reasons()] == [("A", "read_only")]
    total = store.symbols()[0].total
    assert store.stats("A", 1000).points == total
    store.close()
    disk.fail(broken=False)
    store = StoreProcess(path, limits=LIMITS, durability=durability)
    assert store.reasons() == []
    assert store.append("A", np.ones(100)) == total + 100
    store.close()
    disk.mount_again()
    store = StoreProcess(path, limits=LIMITS, durability=durability)
    assert store.window("A", 1000).tolist() == [*range(50), *[7.0] * (total - 50), *[1.0] * 100]
    assert [report.faults for report in store.verify()] == [()]
    store.close()


def append_until_refused(store: StoreProcess) -> None:
    """Append and sync, a few times at most."""
    for _ in range(10):
        store.append("A", np.full(5, 7.0))
        store.sync()
