"""A batch that waits for the log, and what it is answered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from api.cluster.block import Kind
from hft_mmap import Ticks


class Answer(NamedTuple):
    """What became of a batch: the total after it, its late points, and the last record that was read with it."""

    total: int
    late: int = 0
    latest_ns: int = 0
    sequence: int = 0


Tell: TypeAlias = Callable[[Answer | Exception], None]
"""Is given what became of a request, once; it must not raise."""


def tell_nobody(_outcome: Answer | Exception) -> None:
    """Tell nobody."""


@dataclass(eq=False, slots=True)
class Request:
    """One batch, one step of a move, or new limits.

    under_way: a record with it was sent, and may count. over: it was answered, or nobody waits for that any more.
    until_s: when it is refused, if nothing has become of it.
    """

    symbol: str
    batch: Ticks
    offset: int | None
    kind: Kind = Kind.APPEND
    numbers: tuple[int, ...] = ()
    tell: Tell = tell_nobody
    under_way: bool = False
    over: bool = False
    until_s: float = 0.0
    size: int = field(init=False)
    """Bytes of its numbers in a block."""

    def __post_init__(self) -> None:
        """Measure it."""
        self.size = 8 * len(self.batch.prices) * (1 + len(self.batch.kinds))
