"""Files mapped into memory, and the pages of them that the system may not drop."""

import ctypes
import errno
import mmap
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_mlock = _libc.mlock
_mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_mmap = _libc.mmap
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_mmap.restype = ctypes.c_void_p
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_madvise = _libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_FAILED = ctypes.c_void_p(-1).value


def mapped(fd: int, size: int, *, writable: bool = False) -> memoryview:
    """Return the first `size` bytes of the open file `fd`, shared with every process that maps them. OSError.

    They are unmapped when nobody holds them any more, and need no descriptor: Python's own `mmap` keeps one for each
    mapping (up to 3.12 always), which for ten thousand symbols is twenty thousand.
    """
    protection = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
    address = _mmap(None, size, protection, mmap.MAP_SHARED, fd, 0)
    if address is None or address == _FAILED:
        error = ctypes.get_errno()
        raise OSError(error, f"{size} bytes of a file can't be mapped: {os.strerror(error)}")
    found = memoryview(_mapping(size).from_address(address))
    return found if writable else found.toreadonly()


def open_again(path: Path, flags: int, file: tuple[int, int], address: int, size: int) -> int:
    """Return a new descriptor of the file (device, number) whose first `size` bytes are mapped at `address`.

    It is opened at `path`, or wherever its directory was moved to. FileNotFoundError where it has no name any more, or
    where the system does not tell of one; OSError.
    """
    for elsewhere in (False, True):
        where = mapped_path(address, size) if elsewhere else path
        with suppress(FileNotFoundError, NotADirectoryError):
            fd = os.open(where or path, flags | os.O_CLOEXEC)
            found = None
            try:
                found = identity_of(os.fstat(fd))
            finally:  # also where the file system does not tell: whoever waits for it tries again and again
                if found != file:
                    os.close(fd)
            if found == file:
                return fd
    raise FileNotFoundError(errno.ENOENT, "the file was removed or replaced", str(path))


def identity_of(found: os.stat_result) -> tuple[int, int]:
    """Return what no other file has for as long as this one is open or mapped: its device and its number."""
    return found.st_dev, found.st_ino


def mapped_path(address: int, size: int) -> Path | None:
    """Return the name that the file mapped at `address` has now, wherever it was moved; None if the system won't tell.

    A file that was removed has one that is no file, or that is of another. Takes a few microseconds.
    """
    end = address + -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    try:
        return Path(f"/proc/self/map_files/{address:x}-{end:x}").readlink()
    except OSError:
        return None


@cache
def _mapping(size: int) -> Any:  # noqa: ANN401 - ctypes makes a class for each size of an array
    """Return the class of the mappings of `size` bytes: the last to hold one unmaps it."""

    def unmap(self: Any, munmap: Any = _munmap, address_of: Any = ctypes.addressof) -> None:  # noqa: ANN401
        munmap(address_of(self), size)

    return type("Mapping", (ctypes.c_ubyte * size,), {"__del__": unmap})


def forget_pages(address: int, size: int) -> None:
    """Take mapped pages out of the memory of this process; they stay in the page cache, and come back when read."""
    _madvise(address, size, mmap.MADV_DONTNEED)


def keep_in_memory(address: int, size: int) -> bool:
    """Read `size` mapped bytes at `address` into memory, and keep their pages there until they are unmapped (mlock).

    Returns False where the system does not allow so much (RLIMIT_MEMLOCK); then nothing has changed.
    """
    return not size or _mlock(address, size) == 0
