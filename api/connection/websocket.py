"""The WebSocket protocol below the application: frames by the `websockets` library, and a bound on everything.

- A read of 256 KiB can hold 40,000 frames. They are parsed 4 KiB at a time, when the application has taken what came
  before; so neither the event loop nor the memory belongs to whoever sends the smallest frames.
- A message has at most MAX_FRAGMENTS fragments: those without content count towards no limit of bytes. One that is
  longer than the application takes is refused at the head of the frame that makes it so, before it has arrived.
- A pong that could not be sent at once is dropped. A client that pings and never reads costs no memory.
- A client is alive as long as it sends anything, or while it is us who do not read; a quiet one must answer pings.
- Whoever does not read is cut off CLOSE_TIMEOUT_S after a close frame, what was not sent is dropped with it. When the
  service stops, half of its grace is the most that this may take, also where the frame can't even be sent.
- The end of the service is told by the application (1001, after the last acknowledgement), not by the server.
"""

import asyncio
import logging
import socket
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn import Config
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from api.connection.counted import CountedProtocol, MessageMemory
from api.connection.cycle import STATUS_LINES, problem_answer
from api.connection.ending import CLOSE_TIMEOUT_S, goodbye_s
from api.connection.farewell import throw_away
from api.connection.keepalive import Keepalive
from api.http.exchange import MAX_MESSAGE_BYTES, Message, Scope

# PERF: 47 frames of ten points, parsed in 0.4 ms; of frames without content, the worst there is, 680 in 6 ms.
PIECE_BYTES = 4096
MAX_FRAGMENTS = 1024
# Beside it the kernel would keep up to 4 MiB of messages that a slow reader gets long after they were true.
SEND_BUFFER_BYTES = 64 * 1024

_MESSAGE_TOO_BIG = 1009
_INVALID_TEXT = 1007
_TRY_AGAIN_LATER = 1013
_FAULT = 1011
_NO_CODE, _ABNORMAL = 1005, 1006

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class ClientGoneError(OSError):
    """Nothing can be sent any more: the stream is closed, or closing."""


class StreamProtocol(CountedProtocol):
    """One WebSocket connection, from the handshake that `HttpProtocol` has read to its end."""

    timed = is_new = False
    """Whether a request may be on its way that a stop has to wait for: a stream's handshake has come."""

    _scope: Scope
    _response: Response
    _frames: ServerProtocol  # once the handshake is accepted

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self._config = config
        self._app: Any = config.loaded_app
        self._state = server_state
        self._app_state = app_state
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._refusal: Message | None = None
        self._answered = self._accepted = False  # the handshake is, one way or the other
        self._close_sent = self._gone = False
        self._close_timer: asyncio.TimerHandle | None = None
        self._close_timeout_s = CLOSE_TIMEOUT_S
        self._parts: list[bytes] = []
        self._memory = MessageMemory()
        self._text = False
        self._unparsed = memoryview(b"")
        self._feeding: asyncio.Handle | None = None
        self._keepalive = Keepalive(config.ws_ping_interval, config.ws_ping_timeout, self._ask, self._give_up_on_client)

    # What the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take over the connection from HTTP."""
        self.take_over(transport)
        self._state.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def open(self, scope: Scope, response: Response, rest: bytes) -> None:
        """Run the application on the stream; `response` accepts it, `rest` came behind its handshake."""
        self._scope = scope
        self._response = response
        self._queue.put_nowait({"type": "websocket.connect"})
        if rest:
            self.data_received(rest)
        task = self.loop.create_task(self._run())
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not parsed; what was parsed still reaches the application, before the news of the end."""
        self._unparsed = memoryview(b"")
        self._keepalive.stop()
        self._queue.put_nowait({"type": "websocket.disconnect", "code": _NO_CODE if self._answered else _ABNORMAL})
        self._state.connections.discard(self)
        self.ended()
        self._answered = self._gone = True
        self.flow.resume_writing()
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        if exc is None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Keep `data`, and parse as much of it as the application waits for."""
        self._keepalive.heard = True
        # Joined only where a read overtook the pause of reading.
        self._unparsed = memoryview(bytes(self._unparsed) + data if self._unparsed else data)
        if self._feeding is None:
            self._feed()

    # What the client sends

    async def receive(self) -> Message:
        """Return the next event for the application; parse on only when there is none."""
        self._memory.done(self)
        if self._unparsed and self._queue.empty() and self._feeding is None:
            self._feed()
        message = await self._queue.get()
        if self._queue.empty():
            self._memory.taken()
        if not self._unparsed:
            self._read_on()
        return message

    def _feed(self) -> None:
        """Parse on until the application has something to do, or it is somebody else's turn."""
        self._feeding = None
        while self._accepted and self._unparsed and (self._queue.empty() or self._close_sent):
            piece, rest = self._unparsed[:PIECE_BYTES], self._unparsed[PIECE_BYTES:]
            self._unparsed = rest or memoryview(b"")  # an empty view would keep all that was read
            self._frames.receive_data(bytes(piece))
            parsed = self._frames.events_received()
            if not (self._close_sent or self._memory.charge(self, len(piece), parsed)):
                self._fail(_TRY_AGAIN_LATER, "too many messages are arriving at once (server.max_body_memory_bytes)")
                break
            for event in parsed:
                if isinstance(event, Frame):
                    self._take(event)
            if self._frames.parser_exc is not None and not self._close_sent:
                self._end_failed()
            # A piece that completes nothing is part of a large frame; one with pings only costs a turn.
            if parsed and self._unparsed and (self._queue.empty() or self._close_sent):
                self._feeding = self.loop.call_soon(self._feed)
                break
        if self._unparsed:
            self.flow.pause_reading()
        else:
            self._read_on()

    def _read_on(self) -> None:
        if self._queue.empty() or self._close_sent:
            self.flow.resume_reading()

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._text = frame.opcode is Opcode.TEXT
                self._parts = []
                self._take_part(frame)
            case Opcode.CONT:
                self._take_part(frame)
            case Opcode.PING:
                self._send_pong()
            case Opcode.PONG:
                self._keepalive.answered(bytes(frame.data))
            case Opcode.CLOSE:
                self._take_close()

    def _take_part(self, frame: Frame) -> None:
        """Take one fragment of a message, and hand the message to the application where it is the last one."""
        if len(self._parts) >= MAX_FRAGMENTS:
            self._parts = []
            if not self._close_sent:
                self._fail(_MESSAGE_TOO_BIG, f"a message has at most {MAX_FRAGMENTS} fragments")
            return
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        if self._close_sent:
            return
        message: Message = {"type": "websocket.receive", "bytes": data}
        if self._text:
            try:
                message = {"type": "websocket.receive", "text": data.decode()}
            except UnicodeDecodeError as error:  # the fault of the client, not ours
                self._fail(_INVALID_TEXT, f"{error.reason} at byte {error.start}")
                return
        self._queue.put_nowait(message)
        self.flow.pause_reading()

    def _send_pong(self) -> None:
        """Send the pongs that are due, or drop them while the client does not read."""
        pongs = self._frames.data_to_send()
        if not (self.flow.write_paused or self.transport.is_closing()):
            self.transport.write(b"".join(pongs))

    def _take_close(self) -> None:
        if self._close_sent:  # by us: this is the answer
            if self._close_timer is not None:
                self._close_timer.cancel()
                self._close_timer = None
                self.close()
        elif not self.transport.is_closing() and self._frames.close_rcvd is not None:
            code, reason = self._frames.close_rcvd.code, self._frames.close_rcvd.reason
            self._queue.put_nowait({"type": "websocket.disconnect", "code": int(code), "reason": reason})
            self._write_frames()
            self.close()

    # What the application sends

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self.receive, self.send)
        except ClientGoneError:
            pass
        except Exception as error:  # noqa: BLE001 - the application answers its own errors; this one it could not
            _log.error("unanswered", exc_info=error)
        finally:
            if not self._answered:
                self._answered = True
                detail = "The service failed; its log has the details"
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                self.transport.write(problem_answer(status, detail, self._own_lines()))
            if self._close_timer is None:
                self.close()

    async def send(self, message: Message) -> None:
        """Send as soon as the client has taken enough of what was sent before; ClientGoneError when it has gone."""
        await self.flow.drain()
        kind: str = message["type"]
        if self._gone and kind == "websocket.close":
            return  # closed already; Falcon tells of an error here as of one that nobody expected
        if self._gone or self._close_sent:
            raise ClientGoneError
        if not self._accepted:
            self._answer_handshake(kind, message)
        elif kind == "websocket.send":
            data = message.get("bytes")
            try:
                if data is not None:
                    self._frames.send_binary(data)
                else:
                    self._frames.send_text(message["text"].encode())
            except InvalidState:
                raise ClientGoneError from None
            self._write_frames()
        elif kind == "websocket.close":
            self._send_close(message.get("code", 1000), message.get("reason") or "")
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r}: a stream that is open is sent to, or closed")

    def _answer_handshake(self, kind: str, message: Message) -> None:
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.http.response.start":
            self._refusal = message
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            head = b"".join(b"%b: %b\r\n" % header for header in self._refusal["headers"])
            lines = STATUS_LINES[self._refusal["status"]] + self._own_lines() + head + b"connection: close\r\n\r\n"
            self._end_refused(lines + message.get("body", b""))
        elif kind == "websocket.close":
            status = HTTPStatus.FORBIDDEN
            self._end_refused(problem_answer(status, "The stream was refused", self._own_lines()))
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r}: a handshake is accepted, closed or answered")

    def _accept(self, message: Message) -> None:
        most = self._scope.get(MAX_MESSAGE_BYTES, self._config.ws_max_size)
        self._frames = ServerProtocol(
            state=State.OPEN, max_size=min(most, self._config.ws_max_size), logger=logging.getLogger("uvicorn.error")
        )
        if message.get("subprotocol"):
            self._response.headers["Sec-WebSocket-Protocol"] = message["subprotocol"]
        head, _, _ = self._response.serialize().partition(b"\r\n\r\n")
        more = b"".join(b"%b: %b\r\n" % header for header in message.get("headers", ()))
        self._answered = self._accepted = True
        self.know(self._scope)
        self.transport.write(b"%b\r\n%b%b\r\n" % (head, self._own_lines(), more))
        self._keepalive.start(self.loop)

    def _end_refused(self, answer: bytes) -> None:
        self._answered = self._close_sent = True
        self._queue.put_nowait({"type": "websocket.disconnect", "code": _ABNORMAL})
        self.transport.write(answer)
        self.close()

    def _send_close(self, code: int, reason: str) -> None:
        if self.transport.is_closing():
            return
        self._queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        try:
            self._frames.send_close(code, reason)
        except InvalidState:
            raise ClientGoneError from None
        self._write_frames()
        self._close_sent = True
        self.flow.resume_reading()
        self._cut_off_later()
        self._feed()

    def _write_frames(self) -> None:
        self.transport.write(b"".join(self._frames.data_to_send()))

    def _own_lines(self) -> bytes:
        return b"".join(b"%b: %b\r\n" % header for header in self._state.default_headers)

    # Life and death

    def _ask(self, payload: bytes) -> bool:
        """Ask a client whether it is there; return whether there is a point in asking."""
        if self._close_sent or self.transport.is_closing():
            return False
        self._frames.send_ping(payload)
        self._write_frames()
        return True

    def _give_up_on_client(self) -> bool:
        """End a stream whose client does not answer; return False where it is us who do not read."""
        if self.flow.read_paused:
            return False
        if not (self._close_sent or self.transport.is_closing()):
            self._frames.fail(_FAULT, "keepalive ping timeout")
            self._write_frames()
            self._close_sent = True
            self.close()
            self._cut_off_later()
        return True

    def _fail(self, code: int, reason: str) -> None:
        self._frames.fail(code, reason)
        self._end_failed()

    def _end_failed(self) -> None:
        """Tell the client what it did wrong, in a close frame, and the application that it is gone."""
        sent = self._frames.close_sent
        code, reason = (sent.code, sent.reason) if sent is not None else (_ABNORMAL, "")
        self._queue.put_nowait({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        self._close_sent = True
        self._keepalive.stop()
        output = self._frames.data_to_send()
        self.transport.write(b"".join(output))
        # What is still on its way is read and thrown away: a connection that is closed over unread bytes is reset, and
        # the client would never see why.
        if SEND_EOF in output and self.transport.can_write_eof():
            self.transport.write_eof()
        self._unparsed = memoryview(b"")
        if not self.transport.is_closing():
            throw_away(self.transport, self, self.loop)
        self._cut_off_later()

    def _cut_off_later(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._close_timer = self.loop.call_later(self._close_timeout_s, self.abort)

    def leave(self) -> None:
        """Go on until `shutdown`: a stream ends because the application was told, not between two requests."""

    def shutdown(self) -> None:
        """Leave a stream that is open to the application, which was told first and closes it with 1001.

        One that is closing goes on as well, until the client has answered: closing over unread bytes would reset it.
        """
        if not self._answered:
            return  # the application refuses it, because the service stops
        self._close_timeout_s = goodbye_s(self._config)
        if self._close_timer is not None:
            self._cut_off_later()
        self.loop.call_later(self._close_timeout_s, self._end_unread)

    def _end_unread(self) -> None:
        """Cut off a client that does not read: nothing can be told to it, and others wait for its end."""
        if self.flow.write_paused:
            self.abort()
