"""Ctrl-C, and alarms that raise: wherever they strike, the store goes on as if that call had been made, or had not."""

import fcntl
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from api.operation.log_file import DailyFile
from hft_mmap import Limits, Store
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.head import Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.locks import try_lock, try_lock_slots
from hft_mmap.testing.faults import move_in
from hft_mmap.transfer.journal import Journal
from tests.hft_mmap.interrupts import interrupted
from tests.service import PATIENCE_S, wait_until

LIMITS = Limits(starting_capacity=0, chunk_points=64, max_data_retention=640, cleanup_keep_count=320, max_symbols=2)


class Scene(NamedTuple):
    """A call that is interrupted, what was stored before it, and every `step`-th place at which that is tried."""

    before: int
    points: int
    step: int = 1
    symbol: str = "A"
    offset: int | None = None


SCENES = {
    "short": Scene(50, 3),
    "repeated": Scene(50, 3, offset=47),
    "roll": Scene(50, 30, 3),
    "three_rolls": Scene(50, 200, 11),
    "cleanup": Scene(630, 30, 7),
    "create": Scene(50, 3, 31, symbol="B"),
}


def open_store(path: Path, durability: str = "interval") -> Store:
    """Open a store whose commits come soon."""
    return Store(path, limits=LIMITS, durability=durability, sync_interval_ms=1)


def prepared(path: Path, durability: str, points: int) -> Store:
    """Return a store with so many points of A on the disk, and an empty look back at its opening."""
    store = open_store(path, durability)
    for begin in range(0, points, 320):
        store.append("A", np.arange(float(begin), min(begin + 320, points)))
    store.sync()
    return store


def assert_free(path: Path) -> None:
    """Another process could take every lock."""
    for lock in (path / ".lock", *path.glob("*/head")):
        fd = os.open(lock, os.O_RDWR)

        def is_free(fd: int = fd) -> bool:
            return try_lock(fd) and try_lock_slots(fd, fcntl.F_WRLCK)

        wait_until(is_free, f"{lock} to be given back")
        os.close(fd)


def in_time(call: Callable[[], object]) -> None:
    """Make a call in another thread: one that hangs fails the test, and not the run."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the call hangs"


def assert_whole(store: Store, symbol: str, before: NDArray[np.float64], batch: NDArray[np.float64]) -> None:
    """Either the batch is there or it is not; what is there is right, comes to the disk, and can be added to."""
    if symbol not in store:
        in_time(lambda: store.append(symbol, batch))
        before = before[:0]
    series = store.series(symbol)
    start, total = series.bounds()
    expected = np.concatenate([before, batch])
    assert total in {len(before), len(expected)}
    wait_until(lambda: series.committed_total == series.total, "what was published to be on the disk")
    later = np.full(30, 7.0)
    if total % 2:
        in_time(lambda: store.append(symbol, later))
    else:
        with open_store(store.path) as other:  # which writes where the interrupted call may have written
            other.append(symbol, later)
            assert series.stats(10**6).last == 7.0
        series.ask()
    wait_until(lambda: series.committed_total == total + 30, "what came later to be on the disk")
    expected = np.concatenate([expected[:total], later])
    start = series.start
    assert np.array_equal(store.window(symbol, 10**6), expected[start:])
    assert store.stats(symbol, 10**6).max == expected[start:].max()
    assert store.range(symbol, start, total + 30).min == expected[start:].min()


def try_each_place(path: Path, scene: Scene, durability: str, step: int) -> int:
    """Interrupt the append of a scene at every `step`-th place, each in a store of its own; return how many."""
    batch = np.arange(1000.0, 1000.0 + scene.points)
    before = np.arange(float(scene.before))
    if scene.offset is not None:
        batch = before[scene.offset :]
    for tried in count():
        store = prepared(path / str(tried), durability, scene.before)
        where = interrupted(
            lambda store=store: store.append(scene.symbol, batch, offset=scene.offset),  # type: ignore[misc]
            1 + tried * step,
        )
        if not where:
            store.close()
            return tried
        try:
            assert_free(store.path)
            if scene.offset is not None:
                assert_whole(store, "A", before, before[:0])
            else:
                assert_whole(store, scene.symbol, before if scene.symbol == "A" else before[:0], batch)
            assert not list(store.path.glob(".making-*"))
            in_time(store.close)
            with open_store(store.path) as again:
                assert again.losses() == []
                assert not any(report.faults for report in again.verify())
        except BaseException as error:
            error.add_note(f"interrupted at place {1 + tried * step}: {where}")
            raise
    raise AssertionError


pytestmark = [
    # The interpreter passes over an interrupt in the callback of a weak reference, and closes a file that it kept from
    # getting a name.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def tmp_path(memory_path: Path) -> Path:
    """Return a directory in memory: hundreds of stores are made, and each is put on the disk."""
    return memory_path


DURABILITIES = pytest.mark.parametrize("durability", ["interval", "sync"])


@DURABILITIES
@pytest.mark.parametrize("name", SCENES)
def test_an_interrupted_append_is_made_or_not(tmp_path: Path, name: str, durability: str) -> None:
    """No lock stays taken, no point is lost, none is served that was not appended, and commits go on."""
    scene = SCENES[name]
    assert try_each_place(tmp_path, scene, durability, scene.step) > 2


@pytest.mark.torture
@pytest.mark.timeout(0)
@DURABILITIES
@pytest.mark.parametrize("name", SCENES)
def test_an_append_is_interrupted_at_every_place(tmp_path: Path, name: str, durability: str) -> None:
    """The same, with none left out."""
    try_each_place(tmp_path, SCENES[name], durability, 1)


OPEN_FILES: dict[str, Callable[[Path], Callable[[], None]]] = {
    "chunk": lambda path: written_chunk(path).close_writer,
    "head": lambda path: Head(written_chunk(path).path.parent, writable=True).close,
    "rest": lambda path: Head(written_chunk(path).path.parent, writable=True).rest,
    "journal": lambda path: Journal(path, {}).close,
    "log": lambda path: DailyFile(path / "log", keep_days=1).close,
}


def written_chunk(path: Path) -> Chunk:
    """Return the chunk of a new series, open for writing."""
    with open_store(path) as store:
        store.append("A", [1.0])
    head = Head(path / "A", writable=False)
    chunk = Chunk(path / "A", head.identity.series_id, 0, Layout.of(64))
    head.close()
    chunk.writer()
    return chunk


@pytest.mark.parametrize("kind", OPEN_FILES)
def test_an_interrupted_close_of_a_file_leaves_no_number_behind(tmp_path: Path, kind: str) -> None:
    """What has the number next is another file: who kept it would write into that one, or close it."""
    for place in count(1):
        path = tmp_path / str(place)
        path.mkdir()
        close = OPEN_FILES[kind](path)
        where = interrupted(close, place)
        others = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
        close()
        del close
        for fd in others:
            os.close(fd)  # fails where it is closed already
        if not where:
            assert place > 1
            return


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=[pytest.mark.torture, pytest.mark.timeout(0)])])
def test_an_interrupted_append_that_puts_another_symbol_to_rest(tmp_path: Path, step: int) -> None:
    """The other goes on, wherever it was, and no file of anybody else is closed."""
    for tried in count():
        store = prepared(tmp_path / str(tried), "process", 50)
        store.append("B", [1.0])
        store.sync()
        store._descriptors.most = 1
        wait_until(store.series("B").rest, "the end of its commit")
        where = interrupted(lambda store=store: store.append_nowait("B", [2.0], offset=1), 1 + tried * step)  # type: ignore[misc]
        others = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
        assert_free(store.path)
        for symbol, total in (("A", 51), ("B", 2)):
            in_time(partial(store.append, symbol, [2.0], offset=total - 1))
            assert (store.series(symbol).total, store.stats(symbol, 1).last) == (total, 2.0), where
        in_time(store.close)
        for fd in others:
            os.close(fd)
        with open_store(store.path) as again:
            assert [info.total for info in again.symbols()] == [51, 2], where
            assert not any(report.faults for report in again.verify())
        if not where:
            assert tried > 10
            return


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=[pytest.mark.torture, pytest.mark.timeout(0)])])
def test_an_interrupted_close_is_ended_by_the_next(tmp_path: Path, step: int) -> None:
    """Everything is on the disk then, with the clean flag, and the files are closed."""
    for tried in count():
        store = prepared(tmp_path / str(tried), "process", 50)
        store.append("A", [3.0])
        where = interrupted(store.close, 1 + tried * step)
        in_time(store.close)
        told: list[str] = []
        with Store(store.path, limits=LIMITS, on_event=lambda name, _, told=told: told.append(name)) as again:  # type: ignore[misc]
            assert not {"recovery", "lost"} & set(told), where
            assert again.series("A").committed_total == 51, where
        assert_free(store.path)
        if not where:
            assert tried > 10
            return


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=[pytest.mark.torture, pytest.mark.timeout(0)])])
@pytest.mark.parametrize("orderly", [True, False])
def test_an_interrupted_opening_leaves_the_store_as_it_was(tmp_path: Path, step: int, *, orderly: bool) -> None:
    """No lock stays taken, and the next opening finds everything."""
    first = prepared(tmp_path / "first", "process", 600)
    first.append("A", np.arange(600.0, 610.0))
    if orderly:
        first.close()
    for tried in count():
        data = tmp_path / str(tried)
        shutil.copytree(first.path, data)
        move_in(data)
        opened: list[Store] = []
        where = interrupted(lambda data=data, opened=opened: opened.append(open_store(data)), 1 + tried * step)  # type: ignore[misc]
        assert_free(data)
        with open_store(data) as again:
            assert np.array_equal(again.window("A", 1000), np.arange(610.0)), where
            assert again.append("A", [1.0]) == 611
            assert not any(report.faults for report in again.verify())
        for store in opened:
            store.close()
        if not where:
            assert tried > 10
            break
    first.close()
