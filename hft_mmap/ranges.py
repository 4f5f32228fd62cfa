"""What a series answers of any range of its points; the arithmetic is that of `answers.py`."""

import math
from collections.abc import Sequence
from typing import overload

from numpy.typing import ArrayLike

from hft_mmap import answers, asof, by_time, candles, searches
from hft_mmap.answers import Passage, Point, Rank
from hft_mmap.asked import MAX_WINDOW, asked_of, between, bounds, checked_index, checked_window, is_index
from hft_mmap.by_time import Instant, Lasting, Window
from hft_mmap.errors import SymbolNotFound
from hft_mmap.moment import Moment
from hft_mmap.named import FIVE, Columns
from hft_mmap.reader import Reader, window_stats
from hft_mmap.stats import STANDARD_WINDOWS, WindowStats
from hft_mmap.ticks import Times
from hft_mmap.tree.fold import fold_between
from hft_mmap.tree.passage import NOWHERE, UNANSWERED, find_between


class Ranges(Reader):
    """The part of a series that answers any range. Made by `Series`; safe to use from any number of threads."""

    def moment(self) -> Moment:
        """Return the series as it stands now."""
        return Moment(self.symbol, *self._snapshot())

    def part(
        self, *, window: Window | None = None, at: int | Instant | None = None, start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> tuple[Moment, int, int]:  # fmt: skip
        """Return the series as it stands now, and the bounds [lo, hi) of what is asked for; see `statistics`."""
        moment = self.moment()
        return moment, *bounds(moment, window, at, start, end)

    def range(self, start: int | Instant, end: int | Instant) -> WindowStats:
        """Return the statistics of the points [start, end), wherever they lie.

        O(log N + chunks), lock-free. InvalidRange unless 0 <= start < end, whole numbers; OutOfRange where
        a point of it is not kept, or not there yet: a part of it would be another answer. By time, as RFC 3339, a
        datetime or datetime64, it has the points of that time or later, before that of `end`.
        """
        # PERF: what is plainly a kept range needs no further look, which would take longer than the fold.
        if type(start) is type(end) is int and 0 <= start < end <= MAX_WINDOW:
            view = self._view  # what has the addresses must stay until the call has ended, as in `stats`
            _alive, total_address = self._bounds
            found = fold_between(view.address, total_address, start, end)
            if found[5]:
                return window_stats(found)
        if is_index(start) and is_index(end):
            for name, place in (("start", start), ("end", end)):
                checked_index(name, place)  # neither may be left out
        found = self._folded(between(start, end), None, None, start, end)[1]
        return window_stats((*found[2:7], found[1] - found[0]))

    def statistics(
        self,
        stats: Sequence[str],
        *,
        window: Window | None = None,
        at: int | Instant | None = None,
        start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> dict[str, float | int | None]:
        """Return the statistics named by `stats` (see STATISTICS), None where one is undefined, all of one moment.

        Of the newest `window` points, or those of them that are kept; of the window that ends with the point `at`; of
        [start, end); or of all that are kept. Each may be by time: the window "5m" has the points in (T - 5m, T], T
        being `at` or the time of the newest point; at, start and end are RFC 3339, a datetime or datetime64, and of a
        window by time `at` may be nanoseconds. O(log N + chunks), lock-free; those of a path (`named.PATHS`) read every
        point, 2 to 40 ns each, with the GIL released, and so wherever statistics are named. InvalidStatistic,
        InvalidWindow, InvalidRange, InvalidTimes, OutOfRange, ColumnsDiffer where there are no times, SymbolNotFound.
        """
        view, found = self._folded(asked_of(window, at, start, end), window, at, start, end)
        return answers.of_found(self.symbol, view, found, stats)

    def stats_windows(
        self, stats: Sequence[str] = FIVE, windows: Sequence[Window] = STANDARD_WINDOWS
    ) -> tuple[int, int, Columns]:
        """Return start, total, and columns start, end and `stats` of the newest `windows`, all of one moment.

        Each is points, or a time as in `statistics`; one larger than what is kept gives all of it. O(n log N),
        lock-free. InvalidStatistic, InvalidWindow, ColumnsDiffer; SymbolNotFound while nothing was ever appended.
        """
        moment = self.moment()
        if moment.start == moment.total:
            raise SymbolNotFound(self.symbol)
        asked: list[Window] = [one if by_time.is_time(one) else checked_window(one) for one in windows]
        return moment.start, moment.total, answers.newest(moment, asked, stats)

    def stats_bars(
        self, size: int, start: int | None = None, end: int | None = None, *, stats: Sequence[str] = FIVE
    ) -> Columns:
        """Return columns start, end and `stats` of the kept points of [start, end) in bars of `size` points.

        A bar begins at a multiple of `size`, as those of `bars` do; only the first and the last may have fewer. Points
        that are not kept, or not there yet, are left out, so there may be none. O(n log N), lock-free, GIL released.
        InvalidRange unless 0 <= start <= end and size >= 1; InvalidStatistic.
        """
        moment = self.moment()
        asked = (0 if start is None else start, moment.total if end is None else end)
        return answers.bars(moment, asked, size, stats)

    def stats_many(self, starts: ArrayLike, ends: ArrayLike, stats: Sequence[str] = FIVE) -> Columns:
        """Return columns start, end and `stats` of each range [starts[k], ends[k]), all of one moment.

        starts, ends: rows of whole numbers of one length n. The columns have n entries, NaN where a statistic is
        undefined. O(n log N), about 1 us a range whatever its length, lock-free, with the GIL released; those of a path
        (`named.PATHS`) read every point. Errors as `range`, naming the first range that is wrong; InvalidStatistic.
        """
        return answers.many(self.moment(), starts, ends, stats)

    def first(
        self, after: int, *, above: float | None = None, below: float | None = None, until: int | None = None
    ) -> Passage | None:
        """Return the first point after index `after` and before `until` that is >= `above` or <= `below`, else None.

        O(log N + chunks), lock-free. InvalidRange where no barrier is given or the two meet; OutOfRange where points
        after `after` are no longer kept, as one of them may have been the first.
        """
        high = math.inf if above is None else above
        low = -math.inf if below is None else below
        end = MAX_WINDOW if until is None else until
        # PERF: as in `range`; what is not plainly right, or infinite, is looked at below.
        if (
            type(after) is type(end) is int and 0 <= after < MAX_WINDOW and 0 <= end <= MAX_WINDOW
            and type(high) is type(low) is float and low < high
            and (low > -math.inf or below is None) and (high < math.inf or (above is None and below is not None))
        ):  # fmt: skip
            view = self._view
            _alive, total_address = self._bounds
            found, value = find_between(view.address, total_address, after + 1, end, high, low)
            if found == NOWHERE:
                return None
            if found != UNANSWERED:
                return Passage(found, value, "above" if value >= high else "below")
        return searches.first(self.moment(), after, above=above, below=below, until=until)

    def quantile(
        self, q: Sequence[float], *, window: Window | None = None, start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> tuple[float, ...]:  # fmt: skip
        """Return the exact quantiles `q` of the newest `window` points, of [start, end), or of all that are kept.

        Each is a stored value, the least one such that at least the share q of the points are up to it: 0 gives the
        minimum, 1 the maximum. Lock-free, with the GIL released; milliseconds for 1e8 points that wander, up to a few
        readings of all of them for white noise. InvalidRange unless each q is from 0 to 1; errors of `statistics`.
        """
        return searches.quantiles(*self.part(window=window, start=start, end=end), q)

    def rank(
        self, value: float, *, window: Window | None = None, start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> Rank:  # fmt: skip
        """Return how many points are below `value`, equal to it and above it; of which points, see `quantile`."""
        return searches.rank(*self.part(window=window, start=start, end=end), value)

    def time_bars(
        self, every: Lasting, start: int | Instant | None = None, end: int | Instant | None = None, *,
        tz: str | None = None, fill: str = "none", stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return columns time, start, end and `stats` of the kept points of [start, end) in bars of `every`, as "1m".

        A bar begins, at `time` in nanoseconds since 1970, at a multiple of `every` since 1970 UTC; with `tz`, an IANA
        name as "Europe/Berlin", where the clock there shows a multiple since midnight, over its changes as well. start
        and end are indexes or times; only the first and the last bar may lack points of theirs. fill: "none" leaves out
        bars without points; "null" and "previous" have them, from `start` to `end` where these are times. Of those
        start is end, count and volumes are 0, and all else is NaN; with "previous" the prices (min, max, first, last,
        avg) are the price that held when the bar began. O(n log N), GIL released; what `statistics` says of paths.
        InvalidWindow, InvalidRange, InvalidStatistic, ColumnsDiffer, SymbolNotFound.
        """
        moment = self.moment()
        cut = candles.cut_by_clock(moment, every, start, end, tz=tz, fill=fill)
        return candles.folded(moment, cut, stats)

    def volume_bars(
        self, volume: float, start: int | Instant | None = None, end: int | Instant | None = None, *,
        stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return columns start, end and `stats` of the kept points of [start, end) in bars of so much volume.

        A bar ends with the point with which the sum of its absolute sizes reaches `volume`; the last one may not. They
        are counted from the first point of the range on, so the same start gives the same bars. `time` stands before
        them where there are times: that of the first point. Every size is read, 5 ns each, with the GIL released.
        InvalidRange unless `volume` is above 0; ColumnsDiffer, InvalidStatistic, SymbolNotFound.
        """
        moment = self.moment()
        return candles.folded(moment, candles.cut_by_sizes(moment, volume, start, end), stats)

    def value_bars(
        self, value: float, start: int | Instant | None = None, end: int | Instant | None = None, *,
        stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return what `volume_bars` does, of bars that end where price times absolute size adds up to `value`."""
        moment = self.moment()
        return candles.folded(moment, candles.cut_by_sizes(moment, value, start, end, by_value=True), stats)

    def stats_around(
        self, times: Times, *, before: Lasting | None = None, after: Lasting | None = None,
        stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return columns start, end and `stats` of the points in [t - before, t + after] for each t of `times`.

        times: whole nanoseconds since 1970, datetime64, or datetimes with a time zone. A window without a point has
        start = end, and what `time_bars` says of empty bars. One that ends behind the newest point has what is there so
        far; one that may have had points that are no longer kept is OutOfRange. Otherwise as `stats_many`.
        """
        moment = self.moment()
        wanted = answers.wanted_of(moment, stats)
        lo, hi = by_time.many_around(moment, times, before, after)
        return Columns({"start": lo, "end": hi} | candles.of_any(moment, lo, hi, wanted))

    def stats_between(self, starts: Times, ends: Times, stats: Sequence[str] = FIVE) -> Columns:
        """Return columns start, end and `stats` of the points in [starts[k], ends[k]), times; see `stats_around`."""
        moment = self.moment()
        wanted = answers.wanted_of(moment, stats)
        lo, hi = by_time.many_between(moment, starts, ends)
        return Columns({"start": lo, "end": hi} | candles.of_any(moment, lo, hi, wanted))

    @overload
    def asof(self, at: int | Instant) -> Point: ...

    @overload
    def asof(self, at: int | Instant, tolerance: Lasting | None) -> Point | None: ...

    def asof(self, at: int | Instant, tolerance: Lasting | None = None) -> Point | None:
        """Return the newest point at or before index `at`, or the time `at`; OutOfRange if it is no longer kept.

        With a `tolerance`, as "5s", None where no point lies so shortly before the time `at`, or at it. InvalidRange
        for an index behind the newest point where the series has times: nanoseconds are written "5ns". O(1) by index,
        O(log N) by time; lock-free.
        """
        return asof.asof(self.moment(), at, tolerance)

    def asof_many(self, times: Times, tolerance: Lasting | None = None) -> Columns:
        """Return index, time, value, and size where there is one, of the newest point at or before each of `times`.

        times: as in `stats_around`. Where no point is kept, or none within `tolerance`, index is -1, time 0 and value
        NaN. O(n log N), less for times in order; lock-free, GIL released. InvalidRange, InvalidWindow, ColumnsDiffer.
        """
        return asof.many(self.moment(), times, tolerance)
