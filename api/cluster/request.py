"""A batch that waits for the log, and what it is answered."""

import asyncio
from dataclasses import dataclass, field
from typing import NamedTuple

from api.cluster.block import Kind
from hft_mmap import Ticks


class Answer(NamedTuple):
    """What became of a batch: the total after it, its late points, and the last record that was read with it."""

    total: int
    late: int = 0
    latest_ns: int = 0
    sequence: int = 0


@dataclass(eq=False, slots=True)
class Request:
    """One batch, one step of a move, or new limits. under_way: a record with it was sent, and may count."""

    symbol: str
    batch: Ticks
    offset: int | None
    kind: Kind = Kind.APPEND
    done: "asyncio.Future[Answer]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    under_way: bool = False
    numbers: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its numbers in a block."""
        return 8 * len(self.batch.prices) * (1 + len(self.batch.kinds))
