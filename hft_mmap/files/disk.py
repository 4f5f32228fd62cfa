"""Directory operations that last: create, rename and unlink count only once the directory itself is synced."""

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.ENOMEM, errno.EAGAIN, errno.EINTR})
"""What says that this process, or the system, is short of something, and nothing of the disk or of what lies on it."""


def sync_directory(path: Path) -> None:
    """Put the names in the directory `path` on the disk (fsync); OSError if the disk fails."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Names:
    """The names that this process gives in one directory: those that several threads give at a time share one sync.

    Where that fails, it fails for all of them: a sync that is made again proves nothing.
    """

    def __init__(self, path: Path) -> None:
        """Know of no name in the directory `path`."""
        self._path = path
        self._counting, self._syncing = threading.Lock(), threading.Lock()
        self._given = self._synced = 0
        self._lost = 0, 0, OSError()
        """A sync has failed for the names after the first of these numbers, up to the second."""

    def given(self) -> int:
        """Return the number of a name that was given just now."""
        with self._counting:
            self._given += 1
            return self._given

    def sync(self, number: int) -> None:
        """Put the name of this number on the disk, with all that were given. OSError, also where that has failed."""
        with self._syncing:
            if number > self._synced:
                given = self._given
                fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                except OSError as error:
                    self._lost = self._lost[0] if self._lost[1] else self._synced, given, error
                finally:
                    os.close(fd)
                self._synced = given
            after, last, cause = self._lost
            if after < number <= last:
                raise OSError(*cause.args) from cause


def make_directory(path: Path) -> None:
    """Make the directory `path` and those above it that are missing; every name of theirs is on the disk on return.

    Each is synced before the next is made, and the lowest that was there already is synced first: whoever made it may
    have been killed before its own sync.
    """
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    lowest = missing[-1].parent if missing else path
    with suppress(PermissionError):  # a parent that may not be read was not made by us
        sync_directory(lowest.parent)
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def sync_file(path: Path) -> None:
    """Put the contents of the file `path` on the disk (fsync); OSError if the disk fails."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_fully(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of `data` at `offset` of the file `fd`; OSError as the system says (ENOSPC, EIO)."""
    rest = memoryview(data).cast("B")
    while rest:
        written = os.pwrite(fd, rest, offset)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest, offset = rest[written:], offset + written


def file_system_of(path: Path) -> str:
    """Return the type of the file system that holds `path` ("ext4", "xfs", "overlay", …), "unknown" if none says."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == wanted:
            return source.split()[0]
    return "unknown"


def has_space(directory: Path, size: int = 65536) -> bool:
    """Say whether `size` bytes can be allocated in `directory` now, by allocating them in a file that has no name."""
    try:
        fd = os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def is_nearly_full(directory: Path, size: int = 1 << 20) -> bool:
    """Say whether the file system of `directory` has less than `size` bytes for this user; OSError if it can't say.

    Takes a microsecond. What it has may still be out of reach, by a quota for one: `has_space` tries it.
    """
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize < size
