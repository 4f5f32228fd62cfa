"""From the bytes of a connection to its requests: httptools' parser, with a bound on everything that it keeps."""

import urllib.parse
from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools

from api.connection.connections import Connections
from api.connection.cycle import Cycle
from api.connection.farewell import FAREWELL_BYTES
from api.connection.head import (
    HEAD_TOO_LARGE,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    NOTED,
    Handshake,
    HeadRefused,
    asks_for_websocket,
    check,
    handshake,
    note,
    websocket_scope,
    without_upgrade,
)
from api.http.exchange import HANDSHAKE
from api.http.prepared import RAISED, NotStored

if TYPE_CHECKING:
    from api.connection.protocol import HttpProtocol
    from api.http.exchange import Scope

WAITED_FOR_BYTES = 196_608
"""A body announced as no longer than this is waited for before the request is run: a task that takes it piece by piece
costs 45 us more for 10,000 numbers. What decode.py reads in one go is no longer either."""
_SMALL_BODY_BYTES = 65_536
"""A body announced as no longer than this always finds memory.

PERF: it is charged only where it does not come in one piece with its head, for then it is not kept at all."""
_HEADER_BYTES = 200  # what a header takes beside its text
_MAX_CHUNK_OVERHEAD_BYTES = 524_288
_MAX_CHUNK_OVERHEAD_FACTOR = 16
"""Sizes, extensions and trailers of a chunked body may take so much, and so many times the body: the parser has no
bound of its own, and keeps a trailer until its end. A body in chunks of one byte has six times its length."""
_NO_REQUEST = "The bytes that arrived are not an HTTP/1.1 request; the connection ends"
_NO_CONTENT = "The chunks of the body are nearly all frame and no content"
_NO_MEMORY = "Too many large bodies are arriving at once (server.max_body_memory_bytes); send it again a little later"
_SCOPE_VERSION = {"version": "3.0", "spec_version": "2.3"}


_MOST_TARGETS = 256
_LONGEST_TARGET_BYTES = 128
_targets: dict[bytes, tuple[str, bytes, bytes]] = {}
"""Targets that were read already: path, path as it was sent, query.

PERF: a look costs 0.1 us, reading one 1 us."""


def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Read the target of a request, and remember what may be asked often."""
    parsed = httptools.parse_url(url)
    raw_path = parsed.path or b"/"
    path = raw_path.decode("ascii")
    found = urllib.parse.unquote(path) if "%" in path else path, raw_path, parsed.query or b""
    if len(_targets) < _MOST_TARGETS and len(url) <= _LONGEST_TARGET_BYTES:
        _targets[url] = found
    return found


class RequestParser:
    """The requests of one connection, in the order in which they arrive."""

    def __init__(self, connection: "HttpProtocol", watch: Connections) -> None:
        self.arriving = False  # a request has begun, and is not whole
        self.in_body = False
        self.head_bytes = 0
        self.content_length: int | None = None
        self.content_left = 0
        self.received_bytes = 0  # of bodies, all together: who looks twice sees whether one moves
        self.raised: NotStored | None = None  # by the request that is fed next, before it came here
        self.cycle: Cycle | None = None  # the newest request, whose body may still be arriving
        self._connection = connection
        self._watch = watch
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._noted: dict[bytes, bytes] = {}
        self._chunked_bytes = 0
        self._chunk_content_bytes = 0
        self._opened: tuple[Scope, object] | None = None
        self._handshake_fault: str | None = None
        self._begin()

    def charge(self) -> int:
        """Charge what has come of a small body that is not whole; return what a head takes that is not whole."""
        if not self.in_body:
            return self.head_bytes + _HEADER_BYTES * len(self._headers) if self.arriving else 0
        if self.cycle is not None:
            self.cycle.charge()
        return 0

    @property
    def is_wasted(self) -> bool:
        """Whether what arrives is a body that nobody reads."""
        cycle = self.cycle
        return self.in_body and cycle is not None and (cycle.complete or cycle.unwelcome or cycle.given_up is not None)

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        # A client may say that a request is its last, and send another all the same: it is answered the first.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def close(self) -> None:
        """Let go of the parser, which refers to this object and would keep both."""
        del self._parser

    def forget(self) -> None:
        """Let go of the head of a request that was answered, unless it is that of the next one by now."""
        if not self.arriving:
            self._url = b""
            self._headers = []
            self._noted = {}

    def feed(self, data: bytes | memoryview) -> Handshake | None:
        """Take some bytes; return the handshake that ends the HTTP on this connection, if one was among them.

        Raises HeadRefused for what is no request, or one that is not taken.
        """
        if not self.in_body:
            self.head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            refusal = error.__context__
            if isinstance(refusal, HeadRefused):
                raise HeadRefused(refusal.status, refusal.detail) from None
            raise HeadRefused(HTTPStatus.BAD_REQUEST, _NO_REQUEST, malformed=True) from None
        if not self.in_body:
            if self.head_bytes > MAX_HEAD_BYTES:
                raise HeadRefused(*HEAD_TOO_LARGE)
        elif self.content_length is None:
            self._bound_chunks(len(data))
        return None

    def _upgraded(self, rest: bytes | memoryview) -> Handshake | None:
        """Go on behind a head with an upgrade, at which the parser has stopped, as if it had no body.

        One that is not ours is left out, and its head parsed again: the request has the body that it says it has.
        """
        if self._opened is not None:
            scope, response = self._opened
            self._opened = None
            return Handshake(scope, response, bytes(rest))  # type: ignore[arg-type]
        parser = self._parser
        head = without_upgrade(parser.get_method(), self._url, parser.get_http_version(), self._headers)
        fault = self._handshake_fault
        self._begin()
        self.head_bytes = 0
        self.feed(head)
        if fault is not None and self.cycle is not None:
            self.cycle.scope[HANDSHAKE] = fault
        return self.feed(rest) if rest else None

    # What the parser tells

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers = []
        self._noted = {}
        self.content_length = None
        self.content_left = 0
        self.arriving = True
        self.in_body = False

    def on_url(self, url: bytes) -> None:
        """Take some of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those that trail a body are dropped."""
        if self.in_body:
            return
        name = name.lower()
        if name in NOTED:
            note(self._noted, name, value)
        self._headers.append((name, value))
        if len(self._headers) > MAX_HEADERS:
            raise HeadRefused(*HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Make the request, now that its head is known."""
        parser, noted = self._parser, self._noted
        if self.head_bytes > MAX_HEAD_BYTES and self._exact_head_bytes() > MAX_HEAD_BYTES:
            raise HeadRefused(*HEAD_TOO_LARGE)  # it came in one piece, with others behind it or not
        method, version = parser.get_method().decode("ascii"), parser.get_http_version()
        check(method, version, noted)
        length = noted.get(b"content-length")
        if length is not None:
            self.content_length = self.content_left = int(length)
        scope = self._scope(method, version)
        if self.raised is not None:
            scope[RAISED], self.raised = self.raised, None
        has_body = bool(self.content_left) or b"transfer-encoding" in noted
        if parser.should_upgrade():
            self._judge_upgrade(scope, has_body=has_body)
            return
        # Only now: until here an error is one of this head, not of a body of the request before it.
        self.in_body = True
        self.head_bytes = 0
        self._chunked_bytes = self._chunk_content_bytes = 0
        expected = noted.get(b"expect", b"").lower() == b"100-continue"
        self.cycle = cycle = Cycle(
            self._connection,
            scope,
            keep_alive=version == "1.1" and parser.should_keep_alive(),
            awaits_continue=expected and version == "1.1",
        )
        if has_body and self._watch.admits(scope):
            self._connection.know(scope)
        elif has_body:
            # It is refused without its body, which is read and thrown away, or ends with the connection.
            cycle.unwelcome = True
            if self.content_length is None or self.content_length > FAREWELL_BYTES:
                cycle.keep_alive = False
        self._connection.waiting.append(cycle)

    def _scope(self, method: str, version: str) -> "Scope":
        connection = self._connection
        path, raw_path, query = _targets.get(self._url) or _target(self._url)
        return {
            "type": "http",
            "asgi": _SCOPE_VERSION,
            "http_version": version,
            "server": connection.server,
            "client": connection.client,
            "scheme": connection.scheme,
            "root_path": "",
            "method": method,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "state": connection.app_state,
        }

    def _judge_upgrade(self, scope: "Scope", *, has_body: bool) -> None:
        self._handshake_fault = None
        if asks_for_websocket(self._headers):
            judged = handshake(scope, has_body=has_body)
            if isinstance(judged, str):
                self._handshake_fault = judged
            else:
                self._opened = websocket_scope(scope), judged

    def on_body(self, body: bytes) -> None:
        """Keep some of the body, unless its request is refused, or has been answered already."""
        self.content_left -= len(body)
        self.received_bytes += len(body)
        cycle = self.cycle
        length = self.content_length
        if length is None:
            self._chunk_content_bytes += len(body)
        if cycle is None or self.is_wasted:
            return
        if length is None or length > _SMALL_BODY_BYTES:
            if not self._watch.hold(self._connection, len(body)):
                cycle.give_up(HTTPStatus.SERVICE_UNAVAILABLE, _NO_MEMORY)
                return
            cycle.held_bytes += len(body)
        cycle.kept_bytes += len(body)
        cycle.body.append(body)
        cycle.wake()

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self.arriving = False
        self.in_body = False
        self.head_bytes = 0
        self._connection.standing.arrived()
        cycle = self.cycle
        if cycle is not None and not cycle.complete:
            cycle.more_body = False
            cycle.wake()

    def _bound_chunks(self, size: int) -> None:
        """Count `size` more bytes of a chunked body, and refuse it when hardly any of them are body."""
        self._chunked_bytes += size
        if self._chunked_bytes > _MAX_CHUNK_OVERHEAD_BYTES + _MAX_CHUNK_OVERHEAD_FACTOR * self._chunk_content_bytes:
            raise HeadRefused(HTTPStatus.BAD_REQUEST, _NO_CONTENT, malformed=True)

    def _exact_head_bytes(self) -> int:
        return len(self._url) + sum(len(name) + len(value) for name, value in self._headers)
