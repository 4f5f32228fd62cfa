"""Many clients at once on a real running service: nothing lost, nothing torn, no limit passed, everybody served."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from hft_mmap import Store
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service

CLIENTS = 8
BATCHES = 40
JSON = {"Content-Type": "application/json"}


def at_once(work: Callable[[int, httpx.Client], Any], service: Service, clients: int = CLIENTS) -> list[Any]:
    """Run `work(number, client)` in so many threads, each with a connection of its own; return what they returned."""
    barrier = threading.Barrier(clients)

    def run(number: int) -> Any:
        with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as client:
            client.get("/health")
            barrier.wait()
            return work(number, client)

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(run, range(clients)))


def stored(service: Service, symbol: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return every point of a series, read from its files by this process."""
    with Store(service.data_dir, mode="r") as store:
        return store.window(symbol, 10**9).copy()


def total(answer: httpx.Response) -> int:
    """Return the total of an accepted batch."""
    assert answer.status_code == 200, answer.text
    return int(answer.json()["total"])


@pytest.mark.parametrize("durability", ["interval", "sync"])
def test_symbols_do_not_disturb_each_other(start_service: StartService, durability: str) -> None:
    """Each client has a symbol of its own, and reads what it wrote after each batch."""
    service = start_service(store__durability=durability)

    def work(number: int, client: httpx.Client) -> None:
        for batch in range(BATCHES):
            values = [1000.0 * number + batch] * 10
            assert total(client.post("/add_batch", json={"symbol": f"S{number}", "values": values})) == 10 * batch + 10
            answer = client.get("/stats", params={"symbol": f"S{number}", "exponent": 1}).json()
            assert answer == {"min": values[0], "max": values[0], "last": values[0], "avg": values[0], "var": 0.0}

    at_once(work, service)
    for number in range(CLIENTS):
        expected = np.repeat(1000.0 * number + np.arange(BATCHES), 10)
        assert np.array_equal(stored(service, f"S{number}"), expected)


@pytest.mark.parametrize("durability", ["interval", "sync"])
def test_writers_of_one_symbol_take_turns(start_service: StartService, durability: str) -> None:
    """Each batch lies whole where its answer said, and each writer's batches in the order it sent them."""
    service = start_service(store__durability=durability)

    def work(number: int, client: httpx.Client) -> dict[int, float]:
        ends = {}
        for batch in range(BATCHES):
            price = 1000.0 * number + batch
            ends[total(client.post("/add_batch", json={"symbol": "A", "values": [price] * 7}))] = price
        return ends

    answers = at_once(work, service)
    ends = {end: price for answer in answers for end, price in answer.items()}
    assert sorted(ends) == list(range(7, 7 * CLIENTS * BATCHES + 1, 7))
    assert all(list(answer) == sorted(answer) for answer in answers)
    expected = np.repeat([ends[end] for end in sorted(ends)], 7)
    assert np.array_equal(stored(service, "A"), expected)


def test_one_of_many_offsets_wins(service: Service) -> None:
    """Of writers that send other prices for the same place one is accepted, the others get 409 and the total."""

    def work(number: int, client: httpx.Client) -> list[int]:
        statuses = []
        for batch in range(BATCHES):
            body = {"symbol": "A", "values": [float(number), float(batch)], "offset": 2 * batch}
            answer = client.post("/add_batch", json=body)
            statuses.append(answer.status_code)
            if answer.status_code == 409:
                assert answer.json()["total"] >= 2 * batch + 2
        return statuses

    statuses = np.array(at_once(work, service))
    assert set(np.unique(statuses)) <= {200, 409}
    assert np.array_equal((statuses == 200).sum(axis=0), np.ones(BATCHES))
    assert np.array_equal(stored(service, "A")[1::2], np.arange(BATCHES))


def test_a_repeated_batch_is_stored_once_however_many_send_it(service: Service) -> None:
    """Every writer sends the same batches with their offsets, and every one is told the same."""

    def work(_number: int, client: httpx.Client) -> list[int]:
        return [
            total(client.post("/add_batch", json={"symbol": "A", "values": [float(batch)] * 5, "offset": 5 * batch}))
            for batch in range(BATCHES)
        ]

    assert at_once(work, service) == [list(range(5, 5 * BATCHES + 1, 5))] * CLIENTS
    assert np.array_equal(stored(service, "A"), np.repeat(np.arange(float(BATCHES)), 5))


def test_the_symbol_limit_holds_under_a_race(service: Service) -> None:
    """Of 64 symbols sent at the same moment ten are made, by default, and they are those whose batch was accepted."""

    def work(number: int, client: httpx.Client) -> list[tuple[str, int]]:
        symbols = [f"S{number}-{each}" for each in range(8)]
        return [
            (symbol, client.post("/add_batch", json={"symbol": symbol, "values": [1.0]}).status_code)
            for symbol in symbols
        ]

    statuses = dict(pair for pairs in at_once(work, service) for pair in pairs)
    made = {row["symbol"] for row in service.client.get("/symbols").json()["symbols"]}
    assert len(made) == 10
    assert {symbol: 200 if symbol in made else 400 for symbol in statuses} == statuses


def test_one_symbol_made_by_many_is_one_series(service: Service) -> None:
    """The first batches of a new symbol, sent at the same moment, end up in one series."""

    def work(_number: int, client: httpx.Client) -> list[int]:
        return [total(client.post("/add_batch", json={"symbol": f"S{each}", "values": [1.0]})) for each in range(10)]

    totals = np.sort(np.array(at_once(work, service)), axis=0)
    assert np.array_equal(totals, np.repeat(np.arange(1, CLIENTS + 1), 10).reshape(CLIENTS, 10))


def test_a_large_batch_is_seen_whole_or_not_at_all(shared_service: Service) -> None:
    """While batches of 100,000 prices are read piece by piece, others are answered, and never see a part of one."""
    values = np.random.default_rng(1).uniform(100, 200, 100_000).tolist()
    body = json.dumps({"symbol": "LARGE", "values": values}).encode()
    assert total(shared_service.client.post("/add_batch", content=body, headers=JSON)) == 100_000
    writing = threading.Event()
    writing.set()

    def work(number: int, client: httpx.Client) -> set[int]:
        seen = set()
        if number < 2:
            for _ in range(5):
                seen.add(total(client.post("/add_batch", content=body, headers=JSON)))
            writing.clear()
        else:
            while writing.is_set():
                answer = client.get("/stats", params={"symbol": "LARGE"}).json()
                assert (answer["windows"]["1"]["last"], answer["windows"]["5"]["min"]) == (values[-1], min(values))
                seen.add(answer["total"])
                total(client.post("/add_batch", json={"symbol": "SMALL", "values": [1.0]}))
        return seen

    first, second, *readers = at_once(work, shared_service, clients=4)
    assert sorted(first | second) == list(range(200_000, 1_100_001, 100_000))
    assert all(count % 100_000 == 0 for count in set().union(*readers))


def test_a_batch_of_another_process_is_seen_at_once(service: Service) -> None:
    """Two writers, the service and a store in this process: each sees what the other appended."""
    service.add("A", [1.0])
    with Store(service.data_dir) as store:
        for price in range(2, 40, 2):
            assert store.append("A", [float(price)]) == price
            assert service.client.get("/stats?symbol=A&exponent=1").json()["last"] == price
            assert total(service.add("A", [price + 1.0])) == price + 1
            assert store.stats("A", 1).last == price + 1
        store.append("B", [7.0])
        assert service.client.get("/stats?symbol=B&window=5").json()["last"] == 7.0


def test_a_client_that_hangs_up_stores_nothing(service: Service) -> None:
    """A body cut short, with its length announced or in chunks, is no batch; the service goes on."""
    body = json.dumps({"symbol": "CUT", "values": [1.0] * 50_000}).encode()
    head = b"POST /add_batch HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nX-Request-ID: cut-%d\r\n"
    announced = b"Content-Length: %d\r\n\r\n" % len(body) + body[:-1]
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n"
    for number, rest in enumerate((announced, chunked)):
        with service.connect() as connection:
            connection.sendall(head % number + rest)
        assert service.wait_for_event("request", request_id=f"cut-{number}")["status"] == 400
    assert service.client.get("/symbols").json() == {"symbols": []}
