"""Server-sent events: GET /events, for readers that need no WebSocket, such as EventSource in a browser."""

import asyncio
from collections.abc import AsyncIterator, Callable

import falcon.asgi
import orjson

from api.access.guard import authorise
from api.access.tokens import READ
from api.http.exchange import ENDLESS, RECEIVE, STREAM, Receive
from api.http.problems import Refusal
from api.http.query import bad_query
from api.http.request import Request
from api.operation.beside import Beside
from api.operation.turns import Turns
from api.streams.handshake import check_origin, parse_stats
from api.streams.live import Live, Subscriber, Watched
from api.streams.registry import Streams
from api.streams.tail import Tail
from hft_mmap import HftMmapError

HEARTBEAT_S = 5.0
"""A client that has vanished keeps its place so long, and as long as the kernel takes to miss it (server.py)."""
RETRY_MS = 2000


class Events:
    """Streams statistics as server-sent events."""

    def __init__(self, live: Live, streams: Streams, beside: Beside, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._live = live
        self._streams = streams
        self._beside = beside
        self._heartbeat_s = heartbeat_s

    async def on_get(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Send the statistics now, and again whenever they have changed."""
        subscriber, tail = self._subscriber(req)
        self._streams.check(req.scope, READ)  # the stream itself begins after the status has been sent
        req.scope[ENDLESS] = True
        resp.content_type = "text/event-stream"
        resp.set_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        resp.stream = self._sent(req, subscriber, tail)

    async def on_head(self, req: Request, resp: falcon.asgi.Response) -> None:
        """Answer as GET does, without the events."""
        self._subscriber(req)
        self._streams.check(req.scope, READ)
        resp.content_type = "text/event-stream"

    def _subscriber(self, req: Request) -> tuple[Subscriber, Tail | None]:
        check_origin(req)
        query = parse_stats(req.scope["query_string"], events=True)
        if not query.symbols:
            raise bad_query("The parameter symbol is missing; ask for /events?symbol=ABC-USD&window=1000")
        subscriber = Subscriber(query.interval_ms / 1000)
        for symbol in query.symbols:
            subscriber.watch(self._live.watched(symbol, query.windows, query.names))
        if query.bar is None:
            return subscriber, None
        return subscriber, Tail(subscriber.watched[query.symbols[0]].series, query.bar, self._beside)

    async def _data(self, watched: Watched, tail: Tail | None) -> bytes:
        """Return what an event has: how the series stands, with its bars where they are wanted."""
        total, body = self._live.told(watched)
        if tail is None or watched.series.symbol != tail.symbol:
            return body
        bars = await tail.since(watched.series, total)
        if bars is None:
            return body
        return b'%s,"bars":%s}' % (body[:-1], orjson.dumps(bars, option=orjson.OPT_SERIALIZE_NUMPY))

    async def _sent(self, req: Request, subscriber: Subscriber, tail: Tail | None) -> AsyncIterator[bytes]:
        await asyncio.sleep(0)  # before its first wait a request is no task yet, and `wait_for` needs one
        over = asyncio.Event()
        fault: dict[str, str] = {}

        def end() -> None:
            over.set()
            subscriber.wake()

        gone = asyncio.ensure_future(_gone(req.scope[RECEIVE], end))
        try:
            with self._streams.opened(end, req.scope, READ):
                self._live.add(subscriber)
                yield b"retry: %d\n\n" % RETRY_MS
                while not over.is_set():
                    try:
                        changed = await asyncio.wait_for(subscriber.changed(), self._heartbeat_s)
                    except TimeoutError:
                        changed = []
                        yield b":\n\n"
                    if over.is_set() or authorise(req.scope, READ) is not None:
                        break
                    turns = Turns()
                    for watched in changed:
                        subscriber.sent += 1
                        yield b"id: %d\ndata: %s\n\n" % (watched.series.total, await self._data(watched, tail))
                        await turns.give_way()
        except (Refusal, HftMmapError) as error:
            fault = {} if isinstance(error, Refusal) else {"reason": str(error)}
            # The last place was taken, or the service began to stop, after the check: the 200 is on its way, so the
            # answer just ends; the client comes again, and gets the 503. So it does when a series can't be read.
            return
        finally:
            self._live.remove(subscriber)
            gone.cancel()
            req.scope[STREAM] = {"mode": "events", "sent": subscriber.sent, "skipped": subscriber.skipped, **fault}


async def _gone(receive: Receive, end: Callable[[], None]) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    end()
