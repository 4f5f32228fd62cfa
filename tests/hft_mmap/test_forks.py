"""hft_mmap.forks: a store belongs to the process that opened it; a child of fork is told so, and touches nothing."""

import copy
import gc
import multiprocessing
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import pytest

from hft_mmap import Durability, Series, Store, StoreForked
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.descriptors import open_files
from tests.hft_mmap.holding import holding

USES: dict[str, Callable[[Store, Series], object]] = {
    "append": lambda store, _: store.append("A", [1.0]),
    "a new symbol": lambda store, _: store.append("NEW", [1.0]),
    "stats": lambda store, _: store.stats("A", 10),
    "windows": lambda store, _: store.windows("A"),
    "window": lambda store, _: store.window("A", 10),
    "span": lambda store, _: store.span("A"),
    "series": lambda store, _: store.series("A"),
    "symbols": lambda store, _: store.symbols(),
    "counters": lambda store, _: store.counters(),
    "reasons": lambda store, _: store.reasons(),
    "sync": lambda store, _: store.sync(),
    "verify": lambda store, _: store.verify(),
    "on_durable": lambda store, _: store.on_durable("A", 1, lambda _error: None),
    "append to a series": lambda _, series: series.append_nowait(np.ones(3)),
    "a long append to a series": lambda _, series: series.append_nowait(np.ones(1000)),
    "stats of a series": lambda _, series: series.stats(10),
    "bounds of a series": lambda _, series: series.bounds(),
    "total of a series": lambda _, series: series.total,
    "refresh of a series": lambda _, series: series.refresh(),
}


def told(store: Store, series: Series) -> list[str]:
    """Return what is not refused as it has to be; then close the store, and let the collector have it."""
    wrong = []
    for name, use in USES.items():
        try:
            use(store, series)
        except StoreForked as error:
            if "open a Store in each process" not in str(error):
                wrong.append(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - the test shows it
            wrong.append(f"{name}: {error!r}")
        else:
            wrong.append(f"{name} was not refused")
    with store:
        pass
    store.close()
    del store, series
    gc.collect()
    return wrong


def use_the_parents(store: Store, series: Series, outcome: Connection) -> None:
    """Use what the parent opened, and tell what was wrong."""
    outcome.send(told(store, series))


def use_its_own(path: str, outcome: Connection) -> None:
    """Open a store and append to it."""
    with Store(path) as store:
        outcome.send(store.append("A", [2.0]))


@pytest.mark.parametrize("durability", Durability)
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_of_fork_is_refused_and_the_parent_goes_on(open_store: OpenStore, durability: Durability) -> None:
    """Every use in the child says what to do; the parent has lost neither its locks, nor its thread, nor a point."""
    store = open_store(durability=durability)
    store.append("A", np.ones(100))
    fork = multiprocessing.get_context("fork")
    mine, theirs = fork.Pipe()
    series = store.series("A")
    with holding(series._hold), holding(series._head.committing):
        child = fork.Process(target=use_the_parents, args=(store, series, theirs))
        child.start()
        assert mine.recv() == []
        child.join()
    assert child.exitcode == 0
    assert store.append("A", np.ones(1000)) == 1100
    store.sync()
    assert [report.faults for report in store.verify()] == [()]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_keeps_no_file_open(open_store: OpenStore) -> None:
    """So it can't keep a lock that its parent held when it was forked, and that the death of the parent gives back."""
    store = open_store()
    store.append("A", np.ones(1000))
    store.sync()  # a commit under way holds what it commits, also in the child, where its thread does not live
    assert open_files(store.path)
    fork = multiprocessing.get_context("fork")
    mine, theirs = fork.Pipe()
    path = store.path
    child = fork.Process(target=lambda: theirs.send(open_files(path)))
    child.start()
    assert mine.recv() == []
    child.join()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_store_of_its_own_works_in_every_kind_of_child(open_store: OpenStore, method: str) -> None:
    """A child that opens the same directory appends to it, however it was started, beside the parent."""
    store = open_store()
    store.append("A", [1.0])
    context = multiprocessing.get_context(method)
    mine, theirs = context.Pipe()
    child = context.Process(target=use_its_own, args=(str(store.path), theirs))  # type: ignore[attr-defined]
    child.start()
    assert mine.recv() == 2
    child.join()
    assert store.append("A", [3.0]) == 3
    assert store.window("A", 10).tolist() == [1.0, 2.0, 3.0]


def test_a_store_is_not_pickled(open_store: OpenStore) -> None:
    """Spawn and forkserver pickle what a process is given: the error says to open the store there."""
    store = open_store()
    with pytest.raises(TypeError, match=r"open one there, Store\('.*data'\)"):
        pickle.dumps(store)


@pytest.mark.parametrize("send", [pickle.dumps, copy.deepcopy, copy.copy])
def test_nor_is_what_it_hands_out(open_store: OpenStore, send: Callable[[object], object]) -> None:
    """A copy of a series or a span would close descriptors that others have by then."""
    store = open_store()
    store.append("A", [1.0, 2.0])
    with pytest.raises(TypeError, match=r"open it there, Store\('.*data'\).series\('A'\)"):
        send(store.series("A"))
    with pytest.raises(TypeError, match=r"send 'A', 1 and 2, and open the Store there; or send its points"):
        send(store.series("A").span(last=1))


def test_a_series_tells_what_it_is(open_store: OpenStore) -> None:
    """Its symbol, where it lies, and its points, also once it is closed."""
    store = open_store()
    store.append("A/B", [1.0, 2.0])
    series = store.series("A/B")
    assert repr(series) == f"<Series 'A/B' in {str(store.path)!r}, 2 points>"
    store.close()
    assert repr(series) == f"<Series 'A/B' in {str(store.path)!r}, 2 points>"
