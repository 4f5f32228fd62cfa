"""Everything that the public interface offers, with the types it has.

mypy strict accepts this file as it is; a comment that excuses a wrong use would be reported if the use became right.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from hft_mmap import (
    STANDARD_WINDOWS,
    Buckets,
    Columns,
    Durability,
    HftMmapError,
    Limits,
    OffsetConflict,
    Point,
    Reason,
    Series,
    SeriesInfo,
    Store,
    StoreCounters,
    SymbolNotFound,
    VerifyReport,
    WindowStats,
)


def note(name: str, fields: Mapping[str, object]) -> None:
    """Take an event."""
    assert name
    assert isinstance(fields, Mapping)


def ask_any_range(store: Store) -> None:
    """Ask for named statistics of every kind of part."""
    assert_type(store.statistics("A", ("std",), window=2, at=5), dict[str, float | int | None])
    assert_type(store.stats_across(["A"], ("std",), window=2), Columns)
    assert_type(store.stats_bars("A", 2, 0, 4, stats=("first",)), Columns)
    assert_type(store.stats_many("A", [0], np.array([1])), Columns)
    assert_type(store.series("A").stats_windows(("std",), (1, 2)), tuple[int, int, Columns])


def ask_by_time(store: Store) -> None:
    """Ask for bars, windows and points by time."""
    assert_type(store.time_bars("A", "1m", "2026-01-01T00:00:00Z", tz="UTC", fill="null", stats=("vwap",)), Columns)
    assert_type(store.volume_bars("A", 1e6, 0, 100), Columns)
    assert_type(store.value_bars("A", 1e9), Columns)
    assert_type(store.stats_around("A", [1, 2], before="1s", after=timedelta(seconds=5)), Columns)
    assert_type(store.stats_between("A", [1], np.array([2])), Columns)
    assert_type(store.asof("A", 5), Point)
    assert_type(store.asof("A", "5ns", "1s"), Point | None)
    assert_type(store.asof_many("A", np.array(["2026-01-01"], dtype="M8[ns]"), "1s"), Columns)
    assert_type(store.series("A").stats_windows(("rate",), (1, "1m")), tuple[int, int, Columns])


def note_durable(error: BaseException | None) -> None:
    """Take the news that points are on the disk."""
    assert error is None


def use_a_store(directory: Path) -> WindowStats:
    """Open, append, ask, close."""
    limits = Limits(max_data_retention=1000, cleanup_keep_count=500, max_symbols=2, starting_capacity=0)
    with Store(directory, limits=limits, durability="sync", sync_interval_ms=5, on_event=note) as store:
        assert_type(store, Store)
        assert_type(store.append("A", [1, 2.5]), int)
        assert_type(store.append("A", (1.0, 2.0), offset=2), int)
        assert_type(store.append("A", np.array([1.0])), int)
        assert_type(store.append("A", np.array([1], dtype=np.int32)), int)
        assert_type(store.append_nowait("A", range(3)), int)
        store.on_durable("A", 3, note_durable)
        store.sync()
        assert_type(store.symbols(), list[SeriesInfo])
        assert_type(store.reasons(), list[Reason])
        assert_type(store.counters(), StoreCounters)
        assert_type(store.verify(), list[VerifyReport])
        assert_type(store.durability, Durability)
        use_a_series(store.series("A"))
        refuse(store)
        return store.stats("A", 10)


def use_a_series(series: Series) -> None:
    """Ask one series."""
    assert_type(series.bounds(), tuple[int, int])
    assert_type(series.total - series.start - series.count, int)
    windows = series.windows()
    assert_type(windows, tuple[WindowStats, ...])
    assert len(windows) == len(STANDARD_WINDOWS)
    assert_type(series.window(5), NDArray[np.float64])
    assert_type(series.buckets(0, 100, 10), Buckets)
    assert_type(series.bars(0, 100, 10).index, NDArray[np.int64])
    assert_type(series.bars(0, 100, 10).mean, NDArray[np.float64])
    stats = series.stats(10)
    assert_type(stats.avg, float)
    assert_type(stats.points, int)
    low, high, last, avg, var, count = stats
    assert low <= avg <= high
    assert low <= last <= high
    assert var >= 0
    assert count


def note_refusal(error: HftMmapError) -> None:
    """Take what any refusal has: a text for the user."""
    assert str(error)


def refuse(store: Store) -> None:
    """Handle what is refused."""
    try:
        store.append("A", [1.0], offset=10**6)
    except OffsetConflict as conflict:
        assert_type(conflict.total, int)
    try:
        store.stats("B", 10)
    except SymbolNotFound as missing:
        assert_type(missing.symbol, str)
    try:
        store.append("A", "123")  # type: ignore[arg-type]
    except HftMmapError as error:
        note_refusal(error)


def read_only(directory: Path) -> None:
    """Open for reading."""
    with Store(directory, mode="r") as store:
        assert_type(store.windows("A"), tuple[WindowStats, ...])


def misuse(directory: Path) -> None:
    """Be told by the type checker."""
    Store(directory, mode="w")  # type: ignore[arg-type]
    Store(directory).append("A", None)  # type: ignore[arg-type]
    Store(directory).append("A", [None])  # type: ignore[list-item]
    Store(directory).append("A", ["1"])  # type: ignore[list-item]
    Store(directory).stats("A", 10.0)  # type: ignore[arg-type]
    Limits(max_symbols="10")  # type: ignore[arg-type]
