"""Everything that the clients and the import offer, with the types it has; mypy strict accepts this file as it is."""

from collections.abc import AsyncGenerator, Generator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from hft_mmap import Buckets, Columns, Passage, Point, Rank, SeriesInfo, Store, Ticks
from hft_mmap.client import (
    Added,
    AsyncClient,
    AsyncFeed,
    AsyncProducer,
    Client,
    Feed,
    Producer,
    Retry,
    ServiceError,
    Stats,
    Windows,
)
from hft_mmap.transfer import ImportReport, Plan, StoreSink, export_span, import_files


def ask_by_time(client: Client) -> None:
    """Ask for bars, windows and points by time."""
    client.append("S", [1.5, 2.5], times=[1, 2], sizes=[3, -4])
    assert_type(client.stats("S", "5m"), Stats)
    assert_type(client.statistics("S", ("vwap",), window=timedelta(1), at="1s"), dict[str, float | int | None])
    assert_type(client.stats_bars("S", 2, 0, window=None, stats=("count",)), Columns)
    assert_type(client.time_bars("S", "1m", "1970-01-01T00:00:00Z", tz="UTC", fill="null", stats=("vwap",)), Columns)
    assert_type(client.volume_bars("S", 1e6, window="5m"), Columns)
    assert_type(client.value_bars("S", 1e9, 0, 1), Columns)
    assert_type(client.stats_around("S", [1, 2], before="1s", after=timedelta(seconds=5)), Columns)
    assert_type(client.stats_between("S", [1], np.array([2])), Columns)
    assert_type(client.asof("S", "5ns"), Point)
    assert_type(client.asof("S", "5ns", "1s"), Point | None)
    assert_type(client.asof_across(["S"], 0), dict[str, Point | None])
    assert_type(client.asof_many("S", np.array(["2026-01-01"], dtype="M8[ns]"), "1s"), Columns)
    assert_type(client.values("S", last="1s"), NDArray[np.float64])


def use_a_client(url: str) -> int:
    """Append, ask, read."""
    with Client(url, token=None, timeout_s=5, retry=Retry(give_up_s=1)) as client:
        assert_type(client.append("T", [1, 2.5], offset=0), Added)
        assert_type(client.stats("T", 10), Stats)
        assert_type(client.windows("T").windows, Mapping[int, Stats])
        assert_type(client.values("T", last=2), NDArray[np.float64])
        assert_type(client.symbols(), list[SeriesInfo])
        assert_type(client.symbols(prefix="T", after="S", limit=1), list[SeriesInfo])
        assert_type(client.create("N"), bool)
        assert_type(client.rename("N", "U"), int)
        client.remove("U")
        assert_type(client.series("T"), SeriesInfo)
        assert_type(client.buckets("T", 10, window=5), Buckets)
        assert_type(client.bars("T", 10, first=0, end=5), Buckets)
        assert_type(client.statistics("T", ("std",), window=2), dict[str, float | int | None])
        assert_type(client.stats_across(["T"], window=2), Columns)
        assert_type(client.stats_many("T", [0], [1], ("avg",)), Columns)
        assert_type(client.first("T", 0, above=1e9), Passage | None)
        assert_type(client.quantile("T", (0.5,)), tuple[float, ...])
        assert_type(client.rank("T", 1.5), Rank)
        assert_type(client.asof("T", 0), Point)
        assert_type(client.health(), bool)
        assert_type(client.ready(), list[str])
        updates = client.stream(["T"], windows=(2,), interval_ms=10)
        assert_type(updates, Generator[Windows, None, None])
        assert_type(next(updates), Windows)
        updates.close()
        ask_by_time(client)
        with client.producer("T") as producer:
            assert_type(producer, Producer)
            producer.add(3)
            producer.extend(np.array([4.0]))
        with client.feed(max_points=10, offsets={"S": 2}) as feed:
            assert_type(feed, Feed)
            feed.add("F", 3, time=5, size=1, side="buy")
            feed.extend("S", [4.0], times=[3], sizes=[1])
            feed.flush()
            assert_type(feed.totals, Mapping[str, int])
            assert_type(feed.refusals(), Mapping[str, ServiceError])
            assert_type(feed.take_back("F"), Ticks | None)
        return assert_type(client.total("T"), int)


async def use_an_async_client(url: str) -> int:
    """Do the same beside an event loop."""
    async with AsyncClient(url) as client:
        assert_type(await client.append("T", (1.0,)), Added)
        assert_type(await client.values("T"), NDArray[np.float64])
        assert_type(await client.buckets("T"), Buckets)
        assert_type(await client.stats_many("T", [0], [1]), Columns)
        assert_type(await client.time_bars("S", "1m"), Columns)
        assert_type(await client.asof("S", "5ns"), Point)
        assert_type(await client.asof("S", "5ns", "1s"), Point | None)
        updates = client.stream("T")
        assert_type(updates, AsyncGenerator[Windows, None])
        assert_type(await anext(updates), Windows)
        await updates.aclose()
        async with client.producer("T", max_points=10) as producer:
            assert_type(producer, AsyncProducer)
            await producer.add(1)
        async with client.feed() as feed:
            assert_type(feed, AsyncFeed)
            await feed.add("G", 1)
            await feed.extend("G", (2.0,))
            await feed.flush()
            assert_type(feed.take_back("G"), Ticks | None)
        return assert_type(await client.total("T"), int)


def use_the_import(directory: Path) -> ImportReport:
    """Bring a file in, and take it out again."""
    source = directory / "prices.csv"
    source.write_text("price\n1.5\n2.5\n")
    with Store(directory / "data") as store:
        report = import_files(Plan([str(source)], "T"), StoreSink(store))
        export_span(store.series("T").span(), str(directory / "prices.npy"), None)
        return report
