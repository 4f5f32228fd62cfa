"""Times and sizes by both clients and their producers."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from hft_mmap import ColumnsDiffer, InvalidSizes, InvalidTimes, OffsetConflict
from hft_mmap.client import Added, AsyncClient, Client, RequestRefused, TooLate
from tests.conftest import StartService
from tests.service import Service, wait_until

START_NS = 1_767_225_600 * 10**9


@pytest.mark.parametrize("batch_values", [3, 100_000])
def test_points_go_with_their_times_and_sizes_and_come_back(
    shared_service: Service, connect: Any, symbol: str, batch_values: int
) -> None:
    """In any number of batches, once however often they are sent."""
    times, prices = START_NS + np.arange(10), np.linspace(1.0, 2.0, 10)
    sizes = np.linspace(-3.0, 3.0, 10)
    with connect(shared_service.url, batch_values=batch_values) as client:
        for _ in range(2):
            assert client.append(symbol, prices, times=times, sizes=sizes, offset=0) == Added(10, 10, "interval")
        found = client.ticks(symbol)
        assert client.columns(symbol) == ("times", "sizes")
        assert client.values(symbol, last=2).tolist() == prices[-2:].tolist()
        assert client.ticks(symbol, first=2, end=4).times.tolist() == times[2:4].tolist()
    for one, expected in zip(found, (prices, times, sizes), strict=True):
        assert one.tobytes() == expected.tobytes()


def test_late_points_are_counted(shared_service: Service, connect: Any, symbol: str) -> None:
    """Over all batches of a call; times have the unit that is said."""
    with connect(shared_service.url, batch_values=2) as client:
        added = client.append(symbol, [1.0, 2.0, 3.0, 4.0], times=[10, 8, 9, 11], time_unit="s")
        assert added == Added(4, 4, "interval", late=2, latest_ns=2 * 10**9)
        assert client.ticks(symbol).times.tolist() == [10**10, 10**10, 10**10, 11 * 10**9]


def test_late_points_are_refused_where_the_settings_say_so(
    start_service: StartService, connect: Any, symbol: str
) -> None:  # fmt: skip
    """By their place; nothing is stored, and it is no conflict of offsets."""
    service = start_service(store__late="refuse")
    with connect(service.url) as client:
        with pytest.raises(TooLate, match=r"times\[2\] is 1") as refusal:
            client.append(symbol, [1.0, 2.0, 3.0], times=[1, 2, 1], offset=0)
        assert (refusal.value.index, refusal.value.total, client.total(symbol)) == (2, 0, 0)
        assert not isinstance(refusal.value, OffsetConflict)


def test_what_is_no_time_is_refused_before_anything_is_sent(
    shared_service: Service, connect: Any, symbol: str
) -> None:  # fmt: skip
    """By its place; and other columns than the series has by the service."""
    with connect(shared_service.url) as client:
        with pytest.raises(InvalidTimes, match=r"times\[1\]"):
            client.append(symbol, [1.0, 2.0], times=[1, None])
        with pytest.raises(InvalidSizes, match=r"sizes\[0\] is nan"):
            client.append(symbol, [1.0], sizes=[float("nan")])
        client.append(symbol, [1.0], times=[1])
        with pytest.raises(RequestRefused, match="has prices and times, and the batch has prices"):
            client.append(symbol, [1.0])
        assert client.ticks(symbol).sizes is None


def test_a_producer_takes_points_with_times_sizes_and_sides(shared_service: Service, symbol: str) -> None:
    """One by one, and many at a time."""
    with Client(shared_service.url) as client:
        with client.producer(symbol, max_points=2) as producer:
            producer.add(1.5, time=START_NS, size=2.0, side="buy")
            producer.add(1.6, time=datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), size=3.0, side="sell")
            producer.extend([1.7, 1.8], times=[1_767_225_602, 1_767_225_601], sizes=[1.0, -1.0], time_unit="s")
            for wrong in ({"side": "bid", "size": 1.0}, {"side": "buy"}, {"side": "buy", "size": -1.0}):
                with pytest.raises(InvalidSizes, match='side must be "buy" or "sell"'):
                    producer.add(1.0, time=1, **wrong)
            with pytest.raises(ColumnsDiffer, match="was given prices and times and sizes, and now prices"):
                producer.add(1.0)
        assert (producer.total, producer.late) == (4, 1)
        found = client.ticks(symbol)
    assert found.prices.tolist() == [1.5, 1.6, 1.7, 1.8]
    assert found.times is not None
    assert (found.times - START_NS).tolist() == [0, 10**9, 2 * 10**9, 2 * 10**9]
    assert found.sizes is not None
    assert found.sizes.tolist() == [2.0, -3.0, 1.0, -1.0]


def test_a_producer_puts_points_in_order_that_come_within_a_while(shared_service: Service, symbol: str) -> None:
    """Equal times keep their order; one that is later still is counted by the service."""
    seconds = [5, 3, 4, 4, 8, 7, 20, 2]
    with Client(shared_service.url) as client:
        with client.producer(symbol, max_points=1, max_age_s=60.0, reorder_s=10.0) as producer:
            for price, second in enumerate(seconds):
                producer.add(price, time=START_NS + second * 10**9)
            assert producer.total == 7  # what is more than 10 s before the newest waits no more
        assert (producer.total, producer.late) == (8, 1)
        found = client.ticks(symbol)
    assert found.prices.tolist() == [1.0, 2.0, 3.0, 0.0, 5.0, 4.0, 7.0, 6.0]
    assert found.times is not None
    assert ((found.times - START_NS) // 10**9).tolist() == [3, 4, 4, 5, 7, 8, 8, 20]


def test_an_async_producer_does_the_same(shared_service: Service, symbol: str) -> None:
    """With the same arguments."""

    async def run() -> None:
        async with AsyncClient(shared_service.url) as client:
            async with client.producer(symbol, max_age_s=60.0, reorder_s=1.0) as producer:
                await producer.add(2.0, time=2, size=1.0, side="sell")
                await producer.extend([1.0], times=[1], sizes=[5.0])
                assert producer.pending == 2
            found = await client.ticks(symbol)
            assert (found.prices.tolist(), producer.late) == ([1.0, 2.0], 0)
            assert found.sizes is not None
            assert found.sizes.tolist() == [5.0, -1.0]

    asyncio.run(run())


def test_points_that_wait_for_others_go_when_their_time_is_over(shared_service: Service, symbol: str) -> None:
    """Though no later point ever comes."""
    with Client(shared_service.url) as client, client.producer(symbol, max_age_s=0.01, reorder_s=0.01) as producer:
        producer.add(1.0, time=1)
        wait_until(lambda: not producer.pending, "the point to be sent")
        assert client.total(symbol) == 1
