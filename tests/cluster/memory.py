"""A log in the memory of one process."""

import asyncio
from collections.abc import AsyncIterator

from api.cluster.log import Bounds, Stale


class MemoryLog:
    """The log; each replica opens a `MemoryClient` of its own."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.first = 1
        self.kept: list[bytes] = []
        self.news = asyncio.Event()

    @property
    def last(self) -> int:
        """The sequence of the newest record."""
        return self.first + len(self.kept) - 1

    def take(self, data: bytes) -> int:
        """Append a record, whatever it says."""
        self.kept.append(data)
        self.news.set()
        self.news.clear()
        return self.last


class MemoryClient:
    """A replica's connection to a `MemoryLog`."""

    has_gaps = False

    def __init__(self, log: MemoryLog) -> None:
        self.log = log

    async def open(self) -> None:
        """Connect."""

    async def identity(self) -> str:
        """Return the name of the log."""
        return self.log.name

    async def bounds(self) -> Bounds:
        """Return how far it goes."""
        return Bounds(self.log.first, self.log.last)

    async def append(self, data: bytes, last: int) -> int:
        """Append a record if `last` is the newest."""
        await asyncio.sleep(0)
        if last != self.log.last:
            raise Stale(f"the log ends at {self.log.last}, not at {last}")
        return self.log.take(data)

    async def records(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """Yield each record."""
        while True:
            while after < self.log.last:
                after += 1
                yield after, self.log.kept[after - self.log.first]
            await self.log.news.wait()

    async def close(self) -> None:
        """Let go of it."""
