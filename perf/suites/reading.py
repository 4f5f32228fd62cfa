"""Window statistics from the library: one window, all eight, and beside a writer in another process."""

from collections.abc import Iterator
from contextlib import contextmanager

from hft_mmap import STANDARD_WINDOWS, Durability, Store
from perf.case import Case, Prepare, TimeFunction, Work, name, timed
from perf.lab import ROOMY, SYMBOL, Lab
from perf.writer import writer_process

STORED = (1_000, 1_000_000, 100_000_000)


def _window(stored: int, window: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with Store(lab.stored(stored), mode="r", limits=ROOMY) as store:
            series = store.series(SYMBOL)
            assert series.stats(window).points == min(window, stored)
            yield timed(lambda: series.stats(window))

    return prepare


def _all_windows(stored: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with Store(lab.stored(stored), mode="r", limits=ROOMY) as store:
            series = store.series(SYMBOL)
            yield timed(series.windows)

    return prepare


def _buckets(stored: int, n: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with Store(lab.stored(stored), mode="r", limits=ROOMY) as store:
            series = store.series(SYMBOL)
            assert len(series.buckets(0, stored, n).index) == n
            yield timed(lambda: series.buckets(0, stored, n))

    return prepare


def _beside_writer(stored: int, window: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with (
            lab.borrowed(stored) as data,
            writer_process(data, points=10),
            Store(data, mode="r", limits=ROOMY) as store,
        ):
            series = store.series(SYMBOL)
            before = series.total
            yield timed(lambda: series.stats(window))
            assert series.total > before

    return prepare


def cases() -> list[Case]:
    """Return the cases of this suite."""
    found = [
        Case(
            name("reading", "window", stored=stored, window=window), _window(stored, window), Work(1, "windows"),
            guarded=stored == 1_000_000 and window in {10, 100_000},
        )
        for stored in STORED
        for window in STANDARD_WINDOWS
    ]  # fmt: skip
    found += [
        Case(
            name("reading", "all_windows", stored=stored), _all_windows(stored), Work(8, "windows"),
            guarded=stored == 1_000_000,
        )
        for stored in STORED
    ]  # fmt: skip
    found += [
        Case(
            name("reading", "buckets", stored=stored, buckets=1000), _buckets(stored, 1000), Work(1000, "buckets"),
            guarded=stored == 1_000_000,
        )
        for stored in STORED[1:]
    ]  # fmt: skip
    found.append(
        Case(
            name("reading", "window_beside_writer", stored=10**6, window=10**5), _beside_writer(10**6, 10**5),
            Work(1, "windows"), metadata={"durability": Durability.PROCESS},
        )
    )  # fmt: skip
    return found
