"""What a stop still waits for on a connection with a request under way: for as long as it moves, and no longer."""

from http import HTTPStatus
from typing import TYPE_CHECKING

from uvicorn import Config

from api.connection.drain import STANDSTILL_S
from api.connection.farewell import STOPPED_FAREWELL_S
from api.http.exchange import ENDLESS

if TYPE_CHECKING:
    from api.connection.parting import Parting

CLOSE_TIMEOUT_S = 3.0
"""So long may a client take to read the end of its stream."""
_STOPPING = "The service is stopping, and the request did not arrive whole; send it again"


def goodbye_s(config: Config) -> float:
    """Return how long a client may take to read the end of its stream when the service stops."""
    return min(CLOSE_TIMEOUT_S, (config.timeout_graceful_shutdown or 0.0) / 2)


class Ending:
    """The end of one connection when the service stops; its client may take `goodbye_s` to read the end of a stream."""

    def __init__(self, connection: "Parting", goodbye_s: float) -> None:
        self._connection = connection
        self._goodbye_s = goodbye_s

    def begin(self) -> None:
        """Close what is idle; wait for what has begun to arrive, and until its answer is taken."""
        connection = self._connection
        running = connection.running
        if connection.parted:
            connection.loop.call_later(STOPPED_FAREWELL_S, connection.close)
        elif running is None and not connection.waiting and not connection.parser.arriving:
            connection.close()
        elif running is not None and ENDLESS in running.scope:
            connection.loop.call_later(self._goodbye_s, self._end_unread)
        else:
            self._wait_while_moving()
            self._wait_while_taken()

    def _end_unread(self) -> None:
        """Drop the end of an answer without end, if its reader does not read."""
        if self._connection.flow.write_paused:
            self._connection.abort()

    def _wait_while_moving(self) -> None:
        """Look again in STANDSTILL_S whether what the service waits for before it stops has moved."""
        connection = self._connection
        connection.loop.call_later(STANDSTILL_S, self._end_what_stands, connection.parser.received_bytes)

    def _end_what_stands(self, received_bytes: int) -> None:
        """End a head that is not whole, and a body that does not come."""
        connection = self._connection
        parser = connection.parser
        if connection.parted or connection.transport.is_closing():
            return
        if not parser.arriving or (parser.in_body and parser.received_bytes > received_bytes):
            self._wait_while_moving()
        elif parser.in_body and parser.cycle is not None and parser.cycle.complete:
            connection.close()
        else:
            connection.refuse(HTTPStatus.SERVICE_UNAVAILABLE, _STOPPING)

    def _wait_while_taken(self) -> None:
        """Look again, after as long as a stream has for its end, whether the client has taken more of its answer."""
        after_s = max(STANDSTILL_S, self._goodbye_s)
        self._connection.loop.call_later(after_s, self._end_untaken, self._unread_bytes())

    def _end_untaken(self, unread_bytes: int | None) -> None:
        if self._connection.transport.is_closing():
            return
        if unread_bytes is not None and self._unread_bytes() == unread_bytes:
            self._connection.abort()
        else:
            self._wait_while_taken()

    def _unread_bytes(self) -> int | None:
        """Return what the client has not taken, or None while it takes what comes."""
        connection = self._connection
        return connection.transport.get_write_buffer_size() if connection.flow.write_paused else None
