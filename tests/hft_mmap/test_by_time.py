"""Windows, ranges and single points by time, against a search through all of them; through the public door."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hft_mmap import (
    ColumnsDiffer,
    InvalidRange,
    InvalidWindow,
    Limits,
    OutOfRange,
    Point,
    Series,
    Store,
    SymbolNotFound,
)
from hft_mmap.by_time import duration_ns, instant_ns
from hft_mmap.stats import exact_window_stats
from hft_mmap.testing import assert_close

SMALL = Limits(chunk_points=64, starting_capacity=0)
START_NS = 1_767_225_600_000_000_000
START = "2026-01-01T00:00:00Z"
SECOND = 10**9
MOST = 2**63 - 1


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """Yield a store: A has a point each second of 2026's first 200 seconds, but none in (50, 60), and two at 100."""
    seconds = [*range(51), *range(60, 101), *range(100, 200)]
    with Store(tmp_path / "data", limits=SMALL) as opened:
        opened.append("A", np.arange(1.0, len(seconds) + 1), times=[START_NS + SECOND * s for s in seconds])
        opened.append("PRICES", [1.0, 2.0])
        opened.create("EMPTY")
        yield opened


def after(seconds: float) -> str:
    """Return a time so many seconds after the first point, as RFC 3339."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{datetime.fromtimestamp(START_NS // SECOND + whole, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


@pytest.mark.parametrize("places", [(None, None), (0, None), (None, 5)])
def test_a_range_says_where_it_begins_and_ends(store: Store, places: tuple[Any, Any]) -> None:
    """By index neither may be left out."""
    with pytest.raises(InvalidRange, match="must be a whole number from 0, not None"):
        store.series("A").range(*places)


RNG = np.random.default_rng(1)
COURSES = {
    "even": np.arange(5000) * 1000,
    "random": np.cumsum(RNG.integers(0, 2000, 5000)),
    "bursts": np.repeat(np.cumsum(RNG.integers(1, 10**12, 50)), 100) + np.tile(np.arange(100), 50),
    "growing": np.logspace(0, 18, 5000).astype(np.int64),
    "the same": np.full(5000, 7),
    "ends": np.sort(np.concatenate([[-MOST, MOST], RNG.integers(-MOST, MOST, 4998)])),
}


@pytest.mark.parametrize("chunk_points", [64, 4096, 8192 * 8])
@pytest.mark.parametrize("course", COURSES)
def test_a_time_is_found_whatever_their_course(tmp_path: Path, course: str, chunk_points: int) -> None:
    """Whether points come evenly or not, in one chunk or many, all of them kept or some; as a search has it."""
    times = COURSES[course]
    with Store(tmp_path / "data", limits=Limits(chunk_points=chunk_points, starting_capacity=0)) as store:
        store.append("A", np.arange(1.0, 5001.0), times=times)
        for start in (0, 1234):
            if start:
                store.truncate("A", keep=5000 - start)
            series, kept = store.series("A"), times[start:]
            for at in {*times[::97].tolist(), *(times[1::89] - 1).tolist(), int(times[0]), int(times[-1])}:
                end = start + int(np.searchsorted(kept, at, side="right"))
                begin = start + int(np.searchsorted(kept, max(at - 50_000, -MOST - 1), side="right"))
                question = partial(series.part, window="50us", at=np.datetime64(at, "ns"))
                if begin == end:
                    with pytest.raises(OutOfRange):
                        question()
                    continue
                assert question()[1:] == (begin, end)
                assert series.part(window=10, at=np.datetime64(at, "ns"))[1:] == (max(start, end - 10), end)


@pytest.mark.parametrize(
    ("window", "points"),
    [
        ("1ns", 1), ("1s", 1), ("1000000001ns", 2), ("2s", 2), ("1.5s", 2), ("99s", 99), ("100s", 101), ("2m", 121),
        ("1h", 192), ("400d", 192), (timedelta(seconds=2), 2), (np.timedelta64(2, "s"), 2),
        (np.timedelta64(1500, "ms"), 2), ("99999999999999999999d", 192),
    ],
)  # fmt: skip
def test_a_window_by_time_ends_with_the_newest_point(store: Store, window: str, points: int) -> None:
    """(T - w, T]: what came exactly w before the newest is out, and the newest in, with others of its time."""
    found = store.stats("A", window)
    assert found.points == points
    assert (found.last, found.min) == (192.0, 193.0 - points)
    assert store.statistics("A", ("count", "first"), window=window) == {"count": points, "first": 193.0 - points}


@pytest.mark.parametrize(
    ("window", "at", "first", "last"),
    [
        ("10s", after(9), 1, 10), ("10s", after(9.5), 1, 10), ("10s", after(-1), 0, 0), ("10s", after(55), 47, 51),
        ("5s", after(55.5), 0, 0), ("1s", after(100), 92, 93), ("1ns", after(100), 92, 93), ("1h", after(10**6), 0, 0),
        ("10s", START_NS, 1, 1), ("10s", datetime(2026, 1, 1, 0, 0, 9, tzinfo=UTC), 1, 10),
        ("10s", np.datetime64("2026-01-01T00:00:09"), 1, 10), ("10s", "1767225609s", 1, 10), (5, after(9.5), 6, 10),
        (500, after(9), 1, 10), (5, 9, 6, 10),
    ],
)  # fmt: skip
def test_a_window_ends_at_any_time(store: Store, window: Any, at: Any, first: int, last: int) -> None:
    """By time with that time, by points with the newest up to it; where no point lies in it that is said."""
    if not first:
        with pytest.raises(OutOfRange, match="no point of A lies in the"):
            store.statistics("A", ("count",), window=window, at=at)
        return
    found = store.statistics("A", ("first", "last"), window=window, at=at)
    assert found == {"first": first, "last": last}


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (START, after(10), 1, 10), (START, after(10.5), 1, 11), (after(-100), after(1), 1, 1),
        (after(199), None, 192, 192),
        (None, after(1), 1, 1), (after(50), after(60), 51, 51), (after(100), after(101), 92, 93), (5, after(9), 6, 9),
        (after(3), 10, 4, 10), (datetime(2026, 1, 1, tzinfo=UTC), np.datetime64("2026-01-01T00:00:02"), 1, 2),
        (after(150), after(10**9), 143, 192),
    ],
)  # fmt: skip
def test_a_range_by_time_has_its_start_and_not_its_end(
    store: Store, start: Any, end: Any, first: int, last: int
) -> None:
    """[start, end); one of them may be an index."""
    assert store.statistics("A", ("first", "last"), start=start, end=end) == {"first": first, "last": last}
    assert store.quantile("A", (0.0, 1.0), start=start, end=end) == (first, last)
    rank = store.rank("A", first, start=start, end=end)
    assert (rank.below, rank.equal, rank.above) == (0, 1, last - first)
    if start is not None and end is not None:
        assert store.range("A", start, end).points == last - first + 1


@pytest.mark.parametrize(("start", "end"), [(after(51), after(59)), (after(200), None), (None, START)])
def test_a_range_without_a_point_is_told(store: Store, start: Any, end: Any) -> None:
    """There is no answer to be given of nothing."""
    with pytest.raises(OutOfRange, match="no point of A lies"):
        store.statistics("A", ("count",), start=start, end=end)


def test_a_range_of_which_points_may_be_gone_is_refused(store: Store) -> None:
    """A part of it would be another answer; from after the oldest that is kept all of it is certain."""
    store.truncate("A", keep=100)
    with pytest.raises(OutOfRange, match="are no longer kept") as refusal:
        store.statistics("A", ("count",), start=START, end=after(150))
    assert (refusal.value.start, refusal.value.total) == (92, 192)
    for oldest in (after(100), after(50)):
        with pytest.raises(OutOfRange, match="are no longer kept"):
            store.range("A", oldest, after(150))
    assert store.range("A", after(100.5), after(150)).min == 94.0
    with pytest.raises(OutOfRange, match="what came before is no longer kept"):
        store.asof("A", after(99))
    assert store.stats("A", "1h").points == 100


@pytest.mark.parametrize(
    ("at", "point"),
    [
        (START, (0, 1.0, 0)), (after(0.5), (0, 1.0, 0)), (after(55), (50, 51.0, 50)), (after(100), (92, 93.0, 100)),
        (after(10**9), (191, 192.0, 199)), (0, (0, 1.0, 0)), (191, (191, 192.0, 199)),
    ],
)  # fmt: skip
def test_a_point_is_found_as_of_a_time(store: Store, at: Any, point: tuple[int, float, int]) -> None:
    """The newest at or before it, with its time."""
    index, value, seconds = point
    assert store.asof("A", at) == Point(index, value, START_NS + SECOND * seconds)


@pytest.mark.parametrize(
    "question",
    [
        lambda series: series.stats("5m"),
        lambda series: series.statistics(("count",), window="5m", at=START),
        lambda series: series.statistics(("count",), start=START),
        lambda series: series.statistics(("count",), end=START),
        lambda series: series.asof(START),
        lambda series: series.range(START, after(5)),
    ],
)
def test_a_series_without_times_is_not_asked_by_time(store: Store, question: Callable[[Series], object]) -> None:
    """It says so; one without points says that."""
    with pytest.raises(ColumnsDiffer, match="PRICES has no times"):
        question(store.series("PRICES"))
    with pytest.raises(SymbolNotFound):
        question(store.series("EMPTY"))


@pytest.mark.parametrize(
    "window",
    [
        "5", "0s", "-5s", "5 s", "5S", "1.5ns", "m", "5mm", "s", "1e3s", "٣s", timedelta(0), timedelta(-1), "x" * 99,
        np.timedelta64(1, "M"), np.timedelta64(1, "Y"), np.timedelta64(1500, "ps"), np.timedelta64(5),
        np.timedelta64(-1, "s"), np.timedelta64("NaT", "s"),
    ],
)  # fmt: skip
def test_what_is_no_window_is_refused(store: Store, window: Any) -> None:
    """With what one looks like; what is refused is not repeated without an end."""
    with pytest.raises(
        InvalidWindow, match="a time is above 0 and has a unit of ns, us, ms, s, m, h, d, such as 5m"
    ) as it:
        store.stats("A", window)
    assert len(str(it.value)) < 200


@pytest.mark.parametrize(
    "at",
    [
        "2026-01-01T00:00:00", "2026-01-01", "2026-06-31T00:00:00Z", "2026-01-01T24:00:00Z", "5", "now", "", "5x",
        "2026-01-01T00:00:00.1234567891Z", "x" * 99, datetime(2026, 1, 1),  # noqa: DTZ001
        "2026-01-01T00:00:00+00:60", "2026-01-01T00:00:00+24:00", np.datetime64("NaT"), pd.NaT,
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(store: Store, at: Any) -> None:
    """Wherever one is taken."""
    for question in (lambda: store.asof("A", at), lambda: store.range("A", at, at)):
        with pytest.raises(InvalidRange) as refusal:
            question()
        assert len(str(refusal.value)) < 300


def test_a_range_that_ends_before_it_begins_is_refused(store: Store) -> None:
    """By its times, where both are given by time."""
    for end in (after(10), after(9)):
        with pytest.raises(InvalidRange, match="start must be before end"):
            store.range("A", after(10), end)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-01-01T00:00:00Z", START_NS), ("2026-01-01t01:00:00.5+01:00", START_NS + SECOND // 2),
        ("2025-12-31 23:59:59.999999999-00:00", START_NS - 1), ("1767225600s", START_NS), ("0.000000001s", 1),
        ("1969-12-31T23:59:59Z", -SECOND), ("0001-01-01T00:00:00Z", -62135596800 * SECOND), ("3d", 259200 * SECOND),
        ("0001-01-01T00:00:00+01:00", -62135600400 * SECOND), ("9999-12-31T23:59:59-01:00", 253402304399 * SECOND),
    ],
)  # fmt: skip
def test_a_time_is_exact_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    """In all of its forms."""
    assert instant_ns(text) == nanoseconds


@pytest.mark.parametrize(
    ("window", "nanoseconds"),
    [
        (np.timedelta64(213_504, "D"), 213_504 * 86_400 * SECOND), (np.timedelta64(3, "W"), 21 * 86_400 * SECOND),
        (np.timedelta64(5, ("s", 25)), 125 * SECOND), (np.timedelta64(MOST, "h"), MOST * 3_600 * SECOND),
        (pd.Timedelta(1_500, "ns"), 1_500), (timedelta(days=1, microseconds=1), 86_400 * SECOND + 1_000),
    ],
)  # fmt: skip
def test_a_window_is_exact_to_the_nanosecond(window: Any, nanoseconds: int) -> None:
    """However long it is: what is longer than 64 bits of them is longer than every series."""
    assert duration_ns(window) == nanoseconds


def test_an_index_behind_a_series_with_times_is_taken_for_the_time_that_it_is(store: Store) -> None:
    """It would be answered with the newest point, which came later. A series of prices alone has no times to ask by."""
    total = store.series("A").total
    assert store.asof("A", total - 1).index == total - 1
    for at in (total, START_NS):
        with pytest.raises(InvalidRange, match=rf"a time in nanoseconds since 1970 has its unit: {at}ns"):
            store.asof("A", at)
    assert store.asof("PRICES", START_NS).index == store.series("PRICES").total - 1


_times = st.lists(
    st.one_of(st.integers(-20, 200), st.integers(-MOST, MOST)), min_size=1, max_size=300
)  # fmt: skip


@given(times=_times, keep=st.integers(1, 300), draw=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_window_is_what_a_search_through_all_points_finds(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], keep: int, draw: st.DataObject
) -> None:
    """Windows, ranges and single points, of any times in any order, before and after points were let go of."""
    stored = np.maximum.accumulate(np.array(times, dtype=np.int64))
    prices = np.arange(1.0, len(times) + 1)
    with Store(tmp_path_factory.mktemp("data"), limits=SMALL, durability="process") as store:
        for begin in range(0, len(times), 70):
            store.append("A", prices[begin : begin + 70], times=times[begin : begin + 70])
        start = max(len(times) - keep, 0)
        if start:
            store.truncate("A", keep=keep)
        series, kept = store.series("A"), [(int(t), p) for t, p in zip(stored[start:], prices[start:], strict=True)]
        places = st.one_of(st.integers(-30, 210), st.integers(-MOST, MOST), st.sampled_from([t for t, _ in kept]))
        for _ in range(5):
            window, at, end = draw.draw(st.integers(1, 2**64)), draw.draw(places), draw.draw(places)
            assert_close(series.stats(f"{window}ns"), exact(kept, kept[-1][0] - window, kept[-1][0]))
            assert_same(partial(series.part, window=f"{window}ns", at=at), start, kept, at - window, at)
            begin, end = sorted((at, end))
            if begin < end and not (start and begin <= kept[0][0]):
                place = np.datetime64(begin, "ns"), np.datetime64(end, "ns")
                assert_same(partial(series.part, start=place[0], end=place[1]), start, kept, begin - 1, end - 1)
            before = [i for i, (t, _) in enumerate(kept) if t <= at]
            if before:
                assert series.asof(np.datetime64(at, "ns")) == Point(
                    start + before[-1], kept[before[-1]][1], kept[before[-1]][0]
                )


def exact(kept: list[tuple[int, float]], above: int, upto: int) -> Any:
    """Return the statistics of the points with a time in (above, upto], from all of them."""
    values = [price for time, price in kept if above < time <= upto]
    return exact_window_stats(values, len(values))


def assert_same(
    ask: Callable[[], tuple[Any, int, int]], start: int, kept: list[tuple[int, float]], above: int, upto: int
) -> None:
    """Assert that the bounds that `ask` finds are those of the points with a time in (above, upto]."""
    found = [start + i for i, (time, _) in enumerate(kept) if above < time <= upto]
    if found:
        assert ask()[1:] == (found[0], found[-1] + 1)
    else:
        with pytest.raises(OutOfRange, match="no point of A lies"):
            ask()
