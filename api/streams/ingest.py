"""The stream that brings points: each message is a batch, and acknowledgements follow as fast as they are read.

Messages need not wait for each other. The frames that are there are stored one after the other; when there is none for
the moment, or after a millisecond, one acknowledgement says how many were taken and where each series ends now. In tier
`sync` it waits for the disk, while further frames are taken: one commit for all of them.

A frame that is refused ends the stream, because the frames behind it were sent by a client that did not know; storing
them would leave a hole that nobody chose. What came before it is acknowledged, then comes the problem, then the close.
"""

import asyncio
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any

import orjson
from falcon import WebSocketDisconnected
from falcon.asgi import WebSocket

from api.access.guard import authorise, check_symbol, symbols_of
from api.access.tokens import READ, WRITE
from api.body.durable import wait_durable
from api.body.patience import Appender, Stored
from api.http.exchange import SEND, STREAM, Scope, Send
from api.http.problems import told
from api.streams.frames import FrameReader
from api.streams.handshake import INGEST, IngestQuery
from hft_mmap import Durability, Store, SymbolNotFound, Ticks

GOING_AWAY = 1001
_FAULT = 1011
REFUSED = 4000  # and the HTTP status of the refusal
_TURN_S = 1e-3


class Ingest:
    """One connection that brings points."""

    def __init__(self, store: Store, scope: Scope, query: IngestQuery, max_values: int, appender: Appender) -> None:
        """Look up where the series ends. Raises SeriesSetAside."""
        self._store = store
        self._appender = appender
        self._scope = scope
        self._symbol = query.symbol
        self._reader = FrameReader(max_values, query.columns)
        self._waits = store.durability is Durability.SYNC
        offset = query.offset
        self._next = _total(store, str(query.symbol)) if isinstance(offset, str) else offset
        self._frames = 0
        self._points = 0
        self._sequence = 0  # of the newest record of the log, where there is one
        self._late = self._latest_ns = 0
        self._ends: dict[str, int] = {}  # where each series ended after the frames that are not acknowledged yet
        self._news = asyncio.Event()
        self._task = asyncio.current_task()
        self._taking = True
        self._interrupted = False

    def end(self) -> None:
        """Ask the stream to end. Frames that were received, but not taken yet, are left to the client."""
        if self._taking and self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def run(self, ws: WebSocket) -> None:
        """Take frames and acknowledge them until either side ends the stream."""
        acknowledging = asyncio.create_task(self._acknowledge())
        acknowledging.add_done_callback(self._end_if_failed)
        code = None
        try:
            fault = await self._taken(ws)
            self._taking = False
            self._news.set()
            try:
                await acknowledging
            except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
                fault = error
            code = GOING_AWAY if fault is None else await self._tell(ws, fault)
            await ws.close(code)
        except WebSocketDisconnected as gone:
            code = gone.code
        finally:
            self._taking = False
            acknowledging.cancel()
            self._scope[STREAM] = {
                "mode": INGEST, "symbol": self._symbol, "code": code, "frames": self._frames, "points": self._points,
            }  # fmt: skip

    async def _taken(self, ws: WebSocket) -> Exception | None:
        """Take frames until one is refused, and return why, or until the stream is asked to end, and return None."""
        try:
            await self._take(ws)
        except asyncio.CancelledError:
            if not self._interrupted or self._task is None:
                raise  # the grace of the stop is over
            self._task.uncancel()
        except WebSocketDisconnected:
            raise
        except Exception as error:  # noqa: BLE001 - the last place where the client can still be told
            return error
        return None

    async def _take(self, ws: WebSocket) -> None:
        """Append one message after the other, for ever."""
        await ws.send_text(await self._hello())
        turn = perf_counter()
        while True:
            message: Any = await ws.receive_media()
            if perf_counter() - turn > _TURN_S:
                await asyncio.sleep(0)
                turn = perf_counter()
                if (revoked := authorise(self._scope, WRITE)) is not None:
                    raise revoked
            if self._symbol is None:
                symbol, values, offset = await self._reader.batch(message)
                check_symbol(self._scope, WRITE, symbol)
            else:
                symbol, values, offset = self._symbol, self._reader.values(message), self._next
            points = len(values.prices if isinstance(values, Ticks) else values)
            total = self._appender.now(self._store, symbol, values, offset)
            if total is None:
                note = partial(self._note, symbol, points)
                await self._appender.patience().append(self._store, symbol, values, offset, note)
            else:
                self._note(symbol, points, total)

    def _note(self, symbol: str, points: int, total: int) -> None:
        """Note that a frame was stored, so that it is acknowledged."""
        if self._next is not None:
            self._next = total
        if isinstance(total, Stored):
            self._sequence = max(self._sequence, total.sequence)
        self._frames += 1
        self._points += points
        if isinstance(total, Stored):
            self._late += total.late
            self._latest_ns = max(self._latest_ns, total.latest_ns)
            total = int(total)
        # A batch that was there already may lie before the end that another frame has reached.
        self._ends[symbol] = max(total, self._ends.get(symbol, 0))
        # PERF: while frames are there, `receive_media` returns without a turn of the loop, so the acknowledging task
        # wakes when there is none for the moment: one acknowledgement for the whole run.
        self._news.set()

    async def _acknowledge(self) -> None:
        """Tell how far the series go, whenever there is news and the client takes it; Refusal (503) if a sync fails."""
        send: Send = self._scope[SEND]
        while self._taking or self._ends:
            await self._news.wait()
            self._news.clear()
            ends, self._ends = self._ends, {}
            frames = self._frames
            if not ends:
                continue
            if self._waits:
                for symbol, total in ends.items():
                    await wait_durable(self._store, symbol, total)
            where: dict[str, object] = {"totals": ends} if self._symbol is None else {"total": ends[self._symbol]}
            if self._sequence:
                where["seq"] = self._sequence
            if self._late:
                where |= {"late": self._late, "latest_ns": self._latest_ns}
            text = orjson.dumps({"event": "ack", "frames": frames, **where}).decode()
            # NOTE: not by way of Falcon, which after a failed send gives out no more messages, and frames that came
            # before the close of a client that does not wait for the last acknowledgement would be lost.
            with suppress(OSError):
                await send({"type": "websocket.send", "text": text})

    def _end_if_failed(self, acknowledging: asyncio.Task[None]) -> None:
        if not acknowledging.cancelled() and acknowledging.exception() is not None:
            self.end()

    async def _tell(self, ws: WebSocket, fault: Exception) -> int:
        """Send the problem; return the close code that goes with it."""
        status, body = told(fault, self._scope, event="error", frame=self._frames + 1)
        await ws.send_text(body.decode())
        return close_code(status)

    async def _hello(self) -> str:
        """Return the first message: what the stream is, and where its series ends."""
        if self._symbol is None:
            # Who may only write is not told which series there are.
            # In a thread, as of many symbols that takes a while; those that it is not told of are not looked at.
            ask = partial(self._store.symbols, where=symbols_of(self._scope, READ))
            told_of = await asyncio.to_thread(ask) if authorise(self._scope, READ) is None else ()
            totals = {info.symbol: info.total for info in told_of}
            where: dict[str, object] = {"totals": totals}
        else:
            total = _total(self._store, self._symbol)
            where = {"symbol": self._symbol, "total": total, "offset": self._next}
        durability = self._appender.durability
        return orjson.dumps({"event": "hello", "mode": INGEST, **where, "durability": durability}).decode()


def close_code(status: HTTPStatus) -> int:
    """Return the code by which a stream is closed whose `error` has this status."""
    return _FAULT if status is HTTPStatus.INTERNAL_SERVER_ERROR else REFUSED + status


def _total(store: Store, symbol: str) -> int:
    """Return the points ever appended to `symbol`; 0 if there is no such series yet."""
    try:
        return store.series(symbol).total
    except SymbolNotFound:
        return 0
