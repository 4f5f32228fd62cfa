"""What every connection does, whatever is spoken on it: it is counted, waits for its client, and can be ended."""

import asyncio
import os
import socket
from collections.abc import Sequence

from websockets.frames import Frame, Opcode

from api.connection.budget import Budget
from api.connection.connections import Connections
from api.connection.flow import Flow, is_tls
from api.connection.remains import Remains, drop, untaken_bytes
from api.http.exchange import CALLER, Scope

MOST_UNCOUNTED_BYTES = 8192
"""An answer that waits in the process is counted from here on; less of it is a matter of what a connection costs."""
MOST_UNTAKEN_BYTES = 16_384
"""So it is with one that waits in the kernel."""

SMALL_MESSAGE_BYTES = 65_536
"""So much of its messages every stream may hold; more is charged."""


class CountedProtocol(asyncio.Protocol):
    """A connection that `Connections` knows."""

    transport: asyncio.Transport
    flow: Flow
    loop: asyncio.AbstractEventLoop
    watch: Connections
    budget: Budget
    sent_bytes = 0
    """Of answers, since it was looked at last how much of them the client has not taken."""
    _file = -1
    _beside: socket.socket | None = None
    timed = True
    """Whether an answer has to be taken in time: what a stream sends has times of its own."""

    def take_over(self, transport: asyncio.Transport) -> None:
        """Use `transport` from now on."""
        self.transport = transport
        self.flow = Flow(transport)
        connected: socket.socket | None = transport.get_extra_info("socket")
        if connected is not None:
            self._file = connected.fileno()
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

    def eof_received(self) -> bool | None:
        """End where the client sends no more."""
        self.close()
        return False

    def close(self) -> None:
        """Close the connection once its client has taken what it was sent, for which it has its time.

        A second descriptor stays behind where something is left to be taken.
        """
        if self._beside is None and not self.transport.is_closing():
            unsent = self.unsent_bytes()
            if unsent and not self.watch.find_place(self):  # for the descriptor that is kept beside its own
                self.abort()
                return
            if unsent or is_tls(self.transport) or self._untaken_bytes():
                self._beside = socket.socket(fileno=os.dup(self._file))
        self.transport.close()
        if self.unsent_bytes() and not self.flow.write_paused:
            self.watch.lingers(self)

    def ended(self) -> None:
        """Give back what is held, but for what the kernel still has to send."""
        rest, self._beside = self._beside, None
        if rest is None:
            self.watch.closed(self)
            return
        remains = Remains(rest, self.watch, self.loop)
        owed = remains.owed_bytes()
        if owed and self.watch.knows(self):
            self.watch.goes_on(self, remains)
            self.watch.owes(remains, owed)
        else:
            remains.budget = self.budget
            self.watch.closed(self)
            if owed:
                remains.abort()
            else:
                remains.settle()

    def look(self) -> None:
        """Have it counted where the client does not take what it was answered, though the kernel has room for that.

        PERF: 1 us, so this is asked for once in MOST_UNCOUNTED_BYTES of answers.
        """
        self.sent_bytes = 0
        if not (self.flow.write_paused or self.transport.is_closing()):
            owed = self.owed_bytes()
            if owed:
                self.watch.owes(self, owed)

    def owed_bytes(self) -> int:
        """Return what the kernel has for the client, if that is much."""
        waiting = 0 if self.transport.is_closing() else self._untaken_bytes()
        return waiting if waiting > MOST_UNTAKEN_BYTES else 0

    def settle(self) -> None:
        """Go on: the client has taken its answers."""
        self.watch.moving(self)

    def _untaken_bytes(self) -> int:
        return untaken_bytes(self._file) if self._file >= 0 else 0

    def close_idle(self) -> None:
        """Close a connection that has been idle for too long, or that makes room for another."""
        self.close()

    def time_out(self) -> None:
        """End a connection on which nothing comes to its end."""
        self.close()

    def abort(self) -> None:
        """Drop a connection whose client does not take what it is sent, or that makes room for another."""
        rest, self._beside = self._beside, None
        if rest is not None:
            drop(rest)
            rest.close()
        elif not self.transport.is_closing() and (connected := self.transport.get_extra_info("socket")) is not None:
            drop(connected)
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
