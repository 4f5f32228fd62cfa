"""Where things lie in a chunk file."""

from dataclasses import dataclass
from functools import lru_cache

from hft_mmap.tree.kernels import FAN_OUT, MAX_LEVELS, NODE_BYTES

FOOTER_BYTES = 4096
MAX_CHUNK_POINTS = 1 << 40
"""Nine terabytes; what lies above is a damaged number, and byte offsets would leave 64 bits."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a chunk of `points` values.

    `levels` node levels lie above the values; `offsets[k]` is the byte at which level k starts (0: the values).
    """

    points: int
    levels: int
    offsets: tuple[int, ...]
    footer: int
    size: int

    @staticmethod
    @lru_cache(maxsize=16)  # chunks are of a few sizes in a process, often of one
    def of(points: int) -> "Layout":
        """Return the layout of chunks of `points` values, a multiple of 64 up to MAX_CHUNK_POINTS; else ValueError."""
        if not 0 < points <= MAX_CHUNK_POINTS or points % FAN_OUT:
            message = f"chunk_points must be a multiple of {FAN_OUT} from {FAN_OUT} to {MAX_CHUNK_POINTS}, not {points}"
            raise ValueError(message)
        offsets = [0]
        end = 8 * points
        while len(offsets) < MAX_LEVELS and points % FAN_OUT ** len(offsets) == 0:
            nodes = points // FAN_OUT ** len(offsets)
            offsets.append(end)
            end += NODE_BYTES * nodes
        footer = -(-end // FOOTER_BYTES) * FOOTER_BYTES
        return Layout(points, len(offsets) - 1, tuple(offsets), footer, footer + FOOTER_BYTES)

    def nodes(self, level: int) -> int:
        """Return how many nodes a full chunk has at `level`."""
        return self.points // int(FAN_OUT**level)
