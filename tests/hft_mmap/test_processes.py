"""Several processes on one data directory: writers take turns, readers never wait and never see half a batch."""

from pathlib import Path

import numpy as np

from hft_mmap.chunk import list_chunks
from hft_mmap.testing import restart_machine
from tests.hft_mmap.conftest import OpenStore, StartStore


def test_a_reader_opened_before_the_first_append_sees_the_symbol(
    open_store: OpenStore, start_store: StartStore
) -> None:
    """A store opened for reading finds a symbol that another process made since, with all of its points."""
    open_store().close()
    reader = open_store(mode="r")
    writer = start_store()
    writer.append("A", [1.0, 2.0])
    assert reader.series("A").total == 2
    writer.append("A", [3.0])
    assert reader.stats("A", 3).last == 3.0


def test_a_writer_opened_before_another_process_made_the_symbol_goes_on_behind_it(
    open_store: OpenStore, start_store: StartStore
) -> None:
    """A store opened earlier does not take the other process's head for one of another run of the machine."""
    early = open_store()
    late = start_store()
    late.append("A", [1.0, 2.0])
    assert early.append("A", [3.0]) == 3
    assert late.window("A", 10).tolist() == [1.0, 2.0, 3.0]


def test_a_reader_follows_a_writer_that_opened_the_series_later(
    open_store: OpenStore, start_store: StartStore, tmp_path: Path
) -> None:
    """A series opened for reading after a restart of the machine follows the first writer that comes up."""
    with open_store() as store:
        store.append("A", [1.0])
    restart_machine(tmp_path / "data")
    reader = open_store(mode="r")
    assert reader.series("A").total == 1
    writer = start_store()
    writer.append("A", [2.0])
    assert reader.window("A", 10).tolist() == [1.0, 2.0]


def test_a_writer_that_idled_through_a_cleanup_goes_on_behind_it(
    open_store: OpenStore, start_store: StartStore, tmp_path: Path
) -> None:
    """A writer whose chunks another process has unlinked meanwhile appends, repeats, syncs and closes as ever."""
    idle = open_store(durability="process")
    idle.append("A", [1.0, 2.0])
    with_nothing_new = open_store(durability="process")
    busy = start_store(durability="process")
    for i in range(60):
        busy.append("A", np.full(100, float(i)))
    busy.sync()
    assert 0 not in list_chunks(tmp_path / "data" / "A")
    with_nothing_new.sync()
    with_nothing_new.close()
    assert idle.append("A", np.full(100, 59.0), offset=5902) == 6002
    assert idle.append("A", [60.0]) == 6003
    idle.sync()
    assert idle.reasons() == busy.reasons() == []
    assert idle.stats("A", 102) == busy.stats("A", 102)
    assert busy.append("A", [61.0]) == 6004
