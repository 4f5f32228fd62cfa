"""Every refusal of the service: which error becomes which status, and the one document all of them are told in.

A problem is RFC 9457 `application/problem+json`: type, title, status, detail; and "error", the same text again, for
clients that only want one. A resource raises `Refusal`, lets an error of the store pass, or lets Falcon raise its own.
"""

from collections.abc import Mapping
from http import HTTPStatus

import falcon
import falcon.asgi
import orjson
import structlog

from api.http.exchange import REFUSED, SEND, Scope, Send, request_id
from api.http.request import Request
from hft_mmap import errors

PROBLEM_JSON = "application/problem+json"

INTERNAL_ERROR = "The service failed; its log has the details"
"""What is told of a fault of ours."""

_MAX_SHOWN_CHARS = 80
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_STATUS_OF: Mapping[type[Exception], HTTPStatus] = {
    errors.ColumnsDiffer: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidRange: HTTPStatus.BAD_REQUEST,
    errors.InvalidSizes: HTTPStatus.BAD_REQUEST,
    errors.InvalidStatistic: HTTPStatus.BAD_REQUEST,
    errors.InvalidSymbol: HTTPStatus.BAD_REQUEST,
    errors.InvalidTimes: HTTPStatus.BAD_REQUEST,
    errors.InvalidValues: HTTPStatus.BAD_REQUEST,
    errors.InvalidWindow: HTTPStatus.BAD_REQUEST,
    errors.SymbolLimitReached: HTTPStatus.BAD_REQUEST,
    errors.SymbolExists: HTTPStatus.CONFLICT,
    errors.SymbolNotFound: HTTPStatus.NOT_FOUND,
    errors.LateTimes: HTTPStatus.CONFLICT,
    errors.OffsetConflict: HTTPStatus.CONFLICT,
    errors.OutOfRange: HTTPStatus.CONFLICT,
    errors.DiskFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.SeriesBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SeriesReadOnly: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SeriesSetAside: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.WriteFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreClosed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreReadOnly: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreUnusable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Refusal(Exception):
    """The request is refused with `status`; `detail` says what was refused, the limit, and what to do."""

    def __init__(self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def status_of(error: Exception) -> HTTPStatus | None:
    """Return the status by which `error` is told, None where nobody expected it."""
    if isinstance(error, Refusal):
        return error.status
    return next((_STATUS_OF[cls] for cls in type(error).__mro__ if cls in _STATUS_OF), None)


def shown(text: str) -> str:
    """Return `text` quoted and cut, so that an answer never grows with the input it refuses."""
    return repr(text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…")


def problem(status: HTTPStatus, detail: str, **members: object) -> bytes:
    """Return the problem document as JSON; `members` are further members of its top level."""
    return orjson.dumps(
        {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            "error": detail,
            **members,
        }
    )


def answer(req: Request, resp: falcon.asgi.Response, status: HTTPStatus, body: bytes) -> None:
    """Make `resp` the problem `body`, with the identity of the request, and leave a note for the log line."""
    resp.status = status.value
    resp.content_type = PROBLEM_JSON
    resp.text = None
    resp.data = body
    resp.set_header("X-Request-ID", request_id(req.scope))
    req.scope[REFUSED] = status.value


async def _on_error(
    req: Request, resp: falcon.asgi.Response | None, error: Exception, _params: dict[str, object]
) -> None:
    status, body = told(error, req.scope)
    headers = error.headers if isinstance(error, Refusal) else {}
    if resp is None:
        await deny(req.scope, status, body, headers)
        return
    resp.set_headers(dict(headers))
    answer(req, resp, status, body)


def told(error: Exception, scope: Scope, **members: object) -> tuple[HTTPStatus, bytes]:
    """Return status and document of `error`; logs it where nobody expected it. `members` are further members."""
    if isinstance(error, Refusal):
        return error.status, problem(error.status, error.detail, **members)
    status = status_of(error)
    if status is None:
        log_unexpected(error, request_id(scope), scope["path"])
        return HTTPStatus.INTERNAL_SERVER_ERROR, internal_error(**members)
    if isinstance(error, errors.OffsetConflict):
        members["total"] = error.total
    elif isinstance(error, errors.LateTimes):
        members |= {"index": error.index, "total": error.total}
    elif isinstance(error, errors.OutOfRange):
        members |= {"start": error.start, "total": error.total}
    return status, problem(status, str(error), **members)


async def deny(scope: Scope, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
    """Answer the handshake of a WebSocket, which was not accepted, with the problem `body`."""
    scope[REFUSED] = status.value
    await send_problem(scope, scope[SEND], status, body, headers)


async def send_problem(scope: Scope, send: Send, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
    """Send the problem `body` without Falcon."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", ()):
        await send({"type": "websocket.close"})  # which the server answers with 403
        return
    sent = {
        "content-type": PROBLEM_JSON,
        "content-length": str(len(body)),
        "x-request-id": request_id(scope),
        **headers,
    }
    start = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]
    kind = "http" if scope["type"] == "http" else "websocket.http"
    await send({"type": f"{kind}.response.start", "status": status.value, "headers": start})
    await send({"type": f"{kind}.response.body", "body": body})


def internal_error(**members: object) -> bytes:
    """Return the problem of a fault of ours; what happened stands in the log, not in the answer."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR, **members)


def log_unexpected(error: Exception, identity: str, path: str) -> None:
    """Log an exception that nobody expected, with its traceback."""
    _log.error("unexpected_error", request_id=identity, route=path, exc_info=error)


def install(app: falcon.asgi.App[Request, falcon.asgi.Response], allowed: Mapping[str, str]) -> None:
    """Let `app` tell every error as a problem document; `allowed` has the methods of each route, as in Allow."""

    async def on_falcon_error(
        req: Request, resp: falcon.asgi.Response | None, error: falcon.HTTPError, _params: dict[str, object]
    ) -> None:
        status, detail, headers = HTTPStatus(error.status_code), error.description, dict(error.headers or {})
        # Falcon calls a method that it has never heard of a bad request, on the routes that there are.
        if req.method not in falcon.COMBINED_METHODS and req.uri_template is not None:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        if status is HTTPStatus.NOT_FOUND:
            detail = f"No such route: {shown(req.path)}; GET /openapi.json lists them"
        elif status is HTTPStatus.METHOD_NOT_ALLOWED and req.is_websocket:
            status, detail = HTTPStatus.BAD_REQUEST, f"{req.uri_template} is no WebSocket; /stream is"
        elif status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = allowed[str(req.uri_template)]
            detail = f"{req.method} is not allowed on {req.uri_template}; allowed are {headers['Allow']}"
        body = problem(status, detail or status.phrase)
        if resp is None:
            await deny(req.scope, status, body, headers)
            return
        resp.set_headers(headers)
        answer(req, resp, status, body)

    app.add_error_handler(Exception, _on_error)
    app.add_error_handler(falcon.HTTPError, on_falcon_error)
