"""A series whose files were removed or replaced under a store: nothing more is taken for it, and nothing answered."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hft_mmap import Durability, SeriesRemoved, Store, StoreUnusable
from tests.hft_mmap.conftest import OpenStore
from tests.service import wait_until


def remove(directory: Path) -> None:
    """Remove it with all that is in it."""
    shutil.rmtree(directory)


def replace(directory: Path) -> None:
    """Put a copy in its place."""
    copy = directory.parent.parent / "copy"
    shutil.copytree(directory, copy)
    shutil.rmtree(directory)
    copy.rename(directory)


@pytest.mark.parametrize("do", [remove, replace])
def test_no_point_is_acknowledged_as_durable_after_a_removal(open_store: OpenStore, do: Callable[[Path], None]) -> None:
    """In tier sync the very next append is refused, as is every later one; the other series serve."""
    store = open_store(durability=Durability.SYNC)
    for symbol in "AB":
        store.append(symbol, [1.0])
    do(store.path / "A")
    for _ in range(2):
        with pytest.raises(SeriesRemoved, match="A was removed or replaced while it was open"):
            store.append("A", [2.0])
    with pytest.raises(SeriesRemoved):
        store.stats("A", 1)
    assert [(reason.symbol, reason.code) for reason in store.reasons()] == [("A", "removed")]
    assert store.append("B", [2.0]) == 2
    store.close()
    store.close()


def test_the_next_commit_notices_a_removal(open_store: OpenStore) -> None:
    """In tier interval what was appended until then is lost, the reason is told, and nothing is taken after it."""
    events: list[str] = []
    store = open_store(sync_interval_ms=1, on_event=lambda name, _fields: events.append(name))
    store.append("A", [1.0])
    store.sync()
    shutil.rmtree(store.path / "A")
    store.append("A", [2.0])
    wait_until(lambda: "removed" in events, "the commit that notices")
    with pytest.raises(SeriesRemoved):
        store.append("A", [3.0])
    assert "read_only" not in events


def test_a_removal_is_noticed_without_a_batch(open_store: OpenStore) -> None:
    """Whoever asks for reasons is told, also of a series that nobody writes to."""
    store = open_store(durability=Durability.PROCESS)
    store.append("A", [1.0])
    store.sync()
    shutil.rmtree(store.path / "A")
    assert [(reason.symbol, reason.code) for reason in store.reasons()] == [("A", "removed")]


def test_a_snapshot_into_the_data_directory_is_refused(open_store: OpenStore) -> None:
    """It would come to lie among the series; nothing is made."""
    store = open_store()
    store.append("A", [1.0])
    for target in (store.path, store.path / "backup", store.path / "A" / "copy"):
        with pytest.raises(StoreUnusable, match="lies in the data directory"):
            store.snapshot(target)
    assert sorted(path.name for path in store.path.iterdir()) == [".lock", "A"]


def test_a_store_tells_what_it_is(open_store: OpenStore) -> None:
    """Its text has the directory and whether it is open; an empty store is true."""
    store: Store = open_store()
    assert bool(store)
    assert repr(store) == f'<Store {str(store.path)!r} durability="interval", 0 series open>'
    store.close()
    assert repr(store).endswith("closed>")
