"""What every connection does, whatever is spoken on it: it is counted, waits for its client, and can be ended."""

import asyncio
from collections.abc import Sequence

from websockets.frames import Frame, Opcode

from api.connection.budget import Budget
from api.connection.connections import Connections
from api.connection.flow import Flow
from api.http.exchange import CALLER, Scope

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

    def know(self, scope: Scope) -> None:
        """Charge whoever sent the request `scope`, if it brought a token that was let through."""
        caller = scope.get(CALLER)
        if caller is not None and caller.name and caller.name != self.budget.token:
            self.budget.belongs_to(caller.name)

    def pause_writing(self) -> None:
        """Let answers wait: the client does not take them as fast as they come."""
        self.flow.pause_writing()
        self.watch.stalled(self, timed=self.timed)

    def resume_writing(self) -> None:
        """Let answers go on."""
        self.flow.resume_writing()
        self.watch.moving(self)
        if self.transport.is_closing():
            self.close()

    def close(self) -> None:
        """Close the connection once its client has taken what it was sent, for which it has its time."""
        self.transport.close()
        if self.unsent_bytes() and not self.flow.write_paused:
            self.watch.lingers(self)

    def close_idle(self) -> None:
        """Close a connection that has been idle for too long, or that makes room for another."""
        self.close()

    def time_out(self) -> None:
        """End a connection on which nothing comes to its end."""
        self.close()

    def abort(self) -> None:
        """Drop a connection whose client does not take what it is sent, or that makes room for another."""
        self.transport.abort()

    def unsent_bytes(self) -> int:
        """Return what waits for the client to read."""
        return self.transport.get_write_buffer_size()


class MessageMemory:
    """What the messages of one stream take: the one that arrives, those that wait, and the one the application has."""

    __slots__ = ("_arriving_bytes", "_charged", "_taken_bytes", "_waiting_bytes")

    def __init__(self) -> None:
        self._arriving_bytes = self._waiting_bytes = self._taken_bytes = 0
        self._charged = False

    def charge(self, stream: CountedProtocol, size: int, parsed: Sequence[object]) -> bool:
        """Charge `size` more bytes, which brought the frames `parsed`; return False where that was too much."""
        self._arriving_bytes += size
        if any(isinstance(event, Frame) and event.fin and event.opcode < Opcode.CLOSE for event in parsed):
            self._waiting_bytes += self._arriving_bytes
            self._arriving_bytes = 0
        return self._keep(stream)

    def taken(self) -> None:
        """Note that the application has taken all that waited."""
        self._taken_bytes += self._waiting_bytes
        self._waiting_bytes = 0

    def done(self, stream: CountedProtocol) -> None:
        """Note that the application is done with the message that it took."""
        self._taken_bytes = 0
        if self._charged:
            self._keep(stream)

    def _keep(self, stream: CountedProtocol) -> bool:
        held = self._arriving_bytes + self._waiting_bytes + self._taken_bytes
        large = held > SMALL_MESSAGE_BYTES
        if not (large or self._charged):
            return True
        self._charged = large
        return stream.watch.keep_message(stream, held if large else 0)
