"""What other processes do in tests; each function is the whole life of one process."""

import threading
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hft_mmap import Limits, Store, SymbolLimitReached, SymbolNotFound
from hft_mmap.files.head import Head
from hft_mmap.tree.words import START, TOTAL

LIMITS = Limits(starting_capacity=0, chunk_points=320)
CLEANING_LIMITS = Limits(max_data_retention=100_000, cleanup_keep_count=100, starting_capacity=0, chunk_points=320)
"""Hundreds of chunks go at once, so that whoever opens them one after the other meets a cleanup half-way."""


def run_of_batches(seed: int, count: int) -> list[NDArray[np.float64]]:
    """Return batches that can be told apart in the file: one of n points is n times the number n."""
    return [np.full(n, float(n)) for n in np.random.default_rng(seed).integers(1, 60, count)]


def assert_whole_batches(points: NDArray[np.float64]) -> int:
    """Assert that `points` are batches of `run_of_batches`, each whole, one after the other; return how many."""
    position = batches = 0
    while position < len(points):
        n = int(points[position])
        assert np.array_equal(points[position : position + n], np.full(n, float(n))), f"torn batch at {position}"
        position += n
        batches += 1
    return batches


def append_batches(path: Path, seed: int, count: int) -> None:
    """Append batches to A, one after the other."""
    with Store(path, limits=LIMITS, durability="process") as store:
        for batch in run_of_batches(seed, count):
            store.append("A", batch)


def append_singles(path: Path, count: int) -> None:
    """Append to A, one point at a time and as fast as that goes."""
    with Store(path, limits=Limits(starting_capacity=0), durability="process") as store:
        for _ in range(count):
            store.append("A", [1.0])


def read_until(path: Path, batches: int, outcome: Connection) -> None:
    """Read A again and again until it has so many batches, and tell how often, or what was wrong."""
    reads = seen = 0
    total = 0
    try:
        with Store(path, mode="r") as store:
            while seen < batches:
                try:
                    series = store.series("A")
                except SymbolNotFound:
                    continue
                points = series.window(10**9)
                assert len(points) >= total, "points went away"
                total = len(points)
                seen = assert_whole_batches(points)
                reads += 1
        outcome.send(reads)
    except BaseException as error:  # noqa: BLE001 - the test shows it
        outcome.send(repr(error))


def append_with_cleanups(path: Path, stop: Event, outcome: Connection) -> None:
    """Append to A until told to stop, with a cleanup every two hundred batches; tell the total."""
    with Store(path, limits=CLEANING_LIMITS, durability="process") as store:
        while not stop.is_set():
            store.append("A", np.arange(500.0))
        outcome.send(store.series("A").total)


def bring_symbols(path: Path, name: str, limits: Limits, outcome: Connection) -> None:
    """Try to add three symbols, and tell how many were taken."""
    taken = 0
    with Store(path, limits=limits) as store:
        for i in range(3):
            try:
                taken += store.append(f"{name}{i}", [1.0])
            except SymbolLimitReached:
                continue
    outcome.send(taken)


def hold_the_lock(path: Path, outcome: Connection) -> None:
    """Take the lock of A, tell so, and keep it."""
    store = Store(path, limits=LIMITS)

    def keep() -> None:
        outcome.send("held")
        threading.Event().wait()

    store.series("A")._hold(keep)


def append_with_a_cleanup_each(path: Path, stop: Event, outcome: Connection) -> None:
    """Append to A until told to stop, a cleanup before each batch; tell why the store does not serve."""
    limits = Limits(max_data_retention=100, cleanup_keep_count=10, starting_capacity=0, chunk_points=64)
    with Store(path, limits=limits, durability="interval", sync_interval_ms=1) as store:
        while not stop.is_set():
            store.append("A", np.arange(95.0))
        store.sync()
        outcome.send(store.reasons())


def advance_live_words(path: Path, stop: Event) -> None:
    """Move total and start of A as appends and cleanups do that keep nothing, as fast as possible."""
    head = Head(path / "A", writable=True)
    words = np.tile([TOTAL, START], 1000)
    values = np.repeat(np.arange(10, 10_010, 10), 2)
    while not stop.is_set():
        head._array[words] = values
        values += 10_000
    head.close()


def pattern(begin: int, end: int) -> NDArray[np.float64]:
    """Return points [begin, end) of a series whose prices follow from their indexes; there are ties."""
    index = np.arange(begin, end)
    return (100.0 + (7 * index) % 13 / 10 + index // 100 / 7).astype(np.float64)


def append_pattern(path: Path, total: int) -> None:
    """Append such a series to A, in batches of 1 to 300, and clean up on the way."""
    limits = Limits(max_data_retention=20_000, cleanup_keep_count=5_000, starting_capacity=0, chunk_points=320)
    sizes = np.random.default_rng(1).integers(1, 300, total)
    with Store(path, limits=limits, durability="process") as store:
        begin = 0
        for size in sizes.tolist():
            end = min(begin + size, total)
            if begin == end:
                return
            store.append("A", pattern(begin, end))
            begin = end
