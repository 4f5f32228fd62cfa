"""Locks that other processes hold too: tried, never waited for inside the kernel.

A process that was stopped in the middle of a write (SIGSTOP, a debugger, a frozen container) keeps its lock for as long
as it likes. Whoever waited for it in `flock` could not be told to stop waiting, and would hold up everybody behind him.

There are three, and who needs several takes them in this order:

1. the making of symbols: `flock` on `.lock` in the data directory;
2. the series, for who writes points: `flock` on its head;
3. the commit slots and flags of the series: an open file lock (OFD) on its head, another lock than the one before.

With each comes a lock between the threads of the process, taken just before it and, like it, never waited for while
another process may hold the one that follows.

An interrupt (Ctrl-C, an alarm) may raise between any two calls of the main thread, so what is done under a lock is
given as a function: a context manager in Python would leave the lock taken where it strikes before the block begins, or
before `__exit__` does. Only inside of one function is a lock always given back: after `finally` comes one call in C.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from itertools import count
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from hft_mmap.errors import SeriesBusy

HOW_TO_FIND_THE_HOLDER = "`lslocks` names the process: resume or end it"

_T = TypeVar("_T")
_QUICK_ATTEMPTS = 20
_WHOLE_FILE = struct.Struct("hhqqi4x")
"""struct flock of x86-64: type, whence, start, length, pid; here always of the whole file."""
UNLOCKED_SLOTS = _WHOLE_FILE.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)
"""What F_OFD_SETLK takes to give the lock of the commit slots back."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 50e-6, 5e-3


def try_lock(fd: int) -> bool:
    """Lock the open file `fd` against every other opening of it; return False, at once, if one holds it already.

    OSError where the system can't lock (ENOLCK, EBADF).
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock_slots(fd: int, kind: int) -> bool:
    """Lock the commit slots of the open head `fd`, by F_WRLCK or F_RDLCK; return False, at once, if that is held.

    An open file lock of the whole file: it belongs to the opening, as `flock` does, and is another lock than that.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WHOLE_FILE.pack(kind, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as POSIX leaves it open
        return False
    return True


def attempts(wait_s: float | None) -> Iterator[None]:
    """Yield for each attempt at a lock: one at once, then more until `wait_s` seconds are over (None: without end).

    Between the first ones the processor is only offered to others, since an append takes microseconds; then come pauses
    that grow to 5 ms.
    """
    deadline_s = inf if wait_s is None else monotonic() + wait_s
    pause_s = 0.0
    yield
    for attempt in count(1):
        if monotonic() >= deadline_s:
            return
        sleep(pause_s)
        if attempt >= _QUICK_ATTEMPTS:
            pause_s = min(max(1.5 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        yield


def locked(path: Path, work: Callable[[], _T], wait_s: float | None = None) -> _T:
    """Return what `work` does while the lock file `path`, made if it is missing, is held against every other process.

    A dead holder blocks nobody. SeriesBusy if another holds it for longer than `wait_s` (None: however long).
    """
    # To close the file gives the lock back.
    with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - that of pathlib may be interrupted with the file open
        if not any(try_lock(file.fileno()) for _ in attempts(wait_s)):
            raise SeriesBusy(f"another process holds {path}; {HOW_TO_FIND_THE_HOLDER}")
        return work()
