"""A producer that is cut off at random while its service is killed at random: each point is stored once."""

import os
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Store
from hft_mmap.client import Client, Retry
from tests.client.chaos import Chaos
from tests.service import PATIENCE_S, running_service

SYMBOL = "ONCE-USD"
EAGER = Retry(give_up_s=120, first_pause_s=0.001, longest_pause_s=0.05)


def prices(count: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return prices that tell a point that is lost, doubled or out of place: each is its index, and a random part."""
    return np.arange(count) + np.random.default_rng(seed).random(count)


def live(directory: Path, seed: int, cuts: int, kills: int) -> tuple[int, int]:
    """Produce until so many connections were cut and so many services killed; return cuts and points.

    Afterwards the points of the store are compared with those that were given, one by one.
    """
    choose = random.Random(seed)
    given: list[float] = []
    more = iter(prices(50_000_000 if cuts > 100 else 5_000_000, seed))
    enough, failures = threading.Event(), list[Exception]()

    def produce(url: str) -> None:
        try:
            with (
                Client(url, timeout_s=10, retry=EAGER) as client,
                client.producer(SYMBOL, max_points=300, max_age_s=0.005) as producer,
            ):
                while not enough.is_set():
                    burst = [float(next(more)) for _ in range(choose.randrange(1, 500))]
                    given.extend(burst)
                    producer.extend(burst)
                chaos.calm = True
            assert (producer.total, producer.pending) == (len(given), 0)
        except Exception as error:  # noqa: BLE001 - told to the test, which waits
            failures.append(error)

    with Chaos(seed, mean_bytes=20_000) as chaos:
        thread = threading.Thread(target=produce, args=(chaos.url,))
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
                with Client(service.url) as client:
                    stored = client.values(SYMBOL)
                assert client_total(service.data_dir) == len(given)
    assert len(stored) == len(given)
    assert np.array_equal(stored, np.array(given))
    return chaos.cuts, len(given)


def client_total(data_dir: Path) -> int:
    """Return the total of the series, read from its files."""
    with Store(data_dir, mode="r") as store:
        return store.series(SYMBOL).total


def test_no_point_is_lost_or_doubled(tmp_path: Path) -> None:
    """Twenty cuts and a kill, in the time that the tests have."""
    cuts, points = live(tmp_path, seed=1, cuts=20, kills=1)
    assert cuts >= 20
    assert points > 1000


@pytest.mark.torture
def test_no_point_is_lost_or_doubled_in_a_thousand_cuts(tmp_path: Path) -> None:
    """A thousand cuts and twenty kills; TORTURE_SEED chooses which."""
    seed = int(os.environ.get("TORTURE_SEED") or 1)
    cuts, points = live(tmp_path, seed=seed, cuts=1000, kills=20)
    print(f"{cuts} cuts and 20 kills: {points} points, 0 lost, 0 doubled")  # noqa: T201 - the figure it is run for
    assert cuts >= 1000
