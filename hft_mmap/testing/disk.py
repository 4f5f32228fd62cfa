"""A disk that forgets what was not synced, fails, and goes away: the directory of a store, and what a crash keeps.

The files are real, and the store that works on them is too; `SimulatedDisk` stands between it and the system calls that
Python makes (open, write, sync, rename, unlink …), knows what of each file and directory was synced, and can compose
what lies there after a power cut. Memory that only looks like the disk is what the files hold in between.

- A page (4096 bytes) that was written and not synced is kept, dropped, or torn at a sector (512 bytes).
- A name that was made or removed and not synced is there or is not, each by itself, which is worse than a journal.
- A sync that fails leaves pages in memory that count as clean: later syncs succeed without them, until they are written
  again; when memory drops them (`evict`), what the disk has comes back.
"""

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from hft_mmap.files import boot
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.column import Column
from hft_mmap.files.head import HEAD_NAME
from hft_mmap.tree.kernels import FAN_OUT, NODE_BYTES

PAGE, SECTOR = 4096, 512

FAILURES = {
    "open": errno.EMFILE,
    "write": errno.ENOSPC,
    "allocate": errno.ENOSPC,
    "name": errno.EIO,
    "sync": errno.EIO,
}
"""Kinds of calls, and what one that fails says."""


class Killed(BaseException):
    """The process is gone: nothing that it would still do has an effect."""


class SimulatedDisk:
    """What lies on the disk below `root`, beside what the files there show. Made for one thread."""

    def __init__(self, root: Path, random: Random, forgetting: Random) -> None:
        """Prepare an empty directory `data` below `root`, which exists; `random` decides what crashes keep.

        forgetting: decides whether memory drops what a failed sync left there before the sync returns, under the
        processes that have it open. Later it may not: who meets a failed sync keeps these pages in memory.
        """
        self.data = root / "data"
        self.data.mkdir()
        self._attic = root / "attic"
        self._attic.mkdir()
        self._boot_id = root / "boot_id"
        self._random = random
        self._forgetting = forgetting
        self._files: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._doubted: dict[int, dict[int, bytes]] = {}
        self._dead = False
        self._die_in: int | None = None
        self._fail_in: dict[str, int] = {}
        self.failed_syncs = self.forgotten = 0
        self._restart()

    def _restart(self) -> None:
        self._boot_id.write_text(str(uuid.UUID(int=self._random.getrandbits(128))))

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    # -- what is to happen --------------------------------------------------------------------------------------------

    def kill_in(self, calls: int) -> None:
        """Kill the process at the call that comes after so many."""
        self._die_in = calls

    def fail_in(self, kind: str, calls: int) -> None:
        """Fail one call of a kind of FAILURES, the one that comes after so many of them."""
        self._fail_in[kind] = calls

    def revive(self) -> None:
        """Let the next process make calls; what was to happen to the last one is forgotten."""
        self._dead, self._die_in, self._fail_in = False, None, {}

    def check_alive(self) -> None:
        """Killed where the process is gone."""
        if self._dead:
            raise Killed

    def _call(self, kind: str) -> bool:
        """Count a call; Killed where the process is gone, True where the call has to fail."""
        if self._die_in is not None:
            self._die_in -= 1
            self._dead |= self._die_in < 0
        self.check_alive()
        if kind not in self._fail_in:
            return False
        self._fail_in[kind] -= 1
        if self._fail_in[kind] >= 0:
            return False
        del self._fail_in[kind]
        return True

    # -- the calls ----------------------------------------------------------------------------------------------------

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Stand between this process and the system, for calls that go below `data`."""
        with ExitStack() as stack:
            for name, kind in _BY_PATH.items():
                stack.enter_context(patch.object(os, name, self._by_path(getattr(os, name), kind)))
            for name, kind in _BY_FD.items():
                stack.enter_context(patch.object(os, name, self._by_fd(getattr(os, name), kind)))
            stack.enter_context(patch.object(Chunk, "write", self._writing_chunks(Chunk.write)))
            stack.enter_context(patch.object(Column, "write", self._writing_columns(Column.write)))
            stack.enter_context(patch.object(os, "urandom", self._random.randbytes))
            stack.enter_context(patch.object(boot, "BOOT_ID_FILE", self._boot_id))
            yield

    def _by_path(self, real: Callable[..., Any], kind: str) -> Callable[..., Any]:
        """Return what stands before a call that takes a path."""

        def call(path: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the call takes
            if str(path).startswith(str(self.data)):
                if self._call(kind):
                    raise OSError(FAILURES[kind], os.strerror(FAILURES[kind]), str(path))
                if real.__name__ == "unlink":
                    os.link(path, self._attic / str(os.stat(path).st_ino))
            return real(path, *args, **options)

        return call

    def _by_fd(self, real: Callable[..., Any], kind: str) -> Callable[..., Any]:
        """Return what stands before a call that takes an open file."""

        def call(fd: int, *args: Any) -> Any:  # noqa: ANN401 - whatever the call takes
            failing = self._call(kind)
            if kind == "sync":
                self._sync(fd, failing=failing)
            if failing:
                raise OSError(FAILURES[kind], os.strerror(FAILURES[kind]))
            done = real(fd, *args)
            if real.__name__ == "pwrite":
                self._written(os.fstat(fd).st_ino, args[1], len(args[0]))
            return done

        return call

    def _writing_chunks(self, real: Callable[..., int]) -> Callable[..., int]:
        """Return what stands before `Chunk.write`, which makes its calls in compiled code."""

        def write(chunk: Chunk, begin: int, values: Any, columns: Any = ()) -> int:  # noqa: ANN401 - as the method
            done = real(chunk, begin, values, columns)
            inode, end = os.stat(chunk.path).st_ino, begin + len(values)
            self._written(inode, 8 * begin, 8 * len(values))
            for level in range(1, chunk.layout.levels + 1):
                first, last = begin // FAN_OUT**level, end // FAN_OUT**level
                self._written(inode, chunk.layout.offsets[level] + NODE_BYTES * first, NODE_BYTES * (last - first))
            return done

        return write

    def _writing_columns(self, real: Callable[..., int]) -> Callable[..., int]:
        """Return what stands before `Column.write`: a call that can be the last of its process, or fail."""

        def write(column: Column, begin: int, values: Any) -> int:  # noqa: ANN401 - as the method
            if self._call("write"):
                raise OSError(FAILURES["write"], os.strerror(FAILURES["write"]), str(column.path))
            done = real(column, begin, values)
            self._written(os.stat(column.path).st_ino, 8 * begin, 8 * len(values))
            return done

        return write

    def _written(self, inode: int, offset: int, size: int) -> None:
        """Note that a range of a file was written: its pages are dirty, whatever became of them before."""
        doubted = self._doubted.get(inode)
        if doubted and size:
            for page in range(offset // PAGE, (offset + size - 1) // PAGE + 1):
                doubted.pop(page, None)

    def _sync(self, fd: int, *, failing: bool) -> None:
        """Put a file or the names of a directory on the disk, or, `failing`, some of it."""
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            if not failing:
                self._names[status.st_ino] = _entries(f"/proc/self/fd/{fd}")
            return
        with open(f"/proc/self/fd/{fd}", "rb") as file:  # noqa: PTH123 - not the os.open that is stood before
            now = file.read()
        self._write_back(status.st_ino, now, (lambda: self._chance(0.5)) if failing else None)
        self.failed_syncs += failing
        path = Path(f"/proc/self/fd/{fd}").readlink()
        # Heads are kept in memory by every process that writes.
        if failing and path.name != HEAD_NAME and self._forgetting.random() < 0.3:  # noqa: PLR2004 - now and then
            self.forgotten += 1
            self._evict(path, status.st_ino)

    def _write_back(self, inode: int, now: bytes, failing: Callable[[], bool] | None) -> None:
        """Put the dirty pages of a file on the disk; of those that `failing` says, the disk keeps what it had."""
        before = self._files.get(inode, b"")
        doubted = self._doubted.setdefault(inode, {})
        pages = []
        for page in range(-(-len(now) // PAGE)):
            new, old = (data[PAGE * page : PAGE * (page + 1)] for data in (now, before))
            if new != old:
                if failing is not None and failing():
                    doubted[page] = new
                if doubted.get(page) == new:
                    new = old.ljust(len(new), b"\0")
            pages.append(new)
        self._files[inode] = b"".join(pages)

    # -- what becomes of it -------------------------------------------------------------------------------------------

    def write_back_some(self) -> None:
        """Have the system write some dirty pages, as it does by itself; nobody may rely on it."""
        for path, inode in self._inodes():
            now, before = path.read_bytes(), self._files.get(inode, b"")
            doubted = self._doubted.get(inode, {})
            self._files[inode] = b"".join(
                now[at : at + PAGE]
                if self._chance(0.3) and at // PAGE not in doubted
                else before[at : at + PAGE].ljust(min(PAGE, len(now) - at), b"\0")
                for at in range(0, len(now), PAGE)
            )

    def evict(self) -> None:
        """Drop the pages from memory that a failed sync has left there as clean: the disk's own come back."""
        for path, inode in self._inodes():
            self._evict(path, inode)

    def _evict(self, path: Path, inode: int) -> None:
        for page, was in self._doubted.pop(inode, {}).items():
            if path.read_bytes()[PAGE * page :][: len(was)] == was:
                on_disk = self._files.get(inode, b"")[PAGE * page :][: len(was)]
                _overwrite(path, PAGE * page, on_disk.ljust(len(was), b"\0"))

    def cut(self, *, restart: bool) -> None:
        """Lose what was not synced, at random. restart: the machine; else only the device, which comes back at once.

        No process may have files open.
        """
        for entry in list(self.data.iterdir()):
            inode = entry.stat().st_ino
            if self._names.get(self.data.stat().st_ino, {}).get(entry.name) != inode and self._chance(0.5):
                if entry.is_dir() and not entry.name.startswith("."):
                    entry.rename(self.data / f".making-{uuid.UUID(int=self._random.getrandbits(128)).hex}")
                elif entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        for directory in [entry for entry in self.data.iterdir() if entry.is_dir()]:
            self._cut_names(directory)
            for path in directory.iterdir():
                self._cut_file(path)
        for directory in (self.data, *(entry for entry in self.data.iterdir() if entry.is_dir())):
            self._names[directory.stat().st_ino] = _entries(directory)
        for path in self._attic.iterdir():
            path.unlink()
        self._doubted.clear()
        if restart:
            self._restart()

    def _cut_names(self, directory: Path) -> None:
        """Have each name that was made or removed since the last sync of the directory, or not."""
        now = _entries(directory)
        before = self._names.get(directory.stat().st_ino, {})
        for name in sorted(now.keys() | before.keys()):
            if now.get(name) == before.get(name) or self._chance(0.5):
                continue
            (directory / name).unlink(missing_ok=True)
            if name in before and (old := self._attic / str(before[name])).exists():
                os.link(old, directory / name)

    def _cut_file(self, path: Path) -> None:
        """Have each page that was written since the last sync of the file, or not, or a part of it."""
        inode, now = path.stat().st_ino, path.read_bytes()
        before = self._files.get(inode)
        if before is None:
            # Whether its length is there is another matter than whether its bytes are.
            before = bytes(len(now)) if self._chance(0.8) else b""
            now = now[: len(before)]
        before = before.ljust(len(now), b"\0")
        doubted, kept = self._doubted.get(inode, {}), bytearray(now)
        for at in range(0, len(now), PAGE):
            old, new = before[at : at + PAGE], now[at : at + PAGE]
            lost = doubted.get(at // PAGE) == new
            if old == new or (not lost and self._chance(0.4)):
                continue
            lost |= self._chance(0.6)
            for sector in range(at, min(at + PAGE, len(now)), SECTOR):
                if lost or self._chance(0.5):
                    kept[sector : sector + SECTOR] = before[sector : sector + SECTOR]
        os.truncate(path, len(kept))
        _overwrite(path, 0, bytes(kept))
        self._files[inode] = bytes(kept)

    def _inodes(self) -> list[tuple[Path, int]]:
        """Return every file with its inode."""
        return [(path, path.stat().st_ino) for path in sorted(self.data.glob("*/*"))]


_BY_PATH = {"open": "open", "unlink": "name", "rename": "name", "mkdir": "name"}
_BY_FD = {
    "pwrite": "write", "ftruncate": "write", "posix_fallocate": "allocate", "fsync": "sync", "fdatasync": "sync",
}  # fmt: skip


def _entries(directory: str | Path) -> dict[str, int]:
    """Return the names in a directory, with their inodes."""
    with os.scandir(directory) as entries:
        return {entry.name: entry.inode() for entry in entries}


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    """Write into a file as the system does, past every call that is counted."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
