"""How a series takes points with times and sizes; everything but the short way is that of `appender.py`."""

from pathlib import Path

import numpy as np

from hft_mmap.appender import MAX_OFFSET, Appender
from hft_mmap.counters import EventSink
from hft_mmap.limits import Late, Limits
from hft_mmap.refusing import Waker
from hft_mmap.ticks import Appended, Ticks, check_ticks, plain
from hft_mmap.tree.ticks import append_ticks
from hft_mmap.tree.words import START, TOTAL
from hft_mmap.tree.writer import NOT_SHORT


class TickAppender(Appender):
    """The part of a series that is written with columns. Made by `Series`; for any number of threads."""

    def __init__(
        self, directory: Path, *, limits: Limits, waker: Waker | None, wake_on_append: bool, on_event: EventSink,
    ) -> None:  # fmt: skip
        """Open the head in `directory`, as `Appender` does."""
        super().__init__(directory, limits=limits, waker=waker, wake_on_append=wake_on_append, on_event=on_event)
        self._late = np.zeros(2, dtype=np.int64)
        """What became of the times of the last short append."""

    def append_ticks_nowait(
        self, batch: Ticks, *, offset: int | None = None, wait_s: float | None = None
    ) -> Appended:  # fmt: skip
        """Append points with times, sizes or both; see `append_nowait`, whose promises and errors these are.

        ColumnsDiffer where the series has others: its first batch chooses them. A time before that of the point before
        it, the newest that is kept, is late: it becomes that of the point before, or the batch is refused with
        LateTimes, by `Limits.late`. `offset` compares all columns. InvalidSizes.
        """
        total: int = NOT_SHORT
        times, sizes = plain(batch)
        if self._asked_at != self._begun and self._wake_on_append:
            self._look_after_waker()
        try:
            with self._lock:
                plan = self._tick_plan
                if (
                    plan is not None
                    and batch.kinds == self._layout.kinds
                    and (offset is None or 0 <= offset <= MAX_OFFSET)
                ):
                    refusing = int(self._limits.late is Late.REFUSE)
                    where = -1 if offset is None else offset
                    total = append_ticks(plan, self._files, batch.prices, times, sizes, where, refusing, self._late)
                    if total != NOT_SHORT:
                        late, latest_ns = self._late.tolist() if len(times) else (0, 0)
                        done = Appended(total, late, latest_ns)
                        if late:
                            self._count_late(done)
            if total == NOT_SHORT:
                done = self._append_waiting(check_ticks(batch, signed=self._limits.negative_prices), offset, wait_s)
        finally:
            # As in `append_nowait`.
            begun = self._begun
            if self._asked_at != begun and self._requests is not None and (
                self._words[TOTAL] >= self._ask_from or self._words[START] > self._unlinked_below
            ):  # fmt: skip
                self._asked_at = begun
                self._requests.put(self)
        return done
