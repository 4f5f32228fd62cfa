"""What the kernel still has to send of a connection that was closed, which stays counted until its client has it.

A socket that is closed over bytes which its client has not taken goes on in the kernel, for as long as that client
likes, up to TCP_USER_TIMEOUT; there may be any number of those, and no account would know of them. So one more
descriptor is kept where something is left: it tells how much that is, and it can have the kernel drop it.
"""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from contextlib import suppress

from api.connection.budget import Budget
from api.connection.connections import Connections

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, for no time: what is closed is reset, and what it had to send dropped
_NOTHING = bytes(4)
_TCP_CLOSE = 7  # of tcp_states.h: the client has reset it


def untaken_bytes(file: int) -> int:
    """Return how much of what was sent on the socket `file` its client has not taken; a FIN counts as one."""
    return int.from_bytes(fcntl.ioctl(file, termios.TIOCOUTQ, _NOTHING), sys.byteorder)


def drop(connected: socket.socket) -> None:
    """Have a socket reset when it is closed: nothing of what it has to send stays in the kernel."""
    with suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class Remains:
    """The rest of a connection: all was written, and our side is closed."""

    budget: Budget

    def __init__(self, rest: socket.socket, watch: Connections, loop: asyncio.AbstractEventLoop) -> None:
        """Watch `rest`, a descriptor of the socket beside the one that was closed."""
        self._rest = rest
        self._watch = watch
        self._loop = loop
        rest.setblocking(False)
        with suppress(OSError):  # it is reset by now
            rest.shutdown(socket.SHUT_WR)
        loop.add_reader(rest, self._heard)

    def _heard(self) -> None:
        """End where the client has closed its side too, having taken everything."""
        self._loop.remove_reader(self._rest)
        if not self.owed_bytes():
            self.settle()

    def owed_bytes(self) -> int:
        """Return how much the client has not taken."""
        rest = self._rest
        if rest.family != socket.AF_UNIX and rest.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
            return 0
        return untaken_bytes(rest.fileno())

    def settle(self) -> None:
        """Let go of it: the client has everything."""
        self._watch.closed(self)
        if self._rest.fileno() >= 0:
            self._loop.remove_reader(self._rest)
            self._rest.close()

    def abort(self) -> None:
        """Drop what the client does not take."""
        if self._rest.fileno() >= 0:
            drop(self._rest)
            self.settle()

    close_idle = time_out = abort

    def unsent_bytes(self) -> int:
        """Return what waits in the process: nothing."""
        return 0
