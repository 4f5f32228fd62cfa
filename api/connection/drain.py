"""Stop a running server so that whoever sent a request gets its answer.

uvicorn closes every connection on which no request is under way the moment it stops. A client that sends its next
request on such a connection right then never gets an answer, and can't tell whether a batch was stored. Here the server
goes on for a moment in which every answer says `Connection: close`, so that clients leave by themselves between two
requests. Where systemd holds the listening sockets new clients are accepted meanwhile too: the next process, which
answers those that then wait in the queue, takes a second to come.
"""

import asyncio
import ctypes
import select
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import structlog
import uvicorn

from api.connection.connections import Connections

if TYPE_CHECKING:
    from api.connection.protocol import HttpProtocol

LINGER_S = 0.2
"""How long an idle connection may still bring a request: longer than busy clients pause, not felt by who stops us."""
STANDSTILL_S = 0.5
"""How long a stop waits for the rest of a head, and for more of a body."""
_LOOK_EVERY_S = 0.002

_SO_ATTACH_FILTER = 26  # socket(7); Python has no name for it
# Classic BPF (operation, jump if true, jump if false, operand) on a TCP segment: nothing of it is kept, which drops it,
# if of its flags SYN is set and ACK is not; all of it otherwise.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # ... SYN and ACK
    (0x15, 0, 1, 0x02),  # only SYN?
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


async def drain(server: uvicorn.Server, watch: Connections, own: Sequence[socket.socket]) -> None:
    """Answer what was sent, then close all listeners and connections; takes the server's grace at most, and 0.7 s.

    own: the listeners whose queue ends with this process. Where there are none, whoever comes waits for the next
    process, so newcomers are answered for as long as the connections of before take to end: one half request holds up
    nobody else.
    """
    loop = asyncio.get_running_loop()
    connections = cast("set[HttpProtocol]", server.server_state.connections)
    tasks = server.server_state.tasks
    watch.leaving = True
    before = set(connections)
    for connection in before:
        connection.leave()
    for listener in own:
        _let_nobody_in(listener)
    await _wait(lambda: not (connections or _anyone_waits(own)) or server.force_exit, LINGER_S)
    await _wait(lambda: not _anyone_waits(own) or server.force_exit, LINGER_S)  # who is closed in the queue is reset
    grace_s = server.config.timeout_graceful_shutdown or 0.0
    deadline = loop.time() + grace_s
    if own:
        _close(server)
    for connection in before & connections:
        connection.shutdown()
    if not own:
        await _wait(lambda: not before & connections or server.force_exit, grace_s)
        _close(server)
    # The newest were accepted a moment ago: their first request may still be on its way.
    await _wait(lambda: not any(one.is_new for one in connections) or server.force_exit, LINGER_S)
    for connection in list(connections):
        connection.shutdown()
    if not await _wait(lambda: not (connections or tasks) or server.force_exit, deadline - loop.time()):
        structlog.get_logger().error("grace_exceeded", shutdown_grace_s=grace_s, requests=len(tasks))
        for task in tasks:
            task.cancel("the grace is over")


def _close(server: uvicorn.Server) -> None:
    for listening in server.servers:
        listening.close()


def _let_nobody_in(listener: socket.socket) -> None:
    """Keep new clients out of the queue of `listener`; those in it are accepted as before.

    Closing a listener resets whoever is in its queue, perhaps with a request sent already, and between the last accept
    and the close somebody always can get in. So the kernel is told to drop what begins a connection: a client that
    comes now tries again after a second by itself, and then is refused, or finds the next process.
    """
    listener.listen(0)  # all there is for Unix sockets: the queue takes one more at most
    if listener.family != socket.AF_UNIX:
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _DROP_SYN))
        with suppress(OSError):  # a kernel that has no socket filters
            listener.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_DROP_SYN), ctypes.addressof(program))
            )


def _anyone_waits(listeners: Sequence[socket.socket]) -> bool:
    poll = select.poll()
    for listener in listeners:
        poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


async def _wait(condition: Callable[[], bool], limit_s: float) -> bool:
    """Return true as soon as `condition()` is, or false after `limit_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    while not condition():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True
