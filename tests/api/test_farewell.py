"""api.connection.farewell: reading what nobody wants."""

import asyncio
from typing import Any, cast

from api.connection.counted import CountedProtocol
from api.connection.farewell import FAREWELL_BYTES, throw_away


class Flood:
    """A transport over which more has arrived each time that it is read."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.reads = False
        self.closed = False

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Hand over what arrives to `protocol`."""
        self.protocol = protocol

    def resume_reading(self) -> None:
        """Read."""
        self.reads = True

    def pause_reading(self) -> None:
        """Read no more."""
        self.reads = False

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self.closed

    def close(self) -> None:
        """End."""
        self.closed = True

    def get_write_buffer_size(self) -> int:
        """Return what waits to be sent."""
        return 0

    def get_extra_info(self, _name: str) -> None:
        """Tell nothing: there is no socket below."""

    def turn(self) -> int:
        """Hand over what has arrived as long as it is read, 32 times at most, as libuv does; return how often."""
        for times in range(32):
            if self.closed or not self.reads:
                return times
            self.protocol.data_received(bytes(2**18))
        return 32


def test_what_nobody_wants_is_read_once_a_turn() -> None:
    """A flood that goes on holds nobody else up, and is cut off after so many bytes."""

    async def scenario() -> list[int]:
        flood = Flood()
        spoken = CountedProtocol()
        spoken.transport = cast("asyncio.Transport", flood)
        throw_away(spoken.transport, spoken, asyncio.get_running_loop())
        taken = []
        while not flood.closed:
            taken.append(flood.turn())
            await asyncio.sleep(0)
        return taken

    taken = asyncio.run(scenario())
    assert taken == [1] * (FAREWELL_BYTES // 2**18 + 1)
