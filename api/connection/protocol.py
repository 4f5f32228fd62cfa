"""HTTP/1.1 on one connection: uvicorn's httptools protocol, with bounds, and with less work a request.

Bounds: a request must arrive in time and its headers must be few; a body that does not, connections beyond the limit
and bodies beyond the memory for them are refused, as problem documents, and told apart in the log.

PERF: a request that has wholly arrived is run at once, up to where it would wait for something; most never wait. A task
is made only for the rest of those that do. It saves the task, two callbacks and one turn of the event loop a request.
One consequence: before its first real wait a resource has no current task, so `asyncio.timeout` and `TaskGroup` are
not at its disposal there.
"""

import asyncio
import contextvars
import socket
import urllib.parse
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools
import structlog
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.connection.connections import Connections
from api.connection.cycle import STATUS_LINES, Cycle
from api.connection.drain import LINGER_S
from api.connection.farewell import say_farewell
from api.connection.websocket import SEND_BUFFER_BYTES, goodbye_s
from api.http import problems
from api.http.exchange import ENDLESS

if TYPE_CHECKING:
    from api.http.exchange import Scope

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100
_WAITED_FOR_BYTES = 196_608
"""A body announced as no longer than this is waited for before the request is run: a task that takes it piece by piece
costs 45 us more for 10,000 numbers. What decode.py reads in one go is no longer either."""
_SMALL_BODY_BYTES = 65_536
"""A body announced as no longer than this is not counted among those that are arriving."""
_MAX_BUFFERED_BODY_BYTES = 65_536
_MAX_CHUNK_OVERHEAD_BYTES = 524_288
_MAX_CHUNK_OVERHEAD_FACTOR = 16
"""Sizes, extensions and trailers of a chunked body may take so much, and so many times the body: the parser has no
bound of its own, and keeps a trailer until its end. A body in chunks of one byte has six times its length."""
_VERSIONS = frozenset({"1.1", "1.0"})
_HEAD_TOO_LARGE = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request has more than {MAX_HEADERS} headers, or more than {MAX_HEAD_BYTES} bytes before its body",
)
# 505 would be a fault of the server by its number. httptools lets 0.9 and 2.0 pass, Falcon does not know them.
_OTHER_VERSION = "The request is of another version of HTTP than 1.1 and 1.0; the connection ends"
_UPGRADE_WITH_BODY = "The request asks for an upgrade and has a body; there is only HTTP/1.1 here: leave Upgrade out"
_UPGRADE_TOO_EARLY = "The upgrade came before the requests ahead of it were answered: wait for their answers first"
_SLICE_BYTES = 4_096
_MAX_TURNS = 16
"""So many pipelined requests are run before other connections have their turn."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class HttpProtocol(HttpToolsProtocol):
    """One connection. Of uvicorn's protocol it keeps the set-up and the way to web sockets."""

    cycle: Cycle | None  # type: ignore[assignment]  # the newest request, whose body may still be arriving

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        watch: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._watch = watch
        self._running: Cycle | None = None
        self._waiting: deque[Cycle] = deque()
        self._arriving = False  # a request has begun, and is not whole
        self._in_body = False
        self._head_bytes = 0
        self._content_length: int | None = None
        self._content_left = 0
        self._unparsed = memoryview(b"")
        self._slicing = self._resting = False
        self._chunked_bytes = 0
        self._chunk_content_bytes = 0
        self._watched: bool | None = None  # what the watch was told: False for headers, True for a body
        self._ending = watch.leaving
        self._over = False  # `shutdown` was called: nobody waits any more for requests that have not begun
        self._parted = False  # the last answer was sent; whatever still comes is thrown away
        self._upgrade_ignored = False
        self._eof = False
        self._refusal: tuple[HTTPStatus, str] | None = None

    # What the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a connection too many is told so when it asks."""
        super().connection_made(transport)
        if not self._watch.opened(self, self.loop):
            limit = self._watch.limits.max_connections
            self._refusal = (
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"All {limit} connections are in use (server.max_connections); close idle ones, or try again later",
            )
            self._watch.reading(self, body=False)
            self._watched = False

    def connection_lost(self, exc: Exception | None) -> None:
        """End: whoever waits for more of a request, or to write more of an answer, is told."""
        self.connections.discard(self)
        self._watch.closed(self)
        for cycle in (self._running, self.cycle, *self._waiting):
            if cycle is not None and not cycle.complete:
                cycle.disconnected = True
                cycle.wake()
                self._release(cycle)
        self._waiting.clear()
        self._unparsed = memoryview(b"")
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]  # it refers to this protocol: no cycle is left behind

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what has arrived whole of a client that sends no more, and then end; it may still be listening.

        Not over TLS, where the transport ends in any case, nor where the answer has no end of its own.
        """
        if self._arriving or self.scheme == "https" or not (self._running or self._waiting or self._unparsed):
            return False
        if self._running is not None and ENDLESS in self._running.scope:
            return False
        self._eof = self._ending = True
        return True

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, and run the requests that are whole.

        Thousands of tiny requests fit into what is read at once. They are parsed as they are run, not before: as
        objects they would take twenty times the memory.
        """
        if len(data) <= _SLICE_BYTES and not self._unparsed:
            self._take(data)
        else:
            self._unparsed = memoryview(bytes(self._unparsed) + data if self._unparsed else data)
            self._take_slices()

    def _take_slices(self) -> None:
        """Parse what waits for that, until enough requests wait to be run."""
        self._slicing = True
        while self._unparsed and not self._resting and len(self._waiting) < _MAX_TURNS:
            # What is known to be the body of one request is no danger in one piece.
            size = max(self._content_left, _SLICE_BYTES) if self._in_body else _SLICE_BYTES
            piece, rest = self._unparsed[:size], self._unparsed[size:]
            self._unparsed = rest or memoryview(b"")  # an empty view would keep all that was read
            self._take(piece)
        self._slicing = False
        if self._unparsed:
            self.flow.pause_reading()

    def _take(self, data: bytes | memoryview) -> None:
        """Parse some bytes, and run the requests that are whole."""
        watch = self._watch
        watch.idle.pop(self, None)
        if self._refusal is not None:
            self._end_refused()
            return
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                if self._running is not None or self._waiting:
                    self._refuse(HTTPStatus.BAD_REQUEST, _UPGRADE_TOO_EARLY)
                    return
                watch.closed(self)
                self._unparsed = memoryview(b"")
                self.handle_websocket_upgrade()
                return
            self._upgrade_ignored = True
            self._unparsed = memoryview(b"")
        except httptools.HttpParserError as error:
            self._refuse_malformed(error)
            return
        if not self._in_body and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(*_HEAD_TOO_LARGE)
            return
        if self._in_body and self._content_length is None:
            self._bound_chunks(len(data))
        self._go_on()

    def pause_writing(self) -> None:
        """Let answers wait: the client does not take them as fast as they come."""
        super().pause_writing()
        self._watch.stalled(self)

    def resume_writing(self) -> None:
        """Let answers go on."""
        super().resume_writing()
        self._watch.moving(self)

    # What the parser tells

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._content_length = None
        self._content_left = 0
        self._arriving = True
        self._in_body = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those that trail a body are dropped."""
        if self._in_body:
            return
        name = name.lower()
        if name == b"content-length":
            self._content_length = self._content_left = int(value)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > MAX_HEADERS:
            raise _HeadRefused(*_HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Make the request, now that its head is known."""
        parser = self.parser
        if self._head_bytes > MAX_HEAD_BYTES and self._exact_head_bytes() > MAX_HEAD_BYTES:
            raise _HeadRefused(*_HEAD_TOO_LARGE)  # it came in one piece, with others behind it or not
        version = parser.get_http_version()
        if version not in _VERSIONS:
            raise _HeadRefused(HTTPStatus.BAD_REQUEST, _OTHER_VERSION)
        url = httptools.parse_url(self.url)
        raw_path = url.path or b"/"
        path = raw_path.decode("ascii")
        if parser.should_upgrade() and (self._content_length or self._chunked()):
            raise _HeadRefused(HTTPStatus.BAD_REQUEST, _UPGRADE_WITH_BODY)
        # Only now: until here an error is one of this head, not of a body of the request before it.
        self._in_body = True
        self._head_bytes = 0
        self._chunked_bytes = self._chunk_content_bytes = 0
        scope: Scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "method": parser.get_method().decode("ascii"),
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "headers": self.headers,
            "state": self.app_state,
        }
        self.scope = scope  # type: ignore[assignment]  # the way to web sockets reads it
        upgrades = parser.should_upgrade()
        if upgrades and self._should_upgrade():
            self._in_body = False
            return
        self.cycle = Cycle(
            self,
            scope,
            keep_alive=version != "1.0" and parser.should_keep_alive() and not upgrades,
            awaits_continue=self.expect_100_continue,
        )
        self._waiting.append(self.cycle)

    def _chunked(self) -> bool:
        return any(name == b"transfer-encoding" for name, _ in self.headers)

    def _bound_chunks(self, size: int) -> None:
        """Count `size` more bytes of a chunked body, and end the connection when hardly any of them are body."""
        self._chunked_bytes += size
        if self._chunked_bytes > _MAX_CHUNK_OVERHEAD_BYTES + _MAX_CHUNK_OVERHEAD_FACTOR * self._chunk_content_bytes:
            cycle = self.cycle
            self._watch.counts.malformed += 1
            if cycle is not None and cycle.complete:
                self.transport.close()
            else:
                self._refuse(HTTPStatus.BAD_REQUEST, "The chunks of the body are nearly all frame and no content")

    def _exact_head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """Keep some of the body, unless its request has been answered already."""
        self._content_left -= len(body)
        cycle = self.cycle
        length = self._content_length
        if length is None:
            self._chunk_content_bytes += len(body)
        if cycle is None or cycle.complete or cycle.given_up:
            return
        if length is None or length > _SMALL_BODY_BYTES:
            if not self._watch.hold(len(body)):
                cycle.body = []
                self._give_up(cycle, HTTPStatus.SERVICE_UNAVAILABLE)
                return
            cycle.held_bytes += len(body)
        cycle.body.append(body)
        cycle.wake()

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._arriving = False
        self._in_body = False
        self._head_bytes = 0
        if self._watched is not None:  # the next request has its own time, also when it has begun in the same bytes
            self._watched = None
            self._watch.read(self)
        cycle = self.cycle
        if cycle is not None and not cycle.complete:
            cycle.more_body = False
            cycle.wake()

    # Running requests

    def _go_on(self) -> None:
        """Run the requests that are due, in their order, then say what this connection is waiting for."""
        turns = 0
        waiting = self._waiting
        while waiting and self._running is None and self._may_run(waiting[0]):
            if turns == _MAX_TURNS:
                self._rest()
                return
            turns += 1
            self._run(waiting.popleft())
        if self._parted or self.transport.is_closing():
            return
        if self._unparsed and not self._slicing and len(waiting) < _MAX_TURNS:
            self._take_slices()
        else:
            self._note_state()

    def _rest(self) -> None:
        """Let other connections have their turn."""
        self.flow.pause_reading()
        if not self._resting:
            self._resting = True
            self.loop.call_soon(self._resume)

    def _note_state(self) -> None:
        """Tell the watch whether a request is arriving, or the connection idle; hold back a client that is ahead."""
        watch = self._watch
        running = self._running
        if self._arriving:
            if self._watched is not self._in_body:
                self._watched = self._in_body
                watch.reading(self, body=self._in_body)
        elif self._watched is not None:
            self._watched = None
            watch.read(self)
        if running is not None:
            if (self._waiting and running is not self.cycle) or _size(running.body) > _MAX_BUFFERED_BODY_BYTES:
                self.flow.pause_reading()
            return
        if self._unparsed:
            return
        self.flow.resume_reading()
        if self._refusal is not None:
            self._end_refused()
        elif (self._upgrade_ignored or self._eof) and not self._waiting:
            self.transport.close()
        elif not self._arriving:
            self._note_idle()

    def _note_idle(self) -> None:
        self._watch.idle[self] = self._watch.now
        if self._over:  # the head of that answer did not say that it is the last: one request may be on its way
            self.loop.call_later(LINGER_S, self.shutdown)

    def _may_run(self, cycle: Cycle) -> bool:
        """Return whether `cycle` need not wait for the rest of its body."""
        if cycle is not self.cycle or not cycle.more_body or cycle.awaits_continue or cycle.given_up:
            return True
        return self._content_length is None or self._content_length > _WAITED_FOR_BYTES

    def _run(self, cycle: Cycle) -> None:
        """Run the application on one request, up to where it waits; a task does the rest."""
        self._running = cycle
        coroutine = self._answer(cycle)
        context = contextvars.Context()
        try:
            awaited = context.run(coroutine.send, None)
        except StopIteration:
            return
        cycle.in_task = True
        cycle.flush_head()
        if ENDLESS in cycle.scope:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        task = self.loop.create_task(_continue(coroutine, awaited), context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, cycle: Cycle) -> None:
        try:
            await self.app(cycle.scope, cycle.receive, cycle.send)
        except Exception as error:  # noqa: BLE001 - the application answers its own errors; this one it could not
            _log.error("unanswered", exc_info=error)
        if not cycle.complete and not cycle.disconnected:
            self.transport.close()  # half an answer must not look like a whole one
            self._release(cycle)

    def answered(self, cycle: Cycle) -> None:
        """Go on after the answer to `cycle` has been written."""
        self.server_state.total_requests += 1
        self._running = None
        self._release(cycle)
        if not cycle.keep_alive:
            still_sending = self._arriving or bool(self._waiting or self._unparsed)
            self._waiting.clear()
            self._unparsed = memoryview(b"")
            if still_sending:
                self._part()
            else:
                self.transport.close()
        elif cycle.in_task:
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._resting = False
        if not (self._parted or self.transport.is_closing()) and self._running is None:
            self._go_on()

    def is_ending(self, cycle: Cycle) -> bool:
        """Return whether the answer to `cycle` is the last one on this connection."""
        return self._ending and not self._waiting and not self._unparsed and cycle is self.cycle

    def date_lines(self) -> bytes:
        """Return the header lines that every answer begins with."""
        return _common_lines(self.server_state.default_headers)

    def _release(self, cycle: Cycle) -> None:
        if cycle.held_bytes:
            self._watch.body_bytes -= cycle.held_bytes
            cycle.held_bytes = 0

    # Refusing

    def _give_up(self, cycle: Cycle, status: HTTPStatus) -> None:
        """Stop waiting for the body of `cycle`; the application answers with `status`."""
        cycle.given_up = status
        cycle.keep_alive = False
        cycle.wake()

    def time_out(self) -> None:
        """Refuse the request that has not arrived in time."""
        limits = self._watch.limits
        cycle = self.cycle
        self._watched = None
        if self._refusal is not None:
            self.transport.close()
        elif self._in_body and cycle is not None and cycle.complete:
            self.transport.close()  # answered before its body ended, and the rest never came
        else:
            what, seconds, key = (
                ("body", limits.body_timeout_s, "body_timeout_s")
                if self._in_body
                else ("headers", limits.header_timeout_s, "header_timeout_s")
            )
            detail = f"The {what} did not arrive within {seconds:g} seconds (server.{key})"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, detail)

    def _refuse_malformed(self, error: httptools.HttpParserError) -> None:
        refusal = error.__context__
        if isinstance(refusal, _HeadRefused):
            self._refuse(refusal.status, refusal.detail)
            return
        self._watch.counts.malformed += 1
        self._refuse(HTTPStatus.BAD_REQUEST, "The bytes that arrived are not an HTTP/1.1 request; the connection ends")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer what cannot become a request, once the requests before it are answered, and end the connection."""
        cycle = self.cycle
        self._unparsed = memoryview(b"")
        if self._in_body and cycle is not None and not cycle.complete:  # its body will never be whole
            if cycle is self._running:
                self._give_up(cycle, status)
                return
            self._waiting.pop()
        self._refusal = (status, detail)
        self._arriving = False
        self.flow.pause_reading()
        self._go_on()

    def _end_refused(self) -> None:
        if self._refusal is not None and not (self._parted or self.transport.is_closing()):
            status, detail = self._refusal
            client = self.client[0] if self.client else None
            _log.info("refused", status=status.value, detail=detail, client=client)
            body = problems.problem(status, detail)
            self.transport.write(
                b"".join(
                    (
                        STATUS_LINES[status.value],
                        self.date_lines(),
                        b"content-type: application/problem+json\r\n",
                        b"content-length: %d\r\n" % len(body),
                        b"retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else b"",
                        b"connection: close\r\n\r\n",
                        body,
                    )
                )
            )
            self._part()

    def _part(self) -> None:
        """Close after the last answer in such a way that a client which is still sending sees that answer."""
        self._parted = True
        self._arriving = False
        self._watch.read(self)
        say_farewell(self.transport, self, self.loop)

    # Ending

    def close_idle(self) -> None:
        """Close a connection that has been idle for too long, or that makes room for another."""
        self.transport.close()

    def abort(self) -> None:
        """Drop a connection whose client does not take its answer."""
        self.transport.abort()

    @property
    def is_new(self) -> bool:
        """Whether nothing of a request has arrived yet."""
        return self.cycle is None and not self._arriving

    def leave(self) -> None:
        """End after the next answer, which says so: the client may still send a request until it has read that."""
        self._ending = True

    def shutdown(self) -> None:
        """End once what has begun to arrive is answered; an answer without end, once its reader has it."""
        self._ending = self._over = True
        if self._running is None and not self._waiting and not self._arriving:
            self.transport.close()
        elif self._running is not None and ENDLESS in self._running.scope:
            self.loop.call_later(goodbye_s(self.config), self._end_unread)

    def _end_unread(self) -> None:
        """Drop the end of an answer without end, if its reader does not read."""
        if self.flow.write_paused:
            self.transport.abort()


class _HeadRefused(Exception):
    """Ends the parser's work on a head that is well-formed, and is not taken."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class _Rest:
    """What is left of a coroutine that has been run up to its first wait."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: object) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine, awaited = self._coroutine, self._awaited
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - handed on, whatever it is
                step: Callable[[], Any] = partial(coroutine.throw, error)
            else:
                step = partial(coroutine.send, sent)
            try:
                awaited = step()
            except StopIteration:
                return


async def _continue(coroutine: Coroutine[Any, Any, None], awaited: object) -> None:
    await _Rest(coroutine, awaited)


def _size(parts: list[bytes]) -> int:
    return sum(map(len, parts)) if parts else 0


class _Common:
    """The headers of every answer that were last asked for, and their lines."""

    headers: object = None
    lines = b""


def _common_lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the lines of these headers.

    PERF: the server makes a new list each second, for the date; joined for each answer they would cost 0.6 us.
    """
    if _Common.headers is not headers:
        _Common.headers, _Common.lines = headers, b"".join(b"%b: %b\r\n" % header for header in headers)
    return _Common.lines
