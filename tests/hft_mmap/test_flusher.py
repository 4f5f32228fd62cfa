"""The flusher's thread: there when it is needed, and gone when the store is."""

import errno
import os
import resource
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hft_mmap import Durability, Limits
from hft_mmap.durable.flusher import Flusher
from hft_mmap.durable.together import together
from hft_mmap.files import head
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.files.locks import try_lock_slots
from hft_mmap.tree.words import FLAGS
from tests.hft_mmap.conftest import OpenStore
from tests.service import wait_until


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


class Restless:
    """Something to commit that asks for the next commit in each, so many times; `ended` is given back at the end."""

    is_asked = True

    def __init__(self, flusher: Flusher, commits: int) -> None:
        """Prepare."""
        self._flusher, self._left = flusher, commits
        self.ended = threading.Semaphore(0)

    def commit(self) -> bool:
        """Ask for the next."""
        self._left -= 1
        if self._left:
            self._flusher.wake(self)
        else:
            self.ended.release()
        return True

    def uncommitted(self) -> None:
        """Nobody has to be asked again."""


@pytest.mark.parametrize("interval_us", [1.0, 2.0, 3.0])
def test_an_interval_that_is_over_before_it_is_waited_for_ends_no_commits(interval_us: float) -> None:
    """A thread that the machine had no time for goes on: `SimpleQueue.get` with a timeout would wait for ever there."""
    flusher = Flusher(Durability.INTERVAL, sync_interval_ms=interval_us / 1000)
    series = Restless(flusher, 5000)
    flusher.wake(series)
    assert series.ended.acquire(timeout=60)
    flusher.stop()


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


@pytest.mark.parametrize("durability", ["interval", "sync"])
def test_a_thread_that_could_not_be_started_is_started_later(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    """The batch is taken, the store says that nothing goes to the disk, and the next look starts the thread."""
    store = open_store(durability=durability, sync_interval_ms=1)

    def refuse(_thread: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert store.append_nowait("A", [1.0]) == 1
        assert [(reason.symbol, reason.code) for reason in store.reasons()] == [(None, "write_failed")]
        assert "can't start new thread" in store.reasons()[0].detail
    assert store.append("A", [2.0]) == 2
    store.sync()
    assert store.series("A").committed_total == 2
    assert store.reasons() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_replaced(open_store: OpenStore) -> None:
    """What was asked for is not forgotten: whoever looks for reasons, or waits for the disk, has it done."""
    store = open_store(durability="interval", sync_interval_ms=1)
    store.append("A", [1.0])
    store.sync()
    flusher = store._flusher
    assert flusher is not None
    died = flusher._thread
    assert died is not None
    poison: Any = object()
    flusher.requests.put(poison)
    died.join()
    while not flusher.requests.empty():
        flusher.requests.get()
    assert store.append("A", [2.0]) == 2
    wait_until(lambda: store.series("A").committed_total == 2, "the commit by another thread")
    assert store.reasons() == []


@contextmanager
def no_descriptor() -> Iterator[None]:
    """Have every opening of a file fail with EMFILE."""
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_commit_waits_for_a_descriptor(open_store: OpenStore) -> None:
    """However long there is none, that is no failed disk: the store says what it waits for, and then commits."""
    store = open_store(durability="interval", sync_interval_ms=50)
    store.append("A", np.ones(store.limits.chunk_points - 1))
    store.sync()
    series = store.series("A")
    store.append("A", np.ones(2))
    with no_descriptor():
        series._commits.total = min(series.committed_total, store.limits.chunk_points - 1)
        series.ask()
        wait_until(lambda: "Too many open files" in str(store.reasons()), "the reason")
        assert [(reason.symbol, reason.code) for reason in store.reasons()] == [("A", "write_failed")]
    store.append("A", [1.0])
    store.sync()
    assert store.reasons() == []


def test_a_failed_sync_is_noted_once_the_system_has_locks_again(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the thread lives, and the store says what is wrong."""
    store = open_store(durability="interval", sync_interval_ms=1)
    store.append("A", [1.0])
    store.sync()
    assert store._flusher is not None
    thread = store._flusher._thread
    assert thread is not None
    synced, locks, sync = [""], [False] * 5, os.fdatasync

    def fail(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        if synced[-1].endswith(".chunk") and synced[-2].endswith("/head"):  # of its seal, outside of any lock
            monkeypatch.setattr(head, "try_lock_slots", scarce)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(fd)

    def scarce(fd: int, kind: int) -> bool:
        if locks:
            locks.pop()
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        return try_lock_slots(fd, kind)

    monkeypatch.setattr(os, "fdatasync", fail)
    store.append("A", np.ones(store.limits.chunk_points))
    wait_until(lambda: not locks, "five locks that the system had not")
    wait_until(lambda: store.series("A").live_words[FLAGS] & FLAG_SYNC_FAILED, "the flag")
    assert [(reason.symbol, reason.code) for reason in store.reasons()] == [("A", "read_only")]
    assert store._flusher._thread is thread


def test_the_commits_of_many_symbols_come_together(open_store: OpenStore) -> None:
    """Those who wait for two of them meet, each in a thread that commits; few symbols are committed by one thread."""
    store = open_store(limits=Limits(max_symbols=64, starting_capacity=0), sync_interval_ms=1000)
    symbols = [f"S{number}" for number in range(32)]
    for symbol in symbols:
        store.create(symbol)
    store.sync()
    meeting = threading.Barrier(2)
    met: list[int] = []

    def meet(_error: BaseException | None) -> None:
        with suppress(threading.BrokenBarrierError):
            meeting.wait(30)
            met.append(1)

    totals = [store.append_nowait(symbol, [1.0]) for symbol in symbols]
    for symbol in symbols[:2]:
        store.on_durable(symbol, 1, meet)
    for symbol, total in zip(symbols, totals, strict=True):
        store.wait_durable(symbol, total)
    wait_until(lambda: len(met) == 2 or meeting.broken, "the two to meet")
    assert met == [1, 1]
    store.close()
    assert [thread.name for thread in threading.enumerate() if thread.name == "hft-mmap-helper"] == []


def test_one_of_many_that_fails_takes_no_other_with_it(open_store: OpenStore) -> None:
    """It refuses batches from then on; of the others every point is on the disk."""
    store = open_store(limits=Limits(max_symbols=64, starting_capacity=0), sync_interval_ms=1000)
    symbols = [f"S{number:02}" for number in range(32)]
    for symbol in symbols:
        store.create(symbol)
    store.sync()
    for symbol in symbols:
        store.append_nowait(symbol, [1.0])
    shutil.rmtree(store.path / "S07")
    for symbol in symbols[:7] + symbols[8:]:
        store.wait_durable(symbol, 1)
    assert [reason.symbol for reason in store.reasons()] == ["S07"]


def test_an_interrupt_leaves_no_thread_at_work() -> None:
    """It is raised when what is under way has ended: a close that is called again finds nobody else at it."""
    drained, interrupted, gone = threading.Event(), threading.Event(), threading.Event()
    met: list[int] = []
    late: list[bool] = []

    def interrupt(_number: int, _frame: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        if threading.current_thread() is threading.main_thread():
            if len(done) == 8:
                drained.set()
        elif not met:
            met.append(item)
            drained.wait(30)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            interrupted.wait(30)
            late.append(gone.wait(0.2))

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            together(work, range(8))
        gone.set()
    finally:
        signal.signal(signal.SIGINT, before)
    assert late == [False]
