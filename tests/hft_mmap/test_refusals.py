"""A refusal is a new error each time: one that is raised again and again would keep every batch it refused."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hft_mmap import Durability, HftMmapError, SeriesReadOnly, Store, StoreClosed, StoreReadOnly
from tests.hft_mmap.conftest import OpenStore


def fail_the_disk(store: Store) -> None:
    """Do what a failed sync does."""
    store.series("A")._fail(OSError(5, "Input/output error"))


@pytest.mark.parametrize(
    ("refuse", "options", "kind"),
    [
        (lambda store: store.close(), {}, StoreClosed),
        (lambda _store: None, {"mode": "r"}, StoreReadOnly),
        (fail_the_disk, {}, SeriesReadOnly),
    ],
)
def test_a_refused_batch_is_forgotten(
    open_store: OpenStore, refuse: Callable[[Store], None], options: dict[str, Any], kind: type[HftMmapError]
) -> None:
    """Once a caller has dropped its batch, nothing in the store holds it, and two refusals are two errors."""
    with Store(open_store().path) as first:
        first.append("A", [1.0])
    store = open_store(**options)
    series = store.series("A")
    refuse(store)

    def refused() -> tuple[int, weakref.ref[object]]:
        batch = np.ones(1000)
        with pytest.raises(kind) as caught:
            series.append_nowait(batch)
        return id(caught.value.__traceback__), weakref.ref(batch)

    kept = [refused()[1] for _ in range(3)]
    gc.collect()
    assert [batch() for batch in kept] == [None, None, None]
    assert series.refusal is not series.refusal


def test_each_waiter_has_an_error_of_its_own(open_store: OpenStore) -> None:
    """Threads that wait for one commit would else add to the traceback of one error at the same time."""
    store = open_store(durability=Durability.PROCESS)
    store.append("A", [1.0])
    store.sync()
    assert store._flusher is not None
    store._flusher.stop()  # it may have a request left, and put the next point on the disk
    store.append("A", [2.0])
    errors: list[BaseException | None] = []
    for _ in range(3):
        store.on_durable("A", 2, errors.append)
    fail_the_disk(store)
    store.series("A").commit()
    store.on_durable("A", 2, errors.append)
    assert [type(error) for error in errors] == [SeriesReadOnly] * 4
    assert len({id(error) for error in errors}) == 4
