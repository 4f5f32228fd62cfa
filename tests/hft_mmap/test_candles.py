"""Bars by time, volume and value, many windows and points by time, against a search through all points."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_mmap import (
    ColumnsDiffer,
    InvalidRange,
    InvalidWindow,
    Limits,
    OutOfRange,
    Point,
    Store,
    SymbolNotFound,
)

SECOND = 10**9
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
START_NS = 1_767_225_600 * SECOND
MOST = 2**63 - 1
SMALL = Limits(chunk_points=64, starting_capacity=0)
NAMES = ("first", "max", "min", "last", "avg", "count", "volume", "vwap")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a store: A has four ticks of a quarter of an hour from noon on, P prices alone."""
    with Store(tmp_path / "data", limits=SMALL) as opened:
        times = [START_NS + minutes * MINUTE for minutes in (720, 721, 721, 735)]
        opened.append("A", [10.0, 11.0, 9.0, 12.0], times=times, sizes=[1, -2, 3, 0])
        opened.append("P", [1.0, 2.0])
        opened.append("T", [1.0, 2.0], times=[1, 2])
        opened.create("EMPTY")
        yield opened


def at(text: str) -> int:
    """Return the nanoseconds of a time."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def test_bars_by_time_are_aligned_to_the_epoch(store: Store) -> None:
    """A bar without a point is left out."""
    bars = store.time_bars("A", "5m", stats=NAMES)
    assert list(bars) == ["time", "start", "end", *NAMES]
    assert bars["time"].tolist() == [at("2026-01-01T12:00"), at("2026-01-01T12:15")]
    assert [bars[name].tolist() for name in ("start", "end", "first", "max", "min", "last", "count", "volume")] == [
        [0, 3], [3, 4], [10, 12], [11, 12], [9, 12], [9, 12], [3, 1], [6, 0],
    ]  # fmt: skip
    assert bars["vwap"][0] == pytest.approx(59 / 6, rel=1e-14)
    assert math.isnan(bars["vwap"][1])
    assert store.time_bars("A", timedelta(minutes=7), stats=("count",))["time"][0] % (7 * MINUTE) == 0


@pytest.mark.parametrize("fill", ["null", "previous"])
def test_bars_without_points_are_filled(store: Store, fill: str) -> None:
    """With nothing, or with the price that held; counts are 0 either way."""
    names = (*NAMES, "std", "argmin", "signed_volume", "gap")
    bars = store.time_bars("A", "5m", "2026-01-01T11:55:00Z", "2026-01-01T12:25:00Z", fill=fill, stats=names)
    assert bars["time"].tolist() == [at("2026-01-01T11:55") + k * 5 * MINUTE for k in range(6)]
    assert bars["count"].tolist() == [0, 3, 0, 0, 1, 0]
    assert (bars["volume"].tolist(), bars["signed_volume"].tolist()) == ([0, 6, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0])
    nan = math.nan
    held = 9.0 if fill == "previous" else nan
    last = 12.0 if fill == "previous" else nan
    for name, first, other in (("first", 10, 12), ("max", 11, 12), ("min", 9, 12), ("last", 9, 12), ("avg", 10, 12)):
        np.testing.assert_array_equal(bars[name], [nan, first, held, held, other, last])
    np.testing.assert_array_equal(bars["argmin"], [nan, 2, nan, nan, 3, nan])
    for name in ("std", "vwap", "gap"):
        assert np.isnan(bars[name][[0, 2, 3, 5]]).all()


def test_the_price_that_held_before_the_range_fills_it(store: Store) -> None:
    """Also where no point lies in it; before the first point there is none."""
    bars = store.time_bars("A", "1m", at_(722), at_(724), fill="previous", stats=("last", "count"))
    assert (bars["last"].tolist(), bars["count"].tolist()) == ([9, 9], [0, 0])
    bars = store.time_bars("A", "1m", at_(10), at_(12), fill="previous", stats=("last",))
    assert np.isnan(bars["last"]).tolist() == [True, True]
    assert not len(store.time_bars("A", "1m", at_(722), at_(724), stats=("last",))["time"])


def at_(minutes: int) -> str:
    """Return a time so many minutes after the beginning of 2026."""
    return f"{datetime.fromtimestamp(START_NS // SECOND + 60 * minutes, UTC):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("zone", "day", "every", "borders"),
    [
        ("America/New_York", "2026-03-08", "1d", ["03-08T05:00", "03-09T04:00"]),
        ("America/New_York", "2026-11-01", "1d", ["11-01T04:00", "11-02T05:00"]),
        ("America/New_York", "2026-03-08", "4h", ["03-08T05:00", "03-08T08:00", "03-08T12:00", "03-08T16:00"]),
        ("America/New_York", "2026-11-01", "4h", ["11-01T04:00", "11-01T09:00", "11-01T13:00", "11-01T17:00"]),
        ("America/New_York", "2026-03-08", "1h", ["03-08T05:00", "03-08T06:00", "03-08T07:00", "03-08T08:00"]),
        ("America/New_York", "2026-11-01", "1h", ["11-01T04:00", "11-01T05:00", "11-01T06:00", "11-01T07:00"]),
        ("Asia/Kolkata", "2026-01-01", "1h", ["01-01T00:30", "01-01T01:30", "01-01T02:30"]),
        ("America/Havana", "2026-03-08", "1d", ["03-08T05:00", "03-09T04:00"]),
        ("America/Havana", "2026-11-01", "1d", ["11-01T04:00", "11-02T05:00"]),
        ("America/Havana", "2026-11-01", "1h", ["11-01T04:00", "11-01T05:00", "11-01T06:00"]),
        ("Europe/Berlin", "2026-03-29", "45m", ["03-28T23:45", "03-29T00:30", "03-29T01:00", "03-29T01:45"]),
        ("UTC", "2026-03-29", "8h", ["03-29T00:00", "03-29T08:00", "03-29T16:00", "03-30T00:00"]),
        ("Europe/Berlin", "2026-03-29", "7d", ["03-25T23:00", "04-01T22:00"]),
    ],
)  # fmt: skip
def test_bars_begin_at_midnight_of_a_time_zone(
    tmp_path: Path, zone: str, day: str, every: str, borders: list[str]
) -> None:
    """Where the clock there shows a multiple since midnight, on the days on which it is put forward and back as well.

    Hours that it shows twice are bars twice, if those are no longer than what it was put back by.
    """
    expected = [at(f"2026-{border}") for border in borders]
    minutes = np.arange(at(day) - 2 * DAY, at(day) + 10 * DAY, MINUTE)
    with Store(tmp_path) as store:
        store.append("A", np.ones(len(minutes)), times=minutes)
        found = store.time_bars("A", every, tz=zone, stats=("count",))
        begin = found["time"].tolist().index(expected[0])
        assert found["time"][begin : begin + len(expected)].tolist() == expected
        assert int(found["count"].sum()) == len(minutes)
        # Nothing but an end of the range cuts a bar: each has the minutes until the next begins.
        assert (np.diff(found["time"])[1:-1] == found["count"][1:-2] * MINUTE).all() or len(found["time"]) < 4


@settings(max_examples=60)
@given(data=st.data())
def test_the_clock_of_any_zone_shows_a_multiple_where_a_bar_begins(data: st.DataObject) -> None:
    """Or was put forward over one; and no bar holds one but where the clock was put back."""
    zone = ZoneInfo(data.draw(st.sampled_from(
        ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu",
         "Pacific/Apia", "America/St_Johns"]
    )))  # fmt: skip
    every = data.draw(st.sampled_from([900, 1_800, 3_600, 7_200, 21_600, 86_400]))
    day = data.draw(st.integers(14_000, 22_000))  # 2008 to 2030
    seconds = np.arange(day * 86_400, (day + 4) * 86_400, 300)
    with TemporaryDirectory() as path, Store(path, durability="process") as store:
        store.append("A", np.ones(len(seconds)), times=seconds, time_unit="s")
        begins = set((store.time_bars("A", f"{every}s", tz=zone.key, stats=("count",))["time"] // SECOND).tolist())
    clock = [second + shown(second, zone) for second in seconds.tolist()]
    for k in range(1, len(clock)):
        second, before, now = int(seconds[k]), clock[k - 1], clock[k]
        if now - before == 300:
            again = now < max(clock[:k]) + 300 and every > max(clock[:k]) + 300 - now
            assert (second in begins) == (now % every == 0 and not again), (zone.key, every, second)
        elif now > before:
            assert (second in begins) == (now // every > before // every), (zone.key, every, second)


def shown(second: int, zone: ZoneInfo) -> int:
    """Return how far the clock of a zone is ahead of UTC."""
    offset = datetime.fromtimestamp(second, zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())


@settings(max_examples=100)
@given(data=st.data())
def test_bars_are_what_a_search_through_all_points_finds(data: st.DataObject) -> None:
    """By time, over the borders of chunks, of ranges by time and by index, after a cleanup."""
    n = data.draw(st.integers(1, 300))
    waits = data.draw(st.lists(st.sampled_from([0, 1, SECOND, 7 * SECOND, 3 * MINUTE, HOUR]), min_size=1, max_size=9))
    times = START_NS + np.cumsum(np.resize(np.array(waits, dtype=np.int64), n))
    values = np.arange(1.0, n + 1)
    every = data.draw(st.sampled_from([1_000_000_007, 10 * SECOND, MINUTE, HOUR]))
    with TemporaryDirectory() as path, Store(path, limits=SMALL, durability="process") as store:
        store.append("A", values, times=times)
        keep = data.draw(st.integers(1, n))
        store.truncate("A", keep=keep)
        lo, hi = n - keep, n
        start, end = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
        by_time = data.draw(st.booleans())
        asked: Any = (start, end)
        if by_time:
            begin, until = int(times[min(start, n - 1)]) + 1, int(times[min(end, n - 1)]) + 2
            asked = np.datetime64(begin, "ns"), np.datetime64(until, "ns")
            inside = [k for k in range(lo, hi) if begin <= times[k] < until]
        else:
            inside = list(range(max(start, lo), min(end, hi)))
        bars: dict[int, list[int]] = {}
        for k in inside:
            bars.setdefault(int(times[k]) // every * every, []).append(k)
        if (int(times[-1]) - int(times[0])) // every > 100_000:
            return
        found = store.time_bars("A", f"{every}ns", *asked, stats=("first", "last", "count"))
        assert found["time"].tolist() == list(bars)
        assert found["start"].tolist() == [ks[0] for ks in bars.values()]
        assert found["end"].tolist() == [ks[-1] + 1 for ks in bars.values()]
        assert found["first"].tolist() == [values[ks[0]] for ks in bars.values()]
        assert found["count"].tolist() == [len(ks) for ks in bars.values()]


@settings(max_examples=100)
@given(data=st.data())
def test_bars_by_volume_and_value_end_where_exact_sums_reach_it(data: st.DataObject) -> None:
    """In exact rationals: ten sizes of 0.1 are a little more than 1, whatever float64 makes of them."""
    n = data.draw(st.integers(1, 200))
    few = data.draw(st.lists(st.sampled_from([0.0, 0.1, -0.1, 1.0, 0.3, 2.5, 1e-3]), min_size=1, max_size=7))
    sizes = np.resize(np.array(few), n)
    prices = np.resize(np.array(data.draw(st.lists(st.sampled_from([0.1, 1.0, 0.7, 3.0]), min_size=1, max_size=5))), n)
    limit = data.draw(st.sampled_from([0.1, 0.3, 1.0, 2.0, 1e9]))
    is_value = data.draw(st.booleans())
    with TemporaryDirectory() as path, Store(path, limits=SMALL, durability="process") as store:
        store.append("A", prices, sizes=sizes)
        start = data.draw(st.integers(0, n - 1))
        begins, total = [start], Fraction(0)
        for k in range(start, n):
            total += abs(Fraction(sizes[k])) * (Fraction(prices[k]) if is_value else 1)
            if total >= Fraction(limit):
                begins.append(k + 1)
                total = Fraction(0)
        begins += [n] if begins[-1] != n else []
        found = (store.value_bars if is_value else store.volume_bars)("A", limit, start, stats=("count", "volume"))
    assert found["start"].tolist() == begins[:-1]
    assert found["end"].tolist() == begins[1:]
    assert list(found) == ["start", "end", "count", "volume"]


def test_bars_by_volume_know_when_they_begin(store: Store) -> None:
    """Where there are times: each with that of its first point."""
    bars = store.volume_bars("A", 3, stats=("count",))
    assert bars["time"].tolist() == [START_NS + 720 * MINUTE, START_NS + 721 * MINUTE, START_NS + 735 * MINUTE]
    assert bars["count"].tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda s: s.time_bars("A", "5"), InvalidWindow, "every must be a whole number"),
        (lambda s: s.time_bars("A", "7m", tz="Europe/Berlin"), InvalidRange, "every must divide a day, or be whole"),
        (lambda s: s.time_bars("A", "1m", tz="Mars/Base"), InvalidRange, "not 'Mars/Base'"),
        (lambda s: s.time_bars("A", "1m", tz="../passwd"), InvalidRange, "must be the IANA name of a time zone"),
        (lambda s: s.time_bars("A", "1m", tz="America"), InvalidRange, "must be the IANA name of a time zone"),
        (lambda s: s.time_bars("A", "1m", fill="zero"), InvalidRange, "fill must be one of none, null, previous"),
        (lambda s: s.time_bars("A", "1m", at_(2), at_(1)), InvalidRange, "start must not be after end"),
        (lambda s: s.time_bars("A", "1m", 2, 1), InvalidRange, "start must not be after end"),
        (lambda s: s.time_bars("A", "1m", -1), InvalidRange, "start must be a whole number from 0"),
        (lambda s: s.time_bars("A", "1ns"), InvalidRange, "at most 20,000,000 are cut"),
        (lambda s: s.time_bars("P", "1m"), ColumnsDiffer, "P has no times"),
        (lambda s: s.time_bars("EMPTY", "1m"), SymbolNotFound, "EMPTY"),
        (lambda s: s.volume_bars("P", 1), ColumnsDiffer, "P has no sizes, so that bars can't be cut by volume"),
        (lambda s: s.value_bars("T", 1), ColumnsDiffer, "T has no sizes, so that bars can't be cut by value"),
        (lambda s: s.volume_bars("A", 0), InvalidRange, "volume must be a number above 0"),
        (lambda s: s.value_bars("A", math.nan), InvalidRange, "value must be a number above 0"),
        (lambda s: s.volume_bars("A", "1"), InvalidRange, "volume must be a number above 0"),
        (lambda s: s.volume_bars("EMPTY", 1), SymbolNotFound, "EMPTY"),
        (lambda s: s.time_bars("T", "1m", stats=("volume",)), ColumnsDiffer, "T has no sizes, and volume is made"),
        (lambda s: s.stats_around("A", [1.5], after="1s"), InvalidRange, "times"),
        (lambda s: s.stats_around("A", [1], after="1"), InvalidWindow, "after must be"),
        (lambda s: s.stats_around("P", [1], after="1s"), ColumnsDiffer, "P has no times"),
        (lambda s: s.stats_between("A", [1, 5], [2, 5]), InvalidRange, "window 1 is from 5 ns to 5 ns"),
        (lambda s: s.stats_between("A", [1, 5], [2]), InvalidRange, "of one length, not 2 and 1"),
        (lambda s: s.asof_many("P", [1]), ColumnsDiffer, "P has no times"),
        (lambda s: s.asof_many("A", [1], "5"), InvalidWindow, "tolerance must be"),
        (lambda s: s.asof("A", 1, "5s"), InvalidRange, "tolerance is how long before a time"),
    ],
)
def test_what_can_not_be_answered_is_refused(store: Store, ask: Any, error: type[Exception], text: str) -> None:
    """With what was wrong, and what would be right."""
    with pytest.raises(error, match=text):
        ask(store)


_times = st.lists(st.one_of(st.integers(-20, 200), st.integers(-MOST, MOST)), min_size=1, max_size=200)


@settings(max_examples=100)
@given(times=_times, data=st.data())
def test_many_windows_and_points_are_what_a_search_finds(times: list[int], data: st.DataObject) -> None:
    """Around times, between pairs of them, and as of each, in any order and over all the time there is."""
    known = np.maximum.accumulate(np.array(times, dtype=np.int64)).tolist()
    places = st.one_of(st.integers(-30, 210), st.integers(-MOST, MOST), st.sampled_from(known))
    asked = data.draw(st.lists(places, min_size=1, max_size=12))
    before, after = data.draw(st.tuples(*[st.one_of(st.integers(1, 99), st.integers(1, 2**64))] * 2))
    with TemporaryDirectory() as path, Store(path, limits=SMALL, durability="process") as store:
        store.append("A", np.arange(1.0, len(times) + 1), times=times, sizes=np.arange(len(times)))
        around = store.stats_around("A", asked, before=f"{before}ns", after=f"{after}ns", stats=("count", "first"))
        ends = [min(t + after, MOST) for t in asked]
        pairs = [(t, end) for t, end in zip(asked, ends, strict=True) if t < end]
        starts, stops = [t for t, _ in pairs], [end for _, end in pairs]
        between = store.stats_between("A", starts, stops, ("count",)) if pairs else None
        near = store.asof_many("A", asked, f"{before}ns")
        every = store.asof_many("A", asked)
    for k, t in enumerate(asked):
        inside = [i for i, time in enumerate(known) if t - before <= time <= t + after]
        assert around["count"][k] == len(inside)
        assert (inside == []) == math.isnan(around["first"][k])
        if inside:
            assert (around["start"][k], around["end"][k]) == (inside[0], inside[-1] + 1)
        upto = [i for i, time in enumerate(known) if time <= t]
        index = upto[-1] if upto else -1
        assert every["index"][k] == index
        assert near["index"][k] == (index if upto and t - known[index] <= before else -1)
        if upto:
            row = [every[name][k] for name in ("time", "value", "size")]
            assert row == [known[index], index + 1, index]
        else:
            assert every["time"][k] == 0
            assert math.isnan(every["value"][k])
    for k, (begin, end) in enumerate(pairs):
        assert between is not None
        assert between["count"][k] == sum(begin <= time < end for time in known)


def test_windows_that_may_have_lost_points_are_refused(store: Store) -> None:
    """And windows ahead have what is there so far."""
    store.truncate("A", keep=2)
    oldest = START_NS + 721 * MINUTE
    with pytest.raises(OutOfRange, match="where window 1 begins, are no longer kept"):
        store.stats_around("A", [oldest + 10, oldest + 5], before="5ns")
    assert store.stats_around("A", [oldest + 6], before="5ns", after="1d", stats=("count",))["count"].tolist() == [1]
    with pytest.raises(OutOfRange, match="where window 0 begins, are no longer kept"):
        store.stats_between("A", [oldest], [oldest + 1])
    assert store.asof_many("A", [oldest, oldest - 1])["index"].tolist() == [2, -1]


def test_a_point_must_be_near_enough(store: Store) -> None:
    """With a tolerance it is None that says so; the bound itself is near."""
    point = Point(2, 9.0, START_NS + 721 * MINUTE, 3.0)
    assert store.asof("A", at_(723), "2m") == point
    assert store.asof("A", at_(723), timedelta(minutes=2)) == point
    assert store.asof("A", at_(723), "119s") is None
    assert store.asof("A", at_(1), "2m") is None


def test_the_bounds_of_windows_by_time_are_in(tmp_path: Path) -> None:
    """Of a tolerance, of both sides of a window, and of all the time there is."""
    with Store(tmp_path) as store:
        store.append("A", [1.0, 2.0, 3.0], times=[10, 20, MOST])
        assert store.asof_many("A", [15, 16, MOST - 1, MOST], "5ns")["index"].tolist() == [0, -1, -1, 2]
        around = store.stats_around("A", [15, MOST], before="5ns", after="5ns", stats=("count",))
        assert around["count"].tolist() == [2, 1]
        between = store.stats_between("A", [10, 11], [20, MOST], ("count",))
        assert between["count"].tolist() == [1, 1]


def test_a_point_holds_into_the_bar_behind_it(store: Store) -> None:
    """Also where it is the only one before: its price fills what follows."""
    bars = store.time_bars("A", "30s", at_(720), at_(721), fill="previous", stats=("last", "count"))
    assert (bars["last"].tolist(), bars["count"].tolist()) == ([10, 10], [1, 0])
