"""The real sizes: 150,000,001 points, the default limits, the cleanup that they trigger."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hft_mmap import STANDARD_WINDOWS, Limits, Store, WindowStats
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import list_chunks
from hft_mmap.testing import assert_close
from tests.service import wait_until

pytestmark = pytest.mark.stress

LIMITS = Limits()
TOTAL = LIMITS.max_data_retention + 1
BATCH = 100_000
DISTANCE_BITS = 23
BYTES_A_POINT = 8.6


def prices(begin: int, end: int) -> NDArray[np.float64]:
    """Return the prices number `begin` to `end`: 1e9 and a pseudo-random multiple of 2^-23 below 1 above it."""
    found: NDArray[np.float64] = 1e9 + distances(begin, end) / 2**DISTANCE_BITS
    return found


def distances(begin: int, end: int) -> NDArray[np.int64]:
    """Return the distances of these prices from 1e9, as whole numbers below 2^23 (a multiplicative hash)."""
    index = np.arange(begin, end, dtype=np.uint64)
    return ((index * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - DISTANCE_BITS)).astype(np.int64)


def exact_stats(begin: int, end: int) -> WindowStats:
    """Return the statistics of these prices, from sums of whole numbers."""
    n, s1, s2, low, high = end - begin, 0, 0, 2**DISTANCE_BITS, -1
    for first in range(begin, end, 1_000_000):
        part = distances(first, min(first + 1_000_000, end))
        s1 += int(part.sum())
        # Squares stay below 2^46, so sums of 100,000 of them stay below 2^63.
        s2 += sum(int((piece * piece).sum()) for piece in np.array_split(part, 10))
        low, high = min(low, int(part.min())), max(high, int(part.max()))
    scale = 2**DISTANCE_BITS
    var = (n * s2 - s1 * s1) / (n * n * scale * scale)
    avg = (10**9 * n * scale + s1) / (n * scale)
    return WindowStats(1e9 + low / scale, 1e9 + high / scale, float(prices(end - 1, end)[0]), avg, var, n)


def anonymous_bytes() -> int:
    """Return the memory of this process that is no page cache."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def assert_exact(store: Store, start: int, total: int) -> None:
    """Assert that all windows of A are exact, and that its bounds are these."""
    assert store.series("A").bounds() == (start, total)
    for window, stats in zip(STANDARD_WINDOWS, store.windows("A"), strict=True):
        begin = max(total - window, start)
        assert_close(stats, exact_stats(begin, total))
    assert_close(store.stats("A", 10**12), exact_stats(start, total))
    assert np.array_equal(store.window("A", 1_000_000), prices(total - 1_000_000, total))


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory with room enough, which is removed after the test: pytest would keep it."""
    space = os.statvfs(tmp_path)
    if space.f_bavail * space.f_frsize < 2 << 30:
        pytest.skip("needs 2 GiB of disk")
    yield tmp_path / "data"
    shutil.rmtree(tmp_path / "data")


@pytest.mark.timeout(3600)
def test_one_point_more_than_the_retention_triggers_the_cleanup(data: Path) -> None:
    """Before and after the cleanup and a restart, statistics are exact, disk and memory stay within their bounds."""
    chunk_bytes = Layout.of(LIMITS.chunk_points).size
    directory = data / "A"
    events: list[tuple[str, dict[str, object]]] = []
    with Store(data, on_event=lambda name, fields: events.append((name, dict(fields)))) as store:
        store.append("A", prices(0, BATCH))
        anonymous = anonymous_bytes()
        for begin in range(BATCH, LIMITS.max_data_retention, BATCH):
            store.append("A", prices(begin, begin + BATCH))
            assert not any(name == "cleanup" for name, _ in events)
        assert_exact(store, 0, LIMITS.max_data_retention)
        store.sync()
        assert store.symbols()[0].bytes <= BYTES_A_POINT * LIMITS.max_data_retention + chunk_bytes
        assert anonymous_bytes() - anonymous < 64 << 20

        assert store.append("A", prices(TOTAL - 1, TOTAL)) == TOTAL
        start = LIMITS.max_data_retention - LIMITS.cleanup_keep_count
        cleanups = [fields for name, fields in events if name == "cleanup"]
        assert cleanups == [{"symbol": "A", "removed": start, "start": start, "total": TOTAL - 1}]
        assert_exact(store, start, TOTAL)
        first = start // LIMITS.chunk_points * LIMITS.chunk_points
        wait_until(lambda: list_chunks(directory)[0] == first, "the cleanup")
        used = sum(path.stat().st_blocks * 512 for path in directory.iterdir())
        assert used <= BYTES_A_POINT * (TOTAL - start) + chunk_bytes
        assert anonymous_bytes() - anonymous < 64 << 20
    with Store(data) as store:
        assert_exact(store, start, TOTAL)
        (report,) = store.verify()
        assert (report.points, report.faults) == (TOTAL - start, ())
