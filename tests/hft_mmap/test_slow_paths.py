"""Ways that are short again after something rare: they stay as cheap as before it."""

import gc

import numpy as np

from hft_mmap import Durability
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.descriptors import open_files


def test_a_store_that_is_dropped_gives_its_descriptors_back(open_store: OpenStore) -> None:
    """Nobody has to close a reader: the collector does, with every file."""
    first = open_store()
    first.append("A", [1.0])
    first.close()
    before = open_files(first.path)
    for _ in range(3):
        type(first)(first.path, mode="r").stats("A", 1)
    gc.collect()
    assert open_files(first.path) == before


def test_waiters_are_told_in_the_order_of_their_points(open_store: OpenStore) -> None:
    """Those of the same total in the order in which they came; those of points to come are told later."""
    store = open_store(durability=Durability.PROCESS)
    store.append("A", [1.0, 2.0])
    told: list[int] = []
    series = store.series("A")
    series.commit()
    store.append("A", [3.0, 4.0])
    for number, total in enumerate([4, 3, 4, 3, 9]):
        store.on_durable("A", total, lambda _error, number=number: told.append(number))  # type: ignore[misc]
    series.commit()
    assert told == [1, 3, 0, 2]
    store.close()
    assert told == [1, 3, 0, 2, 4]


def test_appends_are_short_again_after_another_process_has_rolled(open_store: OpenStore) -> None:
    """Also where a query met the new chunk first."""
    store, other = open_store(durability="process"), open_store(durability="process")
    points = store.limits.chunk_points
    store.append("A", np.ones(points - 1))
    other.append("A", np.ones(3))
    assert store.stats("A", 10 * points).points == points + 2
    store.append("A", [1.0])
    series = store.series("A")
    assert series._plan is series._view.chunks[-1].plan
    assert store.append("A", [2.0]) == points + 4
    assert store.window("A", 2).tolist() == [1.0, 2.0]
