"""The flusher's thread: there when it is needed, and gone when the store is."""

import threading

import pytest

from hft_mmap import Durability
from tests.hft_mmap.conftest import OpenStore


def flushers() -> int:
    """Return how many flusher threads run."""
    return sum(thread.name == "hft-mmap-flusher" for thread in threading.enumerate())


@pytest.mark.parametrize("durability", Durability)
def test_the_thread_comes_with_the_first_points_and_goes_with_the_store(
    open_store: OpenStore, durability: Durability
) -> None:
    """An empty store has no thread; one with points has one, whatever the number of symbols; a closed one none."""
    before = flushers()
    store = open_store(durability=durability)
    assert flushers() == before
    for symbol in "ABC":
        store.append(symbol, [1.0])
    assert flushers() == before + 1
    store.close()
    assert flushers() == before


def test_a_reader_needs_no_thread(open_store: OpenStore) -> None:
    """A store opened with mode "r" commits nothing."""
    open_store().append("A", [1.0])
    before = flushers()
    assert open_store(mode="r").stats("A", 1).points == 1
    assert flushers() == before


def test_a_thread_that_is_not_closed_does_not_keep_the_process(open_store: OpenStore) -> None:
    """The thread is a daemon: a program that forgets to close its store ends all the same."""
    open_store().append("A", [1.0])
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "hft-mmap-flusher")
