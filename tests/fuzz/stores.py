"""A small store whose files a fuzzer rewrites, and what must hold of whatever comes of it.

An input says where to write what: three bytes for the place, one for how (its low bit: make the checksum of the block
fit again, as no accident would), and the rest is written there. Without a single byte the file is as it should be.
"""

import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hft_mmap import HftMmapError, Limits, Store
from hft_mmap.stats import exact_window_stats
from hft_mmap.testing import MEMORY, assert_close

LIMITS = Limits(starting_capacity=0, chunk_points=128, max_data_retention=10_000, cleanup_keep_count=5000)
VALUES = np.random.default_rng(3).uniform(99, 101, 300).tolist()
WINDOWS = (1, 63, 64, 65, 128, 10**8)


class Rewritten:
    """A store of two full chunks and a part of a third, one file of which is rewritten for each input."""

    def __init__(self, name: str, blocks: dict[int, int]) -> None:
        """Make it. `name`: the file of the series; `blocks`: by offset, the size of each block with a CRC behind it."""
        self._pristine = Path(tempfile.mkdtemp(prefix="hft-mmap-fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
        with Store(self._pristine / "data", limits=LIMITS, durability="process") as store:
            store.append("A", VALUES)
        self._copy = self._pristine / "copy"
        self._name = name
        self._blocks = blocks
        self._raw = (self._pristine / "data" / "A" / name).read_bytes()

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._pristine)

    def rewritten(self, data: bytes) -> tuple[bytearray, range]:
        """Return the file as `data` would have it, and the bytes that were written."""
        raw = bytearray(self._raw)
        if len(data) < 4:
            return raw, range(0)
        place = int.from_bytes(data[:3], "little") % len(raw)
        piece = data[4:][: len(raw) - place]
        raw[place : place + len(piece)] = piece
        if data[3] & 1:
            for offset, size in self._blocks.items():
                raw[offset + size : offset + size + 4] = struct.pack("<I", zlib.crc32(raw[offset : offset + size]))
        return raw, range(place, place + len(piece))

    def check(self, data: bytes, judge: Callable[[Store, bool, range], None]) -> None:
        """Open the store with the file that `data` makes of it, and have `judge` look at what is served."""
        raw, written = self.rewritten(data)
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._pristine / "data", self._copy)
        (self._copy / "A" / self._name).write_bytes(raw)
        with Store(self._copy, mode="r") as store:
            if not _is_aside(store):
                judge(store, not store.verify("A")[0].faults, written)
        with Store(self._copy, limits=LIMITS, durability="process") as store:
            try:
                total = store.append("A", [1.0])
                assert store.stats("A", 1).last == 1.0
                assert store.series("A").total == total
            except HftMmapError:
                pass
        with Store(self._copy) as store:
            for report in store.repair():
                assert isinstance(report.remaining, tuple)


def _is_aside(store: Store) -> bool:
    reasons = store.reasons()
    assert all(reason.code == "set_aside" and reason.detail for reason in reasons)
    return bool(reasons)


def ask(store: Store) -> tuple[int, int, list[float]]:
    """Ask whatever can be asked, and check that the statistics are those of the points; return bounds and points."""
    start, total = store.series("A").bounds()
    points = store.window("A", 10**9).tolist()
    assert len(points) == total - start
    if points and all(0.0 <= point <= 1e140 for point in points):
        for window in WINDOWS:
            assert_close(store.stats("A", window), exact_window_stats(points, window))
    return start, total, points
