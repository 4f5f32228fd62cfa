"""What is asked of a log: to append a record on a condition, to read on, and to say how far it goes.

The condition only keeps rubbish out: a log need not hold it, and may repeat a record, or bring one late. What counts is
decided by the records themselves (`api.cluster.state`).
"""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol


class Stale(Exception):
    """Another record came first; this one was not taken."""


class Unknown(Exception):
    """Nobody can say whether the record was taken, or will be."""


class LogUnfit(ConnectionError):
    """The log is kept in another way than a replica needs; says what has to be changed."""


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


class ManagedLog(Log, Protocol):
    """The log of one shard, and what operators do with it."""

    async def create(self, replicas: int, max_bytes: int | None, *, replace: bool = False) -> None:
        """Make it, unless it is there; replace: remove that one first. ConnectionError says why it can't be made."""
        ...

    async def trim(self, below: int) -> None:
        """Remove the records below `below`. ConnectionError."""
        ...
