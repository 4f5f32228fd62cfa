"""What a series answers, without a lock: every query of one moment.

Everything in [start, total) is immutable, and `total` is stored last, so that a reader needs a view of the chunks and
the two bounds, in any process.
"""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from hft_mmap import shown
from hft_mmap.asked import MAX_WINDOW, Asked, Place, bounds, checked_window, newest, newest_of_each
from hft_mmap.by_time import Window, is_time
from hft_mmap.durable import recovery
from hft_mmap.errors import (
    FormatError,
    HftMmapError,
    OutOfRange,
    SeriesSetAside,
    SymbolNotFound,
)
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.head import Head
from hft_mmap.files.live import FLAG_LEFT
from hft_mmap.files.view import View
from hft_mmap.folding import Found, folded_alone
from hft_mmap.moment import Moment
from hft_mmap.span import Span
from hft_mmap.stats import STANDARD_WINDOWS, WindowStats
from hft_mmap.ticks import Ticks, ticks_of
from hft_mmap.tree.buckets import Buckets, in_bars, in_buckets
from hft_mmap.tree.fold import fold_newest, fold_window, fold_windows
from hft_mmap.tree.times import fold_asked
from hft_mmap.tree.words import FLAGS, SALT, START, TOTAL

_WINDOWS = np.array(STANDARD_WINDOWS, dtype=np.int64)
window_stats = partial(tuple.__new__, WindowStats)
"""WindowStats of the tuple of its fields, in half the time of the method that takes them one by one."""


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

    removed = False
    """Whether its files are gone, or have another name, for certain: then it has let go of them."""

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

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, or copied: its files and mappings are of this process. TypeError."""
        where = f"Store({str(self.directory.parent)!r}).series({self.symbol!r})"
        message = f"a Series can't be sent to another process: open it there, {where}"
        raise TypeError(message)

    def __repr__(self) -> str:
        """Tell the symbol, where it lies, and how many points it holds."""
        return f"<Series {self.symbol!r} in {str(self.directory.parent)!r}, {self.count} points>"

    def _repr_html_(self) -> str | None:
        """Show the standard windows and the course of prices, in a notebook; None where there is nothing to show."""
        try:
            windows = self.windows()
            return shown.of_series(repr(self), windows, self.buckets(*self.bounds(), shown.PARTS))
        except HftMmapError:
            return None

    def picture(self) -> shown.Picture:
        """Return the course of all points that are kept."""
        return shown.picture(self.buckets(*self.bounds(), shown.PARTS))

    def _follow_words(self, words: memoryview) -> None:
        """Take `words` for the bounds, from now on."""
        address = np.frombuffer(words, dtype=np.int64).ctypes.data
        self._words = words
        self._bounds = words, address + 8 * TOTAL

    def _has_left(self) -> bool:
        """Say whether the series, which was about to lose its name, has lost it: a look at the file system."""
        if self.removed:  # the number of its head may be that of another file by now
            return True
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
        if view.end < total and not view.chunks:
            self._look_at_columns()
            # Not where that has changed them: who looked before may have met an error before it took another view.
            if view.layout.kinds != self._layout.kinds:
                view = View.empty(self._layout, view.first, view.era)
        while view.end < total:
            view = view.extended(Chunk(self.directory, self._head.identity.series_id, view.end, self._layout))
        return view

    def _look_at_columns(self) -> None:
        """Look which columns the series has: its first batch chooses them, in whichever process.

        Whoever has opened it before that batch maps its first chunk after it.
        """
        self._layout = recovery.layout_of(self._head.look_at_identity())

    def _current(self, total: int) -> View:
        """Return the view of all kept chunks up to `total`. Other processes are held out: what is kept exists."""
        start, era = self._words[START], self._words[SALT]
        view = self._view
        if not view.first <= start <= view.end or view.era != era:
            view = View.empty(self._layout, self._floor(start), era)
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
            if words[SALT] == view.era and view.first <= start and total <= view.end:
                if words[START] == start:
                    return view, start, total
                continue
            self._follow()

    def _follow(self) -> None:
        """Map the chunks that another process has added, and drop those it has cleaned up; all if points were lost."""
        with self._lock:
            view, era = self._view, self._words[SALT]
            total, start = self._words[TOTAL], self._words[START]
            if not view.first <= start <= view.end or view.era != era:
                view = View.empty(self._layout, self._floor(start), era)
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

    def stats(self, window: Window) -> WindowStats:
        """Return the statistics of the newest `window` points, or of all that are kept if those are fewer.

        A window with a unit ("5m", a timedelta) has the points that came within that time before the newest, it
        included and the beginning not. O(log N), lock-free, about 1 us, 2 us by time. InvalidWindow unless `window` is
        a whole number from 1 or a time; SymbolNotFound while nothing was ever appended; ColumnsDiffer by time where
        there are no times.
        """
        if type(window) is not int or not 0 < window <= MAX_WINDOW:
            if is_time(window):
                # PERF: as `_folded`, without its call, which is a tenth of what this takes.
                view, (_alive, total_address), (how, begin, end) = self._view, self._bounds, newest(window)
                found = fold_asked(view.address, total_address, how, begin, end)
                lo, hi, low, high, last, avg, var, _, total = found
                if not total:
                    lo, hi, low, high, last, avg, var, _, total = self._folded((how, begin, end), window)[1]
                return window_stats((low, high, last, avg, var, hi - lo))
            window = min(checked_window(window), MAX_WINDOW)
        view = self._view
        _alive, total_address = self._bounds  # the words may not be unmapped before the call has ended
        found = fold_newest(view.address, total_address, window)
        return window_stats(found) if found[5] else self._stats_after_change(window)

    def held(self) -> tuple[View, tuple[memoryview, int]]:
        """Return the view of now, and what the bounds are read from: the live words, and where the total is.

        What takes them by their addresses, as `stats` does, must hold both for as long.
        """
        return self._view, self._bounds

    def _stats_after_change(self, window: int) -> WindowStats:
        """Answer as `stats` where the view did not cover the bounds: another process has appended or cleaned up."""
        view, start, total = self._snapshot()
        count = min(window, total - start)
        if not count:
            raise SymbolNotFound(self.symbol)
        low, high, last, avg, var = fold_window(view.table, view.roots, total - count, total)
        return WindowStats(low, high, last, avg, var, count)

    def _folded(
        self, asked: Asked, window: Window | None = None, at: Place = None, start: Place = None, end: Place = None
    ) -> tuple[View, Found]:  # fmt: skip
        """Return what is folded of the points that are `asked` for, and the view that has them.

        window, at, start, end: what was asked, in the words of whoever asks.

        One compiled call loads the bounds of now, finds the range and folds it. Where it has no answer, as another
        process has appended or cleaned up, or as there is none, the same is asked of a moment, which says why.
        """
        how, begin, until = asked
        view = self._view
        _alive, total_address = self._bounds  # the words may not be unmapped before the call has ended
        found: Found = fold_asked(view.address, total_address, how, begin, until)
        if found[-1]:
            return view, found
        moment = Moment(self.symbol, *self._snapshot())
        return moment.view, folded_alone(moment, *bounds(moment, window, at, start, end))

    def windows(self) -> tuple[WindowStats, ...]:
        """Return the statistics of the eight standard windows, all of one moment."""
        return self.windows_at()[2]

    def windows_at(self, windows: tuple[Window, ...] = STANDARD_WINDOWS) -> tuple[int, int, tuple[WindowStats, ...]]:
        """Return start, total and the statistics of `windows`, all of one moment.

        Points ascend; windows by time (ColumnsDiffer where there are no times) stand anywhere among them.
        """
        view, start, total = self._snapshot()
        if start == total:
            raise SymbolNotFound(self.symbol)
        if windows is not STANDARD_WINDOWS and any(map(is_time, windows)):
            begins = newest_of_each(Moment(self.symbol, view, start, total), windows).tolist()
            found = [(*fold_window(view.table, view.roots, lo, total), total - lo) for lo in begins]
            return start, total, tuple(map(window_stats, found))
        points = [window for window in windows if isinstance(window, int)]
        out = np.empty((len(points), 5))
        sizes = _WINDOWS if windows is STANDARD_WINDOWS else np.array([min(window, total) for window in points])
        fold_windows(view.table, view.roots, start, total, sizes, out)
        count = total - start
        rows = zip(points, out.tolist(), strict=True)
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
        n = checked_window(n)
        view, start, total = self._snapshot()
        return view.read(max(start, total - n), total)

    @property
    def columns(self) -> tuple[str, ...]:
        """What the points have beside their prices: "times", "sizes", both or nothing; nothing before the first."""
        view, _, total = self._snapshot()
        layout = view.layout if view.chunks else recovery.layout_of(self._head.look_at_identity())
        return tuple(kind.name for kind in layout.kinds) if total else ()

    def ticks(self, n: int) -> Ticks:
        """Return the newest `n` points, oldest first, with their times and sizes, as `window` does their prices.

        None stands for a column that the series does not have.
        """
        n = checked_window(n)
        view, start, total = self._snapshot()
        return ticks_of(view, max(start, total - n), total)

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
            return Span(self.symbol, start, total, max(start, total - checked_window(last)), total, view)
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

    def info(self) -> SeriesInfo:
        """Return bounds, newest value and bytes on the disk; costs a stat for each chunk."""
        view, start, total = self._snapshot()
        last = float(view.read(total - 1, total)[0]) if total > start else None
        used = sum(chunk.allocated_bytes() for chunk in view.chunks)
        with suppress(OSError):  # removed at this moment, or by hand; or the device is gone
            used += os.stat(self._head.path).st_blocks * 512
        appended_at = view.chunks[-1].written_at() if last is not None else None
        return SeriesInfo(self.symbol, total, start, total - start, last, used, appended_at)
