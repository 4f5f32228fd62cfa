"""A binary segment tree in plain Python, as one writes it first: as a library, and behind FastAPI."""

import platform
import sys
from array import array
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np

from perf.peers.http_client import StatsClient
from perf.peers.packages import versions
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives, Unavailable, peak_memory_bytes
from perf.peers.server import ServerProcess

Values: TypeAlias = "array[float]"

_POINT_BYTES = 8
_READ_BYTES = 1 << 20
_DURABILITY = "none beyond the page cache: the tree is in memory, the prices go to a raw file that is never synced"
_SETTINGS = (
    "levels of array('d') with sum, sum of squares, min and max of 1, 2, 4, … points; var is E[x²] - E[x]²",
    "append: one write() of the batch to a raw float64 file, then every node that the batch completes",
    "restart: the tree is built again from the file",
)


class _Level:
    """The nodes over 2^k points each."""

    def __init__(self) -> None:
        self.sums, self.squares, self.lows, self.highs = array("d"), array("d"), array("d"), array("d")


class SumTree:
    """Keeps everything; append O(1) amortised a point, query O(log N)."""

    def __init__(self) -> None:
        self._levels = [_Level()]

    def append(self, values: Values) -> None:
        """Append values, and the nodes that they complete, level by level."""
        leaves = self._levels[0]
        leaves.sums.extend(values)
        leaves.squares.extend(array("d", [value * value for value in values]))
        leaves.lows.extend(values)
        leaves.highs.extend(values)
        level = 0
        while len(self._levels[level].sums) >= 2:
            if level + 1 == len(self._levels):
                self._levels.append(_Level())
            self._complete(self._levels[level], self._levels[level + 1])
            level += 1

    @staticmethod
    def _complete(children: _Level, parents: _Level) -> None:
        for left in range(2 * len(parents.sums), len(children.sums) - 1, 2):
            right = left + 1
            parents.sums.append(children.sums[left] + children.sums[right])
            parents.squares.append(children.squares[left] + children.squares[right])
            low, other = children.lows[left], children.lows[right]
            parents.lows.append(low if low < other else other)  # noqa: FURB136 - min() takes twice as long
            high, other = children.highs[left], children.highs[right]
            parents.highs.append(high if high > other else other)  # noqa: FURB136 - as above

    def query(self, window: int) -> Answer:
        """Fold the nodes that make up the window."""
        end = len(self._levels[0].sums)
        last = self._levels[0].sums[end - 1]
        first = max(end - window, 0)
        count = end - first
        total, squares, low, high = 0.0, 0.0, float("inf"), float("-inf")
        for level in self._levels:
            taken = []
            if first % 2 and first < end:
                taken.append(first)
                first += 1
            if end % 2 and first < end:
                end -= 1
                taken.append(end)
            for node in taken:
                total += level.sums[node]
                squares += level.squares[node]
                low = min(low, level.lows[node])
                high = max(high, level.highs[node])
            first, end = first // 2, end // 2
            if first >= end:
                break
        mean = total / count
        return Answer(low, high, last, mean, squares / count - mean * mean)


class Tree(Protocol):
    """What a tree can do, whatever its nodes hold."""

    def append(self, values: Values) -> None:
        """Append values."""

    def query(self, window: int) -> Answer:
        """Answer for the newest `window`."""


class LoggedTree:
    """The tree, and the file that brings it back."""

    def __init__(self, directory: Path, tree: Tree | None = None) -> None:
        """Build `tree`, which is empty (a tree of sums if none is given), from what the file in `directory` has."""
        self._tree = tree or SumTree()
        path = directory / "prices.f64"
        path.touch()
        with path.open("rb") as stored:
            while content := stored.read(_READ_BYTES):
                values = array("d")
                values.frombytes(content[: len(content) // _POINT_BYTES * _POINT_BYTES])
                self._tree.append(values)
        self._file: BinaryIO = path.open("ab", buffering=0)

    def append(self, values: Values) -> None:
        """Write the values, then add them to the tree."""
        self._file.write(values.tobytes())
        self._tree.append(values)

    def query(self, window: int) -> Answer:
        """Ask the tree."""
        return self._tree.query(window)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class PythonTree(Peer):
    """The tree in this process."""

    def __init__(self) -> None:
        self._tree: LoggedTree | None = None

    def facts(self) -> Facts:
        """Return what the report says."""
        return Facts(
            "pure-Python tree, library",
            f"Python {platform.python_version()}, standard library",
            "part of hft-mmap (MIT)",
            Method.TREE,
            Survives.KILL,
            _DURABILITY,
            _SETTINGS,
        )

    def open(self, path: Path) -> None:
        """Build the tree."""
        self._tree = LoggedTree(path)

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


class PythonTreeService(Peer):
    """The tree behind FastAPI and uvicorn, in a process of its own."""

    def __init__(self) -> None:
        for package in ("fastapi", "uvicorn"):
            if find_spec(package) is None:
                raise Unavailable(f"{package} is not installed; `make peers` installs it")
        self._server: ServerProcess | None = None
        self._client: StatsClient | None = None

    def facts(self) -> Facts:
        """Return what the report says."""
        return Facts(
            "pure-Python tree, FastAPI",
            f"Python {platform.python_version()}, {versions('fastapi', 'pydantic', 'uvicorn', 'uvloop', 'httptools')}",
            "part of hft-mmap (MIT); FastAPI: MIT",
            Method.TREE,
            Survives.KILL,
            _DURABILITY,
            (
                (
                    "one uvicorn process with uvloop and httptools, access log off; the same routes, JSON and "
                    "client as hft-mmap, HTTP; the body is validated by Pydantic"
                ),
                *_SETTINGS,
            ),
        )

    def open(self, path: Path) -> None:
        """Start the service on a free port."""
        self._server = ServerProcess([sys.executable, "-m", "perf.peers.tree_service", str(path)], path)
        port = int(self._server.wait_for_line("serving ").split()[1])
        self._client = StatsClient(port)

    def append(self, batch: Prices) -> None:
        """Append a batch."""
        assert self._client is not None
        self._client.append(batch)

    def query(self, window: int) -> Answer:
        """Ask for a window."""
        assert self._client is not None
        return self._client.query(window)

    def close(self) -> None:
        """Stop the service."""
        assert self._client is not None
        assert self._server is not None
        self._client.close()
        self._server.stop()

    def peak_memory_bytes(self) -> int:
        """Return VmHWM of the service."""
        assert self._server is not None
        return peak_memory_bytes(self._server.pid)
