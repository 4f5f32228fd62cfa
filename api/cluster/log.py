"""What is asked of a log: to append a record on a condition, to read on, and to say how far it goes.

The condition only keeps rubbish out: a log need not hold it, and may repeat a record, or bring one late. What counts is
decided by the records themselves (`api.cluster.state`).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol


class Stale(Exception):
    """Another record came first; this one was not taken."""


class Unknown(Exception):
    """Nobody can say whether the record was taken, or will be."""


class Bounds(NamedTuple):
    """The sequences of the oldest record that is kept and of the newest that ever was; 1 and 0 of a new log."""

    first: int
    last: int


class Log(Protocol):
    """The log of one shard. Sequences are whole numbers from 1, and grow."""

    has_gaps: bool
    """Whether a sequence may be missing between two records, which is otherwise a loss."""

    async def open(self) -> None:
        """Connect; ConnectionError where the log can't be used."""
        ...

    async def identity(self) -> str:
        """Return what tells this log from another of the same name. ConnectionError."""
        ...

    async def bounds(self) -> Bounds:
        """Return how far it goes, with what was acknowledged before. ConnectionError."""
        ...

    async def append(self, data: bytes, last: int) -> int:
        """Append a record if `last` is the newest there is, and return its sequence once a majority has it.

        Stale, Unknown.
        """
        ...

    def records(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """Yield sequence and bytes of each record after `after`, in order, for ever, whatever fails meanwhile."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class MemoryLog:
    """A log in the memory of one process, for tests; each replica opens a `MemoryClient` of its own."""

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
