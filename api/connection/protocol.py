"""HTTP/1.1 on one connection: an `asyncio.Protocol` around httptools' parser, with bounds.

A request must arrive in time and its headers must be few; a body that does not, connections beyond the limit and bodies
beyond the memory for them are refused, as problem documents, and told apart in the log. `requests.py` has what comes
in, `cycle.py` what goes out, `parting.py` how the connection ends; here is whose turn it is.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn import Config
from uvicorn.server import ServerState

from api.connection.connections import Connection, Connections
from api.connection.counted import MOST_UNCOUNTED_BYTES
from api.connection.cycle import Cycle
from api.connection.drain import LINGER_S
from api.connection.flow import Address, both_ends, is_tls
from api.connection.head import MAX_HEAD_BYTES, NO_ROOM, UPGRADE_TOO_EARLY, Handshake, HeadRefused
from api.connection.parting import Parting
from api.connection.requests import WAITED_FOR_BYTES, RequestParser
from api.connection.rest import begin
from api.connection.short import ShortWay
from api.connection.standing import Standing
from api.connection.websocket import SEND_BUFFER_BYTES, StreamProtocol
from api.http.exchange import ENDLESS, Scope

_MAX_BUFFERED_BODY_BYTES = 65_536
_SLICE_BYTES = 4_096
_STRANGERS_SLICE_BYTES = 512  # some ten of the smallest requests, which may have to wait for the turn of strangers
_REQUEST_BYTES = 4_096  # what a request takes, as objects, that waits for its turn
_MAX_TURNS = 16
"""So many pipelined requests are run before other connections have their turn."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def is_one_piece(data: bytes) -> bool:
    """Whether no head ends in some bytes, so that they are no two requests, however long they are.

    PERF: a head of 60 kB that is not whole takes 0.1 ms so, and 0.5 in slices.
    """
    return len(data) <= MAX_HEAD_BYTES and b"\n\r\n" not in data and b"\n\n" not in data


class HttpProtocol(Parting):
    """One connection, from its first byte to its last; its requests are run one after the other."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        watch: Connections,
        handshake: Connection | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        super().__init__(watch, _loop or asyncio.get_running_loop())
        self.app_state = app_state
        self.server: Address | None = None
        self.client: Address | None = None
        self.scheme = "http"
        self.waiting: deque[Cycle] = deque()
        self._config = config
        self._app: Any = config.loaded_app
        self._state = server_state
        self.standing = Standing(self, watch)
        self._handshake = handshake  # of TLS: what this connection was until now
        self.parser = RequestParser(self, watch)
        self._short = ShortWay(self, watch)
        self.running: Cycle | None = None
        self._unparsed = memoryview(b"")
        self._slicing = self._resting = False
        self._charged = 0
        self._eof = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a connection too many is told so when it asks."""
        self.take_over(transport)
        self.server, self.client = both_ends(transport)
        self.scheme = "https" if is_tls(transport) else "http"
        self._state.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own protocols
        watch, before = self.watch, self._handshake
        if before is not None:
            self._handshake = None
            self._ending = watch.leaving
            watch.goes_on(before, self)
            self.standing.idle()
        elif not watch.opened(self, self.client[0] if self.client else None, self.loop):
            self._refusal = HTTPStatus.SERVICE_UNAVAILABLE, watch.limits.too_many()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: whoever waits for more of a request, or to write more of an answer, is told."""
        self._state.connections.discard(self)
        self.ended()
        for cycle in (self.running, self.parser.cycle, *self.waiting):
            if cycle is not None and not cycle.complete:
                cycle.disconnected = True
                cycle.wake()
                cycle.release()
        self.waiting.clear()
        self._short.held = b""
        self._unparsed = memoryview(b"")
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser.close()

    def eof_received(self) -> bool | None:
        """Answer what has arrived whole of a client that sends no more, and then end; it may still be listening.

        Not over TLS, where the transport ends in any case, nor where the answer has no end of its own.
        """
        self._parse_held()
        arriving = self.parser.arriving
        if arriving or self.scheme == "https" or not (self.running or self.waiting or self._unparsed):
            return super().eof_received()
        if self.running is not None and ENDLESS in self.running.scope:
            return super().eof_received()
        self._eof = self._ending = True
        return True

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, and run the requests that are whole.

        Thousands of tiny requests fit into what is read at once. They are parsed as they are run, not before: as
        objects they would take twenty times the memory.
        """
        data = self._short.take(data)
        size = len(data)
        if not size:
            return
        if not self._unparsed and (size <= _STRANGERS_SLICE_BYTES or size <= self._slice_bytes() or is_one_piece(data)):
            self._take(data)
            return
        self._unparsed = memoryview(bytes(self._unparsed) + data if self._unparsed else data)
        self._take_slices()
        if self.parser.is_wasted and not (self.parted or self.transport.is_closing()):
            self._rest()

    def _parse_held(self) -> None:
        """Have the parser read a head that waits for its body: that may come otherwise than it mostly does, or not."""
        held, self._short.held = self._short.held, b""
        if held:
            self._take(held)

    def _slice_bytes(self) -> int:
        strange = self.budget.token is None and self.watch.guarded
        return _STRANGERS_SLICE_BYTES if strange else _SLICE_BYTES

    def _take_slices(self) -> None:
        """Parse what waits for that, until enough requests wait to be run."""
        self._slicing = True
        parser = self.parser
        while self._unparsed and not self._resting and len(self.waiting) < _MAX_TURNS:
            # What is known to be the body of one request is no danger in one piece.
            size = max(parser.content_left if parser.in_body else 0, self._slice_bytes())
            piece, rest = self._unparsed[:size], self._unparsed[size:]
            self._unparsed = rest or memoryview(b"")  # an empty view would keep all that was read
            self._take(piece)
        self._slicing = False
        if self._unparsed:
            self.flow.pause_reading()
        self._charge()

    def _charge(self) -> bool:
        """Charge what has arrived of requests that can't be run yet; return False where that was too much."""
        parser = self.parser
        if self._refusal is not None or self.transport.is_closing():
            return True
        for cycle in self.waiting:
            cycle.charge()
        kept = len(self._unparsed) + parser.charge() + _REQUEST_BYTES * len(self.waiting)
        if kept == self._charged or self.watch.keep_requests(self, kept):
            self._charged = kept
            return True
        self.refuse(*NO_ROOM)
        return False

    def _take(self, data: bytes | memoryview) -> None:
        """Parse some bytes, and run the requests that are whole."""
        self.standing.busy()
        if self._refusal is not None:
            self._end_refused()
            return
        try:
            handshake = self.parser.feed(data)
        except HeadRefused as refused:
            self._refuse_head(refused)
            return
        if handshake is None:
            self._go_on()
        elif self.running is not None or self.waiting:
            self.refuse(HTTPStatus.BAD_REQUEST, UPGRADE_TOO_EARLY)
        else:
            self._become_websocket(handshake)

    def _become_websocket(self, handshake: Handshake) -> None:
        """Hand the connection over to the protocol of WebSockets."""
        if self.transport.is_closing():
            return
        if self.budget.token is None and not self._has_turn(handshake.scope):
            self._wait_for_turn(partial(self._become_websocket, handshake))
            return
        rest = handshake.rest + bytes(self._unparsed)
        self._state.connections.discard(self)
        self._unparsed = memoryview(b"")
        self._charged = 0
        self.parser.close()
        self.flow.resume_reading()
        make: Any = self._config.ws_protocol_class
        stream: StreamProtocol = make(self._config, self._state, self.app_state, self.loop)
        self.transport.set_protocol(stream)
        stream.watch = self.watch
        self.watch.goes_on(self, stream)
        stream.connection_made(self.transport)
        stream.open(handshake.scope, handshake.response, rest)

    # Running requests

    def _go_on(self) -> None:
        """Run the requests that are due, in their order, then say what this connection is waiting for."""
        turns, waiting = 0, self.waiting
        while waiting and self.running is None and self._may_run(waiting[0]):
            if turns == _MAX_TURNS:
                self._rest()
                return
            if self.watch.guarded and self.budget.token is None and not self._has_turn(waiting[0].scope):
                self._wait_for_turn(self._resume)
                return
            turns += 1
            self._run(waiting.popleft())
        if self.parted or self.transport.is_closing():
            return
        if self._unparsed and not self._slicing and len(waiting) < _MAX_TURNS:
            self._take_slices()
        else:
            self._note_state()

    def _has_turn(self, scope: Scope) -> bool:
        """Return whether a request may be run in this turn of the event loop: that of a token, or of few strangers."""
        watch = self.watch
        if not watch.guarded or watch.turn.take(self.loop):
            return True
        if not watch.admits(scope):
            return False
        self.know(scope)
        return True

    def _wait_for_turn(self, go_on: Callable[[], None]) -> None:
        self.flow.pause_reading()
        self._resting = True
        self.watch.turn.wait(self, go_on)

    def _rest(self) -> None:
        """Let other connections have their turn."""
        self.flow.pause_reading()
        if not self._resting:
            self._resting = True
            self.loop.call_soon(self._resume)

    def _note_state(self) -> None:
        """Tell the watch whether a request is arriving, or the connection idle; hold back a client that is ahead."""
        running, parser = self.running, self.parser
        if parser.arriving or self._charged or self._unparsed or self.waiting or self.standing.told_body is not None:
            if not (self._slicing or self._charge()):
                return
            self.standing.arriving(parser, answering=running is not None)
        if running is not None:
            too_much = sum(map(len, running.body)) > _MAX_BUFFERED_BODY_BYTES
            if too_much or (self.waiting and running is not parser.cycle):
                self.flow.pause_reading()
            return
        if self._unparsed:
            return
        self.flow.resume_reading()
        if self._refusal is not None:
            self._end_refused()
        elif self._eof and not self.waiting:
            self.close()
        elif not self.parser.arriving:
            self._note_idle()

    def _note_idle(self) -> None:
        self.standing.idle()
        if self._over:  # the head of that answer did not say that it is the last: one request may be on its way
            self.loop.call_later(LINGER_S, self.shutdown)

    def _may_run(self, cycle: Cycle) -> bool:
        """Return whether `cycle` need not wait for the rest of its body."""
        parser = self.parser
        if cycle is not parser.cycle or not cycle.more_body or cycle.awaits_continue or cycle.given_up:
            return True
        return cycle.unwelcome or parser.content_length is None or parser.content_length > WAITED_FOR_BYTES

    def _run(self, cycle: Cycle) -> None:
        """Run the application on one request, up to where it waits; a task does the rest."""
        self.running = cycle
        rest = begin(self._answer(cycle))
        if rest is None:
            return
        cycle.in_task = True
        cycle.charge()
        cycle.flush_head()
        if ENDLESS in cycle.scope:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        task = rest(self.loop)
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _answer(self, cycle: Cycle) -> None:
        try:
            await self._app(cycle.scope, cycle.receive, cycle.send)
        except Exception as error:  # noqa: BLE001 - the application answers its own errors; this one it could not
            _log.error("unanswered", exc_info=error)
        if not cycle.complete and not cycle.disconnected:
            self.close()  # half an answer must not look like a whole one
            cycle.release()

    def answered(self, cycle: Cycle) -> None:
        """Go on after the answer to `cycle` has been written."""
        self._state.total_requests += 1
        self.running = None
        self._short.learn(cycle)
        cycle.release()
        cycle.forget()
        self.parser.forget()
        if self.sent_bytes > MOST_UNCOUNTED_BYTES:
            self.look()
        if not cycle.keep_alive:
            still_sending = self.parser.arriving or bool(self.waiting or self._unparsed)
            self.waiting.clear()
            self._unparsed = memoryview(b"")
            if still_sending:
                self._part()
            else:
                self.close()
        elif cycle.in_task:
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._resting = False
        if not (self.parted or self.transport.is_closing()) and self.running is None:
            self._go_on()

    @property
    def is_free(self) -> bool:
        """Whether the next request can be answered at once: nothing is under way, and the client takes its answers."""
        return self.standing.is_idle() and self.may_answer

    @property
    def may_answer(self) -> bool:
        """Whether an answer may be written as it stands: it is not the last, and the client takes what it is sent."""
        return not (self._ending or self.flow.write_paused)
