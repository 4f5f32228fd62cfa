"""What strangers may do in one turn of the event loop, so that holders of tokens have theirs.

Whoever brought no token is refused or told little, but that takes time too: thousands of connections with a hundred
requests each would be seconds in which nobody else is answered. So of all strangers together a few requests are run in
a turn; the others wait, in the order in which they came.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.connection.connections import Connection

REQUESTS_A_TURN = 8
"""PERF: a request without a token takes 35 us, so theirs is a third of a millisecond of each turn."""


class StrangersTurn:
    """The turn of all strangers. Belongs to the event loop."""

    def __init__(self) -> None:
        self.waiting: dict[Connection, Callable[[], None]] = {}
        """Whose request has to wait, the oldest first, and what goes on with it. Whoever ends one takes it out."""
        self._left = REQUESTS_A_TURN
        self._arrived = 0
        self._scheduled = False

    def take(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether one more request may be run in this turn."""
        if not self._left:
            return False
        self._left -= 1
        self._schedule(loop)
        return True

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._begin)

    def arrived(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that a client was taken in: it takes the place of a request in the next turn, but for the last of them.

        So a crowd that comes is let in sooner, and who comes behind it, with a token perhaps, waits less.
        """
        self._arrived += 1
        self._schedule(loop)

    def wait(self, connection: "Connection", go_on: Callable[[], None]) -> None:
        """Call `go_on` in one of the next turns; only after `take` has said that this one is over."""
        self.waiting[connection] = go_on

    def _begin(self) -> None:
        self._scheduled = False
        self._left = max(REQUESTS_A_TURN - self._arrived, 1)
        self._arrived = 0
        for connection in list(self.waiting):
            if not self._left:
                return
            self.waiting.pop(connection, lambda: None)()
