"""The open connections of the server, and the limits that hold for all of them together.

A connection is idle (no request begun), reading (the head or the body of a request that has begun to arrive), stalled
(an answer that is not taken), or none of these, while the application works. One timer for all looks twice a second who
has been in a state for too long; a timer for each request would cost 2 us of the 25 that a request takes.

Where there are too many, the cheapest is ended. Of those that brought no token: the oldest head that is not whole (a
handshake of TLS is one), then one that goes on sending what was refused, then one whose request waits for the turn of
strangers, then one that is idle, then one that does not take its answer. Then, of those that did, the oldest half head
and the oldest that is idle. Where only the share of one holder is taken, it is one of this holder's. So whoever opens
most connections ends their own.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from api.connection.budget import ANSWERS, BODIES, CONNECTIONS, REQUESTS, Budget, Ledger
from api.connection.prepared import PreparedRequests
from api.connection.turn import StrangersTurn
from api.operation.line_budget import LineBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.http.exchange import Scope

_TICK_S = 0.5
_MOST_LOOKS = 8
MOST_TOLD = 64
"""So many connections too many are kept open until they ask and are told why they are refused; the oldest of more are
closed."""
KERNEL_BYTES = 131_072
"""What the kernel keeps, beside the process, of a connection whose client does not read: of the answer, and of what
that client sends on."""
_SOCKET_BYTES = 4096
"""What a socket takes of the kernel with the first byte that it has to send."""


Takers: TypeAlias = "tuple[dict[Connection, Any], ...]"
"""Connections in a state, the oldest first, in the order in which they are ended for others."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may take; seconds and bytes."""

    max_connections: int = 4096
    header_timeout_s: float = 10
    body_timeout_s: float = 30
    keep_alive_s: float = 75
    max_head_memory_bytes: int = 32 * 2**20
    max_body_memory_bytes: int = 256 * 2**20
    max_answer_memory_bytes: int = 64 * 2**20
    max_share_percent: int = 75
    max_body_bytes: int = 4 * 2**20
    max_prepared: int = 4096

    def shares(self) -> tuple[int, ...]:
        """Return what one holder may take of each account; of bodies at least one that is as large as may be."""
        bodies = self.max_body_memory_bytes
        limits = (self.max_connections, self.max_head_memory_bytes, bodies, self.max_answer_memory_bytes)
        connections, heads, large, answers = (-(-limit * self.max_share_percent // 100) for limit in limits)
        return connections, heads, max(large, min(bodies, self.max_body_bytes)), answers

    def too_many(self) -> str:
        """Return what a connection too many is told."""
        used = f"All {self.max_connections} connections are in use (server.max_connections), or the share of one client"
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

    budget: Budget
    """What it holds; given by `Connections`."""

    def close_idle(self) -> None:
        """Close it; no request is under way."""

    def time_out(self) -> None:
        """Refuse the request that does not come to its end."""

    def abort(self) -> None:
        """Close it, and forget what it has not taken."""

    def unsent_bytes(self) -> int:
        """Return what waits in the process for its client to read."""

    def owed_bytes(self) -> int:
        """Return what the kernel has for a client that does not take it, 0 where that is nothing to speak of."""

    def settle(self) -> None:
        """Take note that the kernel has nothing any more."""


class Connections:
    """All connections of a server. Not thread-safe: it belongs to the event loop."""

    def __init__(self, limits: ConnectionLimits, lines: LineBudget | None = None) -> None:
        """Have these limits; `lines` is where what clients write into the log is counted."""
        self.limits = limits
        self.lines = LineBudget() if lines is None else lines
        self.counts = ConnectionCounts()
        self.ledger = Ledger(
            (
                limits.max_connections,
                limits.max_head_memory_bytes,
                limits.max_body_memory_bytes,
                limits.max_answer_memory_bytes,
            ),
            limits.shares(),
        )
        self.now = 0.0  # of a clock that stands still while this process does
        self.admits: Callable[[Scope], bool] = lambda _scope: True
        """Whether a body of the request is kept, by its head: whose token it brings, or which name of the service it
        asks. The application sets it."""
        self.guarded = False  # whether there are tokens at all; the application sets it too
        self.turn = StrangersTurn()
        self.prepared = PreparedRequests(limits.max_prepared)
        self.leaving = False  # the server stops: connections end after their next answer, new ones too
        # In the order in which they became so: the first is the oldest. `known`: those that have brought a token.
        self.idle: dict[Connection, float] = {}
        self.idle_known: dict[Connection, float] = {}
        self._open: set[Connection] = set()
        self._too_many: dict[Connection, float] = {}
        self._heads: dict[Connection, float] = {}
        self._heads_known: dict[Connection, float] = {}
        self._bodies: dict[Connection, float] = {}
        self._wasted: dict[Connection, float] = {}  # strangers that go on sending what was refused
        self._unread: dict[Connection, float] = {}  # strangers that do not take their answer
        self._stalled: dict[Connection, float] = {}
        self._owing: dict[Connection, tuple[float, int]] = {}
        """Those with answers in the kernel that their clients have not taken: until when, and how much it was."""
        self._cheapest: Takers = (
            self._heads,
            self._wasted,
            self.turn.waiting,
            self.idle,
            self._unread,
            self._heads_known,
            self.idle_known,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open) + len(self._too_many)

    def opened(self, connection: Connection, address: str | None, loop: asyncio.AbstractEventLoop) -> bool:
        """Take in a new connection; return whether it may be served.

        A client whose idle connection is closed for another connects again; a client that finds no room would be shut
        out by whoever opens most. One that is not served is timed as a head is.
        """
        self.counts.opened += 1
        if self.guarded:
            self.turn.arrived(loop)
        if self._timer is None:
            self._loop = loop
            self._timer = loop.call_later(_TICK_S, self._tick, loop)
        connection.budget = Budget(self.ledger, connection, address)
        if not self.find_place(connection):
            self.counts.refused += 1
            connection.budget.refused(CONNECTIONS)
            self._tell_too_many(connection)
            return False
        self._open.add(connection)
        self.idle[connection] = self.now
        return True

    def find_place(self, connection: Connection) -> bool:
        """Take one more descriptor for a connection, that of another one if need be; return False if there is none."""
        budget = connection.budget
        while not (budget.is_closed or budget.take(CONNECTIONS, 1)):
            rival = self._rival(budget, CONNECTIONS, 1, self._cheapest)
            if rival is None or rival is connection:
                return False
            self._end(rival)
        return not budget.is_closed

    def knows(self, connection: Connection) -> bool:
        """Return whether a connection is counted still."""
        return connection in self._open

    def _tell_too_many(self, connection: Connection) -> None:
        self._too_many[connection] = self.now + self.limits.header_timeout_s
        if len(self._too_many) > MOST_TOLD:
            oldest = next(iter(self._too_many))
            self.closed(oldest)
            oldest.abort()

    def goes_on(self, before: Connection, after: Connection) -> None:
        """Let `after` stand in for `before`: what was a connection of HTTP is one of a stream now, or ends."""
        self._forget(before)
        self._open.discard(before)
        self._open.add(after)
        after.budget = before.budget
        after.budget.moves_to(after)
        after.budget.keep(REQUESTS, 0)  # its head, if it came in pieces
        after.budget.keep(CONNECTIONS, 1)

    def _rival(self, budget: Budget, kind: int, size: int, takers: Takers) -> Connection | None:
        """Return the connection that is cheapest to end, so that `budget` may hold `size` of an account; None: no one.

        PERF: the oldest where all is taken; where only the share of its holder is, the cheapest of some that this
        holder has, because it may have thousands.
        """
        if budget.lacks(kind, size) > 0:
            return next((next(iter(taker)) for taker in takers if taker), None)
        for _ in range(_MOST_LOOKS):
            siblings = budget.siblings()
            found = next((one for taker in takers for one in siblings if one in taker), None)
            if found is not None:
                return found
            budget.look_further()  # all of these are at work
        return None

    def _end(self, connection: Connection) -> None:
        if connection.budget.is_closed:  # it ends already, and was still writing: that is no second one
            self._forget(connection)
            return
        self.counts.evicted += 1
        idle = connection in self.idle or connection in self.idle_known
        waits_for_us = idle and connection not in self._owing and not connection.unsent_bytes()
        self.closed(connection)
        if waits_for_us or self._loop is None:
            connection.close_idle()
        else:
            self._loop.call_soon(connection.abort)  # it may be writing at this moment

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._forget(connection)
        connection.budget.close()

    def _forget(self, connection: Connection) -> None:
        for state in (*self._cheapest, self._bodies, self._stalled, self._too_many, self._owing):
            state.pop(connection, None)

    def reading(self, connection: Connection, *, body: bool, wasted: bool = False) -> None:
        """Note that a request has begun to arrive; what is left of it, headers or body, has its time from now."""
        self.read(connection)
        known = connection.budget.token is not None
        if not body:
            heads = self._heads_known if known else self._heads
            heads[connection] = self.now + self.limits.header_timeout_s
        else:
            bodies = self._wasted if wasted and not known else self._bodies
            bodies[connection] = self.now + self.limits.body_timeout_s

    def read(self, connection: Connection) -> None:
        """Note that a request which was arriving is there."""
        for arriving in (self._heads, self._heads_known, self._bodies, self._wasted):
            arriving.pop(connection, None)

    def parts(self, connection: Connection) -> None:
        """Note that a connection was told its last word."""
        self.reading(connection, body=True, wasted=True)

    def stalled(self, connection: Connection, *, timed: bool = True) -> None:
        """Note that an answer is not being taken; where that is too much, the answer that has waited longest ends."""
        if timed:
            self._stalled[connection] = self.now + self.limits.body_timeout_s
        if connection.budget.token is None:
            self._unread[connection] = self.now
        unread_bytes = KERNEL_BYTES + connection.unsent_bytes()
        self._keep_answer(connection, unread_bytes)

    def owes(self, connection: Connection, size: int) -> None:
        """Note that the kernel holds `size` bytes of answers which the client does not take, in its time."""
        self._owing[connection] = self.now + self.limits.body_timeout_s, size
        if connection.budget.token is None:
            self._unread[connection] = self.now
        self._keep_answer(connection, size + _SOCKET_BYTES)

    def _keep_answer(self, connection: Connection, size: int) -> None:
        takers = (self._unread, self._stalled, self._owing)
        if not self._keep(connection, ANSWERS, size, takers):
            self._end(connection)

    def lingers(self, connection: Connection) -> None:
        """Note that a connection ends as soon as its client has taken what is left of its answer."""
        self.read(connection)
        self._stalled[connection] = self.now + self.limits.body_timeout_s
        if connection.budget.token is None:
            self._unread[connection] = self.now

    def moving(self, connection: Connection) -> None:
        """Note that the answer is being taken again."""
        self._stalled.pop(connection, None)
        self._owing.pop(connection, None)
        self._unread.pop(connection, None)
        connection.budget.keep(ANSWERS, 0)

    def keep_requests(self, connection: Connection, size: int) -> bool:
        """Charge `size` bytes of requests that can't be run yet; return False where there is no room for them.

        Where there is too much of it the oldest head that is not whole makes room, then who does not take his answers.
        """
        return self._keep(connection, REQUESTS, size, (self._heads, self._unread, self._heads_known))

    def _keep(self, connection: Connection, kind: int, size: int, takers: Takers) -> bool:
        """Hold `size` of an account for a connection; the oldest of `takers` ends for it, if that is another one."""
        budget = connection.budget
        if budget.is_closed:
            return False
        while not budget.keep(kind, size):
            rival = self._rival(budget, kind, size, takers)
            if rival is not None and rival in self._owing and not rival.owed_bytes():
                rival.settle()  # it has taken its answer since somebody looked
                continue
            budget.refused(kind)
            if rival is None or rival is connection:
                return False
            self._end(rival)
        return True

    def hold(self, connection: Connection, size: int, *, always: bool = False) -> bool:
        """Take memory for `size` bytes of a body; return False, and take none, where that is too much."""
        if connection.budget.take(BODIES, size, always=always):
            return True
        self.counts.refused += 1
        connection.budget.refused(BODIES)
        return False

    def keep_message(self, connection: Connection, size: int) -> bool:
        """Charge `size` bytes of messages in place of what was charged; return False where there is no room."""
        if connection.budget.keep(BODIES, size):
            return True
        self.counts.refused += 1
        connection.budget.refused(BODIES)
        return False

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            # However late it comes, it is one tick: while this process did not run, because the machine was stopped or
            # is too busy, nobody was late, and what arrived meanwhile is not read yet.
            self._end_those_that_are_late(self.now + _TICK_S)
        finally:
            # Also when one of them could not be ended: the others have to be, and the next ones.
            self._timer = loop.call_later(_TICK_S, self._tick, loop) if len(self) else None

    def _end_those_that_are_late(self, now: float) -> None:
        self.now = now
        for reading in (self._heads, self._heads_known, self._bodies, self._wasted, self._too_many):
            for connection in [one for one, deadline in reading.items() if deadline < now]:
                del reading[connection]
                self.counts.timed_out += 1
                connection.time_out()
        for connection in [one for one, deadline in self._stalled.items() if deadline < now]:
            del self._stalled[connection]
            self.counts.timed_out += 1
            connection.abort()
        for connection, (deadline, before) in list(self._owing.items()):
            self._look_at(connection, deadline, before)
        oldest_allowed = now - self.limits.keep_alive_s
        for idle in (self.idle, self.idle_known):
            while idle:
                connection = next(iter(idle))
                if idle[connection] >= oldest_allowed:
                    break
                del idle[connection]
                connection.close_idle()

    def _look_at(self, connection: Connection, deadline: float, before: int) -> None:
        """Let go of what a client has taken by now, and of one that takes nothing for too long."""
        owed = connection.owed_bytes()
        if not owed:
            connection.settle()
        elif owed < before:
            self.owes(connection, owed)
        elif deadline < self.now:
            self._owing.pop(connection, None)
            self.counts.timed_out += 1
            connection.abort()
