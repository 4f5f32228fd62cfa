"""Locks that other processes hold too: tried, never waited for inside the kernel.

A process that was stopped in the middle of a write (SIGSTOP, a debugger, a frozen container) keeps its lock for as long
as it likes. Whoever waited for it in `flock` could not be told to stop waiting, and would hold up everybody behind him.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from math import inf
from pathlib import Path
from time import monotonic, sleep

from hft_mmap.errors import SeriesBusy

HOW_TO_FIND_THE_HOLDER = "`lslocks` names the process: resume or end it"

_QUICK_ATTEMPTS = 20
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


def unlock(fd: int) -> None:
    """Give the lock of the open file `fd` back."""
    fcntl.flock(fd, fcntl.LOCK_UN)


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


@contextmanager
def locked_now(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, made if it is missing, against every other process; SeriesBusy if one holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not try_lock(fd):
            raise SeriesBusy(f"another process holds {path}; {HOW_TO_FIND_THE_HOLDER}")
        yield
    finally:
        os.close(fd)
