"""Descriptors that run out at each opening of a file: what fails leaves a state that the next call goes on from."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import HftMmapError, Limits, Store
from tests.hft_mmap.descriptors import descriptors_left
from tests.service import wait_until

LIMITS = Limits(chunk_points=64, starting_capacity=0, max_data_retention=300, cleanup_keep_count=70)
POINTS = np.arange(200.0)
MORE = np.arange(200.0, 260.0)
MOST = 60
"""More descriptors than any of the calls needs."""


def reopen(store: Store) -> None:
    """Open the directory for writing as well."""
    Store(store.path, limits=LIMITS).close()


def read(store: Store) -> None:
    """Open it for reading, and read."""
    with Store(store.path, mode="r") as reader:
        assert np.array_equal(reader.window("A", 70), store.window("A", 70))


def create(store: Store) -> None:
    """Make another symbol, if it is not there."""
    if "B" not in {info.symbol for info in store.symbols()}:
        store.create("B")


def roll(store: Store) -> None:
    """Append so many points that a chunk more is made."""
    store.append("A", MORE, offset=200)


def clean_up(store: Store) -> None:
    """Append so many that old ones are let go of, with their files."""
    store.append("A", np.arange(200.0, 400.0), offset=200)
    store.sync()


def snapshot(store: Store) -> None:
    """Make a copy, and read it."""
    target = store.path.with_name("snapshot")
    shutil.rmtree(target, ignore_errors=True)
    store.snapshot(target)
    with Store(target, mode="r") as copy:
        assert np.array_equal(copy.window("A", 200), POINTS)


def verify(store: Store) -> None:
    """Check every file."""
    for report in store.verify():
        if report.faults:
            raise OSError(report.faults[0])


def rename(store: Store) -> None:
    """Give the symbol another name, if it has it not."""
    if "A" in {info.symbol for info in store.symbols()}:
        store.rename("A", "C")


def truncate(store: Store) -> None:
    """Let go of old points."""
    store.truncate("A", keep=70)


def remove(store: Store) -> None:
    """Remove the symbol, if it is there."""
    if "A" in {info.symbol for info in store.symbols()}:
        store.remove("A")


CALLS: list[tuple[Callable[[Store], None], dict[str, list[float]]]] = [
    (reopen, {"A": [*POINTS]}),
    (read, {"A": [*POINTS]}),
    (create, {"A": [*POINTS], "B": []}),
    (roll, {"A": [*POINTS, *MORE]}),
    (clean_up, {"A": [*np.arange(130.0, 400.0)]}),
    (snapshot, {"A": [*POINTS]}),
    (verify, {"A": [*POINTS]}),
    (rename, {"C": [*POINTS]}),
    (truncate, {"A": [*POINTS[-70:]]}),
    (remove, {}),
]


def contents(store: Store) -> dict[str, list[float]]:
    """Return the kept points of every series."""
    return {info.symbol: [*store.window(info.symbol, 1000)] for info in store.symbols()}


def goes_through(path: Path, call: Callable[[Store], None], left: dict[str, list[float]], n: int) -> bool:
    """Make a call with `n` descriptors left, then with enough, and check what is there; say whether the first was."""
    with Store(path, limits=LIMITS, durability="interval", sync_interval_ms=1) as store:
        store.append("A", POINTS)
        store.sync()
        with ThreadPoolExecutor(1) as thread:
            with descriptors_left(n):
                made = thread.submit(call, store)
                wait_until(lambda: made.done() or store.reasons(), "the end of the call, or that it waits")
                done = made.done()
            error = made.exception()
        assert error is None or isinstance(error, HftMmapError | OSError), error
        call(store)
        assert store.reasons() == []
        assert contents(store) == left
        assert [report.faults for report in store.verify() if report.faults] == []
    with Store(path, limits=LIMITS) as store:
        assert contents(store) == left
    return done and error is None


@pytest.mark.parametrize(("call", "left"), CALLS, ids=[call.__name__ for call, _ in CALLS])
def test_a_call_that_finds_no_descriptor_is_made_again(
    tmp_path: Path, call: Callable[[Store], None], left: dict[str, list[float]]
) -> None:
    """With few left it fails as documented, or waits; nothing is lost, and it goes through when there are more."""
    assert goes_through(tmp_path / "enough" / "data", call, left, MOST)  # and has loaded whatever it needs
    n = 0
    while not goes_through(tmp_path / str(n) / "data", call, left, n):
        n += 1
    assert n or call is truncate  # which opens nothing
