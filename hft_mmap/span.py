"""Some consecutive points of a series as they stood at one moment, read piece by piece."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from hft_mmap.files.view import View
from hft_mmap.ticks import Ticks, ticks_of

PIECE_POINTS = 32_768


@dataclass(frozen=True, slots=True, repr=False)
class Span:
    """The points [first, end) of a series that held [start, total) when the span was taken.

    It goes on to give these very points whatever is appended or cleaned up meanwhile: what lies below `total` never
    changes, and files that a cleanup removes stay readable, and on the disk, until the last span of them is gone.
    """

    symbol: str
    start: int
    total: int
    first: int
    end: int
    view: View

    def __len__(self) -> int:
        """Return how many points there are."""
        return self.end - self.first

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, or copied: what it maps is of this process. TypeError."""
        message = f"a Span can't be sent to another process: send {self.symbol!r}, {self.first} and {self.end}, and "
        raise TypeError(f"{message}open the Store there; or send its points, as numpy.concatenate([*span.pieces()])")

    def cuts(self, points: int = PIECE_POINTS) -> Iterator[tuple[int, int]]:
        """Yield the bounds of each piece, in order: of `points` points, or fewer where the span or a chunk ends."""
        begin, chunk = self.first, self.view.layout.points
        while begin < self.end:
            end = min(begin + points, self.end, (begin // chunk + 1) * chunk)
            yield begin, end
            begin = end

    def pieces(self, points: int = PIECE_POINTS) -> Iterator[NDArray[np.float64]]:
        """Yield the points in order, as read-only float64 arrays over the mapped files: nothing is copied."""
        for begin, end in self.cuts(points):
            yield self.view.read(begin, end)

    @property
    def columns(self) -> tuple[str, ...]:
        """What the points have beside their prices: "times", "sizes", both or nothing."""
        return tuple(kind.name for kind in self.view.layout.kinds)

    def rows(self, points: int = PIECE_POINTS) -> Iterator[Ticks]:
        """Yield the points in order, with their times and sizes, as `pieces` does their prices."""
        for begin, end in self.cuts(points):
            yield ticks_of(self.view, begin, end)
