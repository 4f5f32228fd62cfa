"""A raw file of float64 that grows, and a numpy pass over a memory map of its end."""

import os
from pathlib import Path

import numpy as np

from perf.peers.packages import versions
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives

_POINT_BYTES = 8


class NumpyRescan(Peer):
    """One file; a query maps it and reads the window."""

    def __init__(self) -> None:
        self._path = Path()
        self._file = -1
        self._map: Prices | None = None

    def facts(self) -> Facts:
        """Return what the report says."""
        return Facts(
            "numpy rescan",
            versions("numpy"),
            "BSD-3-Clause",
            Method.RESCAN,
            Survives.KILL,
            "none beyond the page cache; a write that a crash cuts short leaves part of a batch",
            (
                "append: one write() of the batch to a raw float64 file, never synced",
                "query: min, max, [-1], mean and var of a slice of an np.memmap, kept until the file has grown",
            ),
        )

    def open(self, path: Path) -> None:
        """Open the file for appending."""
        self._path = path / "prices.f64"
        self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)

    def append(self, batch: Prices) -> None:
        """Write the batch at the end."""
        written = os.write(self._file, np.ascontiguousarray(batch).data)
        assert written == _POINT_BYTES * len(batch)
        self._map = None

    def query(self, window: int) -> Answer:
        """Read the window."""
        if self._map is None:
            self._map = np.memmap(self._path, dtype=np.float64, mode="r")
        newest = self._map[-window:]
        return Answer(
            float(newest.min()), float(newest.max()), float(newest[-1]), float(newest.mean()), float(newest.var())
        )

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
