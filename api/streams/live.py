"""Live statistics: who wants to know about which series, and one clock that looks at them for everybody.

At each tick the bounds of the series are read from shared memory, 0.1 us each, so points that another process appended
are seen too. Without subscribers there is no clock, and nothing here is on the way of a batch or a query. What is sent
is made when it is sent: a slow reader gets the newest statistics, and how many it missed, never a queue of old ones.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeAlias

import orjson

from hft_mmap import (
    STANDARD_TIMES,
    STANDARD_WINDOWS,
    ColumnsDiffer,
    HftMmapError,
    Series,
    Store,
    SymbolNotFound,
    WindowStats,
)
from hft_mmap.answers import rows
from hft_mmap.named import FIVE

_MAX_REMEMBERED = 1024
_NEVER_SEEN = (-1, -1)
"""The bounds of no series: one that came in place of another may have the same."""

Windows: TypeAlias = tuple[int | str, ...]
"""Points, or times as "5m"."""

Asked: TypeAlias = tuple[Series, Windows, tuple[str, ...]]
"""A series, its windows, and the statistics beside the five: who asks for the same is told the same bytes."""


class Watched(NamedTuple):
    """One series, the windows of it that are wanted, and which statistics beside the five."""

    series: Series
    windows: Windows
    names: tuple[str, ...] = ()


class Subscriber:
    """One reader: what it watches, what has changed since it was last told, and how much it has missed."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self.due = 0.0
        self.watched: dict[str, Watched] = {}
        self.sent = 0
        self.skipped = 0
        self._seen: dict[str, tuple[int, int]] = {}
        self._changed: dict[str, None] = {}
        self._news = asyncio.Event()

    def watch(self, watched: Watched) -> None:
        """Tell of this series from now on, and at once."""
        symbol = watched.series.symbol
        self.watched[symbol] = watched
        self._seen[symbol] = watched.series.bounds()
        self._changed[symbol] = None
        self._news.set()

    def forget(self, symbol: str) -> None:
        """Tell of this series no more."""
        self.watched.pop(symbol, None)
        self._changed.pop(symbol, None)

    def look(self, again: Callable[[Watched], Watched]) -> None:
        """Note which series have changed; one that its reader has not been told of yet is told of once.

        again: finds what was removed or renamed, and may have been made again since.
        """
        for symbol, watched in list(self.watched.items()):
            series = watched.series
            if series.has_left:
                self.watched[symbol] = again(watched)
                if self.watched[symbol].series is not series:
                    series = self.watched[symbol].series
                    self._seen[symbol] = _NEVER_SEEN
            bounds = series.bounds()
            if bounds != self._seen[symbol]:
                self._seen[symbol] = bounds
                if symbol in self._changed:
                    self.skipped += 1
                else:
                    self._changed[symbol] = None
        if self._changed:
            self._news.set()

    def wake(self) -> None:
        """Let `changed` return, with nothing perhaps."""
        self._news.set()

    async def changed(self) -> list[Watched]:
        """Wait until there is something to tell, and return what."""
        await self._news.wait()
        self._news.clear()
        symbols, self._changed = self._changed, {}
        return [self.watched[symbol] for symbol in symbols if symbol in self.watched]


class Live:
    """The clock of all subscribers, and what is told of each series, made once for all who want the same."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._subscribers: set[Subscriber] = set()
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._made: dict[Asked, tuple[tuple[int, int], bytes]] = {}

    def watched(self, symbol: str, windows: Windows, names: tuple[str, ...] = ()) -> Watched:
        """Return what to watch. Raises SymbolNotFound, SeriesSetAside, InvalidSymbol.

        Also ColumnsDiffer where windows by time are to be told of a series without times, or statistics of columns that
        it has not.
        """
        watched = Watched(self._store.series(symbol), windows, names)
        with suppress(SymbolNotFound):  # it has no point yet, and may have any columns
            watched.series.stats_windows(names or FIVE, windows)
        return watched

    def _again(self, watched: Watched) -> Watched:
        """Return the same of the series that has the symbol now, or what it was where there is none."""
        self._made.clear()  # what left would be kept in memory by it
        with suppress(HftMmapError):
            return watched._replace(series=self._store.series(watched.series.symbol))
        return watched

    def add(self, subscriber: Subscriber) -> None:
        """Let the clock look for `subscriber`, at the same moments as for all others of its interval."""
        self._subscribers.add(subscriber)
        now = asyncio.get_running_loop().time()
        subscriber.due = _next(now, subscriber.interval_s)
        self._wind()

    def remove(self, subscriber: Subscriber) -> None:
        """Look no more; the last one stops the clock."""
        self._subscribers.discard(subscriber)
        if not self._subscribers and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._made.clear()

    def message(self, watched: Watched) -> bytes:
        """Return the JSON that tells how a series stands now."""
        return self.told(watched)[1]

    def told(self, watched: Watched) -> tuple[int, bytes]:
        """Return the total of a series now, and the JSON that tells how it stands there."""
        series, windows, names = watched
        key = (series, windows, names)
        bounds = series.bounds()
        made = self._made.get(key)
        if made is not None and made[0] == bounds:
            return bounds[1], made[1]
        by_window: list[dict[str, float | int | None]]
        lasting = STANDARD_TIMES if windows == STANDARD_WINDOWS and "times" in series.columns else ()
        try:
            if names:
                start, total, by_window = _named(series, (*windows, *lasting), names)
            else:
                start, total, found = series.windows_at((*windows, *lasting))
                by_window = [_fields(stats) for stats in found]
        except (SymbolNotFound, ColumnsDiffer):  # it has no point yet, or is another one, without what was asked for
            (start, total), by_window = bounds, []
        document = {
            "event": "stats",
            "symbol": series.symbol,
            "total": total,
            "count": total - start,
            **(_newest_time(series, total) if by_window else {}),
            "windows": dict(zip(map(str, windows), by_window, strict=False)),
        }
        if lasting and by_window:
            document["by_time"] = dict(zip(lasting, by_window[len(windows) :], strict=True))
        body = orjson.dumps(document)
        if len(self._made) >= _MAX_REMEMBERED:
            self._made.clear()
        self._made[key] = ((start, total), body)
        return total, body

    def _wind(self) -> None:
        loop = asyncio.get_running_loop()
        first = min(subscriber.due for subscriber in self._subscribers)
        if self._timer is not None:
            if self._timer_at <= first:
                return
            self._timer.cancel()
        # What is due already uvloop gives a handle that knows no time.
        self._timer, self._timer_at = loop.call_at(first, self._tick), first

    def _tick(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for subscriber in self._subscribers:
            if subscriber.due <= now:
                subscriber.look(self._again)
                subscriber.due = _next(now, subscriber.interval_s)
        if self._subscribers:
            self._wind()


def _newest_time(series: Series, total: int) -> dict[str, int]:
    """Return the time of the newest point, where points have times."""
    if "times" not in series.columns:
        return {}
    moment = series.moment()
    return {"time": moment.view.time_of(total - 1)} if moment.start < total <= moment.total else {}


def _next(now: float, interval_s: float) -> float:
    """Return the next whole multiple of the interval: so those with the same one share their ticks."""
    return (now // interval_s + 1) * interval_s


def _named(
    series: Series, windows: Windows, names: tuple[str, ...]
) -> tuple[int, int, list[dict[str, float | int | None]]]:
    """Return start, total, and of each window the five and the named statistics."""
    wanted = tuple(dict.fromkeys(FIVE + names))
    start, total, found = series.stats_windows(wanted, windows)
    return start, total, rows({name: found[name] for name in wanted})


def _fields(stats: WindowStats) -> dict[str, float | int | None]:
    return {"min": stats.min, "max": stats.max, "last": stats.last, "avg": stats.avg, "var": stats.var}
