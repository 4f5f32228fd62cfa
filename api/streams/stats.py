"""The WebSocket that sends statistics: what it watches stands in its query, or comes in messages later."""

import asyncio

import orjson
from falcon import WebSocketDisconnected
from falcon.asgi import WebSocket

from api.access.guard import authorise, check_symbol
from api.access.tokens import READ
from api.http.exchange import STREAM, Scope
from api.http.problems import told
from api.http.query import MAX_NAME_CHARS, bad_query
from api.operation.turns import Turns
from api.streams.handshake import MAX_SYMBOLS, STATS, StatsQuery, check_paths, check_windows, too_many_symbols
from api.streams.ingest import GOING_AWAY, close_code
from api.streams.live import Live, Subscriber
from hft_mmap import STANDARD_WINDOWS, InvalidStatistic, InvalidWindow
from hft_mmap.by_time import duration_ns
from hft_mmap.named import checked_names

MAX_CONTROL_BYTES = 4096
"""The longest message of a client: the connection ends (1009) with the head of a frame that makes one longer."""
MAX_LISTED_WINDOWS = 64
"""Windows in one message, those that are given twice among them: counted before anything looks at each."""

MAX_LISTED_NAMES = 64
"""Names of statistics in one message, likewise."""

_SUBSCRIBE, _UNSUBSCRIBE = {"subscribe", "windows", "stats"}, {"unsubscribe"}


class Statistics:
    """One connection that is sent statistics."""

    def __init__(self, live: Live, scope: Scope, query: StatsQuery) -> None:
        """Find the series. Raises SymbolNotFound, SeriesSetAside."""
        self._live = live
        self._scope = scope
        self._subscriber = Subscriber(query.interval_ms / 1000)
        for symbol in query.symbols:
            self._subscriber.watch(live.watched(symbol, query.windows, query.names))
        self._stopping = False

    def end(self) -> None:
        """Ask the stream to end."""
        self._stopping = True
        self._subscriber.wake()

    async def run(self, ws: WebSocket) -> None:
        """Send what has changed until either side ends the stream."""
        subscriber = self._subscriber
        listening = asyncio.create_task(self._listen(ws))
        listening.add_done_callback(self._hear)
        self._live.add(subscriber)
        code: int | None = None
        try:
            try:
                code = await self._send(ws, listening)
            except WebSocketDisconnected:
                raise
            except Exception as error:  # noqa: BLE001 - the last place where the client can still be told
                code = await self._tell(ws, error)
            await ws.close(code)
        except WebSocketDisconnected as gone:
            code = gone.code
        finally:
            self._live.remove(subscriber)
            listening.cancel()
            self._scope[STREAM] = {
                "mode": STATS, "code": code, "sent": subscriber.sent, "skipped": subscriber.skipped,
            }  # fmt: skip

    def _hear(self, listening: "asyncio.Task[None]") -> None:
        if not listening.cancelled():
            listening.exception()  # or asyncio complains that nobody asked, where the stream ends for another reason
        self._subscriber.wake()

    async def _send(self, ws: WebSocket, listening: "asyncio.Task[None]") -> int:
        """Send until asked to end; return the close code."""
        while True:
            changed = await self._subscriber.changed()
            if self._stopping:
                return GOING_AWAY
            if listening.done():
                listening.result()
            if (revoked := authorise(self._scope, READ)) is not None:
                raise revoked
            turns = Turns()
            for watched in changed:
                # NOTE: this waits while the client does not read; what changes meanwhile is told of once, afterwards.
                await ws.send_text(self._live.message(watched).decode())
                self._subscriber.sent += 1
                await turns.give_way()

    async def _tell(self, ws: WebSocket, fault: Exception) -> int:
        """Send the problem; return the close code that goes with it."""
        status, body = told(fault, self._scope, event="error")
        await ws.send_text(body.decode())
        return close_code(status)

    async def _listen(self, ws: WebSocket) -> None:
        """Take what the client asks for; what is wrong with it is told, and the stream goes on."""
        while True:
            message = await ws.receive_media()
            # Not told to it: the stream ends, and a token that is no more learns nothing by asking on.
            if (revoked := authorise(self._scope, READ)) is not None:
                raise revoked
            try:
                self._obey(message)
            except Exception as error:
                if isinstance(error, WebSocketDisconnected):
                    raise
                await ws.send_text(told(error, self._scope, event="error")[1].decode())
            await asyncio.sleep(0)

    def _obey(self, message: object) -> None:
        try:
            asked = orjson.loads(message) if isinstance(message, str) else None
        except orjson.JSONDecodeError:
            asked = None
        if isinstance(asked, dict) and asked.keys() == _UNSUBSCRIBE:
            self._subscriber.forget(str(asked["unsubscribe"]))
            return
        if not isinstance(asked, dict) or "subscribe" not in asked or not asked.keys() <= _SUBSCRIBE:
            raise bad_query(
                'Send {"subscribe":"ABC-USD","windows":[1000],"stats":["std"]}, without windows or stats perhaps, or '
                '{"unsubscribe":"ABC-USD"}, as text'
            )
        windows = _windows(asked.get("windows", list(STANDARD_WINDOWS)))
        names = _names(asked["stats"]) if "stats" in asked else ()
        check_paths(windows, names)
        check_symbol(self._scope, READ, str(asked["subscribe"]))
        watched = self._live.watched(str(asked["subscribe"]), windows, names)
        symbols = self._subscriber.watched.keys() | {watched.series.symbol}
        if len(symbols) > MAX_SYMBOLS:
            raise too_many_symbols(len(symbols))
        self._subscriber.watch(watched)


def _is_window(one: object) -> bool:
    """Say whether it may be a window; whether a text is a time is looked at later."""
    return type(one) is str or (type(one) is int and one > 0)


def _windows(asked: object) -> tuple[int | str, ...]:
    """Return the windows that a message lists. Raises Refusal (400), InvalidWindow."""
    if isinstance(asked, list) and len(asked) > MAX_LISTED_WINDOWS:
        raise bad_query(f"{len(asked)} windows; a message lists at most {MAX_LISTED_WINDOWS}: leave some out")
    if not isinstance(asked, list) or not asked or not all(map(_is_window, asked)):
        raise InvalidWindow(f'windows must be whole numbers from 1, or times such as "5m", not {str(asked)[:80]}')
    for window in asked:
        if isinstance(window, str):
            duration_ns(window, "windows")
    return check_windows(asked)


def _names(asked: object) -> tuple[str, ...]:
    """Return the statistics that a message lists. Raises Refusal (400), InvalidStatistic."""
    if isinstance(asked, list) and len(asked) > MAX_LISTED_NAMES:
        raise bad_query(f"{len(asked)} stats; a message lists at most {MAX_LISTED_NAMES}: leave some out")
    if not isinstance(asked, list) or any(not isinstance(name, str) for name in asked):
        raise InvalidStatistic(f'stats must be a list of names, such as ["std","zscore"], not {str(asked)[:80]}')
    return checked_names(name[:MAX_NAME_CHARS] for name in asked)
