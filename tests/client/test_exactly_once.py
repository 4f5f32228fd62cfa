"""Producers and feeds that are cut off at random while their service is killed at random: each point is stored once."""

import asyncio
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from hft_mmap import Store
from hft_mmap.client import AsyncClient, Client, Retry
from tests.client.chaos import Chaos
from tests.service import PATIENCE_S, running_service

SYMBOL, TICKS, OTHER = "ONCE-USD", "TICKS", "OTHER"
EAGER = Retry(give_up_s=120, first_pause_s=0.001, longest_pause_s=0.05)
Given: TypeAlias = dict[str, list[float]]
Produce: TypeAlias = Callable[[str, Iterator[list[float]], Given, Chaos], None]
"""Gives bursts to the service at an address until there are no more, and writes down which symbol had what."""


def prices(count: int, seed: int) -> NDArray[np.float64]:
    """Return prices that tell a point that is lost, doubled or out of place: each is its index, and a random part."""
    return np.arange(count) + np.random.default_rng(seed).random(count)


def by_producer(url: str, bursts: Iterator[list[float]], given: Given, chaos: Chaos) -> None:
    """Give all to one symbol, over HTTP."""
    with Client(url, timeout_s=10, retry=EAGER) as client:
        with client.producer(SYMBOL, max_points=300, max_age_s=0.005) as producer:
            for burst in bursts:
                given.setdefault(SYMBOL, []).extend(burst)
                producer.extend(burst)
            chaos.calm = True
        assert (producer.total, producer.pending) == (len(given[SYMBOL]), 0)


def turns(bursts: Iterator[list[float]], given: Given) -> Iterator[tuple[str, list[float], dict[str, Any]]]:
    """Yield what `extend` of a feed takes: points of three symbols in turn, two of which share a connection."""
    for turn, burst in enumerate(bursts):
        symbol = (SYMBOL, TICKS, OTHER)[turn % 3]
        begin = len(given.setdefault(symbol, []))
        given[symbol].extend(burst)
        columns = {"times": range(begin, begin + len(burst)), "sizes": burst} if symbol == TICKS else {}
        yield symbol, burst, columns


def by_feed(url: str, bursts: Iterator[list[float]], given: Given, chaos: Chaos) -> None:
    """Give to three symbols, over WebSockets."""
    with Client(url, timeout_s=10, retry=EAGER) as client:
        with client.feed(max_points=300, max_age_s=0.005, max_pending=5000) as feed:
            for symbol, burst, columns in turns(bursts, given):
                feed.extend(symbol, burst, **columns)
            chaos.calm = True
        assert (dict(feed.totals), feed.pending) == ({name: len(row) for name, row in given.items()}, 0)


def by_async_feed(url: str, bursts: Iterator[list[float]], given: Given, chaos: Chaos) -> None:
    """Do the same on an event loop."""

    async def run() -> None:
        async with AsyncClient(url, timeout_s=10, retry=EAGER) as client:
            async with client.feed(max_points=300, max_age_s=0.005, max_pending=5000) as feed:
                for symbol, burst, columns in turns(bursts, given):
                    await feed.extend(symbol, burst, **columns)
                chaos.calm = True
            assert (dict(feed.totals), feed.pending) == ({name: len(row) for name, row in given.items()}, 0)

    asyncio.run(run())


def live(directory: Path, produce: Produce, seed: int, cuts: int, kills: int) -> tuple[int, int]:
    """Produce until so many connections were cut and so many services killed; return cuts and points.

    Afterwards the points of the store are compared with those that were given, one by one.
    """
    choose = random.Random(seed)
    given: Given = {}
    more = iter(prices(50_000_000 if cuts > 100 else 5_000_000, seed))
    enough, failures = threading.Event(), list[Exception]()

    def bursts() -> Iterator[list[float]]:
        while not enough.is_set():
            yield [float(next(more)) for _ in range(choose.randrange(1, 500))]

    def run(url: str) -> None:
        try:
            produce(url, bursts(), given, chaos)
        except Exception as error:  # noqa: BLE001 - told to the test, which waits
            failures.append(error)

    with Chaos(seed, mean_bytes=20_000) as chaos:
        thread = threading.Thread(target=run, args=(chaos.url,))
        for life in range(kills + 1):
            with running_service(directory) as service:
                chaos.port = service.port
                if not thread.is_alive():
                    thread.start()
                goal = cuts * (life + 1) // (kills + 1)
                while chaos.cuts < goal and not failures:
                    enough.wait(0.001)
                if life < kills:
                    enough.wait(choose.random() * 0.01)  # anywhere in a batch
                    service.kill()
                    continue
                enough.set()
                thread.join(2 * PATIENCE_S)
                assert not failures, failures
                assert not thread.is_alive()
                check(service.url, service.data_dir, given)
    return chaos.cuts, sum(map(len, given.values()))


def check(url: str, data_dir: Path, given: Given) -> None:
    """Compare every point with what was given, and the totals in the files."""
    with Client(url) as client, Store(data_dir, mode="r") as store:
        assert {info.symbol: info.total for info in store.symbols()} == {name: len(row) for name, row in given.items()}
        for symbol, row in given.items():
            stored = client.ticks(symbol)
            assert np.array_equal(stored.prices, np.array(row))
            if stored.times is not None:
                assert np.array_equal(stored.times, np.arange(len(row)))
                assert stored.sizes is not None
                assert np.array_equal(stored.sizes, np.array(row))


@pytest.mark.parametrize("produce", [by_producer, by_feed, by_async_feed])
def test_no_point_is_lost_or_doubled(tmp_path: Path, produce: Produce) -> None:
    """Twenty cuts and a kill, in the time that the tests have."""
    cuts, points = live(tmp_path, produce, seed=1, cuts=20, kills=1)
    assert cuts >= 20
    assert points > 1000


@pytest.mark.torture
@pytest.mark.parametrize("produce", [by_producer, by_feed, by_async_feed])
def test_no_point_is_lost_or_doubled_in_a_thousand_cuts(tmp_path: Path, produce: Produce) -> None:
    """A thousand cuts and twenty kills; TORTURE_SEED chooses which."""
    seed = int(os.environ.get("TORTURE_SEED") or 1)
    cuts, points = live(tmp_path, produce, seed=seed, cuts=1000, kills=20)
    print(f"{produce.__name__}: {cuts} cuts and 20 kills: {points} points, 0 lost, 0 doubled")  # noqa: T201 - the figure
    assert cuts >= 1000
