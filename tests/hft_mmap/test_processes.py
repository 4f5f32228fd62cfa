"""Several processes on one data directory: writers take turns, readers never wait and never see half a batch."""

from pathlib import Path

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
