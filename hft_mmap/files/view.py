"""The chunks of a series that are mapped now, in the form the fold kernels take."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hft_mmap.files.chunk import Chunk
from hft_mmap.files.layout import SIZE, TIME, Kind, Layout
from hft_mmap.tree.fold import (
    TABLE_ADDRESSES,
    TABLE_CHUNK_POINTS,
    TABLE_CHUNKS,
    TABLE_ERA,
    TABLE_FIRST_POINT,
    TABLE_LEVEL_OFFSETS,
    TABLE_LEVELS,
    TABLE_ROOTS,
    TABLE_SIZES,
    TABLE_TIMES,
)
from hft_mmap.tree.kernels import NODE_FIELDS
from hft_mmap.tree.times import time_at


class View:
    """Consecutive chunks, immutable: a series swaps one view for another, and readers keep the one they took.

    Covers the points [first, end). `roots` holds one node for each chunk but the last, flattened float64: a chunk
    is in that part only when it is full and published, so its root can't change any more.

    `era` is the salt of the head (`tree.words`) from before the chunks were mapped. Where the head has another one,
    points were lost since: a chunk may be another file by now, and have another root.
    """

    __slots__ = ("address", "chunks", "end", "era", "first", "groups", "layout", "roots", "sizes", "table", "times")

    def __init__(
        self, layout: Layout, first: int, chunks: Sequence[Chunk], roots: NDArray[np.float64], era: int
    ) -> None:  # fmt: skip
        """Build the table of `chunks`, the first of which starts at point `first`."""
        self.layout = layout
        self.era = era
        self.first = first
        self.end = first + layout.points * len(chunks)
        self.chunks = tuple(chunks)
        self.roots = roots
        self.table = np.zeros(TABLE_ADDRESSES + len(chunks), dtype=np.int64)
        self.table[TABLE_CHUNK_POINTS] = layout.points
        self.table[TABLE_FIRST_POINT] = first
        self.table[TABLE_LEVELS] = layout.levels
        self.table[TABLE_ERA] = era
        for level, offset in enumerate(layout.offsets):
            self.table[TABLE_LEVEL_OFFSETS + level] = offset // 8
        for i, chunk in enumerate(chunks):
            self.table[TABLE_ADDRESSES + i] = chunk.address
        self.table[TABLE_CHUNKS] = len(chunks)
        self.table[TABLE_ROOTS] = roots.ctypes.data
        # What `fold_newest` takes: asking an array for its address costs more than a fold.
        self.address = self.table.ctypes.data
        self.times = self._addresses(TIME)
        """Where the times of each chunk lie; empty where the series has none."""
        self.sizes = self._addresses(SIZE)
        """Where the sizes of each chunk lie, likewise."""
        for word, column in ((TABLE_TIMES, self.times), (TABLE_SIZES, self.sizes)):
            self.table[word] = column.ctypes.data if len(column) else 0
        self.groups: object = None
        """What is known of the groups of the chunks, by whoever asked for them last (`files.proved.stored_groups`)."""

    def _addresses(self, kind: Kind) -> NDArray[np.int64]:
        if kind not in self.layout.kinds:
            return np.empty(0, dtype=np.int64)
        place = self.layout.kinds.index(kind)
        return np.array([chunk.columns[place].address for chunk in self.chunks], dtype=np.int64)

    @staticmethod
    def empty(layout: Layout, first: int, era: int = 0) -> "View":
        """Return a view of no chunk; the next one to be added starts at point `first`."""
        return View(layout, first, (), np.empty(0), era)

    def of_era(self, era: int) -> "View":
        """Return this view with another era, for who knows that its chunks are those of it."""
        return self if era == self.era else View(self.layout, self.first, self.chunks, self.roots, era)

    def extended(self, chunk: Chunk) -> "View":
        """Return this view with the next chunk added; the chunk that was the last must be full."""
        roots = self.roots if not self.chunks else np.concatenate([self.roots, self.chunks[-1].root()])
        return View(self.layout, self.first, (*self.chunks, chunk), roots, self.era)

    def without_before(self, start: int) -> "View":
        """Return this view less the chunks that lie wholly below point `start`; one chunk always remains."""
        gone = min(max(start - self.first, 0) // self.layout.points, len(self.chunks) - 1)
        if gone <= 0:
            return self
        first = self.first + gone * self.layout.points
        return View(self.layout, first, self.chunks[gone:], self.roots[NODE_FIELDS * gone :].copy(), self.era)

    def read(self, lo: int, hi: int) -> NDArray[np.float64]:
        """Return the points [lo, hi) as a read-only float64 array: a view inside one chunk, else a copy."""
        points = self.layout.points
        parts = []
        while lo < hi:
            chunk = self.chunks[(lo - self.first) // points]
            end = min(hi, chunk.first + points)
            parts.append(chunk.values[lo - chunk.first : end - chunk.first])
            lo = end
        if len(parts) == 1:
            return parts[0]
        joined = np.concatenate(parts) if parts else np.empty(0)
        joined.flags.writeable = False
        return joined

    def read_column(self, kind: Kind, lo: int, hi: int) -> NDArray[Any]:
        """Return what the column `kind` has of the points [lo, hi), as `read` does with their prices."""
        points, place = self.layout.points, self.layout.kinds.index(kind)
        parts = []
        while lo < hi:
            chunk = self.chunks[(lo - self.first) // points]
            end = min(hi, chunk.first + points)
            parts.append(chunk.columns[place].values[lo - chunk.first : end - chunk.first])
            lo = end
        if len(parts) == 1:
            return parts[0]
        joined = np.concatenate(parts) if parts else np.empty(0, dtype=kind.dtype)
        joined.flags.writeable = False
        return joined

    def time_of(self, point: int) -> int:
        """Return the time of one point of a series that has times."""
        return int(time_at(self.address, point))
