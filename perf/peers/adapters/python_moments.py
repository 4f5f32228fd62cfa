"""A binary segment tree in plain Python that merges means and squared deviations: what is right, and what it costs."""

import platform
from array import array
from pathlib import Path

import numpy as np

from perf.peers.adapters.python_tree import LoggedTree, Values
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives


class _Level:
    """The nodes over 2^k points each."""

    def __init__(self) -> None:
        self.means, self.m2s, self.lows, self.highs = array("d"), array("d"), array("d"), array("d")


class MomentTree:
    """Keeps everything; append O(1) amortised a point, query O(log N). Merges by Chan, Golub, LeVeque (1983)."""

    def __init__(self) -> None:
        self._levels = [_Level()]

    def append(self, values: Values) -> None:
        """Append values, and the nodes that they complete, level by level."""
        leaves = self._levels[0]
        leaves.means.extend(values)
        leaves.m2s.extend(array("d", bytes(8 * len(values))))
        leaves.lows.extend(values)
        leaves.highs.extend(values)
        level = 0
        while len(self._levels[level].means) >= 2:
            if level + 1 == len(self._levels):
                self._levels.append(_Level())
            self._complete(self._levels[level], self._levels[level + 1], float(1 << level))
            level += 1

    @staticmethod
    def _complete(children: _Level, parents: _Level, points: float) -> None:
        """Merge pairs of children of `points` each."""
        half = points / 2
        for left in range(2 * len(parents.means), len(children.means) - 1, 2):
            right = left + 1
            distance = children.means[right] - children.means[left]
            parents.means.append(children.means[left] + distance / 2)
            parents.m2s.append(children.m2s[left] + children.m2s[right] + distance * distance * half)
            low, other = children.lows[left], children.lows[right]
            parents.lows.append(low if low < other else other)  # noqa: FURB136 - min() takes twice as long
            high, other = children.highs[left], children.highs[right]
            parents.highs.append(high if high > other else other)  # noqa: FURB136 - as above

    def query(self, window: int) -> Answer:
        """Merge the nodes that make up the window."""
        end = len(self._levels[0].means)
        last = self._levels[0].means[end - 1]
        first = max(end - window, 0)
        count, mean, m2, low, high = 0, 0.0, 0.0, float("inf"), float("-inf")
        points = 1
        for level in self._levels:
            taken = []
            if first % 2 and first < end:
                taken.append(first)
                first += 1
            if end % 2 and first < end:
                end -= 1
                taken.append(end)
            for node in taken:
                distance = level.means[node] - mean
                together = count + points
                mean += distance * points / together
                m2 += level.m2s[node] + distance * distance * count * points / together
                count = together
                low = min(low, level.lows[node])
                high = max(high, level.highs[node])
            first, end, points = first // 2, end // 2, 2 * points
            if first >= end:
                break
        return Answer(low, high, last, mean, m2 / count)


class PythonMoments(Peer):
    """The tree in this process."""

    def __init__(self) -> None:
        self._tree: LoggedTree | None = None

    def facts(self) -> Facts:
        """Return what the report says."""
        return Facts(
            "pure-Python tree of merged moments",
            f"Python {platform.python_version()}, standard library",
            "part of hft-mmap (MIT)",
            Method.TREE,
            Survives.KILL,
            "none beyond the page cache: the tree is in memory, the prices go to a raw file that is never synced",
            (
                "levels of array('d') with mean, squared deviations, min and max of 1, 2, 4, … points, merged in pairs",
                "append and restart as the tree of sums",
            ),
        )

    def open(self, path: Path) -> None:
        """Build the tree."""
        self._tree = LoggedTree(path, MomentTree())

    def append(self, batch: Prices) -> None:
        """Append a batch."""
        assert self._tree is not None
        self._tree.append(array("d", np.ascontiguousarray(batch).tobytes()))

    def query(self, window: int) -> Answer:
        """Ask for a window."""
        assert self._tree is not None
        return self._tree.query(window)

    def close(self) -> None:
        """Close the file."""
        assert self._tree is not None
        self._tree.close()
