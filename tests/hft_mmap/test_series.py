"""One series through the public door: appends, offsets, windows, refusals."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_mmap import (
    STANDARD_WINDOWS,
    InvalidValues,
    InvalidWindow,
    Limits,
    OffsetConflict,
    Store,
    StoreClosed,
    StoreReadOnly,
    SymbolNotFound,
)
from hft_mmap.stats import exact_window_stats
from hft_mmap.testing import PATIENCE_S, ModelStore, assert_close, batches
from tests.hft_mmap.conftest import OpenStore
from tests.hft_mmap.damage import contents

LIMITS = Limits(max_data_retention=100_000, cleanup_keep_count=50_000, starting_capacity=0, chunk_points=64)


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    """Return an open store with the points 0 to 99 in A."""
    store = open_store(durability="process")
    store.append("A", np.arange(100.0))
    store.sync()
    return store


# -- reading what was written -----------------------------------------------------------------------------------------


def test_an_append_is_visible_when_it_returns(store: Store) -> None:
    """The next query has the batch in every window, and the total counts it."""
    assert store.append("A", [500.0, 400.0]) == 102
    stats = store.stats("A", 3)
    assert_close(stats, exact_window_stats([99.0, 500.0, 400.0], 3))
    assert store.series("A").total == 102


@settings(max_examples=30)
@given(found=st.lists(batches(), min_size=1, max_size=8), window=st.integers(1, 2000))
def test_windows_are_exact_whatever_the_batches(
    found: list[list[float]], window: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any batches give the statistics of their points one after the other, for any window."""
    model = ModelStore(LIMITS)
    with Store(tmp_path_factory.mktemp("data"), limits=LIMITS, durability="process") as store:
        for batch in found:
            assert store.append("A", batch) == model.append("A", batch)
        assert_close(store.stats("A", window), model.stats("A", window))
        assert store.window("A", window).tolist() == model.window("A", window)
        for actual, exact in zip(store.windows("A"), model.windows("A"), strict=True):
            assert_close(actual, exact)
        assert store.verify()[0].faults == ()


def test_a_batch_may_span_many_chunks(store: Store) -> None:
    """A batch of several chunks is stored whole, and so is one that ends exactly at the end of a chunk."""
    series = store.series("A")
    assert series.append_nowait(np.arange(100.0, 100.0 + 5 * 64)) == 420
    assert series.append_nowait(np.arange(420.0, 448.0)) == 448
    assert series.append_nowait([448.0]) == 449
    assert np.array_equal(series.window(1000), np.arange(449.0))


def test_the_eight_windows_are_of_one_moment(store: Store) -> None:
    """windows() gives the standard windows, each the same as alone, and says what it covered."""
    series = store.series("A")
    start, total, windows = series.windows_at()
    assert (start, total) == series.bounds() == (0, 100)
    assert windows == series.windows() == tuple(series.stats(window) for window in STANDARD_WINDOWS)
    assert [stats.points for stats in windows] == [10, 100, 100, 100, 100, 100, 100, 100]


@pytest.mark.parametrize("window", [1, 100, 101, 10**30, np.int64(5), np.uint8(5)])
def test_a_window_is_a_whole_number_from_1(store: Store, window: int) -> None:
    """Any size is answered, with all the points there are where it is larger; numpy's integers count too."""
    assert store.stats("A", window).points == min(int(window), 100)
    assert len(store.window("A", window)) == min(int(window), 100)


@pytest.mark.parametrize("window", [0, -1, 1.0, "1", None, True, np.float64(1), [1]])
def test_what_is_no_window_is_refused(store: Store, window: object) -> None:
    """Zero, negatives, fractions, text and booleans give InvalidWindow, with the value in the text."""
    for ask in (store.stats, store.window):
        with pytest.raises(InvalidWindow, match="must be a whole number from 1, not"):
            ask("A", window)  # type: ignore[arg-type]


def test_a_window_of_points_is_read_only_and_copies_nothing_within_a_chunk(store: Store) -> None:
    """The newest points are a view of the mapped file where they lie in one chunk, and never writable."""
    inside, across = store.window("A", 10), store.window("A", 50)
    assert np.shares_memory(inside, store.window("A", 36))
    assert not np.shares_memory(across, store.window("A", 50))
    for points in (inside, across):
        assert points.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            points[0] = 1.0


def test_a_window_of_points_outlives_the_store(store: Store) -> None:
    """Points that were handed out stay as they were: after more appends, a cleanup, and the end of the store."""
    inside = store.window("A", 10)
    for _ in range(30):
        store.append("A", np.zeros(100))
    store.close()
    assert np.array_equal(inside, np.arange(90.0, 100.0))


def test_a_series_held_after_close_still_answers(store: Store) -> None:
    """Whoever holds a series reads on; only writes are refused."""
    series = store.series("A")
    store.close()
    assert series.stats(100).points == 100
    with pytest.raises(StoreClosed, match="the store was closed"):
        series.append_nowait([1.0])


def test_nothing_appended_is_not_found(open_store: OpenStore) -> None:
    """A symbol whose first batch was not stored has no statistics: SymbolNotFound, not a division by zero."""
    store = open_store()
    store._find_or_create("A", 1)
    for ask in (lambda: store.stats("A", 10), lambda: store.windows("A")):
        with pytest.raises(SymbolNotFound, match="Symbol not found: A"):
            ask()
    assert store.window("A", 10).size == 0


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [[], [1.0, float("nan")], [-1.0], [1.0, None], ["1"], [True], np.ones((2, 2)), np.full(1001, 1.0), "12"],
    ids=["empty", "nan", "negative", "null", "text", "boolean", "nested", "too large", "string"],
)  # fmt: skip
def test_a_refused_batch_changes_nothing(store: Store, values: object) -> None:
    """No byte of the series changes, and no symbol is made for a batch that is refused."""
    before = contents(store.path / "A")
    with pytest.raises(InvalidValues):
        store.append("A", values)  # type: ignore[arg-type]
    with pytest.raises(InvalidValues):
        store.append("B", values)  # type: ignore[arg-type]
    assert contents(store.path / "A") == before
    assert [info.symbol for info in store.symbols()] == ["A"]


def test_a_reading_store_refuses_writes(store: Store, open_store: OpenStore) -> None:
    """A store opened with mode "r" refuses to append and to create, and reads."""
    reader = open_store(mode="r")
    for symbol in ("A", "B"):
        with pytest.raises(StoreReadOnly, match='opened with mode="r"'):
            reader.append(symbol, [1.0])
    assert reader.stats("A", 1).last == 99.0
    assert store.series("A").total == 100


# -- offsets ----------------------------------------------------------------------------------------------------------


def test_a_batch_goes_where_it_belongs(store: Store) -> None:
    """With the offset where the series ends, a batch is appended; a new symbol begins at 0."""
    assert store.append("A", [100.0], offset=100) == 101
    assert store.append("B", [1.0], offset=0) == 1


@pytest.mark.parametrize(("offset", "size"), [(0, 100), (99, 1), (0, 1), (50, 30), (63, 2)])
def test_a_batch_sent_twice_is_stored_once(store: Store, offset: int, size: int) -> None:
    """What is already stored at its offset is acknowledged with the total after it, and not appended again."""
    values = np.arange(float(offset), float(offset + size))
    assert store.append("A", values, offset=offset) == offset + size
    assert store.append("A", values.tolist(), offset=offset) == offset + size
    assert store.series("A").total == 100


@pytest.mark.parametrize(
    ("offset", "values", "reason"),
    [
        (101, [1.0], "points before it are missing"),
        (10**9, [1.0], "points before it are missing"),
        (10**30, [1.0], "points before it are missing"),
        (98, [98.0, 99.0, 100.0], "it overlaps what is stored only in part"),
        (98, [0.0], "other values are stored there"),
        (0, [0.0, 1.0, 3.0], "other values are stored there"),
        (-1, [1.0], "offsets count from 0"),
        (-(10**30), [1.0], "offsets count from 0"),
    ],
)
def test_a_batch_for_another_place_is_a_conflict(store: Store, offset: int, values: list[float], reason: str) -> None:
    """The series stays as it is; the error says why, and where the series really ends."""
    with pytest.raises(
        OffsetConflict, match=f"offset {offset} does not fit: {reason}.*A ends at total 100"
    ) as conflict:
        store.append("A", values, offset=offset)
    assert conflict.value.total == 100
    assert store.series("A").total == 100


@pytest.mark.parametrize("offset", [1, -1])
def test_an_offset_of_a_symbol_that_does_not_exist_is_a_conflict(store: Store, offset: int) -> None:
    """A new symbol has no points before its first batch, and is not made for one that begins later."""
    with pytest.raises(OffsetConflict, match="B does not exist yet, its total is 0") as conflict:
        store.append("B", [1.0], offset=offset)
    assert conflict.value.total == 0
    with pytest.raises(SymbolNotFound):
        store.series("B")


def test_points_that_are_no_longer_kept_cannot_be_compared(store: Store) -> None:
    """A batch sent again after its points were cleaned up is a conflict, not a silent success."""
    for _ in range(10):
        store.append("A", np.ones(100))
    with pytest.raises(OffsetConflict, match="points before 400 are no longer kept"):
        store.append("A", np.arange(100.0), offset=0)


def test_two_producers_with_offsets_store_each_point_once(store: Store) -> None:
    """Producers that repeat one another's batches, as after a lost answer, leave every point stored exactly once."""
    expected = np.arange(100.0, 1000.0)
    barrier = threading.Barrier(2)
    failures = []

    def produce(batch: int) -> None:
        barrier.wait()
        position = 100
        while position < 1000:
            values = np.arange(float(position), float(min(position + batch, 1000)))
            try:
                position = store.append("A", values, offset=position)
            except OffsetConflict as conflict:
                if conflict.total <= position:
                    failures.append(conflict)
                position = conflict.total

    run_together(lambda: produce(7), lambda: produce(13))
    assert failures == []
    assert np.array_equal(store.window("A", 900), expected)


def run_together(*functions: Callable[[], object]) -> None:
    """Run each function in a thread of its own, and fail if one does."""
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


# -- closing and callbacks --------------------------------------------------------------------------------------------


def test_nothing_is_taken_after_the_last_commit(open_store: OpenStore) -> None:
    """A batch that comes while the store closes is refused, not stored behind the commit that claims to be the last."""
    with open_store(durability="process") as store:
        store.append("A", [1.0])
    store = open_store(durability="process")
    series = store.series("A")
    outcome: list[object] = []

    def append_again(error: BaseException | None) -> None:
        outcome.append(error)
        try:
            outcome.append(series.append_nowait([series.total + 1.0]))
        except StoreClosed as refused:
            outcome.append(str(refused))

    # A commit that was due before, such as that of the opening, may cover a batch as well: then that was not the last.
    total = series.append_nowait([2.0])
    series.on_durable(total, append_again)
    store.close()
    while outcome[-2:] != [None, "the store was closed"]:
        assert outcome[-2:] == [None, total + 1]
        store = open_store(durability="process")
        series = store.series("A")
        total = series.append_nowait([2.0])
        series.on_durable(total, append_again)
        store.close()
    assert series.total == total


def test_a_callback_that_raises_harms_nobody_else(open_store: OpenStore) -> None:
    """One caller's mistake is told as an event; the other callbacks are called, and commits go on."""
    events: list[str] = []
    done = threading.Event()
    store = open_store(durability="sync", on_event=lambda name, _: events.append(name))

    def fail(_error: BaseException | None) -> None:
        raise RuntimeError("event loop is closed")

    store.append_nowait("A", [1.0])
    store.on_durable("A", 2, fail)
    store.on_durable("A", 2, lambda _: done.set())
    store.append("A", [2.0])
    assert done.wait(PATIENCE_S)
    assert "callback_failed" in events
    assert store.append("A", [3.0]) == 3


def test_a_callback_for_what_is_already_durable_is_called_at_once(open_store: OpenStore) -> None:
    """Nobody waits for what has happened."""
    store = open_store(durability="sync")
    store.append("A", [1.0])
    calls: list[BaseException | None] = []
    store.on_durable("A", 1, calls.append)
    assert calls == [None]


class MovingWords:
    """Live words that another process moves as soon as some of them were read."""

    def __init__(self, words: memoryview, move: Callable[[], object], after: int = 1) -> None:
        """Give out `words`, and call `move` when so many of them were."""
        self._words = words
        self._move = move
        self._left = after

    def __getitem__(self, index: int) -> int:
        """Return a word as it is, and have all of them moved before the next if it is time."""
        found = int(self._words[index])
        self._left -= 1
        if not self._left:
            self._move()
        return found


def test_bounds_and_statistics_are_of_one_moment(open_store: OpenStore) -> None:
    """A cleanup in another process between the reading of one word and of the next is noticed."""
    mine, other = open_store(), open_store()
    mine.append("A", np.arange(1000.0))
    series = mine.series("A")
    words = series._words
    for ask in (series.bounds, lambda: series.windows_at()[:2]):
        expected = other.series("A").bounds()
        total = expected[1] + 900

        def move(total: int = total) -> None:
            while other.series("A").total < total:
                other.append("A", np.zeros(300))

        series._words = MovingWords(words, move)  # type: ignore[assignment]
        found = ask()
        series._words = words
        assert found in {expected, series.bounds()}
