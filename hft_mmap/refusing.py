"""How a series asks for commits, and says no: what it refuses, for how long, and how everybody else learns of it."""

import errno
import os
from typing import TYPE_CHECKING, Any, Protocol

from hft_mmap.counters import EventSink
from hft_mmap.errors import DiskFull, FormatError, HftMmapError, SeriesBusy, SeriesReadOnly, WriteFailed
from hft_mmap.files.disk import SHORT_OF
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.health import Refusal
from hft_mmap.held import NOBODY, Held
from hft_mmap.tree.words import FLAGS

if TYPE_CHECKING:
    from queue import SimpleQueue

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Waker(Protocol):
    """What a series needs of the flusher: to be told that there is something to commit."""

    @property
    def requests(self) -> "SimpleQueue[Any]":
        """A series that is put here is committed soon, if the thread lives. One call in C: no interrupt divides it."""

    def wake(self, series: Any) -> None:  # noqa: ANN401 - the series that `Series` makes of this
        """Do both: look after the thread, and put `series` there."""

    def look_after(self) -> str | None:
        """Start the thread if it does not live; return why it can't be started."""


class Refusing(Held):
    """The part of a series that asks for commits and refuses batches. Made by `Series`."""

    _waker: Waker | None
    _on_event: EventSink
    disk_full = False

    @property
    def refusal(self) -> HftMmapError | None:
        """Why batches are refused, as a new error; None where they are not."""
        return None if self._refused is None else self._refused.error()

    # -- asking ------------------------------------------------------------------------------------------------------

    def _look_after_waker(self) -> None:
        """Have somebody who hears what is asked for."""
        if self._waker is not None and self._waker.look_after() is not None:
            self._asked_at = NOBODY

    def uncommitted(self) -> None:
        """Ask again at the next append: the flusher has died, or was never there."""
        self._asked_at = NOBODY

    def ask(self) -> None:
        """Ask the flusher for a commit."""
        if self._waker is not None:
            self._asked_at = self._begun
            self._waker.wake(self)

    @property
    def is_asked(self) -> bool:
        """Whether a commit was asked for since the last one began, or may have been: else a request is an old one."""
        return self._asked_at in {self._begun, NOBODY}

    # -- refusing ----------------------------------------------------------------------------------------------------

    def _check_writable(self) -> None:
        """Raise what batches are refused with, if they are."""
        if self._refused is not None:
            raise self._refused.error()

    def _not_written(self, n: int, error: OSError | FormatError) -> HftMmapError:
        """Return the error that tells a caller why a batch was not stored."""
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            if not self.disk_full:
                self._on_event("disk_full", {"symbol": self.symbol, "error": str(error)})
            self.disk_full = True
            return DiskFull(
                f"no space for {n} values of {self.symbol}: {os.strerror(error.errno or 0)}; nothing was stored, "
                "free space and send the batch again"
            )
        self._note_trouble("write_failed", f"{self.symbol} takes no batches: {error}")
        self._on_event("write_failed", {"symbol": self.symbol, "error": str(error)})
        return WriteFailed(f"{n} values of {self.symbol} could not be written: {error}; nothing was stored")

    def _fail(self, error: Exception | None) -> SeriesReadOnly:
        """Make the series read-only until the next start, and return the error that says so.

        The live flag tells the other processes of this boot, and the next opening, that memory and disk may differ.
        """
        cause = str(error) if error else "a sync failed in another process"
        text = (
            f"{self.symbol} is read-only since the disk failed ({cause}): points after {self._commits.total} may not "
            "survive a power loss; check the disk, then restart the service"
        )
        self._refused = Refusal(SeriesReadOnly, text)
        self._plan = self._tick_plan = None
        self._commits.sync_failed = True
        self._told_of_failure()
        self.ask()  # for a commit tells of it where that was not possible, and keeps what is in memory
        self._on_event("read_only", {"symbol": self.symbol, "error": cause, "durable_total": self._commits.total})
        return SeriesReadOnly(text)

    def _flagged(self) -> bool:
        """Say whether the flag of a failed sync is raised, or has no reason to be."""
        return not self._commits.sync_failed or bool(self._head.words[FLAGS] & FLAG_SYNC_FAILED)

    def _told_of_failure(self) -> bool:
        """Raise the flag of a failed sync, if there was one; return False if that can't be done for now."""
        if not (self._head.closed or self._flagged()):
            try:
                if self._head.fd < 0:  # it could not be opened again: better without the lock than not at all
                    self._head.raise_flag(FLAG_SYNC_FAILED)
                else:
                    self._commits.fail()
            except SeriesBusy:
                return False
            except OSError as error:  # the system has no lock to give
                if error.errno in SHORT_OF:
                    return False
                self._head.raise_flag(FLAG_SYNC_FAILED)
        return True
