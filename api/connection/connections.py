"""The open connections of the server, and the limits that hold for all of them together.

A connection is idle (no request begun), reading (the head or the body of a request that has begun to arrive), stalled
(an answer that is not taken), or none of these, while the application works. One timer for all looks twice a second who
has been in a state for too long; a timer for each request would cost 2 us of the 25 that a request takes.

Where there are too many, the cheapest is ended: the oldest head that is not whole, then the oldest idle connection that
brought no token, then the oldest idle one that did. So whoever opens most connections ends their own.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.http.exchange import Scope

_TICK_S = 0.5
MOST_TOLD = 64
"""So many connections too many are kept open until they ask and are told why they are refused; the oldest of more are
closed."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may take; seconds and bytes."""

    max_connections: int = 4096
    header_timeout_s: float = 10
    body_timeout_s: float = 30
    keep_alive_s: float = 75
    max_body_memory_bytes: int = 256 * 2**20

    def too_many(self) -> str:
        """Return what a connection too many is told."""
        used = f"All {self.max_connections} connections are in use (server.max_connections)"
        return f"{used}; close idle ones, or try again later"

    def too_late(self, *, body: bool) -> str:
        """Return what the client of a request is told whose headers, or whose body, came too slowly."""
        if body:
            return f"The body did not arrive within {self.body_timeout_s:g} seconds (server.body_timeout_s)"
        return f"The headers did not arrive within {self.header_timeout_s:g} seconds (server.header_timeout_s)"


@dataclass(slots=True)
class ConnectionCounts:
    """What became of connections since the start."""

    opened: int = 0
    evicted: int = 0
    refused: int = 0
    timed_out: int = 0
    malformed: int = 0


class Connection(Protocol):
    """What a connection lets be done with it."""

    def close_idle(self) -> None:
        """Close it; no request is under way."""

    def time_out(self) -> None:
        """Refuse the request that does not come to its end."""

    def abort(self) -> None:
        """Close it, and forget what it has not taken."""


class Connections:
    """All connections of a server. Not thread-safe: it belongs to the event loop."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.counts = ConnectionCounts()
        self.body_bytes = 0
        self.now = 0.0
        self.admits: Callable[[Scope], bool] = lambda _scope: True
        """Whether a request may have a body at all, by its head: whose token it brings. The application sets it."""
        self.leaving = False  # the server stops: connections end after their next answer, new ones too
        # In the order in which they became so: the first is the oldest.
        self.idle: dict[Connection, float] = {}
        self.idle_known: dict[Connection, float] = {}  # those that have brought a token
        self._open: set[Connection] = set()
        self._too_many: dict[Connection, float] = {}
        self._heads: dict[Connection, float] = {}
        self._bodies: dict[Connection, float] = {}
        self._stalled: dict[Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open) + len(self._too_many)

    def opened(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> bool:
        """Take in a new connection; return whether it may be served.

        A client whose idle connection is closed for another connects again; a client that finds no room would be shut
        out by whoever opens most. One that is not served is timed as a head is.
        """
        self.counts.opened += 1
        if self._timer is None:
            self.now = loop.time()
            self._timer = loop.call_later(_TICK_S, self._tick, loop)
        if len(self._open) >= self.limits.max_connections and not self._make_room():
            self.counts.refused += 1
            self._too_many[connection] = self.now + self.limits.header_timeout_s
            if len(self._too_many) > MOST_TOLD:
                oldest = next(iter(self._too_many))
                del self._too_many[oldest]
                oldest.abort()
            return False
        self._open.add(connection)
        self.idle[connection] = self.now
        return True

    def _make_room(self) -> bool:
        """End the cheapest connection; return False where every one is at work."""
        for cheap in (self._heads, self.idle, self.idle_known):
            if cheap:
                oldest = next(iter(cheap))
                self.closed(oldest)
                self.counts.evicted += 1
                oldest.close_idle()
                return True
        return False

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        for state in (self.idle, self.idle_known, self._heads, self._bodies, self._stalled, self._too_many):
            state.pop(connection, None)

    def reading(self, connection: Connection, *, body: bool) -> None:
        """Note that a request has begun to arrive; what is left of it, headers or body, has its time from now."""
        if body:
            self._heads.pop(connection, None)
            self._bodies[connection] = self.now + self.limits.body_timeout_s
        else:
            self._bodies.pop(connection, None)
            self._heads[connection] = self.now + self.limits.header_timeout_s

    def read(self, connection: Connection) -> None:
        """Note that a request which was arriving is there."""
        self._heads.pop(connection, None)
        self._bodies.pop(connection, None)

    def stalled(self, connection: Connection) -> None:
        """Note that an answer is not being taken."""
        self._stalled[connection] = self.now + self.limits.body_timeout_s

    def moving(self, connection: Connection) -> None:
        """Note that the answer is being taken again."""
        self._stalled.pop(connection, None)

    def hold(self, size: int) -> bool:
        """Take memory for `size` bytes of a body; return False, and take none, where that is too much for all."""
        if self.body_bytes + size > self.limits.max_body_memory_bytes:
            self.counts.refused += 1
            return False
        self.body_bytes += size
        return True

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._end_those_that_are_late(loop.time())
        finally:
            # Also when one of them could not be ended: the others have to be, and the next ones.
            self._timer = loop.call_later(_TICK_S, self._tick, loop) if len(self) else None

    def _end_those_that_are_late(self, now: float) -> None:
        self.now = now
        for reading in (self._heads, self._bodies, self._too_many):
            for connection in [one for one, deadline in reading.items() if deadline < now]:
                del reading[connection]
                self.counts.timed_out += 1
                connection.time_out()
        for connection in [one for one, deadline in self._stalled.items() if deadline < now]:
            del self._stalled[connection]
            self.counts.timed_out += 1
            connection.abort()
        oldest_allowed = now - self.limits.keep_alive_s
        for idle in (self.idle, self.idle_known):
            while idle:
                connection = next(iter(idle))
                if idle[connection] >= oldest_allowed:
                    break
                del idle[connection]
                connection.close_idle()
