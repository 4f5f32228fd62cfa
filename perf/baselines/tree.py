"""A binary segment tree in plain Python: one tuple a node, a list of lists, nothing compiled."""

from collections.abc import Iterable
from typing import TypeAlias

from hft_mmap import WindowStats

Node: TypeAlias = tuple[int, float, float, float, float]
"""count, min, max, mean, m2"""


def merge(a: Node, b: Node) -> Node:
    """Return the node over both (Chan, Golub, LeVeque 1983)."""
    count = a[0] + b[0]
    distance = b[3] - a[3]
    mean = a[3] + distance * b[0] / count
    return count, min(a[1], b[1]), max(a[2], b[2]), mean, a[4] + b[4] + distance * distance * a[0] * b[0] / count


class SegmentTree:
    """Keeps all values; append O(1) amortised, window O(log N)."""

    def __init__(self) -> None:
        self._levels: list[list[Node]] = [[]]

    def append(self, values: Iterable[float]) -> None:
        """Append values one after the other, and every node they complete."""
        for value in values:
            node: Node = (1, value, value, value, 0.0)
            level = 0
            self._levels[0].append(node)
            while len(self._levels[level]) % 2 == 0:
                node = merge(self._levels[level][-2], self._levels[level][-1])
                level += 1
                if level == len(self._levels):
                    self._levels.append([])
                self._levels[level].append(node)

    def stats(self, window: int) -> WindowStats:
        """Return the statistics of the newest `window` values."""
        hi = len(self._levels[0])
        lo = max(hi - window, 0)
        last = self._levels[0][-1][1]
        found: list[Node] = []
        level = 0
        while lo < hi:
            nodes = self._levels[level]
            if lo % 2:
                found.append(nodes[lo])
                lo += 1
            if hi % 2:
                hi -= 1
                found.append(nodes[hi])
            lo, hi, level = lo // 2, hi // 2, level + 1
        total = found[0]
        for node in found[1:]:
            total = merge(total, node)
        return WindowStats(total[1], total[2], last, total[3], total[4] / total[0], total[0])
