"""What a client raises: the refusals of the service, as the errors of the store where they mean the same."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

import httpx

from hft_mmap.errors import DiskFull, HftMmapError, LateTimes, OffsetConflict, SymbolExists, SymbolNotFound


class Unreachable(HftMmapError, ConnectionError):
    """No answer came, for as long as the client was willing to try; with an offset it may be sent again."""


class ServiceError(HftMmapError):
    """The service refused; `status`, `detail`, `request_id` and the whole `problem` document say what and why."""

    retry_after_s = 0.0
    """How long the service asked to wait before it is asked again."""
    symbol = ""
    offset: int | None = None
    """Of a feed: whose batch was refused, and the index that its first point was to have."""

    def __init__(self, status: int, problem: Mapping[str, Any], request_id: str | None) -> None:
        """Keep what the problem document says."""
        self.status = status
        self.problem = dict(problem)
        self.detail = str(problem.get("detail", ""))
        self.request_id = request_id
        Exception.__init__(self, status, self.detail)

    def __str__(self) -> str:
        """Return status and detail, and of a feed which batch it was."""
        where = "" if self.offset is None else f"{self.symbol}, batch at {self.offset}: "
        return f"{self.status}: {where}{self.detail}"

    def again(self) -> Self:
        """Return an error that says the same, to be raised once more: one object would keep every frame it passed."""
        other = type(self)(self.status, self.problem, self.request_id)
        other.symbol, other.offset, other.retry_after_s = self.symbol, self.offset, self.retry_after_s
        return other


class RequestRefused(ServiceError, ValueError):
    """The request is wrong as it is (400, 406, 413, 415, 422): sending it again changes nothing."""


class Unauthorized(ServiceError, PermissionError):
    """The token is missing, unknown, or lacks the scope (401, 403)."""


class NotFound(ServiceError, SymbolNotFound):
    """There is no such series (404)."""

    def __init__(self, status: int, problem: Mapping[str, Any], request_id: str | None) -> None:
        """Keep the symbol as well."""
        super().__init__(status, problem, request_id)
        self.symbol = self.detail.removeprefix("Symbol not found: ")


class Conflict(ServiceError, OffsetConflict):
    """The batch does not belong at its offset, or the points asked for are not there (409); `total` is the end."""

    def __init__(self, status: int, problem: Mapping[str, Any], request_id: str | None) -> None:
        """Keep where the series ends as well."""
        super().__init__(status, problem, request_id)
        self.total = int(problem.get("total", 0))


class TooLate(ServiceError, LateTimes):
    """A time lies before that of the point before it, and the service refuses such (409); nothing was stored.

    `index` is its place in the batch, `total` the end of the series.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], request_id: str | None) -> None:
        """Keep the place, and where the series ends as well."""
        super().__init__(status, problem, request_id)
        self.index = int(problem.get("index", 0))
        self.total = int(problem.get("total", 0))


class NameTaken(ServiceError, SymbolExists):
    """There is a symbol of the new name already (409)."""


class NoSpace(ServiceError, DiskFull):
    """The disk of the service is full (507); nothing was stored."""


class Misdirected(ServiceError):
    """The symbol is of another shard (421), and no service that the client knows takes it; nothing was stored."""


class Unavailable(ServiceError):
    """The service, or this series, does not serve at present (429, 500, 502, 503, 504)."""


_CLASS_OF: Mapping[int, type[ServiceError]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Unauthorized,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.MISDIRECTED_REQUEST: Misdirected,
    HTTPStatus.INSUFFICIENT_STORAGE: NoSpace,
    HTTPStatus.REQUEST_TIMEOUT: Unavailable,
    HTTPStatus.TOO_MANY_REQUESTS: Unavailable,
}
_FIRST_SERVER_ERROR = 500


def refusal(response: httpx.Response) -> ServiceError:
    """Return the error that a refusal, whose body was read, stands for."""
    return refusal_of(response.status_code, response.content, response.reason_phrase, response.headers)


def refusal_of(status: int, body: bytes, reason: str, headers: Mapping[str, str]) -> ServiceError:
    """Return the error that an answer with this status stands for."""
    try:
        problem = json.loads(body)
    except ValueError:  # whoever stands between, and knows nothing of problem documents
        problem = None
    if not isinstance(problem, dict):
        problem = {"status": status, "detail": body.decode(errors="replace")[:200] or reason}
    error = refused(status, problem, headers.get("X-Request-ID"))
    after = headers.get("Retry-After", "")
    if after.isdecimal():  # it may also be a date, which nobody here sends
        error.retry_after_s = float(after)
    return error


def refused(status: int, problem: Mapping[str, Any], request_id: str | None = None) -> ServiceError:
    """Return the error that a problem document stands for."""
    other = Unavailable if status >= _FIRST_SERVER_ERROR else RequestRefused
    cls = _CLASS_OF.get(status, other)
    if cls is Conflict and "total" not in problem:  # which is in the way of points, and of nothing else
        cls = NameTaken
    if cls is Conflict and "index" in problem:
        cls = TooLate
    return cls(status, problem, request_id)
