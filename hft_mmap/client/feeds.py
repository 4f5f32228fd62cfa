"""Feeds: points of many symbols go in one by one or many at a time, and over one WebSocket, each exactly once.

As a producer, a feed knows where each series ends, and sends that with every batch; but it waits for no answer before
it sends the next one, and one connection carries all symbols that have the same columns. It is the only writer of its
symbols while it runs; a second one shows as a Conflict.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from hft_mmap.batch import Prices
from hft_mmap.client.buffer import checked
from hft_mmap.client.courier import Courier
from hft_mmap.client.dial import Dial
from hft_mmap.client.errors import ServiceError, Unreachable
from hft_mmap.client.outbox import Lane, Line, Outbox
from hft_mmap.ticks import Sizes, Ticks, Times


class _Totals(Protocol):
    """What a feed needs of a client."""

    def total(self, symbol: str) -> int: ...


class _TotalsAsync(Protocol):
    """What an asynchronous feed needs of a client."""

    async def total(self, symbol: str) -> int: ...


class _Told(ABC):
    """What both feeds tell of themselves, and what they do without waiting."""

    def __init__(self, outbox: Outbox, dial: Dial, offsets: Mapping[str, int] | None) -> None:
        self._outbox = outbox
        self._dial = dial
        self._offsets = dict(offsets or {})
        self._closed = False

    @property
    def totals(self) -> Mapping[str, int]:
        """Points of each series that the service has acknowledged."""
        return {line.symbol: line.total for line in list(self._outbox.lines.values())}

    @property
    def pending(self) -> int:
        """Points given, and not acknowledged yet; without those of symbols that were refused."""
        return self._outbox.pending

    @property
    def late(self) -> int:
        """Points that were stored with a later time than they were given."""
        return self._outbox.late

    def _check(self, line: Line | None = None) -> None:
        """Raise what is to be told before anything is taken; the caller holds the lock."""
        if self._closed:
            message = "the feed is not open"
            raise ValueError(message)
        if line is not None and line.refused is not None:
            raise line.refused.again()
        self._check_connections()

    def _check_connections(self) -> None:
        """Raise why a connection is not tried any more, once; it is tried again from then on."""
        if (failure := self._outbox.failed()) is not None:
            self._outbox.retry()
            self._wake()
            raise failure

    def _check_delivered(self) -> None:
        """Raise what kept points from being stored."""
        self._check_connections()
        for refused in self._outbox.refusals.values():
            raise refused.again()

    def _wake(self) -> None:
        """Tell the courier what there is to do."""
        outbox = self._outbox
        clock = outbox.clock_is_asleep and outbox.is_aging
        if outbox.woken or clock:
            outbox.clock_is_asleep = outbox.clock_is_asleep and not clock
            self._tell(outbox.take_woken(), clock=clock)

    def _send_all(self) -> int:
        """Have everything sent; return the number of the last batch."""
        self._outbox.retry()
        self._outbox.cut_all(ending=True)
        self._wake()
        return self._outbox.serial

    @abstractmethod
    def _tell(self, woken: list[Lane], *, clock: bool) -> None:
        """Tell the courier which lanes to wake, and whether to look at the time."""

    def _begin(self, symbol: str, total: int) -> Line:
        """Begin a symbol at `total`. Unreachable where nobody has said which shard it is of."""
        shards = self._dial.shards
        shard = shards.shard_of(symbol) if shards.are_many else None
        if shards.are_many and shard is None:
            message = f"no replica of the shard of {symbol} answers"
            raise Unreachable(message)
        self._offsets.pop(symbol, None)  # whoever takes points back begins where the series ends
        return self._outbox.open(symbol, total, shard)


class Feed(_Told):
    """Sends the points of many symbols in batches over one WebSocket; for any number of threads.

    Use it as a context manager. Every point of a symbol has a time, a size, both or neither, as the first one has; each
    such set of columns has a connection of its own. A batch goes out when `max_points` of a symbol wait, or when the
    oldest has waited for `max_age_s`, from a thread of the feed, and no call waits for its answer: only while
    `max_pending` points, or `max_pending_bytes`, are not acknowledged, calls wait, which is how a slow service slows
    its feed down.

    What a call raises it has not taken. A batch that the service refuses stops its symbol, and that one alone: from
    then on calls of the symbol raise the refusal, as do `flush` and `close`, until `take_back` has given its points
    back.
    """

    def __init__(
        self, client: _Totals, dial: Dial, learn: Callable[[], None], outbox: Outbox, offsets: Mapping[str, int] | None
    ) -> None:  # fmt: skip
        """Begin each symbol behind what is stored, or at its place in `offsets`; see `Client.feed`."""
        super().__init__(outbox, dial, offsets)
        self._client = client
        self._learn = learn
        self._news = threading.Condition()
        self._opening = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._courier = Courier(
            outbox, dial, partial(asyncio.to_thread, learn), self._news, self._news.notify_all
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def add(
        self, symbol: str, value: float, *, time: int | datetime | None = None, size: float | None = None,
        side: str | None = None,
    ) -> None:  # fmt: skip
        """Give one point; see `Producer.add`, and `extend` for what it raises."""
        line = self._outbox.lines.get(symbol) or self._opened(symbol)
        with self._news:
            self._make_room(line)
            self._outbox.add(line, value, time, size, side)
            self._wake()

    def extend(
        self, symbol: str, values: Prices, *, times: Times | None = None, sizes: Sizes | None = None,
        time_unit: str = "ns",
    ) -> None:  # fmt: skip
        """Give some points of a symbol, in order; may wait until others are acknowledged.

        times, sizes, time_unit: as of `Client.append`. InvalidValues, InvalidTimes, InvalidSizes if one of them is
        none, ColumnsDiffer if they have other columns than those before them; the refusal of a batch of this symbol
        that went before; once after each time that was spent in vain on a connection, why. Then none is taken.
        """
        points = checked(values, times, sizes, time_unit, signed=self._outbox.signed)
        line = self._outbox.lines.get(symbol) or self._opened(symbol)
        with self._news:
            self._make_room(line)
            self._outbox.put(line, points)
            self._wake()

    def flush(self) -> None:
        """Send what waits; return once everything that was given before is acknowledged.

        Raises why not: the first refusal of a symbol that is stopped, after all others were acknowledged; or what
        keeps a connection from being made, and then the points stay.
        """
        with self._news:
            if self._closed:
                self._check()
            self._deliver()

    def refusals(self) -> Mapping[str, ServiceError]:
        """Return the symbols of which a batch was refused, and why."""
        with self._news:
            return self._outbox.refusals

    def take_back(self, symbol: str) -> Ticks | None:
        """Return the points of a refused batch of `symbol` and all that were given behind it; None where none was.

        They are not in the feed any more. The symbol is as one that was never given: it begins where its series ends.
        """
        with self._news:
            return self._outbox.take_back(symbol)

    def close(self) -> None:
        """Send what waits, and end; raises what kept it from being stored, and then those points are lost."""
        with self._news:
            if self._closed:
                return
            self._closed = True
            self._news.notify_all()
        try:
            with self._news:
                self._deliver()
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def __enter__(self) -> Self:
        """Return the feed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send what waits, and end."""
        self.close()

    def _opened(self, symbol: str) -> Line:
        """Return a symbol that is given for the first time."""
        with self._news:
            self._check()
        with self._opening:
            line = self._outbox.lines.get(symbol)
            if line is None:
                offset = self._offsets.get(symbol)
                if offset is None:
                    offset = self._client.total(symbol)
                else:
                    self._learn()
                with self._news:
                    line = self._begin(symbol, offset)
            return line

    def _make_room(self, line: Line) -> None:
        """Wait until there is room for more; the caller holds the lock."""
        self._check(line)
        while self._outbox.is_full:
            self._outbox.cut_all()
            self._wake()
            self._news.wait()
            self._check(line)

    def _deliver(self) -> None:
        """Send what waits, and wait until it is acknowledged; the caller holds the lock."""
        last = self._send_all()
        while self._outbox.failed() is None and not self._outbox.is_delivered(last):
            self._news.wait()
        self._check_delivered()

    def _tell(self, woken: list[Lane], *, clock: bool) -> None:
        self._loop.call_soon_threadsafe(partial(self._courier.wake, woken, clock=clock))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._work())

    async def _work(self) -> None:
        self._courier.start()
        await self._stop.wait()
        await self._courier.stop()


class AsyncFeed(_Told):
    """Sends the points of many symbols in batches over one WebSocket; for any number of tasks of one event loop.

    As `Feed`, but `async with` begins and ends it, and its methods are awaited.
    """

    def __init__(
        self, client: _TotalsAsync, dial: Dial, learn: Callable[[], Awaitable[None]], outbox: Outbox,
        offsets: Mapping[str, int] | None,
    ) -> None:  # fmt: skip
        """Prepare to begin each symbol behind what is stored, or at its place in `offsets`; see `AsyncClient.feed`."""
        super().__init__(outbox, dial, offsets)
        self._client = client
        self._learn = learn
        self._news = asyncio.Event()
        self._opening = asyncio.Lock()
        self._seen = 0
        self._closed = True
        self._courier = Courier(outbox, dial, learn, nullcontext(), self._changed)

    async def add(
        self, symbol: str, value: float, *, time: int | datetime | None = None, size: float | None = None,
        side: str | None = None,
    ) -> None:  # fmt: skip
        """Give one point; see `Feed.add`."""
        line = await self._ready(symbol)
        self._outbox.add(line, value, time, size, side)
        self._wake()

    async def extend(
        self, symbol: str, values: Prices, *, times: Times | None = None, sizes: Sizes | None = None,
        time_unit: str = "ns",
    ) -> None:  # fmt: skip
        """Give some points of a symbol, in order; see `Feed.extend`."""
        points = checked(values, times, sizes, time_unit, signed=self._outbox.signed)
        line = await self._ready(symbol)
        self._outbox.put(line, points)
        self._wake()

    async def flush(self) -> None:
        """Send what waits; return once everything that was given before is acknowledged; see `Feed.flush`."""
        if self._closed:
            self._check()
        await self._deliver()

    def refusals(self) -> Mapping[str, ServiceError]:
        """Return the symbols of which a batch was refused, and why."""
        return self._outbox.refusals

    def take_back(self, symbol: str) -> Ticks | None:
        """Return the points of a refused batch and all that were given behind it; see `Feed.take_back`."""
        return self._outbox.take_back(symbol)

    async def close(self) -> None:
        """Send what waits, and end; raises what kept it from being stored, and then those points are lost."""
        if self._closed:
            return
        self._closed = True
        self._changed()
        try:
            await self._deliver()
        finally:
            await self._courier.stop()

    async def __aenter__(self) -> Self:
        """Begin."""
        self._closed = False
        self._courier.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send what waits, and end."""
        await self.close()

    async def _ready(self, symbol: str) -> Line:
        """Return a symbol, once there is room for more of its points."""
        if self._outbox.serial != self._seen:  # whoever gives points all the time lets them be sent
            self._seen = self._outbox.serial
            await asyncio.sleep(0)
        line = self._outbox.lines.get(symbol) or await self._opened(symbol)
        self._check(line)
        while self._outbox.is_full:
            self._outbox.cut_all()
            self._wake()
            await self._news.wait()
            self._check(line)
        return line

    async def _opened(self, symbol: str) -> Line:
        """Return a symbol that is given for the first time."""
        self._check()
        async with self._opening:
            line = self._outbox.lines.get(symbol)
            if line is None:
                offset = self._offsets.get(symbol)
                if offset is None:
                    offset = await self._client.total(symbol)
                else:
                    await self._learn()
                line = self._begin(symbol, offset)
            return line

    async def _deliver(self) -> None:
        """Send what waits, and wait until it is acknowledged."""
        last = self._send_all()
        while self._outbox.failed() is None and not self._outbox.is_delivered(last):
            await self._news.wait()
        self._check_delivered()

    def _changed(self) -> None:
        """Wake everybody who waits."""
        self._news.set()
        self._news = asyncio.Event()

    def _tell(self, woken: list[Lane], *, clock: bool) -> None:
        self._courier.wake(woken, clock=clock)
