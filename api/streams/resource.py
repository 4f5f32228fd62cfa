"""The route /stream: a handshake, checked, becomes the stream that its query asks for."""

from http import HTTPStatus

import falcon.asgi
from falcon.media import BinaryBaseHandlerWS, TextBaseHandlerWS

from api.access.guard import SUBPROTOCOL, authorise, check_symbol
from api.access.tokens import READ, WRITE
from api.body.patience import Appender, local_appender
from api.http.exchange import HANDSHAKE, MAX_MESSAGE_BYTES
from api.http.problems import Refusal
from api.http.request import Request
from api.operation.settings import ServerSettings
from api.streams.handshake import (
    INGEST,
    QUERY,
    AskingQuery,
    IngestQuery,
    StatsQuery,
    check_origin,
    parse_asking,
    parse_ingest,
    parse_mode,
    parse_stats,
)
from api.streams.ingest import Ingest
from api.streams.live import Live
from api.streams.queries import MAX_QUESTIONS_BYTES, Ask, Queries
from api.streams.registry import Streams
from api.streams.stats import MAX_CONTROL_BYTES, Statistics
from hft_mmap import Store


class PlainText(TextBaseHandlerWS):
    """Gives text messages to a responder as they are."""

    def deserialize(self, payload: str) -> object:
        """Return the text."""
        return payload


class PlainBytes(BinaryBaseHandlerWS):
    """Gives binary messages to a responder as they are."""

    def deserialize(self, payload: bytes) -> object:
        """Return the bytes."""
        return payload


def configure(options: falcon.asgi.WebSocketOptions) -> None:
    """Have WebSockets hand over messages as they are, without a queue between the server and the responder.

    PERF: with Falcon's queue a frame passes two tasks, which costs more than storing it.
    """
    options.max_receive_queue = 0
    options.media_handlers[falcon.WebSocketPayloadType.TEXT] = PlainText()
    options.media_handlers[falcon.WebSocketPayloadType.BINARY] = PlainBytes()


class Stream:
    """Takes WebSockets."""

    def __init__(
        self, store: Store, settings: ServerSettings, streams: Streams, live: Live, ask: Ask,
        appender: Appender | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._ask = ask
        self._appender = local_appender(store) if appender is None else appender
        self._live = live
        self._max_values = settings.max_batch_values
        self._streams = streams

    async def on_get(self, req: Request, _resp: falcon.asgi.Response) -> None:
        """Refuse what is no WebSocket; its query is judged first, as that of a handshake is."""
        self._query(req)
        if HANDSHAKE in req.scope:
            detail = f"The handshake of the WebSocket is not sound: {req.scope[HANDSHAKE]}"
            raise Refusal(HTTPStatus.BAD_REQUEST, detail, headers={"Sec-WebSocket-Version": "13"})
        detail = "This is a WebSocket; GET /events has the statistics as server-sent events"
        raise Refusal(HTTPStatus.UPGRADE_REQUIRED, detail, headers={"Upgrade": "websocket", "Connection": "Upgrade"})

    on_head = on_get

    async def on_websocket(self, req: Request, ws: falcon.asgi.WebSocket) -> None:
        """Check the handshake, and serve the stream until it ends."""
        check_origin(req)
        query = self._query(req)
        needed = WRITE if isinstance(query, IngestQuery) else READ
        refusal = authorise(req.scope, needed)
        if refusal is not None:
            raise refusal
        for symbol in _named(query):
            check_symbol(req.scope, needed, symbol)
        stream: Ingest | Statistics | Queries
        if isinstance(query, IngestQuery):
            stream = Ingest(self._store, req.scope, query, self._max_values, self._appender)
        elif isinstance(query, AskingQuery):
            stream = Queries(self._ask, req.scope)
            req.scope[MAX_MESSAGE_BYTES] = MAX_QUESTIONS_BYTES
        else:
            stream = Statistics(self._live, req.scope, query)
            req.scope[MAX_MESSAGE_BYTES] = MAX_CONTROL_BYTES
        with self._streams.opened(stream.end, req.scope, needed):
            await ws.accept(SUBPROTOCOL if SUBPROTOCOL in ws.subprotocols else None)
            await stream.run(ws)

    def _query(self, req: Request) -> IngestQuery | StatsQuery | AskingQuery:
        query: bytes = req.scope["query_string"]
        mode = parse_mode(query)
        if mode == QUERY:
            return parse_asking(query)
        return parse_ingest(query) if mode == INGEST else parse_stats(query)


def _named(query: IngestQuery | StatsQuery | AskingQuery) -> tuple[str, ...]:
    """Return the symbols that a handshake names."""
    if isinstance(query, StatsQuery):
        return query.symbols
    return (query.symbol,) if isinstance(query, IngestQuery) and query.symbol is not None else ()
