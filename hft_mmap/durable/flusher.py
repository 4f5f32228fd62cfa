"""The thread that puts published points on the disk: on an interval, or as soon as it can (group commit)."""

import threading
from time import monotonic
from typing import Protocol

from hft_mmap.limits import Durability

_RETRY_S = 0.02


class Committing(Protocol):
    """A series, to the flusher."""

    def commit(self) -> bool:
        """Put on the disk what was published; return False where it has to be tried again."""


class Flusher:
    """Commits the series that ask for it, one after the other, in a thread of its own.

    Tier `interval`: `sync_interval_ms` after the first request. Tier `sync`: at once; requests that arrive while a
    flush is under way share the next one. Tier `process`: series ask only after a roll or a cleanup.

    A series that another process holds keeps no other waiting: it is tried again, every 20 ms.
    """

    def __init__(self, durability: Durability, sync_interval_ms: int) -> None:
        """Prepare; the thread starts with the first request."""
        self._interval_s = sync_interval_ms / 1000 if durability is Durability.INTERVAL else 0.0
        self._condition = threading.Condition()
        self._pending: dict[Committing, None] = {}
        self._held: list[Committing] = []
        self._thread: threading.Thread | None = None
        self._stopping = False

    def wake(self, series: Committing) -> None:
        """Have `series` committed soon; costs about 2 us, and a thread's start the first time."""
        with self._condition:
            if self._stopping:
                return
            self._pending[series] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hft-mmap-flusher", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _take(self) -> list[Committing]:
        """Wait for requests, and for the interval after the first of them; return them, or nothing at the end."""
        with self._condition:
            while not self._pending and not self._stopping:
                if not self._condition.wait(_RETRY_S if self._held else None):
                    break
            deadline = monotonic() + self._interval_s
            while self._interval_s and self._pending and not self._stopping and (rest := deadline - monotonic()) > 0:
                self._condition.wait(rest)
            taken = dict.fromkeys(() if self._stopping else self._held) | self._pending
            self._pending.clear()
            return list(taken)

    def _run(self) -> None:
        """Commit until told to stop and nothing is left."""
        while taken := self._take():
            self._held = [series for series in taken if not series.commit()]

    def stop(self) -> None:
        """Commit what was asked for and end the thread; later requests are ignored."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()
