"""hft_mmap.durable.snapshot: a copy of a store that is being written to."""

import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import FormatError, Limits, Store, StoreUnusable
from hft_mmap.files.names import chunk_name
from hft_mmap.testing import MEMORY

LIMITS = Limits(chunk_points=8192, starting_capacity=0)


def prices(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return `count` prices, the same ones each time."""
    return np.random.default_rng(7).uniform(100, 200, count)


def test_a_snapshot_opens_verifies_and_answers_as_the_store_did(tmp_path: Path) -> None:
    """A snapshot holds every symbol, with the same totals and the same statistics, and no fault."""
    with Store(tmp_path / "store", limits=LIMITS) as store:
        store.append("ABC-USD", prices(50_000))
        store.append("EUR/USD", prices(10))
        store.sync()
        totals = store.snapshot(tmp_path / "copy")
        expected = store.windows("ABC-USD")
    assert totals == {"ABC-USD": 50_000, "EUR/USD": 10}
    with Store(tmp_path / "copy") as copy:
        assert copy.windows("ABC-USD") == expected
        assert [report.faults for report in copy.verify()] == [(), ()]


def test_full_chunks_are_shared_and_the_growing_one_is_copied(tmp_path: Path) -> None:
    """Chunks that can't change any more cost no disk; an append after the snapshot does not reach it."""
    with Store(tmp_path / "store", limits=LIMITS) as store:
        store.append("A", prices(20_000))
        store.sync()
        store.snapshot(tmp_path / "copy")
        store.append("A", prices(1000))
        links = {path.name: path.stat().st_nlink for path in (tmp_path / "copy" / "A").glob("*.chunk")}
    assert sorted(links.values()) == [1, 2, 2]
    with Store(tmp_path / "copy") as copy:
        assert np.array_equal(copy.window("A", 10**6), prices(20_000))


def test_points_that_are_not_yet_on_the_disk_are_copied_not_shared(tmp_path: Path) -> None:
    """A full chunk that a power loss could still take is not shared, because it would be written anew then."""
    with Store(tmp_path / "store", limits=LIMITS, durability="process") as store:
        store.append("A", prices(100))
        store.sync()
        store._flusher.stop()  # type: ignore[union-attr]
        store.append("A", prices(30_000))
        store.snapshot(tmp_path / "copy")
        links = {path.stat().st_nlink for path in (tmp_path / "copy" / "A").glob("*.chunk")}
    assert links == {1}
    with Store(tmp_path / "copy") as copy:
        assert copy.verify()[0].faults == ()
        assert copy.series("A").total == 30_100


def test_a_snapshot_taken_while_writers_and_cleanups_go_on_is_consistent(tmp_path: Path) -> None:
    """Whatever a writer does meanwhile, the copy ends at some batch, and holds exactly the points below its total."""
    limits = Limits(chunk_points=4096, starting_capacity=0, max_data_retention=30_000, cleanup_keep_count=10_000)
    stop = threading.Event()
    with Store(tmp_path / "store", limits=limits) as store:

        def write() -> None:
            while not stop.is_set():
                begin = store.series("A").total
                store.append("A", np.arange(begin, begin + 1000, dtype=np.float64))

        store.append("A", np.arange(1000, dtype=np.float64))
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for i in range(8):
                totals = store.snapshot(tmp_path / f"copy{i}")
                with Store(tmp_path / f"copy{i}") as copy:
                    series = copy.series("A")
                    assert series.total == totals["A"]
                    assert series.total % 1000 == 0
                    expected = np.arange(series.start, series.total, dtype=np.float64)
                    assert np.array_equal(copy.window("A", series.count), expected)
                    assert copy.verify()[0].faults == ()
        finally:
            stop.set()
            writer.join()


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """A snapshot never mixes with what is already there."""
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "something").touch()
    with Store(tmp_path / "store", limits=LIMITS) as store, pytest.raises(StoreUnusable, match="is not empty"):
        store.snapshot(tmp_path / "copy")


def test_a_store_opened_for_reading_can_be_copied(tmp_path: Path) -> None:
    """A backup needs no right to write to the store."""
    with Store(tmp_path / "store", limits=LIMITS) as store:
        store.append("A", prices(10_000))
        with Store(tmp_path / "store", mode="r") as reader:
            assert reader.snapshot(tmp_path / "copy") == {"A": 10_000}


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs /dev/shm")
def test_a_snapshot_on_another_file_system_is_copied(tmp_path: Path) -> None:
    """Where no file can be shared every chunk is copied, and nothing is missing."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as elsewhere, Store(tmp_path / "store", limits=LIMITS) as store:
        store.append("A", prices(20_000))
        store.sync()
        copy = Path(elsewhere) / "copy"
        assert store.snapshot(copy) == {"A": 20_000}
        assert {path.stat().st_nlink for path in (copy / "A").iterdir()} == {1}
        with Store(copy) as opened:
            assert np.array_equal(opened.window("A", 10**6), prices(20_000))
            assert opened.verify()[0].faults == ()


def test_a_cleanup_under_a_snapshot_makes_it_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that is unlinked between the look at the bounds and its copy is no fault: the next try is of later."""
    limits = Limits(chunk_points=64, starting_capacity=0, max_data_retention=1000, cleanup_keep_count=100)
    with Store(tmp_path / "store", limits=limits) as store:
        store.append("A", np.zeros(1000))
        store.sync()
        link = os.link

        def clean_up_first(source: Path, target: Path) -> None:
            monkeypatch.undo()
            store.append("A", np.ones(1000))
            store.append("A", np.ones(900))
            store.sync()
            link(source, target)

        monkeypatch.setattr(os, "link", clean_up_first)
        assert store.snapshot(tmp_path / "copy") == {"A": 2900}
    with Store(tmp_path / "copy") as copy:
        assert copy.series("A").total == 2900
        assert copy.verify()[0].faults == ()


def test_a_series_that_cannot_be_read_ends_the_snapshot_and_is_named(tmp_path: Path) -> None:
    """A chunk that was removed or replaced by hand is told, and no half of a copy is left."""
    with Store(tmp_path / "store", limits=LIMITS) as store:
        for symbol in "AB":
            store.append(symbol, prices(20_000))
        store.sync()
        chunk = tmp_path / "store" / "A" / chunk_name(8192)
        chunk.rename(tmp_path / "hidden")
        with pytest.raises(StoreUnusable, match=f"{chunk.name} is missing in"):
            store.snapshot(tmp_path / "copy")
        assert list((tmp_path / "copy").iterdir()) == []
        chunk.write_bytes((tmp_path / "store" / "B" / chunk.name).read_bytes())
        with pytest.raises(FormatError, match=f"chunk {chunk.name} belongs to another series"):
            store.snapshot(tmp_path / "copy")
        assert list((tmp_path / "copy").iterdir()) == []


def test_a_snapshot_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    """A target below a file is refused with the reason."""
    (tmp_path / "file").touch()
    with Store(tmp_path / "store", limits=LIMITS) as store, pytest.raises(StoreUnusable, match=r"failed: .*directory"):
        store.snapshot(tmp_path / "file" / "copy")
