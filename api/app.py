"""The application: routes to resources, inside one thin ASGI layer that measures, bounds and logs.

    server -> Service (this file) -> falcon.asgi.App -> a resource -> the store

There is no Falcon middleware: two hooks cost 2-5 % of the requests per second. This layer costs 1 us of the 35 us that
a request takes, and saves 2 us, because Falcon need not wait for a body event that nobody reads.
"""

from collections.abc import Mapping
from importlib.resources import files
from time import perf_counter
from typing import TypeAlias

import falcon.asgi
import structlog

from api import problems
from api.exchange import BATCH, RECEIVE, REFUSED, Message, Receive, Scope, Send, request_id
from api.latency import RequestCounter
from api.metrics import Metrics
from api.query import parse_stats_query
from api.request import Request
from api.resources import AddBatch, Constant, Ready, Stats, Symbols
from api.series import SeriesBuckets
from api.settings import LogSettings, Settings
from hft_mmap import HftMmapError, Store

_NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}
_QUIET_PATHS = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds, by machines
_MAX_LOGGED_PATH_CHARS = 200
_FIRST_SERVER_ERROR = 500

FalconApp: TypeAlias = falcon.asgi.App[Request, falcon.asgi.Response]


def create_app(store: Store, settings: Settings, *, labels: Mapping[str, str] | None = None) -> "Service":
    """Return the ASGI application that serves `store`; it keeps no state but remembered answers and counts of requests.

    `labels` stand on every sample of /metrics, for telling instances of the service apart.
    """
    requests = RequestCounter()
    served = routes(store, settings, Metrics(store, requests, labels or {}))
    requests.know(served)
    return Service(_falcon_app(served), settings.log, requests)


def routes(store: Store, settings: Settings, metrics: Metrics) -> Mapping[str, object]:
    """Return the resource behind each route. The OpenAPI document describes exactly these."""
    return {
        "/health": Constant(b'{"status":"ok"}'),
        "/ready": Ready(store),
        "/add_batch": AddBatch(store, settings.server),
        "/stats": Stats(store),
        "/series": SeriesBuckets(store),
        "/symbols": Symbols(store),
        "/metrics": metrics,
        "/openapi.json": Constant(files("api").joinpath("openapi.json").read_bytes()),
    }


def methods(resource: object) -> list[str]:
    """Return the methods that `resource` answers; Falcon itself answers OPTIONS."""
    return [*(name for name in ("GET", "HEAD", "POST") if hasattr(resource, f"on_{name.lower()}")), "OPTIONS"]


def _falcon_app(served: Mapping[str, object]) -> FalconApp:
    app = falcon.asgi.App(request_type=Request)
    # Bodies are read and answers written as bytes; without handlers nothing else can happen by accident.
    app.req_options.media_handlers.clear()
    for path, resource in served.items():
        app.add_route(path, resource)
    problems.install(app, {path: ", ".join(methods(resource)) for path, resource in served.items()})
    return app


class Service:
    """The outermost layer: bounds what Falcon sees of a request, times it, and writes its canonical log line if due."""

    def __init__(self, app: FalconApp, log: LogSettings, requests: RequestCounter) -> None:
        self._app = app
        self._requests = requests
        self._count = requests.count
        self._slow_s = log.slow_request_ms / 1000
        self._logs_all = log.level == "debug"
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await _other_protocol(scope, receive, send)
            return
        begin = perf_counter()
        # Falcon waits for a first event before it looks at the route. It gets an empty one: the body is read by the
        # resource that knows its bound.
        scope[RECEIVE] = receive
        try:
            await self._app(scope, _receive_no_body, send)
        except Exception as error:  # noqa: BLE001 - the last place where a problem document can still be sent
            await _answer_failure(scope, send, error)
        duration_s = perf_counter() - begin
        self._count(scope, duration_s)
        # PERF: `send` is not wrapped to learn the status (0.5 us); whoever refuses leaves it in the scope.
        if REFUSED in scope or duration_s >= self._slow_s or self._logs_all:
            self._requests.count_refusal(scope)
            self._write_line(scope, duration_s)

    def _write_line(self, scope: Scope, duration_s: float) -> None:
        """Write the canonical line of one request."""
        path: str = scope["path"].rstrip("/") or "/"
        if path in _QUIET_PATHS:
            return
        status: int = scope.get(REFUSED, 200)
        symbol, points = scope.get(BATCH) or (_asked_symbol(scope, path), None)
        if status >= _FIRST_SERVER_ERROR:
            say = self._log.error
        elif duration_s >= self._slow_s:
            say = self._log.warning
        else:
            say = self._log.info if REFUSED in scope else self._log.debug
        say(
            "request",
            method=scope["method"],
            route=path[:_MAX_LOGGED_PATH_CHARS],
            status=status,
            duration_ms=round(duration_s * 1000, 3),
            symbol=symbol,
            points=points,
            request_id=request_id(scope),
        )


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
    body = problems.internal_error()
    headers = [
        (b"content-type", problems.PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id(scope).encode()),
    ]
    try:
        await send({"type": "http.response.start", "status": _FIRST_SERVER_ERROR, "headers": headers})
    except RuntimeError:
        raise error from None
    await send({"type": "http.response.body", "body": body})


async def _other_protocol(scope: Scope, receive: Receive, send: Send) -> None:
    """Take part in the lifespan protocol; close web sockets."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    while True:
        message = await receive()
        kind = message["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
