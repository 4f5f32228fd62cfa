"""What a series answers, without a lock: every query of one moment.

Everything in [start, total) is immutable, and `total` is stored last, so that a reader needs a view of the chunks and
the two bounds, in any process.
"""

import math
import operator
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hft_mmap import answers
from hft_mmap.answers import Moment, Passage, Point, Rank
from hft_mmap.durable import recovery
from hft_mmap.errors import (
    FormatError,
    InvalidRange,
    InvalidWindow,
    OutOfRange,
    SeriesSetAside,
    SymbolNotFound,
)
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.head import FLAG_LEFT, Head
from hft_mmap.files.view import View
from hft_mmap.named import FIVE, Columns
from hft_mmap.span import Span
from hft_mmap.stats import STANDARD_WINDOWS, WindowStats
from hft_mmap.tree.buckets import Buckets, in_bars, in_buckets
from hft_mmap.tree.fold import fold_between, fold_newest, fold_window, fold_windows
from hft_mmap.tree.passage import NOWHERE, UNANSWERED, find_between
from hft_mmap.tree.words import FLAGS, START, TOTAL

_MAX_WINDOW = 2**62
"""More than there can be points: a window above it is the same as this one, and would not fit compiled code."""

_WINDOWS = np.array(STANDARD_WINDOWS, dtype=np.int64)
_stats = partial(tuple.__new__, WindowStats)
"""WindowStats of the tuple of its fields, in half the time of the method that takes them one by one."""


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


class Reader:
    """The part of a series that is read. Made by `Series`; safe to use from any number of threads."""

    def __init__(self, directory: Path, *, writable: bool) -> None:
        """Open the head in `directory`; FormatError if it is not one of this directory. Nothing can be read yet."""
        self.directory = directory
        self._lock = threading.Lock()
        self._head = Head(directory, writable=writable)
        self.symbol = self._head.identity.symbol
        self.live_words = self._head.words
        """The live words of the head, whatever the bounds are taken from."""
        self._view: View
        try:
            recovery.check_owner(directory, self._head.identity)
            self._layout = recovery.layout_of(self._head.identity)
        except BaseException:
            self._head.close()
            raise

    def _follow_words(self, words: memoryview) -> None:
        """Take `words` for the bounds, from now on."""
        address = np.frombuffer(words, dtype=np.int64).ctypes.data
        self._words = words
        self._bounds = words, address + 8 * START, address + 8 * TOTAL

    def _has_left(self) -> bool:
        """Say whether the series, which was about to lose its name, has lost it: a look at the file system."""
        try:
            there = os.stat(self._head.path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        # A head that has the same number is the same file as long as this one is open, or mapped.
        return there.st_ino != self._head.inode

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

    # -- of one moment ------------------------------------------------------------------------------------------------

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
                if self.live_words[FLAGS] & FLAG_LEFT and self._has_left():
                    raise SymbolNotFound(self.symbol) from error
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

    def part(
        self, *, window: int | None = None, at: int | None = None, start: int | None = None, end: int | None = None
    ) -> tuple[Moment, int, int]:
        """Return the series as it stands now, and the bounds [lo, hi) of what is asked for; see `statistics`."""
        moment = self._moment()
        return moment, *self._part(moment, window, start, end, at)

    def _part(
        self, moment: Moment, window: int | None, start: int | None, end: int | None, at: int | None = None
    ) -> tuple[int, int]:
        """Return the newest `window` points of `moment`, or [start, end), or all that are kept where nothing is said.

        With `at` the window ends with that point. InvalidRange where both are said; what `stats` and `range` raise.
        """
        if at is not None:
            if window is None or start is not None or end is not None:
                message = "at goes with a window, which ends there, and with nothing else"
                raise InvalidRange(message)
            last, _ = answers.checked_range(moment, at, operator.index(at) + 1)
            return max(moment.start, last + 1 - _checked_window(window)), last + 1
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
        # PERF: what is plainly a kept range needs no further look, which would take longer than the fold.
        if type(start) is int and type(end) is int and 0 <= start < end <= _MAX_WINDOW:
            view = self._view  # what has the addresses must stay until the call has ended, as in `stats`
            table, roots, chunks = view.addresses
            _alive, start_address, total_address = self._bounds
            found = fold_between(table, roots, chunks, start_address, total_address, start, end)
            if found[5]:
                return _stats(found)
        moment = self._moment()
        start, end = answers.checked_range(moment, start, end)
        return _stats((*fold_window(moment.view.table, moment.view.roots, start, end), end - start))

    def statistics(
        self,
        stats: Sequence[str],
        *,
        window: int | None = None,
        at: int | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> dict[str, float | int | None]:
        """Return the statistics named by `stats` (see STATISTICS), None where one is undefined, all of one moment.

        Of the newest `window` points, or those of them that are kept; of the window that ends with the point `at`; of
        [start, end); or of all that are kept. O(log N + chunks), lock-free. InvalidStatistic, InvalidWindow,
        InvalidRange, OutOfRange, SymbolNotFound.
        """
        return answers.one(*self.part(window=window, at=at, start=start, end=end), stats)

    def stats_windows(
        self, stats: Sequence[str] = FIVE, windows: Sequence[int] = STANDARD_WINDOWS
    ) -> tuple[int, int, Columns]:
        """Return start, total, and columns start, end and `stats` of the newest `windows` points, all of one moment.

        A window larger than what is kept gives all of it. O(n log N), lock-free. InvalidStatistic, InvalidWindow;
        SymbolNotFound while nothing was ever appended.
        """
        moment = self._moment()
        if moment.start == moment.total:
            raise SymbolNotFound(self.symbol)
        return moment.start, moment.total, answers.newest(moment, list(map(_checked_window, windows)), stats)

    def stats_bars(
        self, size: int, start: int | None = None, end: int | None = None, *, stats: Sequence[str] = FIVE
    ) -> Columns:
        """Return columns start, end and `stats` of the kept points of [start, end) in bars of `size` points.

        A bar begins at a multiple of `size`, as those of `bars` do; only the first and the last may have fewer. Points
        that are not kept, or not there yet, are left out, so there may be none. O(n log N), lock-free, GIL released.
        InvalidRange unless 0 <= start <= end and size >= 1; InvalidStatistic.
        """
        moment = self._moment()
        asked = (0 if start is None else start, moment.total if end is None else end)
        return answers.bars(moment, asked, size, stats)

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
        high = math.inf if above is None else above
        low = -math.inf if below is None else below
        end = _MAX_WINDOW if until is None else until
        # PERF: as in `range`; what is not plainly right, or infinite, is looked at below.
        if (
            type(after) is type(end) is int and 0 <= after < _MAX_WINDOW and 0 <= end <= _MAX_WINDOW
            and type(high) is type(low) is float and low < high
            and (low > -math.inf or below is None) and (high < math.inf or (above is None and below is not None))
        ):  # fmt: skip
            view = self._view
            table, roots, chunks = view.addresses
            _alive, start_address, total_address = self._bounds
            found, value = find_between(
                table, roots, chunks, start_address, total_address, after + 1, end, high, low
            )  # fmt: skip
            if found == NOWHERE:
                return None
            if found != UNANSWERED:
                return Passage(found, value, "above" if value >= high else "below")
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
        with suppress(OSError):  # removed at this moment, or by hand; or the device is gone
            used += os.stat(self._head.path).st_blocks * 512
        appended_at = view.chunks[-1].written_at() if last is not None else None
        return SeriesInfo(self.symbol, total, start, total - start, last, used, appended_at)
