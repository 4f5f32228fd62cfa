"""The head of a request: what is taken, what is refused, and what an `Upgrade` in it comes to.

Where two readers could read a head in two ways, it is refused: what one of them takes for a body the other takes for
the next request. llhttp refuses most of that; what it lets pass is refused here.
"""

from http import HTTPStatus
from typing import NamedTuple

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from api.http.exchange import Scope

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100
NOTED = frozenset(
    {
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"transfer-encoding",
        b"x-offset",
    }
)
"""Headers that the connection looks at, or that may stand in a head once: of two of them, one reader takes the first
and another the last."""
_MAY_REPEAT = frozenset({b"expect"})
_VERSIONS = frozenset({"1.1", "1.0"})

HEAD_TOO_LARGE = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request has more than {MAX_HEADERS} headers, or more than {MAX_HEAD_BYTES} bytes before its body",
)
NO_ROOM = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too many requests are arriving at once (server.max_head_memory_bytes); send it again a little later",
)
# 505 would be a fault of the server by its number. httptools lets 0.9 and 2.0 pass, Falcon does not know them.
_OTHER_VERSION = "The request is of another version of HTTP than 1.1 and 1.0; the connection ends"
_NO_PROXY = "CONNECT asks for a proxy, and this is none; the connection ends"
_NO_HOST = "The request has no Host, which HTTP/1.1 needs; the connection ends"
_OTHER_CODING = "Of transfer codings there is chunked alone, and in HTTP/1.1; the connection ends"
UPGRADE_TOO_EARLY = "The upgrade came before the requests ahead of it were answered: wait for their answers first"
_UPGRADE_WITH_BODY = "The request asks for a WebSocket and has a body; leave one of them out"


class HeadRefused(Exception):
    """Ends the work on a head: it is no request (`malformed`), or one that is not taken."""

    def __init__(self, status: HTTPStatus, detail: str, *, malformed: bool = False) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.malformed = malformed


class Handshake(NamedTuple):
    """A sound handshake of a WebSocket: its request, the answer that accepts it, and what came behind it."""

    scope: Scope
    response: Response
    rest: bytes


def note(noted: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Keep a header of NOTED. Raises HeadRefused for the second of those that may stand there once."""
    if name in noted and name not in _MAY_REPEAT:
        raise HeadRefused(HTTPStatus.BAD_REQUEST, f"The header {name.decode()} stands in the request twice")
    noted[name] = value


def check(method: str, version: str, noted: dict[bytes, bytes]) -> None:
    """Raise HeadRefused (400) for a head that no parser refuses, and that is no request for this service."""
    if version not in _VERSIONS:
        raise HeadRefused(HTTPStatus.BAD_REQUEST, _OTHER_VERSION)
    if b"host" not in noted and version == "1.1":
        raise HeadRefused(HTTPStatus.BAD_REQUEST, _NO_HOST)
    if b"transfer-encoding" in noted:
        coding = noted[b"transfer-encoding"].strip().lower()
        if coding != b"chunked" or version == "1.0":
            raise HeadRefused(HTTPStatus.BAD_REQUEST, _OTHER_CODING)
    if method == "CONNECT":
        raise HeadRefused(HTTPStatus.BAD_REQUEST, _NO_PROXY)


def asks_for_websocket(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether the `Upgrade` of a head that has one asks for a WebSocket; others are ignored (RFC 9110, 7.8)."""
    return any(name == b"upgrade" and value.strip().lower() == b"websocket" for name, value in headers)


def handshake(scope: Scope, *, has_body: bool) -> Response | str:
    """Return the answer that accepts the WebSocket which the request `scope` asks for, or what is wrong with it.

    Raises HeadRefused (400) where it has a body, which no reader would know what to do with.
    """
    if has_body:
        raise HeadRefused(HTTPStatus.BAD_REQUEST, _UPGRADE_WITH_BODY)
    if scope["method"] != "GET" or scope["http_version"] != "1.1":
        return "a WebSocket begins with a GET of HTTP/1.1"
    headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    opening = ServerProtocol()
    response = opening.accept(Request(scope["path"], headers))
    if opening.handshake_exc is not None:
        return str(opening.handshake_exc)
    del response.headers["Date"]
    return response


def websocket_scope(scope: Scope) -> Scope:
    """Return the scope of the WebSocket that the request `scope` opens."""
    offered = b",".join(value for name, value in scope["headers"] if name == b"sec-websocket-protocol")
    subprotocols = [text.strip() for text in offered.decode("latin-1").split(",")] if offered else []
    opened = {
        **scope,
        "type": "websocket",
        "asgi": {**scope["asgi"], "spec_version": "2.4"},
        "scheme": "wss" if scope["scheme"] == "https" else "ws",
        "subprotocols": subprotocols,
        "extensions": {"websocket.http.response": {}},
    }
    del opened["method"]
    return opened


def without_upgrade(method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request as it would be if it asked for no upgrade."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in headers:
        if name == b"connection":
            options = [option for option in value.split(b",") if option.strip().lower() != b"upgrade"]
            if options:
                lines.append(b"connection: " + b",".join(options))
        elif name != b"upgrade":
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
