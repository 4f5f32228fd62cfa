"""Producers: points go in one by one or many at a time, and out in batches, each point exactly once.

A producer knows the `total` of its series, sends it as the offset of each batch, and sends that batch again and again
until it is answered: through broken connections, restarts and kills of the service. It is the only writer of its
symbol while it runs; a second one shows as a Conflict.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from hft_mmap.batch import Prices
from hft_mmap.client.buffer import Buffer, checked
from hft_mmap.client.wire import Added
from hft_mmap.errors import HftMmapError
from hft_mmap.ticks import Sizes, Ticks, Times


class _Appends(Protocol):
    """What a producer needs of a client."""

    def append_ticks(self, symbol: str, rows: Ticks, *, offset: int | None = None) -> Added: ...

    def total(self, symbol: str) -> int: ...


class _AppendsAsync(Protocol):
    """What an asynchronous producer needs of a client."""

    async def append_ticks(self, symbol: str, rows: Ticks, *, offset: int | None = None) -> Added: ...

    async def total(self, symbol: str) -> int: ...


class Producer:
    """Sends the points of one symbol in batches; for any number of threads. Use it as a context manager.

    Every point has a time, a size, both or neither, as the first one has. With `reorder_s` points wait for others that
    have earlier times and come so much later, and go out in the order of their times; `late` counts those that came
    later still.

    A batch goes out when `max_points` wait, from the thread that gave the last of them, which is how a slow service
    slows its producer down; or when the oldest has waited for `max_age_s`, from a thread of the producer.
    """

    def __init__(  # noqa: PLR0913 - all by name but the first two
        self, client: _Appends, symbol: str, *, max_points: int = 10_000, max_age_s: float = 0.1,
        reorder_s: float = 0.0, offset: int | None = None, negative_prices: bool = False,
    ) -> None:  # fmt: skip
        """Begin behind what is stored, or at `offset`, the index of the first point that will be given."""
        self.symbol = symbol
        self._client = client
        self._buffer = Buffer(max_points, max_age_s, reorder_s, signed=negative_prices)
        self._signed = negative_prices
        self._total = client.total(symbol) if offset is None else offset
        self.late = 0
        """Points that were stored with a later time than they were given."""
        self._has_failed = False
        self._closed = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._send_the_old, name=f"producer of {symbol}", daemon=True)
        self._thread.start()

    @property
    def total(self) -> int:
        """Points of the series that the service has acknowledged."""
        return self._total

    @property
    def pending(self) -> int:
        """Points given, and not acknowledged yet."""
        return len(self._buffer)

    def add(
        self, value: float, *, time: int | datetime | None = None, size: float | None = None, side: str | None = None
    ) -> None:
        """Give one point; may wait until a batch is acknowledged.

        time: nanoseconds since 1970 UTC, or a datetime with a time zone. size: + bought and - sold, or from 0 beside
        side: "buy" or "sell".
        """
        self._give(lambda: self._buffer.add(value, time, size, side))

    def extend(
        self, values: Prices, *, times: Times | None = None, sizes: Sizes | None = None, time_unit: str = "ns"
    ) -> None:
        """Give some points, in order; may wait until batches are acknowledged.

        times, sizes, time_unit: as of `Client.append`. InvalidValues, InvalidTimes, InvalidSizes if one of them is
        none, ColumnsDiffer if they have other columns than those before them: then none is taken. After any other error
        all are taken, and go out, behind those that came before, with the next call.
        """
        points = checked(values, times, sizes, time_unit, signed=self._signed)
        self._give(lambda: self._buffer.put(points))

    def _give(self, put: Callable[[], None]) -> None:
        with self._news:
            if self._closed:
                message = f"the producer of {self.symbol} was closed"
                raise ValueError(message)
            # PERF: whoever sends the old ones knows when that is; waking it for each point takes 10 us.
            unwatched = self._has_failed or not len(self._buffer)
            put()
            self._send(all_points=self._has_failed)
            if unwatched:
                self._news.notify()

    def flush(self) -> None:
        """Send what waits; return once it is acknowledged."""
        with self._news:
            self._send(all_points=True, ending=True)

    def close(self) -> None:
        """Send what waits, and end; raises what kept it from being sent, and then `pending` points are lost."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join()
        self.flush()

    def __enter__(self) -> Self:
        """Return the producer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send what waits, and end."""
        self.close()

    def _send(self, *, all_points: bool, ending: bool = False) -> None:
        """Send the batches that are full, or all that waits; the caller holds the lock.

        ending: also what waits for points with earlier times.
        """
        while self._buffer.has_batch or (all_points and self._buffer.ready(all_points=ending)):
            self._has_failed = True
            answer = self._client.append_ticks(self.symbol, self._buffer.batch(), offset=self._total)
            self._has_failed = False
            self._total, self.late = answer.total, self.late + answer.late
            self._buffer.sent()

    def _send_the_old(self) -> None:
        """Send batches whose time has come, until the producer is closed; an error is told by the next call."""
        with self._news:
            while not self._closed:
                due_in_s = None if self._has_failed else self._buffer.due_in_s()
                if due_in_s is None or due_in_s > 0:
                    self._news.wait(due_in_s)
                    continue
                with suppress(HftMmapError):
                    self._send(all_points=True)


class AsyncProducer:
    """Sends the points of one symbol in batches; for any number of tasks of one event loop.

    As `Producer`, but `async with` begins and ends it, and its methods are awaited.
    """

    def __init__(  # noqa: PLR0913 - all by name but the first two
        self, client: _AppendsAsync, symbol: str, *, max_points: int = 10_000, max_age_s: float = 0.1,
        reorder_s: float = 0.0, offset: int | None = None, negative_prices: bool = False,
    ) -> None:  # fmt: skip
        """Prepare to begin behind what is stored, or at `offset`, the index of the first point that will be given."""
        self.symbol = symbol
        self._client = client
        self._buffer = Buffer(max_points, max_age_s, reorder_s, signed=negative_prices)
        self._signed = negative_prices
        self._total = -1 if offset is None else offset
        self.late = 0
        """Points that were stored with a later time than they were given."""
        self._has_failed = False
        self._closed = True
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def total(self) -> int:
        """Points of the series that the service has acknowledged."""
        return max(self._total, 0)

    @property
    def pending(self) -> int:
        """Points given, and not acknowledged yet."""
        return len(self._buffer)

    async def add(
        self, value: float, *, time: int | datetime | None = None, size: float | None = None, side: str | None = None
    ) -> None:
        """Give one point; may wait until a batch is acknowledged.

        time: nanoseconds since 1970 UTC, or a datetime with a time zone. size: + bought and - sold, or from 0 beside
        side: "buy" or "sell".
        """
        await self._give(lambda: self._buffer.add(value, time, size, side))

    async def extend(
        self, values: Prices, *, times: Times | None = None, sizes: Sizes | None = None, time_unit: str = "ns"
    ) -> None:
        """Give some points, in order; see `Producer.extend`."""
        points = checked(values, times, sizes, time_unit, signed=self._signed)
        await self._give(lambda: self._buffer.put(points))

    async def _give(self, put: Callable[[], None]) -> None:
        async with self._lock:
            if self._closed:
                message = f"the producer of {self.symbol} is not open"
                raise ValueError(message)
            put()
            await self._send(all_points=self._has_failed)
        self._news.set()

    async def flush(self) -> None:
        """Send what waits; return once it is acknowledged."""
        async with self._lock:
            await self._send(all_points=True, ending=True)

    async def close(self) -> None:
        """Send what waits, and end; raises what kept it from being sent, and then `pending` points are lost."""
        self._closed = True
        self._news.set()
        if self._task is not None:
            await self._task
        await self.flush()

    async def __aenter__(self) -> Self:
        """Ask where the series ends, and begin."""
        if self._total < 0:
            self._total = await self._client.total(self.symbol)
        self._closed = False
        self._task = asyncio.create_task(self._send_the_old())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send what waits, and end."""
        await self.close()

    async def _send(self, *, all_points: bool, ending: bool = False) -> None:
        """Send the batches that are full, or all that waits; the caller holds the lock.

        ending: also what waits for points with earlier times.
        """
        while self._buffer.has_batch or (all_points and self._buffer.ready(all_points=ending)):
            self._has_failed = True
            answer = await self._client.append_ticks(self.symbol, self._buffer.batch(), offset=self._total)
            self._has_failed = False
            self._total, self.late = answer.total, self.late + answer.late
            self._buffer.sent()

    async def _send_the_old(self) -> None:
        """Send batches whose time has come, until the producer is closed; an error is told by the next call."""
        while not self._closed:
            due_in_s = None if self._has_failed else self._buffer.due_in_s()
            if due_in_s is None or due_in_s > 0:
                self._news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), due_in_s)
                continue
            async with self._lock:
                with suppress(HftMmapError):
                    await self._send(all_points=True)
