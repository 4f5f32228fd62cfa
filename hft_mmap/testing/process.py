"""A store in a process of its own, which can be killed."""

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hft_mmap.batch import Prices
from hft_mmap.durable.groups import GroupsReport
from hft_mmap.durable.verify import VerifyReport
from hft_mmap.errors import HftMmapError
from hft_mmap.health import Reason
from hft_mmap.reader import SeriesInfo
from hft_mmap.stats import WindowStats
from hft_mmap.store import Store
from hft_mmap.ticks import Sizes, Times

PROCESSES = multiprocessing.get_context("forkserver")
"""Starts processes that share nothing with this one, not even a lock that another thread holds, in some 10 ms."""
PROCESSES.set_forkserver_preload(["hft_mmap.testing"])

PATIENCE_S = 60.0
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of its own is made below it
"""A file system in memory, where it exists: an fsync costs nothing there, and real power cuts are not the subject."""


def _serve_store(connection: Connection, path: Path, options: dict[str, Any]) -> None:
    """Open a store and call its methods as they are asked for, until "close" or the end of the connection."""
    name = "open"
    with Store(path, **options) as store:
        while name != "close":
            try:
                name, arguments, keywords = connection.recv()
            except EOFError:
                os._exit(1)
            try:
                connection.send((True, getattr(store, name)(*arguments, **keywords)))
            except HftMmapError as error:
                connection.send((False, error))


class StoreProcess:
    """A store that lives in a process of its own, which can be killed. Methods and errors are those of `Store`."""

    def __init__(self, path: Path, **options: Any) -> None:  # noqa: ANN401 - as Store takes them
        """Start the process, and return when the store is open."""
        self._connection, other_end = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=_serve_store, args=(other_end, path, options), daemon=True)
        self._process.start()
        other_end.close()
        self.symbols()

    def _call(self, name: str, *arguments: object, **keywords: object) -> Any:  # noqa: ANN401 - what the store returns
        self._connection.send((name, arguments, keywords))
        good, result = self._connection.recv()
        if not good:
            raise result
        return result

    def append(
        self, symbol: str, values: Prices, *, times: Times | None = None, sizes: Sizes | None = None,
        offset: int | None = None,
    ) -> int:  # fmt: skip
        """Append a batch; see `Store.append`."""
        return int(self._call("append", symbol, values, times=times, sizes=sizes, offset=offset))

    def stats(self, symbol: str, window: int) -> WindowStats:
        """Return the statistics of a window; see `Store.stats`."""
        return WindowStats(*self._call("stats", symbol, window))

    def windows(self, symbol: str) -> tuple[WindowStats, ...]:
        """Return the statistics of the eight standard windows; see `Store.windows`."""
        return tuple(WindowStats(*stats) for stats in self._call("windows", symbol))

    def statistics(self, symbol: str, stats: Sequence[str], **part: object) -> dict[str, float | int | None]:
        """Return named statistics; see `Store.statistics`."""
        return dict(self._call("statistics", symbol, stats, **part))

    def summarise(self, symbol: str | None = None) -> list[GroupsReport]:
        """Make groups; see `Store.summarise`."""
        return list(self._call("summarise", symbol))

    def window(self, symbol: str, n: int) -> NDArray[np.float64]:
        """Return a copy of the newest points; see `Store.window`."""
        return np.asarray(self._call("window", symbol, n), dtype=np.float64)

    def symbols(self) -> list[SeriesInfo]:
        """Return what is stored; see `Store.symbols`."""
        return list(self._call("symbols"))

    def reasons(self) -> list[Reason]:
        """Return why the store does not serve in full; see `Store.reasons`."""
        return list(self._call("reasons"))

    def verify(self) -> list[VerifyReport]:
        """Check every file; see `Store.verify`."""
        return list(self._call("verify"))

    def sync(self) -> None:
        """Put everything on the disk; see `Store.sync`."""
        self._call("sync")

    def remove(self, symbol: str) -> None:
        """Remove a symbol; see `Store.remove`."""
        self._call("remove", symbol)

    def rename(self, old: str, new: str) -> int:
        """Give a symbol another name; see `Store.rename`."""
        return int(self._call("rename", old, new))

    def truncate(self, symbol: str, *, keep: int) -> int:
        """Let go of all but the newest points; see `Store.truncate`."""
        return int(self._call("truncate", symbol, keep=keep))

    def close(self) -> None:
        """Close the store in order, and return when its process has ended with exit code 0."""
        self._call("close")
        self._end()
        if self._process.exitcode:
            raise AssertionError(f"the process of the store ended with exit code {self._process.exitcode}")

    def kill(self) -> None:
        """Kill the process as `kill -9` does."""
        self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.join(PATIENCE_S)
        self._connection.close()
