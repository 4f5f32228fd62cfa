"""What every connection does, whatever is spoken on it: it is counted, waits for its client, and can be ended."""

import asyncio
from collections.abc import Sequence

from websockets.frames import Frame, Opcode

from api.connection.budget import Budget
from api.connection.connections import Connections
from api.connection.flow import Flow

MOST_UNCOUNTED_BYTES = 8192
"""An answer that waits in the process is counted from here on; less of it is a matter of what a connection costs."""

SMALL_MESSAGE_BYTES = 65_536
"""So much of its messages every stream may hold; more is charged."""


class CountedProtocol(asyncio.Protocol):
    """A connection that `Connections` knows."""

    transport: asyncio.Transport
    flow: Flow
    watch: Connections
    budget: Budget
    timed = True
    """Whether an answer has to be taken in time: what a stream sends has times of its own."""

    def take_over(self, transport: asyncio.Transport) -> None:
        """Use `transport` from now on."""
        self.transport = transport
        self.flow = Flow(transport)
        transport.set_write_buffer_limits(high=MOST_UNCOUNTED_BYTES)

    def pause_writing(self) -> None:
        """Let answers wait: the client does not take them as fast as they come."""
        self.flow.pause_writing()
        self.watch.stalled(self, timed=self.timed)

    def resume_writing(self) -> None:
        """Let answers go on."""
        self.flow.resume_writing()
        self.watch.moving(self)

    def close_idle(self) -> None:
        """Close a connection that has been idle for too long, or that makes room for another."""
        self.transport.close()

    def time_out(self) -> None:
        """End a connection on which nothing comes to its end."""
        self.transport.close()

    def abort(self) -> None:
        """Drop a connection whose client does not take what it is sent, or that makes room for another."""
        self.transport.abort()

    def unsent_bytes(self) -> int:
        """Return what waits for the client to read."""
        return self.transport.get_write_buffer_size()


class MessageMemory:
    """What the messages of one stream take: the one that arrives, and the one before it that the application has."""

    __slots__ = ("_arriving_bytes", "_handed_bytes")

    def __init__(self) -> None:
        self._arriving_bytes = self._handed_bytes = 0

    def charge(self, stream: CountedProtocol, size: int, parsed: Sequence[object]) -> bool:
        """Charge `size` more bytes, which brought the frames `parsed`; return False where that was too much."""
        self._arriving_bytes += size
        if any(isinstance(event, Frame) and event.fin and event.opcode < Opcode.CLOSE for event in parsed):
            self._handed_bytes, self._arriving_bytes = self._arriving_bytes, 0
        held = self._arriving_bytes + self._handed_bytes
        return held <= SMALL_MESSAGE_BYTES or stream.watch.keep_message(stream, held)

    def release(self, stream: CountedProtocol) -> None:
        """Give back what the message took that the application has had."""
        if self._handed_bytes > SMALL_MESSAGE_BYTES:
            large = self._arriving_bytes > SMALL_MESSAGE_BYTES
            stream.watch.keep_message(stream, self._arriving_bytes if large else 0)
        self._handed_bytes = 0
