"""The end of a connection on which the server has said its last word, and the client perhaps not.

A connection that is closed over bytes which nobody has read is reset, and a reset takes back what the client has not
read yet: the answer that says why. So our side is closed first, and what still comes is read and thrown away, for a
moment. (nginx calls it a lingering close.)
"""

import asyncio

FAREWELL_S = 2.0
FAREWELL_BYTES = 16 * 2**20
"""So long, and so many bytes, until the connection is closed whatever comes."""
STOPPED_FAREWELL_S = 0.25
"""So long where the service stops, and others wait for the next one."""


class _Farewell(asyncio.Protocol):
    """Throws away what arrives; everything else is told to the protocol that it stands in for."""

    def __init__(self, transport: asyncio.Transport, before: asyncio.Protocol) -> None:
        self._transport = transport
        self._before = before
        self._left_bytes = FAREWELL_BYTES

    def data_received(self, data: bytes) -> None:
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._transport.close()

    def pause_writing(self) -> None:
        self._before.pause_writing()

    def resume_writing(self) -> None:
        self._before.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._before.connection_lost(exc)


def say_farewell(
    transport: asyncio.Transport, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop, limit_s: float
) -> None:
    """Close `transport`, whose last answer was written, once its client has closed too, or after `limit_s`.

    `protocol` gets no data any more, and everything else as before. Over TLS, which has no half-closed connections, it
    is closed at once.
    """
    if transport.is_closing():
        return
    if not transport.can_write_eof():
        transport.close()
        return
    transport.set_protocol(_Farewell(transport, protocol))
    transport.write_eof()
    transport.resume_reading()
    loop.call_later(limit_s, transport.close)
