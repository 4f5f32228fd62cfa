"""How a series takes points with times and sizes; everything but the short way is that of `appender.py`."""

from functools import partial

import numpy as np

from hft_mmap.appender import MAX_OFFSET, Appender
from hft_mmap.limits import Late
from hft_mmap.ticks import Appended, Ticks, check_ticks
from hft_mmap.tree.ticks import append_ticks
from hft_mmap.tree.words import START, TOTAL
from hft_mmap.tree.writer import NOT_SHORT

_NO_TIMES = np.empty(0, dtype=np.int64)
_NO_SIZES = np.empty(0)
_appended = partial(tuple.__new__, Appended)
"""Appended of the tuple of its fields, in half the time of the method that takes them one by one."""


class TickAppender(Appender):
    """The part of a series that is written with columns. Made by `Series`; for any number of threads."""

    def append_ticks_nowait(
        self, batch: Ticks, *, offset: int | None = None, wait_s: float | None = None
    ) -> Appended:  # fmt: skip
        """Append points with times, sizes or both; see `append_nowait`, whose promises and errors these are.

        ColumnsDiffer where the series has others: its first batch chooses them. A time before that of the point before
        it, the newest that is kept, is late: it becomes that of the point before, or the batch is refused with
        LateTimes, by `Limits.late`. `offset` compares all columns. InvalidSizes.
        """
        prices, times, sizes = batch
        done: Appended | None = None
        if self._asked_at != self._begun and self._wake_on_append:
            self._look_after_waker()
        try:
            with self._lock:
                # PERF: as in `append_nowait`; compiled code knows which columns the series has, and takes no None.
                plan = self._tick_plan
                if plan is not None and (offset is None or 0 <= offset <= MAX_OFFSET):
                    found = append_ticks(
                        plan, self._files, prices, _NO_TIMES if times is None else times,
                        _NO_SIZES if sizes is None else sizes, -1 if offset is None else offset,
                        1 if self._limits.late is Late.REFUSE else 0,
                    )  # fmt: skip
                    if found[0] != NOT_SHORT:
                        done = _appended(found)
                        if done.late:
                            self._count_late(done)
            if done is None:
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
