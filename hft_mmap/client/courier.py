"""Brings the batches of a feed to the service, over a WebSocket for each lane, on an event loop.

Batches are sent as fast as the connection takes them, and acknowledged while the next ones go. When a connection ends,
another one is opened, as `Retry` says, and what was not acknowledged goes again, with the same offsets: the service
knows what it has. A message that was refused stops its symbol, see `Outbox.refused`; the others go on.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from http import HTTPStatus
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from hft_mmap.client.dial import Dial
from hft_mmap.client.errors import Misdirected, RequestRefused, ServiceError, Unreachable, refusal_of, refused
from hft_mmap.client.outbox import Lane, Outbox
from hft_mmap.client.retry import ended, unreachable

_TOO_LARGE = 1009
_OF_THE_CALLER = {HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
"""Refusals that are not about the message."""


class Courier:
    """Sends what is in an outbox. Its methods are called on the event loop, but for those of the outbox."""

    def __init__(
        self, outbox: Outbox, dial: Dial, learn: Callable[[], Awaitable[None]], lock: AbstractContextManager[object],
        changed: Callable[[], None],
    ) -> None:  # fmt: skip
        """Have nothing running yet.

        learn: asks the services what they are replicas of. lock: held for each use of the outbox. changed: is called
        with it when something was acknowledged or refused, or is not tried any more.
        """
        self._outbox = outbox
        self._dial = dial
        self._learn = learn
        self._lock = lock
        self._changed = changed
        self._news: dict[Lane, asyncio.Event] = {}
        self._clock_news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look at the time."""
        self._tasks.append(asyncio.create_task(self._cut_the_old()))

    async def stop(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self, lanes: list[Lane], *, clock: bool) -> None:
        """Say that these lanes have something to send; clock: that points wait for more."""
        for lane in lanes:
            if lane not in self._news:
                self._news[lane] = asyncio.Event()
                self._tasks.append(asyncio.create_task(self._serve(lane)))
            self._news[lane].set()
        if clock:
            self._clock_news.set()

    async def _cut_the_old(self) -> None:
        """Make batches of points that have waited long enough, for ever."""
        while True:
            self._clock_news.clear()
            with self._lock:
                wait_s = self._outbox.cut_due()
                woken = self._outbox.take_woken()
            self.wake(woken, clock=False)
            if wait_s is None:
                await self._clock_news.wait()
                wait_s = self._outbox.max_age_s / 4
            await asyncio.sleep(wait_s)

    async def _serve(self, lane: Lane) -> None:
        """Deliver what a lane has, for ever; what ends that is told by the next call of the feed."""
        while True:
            await self._news[lane].wait()
            self._news[lane].clear()
            try:
                await self._deliver(lane)
            except Exception as error:  # noqa: BLE001 - whoever gives points is told, whatever it is
                with self._lock:
                    self._outbox.fail(lane, error)
                    self._changed()

    async def _deliver(self, lane: Lane) -> None:
        """Connect again and again until nothing is left to send; raise why not, once the time to try is over."""
        trip, lane.is_renewed = self._dial.trip(lane.shard), False
        while True:
            with self._lock:
                self._outbox.connected(lane)
                if not lane.waiting:
                    lane.is_asleep = True
                    return
            try:
                if self._dial.shards.unasked():
                    await self._learn()
                url, _ = trip.next()
                connection = await self._dial.open(url, lane.columns)
            except (httpx.TransportError, OSError, WebSocketException) as error:
                failure: ServiceError | Unreachable | None = _failure(error)
            else:
                failure = await self._talk(lane, connection)
                # Something was stored, or a symbol was stopped, however long that took.
                lane.is_renewed = lane.is_renewed or lane.frames > 0 or failure is None
            if lane.is_renewed:
                trip, lane.is_renewed = self._dial.trip(lane.shard), False
            if failure is not None and lane.oldest is not None:
                await asyncio.sleep(trip.pause_s(failure))

    async def _talk(self, lane: Lane, connection: ClientConnection) -> ServiceError | Unreachable | None:
        """Send batches and hear what becomes of them until the connection ends; return why, None for a refused one."""
        sending = asyncio.create_task(self._send(lane, connection))
        failure: ServiceError | Unreachable | None = ended()
        try:
            async with connection:
                with suppress(ConnectionClosed):
                    while True:
                        found = json.loads(await connection.recv())
                        if found["event"] == "ack":
                            self._hear(lane, found)
                        elif found["event"] == "error":
                            failure = self._refused(lane, found)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        if connection.close_code == _TOO_LARGE:
            detail = "a message was larger than the service takes (server.max_body_bytes): give the feed max_points"
            return RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"detail": detail}, None)
        return failure

    async def _send(self, lane: Lane, connection: ClientConnection) -> None:
        """Send batches, for ever."""
        news = self._news[lane]
        while True:
            with self._lock:
                batch = self._outbox.next(lane)
            if batch is None:
                await news.wait()
                news.clear()
            else:
                await connection.send(batch.message())

    def _hear(self, lane: Lane, found: dict[str, Any]) -> None:
        """Take an acknowledgement."""
        sequence = int(found.get("seq", 0))
        with self._lock:
            self._outbox.heard(lane, found)
            if sequence:
                for symbol in found["totals"]:
                    self._dial.shards.note(lane.shard, symbol, sequence)
            self._changed()

    def _refused(self, lane: Lane, found: dict[str, Any]) -> ServiceError | None:
        """Take an error; return it where it is not about a message, and the lane may try again."""
        status = int(found["status"])
        error = refused(status, found)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _OF_THE_CALLER:
            return error
        if isinstance(error, Misdirected):
            self._dial.shards.ask_again(everybody=True)
        with self._lock:
            self._outbox.refused(lane, int(found["frame"]), error)
            self._changed()
        return None


def _failure(error: Exception) -> ServiceError | Unreachable:
    """Return what a connection that was not opened stands for."""
    if isinstance(error, InvalidStatus):
        answer = error.response
        return refusal_of(answer.status_code, bytes(answer.body or b""), answer.reason_phrase, answer.headers)
    return unreachable(error)
