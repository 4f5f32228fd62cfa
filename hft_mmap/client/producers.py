"""Producers: points go in one by one or many at a time, and out in batches, each point exactly once.

A producer knows the `total` of its series, sends it as the offset of each batch, and sends that batch again and again
until it is answered: through broken connections, restarts and kills of the service. It is the only writer of its
symbol while it runs; a second one shows as a Conflict.
"""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from hft_mmap.batch import Prices
from hft_mmap.client.buffer import Buffer, checked
from hft_mmap.client.wire import Added
from hft_mmap.errors import HftMmapError


class _Appends(Protocol):
    """What a producer needs of a client."""

    def append(self, symbol: str, values: Prices, *, offset: int | None = None) -> Added: ...

    def total(self, symbol: str) -> int: ...


class _AppendsAsync(Protocol):
    """What an asynchronous producer needs of a client."""

    async def append(self, symbol: str, values: Prices, *, offset: int | None = None) -> Added: ...

    async def total(self, symbol: str) -> int: ...


class Producer:
    """Sends the points of one symbol in batches; for any number of threads. Use it as a context manager.

    A batch goes out when `max_points` wait, from the thread that gave the last of them, which is how a slow service
    slows its producer down; or when the oldest has waited for `max_age_s`, from a thread of the producer.
    """

    def __init__(
        self, client: _Appends, symbol: str, *, max_points: int = 10_000, max_age_s: float = 0.1,
        offset: int | None = None,
    ) -> None:  # fmt: skip
        """Begin behind what is stored, or at `offset`, the index of the first point that will be given."""
        self.symbol = symbol
        self._client = client
        self._buffer = Buffer(max_points, max_age_s)
        self._total = client.total(symbol) if offset is None else offset
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

    def add(self, value: float) -> None:
        """Give one point; may wait until a batch is acknowledged."""
        self.extend([value])

    def extend(self, values: Prices) -> None:
        """Give some points, in order; may wait until batches are acknowledged.

        InvalidValues if one of them is no price: then none is taken. After any other error all are taken, and go out,
        behind those that came before, with the next call.
        """
        points = checked(values)
        with self._news:
            if self._closed:
                message = f"the producer of {self.symbol} was closed"
                raise ValueError(message)
            self._buffer.put(points)
            self._send(all_points=self._has_failed)
            self._news.notify()

    def flush(self) -> None:
        """Send what waits; return once it is acknowledged."""
        with self._news:
            self._send(all_points=True)

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

    def _send(self, *, all_points: bool) -> None:
        """Send the batches that are full, or all that waits; the caller holds the lock."""
        while self._buffer.has_batch or (all_points and len(self._buffer)):
            self._has_failed = True
            self._total = self._client.append(self.symbol, self._buffer.batch(), offset=self._total).total
            self._has_failed = False
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

    def __init__(
        self, client: _AppendsAsync, symbol: str, *, max_points: int = 10_000, max_age_s: float = 0.1,
        offset: int | None = None,
    ) -> None:  # fmt: skip
        """Prepare to begin behind what is stored, or at `offset`, the index of the first point that will be given."""
        self.symbol = symbol
        self._client = client
        self._buffer = Buffer(max_points, max_age_s)
        self._total = -1 if offset is None else offset
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

    async def add(self, value: float) -> None:
        """Give one point; may wait until a batch is acknowledged."""
        await self.extend([value])

    async def extend(self, values: Prices) -> None:
        """Give some points, in order; see `Producer.extend`."""
        points = checked(values)
        async with self._lock:
            if self._closed:
                message = f"the producer of {self.symbol} is not open"
                raise ValueError(message)
            self._buffer.put(points)
            await self._send(all_points=self._has_failed)
        self._news.set()

    async def flush(self) -> None:
        """Send what waits; return once it is acknowledged."""
        async with self._lock:
            await self._send(all_points=True)

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

    async def _send(self, *, all_points: bool) -> None:
        """Send the batches that are full, or all that waits; the caller holds the lock."""
        while self._buffer.has_batch or (all_points and len(self._buffer)):
            self._has_failed = True
            answer = await self._client.append(self.symbol, self._buffer.batch(), offset=self._total)
            self._has_failed = False
            self._total = answer.total
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
