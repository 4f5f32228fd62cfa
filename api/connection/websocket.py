"""The WebSocket protocol below the application: uvicorn's around the `websockets` library, with a bound on everything.

What is different here, and why:

- A read of 256 KiB can hold 40,000 frames. They are parsed 4 KiB at a time, when the application has taken what came
  before; so neither the event loop nor the memory belongs to whoever sends the smallest frames.
- A message has at most MAX_FRAGMENTS fragments: those without content count towards no limit of bytes.
- A pong that could not be sent at once is dropped. A client that pings and never reads costs no memory.
- A client is alive as long as it sends anything, or while it is us who do not read; a quiet one must answer pings.
- Whoever does not read is cut off CLOSE_TIMEOUT_S after a close frame, what was not sent is dropped with it. When the
  service stops, half of its grace is the most that this may take, also where the frame can't even be sent.
- The end of the service is told by the application (1001, after the last acknowledgement), not by the server.
"""

import asyncio
import socket
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets import http11
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.protocol import SEND_EOF

# PERF: 47 frames of ten points, parsed in 0.4 ms; of frames without content, the worst there is, 680 in 6 ms.
PIECE_BYTES = 4096
MAX_FRAGMENTS = 1024
CLOSE_TIMEOUT_S = 3.0
# Beside it the kernel would keep up to 4 MiB of messages that a slow reader gets long after they were true.
SEND_BUFFER_BYTES = 64 * 1024

# The handshake is parsed a second time, from a head that the HTTP parser has bounded (64 KiB). The library's own limit,
# 8 KiB a line, is less than an address with 256 symbols may take, and uvicorn would leave who exceeds it unanswered.
http11.MAX_LINE_LENGTH = 131_072

_MESSAGE_TOO_BIG = 1009
_INVALID_TEXT = 1007


def goodbye_s(config: Config) -> float:
    """Return how long a client may take to read the end of its stream when the service stops."""
    return min(CLOSE_TIMEOUT_S, (config.timeout_graceful_shutdown or 0.0) / 2)


class StreamProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection, from its handshake to its end."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.close_timeout = CLOSE_TIMEOUT_S
        self._unparsed = memoryview(b"")
        self._feeding: asyncio.Handle | None = None
        self._heard = False

    # -- what comes in ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        """Take over the connection from HTTP."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not parsed; what was parsed still reaches the application, before the news of the end."""
        self._unparsed = memoryview(b"")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Keep `data`, and parse as much of it as the application waits for."""
        self._heard = True
        # Joined only where a read overtook the pause of reading.
        self._unparsed = memoryview(bytes(self._unparsed) + data if self._unparsed else data)
        if self._feeding is None:
            self._feed()

    async def receive(self) -> Any:  # noqa: ANN401 - uvicorn's union of events
        """Return the next event for the application; parse on only when there is none."""
        if self._unparsed and self.queue.empty() and self._feeding is None:
            self._feed()
        message = await self.queue.get()
        if not self._unparsed:
            self._read_on()
        return message

    def _feed(self) -> None:
        """Parse on until the application has something to do, or it is somebody else's turn."""
        self._feeding = None
        while self._unparsed and (self.queue.empty() or self.close_sent):
            piece, rest = self._unparsed[:PIECE_BYTES], self._unparsed[PIECE_BYTES:]
            self._unparsed = rest or memoryview(b"")  # an empty view would keep all that was read
            self.conn.receive_data(bytes(piece))
            parsed = bool(self.conn.events)
            self.handle_events()
            if self.conn.parser_exc is not None and not self.close_sent:
                self.handle_parser_exception()
            # A piece that completes nothing is part of a large frame; one with pings only costs a turn.
            if parsed and self._unparsed and (self.queue.empty() or self.close_sent):
                self._feeding = self.loop.call_soon(self._feed)
                break
        if self._unparsed:
            self._pause()
        else:
            self._read_on()

    def _pause(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        if self.read_paused and (self.queue.empty() or self.close_sent) and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    # -- frames -------------------------------------------------------------------------------------------------------

    def send_receive_event_to_app(self) -> None:
        """Hand a whole message to the application; no UTF-8 is the fault of the client, not ours."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError as error:
                self._fail(_INVALID_TEXT, f"{error.reason} at byte {error.start}")
                return
        super().send_receive_event_to_app()

    def handle_cont(self, event: Frame) -> None:
        """Take one more fragment of a message."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self.frames = []
            if not self.close_sent:
                self._fail(_MESSAGE_TOO_BIG, f"a message has at most {MAX_FRAGMENTS} fragments")
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Send the pongs that are due, or drop them while the client does not read."""
        if self.writable.is_set() and not self.transport.is_closing():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    # -- life and death -----------------------------------------------------------------------------------------------

    def send_keepalive_ping(self) -> None:
        """Ask a client whether it is there."""
        self._heard = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """Take any sign of life for an answer, and our own not reading for an excuse; else end the connection."""
        if self._heard or self.read_paused:
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self._cut_off_later()

    def handle_parser_exception(self) -> None:
        """Tell the client what it did wrong, in a close frame, and the application that it is gone."""
        sent = self.conn.close_sent
        code, reason = (sent.code, sent.reason) if sent is not None else (1006, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        self.close_sent = True
        self.stop_keepalive()
        output = self.conn.data_to_send()
        self.transport.write(b"".join(output))
        # What is still on its way is read and thrown away: a connection that is closed over unread bytes is reset, and
        # the client would never see why.
        if SEND_EOF in output and self.transport.can_write_eof():
            self.transport.write_eof()
        self._cut_off_later()

    def _fail(self, code: int, reason: str) -> None:
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    def _cut_off_later(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    is_new = False
    """Whether a request may be on its way that a stop has to wait for: a stream's handshake has come."""

    def leave(self) -> None:
        """Go on until `shutdown`: a stream ends because the application was told, not between two requests."""

    def shutdown(self) -> None:
        """Leave a stream that is open to the application, which was told first and closes it with 1001.

        One that is closing goes on as well, until the client has answered: closing over unread bytes would reset it.
        """
        if not self.handshake_complete:
            super().shutdown()
            return
        self.close_timeout = goodbye_s(self.config)
        if self.close_timer is not None:
            self._cut_off_later()
        self.loop.call_later(self.close_timeout, self._end_unread)

    def _end_unread(self) -> None:
        """Cut off a client that does not read: nothing can be told to it, and others wait for its end."""
        if not self.writable.is_set():
            self.transport.abort()

    async def send(self, message: Any) -> None:  # noqa: ANN401 - uvicorn's union of events
        """Send as soon as the client has taken enough of what was sent before; ClientDisconnected when it has gone."""
        await self.writable.wait()
        if self.disconnected and message["type"] == "websocket.close":
            return  # closed already; Falcon tells of an error here as of one that nobody expected
        if self.close_sent and self.initial_response is None:
            raise ClientDisconnected
        if message["type"] == "websocket.http.response.start":  # a refusal, where uvicorn leaves them out
            own = [header for header in self.default_headers if header[0] != b"date"]
            message = {**message, "headers": [*own, *message["headers"]]}
        try:
            await super().send(message)
        except InvalidState:
            raise ClientDisconnected from None
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # or uvicorn takes the refusal for a handshake that was forgotten
        if message["type"] == "websocket.close" and self.close_sent and not self.transport.is_closing():
            self._cut_off_later()
            self._feed()
