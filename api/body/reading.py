"""Reading a request body with a bound. Neither the server nor Falcon sets one: both take whatever is sent."""

from http import HTTPStatus

from api.access.guard import check_revoked
from api.http.exchange import CALLER, RECEIVE, Message, Receive
from api.http.problems import Refusal
from api.http.request import Request

# So many times the bound is read and thrown away of a body that is too large: a client that is still sending when the
# connection closes gets a reset, and may never see the answer.
_DRAIN_FACTOR = 4


async def read_body(req: Request, max_bytes: int) -> bytes:
    """Return the whole body of `req`; raise Refusal (413) above `max_bytes`, (400) when the client hangs up.

    Refusal (401) too, if its token was revoked while the body came. A body that is announced as too large is refused
    before it is asked for; one with no announced length is read up to the bound.
    """
    receive: Receive = req.scope[RECEIVE]
    announced = req.content_length
    if announced is not None and announced > max_bytes:
        # A client that sent "Expect: 100-continue" waits for leave to send; this refusal is the answer to that.
        sending = req.get_header("Expect") is None and announced <= _DRAIN_FACTOR * max_bytes
        raise _too_large(announced, max_bytes, closing=not sending or not await _drained(receive, max_bytes))
    event = await receive()
    # PERF: a small body comes in one event, and is returned as it is.
    if event["type"] == "http.request" and not event["more_body"] and len(event["body"]) <= max_bytes:
        body: bytes = event["body"]
    else:
        body = await _read_on(receive, event, max_bytes)
    if CALLER in req.scope:
        check_revoked(req.scope)
    return body


async def _read_on(receive: Receive, event: Message, max_bytes: int) -> bytes:
    """Return the body that begins with `event` and goes on."""
    parts: list[bytes] = []
    size = 0
    while event["type"] == "http.request":
        part: bytes = event["body"]
        size += len(part)
        if size > max_bytes:
            closing = event["more_body"] and not await _drained(receive, max_bytes)
            raise _too_large(size, max_bytes, closing=closing)
        parts.append(part)
        if not event["more_body"]:
            return b"".join(parts)
        event = await receive()
    raise _cut_short(event.get("status"), event.get("detail"))


def _cut_short(status: HTTPStatus | None, detail: str | None) -> Refusal:
    """Return the refusal of a body that did not come to its end; the server says why, if it gave up on it."""
    if status is None or detail is None:
        return Refusal(HTTPStatus.BAD_REQUEST, "The connection was closed before the body was complete")
    again = {"Retry-After": "1"} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Refusal(status, detail, headers={"Connection": "close", **again})


async def _drained(receive: Receive, max_bytes: int) -> bool:
    """Read on and keep nothing; return whether the body came to its end within reason."""
    left = _DRAIN_FACTOR * max_bytes
    while left >= 0:
        event = await receive()
        if not event.get("more_body"):
            return True
        left -= len(event.get("body", b""))
    return False


def _too_large(size: int, max_bytes: int, *, closing: bool) -> Refusal:
    detail = f"The body has {size} bytes or more; {max_bytes} are allowed (server.max_body_bytes): send several batches"
    headers = {"Connection": "close"} if closing else {}
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=headers)
