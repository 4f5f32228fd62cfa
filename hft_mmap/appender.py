"""How a series takes batches: one writer at a time, each batch whole or not at all.

A thread lock keeps the threads of the process apart, flock on the head file the processes. To publish is the last step
of an append: whatever ends it before, an interrupt (Ctrl-C, an alarm) between any two calls included, leaves what was
there. What it wrote lies above `total`, where nobody reads, and the next append writes there again. What has to be done
after it (the view that readers use, the request for a commit) is done by whoever comes next where it was left out: none
of it is remembered in a flag that an interrupt could leave wrong.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from hft_mmap.batch import as_row, check_prices
from hft_mmap.counters import EventSink
from hft_mmap.durable.commits import Commits
from hft_mmap.errors import (
    FormatError,
    OffsetConflict,
    SeriesBusy,
    StoreReadOnly,
)
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.layout import KINDS, TIME, Kind
from hft_mmap.files.live import FLAG_LEFT, FLAG_SYNC_FAILED
from hft_mmap.files.locks import attempts
from hft_mmap.files.marks import Mark
from hft_mmap.files.names import chunk_name
from hft_mmap.files.view import View
from hft_mmap.health import Refusal
from hft_mmap.limits import Late, Limits
from hft_mmap.refusing import Refusing, Waker
from hft_mmap.ticks import Appended, Ticks, clamped, other_columns, raise_late, ticks_of
from hft_mmap.tree.words import FLAGS, SALT, START, TOTAL
from hft_mmap.tree.writer import (
    NOT_SHORT,
    PLAN_ERA,
    PLAN_HEAD_ADDRESS,
    PLAN_HEAD_FD,
    PLAN_MAX_RETENTION,
    PLAN_SIGNED,
    append_short,
)

MAX_OFFSET = 2**62
"""Offsets from 0 to this one can be compared in compiled code; the others fit nowhere."""


class Appender(Refusing):
    """The part of a series that is written. Made by `Series`; safe to use from any number of threads."""

    def __init__(
        self, directory: Path, *, limits: Limits, waker: Waker | None, wake_on_append: bool, on_event: EventSink,
    ) -> None:  # fmt: skip
        """Open the head in `directory`, as `Reader` does. `waker` None: read-only."""
        super().__init__(directory, writable=waker is not None)
        self._limits = limits
        self._waker = waker
        self._requests = waker.requests if waker is not None else None
        self._wake_on_append = wake_on_append
        self._on_event = on_event
        self._commits = Commits(directory, self._head, self._layout)
        self._refused = Refusal(StoreReadOnly, 'the store was opened with mode="r"') if waker is None else None
        self.disk_full = False
        self._files = np.zeros((0, 0), dtype=np.int64)
        """Where the columns of the chunk of `_plan` are."""
        self.late = self.latest_ns = 0
        """Points that this process has stored with a later time than they came with; and by how much at most."""
        self.has_new_chunk = False
        """Whether the first chunk was made with the series, by this process, and nobody has written to it."""
        self._ask_from = 0
        """The `total` from which on a commit is asked for."""

    def limit(self, limits: Limits) -> None:
        """Go by `limits` from the next append on."""
        with self._lock:
            self._limits = limits
            self._plan = self._tick_plan = None

    # -- one batch ----------------------------------------------------------------------------------------------------

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
        if self._asked_at != self._begun and self._wake_on_append:
            self._look_after_waker()
        try:
            with self._lock:
                # PERF: one compiled call where nothing special is to be done; see writer.py.
                plan = self._plan
                if plan is not None and (offset is None or 0 <= offset <= MAX_OFFSET):
                    total = append_short(plan, row, -1 if offset is None else offset)
            if total == NOT_SHORT:
                # A copy of our own: what is checked here is written later, and the caller's array may change meanwhile.
                prices = check_prices(np.array(row), signed=self._limits.negative_prices)
                total = self._append_waiting(Ticks(prices), offset, wait_s).total
        finally:
            # What was published is asked for, whatever came after that; no call but one, which is in C, is made for it,
            # as the last step: an interrupt comes after a call.
            begun = self._begun
            if self._asked_at != begun and self._requests is not None and (
                self._words[TOTAL] >= self._ask_from or self._words[START] > self._unlinked_below
            ):  # fmt: skip
                self._asked_at = begun
                self._requests.put(self)
        return total

    def _count_late(self, done: Appended) -> None:
        """Count the late points of a batch that was stored. The caller has the lock between threads."""
        self.late += done.late
        self.latest_ns = max(self.latest_ns, done.latest_ns)

    def _append_waiting(self, batch: Ticks, offset: int | None, wait_s: float | None) -> Appended:
        """Append as `_append_long`, tried until `wait_s` seconds are over; no lock is held between the tries."""
        busy = ""
        self._look_after_waker()  # before a point is published that is asked for
        for _ in attempts(wait_s):
            try:
                return self._append_long(batch, offset)
            except SeriesBusy as error:
                busy = str(error)
        raise SeriesBusy(busy)

    def _append_long(self, batch: Ticks, offset: int | None) -> Appended:
        """Append what `append_short` left: a batch that rolls, cleans up, repeats, has to wait or is refused."""
        self._check_writable()
        try:
            return self._hold(partial(self._append_held, batch, offset), 0)
        except (OSError, FormatError) as error:
            raise self._not_written(len(batch.prices), error) from error

    def _append_held(self, batch: Ticks, offset: int | None) -> Appended:
        """Do the work of `_append_long`; the caller holds the series. OSError, FormatError."""
        self._check_writable()
        n: int = len(batch.prices)
        total: int = self._words[TOTAL]
        self._know_columns()
        if total and batch.kinds != self._layout.kinds:
            raise other_columns(self.symbol, self._layout.kinds, batch.kinds)
        if offset is not None and offset != total:
            return self._repeated(batch, offset, total)
        before = self._time_before(total)
        stored, late, latest_ns = clamped(batch, before)
        if late and self._limits.late is Late.REFUSE:
            raise_late(batch, before, self.symbol, total)
        if self._words[FLAGS]:
            self._take_back_clean()
        if batch.kinds != self._layout.kinds:
            self._choose_columns(batch.kinds)
        if self._limits.negative_prices and not self._head.identity.is_signed and batch.prices.min() < 0.0:
            self._note_negative()
        start = self._words[START]
        if total - start + n > self._limits.max_data_retention:
            start = self._retain(total, n)
        view, checksum = self._write(total, stored)
        self._head.publish(total + n, checksum)
        # After another process had rolled, a query may have mapped the chunk before this process wrote to it.
        if view is not self._view or view.chunks[-1].plan is not (
            self._tick_plan if self._layout.kinds else self._plan
        ):
            self._set_tail(view)
        self._move_start(start)
        done = Appended(total + n, late, latest_ns)
        self._count_late(done)
        return done

    def _time_before(self, point: int) -> int | None:
        """Return the time of the point before `point`, None where that is not kept or has none. Holds the series."""
        if TIME not in self._layout.kinds or point <= self._words[START]:
            return None
        return self._covering(self._words[TOTAL]).time_of(point - 1)

    def _know_columns(self) -> None:
        """Look which columns the series has, unless its chunks are mapped: another process may have chosen them since.

        The caller holds the series.
        """
        if self._view.chunks and self._view.era == self._words[SALT]:
            return
        self._look_at_columns()
        if self._view.layout.kinds != self._layout.kinds:
            self._set_tail(View.empty(self._layout, self._floor(self._words[START]), self._words[SALT]))

    def _note_negative(self) -> None:
        """Have the head say that prices may be negative, before the first such price; costs a sync. Holds the series.

        Short appends take such prices from here on.
        """
        identity = self._head.look_at_identity()  # another process may have met one before
        if not identity.is_signed:
            self._on_disk(partial(self._commits.choose, replace(identity, is_signed=True)))
        self._plan = self._tick_plan = None

    def _choose_columns(self, kinds: tuple[Kind, ...]) -> None:
        """Give a series to which nothing was ever appended the columns `kinds`; costs a sync. Holds the series."""
        self._on_disk(partial(self._commits.choose, replace(self._head.identity, kinds=kinds)))
        self._look_at_columns()
        self._set_tail(View.empty(self._layout, 0, self._words[SALT]))
        for kind in KINDS:
            if kind not in kinds:
                (self.directory / chunk_name(0, kind.suffix)).unlink(missing_ok=True)

    def _take_back_clean(self) -> None:
        """Take back the clean flag of an orderly stop; SeriesReadOnly if a sync fails or has failed. Holds the series.

        Costs the first append after it, in whichever process, one sync of the head.
        """
        if self._words[FLAGS] & FLAG_LEFT:  # and it has not: whoever was about to take its name was killed
            self._head.committing(partial(self._head.lower_flag, FLAG_LEFT))
        if not self._words[FLAGS] & FLAG_SYNC_FAILED:
            self._on_disk(self._commits.take_back_clean)
        if self._words[FLAGS] & FLAG_SYNC_FAILED:
            raise self._fail(None)

    def _on_disk(self, work: Callable[[], None]) -> None:
        """Do what puts something on the disk; SeriesReadOnly if a sync fails. Holds the series."""
        try:
            work()
        except OSError as error:
            if self._words[FLAGS] & FLAG_SYNC_FAILED:
                raise self._fail(error) from error
            raise

    def _begin_marks(self, total: int, former: Mark | None) -> Mark:
        """Begin the checksums anew where an earlier release has published `total`; return the first. Holds the series.

        former: what that release noted. It proves what is not on the disk yet, so all of that is put there first, once
        in the life of a series. A release that noted nothing is believed until the next commit, which vouches for it.
        """
        mark = Mark.begin()
        if former is not None:
            view, start = self._covering(total), self._words[START]
            self._on_disk(partial(self._commits.put, view, total, start, mark))
        self._head.begin_ring(total, mark)
        return mark

    def _set_tail(self, view: View) -> None:
        """Make `view` the current one, and the last chunk of it the one that short appends go to."""
        self._view = view
        self._plan = self._tick_plan = None
        # A full tail takes no more points; a cleanup that keeps none may have unlinked it.
        if view.chunks and view.end > self._words[TOTAL]:
            tail = view.chunks[-1]
            tail.writers()
            plan = tail.plan
            plan[PLAN_HEAD_FD] = self._head.fd
            plan[PLAN_HEAD_ADDRESS] = self._head.address
            plan[PLAN_MAX_RETENTION] = self._limits.max_data_retention
            plan[PLAN_ERA] = view.era
            plan[PLAN_SIGNED] = int(self._limits.negative_prices and self._head.identity.is_signed)
            self._files = tail.files
            if self._layout.kinds:
                self._tick_plan = plan
            else:
                self._plan = plan

    def _covering(self, total: int) -> View:
        """Return the view as it is, if it covers what is there, else the current one. The caller holds the series."""
        view = self._view
        return view if total <= view.end and view.era == self._words[SALT] else self._current(total)

    def _repeated(self, batch: Ticks, offset: int, total: int) -> Appended:
        """Return the total after `batch` if it is already stored at `offset`; OffsetConflict if not."""
        end = offset + len(batch.prices)
        if self._words[START] <= offset and end <= total:
            stored = ticks_of(self._covering(total), offset, end)
            before = self._time_before(offset)
            if before is None and offset and stored.times is not None and batch.times is not None:
                # The time before it is not known any more: if it was late, it has that one now. The first never was.
                before = max(int(stored.times[0]), int(batch.times[0]))
            same, late, latest_ns = clamped(batch, before)
            if stored.is_same(same):
                return Appended(end, late, latest_ns)
        if offset < 0:
            reason = "offsets count from 0"
        elif offset > total:
            reason = "points before it are missing"
        elif offset < self._words[START]:
            reason = f"points before {self._words[START]} are no longer kept"
        elif end > total:
            reason = "it overlaps what is stored only in part"
        else:
            reason = f"other {'rows' if batch.columns else 'values'} are stored there"
        message = f"offset {offset} does not fit: {reason}; the series {self.symbol} ends at total {total}"
        raise OffsetConflict(message, total)

    def _move_start(self, start: int) -> None:
        """Let go of the points below `start`, if there are any that are still kept."""
        if start > self._words[START]:
            self._head.move_start(start)

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
        self._on_event("cleanup", {"symbol": self.symbol, "removed": start - old, "start": start, "total": total})
        return start

    def _write(self, total: int, batch: Ticks) -> tuple[View, int]:
        """Write `batch` behind `total`, rolling to new chunks; nothing of it is visible yet. OSError if that fails.

        Returns the view for when it is, and the running checksum of all points with the batch.
        """
        done, n = 0, len(batch.prices)
        mark = self._head.mark(total)
        if mark is None or not mark.has_mixed_keys:
            mark = self._begin_marks(total, mark)
            self._head.settle_words()
        # The view of the readers stays as it is until the batch is published: the root of a chunk that the batch fills
        # must not outlive it.
        view = self._covering(total)
        while done < n:
            position = total + done
            if position == view.end:
                view = self._roll(view, n, mark)
            chunk = view.chunks[-1]
            take = min(n - done, view.end - position)
            part = batch if take == n else batch.cut(done, done + take)
            mark = mark.after(chunk.write(position - chunk.first, part.prices, part.columns))
            done += take
        self.disk_full = False
        return view, mark.checksum

    def _roll(self, view: View, n: int, mark: Mark) -> View:
        """Return `view` with the next chunk, new and empty, at its end, for a batch of `n` points."""
        series_id = self._head.identity.series_id
        if self.has_new_chunk and not view.end:
            self.has_new_chunk = False
            with suppress(FileNotFoundError, FormatError):  # another process may be at its first batch, or was
                chunk = Chunk(self.directory, series_id, 0, self._layout)
                if chunk.base() == mark:
                    # By the descriptor that the next commit asks: nobody had it open between its making and this.
                    chunk.write_footer_again()
                    return view.extended(chunk)
        # A file of that name is replaced like any other leftover, and must take its space again.
        allocated_points = 0 if view.end else max(self._limits.starting_capacity, n)
        Chunk.create(self.directory, series_id, view.end, self._layout, allocated_points, mark)
        if view.chunks:
            view.chunks[-1].forget_pages()
        return view.extended(Chunk(self.directory, series_id, view.end, self._layout))
