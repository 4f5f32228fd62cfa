"""Bars, windows and points by time, by both clients: what they give is what the library gives of the same rows."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from hft_mmap import Columns, InvalidRange, InvalidStatistic, InvalidWindow, Point, Rank, Store
from hft_mmap.client import Client, Conflict, NotFound, RequestRefused
from tests.service import Service

SYMBOL, PRICES = "T/ß", "T2"
SECOND = 10**9
START = datetime(2026, 1, 1, tzinfo=UTC)
START_NS = 1_767_225_600 * SECOND
SECONDS = [0, 1, 1, 60, 75, 110, 400, 401, 3600]
ROWS: dict[str, Any] = {
    "times": [START_NS + s * SECOND for s in SECONDS], "sizes": [2, -1.5, 0.25, 1, 0, 3, -2, 0.1, 0.2],
}  # fmt: skip
VALUES = [10, 11, 9, 12, 12.5, 11.75, 10.5, 10.25, 13]
CANDLE = ("first", "max", "min", "last", "volume", "vwap", "count", "argmax", "var", "zscore")


def at(seconds: float) -> datetime:
    """Return the time so many seconds after the first point."""
    return START + timedelta(seconds=seconds)


@pytest.fixture(scope="module", autouse=True)
def stored(shared_service: Service) -> None:
    """Store the same points as ticks, and as prices alone."""
    with Client(shared_service.url) as client:
        client.append(SYMBOL, VALUES, offset=0, **ROWS)
        client.append(PRICES, VALUES, offset=0)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Yield a store with them."""
    with Store(tmp_path_factory.mktemp("library")) as store:
        store.append(SYMBOL, VALUES, **ROWS)
        store.append(PRICES, VALUES)
        yield store


def same(found: Columns, expected: Columns) -> None:
    """Compare names, types and bits."""
    assert list(found) == list(expected)
    for name, column in expected.items():
        assert found[name].dtype == column.dtype, name
        assert found[name].tobytes() == column.tobytes(), name


@pytest.mark.parametrize(
    "ask",
    [
        lambda one: one.time_bars(SYMBOL, "1m"),
        lambda one: one.time_bars(SYMBOL, timedelta(seconds=90), stats=CANDLE),
        lambda one: one.time_bars(SYMBOL, "1d", tz="Asia/Kolkata", stats=("twap", "gap")),
        lambda one: one.time_bars(SYMBOL, "1m", at(30), at(480), fill="previous", stats=CANDLE),
        lambda one: one.time_bars(SYMBOL, "1m", "2025-12-31T23:58:00Z", at(480), fill="null", stats=CANDLE),
        lambda one: one.time_bars(SYMBOL, "1s", 2, 7),
        lambda one: one.time_bars(SYMBOL, "1s", np.datetime64("2026-01-01T00:10"), at(7200)),
        lambda one: one.volume_bars(SYMBOL, 2.5, stats=CANDLE),
        lambda one: one.volume_bars(SYMBOL, np.float64(0.1), 3),
        lambda one: one.value_bars(SYMBOL, 20, at(1), stats=("slope", "volume")),
        lambda one: one.stats_around(SYMBOL, ROWS["times"][::-1], before="1s", stats=CANDLE),
        lambda one: one.stats_around(SYMBOL, [at(61), at(300)], before=timedelta(seconds=2), after="1m", stats=CANDLE),
        lambda one: one.stats_around(SYMBOL, [], after="1m"),
        lambda one: one.stats_between(
            SYMBOL, [START_NS, START_NS + SECOND], [START_NS + SECOND] * 1 + [START_NS + 2**40]
        ),
        lambda one: one.stats_between(SYMBOL, [at(2)], [at(3)], ("avg", "argmin", "count")),
        lambda one: one.asof_many(SYMBOL, [at(3600), at(1), at(0.5), at(-1), at(9999)]),
        lambda one: one.asof_many(SYMBOL, np.array(ROWS["times"]) + SECOND, "1s"),
        lambda one: one.asof_many(SYMBOL, [at(-1)], "2s"),
    ],
)
def test_columns_are_those_of_the_library(
    shared_service: Service, library: Store, connect: Any, ask: Callable[[Any], Columns]
) -> None:
    """Bit for bit, whatever bounds windows are given in, also where a bar or a window has no point."""
    with connect(shared_service.url) as client:
        same(ask(client), ask(library))


def test_bars_of_points_have_times_where_there_are_some(
    shared_service: Service, library: Store, connect: Any
) -> None:  # fmt: skip
    """Before what those of the library have; of a range, of the newest points, of the newest time."""
    with connect(shared_service.url) as client:
        same(client.stats_bars(PRICES, 4, 1, stats=CANDLE[:4]), library.stats_bars(PRICES, 4, 1, stats=CANDLE[:4]))
        found = dict(client.stats_bars(SYMBOL, 4, stats=CANDLE))
        assert found.pop("time").tolist() == ROWS["times"][::4]
        same(Columns(found), library.stats_bars(SYMBOL, 4, stats=CANDLE))
        assert client.stats_bars(SYMBOL, 4, window=3)["start"].tolist() == [6, 8]
        assert client.stats_bars(SYMBOL, 4, at(1), at(61))["end"].tolist() == [4]
        assert client.time_bars(SYMBOL, "1h", window="3201s")["start"].tolist() == [6, 8]
        assert client.volume_bars(SYMBOL, 0.3, window=2)["end"].tolist() == [9]


def test_windows_of_points_lie_around_indexes_and_times(
    shared_service: Service, library: Store, connect: Any
) -> None:  # fmt: skip
    """And windows of a time around the times of points; a place by time is the newest point at or before it."""
    names = ("first", "last", "argmin")
    with connect(shared_service.url) as client:
        around = client.stats_around(SYMBOL, [3, 7], before=2, after=1, by="index", stats=names)
        same(around, library.stats_many(SYMBOL, [1, 5], [5, 9], names))
        around = client.stats_around(SYMBOL, [at(74.9), at(402)], before=0, by="time", stats=names)
        same(around, library.stats_many(SYMBOL, [3, 7], [4, 8], names))
        around = client.stats_around(SYMBOL, range(3, 5), after="50s", by="index", stats=names)
        same(around, library.stats_many(SYMBOL, [3, 4], [6, 6], names))


def test_what_is_too_much_for_one_request_is_asked_in_several(
    shared_service: Service, library: Store, connect: Any
) -> None:  # fmt: skip
    """And comes back as one."""
    times = START_NS + np.arange(100_001) * SECOND
    with connect(shared_service.url) as client:
        around = client.stats_around(SYMBOL, times, before="1m", stats=("count", "volume"))
        same(around, library.stats_around(SYMBOL, times, before="1m", stats=("count", "volume")))
        same(client.asof_many(SYMBOL, times), library.asof_many(SYMBOL, times))


def test_a_point_as_of_a_time(shared_service: Service, connect: Any) -> None:
    """By index, by time in each form, within a tolerance or not; of several symbols, or of one in a list."""
    newest, sixth = Point(8, 13.0, ROWS["times"][8], 0.2), Point(5, 11.75, ROWS["times"][5], 3.0)
    with connect(shared_service.url) as client:
        assert client.asof(SYMBOL, "now") == newest
        for place in (
            5,
            "2026-01-01T00:06:39Z",
            at(399),
            np.datetime64("2026-01-01T00:01:50"),
            f"{START_NS + 2**37}ns",
        ):
            assert client.asof(SYMBOL, place) == sixth
        assert client.asof(SYMBOL, at(112), "2s") == sixth
        assert client.asof(SYMBOL, at(112), timedelta(seconds=1)) is None
        assert client.asof_across([SYMBOL, PRICES], 5) == {SYMBOL: sixth, PRICES: Point(5, 11.75)}
        assert client.asof_across([SYMBOL], at(112), "2s") == {SYMBOL: sixth}
        assert client.asof_across([SYMBOL], at(112), "1s") == {SYMBOL: None}
        with pytest.raises(Conflict):
            client.asof(SYMBOL, datetime(1969, 12, 31, 23, 59, 59, 5, tzinfo=UTC))
        with pytest.raises(Conflict):
            client.asof(SYMBOL, datetime(1600, 1, 1, tzinfo=UTC))
        assert client.asof(SYMBOL, datetime(9000, 1, 1, tzinfo=UTC)) == newest


def test_every_part_may_be_a_time(shared_service: Service, connect: Any) -> None:
    """Wherever the newest points, or a range of them, are asked for."""
    with connect(shared_service.url) as client:
        assert client.stats(SYMBOL, "1h").min == 9.0
        assert client.statistics(SYMBOL, ("count",), window="1m", at=at(110)) == {"count": 3}
        assert client.statistics(SYMBOL, ("count",), start=at(1), end=at(60)) == {"count": 2}
        assert client.stats_across([SYMBOL], ("count",), window="1ms")["count"].tolist() == [1]
        assert client.quantile(SYMBOL, (1,), start=at(60), end=at(400)) == (12.5,)
        assert client.rank(SYMBOL, 12, window=timedelta(minutes=59)) == Rank(3, 0, 2)
        assert client.values(SYMBOL, last="3200s").tolist() == [10.5, 10.25, 13.0][-2:]
        assert client.ticks(SYMBOL, first=at(60), end=5).prices.tolist() == [12.0, 12.5]


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda c: c.time_bars(SYMBOL, "5"), InvalidWindow, "every must be a whole number from 1, not '5'"),
        (lambda c: c.time_bars(SYMBOL, "1m", fill="0"), RequestRefused, "fill must be one of none, null, previous"),
        (lambda c: c.time_bars(SYMBOL, "1m", tz="Nowhere"), RequestRefused, "tz must be the IANA name"),
        (lambda c: c.time_bars(SYMBOL, "1m", datetime(2026, 1, 1)), InvalidRange, "start|from"),  # noqa: DTZ001
        (lambda c: c.time_bars(PRICES, "1m"), RequestRefused, "T2 has no times"),
        (lambda c: c.time_bars("NO", "1m"), NotFound, "NO"),
        (lambda c: c.volume_bars(SYMBOL, 0), RequestRefused, "volume must be a number above 0"),
        (lambda c: c.stats_bars(SYMBOL, 2, 1, window=2), RequestRefused, "Give either window"),
        (lambda c: c.stats_bars(SYMBOL, 2, stats=("mean",)), InvalidStatistic, "no statistic 'mean'"),
        (lambda c: c.stats_around(SYMBOL, [1]), InvalidWindow, "give before, after or both"),
        (lambda c: c.stats_around(SYMBOL, [1], before="1"), InvalidWindow, "before must be"),
        (lambda c: c.stats_around(SYMBOL, [1], before=1, by="date"), InvalidRange, "by must be time or index"),
        (lambda c: c.stats_around(SYMBOL, [1], before=1, after="1s"), RequestRefused, "must both be points"),
        (lambda c: c.stats_around(SYMBOL, [None], before="1s"), InvalidRange, "places"),
        (lambda c: c.stats_between(SYMBOL, [1], [2, 3]), InvalidRange, "must be of one length, not 1 and 2"),
        (lambda c: c.stats_between(SYMBOL, [2], [2]), RequestRefused, "window 0 is from 2 ns to 2 ns"),
        (lambda c: c.asof(SYMBOL, START_NS), RequestRefused, "an index behind the newest point"),
        (lambda c: c.asof(SYMBOL, 1, "1s"), RequestRefused, "tolerance goes with a time"),
        (lambda c: c.asof_many(SYMBOL, [1], "1"), InvalidWindow, "tolerance must be"),
        (lambda c: c.asof_many(PRICES, [1]), RequestRefused, "T2 has no times"),
        (lambda c: c.asof_across([SYMBOL, "NO"], 1), NotFound, "NO"),
    ],
)  # fmt: skip
def test_what_can_not_be_asked_is_told(
    shared_service: Service, connect: Any, ask: Callable[[Any], object], error: type[Exception], text: str
) -> None:
    """By the client where it need not ask, as the error that the library has; else by the service."""
    with connect(shared_service.url) as client, pytest.raises(error, match=text):
        ask(client)
