"""How a series is held: one writer at a time, in all processes; and what keeps batches from being written."""

import os
from collections.abc import Callable
from fcntl import LOCK_UN, flock
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hft_mmap.durable.commits import Commits
from hft_mmap.errors import (
    HftMmapError,
    SeriesBusy,
    SeriesRemoved,
    StoreClosed,
)
from hft_mmap.files.descriptors import Descriptors
from hft_mmap.files.live import FLAG_LEFT
from hft_mmap.files.locks import HOW_TO_FIND_THE_HOLDER, attempts, try_lock
from hft_mmap.health import LOCKED_AFTER_S, Refusal, Trouble, try_to_create
from hft_mmap.ranges import Ranges
from hft_mmap.tree.words import FLAGS, START, TOTAL

if TYPE_CHECKING:
    from queue import SimpleQueue

_T = TypeVar("_T")
NOBODY = -1
CLOSED = Refusal(StoreClosed, "the store was closed")


class Held(Ranges):
    """The part of a series that is held by who writes to it. Made by `Series`."""

    _commits: Commits
    _descriptors: Descriptors | None = None
    _is_committing = False
    _requests: "SimpleQueue[Any] | None" = None
    _begun = 0
    """Commits that were begun. One that begins later than a point was published, puts that on the disk."""
    _asked_at = NOBODY
    """`_begun` when a commit was last asked for: while that is so, it is still to come."""
    _plan: NDArray[np.int64] | None = None
    _tick_plan: NDArray[np.int64] | None = None
    """The plan of short appends: the one of prices alone, the other of points with columns."""
    _unlinked_below = 0
    """What a cleanup has let go of up to here is gone from the disk."""
    _refused: Refusal | None = None
    _trouble: Trouble | None = None

    def _hold(self, work: Callable[[], _T], wait_s: float | None = None) -> _T:
        """Return what `work` does while the series is held against every other writer, here and in other processes.

        SeriesBusy if another process holds it for longer than `wait_s` (None: however long). The lock between threads
        is free meanwhile, so nothing else has to wait: neither readers, nor those who do not want to.
        """
        for _ in attempts(wait_s):
            with self._lock:
                fd = self._awake()
                try:
                    if try_lock(fd):
                        if self._head.words[FLAGS] & FLAG_LEFT:
                            self._stay()
                        if self._head.unsettled:
                            self._head.settle_words()
                        if self._trouble is not None and self._trouble.code == "locked":
                            self._trouble = None
                        return work()
                finally:
                    flock(fd, LOCK_UN)  # see locks.py: nothing may come between
                self._note_trouble("locked", self._held())
        raise SeriesBusy(self._held())

    # -- descriptors --------------------------------------------------------------------------------------------------

    def _awake(self) -> int:
        """Return the descriptor of the head, opened again where it was closed for now. The caller has the thread lock.

        OSError where it can't be opened, SeriesRemoved, and what a closed series says.
        """
        head = self._head
        if head.closed:
            raise (self._refused or CLOSED).error()
        if head.fd < 0:
            if head.words[FLAGS] & FLAG_LEFT:
                self._stay()
            head.wake()
        if self._descriptors is not None:
            self._descriptors.used(self)
        return head.fd

    def rest(self) -> bool:
        """Close the descriptors that nothing needs now; return False where somebody writes or commits at this moment.

        Who writes next opens them again, and who reads needs none. Points that are not committed keep their chunk open:
        its descriptor sees that they could not be written, whoever else has seen it. A commit of them is asked for.
        """
        # Not `acquire(blocking=False)`, which an interrupt may leave taken. Who calls this holds the lock of another
        # series, taken before this look: no ring of such calls can wait for each other.
        if self._lock.locked():
            return False
        with self._lock:
            if self._head.fd < 0:
                return True
            if self._is_committing or self._refused is not None or self._trouble is not None or self._head.unsettled:
                return False
            self._plan = self._tick_plan = None
            self._head.rest()
            if self._is_committed:
                for chunk in self._view.chunks:
                    chunk.close_writer()
            elif self._asked_at != self._begun and self._requests is not None:
                # In tier `process` nobody else asks: each symbol that was written to once would keep its chunk open.
                self._asked_at = self._begun
                self._requests.put(self)
            return True

    @property
    def _is_committed(self) -> bool:
        """Whether a commit has nothing to do."""
        words = self._words
        return self._commits.total == words[TOTAL] and self._unlinked_below >= words[START]

    def _stay(self) -> None:
        """Make sure that the series, which was about to lose its name, has it; SeriesRemoved. The caller holds it."""
        if self._has_left():
            self._refused = Refusal(SeriesRemoved, self._left_text())
            self._plan = self._tick_plan = None
            raise self._refused.error()

    def _left_text(self) -> str:
        """Say that the name is gone."""
        return f"{self.symbol} was removed, or given another name, while it was open"

    def _held(self) -> str:
        """Say that another process holds the series."""
        return f"{self.symbol} is held by another process ({self._head.path}); {HOW_TO_FIND_THE_HOLDER}"

    def _note_trouble(self, code: str, detail: str) -> None:
        """Remember what keeps batches from being written, unless something does already."""
        total = self._head.words[TOTAL]
        if self._trouble is None or self._trouble.total != total:
            self._trouble = Trouble(code, total, monotonic(), detail)

    def trouble(self) -> Trouble | None:
        """Return what has kept a batch from being written; None once a write, or the trial of one, has succeeded since.

        What another process holds is told when that has taken a second. Waits for nobody.
        """
        trouble = self._trouble
        if trouble is None:
            return None
        if trouble.total != self._words[TOTAL] or self._can_write():
            self._trouble = None
            return None
        recent = trouble.code == "locked" and monotonic() - trouble.since_s < LOCKED_AFTER_S
        return None if recent else trouble

    def _can_write(self) -> bool:
        """Try what the next append will do, on bytes that nobody reads, as they lie above the total."""
        try:
            self._hold(self._try_to_write, 0)
        except (OSError, HftMmapError):
            return False
        return True

    def _try_to_write(self) -> None:
        total = self._words[TOTAL]
        view = self._current(total)
        if view.chunks and view.end > total:
            tail = view.chunks[-1]
            for fd in tail.writers():
                os.pwrite(fd, bytes(8), 8 * (total - tail.first))
        else:
            try_to_create(self.directory)
