"""api.connection.connections: the timer that ends connections which are late."""

import asyncio

import pytest

from api.connection.budget import Budget
from api.connection.connections import ConnectionLimits, Connections


class Late:
    """A connection whose request does not come to its end, and which may fail when it is told so."""

    budget: Budget

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.ended = asyncio.Event()

    def time_out(self) -> None:
        """End, or fail to."""
        if self.fails:
            raise RuntimeError("this one can't be ended")
        self.ended.set()

    def close_idle(self) -> None:
        """Not asked of one that reads."""

    def abort(self) -> None:
        """Not asked of one that is not stalled."""

    def unsent_bytes(self) -> int:
        """Return what waits for its client: nothing."""
        return 0

    owed_bytes = unsent_bytes

    def settle(self) -> None:
        """Not asked of one that owes nothing."""


@pytest.mark.filterwarnings("ignore")
def test_a_connection_that_can_not_be_ended_saves_no_other() -> None:
    """Those that are late with it, and those that come later, are ended all the same."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        faults: list[BaseException] = []
        loop.set_exception_handler(lambda _loop, context: faults.append(context["exception"]))
        watch = Connections(ConnectionLimits(header_timeout_s=0, keep_alive_s=3600))
        late = [Late(fails=fails) for fails in (True, False)]
        for connection in late:
            watch.opened(connection, None, loop)
            watch.reading(connection, body=False)
        await asyncio.wait_for(late[1].ended.wait(), 30)
        assert [type(fault) for fault in faults] == [RuntimeError]
        for connection in late:
            watch.closed(connection)

    asyncio.run(scenario())
