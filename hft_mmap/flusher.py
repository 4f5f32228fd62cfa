"""The thread that puts published points on the disk: on an interval, or as soon as it can (group commit)."""

import threading
from time import monotonic

from hft_mmap.limits import Durability
from hft_mmap.series import Series


class Flusher:
    """Commits the series that ask for it, one after the other, in a thread of its own.

    Tier `interval`: `sync_interval_ms` after the first request. Tier `sync`: at once; requests that arrive while a
    flush is under way share the next one. Tier `process`: series ask only after a roll or a cleanup.
    """

    def __init__(self, durability: Durability, sync_interval_ms: int) -> None:
        """Prepare; the thread starts with the first request."""
        self._interval_s = sync_interval_ms / 1000 if durability is Durability.INTERVAL else 0.0
        self._condition = threading.Condition()
        self._pending: dict[Series, None] = {}
        self._thread: threading.Thread | None = None
        self._stopping = False

    def wake(self, series: Series) -> None:
        """Have `series` committed soon; costs about 2 us, and a thread's start the first time."""
        with self._condition:
            if self._stopping:
                return
            self._pending[series] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hft-mmap-flusher", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _take(self) -> list[Series]:
        """Wait for requests, and for the interval after the first of them; return them, or nothing at the end."""
        with self._condition:
            while not self._pending and not self._stopping:
                self._condition.wait()
            deadline = monotonic() + self._interval_s
            while self._interval_s and not self._stopping and (rest := deadline - monotonic()) > 0:
                self._condition.wait(rest)
            taken = list(self._pending)
            self._pending.clear()
            return taken

    def _run(self) -> None:
        """Commit until told to stop and nothing is left."""
        while taken := self._take():
            for series in taken:
                series.commit()

    def stop(self) -> None:
        """Commit what was asked for and end the thread; later requests are ignored."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()
