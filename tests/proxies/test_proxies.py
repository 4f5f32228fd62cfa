"""What clients see of the service behind nginx and HAProxy, above all while it restarts."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from websockets.sync.client import connect

from tests.api.test_systemd import StartPassed, start_passed, tcp, unix
from tests.proxies.programs import NAME, missing, proxy
from tests.service import PATIENCE_S, Service, wait_until

__all__ = ["start_passed", "tcp", "unix"]  # fixtures

MAX_BODY_BYTES = 4 << 20
JSON = {"Content-Type": "application/json"}


class Behind(NamedTuple):
    """A service behind a proxy: the socket that it accepts on, as from systemd, and the port of the proxy."""

    listener: socket.socket
    port: int
    start: StartPassed

    def serving(self) -> Service:
        """Start a service on the socket; return it once it serves."""
        service = self.start(self.listener, server__host_names=NAME)
        service.wait_for_event("serving")
        return service

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of the answer to one request, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {"Host": NAME, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def total(self, symbol: str) -> int:
        """Return how many points a series has."""
        symbols = json.loads(self.ask("GET", "/symbols")[1])["symbols"]
        return next(int(one["total"]) for one in symbols if one["symbol"] == symbol)


@pytest.fixture(params=["nginx", "haproxy"])
def behind(request: pytest.FixtureRequest, tmp_path: Path, start_passed: StartPassed) -> Iterator[Behind]:
    """Yield a proxy before a socket on which no service accepts yet."""
    program: str = request.param
    if reason := missing(program):
        pytest.skip(reason)
    listener: socket.socket = request.getfixturevalue("unix" if program == "nginx" else "tcp")
    with proxy(program, tmp_path / program, listener) as port:
        yield Behind(listener, port, start_passed)


class Client:
    """Sends batches to a series of its own and asks for it, in turn; remembers each answer that is none."""

    def __init__(self, behind: Behind, number: int) -> None:
        self.symbol, self.fresh = f"C{number}", number % 2 == 1
        self.stored, self.asked = 0, 0
        self.lost: list[str] = []
        self._behind = behind
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more once the last answer is there."""
        self._done.set()
        self._thread.join(2 * PATIENCE_S)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._behind.port, timeout=PATIENCE_S)
        body = json.dumps({"symbol": self.symbol, "values": [1.0]}).encode()
        while not self._done.is_set():
            for method, path, sent in (
                ("POST", "/add_batch/", body),
                ("GET", f"/stats?symbol={self.symbol}&window=10", None),
            ):
                try:
                    connection.request(method, path, sent, {"Host": NAME, **JSON})
                    answer = connection.getresponse()
                    text = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.lost.append(f"{method}: {error!r}")
                    connection.close()
                    continue
                if answer.status != 200:
                    self.lost.append(f"{method}: {answer.status} {text[:200]!r}")
                self.stored += method == "POST" and answer.status == 200
                self.asked += method == "GET" and answer.status == 200
            if self.fresh:
                connection.close()
        connection.close()


@contextmanager
def clients(behind: Behind) -> Iterator[list[Client]]:
    """Yield clients that go on until the block ends, half of them with a connection for each pair of requests."""
    running = [Client(behind, number) for number in range(6)]
    try:
        yield running
    finally:
        for client in running:
            client.stop()


def wait_for_more(running: list[Client]) -> None:
    """Return once each client has had ten more answers of each kind."""
    before = [(client.stored, client.asked) for client in running]
    wait_until(
        lambda: all(
            client.lost or (client.stored >= stored + 10 and client.asked >= asked + 10)
            for client, (stored, asked) in zip(running, before, strict=True)
        ),
        "answers to each client",
    )


def test_restarts_lose_no_request_and_store_no_batch_twice(behind: Behind) -> None:
    """Over two restarts under load every request is answered with 200, and each series has what was answered."""
    service = behind.serving()
    with clients(behind) as running:
        for _ in range(2):
            wait_for_more(running)
            assert service.stop() == 0
            service = behind.serving()
        wait_for_more(running)
    assert [client.lost for client in running] == [[]] * len(running)
    assert [behind.total(client.symbol) for client in running] == [client.stored for client in running]


def test_streams_pass_both_ways(behind: Behind) -> None:
    """A WebSocket brings points, another one and an event stream tell of them at once; a restart ends all three."""
    service = behind.serving()
    assert behind.ask("POST", "/add_batch", b'{"symbol":"A","values":[1]}', JSON)[0] == 200
    address = f"ws://{NAME}/stream"
    events = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=PATIENCE_S)
    events.request("GET", "/events?symbol=A&window=10", headers={"Host": NAME})
    told = events.getresponse()
    assert [told.readline() for _ in range(3)] == [b"retry: 2000\n", b"\n", b"id: 1\n"]
    with ExitStack() as stack:
        statistics, ingest = (
            stack.enter_context(
                connect(
                    f"{address}?mode={mode}&symbol=A",
                    sock=socket.create_connection(("127.0.0.1", behind.port)),
                    open_timeout=PATIENCE_S,
                )
            )
            for mode in ("stats", "ingest")
        )
        assert json.loads(statistics.recv(PATIENCE_S))["total"] == 1
        assert json.loads(ingest.recv(PATIENCE_S))["event"] == "hello"
        ingest.send(np.array([2.0, 3.0]).tobytes())
        assert json.loads(ingest.recv(PATIENCE_S))["total"] == 3
        assert json.loads(statistics.recv(PATIENCE_S))["total"] == 3
        while told.readline() != b"id: 3\n":
            pass
        assert service.stop() == 0
        while told.readline():  # to its end
            pass
        for stream in (statistics, ingest):
            with pytest.raises(Exception, match="1001"):
                stream.recv(PATIENCE_S)
    events.close()


def test_the_largest_body_passes_and_a_larger_one_is_refused(behind: Behind) -> None:
    """As large as server.max_body_bytes allows; beyond it 413, and nothing is stored."""
    behind.serving()
    start, end = b'{"symbol":"A","values":[1', b"]}"
    largest = start + b" " * (MAX_BODY_BYTES - len(start) - len(end)) + end
    assert behind.ask("POST", "/add_batch", largest, JSON)[0] == 200
    for size in (1, 1 << 20):
        status, _ = behind.ask("POST", "/add_batch", largest + b" " * size, JSON)
        assert status == 413
    assert behind.total("A") == 1
    values = np.arange(1.0, 100_001.0)
    raw = {"Content-Type": "application/octet-stream"}
    assert behind.ask("POST", "/add_batch?symbol=B", values.tobytes(), raw)[0] == 200
    assert behind.ask("GET", "/values?symbol=B&format=raw")[1] == values.tobytes()


def test_other_names_are_refused(behind: Behind) -> None:
    """A page that points its own name at the proxy gets 421 from it."""
    behind.serving()
    assert behind.ask("GET", "/health")[0] == 200
    assert behind.ask("GET", "/health", headers={"Host": "attacker.example"})[0] == 421


def test_a_service_that_is_away_is_told_as_5xx(behind: Behind) -> None:
    """A client that asks while nobody listens is answered by the proxy."""
    service = behind.serving()
    assert behind.ask("GET", "/ready")[0] == 200
    assert service.stop() == 0
    behind.listener.close()
    assert behind.ask("GET", "/ready")[0] in {502, 503}
