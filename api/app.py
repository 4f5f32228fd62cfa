"""The application: routes to resources, inside one thin ASGI layer that measures, bounds and logs.

    server -> Service (this file) -> falcon.asgi.App -> a resource -> the store

There is no Falcon middleware: two hooks cost 2-5 % of the requests per second. This layer costs 1 us of the 35 us that
a request takes, and saves 2 us, because Falcon need not wait for a body event that nobody reads.
"""

from collections.abc import Mapping
from http import HTTPStatus
from time import perf_counter
from typing import TypeAlias

import falcon.asgi
import falcon.routing
import structlog

from api.access.browsers import Application, OwnPages, for_own_pages, pages
from api.access.guard import WEBSOCKET, Access, Door, guarded
from api.access.tokens import ADMIN, ANY, OPEN, READ, WRITE, Tokens
from api.connection.connections import ConnectionLimits, Connections
from api.connection.flow import Address
from api.http import problems
from api.http.exchange import BATCH, CALLER, RECEIVE, REFUSED, SEND, STREAM, Message, Receive, Scope, Send, request_id
from api.http.prepared import QUESTION, Question
from api.http.query import parse_stats_query
from api.http.request import Request
from api.operation.beside import Beside
from api.operation.latency import Latencies, RequestCounter, add
from api.operation.part import Part
from api.operation.settings import LogSettings, Settings
from api.routes import prometheus, udf
from api.routes.answers import First, Quantile, Rank
from api.routes.asof import Asof
from api.routes.bars import Bars
from api.routes.cluster import Cluster
from api.routes.metrics import Metrics
from api.routes.pages import Document, Page, Static
from api.routes.resources import AddBatch, Constant, Ready, Stats
from api.routes.series import SeriesBuckets
from api.routes.symbols import Symbol, Symbols
from api.routes.values import Values
from api.routes.windows import Windows
from api.routes.write import Write
from api.streams.events import Events
from api.streams.live import Live
from api.streams.registry import Streams
from api.streams.resource import Stream, configure
from hft_mmap import HftMmapError, Store

_NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}
_QUIET_PATHS = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds, by machines
_MAX_LOGGED_PATH_CHARS = 200
_FIRST_SERVER_ERROR = 500

FalconApp: TypeAlias = falcon.asgi.App[Request, falcon.asgi.Response]


# The scope that a token must have for each route; where the methods of a route differ, a dict of them (a web socket is
# the method WEBSOCKET). A route that is missing here stops the start: nothing is open, or closed, by oversight.
ACCESS: Mapping[str, Access] = {
    "/health": OPEN,
    "/ready": OPEN,  # whether it is; the reasons, which name symbols and files, need READ
    "/add_batch": WRITE,
    "/write": WRITE,
    "/api/v2/write": WRITE,
    "/stats": READ,
    "/symbols": READ,
    "/symbols/{symbol}": {"GET": READ, "HEAD": READ, "PUT": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN},
    "/series": READ,
    "/bars": READ,
    "/windows": READ,
    "/first": READ,
    "/quantile": READ,
    "/rank": READ,
    "/asof": READ,
    "/values": READ,
    "/api/v1/query": READ,
    "/api/v1/query_range": READ,
    "/api/v1/series": READ,
    "/api/v1/labels": READ,
    "/api/v1/label/{name}/values": READ,
    "/api/v1/metadata": READ,
    "/api/v1/status/buildinfo": READ,
    "/udf/config": READ,
    "/udf/symbols": READ,
    "/udf/search": READ,
    "/udf/history": READ,
    "/udf/time": READ,
    "/events": READ,
    "/stream": ANY,  # WRITE or READ, which its query decides
    "/metrics": READ,  # who watches sees what /symbols tells, and needs no right to do anything
    "/cluster": {"GET": READ, "HEAD": READ, "PATCH": ADMIN},
    "/": OPEN,  # the pages hold no data; they ask for a token and send it
    "/docs": OPEN,
    "/static/{name}": OPEN,
    "/openapi.json": OPEN,  # holds no data, and is public anyway
}


def create_app(  # noqa: PLR0913 - each is one thing to say about an application
    store: Store,
    settings: Settings,
    tokens: Tokens | None = None,
    *,
    connections: Connections | None = None,
    labels: Mapping[str, str] | None = None,
    streams: Streams | None = None,
    part: Part | None = None,
) -> Application:
    """Return the ASGI application that serves `store`; it keeps no state but remembered answers and counts of requests.

    With `tokens` each request needs one with the scope that `ACCESS` has for its route; without, its Host has to be a
    name of this machine or of the settings. `connections` keep no body of one that is refused for that, and /metrics
    counts them; `labels` stand on every sample of it, for telling instances of the service apart. Whoever stops the
    service tells `streams` to end first. `part`: where it is a replica of a shard.
    """
    requests = RequestCounter()
    watch = Connections(ConnectionLimits()) if connections is None else connections
    streams = Streams(settings.server.max_streams, tokens) if streams is None else streams
    beside = Beside()
    metrics = Metrics(store, requests, watch, streams, labels or {}, beside, part)
    served = routes(store, settings, metrics, streams, beside, part)
    requests.know(served)
    router = falcon.routing.CompiledRouter()
    service = Service(_falcon_app(served, router), settings.log, requests)
    access = {route: access_by_method(ACCESS[route], resource) for route, resource in served.items()}

    def find(path: str) -> str | None:
        found = router.find(path)
        return _route(found[3]) if found and found[3] else None

    outer: Application = service
    if part is None:
        watch.prepared.prepare = service.prepare
    else:  # every batch goes to the log, and every answer says how far that was read
        outer = part.around(service, pages(access, find, READ))
    if tokens is None:
        own = OwnPages(settings.server.names(), pages(access, find, OPEN))
        watch.admits = own.admits
        return for_own_pages(outer, service.refuse, own)
    door = Door(tokens, access, find)
    watch.admits, watch.guarded = door.admits, True
    return guarded(outer, service.refuse, door)


def routes(
    store: Store, settings: Settings, metrics: Metrics, streams: Streams, beside: Beside, part: Part | None = None
) -> Mapping[str, object]:
    """Return the resource behind each route. The OpenAPI document describes exactly these."""
    live = Live(store)
    appender = None if part is None else part.appender()
    write, stats = Write(store, settings, appender), Stats(store, beside)
    return {
        "/health": Constant(b'{"status":"ok"}'),
        "/ready": Ready(store),
        "/add_batch": AddBatch(store, settings.server, appender),
        "/write": write,
        "/api/v2/write": write,
        "/stats": stats,
        "/series": SeriesBuckets(store),
        "/bars": Bars(store, beside),
        "/windows": Windows(store, settings.server, beside),
        "/first": First(store),
        "/quantile": Quantile(store, beside),
        "/rank": Rank(store, beside),
        "/asof": Asof(store, settings.server, beside),
        "/values": Values(store),
        "/symbols": Symbols(store, beside),
        "/symbols/{symbol}": Symbol(store, settings.server, beside),
        "/stream": Stream(store, settings.server, streams, live, stats.ask, appender),
        "/events": Events(live, streams, beside),
        "/metrics": metrics,
        "/cluster": Cluster(part),
        **prometheus.resources(store, settings.server, beside),
        **udf.resources(store, beside),
        "/": Page("index.html"),
        "/docs": Page("docs.html"),
        "/static/{name}": Static(),
        "/openapi.json": Document(),
    }


def _template(route: str) -> str:
    """Return `route` as Falcon has to know it: a symbol may have slashes, so it takes the rest of the path."""
    return route.replace("{symbol}", "{symbol:path}")


def _route(template: str) -> str:
    """Return the route that Falcon knows as `template`."""
    return template.replace("{symbol:path}", "{symbol}")


def methods(resource: object) -> list[str]:
    """Return the methods that `resource` answers; Falcon itself answers OPTIONS."""
    known = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
    return [*(name for name in known if hasattr(resource, f"on_{name.lower()}")), "OPTIONS"]


def access_by_method(access: Access, resource: object) -> dict[str, str]:
    """Return the scope that each method of `resource` needs. Raises KeyError for a method that `access` leaves out."""
    present = methods(resource)[:-1] + [WEBSOCKET] * hasattr(resource, "on_websocket")
    needed = {method: access if isinstance(access, str) else access[method] for method in present}
    return {**needed, "OPTIONS": OPEN if set(needed.values()) == {OPEN} else ANY}


def _falcon_app(served: Mapping[str, object], router: falcon.routing.CompiledRouter) -> FalconApp:
    app = falcon.asgi.App(request_type=Request, router=router)
    # Bodies are read and answers written as bytes; without handlers nothing else can happen by accident.
    app.req_options.media_handlers.clear()
    configure(app.ws_options)
    for path, resource in served.items():
        app.add_route(_template(path), resource)
    problems.install(app, {_template(path): ", ".join(methods(resource)) for path, resource in served.items()})
    return app


class Service:
    """The outermost layer: bounds what Falcon sees of a request, times it, and writes its canonical log line if due."""

    def __init__(self, app: FalconApp, log: LogSettings, requests: RequestCounter) -> None:
        self._app = app
        self._requests = requests
        self._count = requests.count
        self.slow_s = log.slow_request_ms / 1000
        self._logs_all = log.level == "debug"
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._other_protocol(scope, receive, send)
            return
        begin = perf_counter()
        # Falcon waits for a first event before it looks at the route. It gets an empty one: the body is read by the
        # resource that knows its bound.
        scope[RECEIVE] = receive
        try:
            await self._app(scope, _receive_no_body, send)
        except problems.Refusal as refusal:  # in the midst of an answer: the connection ends before it is whole
            scope[REFUSED] = refusal.status.value
        except Exception as error:  # noqa: BLE001 - the last place where a problem document can still be sent
            await _answer_failure(scope, send, error)
        duration_s = perf_counter() - begin
        if STREAM in scope:  # lasted as long as its client wanted, which says nothing about the service
            self._write_stream_line(scope, duration_s)
            return
        self._count(scope, duration_s)
        # PERF: `send` is not wrapped to learn the status (0.5 us); whoever refuses leaves it in the scope.
        if REFUSED in scope or duration_s >= self.slow_s or self._logs_all:
            self._requests.count_refusal(scope)
            self.write_line(scope, duration_s)

    def prepare(self, scope: Scope) -> "Prepared | None":
        """Return the request `scope`, which was answered, as one that can be answered again without its scope.

        None where that can't be, or where every request has a line in the log.
        """
        question: Question | None = scope.get(QUESTION)
        if question is None or REFUSED in scope or self._logs_all:
            return None
        return Prepared(self, question, scope, self._requests.latencies_of(scope))

    async def refuse(self, scope: Scope, send: Send, refusal: problems.Refusal) -> None:
        """Answer a request that Falcon is not to see, and write its line."""
        scope[REFUSED] = refusal.status.value
        if scope["type"] == "http":
            self._count(scope, 0.0)
            self._requests.count_refusal(scope)
        self.write_line(scope, 0.0)
        body = problems.problem(refusal.status, refusal.detail)
        await problems.send_problem(scope, send, refusal.status, body, refusal.headers)

    def write_line(self, scope: Scope, duration_s: float) -> None:
        """Write the canonical line of one request."""
        path: str = scope["path"].rstrip("/") or "/"
        if path in _QUIET_PATHS:
            return
        status: int = scope.get(REFUSED, 200)
        symbol, points = scope.get(BATCH) or (_asked_symbol(scope, path), None)
        if status >= _FIRST_SERVER_ERROR:
            say = self._log.error
        elif duration_s >= self.slow_s:
            say = self._log.warning
        else:
            say = self._log.info if REFUSED in scope else self._log.debug
        say(
            "request",
            method=scope.get("method", WEBSOCKET),
            route=path[:_MAX_LOGGED_PATH_CHARS],
            status=status,
            duration_ms=round(duration_s * 1000, 3),
            symbol=symbol,
            points=points,
            request_id=request_id(scope),
            **_whose(scope),
        )

    async def _other_protocol(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket, and write its line when it has ended; take part in the lifespan protocol."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        begin = perf_counter()
        scope[SEND] = send
        try:
            await self._app(scope, receive, send)
        finally:
            if REFUSED in scope:
                self.write_line(scope, perf_counter() - begin)
            elif STREAM in scope:
                self._write_stream_line(scope, perf_counter() - begin)

    def _write_stream_line(self, scope: Scope, duration_s: float) -> None:
        """Write the line of a stream that has ended."""
        self._log.info(
            "stream",
            duration_ms=round(duration_s * 1000, 3),
            **scope[STREAM],
            request_id=request_id(scope),
            **_whose(scope),
        )


class Prepared:
    """A request that was understood: it is answered, counted and, where it was slow, written down as any other."""

    __slots__ = ("_latencies", "_method", "_path", "_query", "_question", "_service", "caller", "kept_bytes", "offset")

    def __init__(self, service: Service, question: Question, scope: Scope, latencies: Latencies) -> None:
        self.caller = scope.get(CALLER)
        self.kept_bytes = question.kept_bytes
        self.offset = question.offset
        self._service = service
        self._question = question
        self._latencies = latencies
        self._method: str = scope["method"]
        self._path: str = scope["path"]
        self._query: bytes = scope["query_string"]

    def answer(self, body: bytes, client: Address | None, offset: int | None = None) -> bytes | None:
        """Return JSON to answer with 200; as `api.http.prepared.Question.answer`."""
        begin = perf_counter()
        answer = self._question.answer(body, self.caller, offset)
        if answer is None:
            return None
        duration_s = perf_counter() - begin
        add(self._latencies, duration_s)
        if duration_s >= self._service.slow_s:
            self._service.write_line(self._scope(client), duration_s)
        return answer

    def _scope(self, client: Address | None) -> Scope:
        """Return what the line in the log is written from."""
        scope: Scope = {"method": self._method, "path": self._path, "query_string": self._query}
        scope |= {"headers": [], "client": client}
        if self.caller is not None:
            scope[CALLER] = self.caller
        if self._question.batch is not None:
            scope[BATCH] = self._question.batch
        return scope


def _whose(scope: Scope) -> dict[str, str | None]:
    """Return the fields that say who caused a line, by which it is counted (`api.operation.line_budget`)."""
    caller = {"caller": scope[CALLER].name or None} if CALLER in scope else {}
    return {"client": (scope.get("client") or (None,))[0], **caller}


async def _receive_no_body() -> Message:
    return _NO_BODY


def _asked_symbol(scope: Scope, path: str) -> str | None:
    """Return the symbol a /stats request asked for, if it can be understood; read again, because lines are rare."""
    if path != "/stats":
        return None
    try:
        return parse_stats_query(scope["query_string"]).symbol
    except (problems.Refusal, HftMmapError):
        return None


async def _answer_failure(scope: Scope, send: Send, error: Exception) -> None:
    """Answer 500 to what Falcon itself could not handle, or raise `error` again if an answer is already on its way."""
    problems.log_unexpected(error, request_id(scope), scope["path"][:_MAX_LOGGED_PATH_CHARS])
    scope[REFUSED] = _FIRST_SERVER_ERROR
    try:
        await problems.send_problem(scope, send, HTTPStatus.INTERNAL_SERVER_ERROR, problems.internal_error(), {})
    except RuntimeError:
        raise error from None


async def _live(receive: Receive, send: Send) -> None:
    """Take part in the lifespan protocol."""
    while True:
        message = await receive()
        kind = message["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
