"""The thread that puts published points on the disk: on an interval, or as soon as it can (group commit)."""

import threading
from contextlib import suppress
from queue import SimpleQueue
from time import monotonic
from typing import Protocol

from hft_mmap.durable.together import together
from hft_mmap.limits import Durability

_RETRY_S, _LOOKS = 0.02, 10


class Committing(Protocol):
    """A series, to the flusher."""

    def commit(self) -> bool:
        """Put on the disk what was published; return False where it has to be tried again."""

    @property
    def is_asked(self) -> bool:
        """Whether there is something to commit that no commit since then can have met."""

    def uncommitted(self) -> None:
        """Ask again at the next append, since nobody may have heard what was asked."""


class Flusher:
    """Commits the series that ask for it in a thread of its own, and many of them in several.

    Tier `interval`: `sync_interval_ms` after the first request. Tier `sync`: at once; requests that arrive while a
    flush is under way share the next one. Tier `process`: series ask only after a roll or a cleanup.

    A series that another process holds keeps no other waiting: it is tried again, every 20 ms. A thread that could not
    be started, or that has died, is started again at the next request, or by who looks after it.
    """

    def __init__(self, durability: Durability, sync_interval_ms: float) -> None:
        """Prepare; the thread starts with the first request."""
        self._interval_s = sync_interval_ms / 1000 if durability is Durability.INTERVAL else 0.0
        # No lock between who asks and the thread: one that an interrupt leaves locked would end all commits.
        self.requests: SimpleQueue[Committing | None] = SimpleQueue()
        self._asked: dict[Committing, None] = {}
        self._held: list[Committing] = []
        self._since_s: float | None = None
        self._starting = threading.Lock()
        self._running = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._until_stopped = threading.Lock()
        """Taken from the beginning, and given back by `stop`: to wait for it is to wait for that."""
        self._until_stopped.acquire()

    def wake(self, series: Committing) -> None:
        """Have `series` committed soon; costs about 2 us, and a thread's start the first time."""
        self.look_after()
        self.requests.put(series)

    def look_after(self) -> str | None:
        """Start the thread if it does not live; return why nothing is put on the disk, where it can't be started."""
        return None if self._stopping or self._alive() else self._start()

    def check(self) -> str | None:
        """Return what `look_after` does; a thread that nobody has needed yet is not started."""
        return None if self._thread is None else self.look_after()

    def oldest_s(self) -> float:
        """Return how long, at most, a point has waited to be put on the disk that is asked for; 0.0 where none does."""
        since_s = self._since_s
        return 0.0 if since_s is None else monotonic() - since_s

    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> str | None:
        """Start the thread, unless another has; return why that can't be done."""
        with self._starting:
            if not self._alive():
                self._thread = threading.Thread(target=self._run, name="hft-mmap-flusher", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError as error:
                    self._gather()  # or requests that nobody takes would grow
                    return f"nothing is put on the disk, since its thread can't be started: {error}; it is tried again"
        return None

    def _take(self) -> list[Committing]:
        """Wait for requests, and for the interval after the first of them; return them, or nothing at the end."""
        # Never by `get` with a timeout: where its time is over before it waits, it waits for ever (CPython up to 3.13).
        if self._held or self._asked:
            for _ in range(_LOOKS):
                if self._stopping or not self.requests.empty():
                    break
                self._pause(_RETRY_S / _LOOKS)
        elif not self._stopping and (series := self.requests.get()) is not None:
            self._asked[series] = None
        self._gather()
        if self._since_s is None:
            self._since_s = monotonic()
        if self._asked and self._interval_s:
            self._pause(self._interval_s)
            self._gather()
        return list(dict.fromkeys(() if self._stopping else self._held) | self._asked)

    def _pause(self, seconds: float) -> None:
        """Wait for so long, or to be stopped."""
        if not self._stopping:
            self._until_stopped.acquire(timeout=seconds)

    def _gather(self) -> None:
        """Take what lies in the queue, each series once."""
        while not self.requests.empty():
            series = self.requests.get()
            if series is not None:
                self._asked[series] = None

    def _run(self) -> None:
        """Commit until told to stop and nothing is left."""
        if not self._running.acquire(blocking=False):
            return  # started twice, by a start that was interrupted
        try:
            while taken := self._take():
                begin, late = monotonic(), set(self._held)
                due = [one for one in taken if one in late or one.is_asked]
                done = together(_commit, due)
                self._held = [one for one, committed in zip(due, done, strict=True) if not committed]
                self._asked.clear()
                # What lies in the queue by now came while these were committed.
                self._since_s = self._since_s if self._held else None if self.requests.empty() else begin
        except BaseException:
            left, self._held = [*self._held, *self._asked], []
            self._asked.clear()
            for series in left:  # for the thread that comes after this one
                self.requests.put(series)
                series.uncommitted()
            raise
        finally:
            self._running.release()

    def stop(self) -> None:
        """Commit what was asked for and end the thread; later requests are ignored. May be called again."""
        self._stopping = True
        self.requests.put(None)
        with suppress(RuntimeError):  # stopped before
            self._until_stopped.release()
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join()


def _commit(series: Committing) -> bool:
    return series.commit()
