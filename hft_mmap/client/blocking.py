"""The client for programs that wait for their answers."""

from collections.abc import Generator, Mapping, Sequence
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hft_mmap.answers import Passage, Point, Rank
from hft_mmap.batch import Prices
from hft_mmap.by_time import Instant, Lasting, Window
from hft_mmap.client import questions, wire
from hft_mmap.client.calling import Caller
from hft_mmap.client.feeds import Feed
from hft_mmap.client.outbox import Outbox
from hft_mmap.client.places import lasting
from hft_mmap.client.producers import Producer
from hft_mmap.client.wire import Added, Stats, Updates, Windows
from hft_mmap.named import FIVE, Columns
from hft_mmap.reader import SeriesInfo
from hft_mmap.ticks import Sizes, Ticks, Times
from hft_mmap.tree.buckets import Buckets


class Client(Caller):
    """A connection to a service, for any number of threads. Use it as a context manager, or call `close`.

    Every call is tried again, as `retry` says, where that can do no harm: questions always, batches if they carry an
    `offset`. It raises Unreachable when no answer came in that time, else what `hft_mmap.client` has for a refusal.
    """

    def append(
        self, symbol: str, values: Prices, *, times: Times | None = None, sizes: Sizes | None = None,
        time_unit: str = "ns", offset: int | None = None,
    ) -> Added:  # fmt: skip
        """Append a batch whole or not at all, creating the symbol; times, sizes: one for each value.

        The first batch of a symbol says which of them its points have. times: whole numbers of `time_unit` ("ns",
        "us", "ms", "s") since 1970 UTC, datetime64, or datetimes with a time zone. The sign of a size is the
        aggressor's: + bought, - sold. InvalidTimes, InvalidSizes; RequestRefused for other columns than the series has.

        More than `batch_values` are looked at as a whole, and sent as batches one after the other, each with the offset
        where the one before ended: an error leaves those that came before it stored, `total` says how many points.
        With `offset`, the `total` before it, the batch is stored exactly once however often it had to be sent. Without,
        it is not sent again once it may have arrived. InvalidValues, RequestRefused, Conflict, NoSpace, Unavailable.
        """
        signed = self._negative_prices
        return self._append(
            symbol, wire.batches(values, self._batch_values, times, sizes, time_unit, signed=signed), offset
        )  # fmt: skip

    def append_ticks(self, symbol: str, rows: Ticks, *, offset: int | None = None) -> Added:
        """Append points that are known to be sound, as `ticks` and a producer have them; see `append`."""
        return self._append(symbol, wire.cut(rows, self._batch_values), offset)

    def _append(self, symbol: str, batches: list[Ticks], offset: int | None) -> Added:
        first, *others = batches
        added = self._call(wire.append(symbol, first, offset))
        for batch in others:
            added = added.then(self._call(wire.append(symbol, batch, added.total)))
        return added

    def producer(
        self, symbol: str, *, max_points: int = 10_000, max_age_s: float = 0.1, reorder_s: float = 0.0,
        offset: int | None = None,
    ) -> Producer:  # fmt: skip
        """Return a producer, which sends points of `symbol` in batches, each exactly once; see `Producer`."""
        return Producer(
            self, symbol, max_points=max_points, max_age_s=max_age_s, reorder_s=reorder_s, offset=offset,
            negative_prices=self._negative_prices,
        )  # fmt: skip

    def feed(
        self, *, max_points: int = 10_000, max_age_s: float = 0.1, reorder_s: float = 0.0,
        max_pending: int = 1_000_000, max_pending_bytes: int = 64_000_000, offsets: Mapping[str, int] | None = None,
    ) -> Feed:  # fmt: skip
        """Return a feed, which sends points of many symbols over one WebSocket, each exactly once; see `Feed`.

        A call waits while `max_pending` points, or `max_pending_bytes`, are not acknowledged. A symbol begins where its
        series ends, or at its place in `offsets`, the index of the first point that will be given.
        """
        outbox = Outbox(
            max_points=min(max_points, self._batch_values), max_age_s=max_age_s, reorder_s=reorder_s,
            max_pending=max_pending, max_pending_bytes=max_pending_bytes, signed=self._negative_prices,
        )  # fmt: skip
        return Feed(self, self._dial, self._learn, outbox, offsets)

    def stats(self, symbol: str, window: Window) -> Stats:
        """Return the statistics of the newest `window` points, or of a time, as "5m". NotFound."""
        return self._call(wire.stats(symbol, window))

    def windows(self, symbol: str) -> Windows:
        """Return the statistics of the newest 10, 100, … 100,000,000 points. NotFound."""
        return self._call(wire.windows(symbol))

    def total(self, symbol: str) -> int:
        """Return how many points of `symbol` were ever appended: the offset of the next batch."""
        return self._call(wire.total(symbol))

    def values(
        self, symbol: str, *, last: Window | None = None, first: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> NDArray[np.float64]:  # fmt: skip
        """Return the newest `last` prices, those of [first, end), or all that are kept; oldest first.

        Each may be a time, see `statistics`. NotFound; Conflict if points from `first` are no longer kept or do not
        exist yet.
        """
        return self._points(wire.values(symbol, last, first, end)).whole()

    def columns(self, symbol: str) -> tuple[str, ...]:
        """Return what the points of `symbol` have beside their prices: "times", "sizes", both or nothing. NotFound."""
        return tuple(f"{name}s" for name in self._call(wire.columns(symbol)) if name != "price")

    def ticks(
        self, symbol: str, *, last: Window | None = None, first: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> Ticks:  # fmt: skip
        """Return such points with their times and sizes, None where the series has none; see `values`."""
        columns = self._call(wire.columns(symbol))
        return self._points(wire.values(symbol, last, first, end, columns)).ticks()

    def stream(
        self, symbols: str | Sequence[str], *, windows: Sequence[int] = (), stats: Sequence[str] = (),
        interval_ms: int = 100,
    ) -> Generator[Windows, None, None]:  # fmt: skip
        """Yield the statistics of each of `symbols` now, and again whenever they have changed, until you stop asking.

        windows: their numbers of points, the eight standard windows by default. stats: names of further statistics,
        which stand in `named` of each update. interval_ms: at most so often, from 10 to 60,000. Whoever reads slowly
        gets the newest, never a queue of old ones. When the connection breaks or the service is restarted it goes on by
        itself; Unreachable or Unavailable once that takes longer than `retry` allows. NotFound, RequestRefused,
        Unauthorized.
        """
        return self._stream(wire.stream(symbols, windows, stats, interval_ms), Updates(stats))

    def buckets(
        self, symbol: str, buckets: int = 1_000, *, window: int | None = None, first: int | None = None,
        end: int | None = None,
    ) -> Buckets:  # fmt: skip
        """Return the newest `window` points, those of [first, end), or all that are kept, in that many buckets.

        Their sizes differ by one at most; of fewer points each is a bucket. NotFound, RequestRefused.
        """
        asked = {"window": window, "from": first, "to": end, "buckets": buckets}
        return self._call(wire.buckets(symbol, asked))

    def bars(
        self, symbol: str, size: int, *, window: int | None = None, first: int | None = None, end: int | None = None
    ) -> Buckets:
        """Return such a range in bars of `size` points, which begin at multiples of it. NotFound, RequestRefused."""
        return self._call(wire.buckets(symbol, {"window": window, "from": first, "to": end, "size": size}))

    def series(self, symbol: str) -> SeriesInfo:
        """Return what is stored of `symbol`: its bounds, its newest price, its bytes. NotFound."""
        return self._call(wire.series(symbol))

    def statistics(
        self, symbol: str, stats: Sequence[str], *, window: Window | None = None, at: int | Instant | None = None,
        start: int | Instant | None = None, end: int | Instant | None = None,
    ) -> dict[str, float | int | None]:  # fmt: skip
        """Return the statistics named by `stats` of a window or a range, None where one is undefined.

        Of the newest `window` points, of the window that ends with the point `at`, or of [start, end). Each may be by
        time: the window "5m"; at, start and end RFC 3339, a datetime or datetime64. NotFound,
        Conflict if points of a range are not kept, RequestRefused; InvalidRange where none of them is given.
        """
        return self._call(questions.statistics(symbol, stats, window, at, start, end))

    def stats_across(
        self, symbols: Sequence[str], stats: Sequence[str] = FIVE, *, window: Window | None = None,
        at: int | Instant | None = None, start: int | Instant | None = None, end: int | Instant | None = None,
    ) -> Columns:  # fmt: skip
        """Return such statistics of up to 1,000 symbols, as columns with an entry for each; NaN where undefined."""
        parts = self._parts(symbols)
        asks = [questions.across([symbols[k] for k in part], stats, window, at, start, end) for part in parts]
        return questions.spread(parts, [self._call(ask) for ask in asks])

    def stats_many(self, symbol: str, starts: ArrayLike, ends: ArrayLike, stats: Sequence[str] = FIVE) -> Columns:
        """Return columns start, end and `stats` of each range [starts[k], ends[k]), NaN where one is undefined.

        More than 100,000 ranges are asked for in several requests. NotFound, Conflict, RequestRefused, InvalidRange.
        """
        asks = questions.many(symbol, starts, ends, stats)
        return questions.joined([self._call(ask) for ask in asks])

    def stats_around(
        self, symbol: str, places: Times, *, before: Window | None = None, after: Window | None = None,
        by: str = "time", stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return columns start, end and `stats` of a window around each of `places`, NaN where one is undefined.

        by: "time", in nanoseconds or datetimes, or "index". before, after: how long before and after it, as "1s", both
        ends included; or how many points, around the newest one at or before a time. See `stats_many`.
        """
        asks = questions.around(symbol, places, stats, before, after, by)
        return questions.joined([self._call(ask) for ask in asks])

    def stats_between(self, symbol: str, starts: Times, ends: Times, stats: Sequence[str] = FIVE) -> Columns:
        """Return columns start, end and `stats` of the points of the times [starts[k], ends[k]); see `stats_many`."""
        asks = questions.between(symbol, starts, ends, stats)
        return questions.joined([self._call(ask) for ask in asks])

    def stats_bars(
        self, symbol: str, size: int, start: int | Instant | None = None, end: int | Instant | None = None, *,
        window: Window | None = None, stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return columns start, end and `stats` of the kept points of [start, end) in bars of `size` points.

        Of the newest `window` points in place of that, or of all that are kept; `time` stands before them where there
        are times. 5,000 bars at most. NotFound, Conflict, RequestRefused, InvalidStatistic.
        """
        return self._call(questions.bars(symbol, stats, window, start, end, points=size))

    def time_bars(  # noqa: PLR0913 - all by name but the first four
        self, symbol: str, every: Lasting, start: int | Instant | None = None, end: int | Instant | None = None, *,
        window: Window | None = None, tz: str | None = None, fill: str = "none", stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return columns time, start, end and `stats` of bars of `every`, as "1m"; see `stats_bars`.

        A bar begins at a multiple of `every` since 1970 UTC, or since midnight in `tz`, an IANA name. fill: "none"
        leaves out bars without points; "null" has them, and so has "previous", with the price that held before.
        """
        length = lasting(every, "every")
        return self._call(questions.bars(symbol, stats, window, start, end, every=length, tz=tz, fill=fill))

    def volume_bars(
        self, symbol: str, volume: float, start: int | Instant | None = None, end: int | Instant | None = None, *,
        window: Window | None = None, stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return such columns of bars that end where their absolute sizes add up to `volume`; see `stats_bars`."""
        return self._call(questions.bars(symbol, stats, window, start, end, volume=volume))

    def value_bars(
        self, symbol: str, value: float, start: int | Instant | None = None, end: int | Instant | None = None, *,
        window: Window | None = None, stats: Sequence[str] = FIVE,
    ) -> Columns:  # fmt: skip
        """Return those of bars that end where price times absolute size adds up to `value`."""
        return self._call(questions.bars(symbol, stats, window, start, end, value=value))

    def first(
        self, symbol: str, after: int, *, above: float | None = None, below: float | None = None,
        until: int | None = None,
    ) -> Passage | None:  # fmt: skip
        """Return the first point behind `after` and before `until` that is >= `above` or <= `below`, else None.

        NotFound; Conflict if points behind `after` are no longer kept; RequestRefused.
        """
        return self._call(questions.first(symbol, after, above, below, until))

    def quantile(
        self, symbol: str, q: Sequence[float], *, window: Window | None = None, start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> tuple[float, ...]:  # fmt: skip
        """Return the exact quantiles `q` of the newest `window` points, of [start, end), or of all that are kept.

        Each is a stored price. NotFound, Conflict, RequestRefused.
        """
        return self._call(questions.quantile(symbol, q, window, start, end))

    def rank(
        self, symbol: str, value: float, *, window: Window | None = None, start: int | Instant | None = None,
        end: int | Instant | None = None,
    ) -> Rank:  # fmt: skip
        """Return how many points are below `value`, equal to it and above it; of which points, see `quantile`."""
        return self._call(questions.rank(symbol, value, window, start, end))

    @overload
    def asof(self, symbol: str, at: int | Instant) -> Point: ...

    @overload
    def asof(self, symbol: str, at: int | Instant, tolerance: Lasting | None) -> Point | None: ...

    def asof(self, symbol: str, at: int | Instant, tolerance: Lasting | None = None) -> Point | None:
        """Return the newest point at or before the index or time `at`, None beyond `tolerance`, as "5s". Conflict."""
        return self._call(questions.asof(symbol, at, tolerance))

    def asof_across(
        self, symbols: Sequence[str], at: int | Instant, tolerance: Lasting | None = None
    ) -> dict[str, Point | None]:
        """Return such a point of each of up to 1,000 symbols, all of them or none; see `asof`."""
        parts = self._parts(symbols)
        asks = [questions.asof_across([symbols[k] for k in part], at, tolerance) for part in parts]
        found = {symbol: point for ask in asks for symbol, point in (self._call(ask)).items()}
        return {symbol: found[symbol] for symbol in symbols}

    def asof_many(self, symbol: str, times: Times, tolerance: Lasting | None = None) -> Columns:
        """Return index, time, value, and size where there is one, of the newest point at or before each of `times`.

        Where no point is kept, or none within `tolerance`, index is -1, time 0 and value NaN. More than 100,000 times
        are asked for in several requests. NotFound, RequestRefused, InvalidRange.
        """
        asks = questions.asof_many(symbol, times, tolerance)
        return questions.joined([self._call(ask) for ask in asks])

    def symbols(
        self, *, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> list[SeriesInfo]:  # fmt: skip
        """Return what is stored of each symbol, in the order of their names.

        Of those that begin with `prefix` and come after `after`, the first `limit`, up to 10,000. RequestRefused.
        """
        found = self._each(wire.symbols(prefix, after, limit))
        return sorted((row for rows in found for row in rows), key=lambda row: row.symbol)[:limit]

    def create(self, symbol: str) -> bool:
        """Make `symbol`, with no points; return False if it is there already. RequestRefused where there is no room."""
        return self._call(wire.create(symbol))

    def rename(self, old: str, new: str) -> int:
        """Give the symbol `old` the name `new`; return its total. NotFound, NameTaken, RequestRefused.

        Not repeated where no answer came: the first may have been carried out.
        """
        return self._call(wire.rename(old, new))

    def remove(self, symbol: str) -> None:
        """Remove `symbol` and all its points, for good. NotFound; not repeated where no answer came, as `rename`."""
        self._call(wire.remove(symbol))

    def health(self) -> bool:
        """Return True as soon as the process answers."""
        found = self._each(wire.health())
        return all(found)

    def ready(self) -> list[str]:
        """Return why the service does not serve in full; an empty list if it does."""
        return [reason for reasons in self._each(wire.ready()) for reason in reasons]
