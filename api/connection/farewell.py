"""The end of a connection on which the server has said its last word, and the client perhaps not.

A connection that is closed over bytes which nobody has read is reset, and a reset takes back what the client has not
read yet: the answer that says why. So our side is closed first, and what still comes is read and thrown away, for a
moment. (nginx calls it a lingering close.)
"""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.connection.counted import CountedProtocol

FAREWELL_S = 2.0
FAREWELL_BYTES = 16 * 2**20
"""So long, and so many bytes, until the connection is closed whatever comes."""
STOPPED_FAREWELL_S = 0.25
"""So long where the service stops, and others wait for the next one."""


class _Farewell(asyncio.Protocol):
    """Throws away what arrives; everything else is told to the protocol that it stands in for.

    Once a turn of the event loop: as long as more has arrived, it would be read 32 times before anybody else has a
    turn, and sixty such connections would hold up all others for seconds.
    """

    def __init__(
        self, transport: asyncio.Transport, before: "CountedProtocol", loop: asyncio.AbstractEventLoop
    ) -> None:
        self._transport = transport
        self._before = before
        self._loop = loop
        self._left_bytes = FAREWELL_BYTES

    def data_received(self, data: bytes) -> None:
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._before.close()
        else:
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> bool | None:
        return self._before.eof_received()

    def pause_writing(self) -> None:
        self._before.pause_writing()

    def resume_writing(self) -> None:
        self._before.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._before.connection_lost(exc)


def throw_away(transport: asyncio.Transport, protocol: "CountedProtocol", loop: asyncio.AbstractEventLoop) -> None:
    """Read what still comes over `transport`, up to FAREWELL_BYTES, and tell `protocol` of everything else."""
    transport.set_protocol(_Farewell(transport, protocol, loop))
    transport.resume_reading()


def say_farewell(
    transport: asyncio.Transport, protocol: "CountedProtocol", loop: asyncio.AbstractEventLoop, limit_s: float
) -> None:
    """Close `transport`, whose last answer was written, once its client has closed too, or after `limit_s`.

    `protocol` gets no data any more, and everything else as before. Over TLS, which has no half-closed connections, it
    is closed at once.
    """
    if transport.is_closing():
        return
    if not transport.can_write_eof():
        protocol.close()
        return
    transport.write_eof()
    throw_away(transport, protocol, loop)
    loop.call_later(limit_s, protocol.close)
