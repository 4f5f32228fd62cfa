"""One symbol, open: what `Reader` answers and `Appender` takes, its commits, and its close."""

import errno
from functools import partial
from pathlib import Path
from time import monotonic

from hft_mmap import forks
from hft_mmap.by_time import Instant, kept_without
from hft_mmap.counters import EventSink, Syncs
from hft_mmap.durable.commits import Waiter
from hft_mmap.durable.groups import keep_up
from hft_mmap.errors import HftMmapError, SeriesBusy, SeriesRemoved, StoreClosed, StoreForked, WriteFailed
from hft_mmap.failing import Failing
from hft_mmap.files.boot import Boot
from hft_mmap.files.descriptors import Descriptors
from hft_mmap.files.disk import SHORT_OF
from hft_mmap.files.layout import groups_named
from hft_mmap.files.live import FLAG_CLEAN, FLAG_SYNC_FAILED
from hft_mmap.files.locks import attempts
from hft_mmap.files.marks import Mark
from hft_mmap.files.view import View
from hft_mmap.health import LOCKED_AFTER_S, Refusal, Trouble
from hft_mmap.held import CLOSED
from hft_mmap.limits import Limits
from hft_mmap.moment import Moment
from hft_mmap.refusing import Waker
from hft_mmap.tree.words import FLAGS, START, TOTAL

_FAILING_FOR_S = 1.0
"""For so long a commit is tried again that failed, without a sync that did."""
_COMMIT_WAIT_S = 0.01
"""The flusher commits the other series, and comes back, where another process holds one for longer."""


class Series(Failing):
    """An open series. Made by `Store`; safe to use from any number of threads."""

    def __init__(  # noqa: PLR0913 - what a series needs of its store
        self, directory: Path, *, limits: Limits, boot: Boot, waker: Waker | None, wake_on_append: bool,
        on_event: EventSink, wait_s: float | None = None, descriptors: Descriptors | None = None,
    ) -> None:  # fmt: skip
        """Open the series in `directory`; FormatError if its files can't be trusted. `waker` None: read-only.

        SeriesBusy if another process holds the series for longer than `wait_s` (None: however long). descriptors: who
        bounds the number of series that have some open. Costs the same for any number of points: the head, the names of
        the chunks, and a mapping for each.
        """
        super().__init__(directory, limits=limits, waker=waker, wake_on_append=wake_on_append, on_event=on_event)
        self._descriptors = descriptors
        self._failing_since: float | None = None
        self._commit_wait_s = self._head.wait_s = wait_s
        self._not_committed: Trouble | None = None
        self._groups = groups_named(limits.groups)
        self._groups_failed = False
        forks.watch(self)
        try:
            self._open(boot)
            self._kept_in_memory()  # at once where a sync has failed: other processes have mapped the same
            self._grouped_total = self.total
            self._commit_wait_s = self._head.wait_s = _COMMIT_WAIT_S
        except BaseException:
            self._head.close()
            raise

    def leave_to_parent(self) -> None:
        """Refuse every use from now on, since this process was forked; nothing of the parent's files is changed."""
        self._head.close()
        # A mapping goes with the last that holds it, and only from this process.
        self.__dict__.clear()
        self.__class__ = _Forked

    # -- durability ---------------------------------------------------------------------------------------------------

    @property
    def syncs(self) -> Syncs:
        """How often this process has put points on the disk since it opened the series, and how long that took."""
        return self._commits.syncs

    def on_durable(self, total: int, callback: Waiter) -> None:
        """Call `callback` once the points below `total` are on the disk, with None, or with the reason they are not.

        At once if they already are, else from the flusher's thread; from `close` at the latest.
        """
        with self._lock:
            if self.committed_total < total and not self._ended:
                self._commits.wait(total, callback)
                return
        callback(None if self.committed_total >= total else self.refusal)

    @property
    def _ended(self) -> bool:
        """Whether nothing more will be put on the disk: closed, or refused for another reason than its last commit."""
        return self._head.closed or (self._refused is not None and self._refused.kind is not StoreClosed)

    def commit(self, *, clean: bool = False) -> bool:
        """Put everything published so far on the disk and record it in a commit slot; then seal and unlink.

        Called by the flusher, one call at a time. A disk that fails makes the series read-only; nothing is raised.
        Returns False, with the work to be done again, if another process holds the series, or if something failed that
        was no sync (a write of a slot, a file that could not be opened) and fails for no longer than a second.
        """
        with self._lock:
            self._is_committing = True
        try:
            return self._put(clean=clean)
        finally:
            self._is_committing = False
            if self._descriptors is not None:  # those that were committed at once could not rest meanwhile
                self._descriptors.let_rest()

    def _put(self, *, clean: bool) -> bool:
        """Do the work of `commit`; nobody closes the descriptors meanwhile."""
        self._begun += 1
        if not self._ended:
            try:
                self._commit(clean=clean)
            except SeriesBusy as error:
                return self._later("locked", error)
            except (SeriesRemoved, StoreClosed):
                pass  # it is refused from now on, and that is what is told to who waits
            except OSError as error:
                if self.is_gone():  # then it says nothing of the disk
                    self._answer_waiters()
                    return True
                if self._may_commit_again(error, clean=clean):
                    return self._later("write_failed", error)
                self._fail(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the points are not on the disk: say so
                self._fail(error)
        if not (self._told_of_failure() and self._kept_in_memory()):
            return False
        self._not_committed = None
        if self.removed:
            with self._lock:
                self._close_files()
        self._answer_waiters()
        self._keep_groups()
        return True

    def _keep_groups(self) -> None:
        """Have the groups follow what is published, once nobody waits any more: no point needs them.

        What fails is told once, and tried again with the next commit; questions read what is not covered.
        """
        if not self._groups or self._commits.sync_failed or self.removed:
            return
        try:
            view, _, total = self._snapshot()
            keep_up(view, self._grouped_total, total, self._groups)
            self._grouped_total, self._groups_failed = total, False
        except (OSError, HftMmapError) as error:
            if not self._groups_failed:
                self._groups_failed = True
                self._on_event("groups_failed", {"symbol": self.symbol, "error": str(error)})

    def _later(self, code: str, error: Exception) -> bool:
        """Remember why a commit has to wait, for `trouble`; return False."""
        if self._not_committed is None:
            detail = f"points of {self.symbol} after {self.committed_total} are not on the disk yet: {error}"
            self._not_committed = Trouble(code, self._words[TOTAL], monotonic(), detail)
        return False

    def trouble(self) -> Trouble | None:
        """Return what keeps batches from being written, or what was written from the disk, for a second or longer."""
        waiting = self._not_committed
        late = waiting is not None and monotonic() - waiting.since_s >= LOCKED_AFTER_S
        return super().trouble() or (waiting if late else None)

    def _may_commit_again(self, error: OSError, *, clean: bool) -> bool:
        """Return whether a commit that failed may be tried again: nothing is in doubt, and it may pass."""
        if self._commits.sync_failed:
            return False
        if error.errno in SHORT_OF:  # which says nothing of the disk, however long it lasts
            return True
        if clean:  # the last one: without it a series whose points are all on the disk is as after a kill
            return self._is_committed
        now = monotonic()
        if self._failing_since is None:
            self._failing_since = now
            self._on_event("commit_failed", {"symbol": self.symbol, "error": str(error)})
        return now - self._failing_since <= _FAILING_FOR_S

    def _answer_waiters(self, busy: Refusal | None = None) -> None:
        """Call those whose points are on the disk, or everyone if nothing more will come there."""
        with self._lock:
            refusal, total = busy or self._refused, self.committed_total
            ready = self._commits.take_ready(everyone=refusal is not None)
        for needed, callback in ready:
            try:
                callback(None if needed <= total or refusal is None else refusal.error())
            except Exception as error:  # noqa: BLE001 - one caller's mistake must not end the commits of all others
                self._on_event("callback_failed", {"symbol": self.symbol, "error": repr(error)})

    def _commit(self, *, clean: bool) -> None:
        """Put it on the disk; OSError if the disk fails, SeriesBusy if another process holds the series."""
        if self._commits.sync_failed:  # and whoever met that was interrupted before it could say so
            raise OSError(errno.EIO, "an earlier sync failed")
        self.check_in_place()
        if self.is_resting and not clean and self._is_committed and self._not_committed is None:
            return  # and stays without descriptors
        view, total, start, mark = self._hold(partial(self._published, clean=clean), self._commit_wait_s)
        cleanup = start > self._unlinked_below
        if clean or cleanup or total > self.committed_total:
            self._commits.put(
                view, total, start, mark, partial(self._hold, wait_s=self._commit_wait_s) if clean else None
            )
            self._ask_from_now()
        self._commits.seal(view, total)
        if cleanup:
            self._commits.unlink_below(start)
            self._unlinked_below = start
        # Before anybody is told that points are on the disk: what has lost its name is not.
        self.check_in_place()
        self._failing_since = None

    def truncate(
        self, *, keep: int | None = None, before: Instant | None = None, wait_s: float | None = None
    ) -> int:  # fmt: skip
        """Let go of all but the newest `keep` points, or of those before a time; return how many, once it is on disk.

        For good. As a cleanup does: `start` moves up, `total` stays, and readers meet the one `start` or the other.
        ValueError unless `keep` is a whole number from 1 or `before` is given, and not both; InvalidRange for what is
        no time, ColumnsDiffer where there are no times, OutOfRange where no point lies from `before` on. SeriesBusy if
        another process holds the series for longer than `wait_s` seconds (None: however long), SeriesReadOnly,
        StoreReadOnly, StoreClosed.
        """
        if (keep is None) == (before is None):
            message = "give either keep, a number of points, or before, a time"
            raise ValueError(message)
        if keep is not None and (type(keep) is not int or keep < 1):  # `type`, because True is an int as well
            message = f"keep must be a whole number from 1, not {keep!r}: to let go of every point remove the symbol"
            raise ValueError(message)
        self._check_writable()
        old, start = self._hold(partial(self._cut, keep, before), wait_s)
        self.ask()
        for _ in attempts(None):
            if self._unlinked_below >= start:
                return start - old
            if self._ended:
                self._check_writable()
                raise CLOSED.error()
            self._look_after_waker()
        return 0

    def _cut(self, keep: int | None, before: Instant | None) -> tuple[int, int]:
        """Move `start` as `truncate` says; return what it was and what it is. The caller holds the series."""
        self._check_writable()
        old, total = self._words[START], self._words[TOTAL]
        if keep is None:
            start = kept_without(Moment(self.symbol, self._current(total), old, total), before)
        else:
            start = total - keep
        if self._words[FLAGS]:
            self._take_back_clean()
        self._move_start(start)
        self._set_tail(self._current(total))
        return old, self._words[START]

    def _published(self, *, clean: bool) -> tuple[View, int, int, Mark | None]:
        """Return what there is to be put on the disk: view, total, start and mark. The caller holds the series."""
        total, start = self._words[TOTAL], self._words[START]
        view = self._current(total)
        if view is not self._view:
            self._set_tail(view)
        if clean:
            # From here on nothing is appended: a point behind the last commit would miss its promise.
            self._refused = CLOSED
            self._plan = self._tick_plan = None
        return view, total, start, self._head.mark(total)

    def let_go(self) -> bool:
        """Close the series, with its clean flag on the disk; False if it can't be left so now, and stays open.

        For who alone has it, and is its flusher. One that stays open, as it has to be tried again or its disk failed,
        needs another one (`hand_over`).
        """
        orderly = (
            self._refused is None
            and self._words[FLAGS] == FLAG_CLEAN
            and self.committed_total == self._words[TOTAL]
            and self._unlinked_below == self._words[START]
        )
        if not orderly:
            done = self._refused is None and self.commit(clean=True)
            if not (done and self._refused is CLOSED):
                if self._refused is CLOSED:
                    self._refused = None
                return False
        self._refused, self._plan, self._tick_plan = CLOSED, None, None
        self._close_files()
        return True

    @property
    def is_resting(self) -> bool:
        """Whether the head has no descriptor at this moment."""
        return self._head.fd < 0

    def _close_files(self) -> None:
        """Close every descriptor, for good; reads go on for whoever still holds the series."""
        self._head.close()
        for chunk in self._view.chunks:
            chunk.close_writer()
        if self._descriptors is not None:
            self._descriptors.forget(self)

    def hand_over(self, waker: Waker) -> None:
        """Have `waker` commit from now on, and at once: whoever did so before is through."""
        self._waker, self._requests = waker, waker.requests
        self.ask()

    def close(self, wait_s: float) -> None:
        """Commit with the clean flag and refuse writes from now on; reads go on for whoever still holds the series.

        Where another process holds it for `wait_s` seconds there is no such commit, as after a kill. Can be called
        again, also where the first call was interrupted.
        """
        done = self._waker is None or any(self.commit(clean=True) for _ in attempts(wait_s))
        with self._lock:
            if not self._head.closed and self._waker is not None and not self._flagged():
                self._head.raise_flag(FLAG_SYNC_FAILED)  # better without the lock than not at all
            if not self.removed:
                self._refused = CLOSED
            self._plan = self._tick_plan = None
            self._close_files()
        # Those who wait for points that never came.
        why = self._not_committed
        if why is None or why.code == "locked":
            self._answer_waiters(None if done else Refusal(SeriesBusy, self._held()))
        else:
            self._answer_waiters(Refusal(WriteFailed, why.detail))


class _Forked(Series):
    """A series in a child of the process that opened it: every use is refused, with nothing to be looked at before."""

    def __getattribute__(self, name: str) -> object:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        raise StoreForked(forks.FORKED)

    def __repr__(self) -> str:
        return "<Series of the parent of this process>"
