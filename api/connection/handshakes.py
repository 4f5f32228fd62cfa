"""TLS until its handshake is over: who says nothing, or half of it, is counted, timed and ended as a half head is.

A server that the event loop makes tells of a connection once its handshake is over; until then it would be in nobody's
account, and there could be as many as there are files. So clients of a listener with TLS are accepted here, charged,
and handed to the event loop one by one. What is encrypted is a matter of the event loop in both cases.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from api.connection.budget import Budget
from api.connection.connections import Connections

HANDSHAKE_BYTES = 65_536
"""What one takes in the process: 50 kB of OpenSSL, and what the event loop reads into."""
GOODBYE_S = 1.0
"""How long a connection that was closed waits for its client to say that it has understood."""
_A_TURN = 8
"""So many clients are accepted before those of before have their turn."""
_NO_FILE_S = 1.0


class Handshake:
    """A connection whose handshake is not over."""

    budget: Budget

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def abort(self) -> None:
        """Have the handshake fail."""
        with suppress(OSError):  # it has ended by itself
            self._connection.shutdown(socket.SHUT_RDWR)

    close_idle = time_out = abort

    def unsent_bytes(self) -> int:
        """Return what waits for its client to read: what is sent in a handshake fits into the kernel."""
        return 0

    owed_bytes = unsent_bytes

    def settle(self) -> None:
        """Do nothing: it never owes anything."""


class TlsServer:
    """Accepts the clients of one listener."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        protocol: Callable[..., asyncio.Protocol],
        watch: Connections,
    ) -> None:
        """Have `protocol`, told of its `handshake`, speak on every connection whose handshake succeeds."""
        self._listener = listener
        self._context = context
        self._protocol = protocol
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None

    def listen(self, backlog: int) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._listen_on()

    def close(self) -> None:
        """Accept no more; what was accepted goes on."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _listen_on(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_A_TURN):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no file is left, or no memory: the queue would wake us again at once
                self._loop.remove_reader(self._listener)
                self._again = self._loop.call_later(_NO_FILE_S, self._listen_on)
                return
            connection.setblocking(False)
            self._begin(connection, str(address[0]) if isinstance(address, tuple) else None)

    def _begin(self, connection: socket.socket, address: str | None) -> None:
        """Charge a client, and begin its handshake; one too many is closed, because nothing can be told to it yet."""
        watch, handshake = self._watch, Handshake(connection)
        if watch.opened(handshake, address, self._loop) and watch.keep_requests(handshake, HANDSHAKE_BYTES):
            watch.idle.pop(handshake, None)
            watch.reading(handshake, body=False)
            task = self._loop.create_task(self._shake_hands(handshake, connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            watch.closed(handshake)
            connection.close()

    async def _shake_hands(self, handshake: Handshake, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                partial(self._protocol, handshake=handshake),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._watch.limits.header_timeout_s + GOODBYE_S,  # `Connections` is there before
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except OSError:
            pass  # whatever went wrong, a timeout too, went wrong at the client
        finally:
            if handshake.budget.connection is handshake:  # nobody has taken its place
                self._watch.closed(handshake)
