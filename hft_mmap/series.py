"""One symbol: append, window statistics, retention, opening.

One writer at a time: a thread lock inside the process, and flock on the head file across processes. Readers take no
lock, in any process: everything in [start, total) is immutable, and `total` is stored last.
"""

import errno
import operator
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hft_mmap import answers, forks
from hft_mmap.answers import Moment, Passage, Point, Rank
from hft_mmap.batch import as_row, check_prices
from hft_mmap.counters import EventSink, Syncs
from hft_mmap.durable import recovery
from hft_mmap.durable.commits import Commits, Waiter
from hft_mmap.durable.trust import Trusted, trust
from hft_mmap.errors import (
    DiskFull,
    FormatError,
    HftMmapError,
    InvalidRange,
    InvalidWindow,
    OffsetConflict,
    OutOfRange,
    SeriesBusy,
    SeriesReadOnly,
    SeriesRemoved,
    SeriesSetAside,
    StoreClosed,
    StoreForked,
    StoreReadOnly,
    SymbolNotFound,
    WriteFailed,
)
from hft_mmap.files.boot import Boot, current_boot, is_same_boot
from hft_mmap.files.chunk import Chunk, Mark
from hft_mmap.files.head import FLAG_SYNC_FAILED, Head
from hft_mmap.files.locks import HOW_TO_FIND_THE_HOLDER, attempts, try_lock, unlock
from hft_mmap.files.view import View
from hft_mmap.health import LOCKED_AFTER_S, Loss, Refusal, Trouble, try_to_create
from hft_mmap.limits import Limits
from hft_mmap.named import FIVE, Columns
from hft_mmap.span import Span
from hft_mmap.stats import STANDARD_WINDOWS, WindowStats
from hft_mmap.tree.buckets import Buckets, in_bars, in_buckets
from hft_mmap.tree.fold import fold_newest, fold_window, fold_windows
from hft_mmap.tree.words import FLAGS, START, TOTAL
from hft_mmap.tree.writer import NOT_SHORT, PLAN_HEAD_ADDRESS, PLAN_HEAD_FD, PLAN_MAX_RETENTION, append_short

_MAX_OFFSET = 2**62
"""Offsets from 0 to this one can be compared in compiled code; the others fit nowhere."""

_MAX_WINDOW = 2**62
"""More than there can be points: a window above it is the same as this one, and would not fit compiled code."""

_WINDOWS = np.array(STANDARD_WINDOWS, dtype=np.int64)
_stats = partial(tuple.__new__, WindowStats)
"""WindowStats of the tuple of its fields, in half the time of the method that takes them one by one."""

_CLOSED = "the store was closed"
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.ENOMEM, errno.EAGAIN, errno.EINTR})
_FAILING_FOR_S = 1.0
"""For so long a commit is tried again that failed, without a sync that did."""
_COMMIT_WAIT_S = 0.01
"""The flusher commits the other series, and comes back, where another process holds one for longer."""


def _checked_window(window: object) -> int:
    """Return `window` as an int; InvalidWindow unless it is a whole number from 1 (numpy's integers are)."""
    try:
        size = operator.index(window)  # type: ignore[arg-type]
    except TypeError:
        size = 0
    if size < 1 or isinstance(window, bool):
        message = f"window must be a whole number from 1, not {window!r}"
        raise InvalidWindow(message)
    return size


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """What `Store.symbols` tells of a series.

    `bytes` is what its files take on the disk; `appended_at` is when its newest batch was written, in Unix
    seconds as the file system keeps them, or None if nothing was ever appended.
    """

    symbol: str
    total: int
    start: int
    count: int
    last: float | None
    bytes: int
    appended_at: float | None


class Waker(Protocol):
    """What a series needs of the flusher: to be told that there is something to commit."""

    def wake(self, series: "Series") -> None:
        """Have `series.commit()` called soon, from the flusher's thread."""


class Series:
    """An open series. Made by `Store`; safe to use from any number of threads."""

    def __init__(  # noqa: PLR0913 - what a series needs of its store
        self, directory: Path, *, limits: Limits, boot: Boot, waker: Waker | None, wake_on_append: bool,
        on_event: EventSink, wait_s: float | None = None,
    ) -> None:  # fmt: skip
        """Open the series in `directory`; FormatError if its files can't be trusted. `waker` None: read-only.

        SeriesBusy if another process holds the series for longer than `wait_s` (None: however long). Costs the same
        for any number of points: the head, the names of the chunks, and a mapping for each.
        """
        self.directory = directory
        self._limits = limits
        self._waker = waker
        self._wake_on_append = wake_on_append
        self._on_event = on_event
        self._lock = threading.Lock()
        self._dirty = False
        self._cleanup_due = False
        self._failing_since: float | None = None
        self._closing = False
        self._plan: NDArray[np.int64] | None = None
        self._refused: Refusal | None = None if waker else Refusal(StoreReadOnly, 'the store was opened with mode="r"')
        self.disk_full = False
        self._trouble: Trouble | None = None
        self.loss: Loss | None = None
        self._commit_wait_s = wait_s
        self._not_committed: Trouble | None = None
        self.removed = False
        self._looked_at: Boot | None = None
        self._flag_due = False
        self._head = Head(directory, writable=waker is not None)
        self._head.wait_s = wait_s
        forks.watch(self)
        self.symbol = self._head.identity.symbol
        try:
            recovery.check_owner(directory, self._head.identity)
            self._layout = recovery.layout_of(self._head.identity)
            self._commits = Commits(directory, self._head, self._layout)
            self._open(boot)
            self._commit_wait_s = self._head.wait_s = _COMMIT_WAIT_S
        except BaseException:
            self._head.close()
            raise

    @property
    def refusal(self) -> HftMmapError | None:
        """Why batches are refused, as a new error; None where they are not."""
        return None if self._refused is None else self._refused.error()

    def leave_to_parent(self) -> None:
        """Refuse every use from now on, since this process was forked; nothing of the parent's files is changed."""
        self._head.close()
        # Each mapping has a descriptor of its own, and goes with the last that holds it.
        self.__dict__.clear()
        self.__class__ = _Forked

    # -- opening ------------------------------------------------------------------------------------------------------

    def _open(self, boot: Boot) -> None:
        """Decide how far the series goes, and map its chunks."""
        if self._waker is None:
            self._attach(boot)
            return
        with self._exclusive_to_commit(), self._head.committing():
            trusted = partial(trust, self._head, boot, self.directory, self._layout)
            recovered = recovery.settle(self._head, trusted(), trusted)
            recovery.check_chunks(self.directory, recovered, self._layout.points)
            # Nothing is written or removed before every chunk has proved sound: a series set aside stays as it is.
            view = self._mapped(View.empty(self._layout, self._floor(recovered.start)), recovered.total)
            self._commits.begin(boot, recovered.committed_total)
            recovery.publish(self._head, recovered, boot)
            recovered, failure = self._made_good(view, recovered, trusted)
            leftovers = recovery.remove_leftovers(self.directory, recovered, self._layout.points)
            # A cleanup that no slot speaks of yet: the next commit ends it.
            self._cleanup_due = recovered.committed_start < recovered.start
            if (recovered.origin != "live" or recovered.lost) and view.chunks and recovered.total < view.end:
                view.chunks[-1].unseal()
            self._follow_words(self._head.words)
            self._set_tail(view)
        self.attached = True
        if failure is not None:
            self._fail(failure)
        if recovered.lost:
            self.loss = Loss(self.symbol, recovered.lost, recovered.total, recovered.why)
            self._on_event("lost", self.loss._asdict())
        if recovered.total and not recovered.orderly:
            self._on_event(
                "recovery",
                {
                    "symbol": self.symbol, "origin": recovered.origin, "total": recovered.total,
                    "start": recovered.start, "leftovers": leftovers,
                },
            )  # fmt: skip
        self._wake()

    def _attach(self, boot: Boot) -> None:
        """Open for reading only: follow the live words if a process of this boot wrote them, else the newest commit."""
        while True:
            recovered = trust(self._head, boot, self.directory, self._layout)
            self.attached = recovered.origin == "live" and not recovered.lost
            if self.attached:
                self._follow_words(self._head.words)
            else:
                words = np.zeros(len(self._head.words), dtype=np.int64)
                words[TOTAL], words[START] = recovered.total, recovered.start
                self._follow_words(words.data)
            try:
                self._view = self._mapped(View.empty(self._layout, self._floor(recovered.start)), recovered.total)
            except FileNotFoundError:
                # A cleanup in another process may have moved `start` since: then look again, else a chunk is missing.
                if not self.attached or self._words[START] == recovered.start:
                    recovery.check_chunks(self.directory, recovered, self._layout.points)
                    raise
            else:
                self._commits.begin(boot, recovered.committed_total)
                return

    def _follow_words(self, words: memoryview) -> None:
        """Take `words` for the bounds, from now on."""
        address = np.frombuffer(words, dtype=np.int64).ctypes.data
        self._words = words
        self._bounds = words, address + 8 * START, address + 8 * TOTAL

    def refresh(self) -> None:
        """Follow the live words from now on, if a writer has opened the series since it was opened for reading."""
        if self.removed:
            raise SeriesRemoved(self._removed_text())
        # As long as the live words are those of the same opening there is nothing to look up.
        if not self.attached and (live := self._head.live_boot()) != self._looked_at:
            boot = current_boot()
            with self._lock:
                if is_same_boot(live, boot):
                    self._attach(boot)
                self._looked_at = live

    def _floor(self, point: int) -> int:
        """Return the first point of the chunk that holds `point`."""
        return point // self._layout.points * self._layout.points

    def _mapped(self, view: View, total: int) -> View:
        """Return `view` with the chunks added that exist for the points up to `total`."""
        while view.end < total:
            view = view.extended(Chunk(self.directory, self._head.identity.series_id, view.end, self._layout))
        return view

    def _current(self, total: int) -> View:
        """Return the view of all kept chunks up to `total`. Other processes are held out: what is kept exists."""
        start = self._words[START]
        view = self._view if self._view.end >= start else View.empty(self._layout, self._floor(start))
        return self._mapped(view, total).without_before(start)

    def _made_good(
        self, view: View, recovered: Trusted, trusted: Callable[[], Trusted]
    ) -> tuple[Trusted, OSError | None]:
        """Write again what no slot vouches for, and after a failed sync put it on the disk; return how far that goes.

        And why not, if the disk still fails. The memory that the proof has read may have been dropped before it was
        written again: so the proof is made once more, of what was written.
        """
        try:
            if recovered.proved:
                self._commits.write_again(view, recovered)
            if recovered.sync_failed:
                again = trusted()
                if again.total < recovered.total:
                    recovery.publish(self._head, again, self._commits.boot)
                    recovered = replace(again, lost=again.lost + recovered.lost)
                self._commits.make_good(view, recovered)
        except OSError as error:
            if not recovered.sync_failed:
                raise
            return recovered, error
        return recovered, None

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Points ever appended."""
        return int(self._words[TOTAL])

    @property
    def start(self) -> int:
        """Index of the oldest point still kept."""
        return int(self._words[START])

    @property
    def count(self) -> int:
        """Points kept."""
        start, total = self.bounds()
        return total - start

    def bounds(self) -> tuple[int, int]:
        """Return (start, total) as they stood at one moment."""
        words = self._words
        while True:
            start = words[START]
            total = words[TOTAL]
            # Only if no cleanup came between the loads did the two stand side by side.
            if words[START] == start:
                return start, total

    def _snapshot(self) -> tuple[View, int, int]:
        """Return a view and bounds (start, total) that it covers."""
        while True:
            view = self._view
            words = self._words
            start = words[START]
            total = words[TOTAL]
            # The second look at `start` shows that no cleanup came between: both are of one moment. It takes 35 ns.
            if view.first <= start and total <= view.end and words[START] == start:
                return view, start, total
            if total > view.end:
                self._follow()

    def _follow(self) -> None:
        """Map the chunks that another process has added, and drop those it has cleaned up."""
        with self._lock:
            view = self._view
            total, start = self._words[TOTAL], self._words[START]
            if view.end < start:
                view = View.empty(self._layout, self._floor(start))
            try:
                self._view = self._mapped(view, total).without_before(start)
            except (FileNotFoundError, FormatError) as error:
                # Cleaned up between the load of `start` and the opening of the file: look again. Else somebody removed,
                # cut or replaced a chunk that is still needed.
                if self._words[START] == start:
                    raise SeriesSetAside(
                        f"{self.symbol} can't be read: {recovery.describe(error)}; its other files are left as they "
                        "are, `hft-mmap verify` says which points are affected"
                    ) from error

    def stats(self, window: int) -> WindowStats:
        """Return the statistics of the newest `window` points, or of all that are kept if those are fewer.

        O(log N), lock-free, about 1 us. InvalidWindow unless `window` is a whole number from 1; SymbolNotFound while
        nothing was ever appended.
        """
        if type(window) is not int or not 0 < window <= _MAX_WINDOW:
            window = min(_checked_window(window), _MAX_WINDOW)
        view = self._view
        table, roots, chunks = view.addresses
        _alive, start_address, total_address = self._bounds  # the words may not be unmapped before the call has ended
        found = fold_newest(table, roots, chunks, start_address, total_address, window)
        return _stats(found) if found[5] else self._stats_after_change(window)

    def _stats_after_change(self, window: int) -> WindowStats:
        """Answer as `stats` where the view did not cover the bounds: another process has appended or cleaned up."""
        view, start, total = self._snapshot()
        count = min(window, total - start)
        if not count:
            raise SymbolNotFound(self.symbol)
        low, high, last, avg, var = fold_window(view.table, view.roots, total - count, total)
        return WindowStats(low, high, last, avg, var, count)

    def windows(self) -> tuple[WindowStats, ...]:
        """Return the statistics of the eight standard windows, all of one moment."""
        return self.windows_at()[2]

    def windows_at(self, windows: tuple[int, ...] = STANDARD_WINDOWS) -> tuple[int, int, tuple[WindowStats, ...]]:
        """Return start, total and the statistics of `windows`, which ascend, all of one moment."""
        view, start, total = self._snapshot()
        if start == total:
            raise SymbolNotFound(self.symbol)
        out = np.empty((len(windows), 5))
        sizes = _WINDOWS if windows is STANDARD_WINDOWS else np.array([min(window, total) for window in windows])
        fold_windows(view.table, view.roots, start, total, sizes, out)
        count = total - start
        rows = zip(windows, out.tolist(), strict=True)
        return (
            start,
            total,
            tuple(
                WindowStats(low, high, last, avg, var, min(window, count))
                for window, (low, high, last, avg, var) in rows
            ),
        )

    def buckets(self, start: int, end: int, n: int) -> Buckets:
        """Return the kept points of [start, end) in `n` buckets whose sizes differ by one at most, or in single points.

        Points that are not kept, or not there yet, are left out, so there may be none at all. O(n log N), lock-free.
        InvalidRange unless 0 <= start <= end and n >= 1, all of them whole numbers.
        """
        view, kept, total = self._snapshot()
        return in_buckets(view, (kept, total), (start, end), n)

    def bars(self, start: int, end: int, size: int) -> Buckets:
        """Return the kept points of [start, end) in bars of `size` points; only the first and the last may have fewer.

        A bar begins at a multiple of `size`, so the bars of ranges that overlap are the same. Otherwise as `buckets`.
        """
        view, kept, total = self._snapshot()
        return in_bars(view, (kept, total), (start, end), size)

    def window(self, n: int) -> NDArray[np.float64]:
        """Return the newest `n` points, oldest first (all that are kept if those are fewer), read-only float64.

        Without a copy where they lie in one chunk; the array stays valid after cleanup and after `Store.close`.
        """
        n = _checked_window(n)
        view, start, total = self._snapshot()
        return view.read(max(start, total - n), total)

    def span(self, *, last: int | None = None, first: int | None = None, end: int | None = None) -> Span:
        """Return the newest `last` points, or the points [first, end), as they stand now; all that are kept by default.

        `last` and `end` are cut to what there is. InvalidWindow unless `last` is a whole number from 1, OutOfRange if
        `first` is below `start` or above `total`, ValueError for `last` beside the others or an `end` below `first`.
        O(1), no lock; reading it is another matter.
        """
        view, start, total = self._snapshot()
        if last is not None:
            if first is not None or end is not None:
                message = "give last, or first and end, not both"
                raise ValueError(message)
            return Span(self.symbol, start, total, max(start, total - _checked_window(last)), total, view)
        first = start if first is None else first
        if not start <= first <= total:
            reason = "are no longer kept" if 0 <= first < start else "do not exist"
            message = f"points from {first} of {self.symbol} {reason}: it holds those from {start} up to {total}"
            raise OutOfRange(message, start, total)
        end = total if end is None else min(end, total)
        if end < first:
            message = f"end {end} lies before first {first}"
            raise ValueError(message)
        return Span(self.symbol, start, total, first, end, view)

    # -- any range ----------------------------------------------------------------------------------------------------

    def _moment(self) -> Moment:
        """Return the series as it stands now."""
        return Moment(self.symbol, *self._snapshot())

    def _part(self, moment: Moment, window: int | None, start: int | None, end: int | None) -> tuple[int, int]:
        """Return the newest `window` points of `moment`, or [start, end), or all that are kept where nothing is said.

        InvalidRange where both are said; what `stats` and `range` raise.
        """
        if window is not None:
            if start is not None or end is not None:
                message = "give window, or start and end, not both"
                raise InvalidRange(message)
            start = max(moment.start, moment.total - _checked_window(window))
        if moment.start == moment.total:
            raise SymbolNotFound(self.symbol)
        start = moment.start if start is None else start
        return answers.checked_range(moment, start, moment.total if end is None else end)

    def range(self, start: int, end: int) -> WindowStats:
        """Return the statistics of the points [start, end), wherever they lie.

        O(log N + chunks), lock-free. InvalidRange unless 0 <= start < end, whole numbers; OutOfRange where
        a point of it is not kept, or not there yet: a part of it would be another answer.
        """
        view, kept, total = self._snapshot()
        # PERF: what is plainly a kept range needs no further look, which would take longer than the fold.
        if not (type(start) is int and type(end) is int and kept <= start < end <= total):
            start, end = answers.checked_range(Moment(self.symbol, view, kept, total), start, end)
        return _stats((*fold_window(view.table, view.roots, start, end), end - start))

    def statistics(
        self, stats: Sequence[str], *, window: int | None = None, start: int | None = None, end: int | None = None
    ) -> dict[str, float | int | None]:
        """Return the statistics named by `stats` (see STATISTICS), None where one is undefined, all of one moment.

        Of the newest `window` points, of [start, end), or of all that are kept. O(log N + chunks), lock-free.
        InvalidStatistic, InvalidWindow, InvalidRange, OutOfRange, SymbolNotFound.
        """
        moment = self._moment()
        return answers.one(moment, *self._part(moment, window, start, end), stats)

    def stats_many(self, starts: ArrayLike, ends: ArrayLike, stats: Sequence[str] = FIVE) -> Columns:
        """Return columns start, end and `stats` of each range [starts[k], ends[k]), all of one moment.

        starts, ends: rows of whole numbers of one length n. The columns have n entries, NaN where a statistic is
        undefined. O(n log N), about 1 us a range whatever its length, lock-free, with the GIL released. Errors as
        `range`, naming the first range that is wrong; InvalidStatistic.
        """
        return answers.many(self._moment(), starts, ends, stats)

    def first(
        self, after: int, *, above: float | None = None, below: float | None = None, until: int | None = None
    ) -> Passage | None:
        """Return the first point after index `after` and before `until` that is >= `above` or <= `below`, else None.

        O(log N + chunks), lock-free. InvalidRange where no barrier is given or the two meet; OutOfRange where points
        after `after` are no longer kept, as one of them may have been the first.
        """
        return answers.first(self._moment(), after, above=above, below=below, until=until)

    def quantile(
        self, q: Sequence[float], *, window: int | None = None, start: int | None = None, end: int | None = None
    ) -> tuple[float, ...]:
        """Return the exact quantiles `q` of the newest `window` points, of [start, end), or of all that are kept.

        Each is a stored value, the least one such that at least the share q of the points are up to it: 0 gives the
        minimum, 1 the maximum. Lock-free, with the GIL released; milliseconds for 1e8 points that wander, up to a few
        readings of all of them for white noise. InvalidRange unless each q is from 0 to 1; errors of `statistics`.
        """
        moment = self._moment()
        return answers.quantiles(moment, *self._part(moment, window, start, end), q)

    def rank(
        self, value: float, *, window: int | None = None, start: int | None = None, end: int | None = None
    ) -> Rank:
        """Return how many points are below `value`, equal to it and above it; of which points, see `quantile`."""
        moment = self._moment()
        return answers.rank(moment, *self._part(moment, window, start, end), value)

    def asof(self, at: int) -> Point:
        """Return the newest point at or before index `at`; OutOfRange if it is no longer kept. O(1), lock-free."""
        return answers.asof(self._moment(), at)

    def info(self) -> SeriesInfo:
        """Return bounds, newest value and bytes on the disk; costs a stat for each chunk."""
        view, start, total = self._snapshot()
        last = float(view.read(total - 1, total)[0]) if total > start else None
        used = sum(chunk.allocated_bytes() for chunk in view.chunks)
        used += os.stat(self._head.path).st_blocks * 512
        appended_at = view.chunks[-1].written_at() if last is not None else None
        return SeriesInfo(self.symbol, total, start, total - start, last, used, appended_at)

    # -- writing ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _exclusive(self, wait_s: float | None = None) -> Iterator[None]:
        """Hold the series against every other writer, in this process and in others.

        SeriesBusy if another process holds it for longer than `wait_s` (None: however long). The lock between threads
        is free meanwhile, so nothing else has to wait: neither readers, nor those who do not want to.
        """
        for _ in attempts(wait_s):
            with self._lock:
                if self._refused is not None and self._refused.kind is StoreClosed:
                    raise self._refused.error()
                if try_lock(self._head.fd):
                    try:
                        if self._trouble is not None and self._trouble.code == "locked":
                            self._trouble = None
                        yield
                    finally:
                        unlock(self._head.fd)
                    return
                self._note_trouble("locked", self._held())
        raise SeriesBusy(self._held())

    def _exclusive_to_commit(self) -> AbstractContextManager[None]:
        """Hold the series for as long as a commit may wait for it."""
        return self._exclusive(self._commit_wait_s)

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
            waiting = self._not_committed
            return waiting if waiting is not None and monotonic() - waiting.since_s >= LOCKED_AFTER_S else None
        if trouble.total != self._words[TOTAL] or self._can_write():
            self._trouble = None
            return None
        recent = trouble.code == "locked" and monotonic() - trouble.since_s < LOCKED_AFTER_S
        return None if recent else trouble

    def _can_write(self) -> bool:
        """Try what the next append will do, on bytes that nobody reads, as they lie above the total."""
        try:
            with self._exclusive(0):
                total = self._words[TOTAL]
                view = self._current(total)
                if view.chunks and view.end > total:
                    tail = view.chunks[-1]
                    os.pwrite(tail.writer(), bytes(8), 8 * (total - tail.first))
                else:
                    try_to_create(self.directory)
        except (OSError, HftMmapError):
            return False
        return True

    def append_nowait(self, values: object, *, offset: int | None = None, wait_s: float | None = None) -> int:
        """Append a batch whole or refuse it untouched; return the new total. Visible at once.

        Waits for no sync, but that the first append after an orderly stop, in whichever process, takes back the clean
        flag: one sync of the head.

        Another process that holds the series is waited for `wait_s` seconds (None: however long, 0: not at all), then
        it is SeriesBusy.

        With `offset` the batch is taken only if it belongs exactly there: where the series already holds the same
        values at that place, nothing is appended and the total after them is returned; OffsetConflict otherwise.
        InvalidValues, DiskFull, WriteFailed, SeriesReadOnly, StoreReadOnly, StoreClosed. O(n), about 4 us and 4 ns a
        point.
        """
        row = as_row(values)
        total: int = NOT_SHORT
        with self._lock:
            # PERF: one compiled call where nothing special is to be done; see writer.py.
            plan = self._plan
            if plan is not None and (offset is None or 0 <= offset <= _MAX_OFFSET):
                total = append_short(plan, row, -1 if offset is None else offset)
        if total == NOT_SHORT:
            # A copy of our own: what is checked here is written later, and the caller's array may change meanwhile.
            total = self._append_waiting(check_prices(np.array(row)), offset, wait_s)
        if self._wake_on_append and not self._dirty:
            self._dirty = True
            self._wake()
        return total

    def _append_waiting(self, batch: NDArray[np.float64], offset: int | None, wait_s: float | None) -> int:
        """Append as `_append_long`, tried until `wait_s` seconds are over; no lock is held between the tries."""
        busy = ""
        for _ in attempts(wait_s):
            try:
                return self._append_long(batch, offset, 0)
            except SeriesBusy as error:
                busy = str(error)
        raise SeriesBusy(busy)

    def _append_long(self, batch: NDArray[np.float64], offset: int | None, wait_s: float | None = None) -> int:
        """Append what `append_short` left: a batch that rolls, cleans up, repeats, has to wait or is refused."""
        n: int = batch.shape[0]
        self._check_writable()
        try:
            with self._exclusive(wait_s):
                self._check_writable()
                total: int = self._words[TOTAL]
                if offset is not None and offset != total:
                    return self._repeated(batch, offset, total)
                if self._words[FLAGS]:
                    self._take_back_clean()
                start = self._words[START]
                if total - start + n > self._limits.max_data_retention:
                    start = self._retain(total, n)
                self._head.publish(total + n, self._write(total, batch))
                self._move_start(start)
        except (OSError, FormatError) as error:
            raise self._not_written(n, error) from error
        return total + n

    def _take_back_clean(self) -> None:
        """Take back the clean flag of an orderly stop; SeriesReadOnly if a sync fails or has failed. Holds the series.

        Costs the first append after it, in whichever process, one sync of the head.
        """
        if not self._words[FLAGS] & FLAG_SYNC_FAILED:
            try:
                self._commits.take_back_clean()
            except OSError as error:
                if self._words[FLAGS] & FLAG_SYNC_FAILED:
                    raise self._fail(error) from error
                raise
        if self._words[FLAGS] & FLAG_SYNC_FAILED:
            raise self._fail(None)

    def _check_writable(self) -> None:
        """Raise what batches are refused with, if they are."""
        if self._refused is not None:
            raise self._refused.error()
        if self._closing:
            raise StoreClosed(_CLOSED)

    def _set_tail(self, view: View) -> None:
        """Make `view` the current one, and the last chunk of it the one that short appends go to."""
        self._view = view
        self._plan = None
        # A full tail takes no more points; a cleanup that keeps none may have unlinked it.
        if view.chunks and view.end > self._words[TOTAL]:
            tail = view.chunks[-1]
            tail.writer()
            plan = tail.plan
            plan[PLAN_HEAD_FD] = self._head.fd
            plan[PLAN_HEAD_ADDRESS] = self._head.address
            plan[PLAN_MAX_RETENTION] = self._limits.max_data_retention
            self._plan = plan

    def _wake(self) -> None:
        """Ask for a commit."""
        if self._waker is not None:
            self._waker.wake(self)

    def _repeated(self, batch: NDArray[np.float64], offset: int, total: int) -> int:
        """Return the total after `batch` if it is already stored at `offset`; OffsetConflict if not."""
        end = offset + batch.shape[0]
        view = self._view if total <= self._view.end else self._current(total)
        if self._words[START] <= offset and end <= total and np.array_equal(view.read(offset, end), batch):
            return int(end)
        if offset < 0:
            reason = "offsets count from 0"
        elif offset > total:
            reason = "points before it are missing"
        elif offset < self._words[START]:
            reason = f"points before {self._words[START]} are no longer kept"
        elif end > total:
            reason = "it overlaps what is stored only in part"
        else:
            reason = "other values are stored there"
        message = f"offset {offset} does not fit: {reason}; the series {self.symbol} ends at total {total}"
        raise OffsetConflict(message, total)

    def _move_start(self, start: int) -> None:
        """Let go of the points below `start`, if there are any that are still kept."""
        if start > self._words[START]:
            self._head.store(START, start)
            self._head.settle_words()

    def _retain(self, total: int, n: int) -> int:
        """Move `start` so that the cleanup count remains beside `n` more points, and return it. O(chunks), no copy.

        While the batch is not there yet, one point is kept in any case: a series that holds points is never empty.
        """
        self._limits.check_batch(n)
        old = self._words[START]
        keep = min(self._limits.cleanup_keep_count, self._limits.max_data_retention - n)
        start = max(old, total - keep)
        self._move_start(min(start, total - 1))
        # Another process may have gone on meanwhile, and have unlinked the chunks that this one knew.
        self._set_tail(self._current(total))
        self._cleanup_due = True
        self._wake()
        self._on_event("cleanup", {"symbol": self.symbol, "removed": start - old, "start": start, "total": total})
        return start

    def _write(self, total: int, batch: NDArray[np.float64]) -> int:
        """Write `batch` behind `total`, rolling to new chunks; nothing of it is visible yet. OSError if that fails.

        Returns the running checksum of all points with the batch.
        """
        done, n = 0, batch.shape[0]
        mark = self._head.mark(total)
        if mark is None:
            # An old release has published it: the checksums begin anew, and the next commit vouches for the first.
            mark = Mark.begin()
            self._head.begin_ring(total, mark)
            self._head.settle_words()
        # Until all is written the view stays as it is: the root of a chunk that the batch fills must not outlive it.
        view = self._view if total <= self._view.end else self._current(total)
        while done < n:
            position = total + done
            if position == view.end:
                view = self._roll(view, n, mark)
            chunk = view.chunks[-1]
            take = min(n - done, view.end - position)
            mark = mark.after(chunk.write(position - chunk.first, batch if take == n else batch[done : done + take]))
            done += take
        self.disk_full = False
        grown = view is not self._view
        # After another process had rolled, a query may have mapped the chunk before this process wrote to it.
        if grown or self._plan is not view.chunks[-1].plan:
            self._set_tail(view)
        if grown:
            self._wake()
        return mark.checksum

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

    def _roll(self, view: View, n: int, mark: Mark) -> View:
        """Return `view` with the next chunk, new and empty, at its end, for a batch of `n` points."""
        series_id = self._head.identity.series_id
        # The file that came with the series is replaced like any other leftover, and must take its space again.
        allocated_points = 0 if view.end else max(self._limits.starting_capacity, n)
        Chunk.create(self.directory, series_id, view.end, self._layout, allocated_points, mark)
        if view.chunks:
            view.chunks[-1].forget_pages()
        return view.extended(Chunk(self.directory, series_id, view.end, self._layout))

    # -- durability ---------------------------------------------------------------------------------------------------

    @property
    def committed_total(self) -> int:
        """Points that the newest commit vouches for: what a power loss leaves."""
        return self._commits.total

    @property
    def syncs(self) -> Syncs:
        """How often this process has put points on the disk since it opened the series, and how long that took."""
        return self._commits.syncs

    def on_durable(self, total: int, callback: Waiter) -> None:
        """Call `callback` once the points below `total` are on the disk, with None, or with the reason they are not.

        At once if they already are, else from the flusher's thread; from `close` at the latest.
        """
        with self._lock:
            if self.committed_total < total and self._refused is None:
                self._commits.wait(total, callback)
                return
        callback(None if self.committed_total >= total else self.refusal)

    def commit(self, *, clean: bool = False) -> bool:
        """Put everything published so far on the disk and record it in a commit slot; then seal and unlink.

        Called by the flusher, one call at a time. A disk that fails makes the series read-only; nothing is raised.
        Returns False, with the work to be done again, if another process holds the series, or if something failed that
        was no sync (a write of a slot, a file that could not be opened) and fails for no longer than a second.
        """
        self._dirty = False
        if self._refused is None:
            try:
                self._commit(clean=clean)
            except SeriesBusy as error:
                return self._later("locked", error)
            except SeriesRemoved:
                pass  # it is refused from now on, and that is what is told to who waits
            except OSError as error:
                if self._is_removed():  # then it says nothing of the disk
                    self._answer_waiters()
                    return True
                if not clean and self._may_commit_again(error):
                    return self._later("write_failed", error)
                self._fail(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the points are not on the disk: say so
                self._fail(error)
        if self._flag_due and not self._told_of_failure():
            return False
        self._not_committed = None
        self._answer_waiters()
        return True

    def _later(self, code: str, error: Exception) -> bool:
        """Remember why a commit has to wait, for `trouble`; return False."""
        self._dirty = True
        if self._not_committed is None:
            detail = f"points of {self.symbol} after {self.committed_total} are not on the disk yet: {error}"
            self._not_committed = Trouble(code, self._words[TOTAL], monotonic(), detail)
        return False

    def uncommitted(self) -> None:
        """Ask again at the next append: the flusher has died, or was never there."""
        self._dirty = False

    def check_in_place(self) -> None:
        """Raise SeriesRemoved, and refuse batches from now on, if the files are no longer those of the directory."""
        if self._is_removed():
            raise SeriesRemoved(self._removed_text())

    def _is_removed(self) -> bool:
        """Say whether the head has lost its name, to nothing or to another file; two looks at the file system.

        A directory that was only moved still has the file: what is appended is there when it is moved back.
        """
        if not self.removed and self._head.fd >= 0:
            with suppress(PermissionError):
                mine = os.fstat(self._head.fd)
                try:
                    there = os.stat(self._head.path)
                    self.removed = (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino)
                except (FileNotFoundError, NotADirectoryError):
                    self.removed = not mine.st_nlink
            if self.removed:
                with self._lock:
                    self._refused = Refusal(SeriesRemoved, self._removed_text())
                    self._plan = None
                    # The next to look for the series goes the long way, and meets the refusal.
                    self.attached = False
                self._on_event("removed", {"symbol": self.symbol, "durable_total": self.committed_total})
        return self.removed

    def _removed_text(self) -> str:
        """Say that the files are gone."""
        return (
            f"{self.symbol} was removed or replaced while it was open ({self.directory}): it serves nothing, "
            "and what was appended since is lost; restart the service to go on with what is there"
        )

    def _may_commit_again(self, error: OSError) -> bool:
        """Return whether a commit that failed may be tried again: nothing is in doubt, and it may pass."""
        if self._commits.sync_failed:
            return False
        if error.errno in _SHORT_OF:  # which says nothing of the disk, however long it lasts
            return True
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
        """Do the work of `commit`; OSError if the disk fails, SeriesBusy if another process holds the series."""
        self.check_in_place()
        with self._exclusive_to_commit():
            total, start = self._words[TOTAL], self._words[START]
            mark = self._head.mark(total)
            view = self._current(total)
            if view is not self._view:
                self._set_tail(view)
            if clean:
                # From here on nothing is appended: a point behind the last commit would miss its promise.
                self._closing = True
                self._plan = None
            cleanup, self._cleanup_due = self._cleanup_due, False
        try:
            if clean or cleanup or total > self.committed_total:
                self._commits.put(view, total, start, mark, self._exclusive_to_commit(), clean=clean)
            self._commits.seal(view, total)
            if cleanup:
                self._commits.unlink_below(start)
            # Before anybody is told that points are on the disk: what has lost its name is not.
            self.check_in_place()
        except (SeriesBusy, OSError):
            self._cleanup_due |= cleanup
            raise
        self._failing_since = None

    def _fail(self, error: Exception | None) -> SeriesReadOnly:
        """Make the series read-only until the next start, and return the error that says so.

        The live flag tells the other processes of this boot, and the next opening, that memory and disk may differ.
        """
        cause = str(error) if error else "a sync failed in another process"
        text = (
            f"{self.symbol} is read-only since the disk failed ({cause}): points after {self.committed_total} may not "
            "survive a power loss; check the disk, then restart the service"
        )
        self._flag_due = True
        if not self._told_of_failure():
            self._wake()
        self._refused = Refusal(SeriesReadOnly, text)
        self._plan = None
        self._on_event("read_only", {"symbol": self.symbol, "error": cause, "durable_total": self.committed_total})
        return SeriesReadOnly(text)

    def _told_of_failure(self) -> bool:
        """Raise the flag of a failed sync; return False if another process keeps it from being raised, for now."""
        try:
            self._commits.fail()
        except SeriesBusy:
            return False
        self._flag_due = False
        return True

    def close(self, wait_s: float) -> None:
        """Commit with the clean flag and refuse writes from now on; reads go on for whoever still holds the series.

        Where another process holds it for `wait_s` seconds there is no such commit, as after a kill.
        """
        done = self._waker is None or any(self.commit(clean=True) for _ in attempts(wait_s))
        with self._lock:
            if self._flag_due:  # better without the lock than not at all
                self._head.raise_flag(FLAG_SYNC_FAILED)
            self._refused = Refusal(StoreClosed, _CLOSED)
            self._plan = None
            self._head.close()
            for chunk in self._view.chunks:
                chunk.close_writer()
        # Those who wait for points that never came.
        self._answer_waiters(None if done else Refusal(SeriesBusy, self._held()))


class _Forked(Series):
    """A series in a child of the process that opened it: every use is refused, with nothing to be looked at before."""

    def __getattribute__(self, name: str) -> object:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        raise StoreForked(forks.FORKED)
