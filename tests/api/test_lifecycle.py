"""Starting, stopping, being killed and starting again, on a real process."""

import http.client
import json
import resource
import signal
import socket
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from hft_mmap import Store
from hft_mmap.files.blocks import Commit
from hft_mmap.files.head import Head
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service, run_command, wait_until

PRICES = [150.1, 150.5, 151.0, 149.8, 150.2, 151.1, 151.2, 152.0, 151.5, 151.9]
GRACE_S = int(PATIENCE_S)
"""On a busy machine the ten seconds of the setting may be over before a request was read."""
STATISTICS = {"min": 149.8, "max": 152.0, "last": 151.9, "avg": 150.93, "var": pytest.approx(0.5201, rel=1e-12)}


def begin_batch(service: Service, body: bytes) -> socket.socket:
    """Send the head of a POST /add_batch/ and wait until the service asks for the body, which proves it in flight."""
    connection = service.connect()
    head = (
        f"POST /add_batch/ HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    connection.sendall(head.encode())
    assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
    return connection


def batch(symbol: str, values: list[float]) -> bytes:
    """Return the body of a POST /add_batch/."""
    return json.dumps({"symbol": symbol, "values": values}).encode()


def statistics(service: Service, symbol: str, exponent: int = 1) -> dict[str, float]:
    """Return the answer of GET /stats/."""
    answer: dict[str, float] = service.client.get("/stats/", params={"symbol": symbol, "exponent": exponent}).json()
    return answer


def test_it_serves_on_the_port_that_it_logs(service: Service) -> None:
    """Port 0 takes any free port, and the event "serving" names it."""
    assert service.client.get("/health").json() == {"status": "ok"}
    serving = service.wait_for_event("serving")
    assert (serving["host"], serving["pid"]) == ("127.0.0.1", service.process.pid)
    assert serving["startup_ms"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_lets_the_request_in_flight_finish(start_service: StartService, number: signal.Signals) -> None:
    """SIGTERM and Ctrl+C: the request is answered, what it stored is there after a restart, the exit code is 0."""
    service = start_service(server__shutdown_grace_s=GRACE_S)
    body = batch("ABC-USD", PRICES)
    with begin_batch(service, body) as connection:
        service.process.send_signal(number)
        service.wait_for_event("stopping", signal=number.name)
        connection.sendall(body)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, json.loads(response.read())["total"]) == (200, len(PRICES))
    assert service.wait() == 0
    assert service.events()[-1]["event"] == "stopped"
    assert statistics(start_service(), "ABC-USD") == STATISTICS


def test_a_pusher_that_pauses_within_its_body_is_waited_for(start_service: StartService) -> None:
    """Half a body before SIGTERM, the rest byte by byte after it: it is answered, and the whole batch is there."""
    service = start_service(server__shutdown_grace_s=GRACE_S)
    body = batch("ABC-USD", PRICES)
    half = len(body) // 2
    with begin_batch(service, body) as connection:
        connection.sendall(body[:half])
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_event("stopping", signal="SIGTERM")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in body[half:]:
            connection.sendall(bytes([byte]))
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, json.loads(response.read())["total"]) == (200, len(PRICES))
    assert service.wait() == 0
    assert statistics(start_service(), "ABC-USD") == STATISTICS


def test_a_pusher_that_pauses_for_longer_than_the_grace_stores_nothing(start_service: StartService) -> None:
    """Half a body is no batch: the stop is orderly, and what was there before is all that is there."""
    service = start_service(server__shutdown_grace_s=0)
    service.add("ABC-USD", PRICES)
    body = batch("ABC-USD", PRICES)
    with begin_batch(service, body) as connection:
        connection.sendall(body[: len(body) // 2])
        assert service.stop() == 0
    assert start_service().client.get("/symbols").json()["symbols"][0]["total"] == len(PRICES)


class Pusher(threading.Thread):
    """A client that sends batch after batch, on a connection it keeps until it is told not to, or on one for each."""

    def __init__(self, port: int, *, keeps: bool) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.keeps = keeps
        self.answered = 0
        self.lost: list[str] = []

    def run(self) -> None:
        """Push until nobody listens any more."""
        body = batch("ABC-USD", [1.0])
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        while True:
            try:
                if connection.sock is None:  # never connected, or the last answer said `Connection: close`
                    connection.connect()
            except ConnectionRefusedError:
                break
            try:
                connection.request("POST", "/add_batch/", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                break
            self.answered += answer.status == 200
            if not self.keeps:
                connection.close()
        connection.close()


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "new"])
def test_stopped_under_load_it_answers_every_request(start_service: StartService, *, keeps: bool) -> None:
    """Whoever got a connection gets the answers to what it sends there; then nobody is let in any more."""
    service = start_service(server__shutdown_grace_s=GRACE_S)
    pushers = [Pusher(service.port, keeps=keeps) for _ in range(8)]
    for pusher in pushers:
        pusher.start()
    wait_until(lambda: all(pusher.answered > 20 for pusher in pushers), "load")
    assert service.stop() == 0
    for pusher in pushers:
        pusher.join(PATIENCE_S)
    assert [pusher.lost for pusher in pushers] == [[]] * len(pushers)
    commit = newest_commit(service, "ABC-USD")
    assert (commit.clean, commit.total) == (True, sum(pusher.answered for pusher in pushers))


def test_idle_connections_do_not_delay_the_stop(service: Service) -> None:
    """A kept-alive connection without a request is closed at once, not waited for."""
    service.client.get("/health")
    with service.connect() as silent:
        assert service.stop() == 0
        assert silent.recv(1) == b""


def test_an_answer_that_began_before_the_stop_ends_the_connection_with_its_last_byte(
    start_service: StartService,
) -> None:
    """Its head promised to keep the connection; nobody waits for another request on it until the grace is over."""
    service = start_service(server__shutdown_grace_s=GRACE_S)
    points = 8_000_000  # 64 MB, far more than the buffers of the connection take
    with Store(service.data_dir) as store:
        store.append("A", np.arange(points, dtype=np.float64))
    with service.connect() as connection:
        connection.sendall(b"GET /values?symbol=A&format=raw HTTP/1.1\r\nHost: test\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.getheader("Connection") is None
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(service), "the end of the listener")
        assert len(response.read()) == 8 * points
        assert connection.recv(1) == b""
    assert service.wait() == 0
    assert service.events("grace_exceeded") == []


def listens(service: Service) -> bool:
    """Return whether the service takes connections."""
    try:
        service.connect().close()
    except ConnectionRefusedError:
        return False
    return True


def test_the_grace_is_bounded(start_service: StartService) -> None:
    """A client that never sends its body holds the stop up for shutdown_grace_s at most, and stores nothing."""
    service = start_service(server__shutdown_grace_s=0)
    service.add("ABC-USD", PRICES)
    with begin_batch(service, batch("ABC-USD", PRICES)):
        assert service.stop() == 0
    assert start_service().client.get("/symbols").json()["symbols"][0]["total"] == len(PRICES)


def test_a_signal_right_after_the_start_is_no_accident(start_service: StartService) -> None:
    """Two SIGTERM in a row are one stop."""
    service = start_service()
    service.add("ABC-USD", PRICES)
    service.process.send_signal(signal.SIGTERM)
    service.process.send_signal(signal.SIGTERM)
    assert service.wait() == 0
    assert statistics(start_service(), "ABC-USD") == STATISTICS


def newest_commit(service: Service, symbol: str) -> Commit:
    """Return the newest commit slot of a series, from its head file."""
    head = Head(service.data_dir / symbol, writable=False)
    commit = head.commits()[0]
    head.close()
    return commit


@pytest.mark.parametrize("durability", ["process", "interval", "sync"])
def test_an_orderly_stop_is_a_clean_commit(start_service: StartService, durability: str) -> None:
    """After SIGTERM everything is on the disk and the clean flag is set, in any tier."""
    service = start_service(store__durability=durability)
    service.add("ABC-USD", PRICES)
    assert service.stop() == 0
    commit = newest_commit(service, "ABC-USD")
    assert (commit.clean, commit.total) == (True, len(PRICES))


@pytest.mark.parametrize("durability", ["process", "interval", "sync"])
def test_killed_it_keeps_every_acknowledged_point(start_service: StartService, durability: str) -> None:
    """SIGKILL in any tier: what was answered with 200 is there after a restart, and appending goes on behind it."""
    service = start_service(store__durability=durability)
    assert service.add("ABC-USD", PRICES[:5]).status_code == 200
    assert service.add("ABC-USD", PRICES[5:]).status_code == 200
    service.kill()
    assert not newest_commit(service, "ABC-USD").clean
    again = start_service(store__durability=durability)
    assert statistics(again, "ABC-USD") == STATISTICS
    assert again.add("ABC-USD", [1.0]).json()["total"] == len(PRICES) + 1


def test_killed_in_the_middle_of_a_request_it_stores_all_or_nothing(start_service: StartService) -> None:
    """A batch whose body never arrived in full left nothing behind."""
    service = start_service()
    service.add("ABC-USD", PRICES)
    body = batch("ABC-USD", PRICES)
    with begin_batch(service, body) as connection:
        connection.sendall(body[:-1])
        service.kill()
    assert start_service().client.get("/symbols").json()["symbols"][0]["total"] == len(PRICES)


def test_a_port_in_use_is_one_line_and_touches_no_data(service: Service, tmp_path: Path) -> None:
    """The second service exits with 1, says why in one line, and has not even made its data directory."""
    directory = tmp_path / "second"
    directory.mkdir()
    result = run_command(directory, "serve", server__port=service.port)
    assert result.returncode == 1
    in_use = f"cannot listen on 127.0.0.1:{service.port}: Address already in use"
    assert result.stderr == f"hft-mmap: {in_use}; set server.port (--port, or APP_SERVER__PORT)\n"
    assert not (directory / "data").exists()
    assert service.client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"server__host": "no.such.host.invalid"}, "cannot listen on no.such.host.invalid:0: "),
        ({"server__host": "192.0.2.1"}, "cannot listen on 192.0.2.1:0: "),
        ({"store__data_dir": "a-file"}, "data directory a-file can't be used: "),
        ({"store__data_dir": "a-file/below"}, "data directory a-file/below can't be used: "),
        ({"log__file": "a-file/app.log"}, "log file a-file/app.log cannot be opened: "),
        ({"log__file": "."}, "log file . is not a regular file"),
        ({"log__file": "/dev/null"}, "log file /dev/null is not a regular file"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(tmp_path: Path, settings: dict[str, object], text: str) -> None:
    """Exit code 1, one line on standard error, no traceback."""
    (tmp_path / "a-file").touch()
    result = run_command(tmp_path, "serve", **{"server__port": 0, **settings})
    assert result.returncode == 1
    assert result.stderr.startswith(f"hft-mmap: {text}")
    assert result.stderr.count("\n") == 1


def test_wrong_settings_stop_the_start_with_78(tmp_path: Path) -> None:
    """All faults at once, a line each."""
    (tmp_path / "config.toml").write_text("[server]\nprot = 1\n[store]\nmax_symbols = 0\n")
    result = run_command(tmp_path, "serve", log__level="loud")
    assert result.returncode == 78
    assert result.stderr.splitlines() == [
        "hft-mmap: config.toml: unknown key server.prot (did you mean server.port?)",
        "hft-mmap: config.toml: store.max_symbols must be a whole number from 1, not 0",
        "hft-mmap: APP_LOG__LEVEL must be one of debug, info, warning, error, not 'loud'",
    ]


def test_it_may_open_as_many_files_as_the_system_allows(service: Service) -> None:
    """The soft limit of open files is raised to the hard one: every chunk and every connection is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = Path(f"/proc/{service.process.pid}/limits").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in limits if line.startswith("Max open files"))
    assert line.split()[3:5] == [str(hard), str(hard)]


def test_it_listens_on_ipv6_too(start_service: StartService) -> None:
    """The host may be an IPv6 address."""
    service = start_service(server__host="::1")
    answer = httpx.get(f"http://[::1]:{service.port}/health", timeout=PATIENCE_S)
    assert answer.json() == {"status": "ok"}
