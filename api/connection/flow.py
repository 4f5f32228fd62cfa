"""Whether a transport reads, and whether it takes more to write; and who is at its two ends."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

Address = tuple[str, int | None]


class Flow:
    """The reading and the writing of one transport, each of them going on or paused."""

    __slots__ = ("_transport", "_writable", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._writable: asyncio.Event | None = None
        self.read_paused = False
        self.write_paused = False

    def pause_reading(self) -> None:
        """Read no more, until `resume_reading`."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self.read_paused:
            self.read_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Note that the transport has enough to write."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let those who wait in `drain` go on."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    async def drain(self) -> None:
        """Wait until the transport takes more to write."""
        while self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()


def both_ends(transport: asyncio.Transport) -> tuple[Address | None, Address | None]:
    """Return where the server was reached, and who reached it, as the scope of a request tells them.

    Host and port; a Unix socket has its path as server, and a client that is nobody.
    """
    connected: socket.socket | None = transport.get_extra_info("socket")
    if connected is None:
        return None, None
    try:
        own, peer = connected.getsockname(), connected.getpeername()
    except OSError:  # it was reset before it was served
        return None, None
    server = (str(own[0]), int(own[1])) if isinstance(own, tuple) else (str(own), None)
    return server, (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None


def is_tls(transport: asyncio.Transport) -> bool:
    """Return whether what goes over `transport` is encrypted."""
    return bool(transport.get_extra_info("sslcontext"))
