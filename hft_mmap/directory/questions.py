"""What a store is asked about one symbol or several: each question goes on to the series that it is about."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hft_mmap import shown
from hft_mmap.answers import Passage, Point, Rank, across, across_newest
from hft_mmap.asked import MAX_WINDOW, checked_window
from hft_mmap.by_time import Instant, Lasting, Window, is_time
from hft_mmap.directory.starting import Starting
from hft_mmap.errors import HftMmapError, InvalidSymbol, SeriesBusy, SeriesSetAside, SymbolNotFound
from hft_mmap.named import FIVE, Columns
from hft_mmap.reader import SeriesInfo
from hft_mmap.series import Series
from hft_mmap.span import Span
from hft_mmap.stats import WindowStats
from hft_mmap.ticks import Ticks, Times


class Questions(Starting):
    """The part of a store that is read. Made by `Store`."""

    def stats(self, symbol: str, window: Window) -> WindowStats:
        """Return min, max, last, avg and var of the newest points of `symbol`, or of a time; see `Series.stats`."""
        return self.series(symbol).stats(window)

    def windows(self, symbol: str) -> tuple[WindowStats, ...]:
        """Return the statistics of the eight standard windows of `symbol`, all of one moment."""
        return self.series(symbol).windows()

    def range(self, symbol: str, start: int | Instant, end: int | Instant) -> WindowStats:
        """Return min, max, last, avg and var of the points [start, end) of `symbol`; see `Series.range`."""
        return self.series(symbol).range(start, end)

    def statistics(
        self,
        symbol: str,
        stats: Sequence[str],
        *,
        window: Window | None = None,
        at: int | Instant | None = None,
        start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> dict[str, float | int | None]:
        """Return named statistics of a window or a range of `symbol`; see `Series.statistics`."""
        return self.series(symbol).statistics(stats, window=window, at=at, start=start, end=end)

    def stats_across(
        self,
        symbols: Sequence[str],
        stats: Sequence[str] = FIVE,
        *,
        window: Window | None = None,
        at: int | Instant | None = None,
        start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> Columns:
        """Return columns start, end and `stats` of a window or a range of each of `symbols`, in their order.

        Each series is answered as it stood at one moment of its own. About 1 us a symbol for a window, 4 us else;
        lock-free. Errors of `Series.statistics`: all symbols are answered, or none.
        """
        if isinstance(symbols, str):
            message = f"symbols must be a sequence of symbols, not the text {symbols!r}; write ({symbols!r},)"
            raise InvalidSymbol(message)
        many = [self.series(symbol) for symbol in symbols]
        if window is not None and not is_time(window) and at is start is end is None:
            return across_newest(many, min(checked_window(window), MAX_WINDOW), stats)
        return across([one.part(window=window, at=at, start=start, end=end) for one in many], stats)

    def stats_bars(
        self,
        symbol: str,
        size: int,
        start: int | None = None,
        end: int | None = None,
        *,
        stats: Sequence[str] = FIVE,
    ) -> Columns:
        """Return named statistics of `symbol` in bars of `size` points, as columns; see `Series.stats_bars`."""
        return self.series(symbol).stats_bars(size, start, end, stats=stats)

    def stats_many(self, symbol: str, starts: ArrayLike, ends: ArrayLike, stats: Sequence[str] = FIVE) -> Columns:
        """Return named statistics of many ranges of `symbol`, as columns; see `Series.stats_many`."""
        return self.series(symbol).stats_many(starts, ends, stats)

    def first(
        self,
        symbol: str,
        after: int,
        *,
        above: float | None = None,
        below: float | None = None,
        until: int | None = None,
    ) -> Passage | None:
        """Return the first point of `symbol` behind `after` that meets a barrier; see `Series.first`."""
        return self.series(symbol).first(after, above=above, below=below, until=until)

    def quantile(
        self,
        symbol: str,
        q: Sequence[float],
        *,
        window: Window | None = None,
        start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> tuple[float, ...]:
        """Return exact quantiles of a window or a range of `symbol`; see `Series.quantile`."""
        return self.series(symbol).quantile(q, window=window, start=start, end=end)

    def rank(
        self, symbol: str, value: float, *, window: Window | None = None, start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> Rank:  # fmt: skip
        """Return how many points of `symbol` are below `value`, equal to it and above it; see `Series.rank`."""
        return self.series(symbol).rank(value, window=window, start=start, end=end)

    def time_bars(  # noqa: PLR0913 - those of `Series.time_bars`
        self, symbol: str, every: Lasting, start: int | Instant | None = None, end: int | Instant | None = None, *,
        tz: str | None = None, fill: str = "none", stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return named statistics of `symbol` in bars of a time, as columns; see `Series.time_bars`."""
        return self.series(symbol).time_bars(every, start, end, tz=tz, fill=fill, stats=stats)

    def volume_bars(
        self, symbol: str, volume: float, start: int | Instant | None = None, end: int | Instant | None = None, *,
        stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return named statistics of `symbol` in bars of a volume, as columns; see `Series.volume_bars`."""
        return self.series(symbol).volume_bars(volume, start, end, stats=stats)

    def value_bars(
        self, symbol: str, value: float, start: int | Instant | None = None, end: int | Instant | None = None, *,
        stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return named statistics of `symbol` in bars of a value, as columns; see `Series.value_bars`."""
        return self.series(symbol).value_bars(value, start, end, stats=stats)

    def stats_around(
        self, symbol: str, times: Times, *, before: Lasting | None = None, after: Lasting | None = None,
        stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return named statistics of `symbol` around each of many times, as columns; see `Series.stats_around`."""
        return self.series(symbol).stats_around(times, before=before, after=after, stats=stats)

    def stats_between(self, symbol: str, starts: Times, ends: Times, stats: Sequence[str] = FIVE) -> Columns:
        """Return named statistics of `symbol` between pairs of times, as columns; see `Series.stats_between`."""
        return self.series(symbol).stats_between(starts, ends, stats)

    @overload
    def asof(self, symbol: str, at: int | Instant) -> Point: ...

    @overload
    def asof(self, symbol: str, at: int | Instant, tolerance: Lasting | None) -> Point | None: ...

    def asof(self, symbol: str, at: int | Instant, tolerance: Lasting | None = None) -> Point | None:
        """Return the newest point of `symbol` at or before an index, or a time; see `Series.asof`."""
        return self.series(symbol).asof(at, tolerance)

    def asof_many(self, symbol: str, times: Times, tolerance: Lasting | None = None) -> Columns:
        """Return the newest points of `symbol` at or before each of many times; see `Series.asof_many`."""
        return self.series(symbol).asof_many(times, tolerance)

    def window(self, symbol: str, n: int) -> NDArray[np.float64]:
        """Return the newest `n` points of `symbol`, oldest first, as a read-only array; see `Series.window`."""
        return self.series(symbol).window(n)

    def ticks(self, symbol: str, n: int) -> Ticks:
        """Return the newest `n` points of `symbol` with their times and sizes, oldest first; see `Series.ticks`."""
        return self.series(symbol).ticks(n)

    def span(self, symbol: str, *, last: int | None = None, first: int | None = None, end: int | None = None) -> Span:
        """Return points of `symbol` to be read piece by piece, with no copy; see `Series.span`."""
        return self.series(symbol).span(last=last, first=first, end=end)

    def symbols(
        self, *, prefix: str = "", after: str | None = None, limit: int | None = None,
        where: Callable[[str], bool] | None = None,
    ) -> list[SeriesInfo]:  # fmt: skip
        """Return what is stored for each symbol, in the order of their names. StoreUnusable.

        Of those that begin with `prefix` and come after `after`, the first `limit` for which `where`, given the symbol,
        is true; only these are looked at.
        """
        with self._reading():
            serving = self._serving(prefix, after, where)
            return [series.info() for series in islice((one for one in serving if not one.has_left), limit)]

    def serving(self, *, where: Callable[[str], bool] | None = None) -> Iterator[Series]:
        """Yield each series that serves, in the order of their names, each for one question. StoreUnusable.

        Of those for which `where`, given the symbol, is true. One that nobody has used is opened for reading alone, and
        not kept open.
        """
        with self._reading():
            yield from (one for one in self._serving(where=where) if not one.has_left)

    def _repr_html_(self) -> str | None:
        """Show the first symbols with their prices, in a notebook; None where the store can't be read."""
        try:
            with self._reading():
                found = [(one, one.info()) for one in islice(self._serving(), shown.MOST_SYMBOLS)]
                rows = [(info.symbol, info.count, info.last, one.picture()) for one, info in found]
                return shown.of_store(repr(self), rows, len(self))
        except HftMmapError:
            return None

    def _serving(
        self, prefix: str = "", after: str | None = None, where: Callable[[str], bool] | None = None
    ) -> Iterator[Series]:  # fmt: skip
        """Return the series that serve, in the order of their names; one that is busy when it is met comes later."""
        symbols = self._symbols(prefix)
        later = symbols if after is None else symbols[bisect_right(symbols, after) :]
        return self._serving_of(later if where is None else filter(where, later))

    def _serving_of(self, symbols: Iterable[str]) -> Iterator[Series]:
        """Yield those of `symbols` that serve, in their order."""
        for symbol in symbols:
            with suppress(SymbolNotFound, SeriesSetAside, SeriesBusy):
                yield self._glanced(symbol) or self._find(symbol)
