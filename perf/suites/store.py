"""Appending to a store and opening it, in each durability tier."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from time import perf_counter

from hft_mmap import Durability, Limits, Store
from hft_mmap.batch import check_prices
from perf.case import Case, Prepare, TimeFunction, Work, name, timed
from perf.lab import ROOMY, SYMBOL, Lab
from perf.memory import no_collection, touch
from perf.prices import random_walk

BATCHES = (1, 10, 1_000, 10_000, 1_000_000)
# Enough for one case, and little enough that it stays in memory: 16 chunks, cleaned up down to 4.
LIMITS = Limits(max_data_retention=64_000_000, cleanup_keep_count=16_000_000)


def warm_bytes(points: int) -> int:
    """Return how much memory appends of `points` will newly use while they are measured, or somewhat more."""
    return 1 << 30 if points >= 100_000 else 1 << 27 if points >= 10_000 else 1 << 26


def _append(points: int, durability: Durability) -> Prepare:
    """Append batches of `points`; the arrays differ, so that no batch is in the processor's cache by luck."""

    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        batches = cycle([random_walk(points, seed) for seed in range(4)])
        touch(warm_bytes(points))
        with (
            lab.scratch() as scratch,
            Store(scratch / "data", limits=LIMITS, durability=durability) as store,
            no_collection(),
        ):
            store.append(SYMBOL, next(batches))
            yield timed(lambda: store.append(SYMBOL, next(batches)))

    return prepare


def _append_in_python(points: int) -> Prepare:
    """Append by the way that batches take which roll or clean up: the same steps, from Python."""

    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        from hft_mmap.ticks import Ticks  # noqa: PLC0415 - the gate uses this module on revisions that have none

        batches = cycle([random_walk(points, seed) for seed in range(4)])
        touch(warm_bytes(points))
        with lab.scratch() as scratch, Store(scratch / "data", limits=LIMITS, durability=Durability.PROCESS) as store:
            store.append(SYMBOL, next(batches))
            series = store.series(SYMBOL)
            with no_collection():
                yield timed(lambda: series._append_long(Ticks(check_prices(next(batches))), None))

    return prepare


def _open(stored: int) -> Prepare:
    """Open and close a store for writing."""

    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with lab.borrowed(stored) as data:

            def run(loops: int) -> float:
                spent = 0.0
                for _ in range(loops):
                    begin = perf_counter()
                    store = Store(data, limits=ROOMY, durability=Durability.PROCESS)
                    answer = store.stats(SYMBOL, 10)
                    spent += perf_counter() - begin
                    assert answer.points == 10
                    store.close()
                return spent

            yield run

    return prepare


def cases() -> list[Case]:
    """Return the cases of this suite."""
    found = [
        Case(
            name("store", "append", points=points), _append(points, Durability.PROCESS), Work(points, "points"),
            guarded=points in {10, 10_000}, metadata={"durability": Durability.PROCESS},
        )
        for points in BATCHES
    ]  # fmt: skip
    found += [
        Case(
            name("store", "append", points=10, durability=tier), _append(10, tier), Work(10, "points"),
            metadata={"durability": tier},
        )
        for tier in (Durability.INTERVAL, Durability.SYNC)
    ]  # fmt: skip
    found += [
        Case(
            name("store", "append_in_python", points=10), _append_in_python(10), Work(10, "points"),
            metadata={"durability": Durability.PROCESS},
        )
    ]  # fmt: skip
    found += [
        Case(
            name("store", "open", stored=stored), _open(stored), Work(1, "stores"), guarded=stored == 10,
            metadata={"durability": Durability.PROCESS},
        )
        for stored in (10, 10**8)
    ]  # fmt: skip
    return found
