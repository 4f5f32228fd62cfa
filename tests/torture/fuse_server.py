"""A FUSE file system over a directory, which keeps a record of every call: `python -m tests.torture.fuse_server`.

What is done to files below the mount is done to the directory, and noted in the order in which it happens: a line of
JSON for each call, followed by the bytes that it writes. Shared mappings work, for pages are cached (no direct_io);
what is stored through one is noted when the kernel writes it back, at an fsync or whenever it likes.

It has to be a process of its own: whoever touches a page of a mapping waits for it, with Python's lock in hand.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import mfusepy

from tests.torture.told import TOLD


class Recorder(mfusepy.Operations):  # type: ignore[misc]
    """The calls of a file system, each passed on to `backing` and noted in `log`."""

    use_ns = True

    def __init__(self, backing: Path, log: BinaryIO) -> None:
        """Begin with what is in the directory `backing`."""
        self._backing = backing
        self._log = log
        self._told: set[int] = set()

    def init_with_config(self, _: Any, config: Any) -> None:
        """Have files unlinked that are open, as elsewhere, and their numbers kept; libfuse renames and numbers them."""
        config.hard_remove = config.use_ino = 1

    def _at(self, path: str) -> str:
        return f"{self._backing}{path}".removesuffix("/")

    def _note(
        self, name: str, paths: Sequence[str], numbers: Sequence[int], result: int = 0, data: bytes = b""
    ) -> None:
        """Note a call that was done: its paths or data, its numbers with the descriptor first, and its result."""
        head = json.dumps([name, [self._at(path) for path in paths], list(numbers), result, len(data)])
        self._log.write(head.encode() + b"\n" + data)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._at(path)) if fh is None else os.fstat(fh)
        names = ("ino", "mode", "nlink", "size", "uid", "gid", "blocks")
        times = {f"st_{kind}time": getattr(found, f"st_{kind}time_ns") for kind in "amc"}
        return times | {f"st_{name}": getattr(found, f"st_{name}") for name in names}

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._at(path))
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_") and name != "f_fsid"}

    def readdir(self, path: str, _: int) -> list[tuple[str, dict[str, Any], int]]:
        # With the number of each: a name whose number is 0 counts as deleted.
        return [(name, self.getattr(f"{path}/{name}"), 0) for name in (".", "..", *os.listdir(self._at(path)))]

    def opendir(self, path: str) -> int:
        fh = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY)
        self._note("openat", [path], [0], fh)
        return fh

    def releasedir(self, _: str, fh: int) -> int:
        return self.release(_, fh)

    def open(self, path: str, flags: int) -> int:
        fh = os.open(self._at(path), flags & ~os.O_APPEND)
        if path == TOLD:
            self._told.add(fh)
        else:
            self._note("openat", [path], [0], fh)
        return fh

    def create(self, path: str, mode: int, _: int) -> int:
        fh = os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode & 0o777)
        self._note("openat", [path], [0], fh)
        return fh

    def release(self, _: str, fh: int) -> int:
        if fh in self._told:
            self._told.remove(fh)
        else:
            self._note("close", [], [fh])
        os.close(fh)
        return 0

    def read(self, _: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, _: str, data: bytes, offset: int, fh: int) -> int:
        if fh in self._told:
            self._note("write", [], [fh], len(data), data)
            return len(data)
        written = os.pwrite(fh, data, offset)
        self._note("pwrite64", [], [fh, offset], written, data[:written])
        return written

    def truncate(self, path: str, length: int) -> int:
        # The package does not hand on which open file it was.
        fh = os.open(self._at(path), os.O_WRONLY)
        os.ftruncate(fh, length)
        self._note("openat", [path], [0], fh)
        self._note("ftruncate", [], [fh, length])
        self._note("close", [], [fh])
        os.close(fh)
        return 0

    def fallocate(self, _: str, mode: int, offset: int, size: int, fh: int) -> int:
        assert mode == 0
        os.posix_fallocate(fh, offset, size)
        self._note("fallocate", [], [fh, offset, size])
        return 0

    def fsync(self, _: str, datasync: int, fh: int) -> int:
        self._note("fdatasync" if datasync else "fsync", [], [fh])
        return 0

    def fsyncdir(self, _: str, __: int, fh: int) -> int:
        self._note("fsync", [], [fh])
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._at(path), mode)
        self._note("mkdir", [path], [])
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._at(path))
        self._note("rmdir", [path], [])
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._at(path))
        self._note("unlink", [path], [])
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._at(old), self._at(new))
        self._note("rename", [old, new], [])
        return 0


def main() -> None:
    """Serve BACKING at MOUNT, and note what happens in LOG, until it is unmounted."""
    backing, mount, log = map(Path, sys.argv[1:])
    (backing / TOLD[1:]).touch()
    with log.open("wb") as file:
        mfusepy.FUSE(Recorder(backing, file), str(mount), foreground=True, nothreads=True, fsname="hft-mmap-recorder")
    (backing / TOLD[1:]).unlink()


if __name__ == "__main__":
    main()
