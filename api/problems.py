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

from api.exchange import REFUSED, request_id
from api.request import Request
from hft_mmap import errors

PROBLEM_JSON = "application/problem+json"

_MAX_SHOWN_CHARS = 80
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_STATUS_OF: Mapping[type[Exception], HTTPStatus] = {
    errors.InvalidRange: HTTPStatus.BAD_REQUEST,
    errors.InvalidSymbol: HTTPStatus.BAD_REQUEST,
    errors.InvalidValues: HTTPStatus.BAD_REQUEST,
    errors.InvalidWindow: HTTPStatus.BAD_REQUEST,
    errors.SymbolLimitReached: HTTPStatus.BAD_REQUEST,
    errors.SymbolNotFound: HTTPStatus.NOT_FOUND,
    errors.OffsetConflict: HTTPStatus.CONFLICT,
    errors.OutOfRange: HTTPStatus.CONFLICT,
    errors.DiskFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.SeriesReadOnly: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SeriesSetAside: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.WriteFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreClosed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreReadOnly: HTTPStatus.SERVICE_UNAVAILABLE,
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


async def _on_refusal(req: Request, resp: falcon.asgi.Response, error: Refusal, _params: dict[str, object]) -> None:
    resp.set_headers(dict(error.headers))
    answer(req, resp, error.status, problem(error.status, error.detail))


async def _on_store_error(
    req: Request, resp: falcon.asgi.Response, error: errors.HftMmapError, params: dict[str, object]
) -> None:
    status = status_of(error)
    if status is None:
        await _on_unexpected(req, resp, error, params)
    elif isinstance(error, errors.OffsetConflict):
        answer(req, resp, status, problem(status, str(error), total=error.total))
    elif isinstance(error, errors.OutOfRange):
        answer(req, resp, status, problem(status, str(error), start=error.start, total=error.total))
    else:
        answer(req, resp, status, problem(status, str(error)))


async def _on_unexpected(
    req: Request, resp: falcon.asgi.Response, error: Exception, _params: dict[str, object]
) -> None:
    log_unexpected(error, request_id(req.scope), req.path)
    answer(req, resp, HTTPStatus.INTERNAL_SERVER_ERROR, internal_error())


def internal_error() -> bytes:
    """Return the problem of a fault of ours; what happened stands in the log, not in the answer."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed; its log has the details")


def log_unexpected(error: Exception, identity: str, path: str) -> None:
    """Log an exception that nobody expected, with its traceback."""
    _log.error("unexpected_error", request_id=identity, route=path, exc_info=error)


def install(app: falcon.asgi.App[Request, falcon.asgi.Response], allowed: Mapping[str, str]) -> None:
    """Let `app` tell every error as a problem document; `allowed` has the methods of each route, as in Allow."""

    async def on_falcon_error(
        req: Request, resp: falcon.asgi.Response, error: falcon.HTTPError, _params: dict[str, object]
    ) -> None:
        status, detail, headers = HTTPStatus(error.status_code), error.description, dict(error.headers or {})
        if req.method not in falcon.COMBINED_METHODS:  # Falcon calls a method that it has never heard of a bad request
            status = HTTPStatus.METHOD_NOT_ALLOWED
        if status is HTTPStatus.NOT_FOUND:
            detail = f"No such route: {shown(req.path)}; GET /openapi.json lists them"
        elif status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = allowed[str(req.uri_template)]
            detail = f"{req.method} is not allowed on {req.uri_template}; allowed are {headers['Allow']}"
        resp.set_headers(headers)
        answer(req, resp, status, problem(status, detail or status.phrase))

    app.add_error_handler(Exception, _on_unexpected)
    app.add_error_handler(falcon.HTTPError, on_falcon_error)
    app.add_error_handler(errors.HftMmapError, _on_store_error)
    app.add_error_handler(Refusal, _on_refusal)
