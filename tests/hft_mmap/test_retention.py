"""Retention at small scale: what is kept is exact, what is not kept is given back."""

import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_mmap import InvalidValues, Limits, Store
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import list_chunks
from hft_mmap.testing import SMALL_LIMITS, ModelStore, assert_close
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.damage import contents
from tests.hft_mmap.descriptors import open_files
from tests.service import wait_until

CHUNK_BYTES = Layout.of(64).size


def limits_of(most: int, keep: int, chunk_points: int = 64) -> Limits:
    """Return limits for a retention."""
    return Limits(most, keep, starting_capacity=0, chunk_points=chunk_points)


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_a_cleanup_comes_before_the_batch_that_would_pass_the_limit(open_store: OpenStore) -> None:
    """At the limit nothing is removed; one point more leaves cleanup_keep_count of the old points, and the batch."""
    store = open_store(limits=limits_of(1000, 600))
    store.append("A", np.arange(1000.0))
    assert store.series("A").bounds() == (0, 1000)
    store.append("A", np.arange(1000.0, 1010.0))
    assert store.series("A").bounds() == (400, 1010)
    assert np.array_equal(store.window("A", 10_000), np.arange(400.0, 1010.0))


def test_a_cleanup_keeps_fewer_where_the_batch_would_not_fit_beside_them(open_store: OpenStore) -> None:
    """A batch of 900 at a limit of 1000 leaves 100 old points; one of 1000 leaves none, and is kept whole."""
    store = open_store(limits=limits_of(1000, 600))
    store.append("A", np.arange(800.0))
    store.append("A", np.arange(800.0, 1700.0))
    assert store.series("A").bounds() == (700, 1700)
    store.append("A", np.arange(1700.0, 2700.0))
    assert store.series("A").bounds() == (1700, 2700)
    assert store.stats("A", 10_000).points == 1000


def test_a_cleanup_may_keep_nothing_of_the_old(open_store: OpenStore) -> None:
    """With cleanup_keep_count 0 the batch that passes the limit is all there is."""
    store = open_store(limits=limits_of(128, 0))
    store.append("A", np.arange(128.0))
    store.append("A", [500.0])
    assert store.series("A").bounds() == (128, 129)
    assert store.stats("A", 10).max == 500.0


def test_a_batch_larger_than_the_retention_is_refused(open_store: OpenStore) -> None:
    """It could not be kept; nothing is removed for it, and no symbol is made."""
    store = open_store(limits=limits_of(1000, 600))
    store.append("A", np.arange(1000.0))
    store.sync()
    before = contents(store.path / "A")
    for symbol in ("A", "B"):
        with pytest.raises(InvalidValues, match=r"1001 values is larger than max_data_retention \(1000\)"):
            store.append(symbol, np.ones(1001))
    assert contents(store.path / "A") == before
    assert [info.symbol for info in store.symbols()] == ["A"]


def test_the_start_survives_every_way_to_reopen(open_store: OpenStore) -> None:
    """`start` is exact after a cleanup and a restart, not rounded to a chunk."""
    with open_store(limits=limits_of(1000, 601)) as store:
        store.append("A", np.arange(1000.0))
        store.append("A", [1000.0])
    store = open_store(limits=limits_of(1000, 601))
    assert store.series("A").bounds() == (399, 1001)
    assert store.stats("A", 10_000).min == 399.0


def test_other_limits_take_effect_with_the_next_append(open_store: OpenStore) -> None:
    """A smaller retention removes nothing when the store opens; the next batch does."""
    with open_store(limits=limits_of(1000, 600)) as store:
        store.append("A", np.arange(1000.0))
    store = open_store(limits=limits_of(500, 200))
    assert store.series("A").count == 1000
    store.append("A", [1000.0])
    assert store.series("A").bounds() == (800, 1001)


@settings(max_examples=40)
@given(
    chunk_points=st.sampled_from([64, 320]),
    keep=st.integers(0, 700),
    extra=st.integers(1, 500),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=30),
)
def test_what_is_kept_is_exact_after_any_cleanups(
    chunk_points: int, keep: int, extra: int, sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bounds, points and statistics are those of the model for any limits and batches, and every file is sound."""
    limits = limits_of(keep + extra, keep, chunk_points)
    model = ModelStore(limits)
    rng = np.random.default_rng(keep)
    with Store(tmp_path_factory.mktemp("data"), limits=limits, durability="process") as store:
        for size in sizes:
            batch = rng.uniform(1e9 - 1, 1e9 + 1, min(size, keep + extra))
            assert store.append("A", batch) == model.append("A", batch.tolist())
            assert store.series("A").bounds() == (model.series["A"].start, model.series["A"].total)
        assert store.window("A", 10_000).tolist() == model.window("A", 10_000)
        for window in (1, 63, 64, 65, chunk_points + 1, 10_000):
            assert_close(store.stats("A", window), model.stats("A", window))
        assert store.verify()[0].faults == ()


# -- what is given back -----------------------------------------------------------------------------------------------


def test_disk_memory_and_descriptors_stay_bounded(tmp_path: Path, open_store: OpenStore) -> None:
    """A hundred times the retention leaves the chunks of what is kept, and no file, mapping or descriptor beyond."""
    events: list[str] = []
    store = open_store(durability="process", on_event=lambda name, _: events.append(name))
    before = len(open_files(tmp_path))
    descriptors, mappings = set(), set()
    for i in range(2000):
        store.append("A", np.full(50, float(i)))
        if i % 100 == 99:
            store.sync()
            kept = store.series("A").count
            assert len(list_chunks(tmp_path / "data" / "A")) <= kept // 64 + 2
            assert store.symbols()[0].bytes <= (kept // 64 + 2) * CHUNK_BYTES + 8192
            descriptors.add(len(open_files(tmp_path)))
            maps = Path("/proc/self/maps").read_text()
            mappings.add(maps.count(f"{tmp_path}/data/A/"))
    assert events.count("cleanup") > 100
    # Every mapping holds a descriptor (Python's mmap duplicates it), and a chunk that is written to another one.
    assert max(descriptors) - before <= 2 * (SMALL_LIMITS.max_data_retention // 64 + 4)
    assert max(mappings) <= SMALL_LIMITS.max_data_retention // 64 + 4


def test_chunks_go_without_anybody_asking(tmp_path: Path, open_store: OpenStore) -> None:
    """A cleanup wakes the flusher in every tier; the chunks wholly below `start` are unlinked, the others stay."""
    for durability in ("process", "interval", "sync"):
        store = open_store(tmp_path / durability, durability=durability)
        for i in range(40):
            store.append("A", np.full(50, float(i)))
        start = store.series("A").start
        assert start > 64
        directory = tmp_path / durability / "A"
        wait_until(partial(has_first_chunk, directory, start // 64 * 64), "the cleanup")


def has_first_chunk(directory: Path, first: int) -> bool:
    """Say whether the oldest chunk is the one that begins at `first`."""
    return list_chunks(directory)[0] == first


def test_a_reader_in_the_middle_of_a_cleanup_has_all_of_its_points(open_store: OpenStore) -> None:
    """Threads that read while others append and clean up get whole windows of one moment, never a gap or an error."""
    store = open_store(durability="process")
    store.append("A", np.zeros(100))
    series = store.series("A")
    stop = threading.Event()
    failures: list[object] = []

    def read() -> None:
        try:
            while not stop.is_set():
                points = series.window(10_000)
                # Batches of 100 hold one number each, one more than the batch before.
                if not set(np.diff(points).tolist()) <= {0.0, 1.0} or points[-1] - points[0] > 10:
                    failures.append(points)
                stats = series.stats(10_000)
                if not stats.min <= stats.avg <= stats.max or stats.max - stats.min > 10:
                    failures.append(stats)
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(1, 300):
        store.append("A", np.full(100, float(i)))
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []


def test_what_is_kept_can_be_changed_while_the_store_is_open(open_store: OpenStore) -> None:
    """The next append goes by the new limits, of symbols that are open and of those that come later."""
    store = open_store(limits=limits_of(1000, 600))
    store.append("A", np.arange(900.0))
    store.retain(100, 50)
    store.append("A", np.arange(10.0))
    store.append("B", np.arange(100.0))
    store.append("B", np.arange(10.0))
    assert store.series("A").bounds() == (850, 910)
    assert store.series("B").bounds() == (50, 110)
    with pytest.raises(ValueError, match="cleanup_keep_count"):
        store.retain(10, 50)
