"""The service as a child of systemd: passed sockets, readiness and the watchdog, spoken by the test itself.

tests/systemd has a real systemd say the same.
"""

import ctypes
import os
import resource
import select
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from api.connection.drain import LINGER_S
from api.connection.listening import UNSENT_BYTES
from api.server import most_at_once
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service, as_systemd, wait_until

SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438


class StartPassed(Protocol):
    """What the fixture `start_passed` gives to a test."""

    def __call__(self, *sockets: socket.socket, launched: bool = False, **settings: object) -> Service:
        """Start a service that finds `sockets` as systemd passes them; it ends with the test at the latest.

        launched: it is a program of its own, and not forked (`tests.hatchery`).
        """
        ...


@pytest.fixture
def start_passed(tmp_path: Path) -> Iterator[StartPassed]:
    """Return a function that starts services with sockets."""
    services: list[Service] = []

    def start(*sockets: socket.socket, launched: bool = False, **settings: object) -> Service:
        fds = [one.fileno() for one in sockets]
        chosen = {name.replace("__", "."): value for name, value in settings.items()}
        services.append(Service(tmp_path, chosen, sockets=fds, launcher=as_systemd(fds) if launched else ()))
        return services[-1]

    yield start
    for service in services:
        service.close()


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    """Yield a TCP socket that listens on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield a Unix socket that listens on `http.sock` in the test's own directory."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "http.sock"))
        listener.listen()
        yield listener


def over(path: Path) -> httpx.Client:
    """Return a client that speaks over the Unix socket `path`."""
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://unix", timeout=PATIENCE_S)


def longest_queue(listener: socket.socket) -> int:
    """Return how many clients may wait to be accepted by `listener` (tcpi_sacked of a socket that listens)."""
    information = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("=I", information, 28)[0])


class Manager:
    """What pid 1 is to a service: a socket that it may write to."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(PATIENCE_S)
        self.heard: list[str] = []

    def forget(self) -> None:
        """Drop what was sent until now."""
        while self.hears_within(0):
            self.socket.recv(4096)

    def hears_within(self, seconds: float) -> bool:
        """Say whether a message is there, or comes within so many seconds."""
        return bool(select.select([self.socket], [], [], seconds)[0])

    def wait_for(self, beginning: str) -> str:
        """Return the first message that begins so, of those not yet heard."""
        while True:
            self.heard.append(self.socket.recv(4096).decode())
            if self.heard[-1].startswith(beginning):
                return self.heard[-1]


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Yield a manager that services started by this test speak to."""
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def accepted_options(pid: int, port: int, option: int = socket.TCP_NODELAY) -> set[int]:
    """Return `option` of TCP, of each connection that process `pid` has accepted on `port`."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(SYS_PIDFD_OPEN, pid, 0)
    found = set()
    for fd in map(int, os.listdir(f"/proc/{pid}/fd")):
        copy = libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
        if copy < 0:
            pytest.skip(f"descriptors of another process can't be looked at here: {os.strerror(ctypes.get_errno())}")
        if not stat.S_ISSOCK(os.fstat(copy).st_mode):
            os.close(copy)
            continue
        with socket.socket(fileno=copy) as one:
            listens = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if one.family == socket.AF_INET and one.getsockname()[1] == port and not listens:
                found.add(one.getsockopt(socket.IPPROTO_TCP, option))
    os.close(pidfd)
    return found


def test_it_is_ready_once_requests_are_answered(start_service: StartService, manager: Manager) -> None:
    """READY=1 comes when the port answers, with the address as status; STOPPING=1 when it has been told to stop."""
    service = start_service()
    assert manager.wait_for("READY=1") == f"READY=1\nSTATUS=serving on 127.0.0.1:{service.port}"
    assert service.stop() == 0
    assert manager.wait_for("STOPPING=1") == "STOPPING=1\nSTATUS=answering the requests in flight"
    assert manager.wait_for("STOPPING=1") == "STOPPING=1\nSTATUS=writing everything to the disk"


def test_a_reload_that_fails_is_over_too(start_service: StartService, manager: Manager, tmp_path: Path) -> None:
    """Tokens that can be opened and not read (a disk that fails): READY=1 follows, and what was in force stays so."""
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    service = start_service(auth__tokens_file=tokens)
    manager.wait_for("READY=1")
    tokens.unlink()
    tokens.symlink_to("/proc/self/mem")  # whose first bytes nobody can read: EIO
    service.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    failed = service.wait_for_event("reload_failed")
    assert (failed["what"], "Input/output error" in failed["reason"]) == ("tokens", True)
    assert service.client.get("/health").status_code == 200


def test_it_is_not_ready_before_the_series_are_open(start_service: StartService, manager: Manager) -> None:
    """While the store opens, the status says how far it is."""
    service = start_service()
    service.add("ABC-USD", [1.0])
    service.add("EUR/USD", [1.0])
    service.kill()
    manager.wait_for("READY=1")
    manager.heard.clear()
    start_service()
    manager.wait_for("READY=1")
    assert manager.heard[0] == "STATUS=opening series 1 of 2"


def test_the_event_loop_feeds_the_watchdog(
    start_service: StartService, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WATCHDOG=1 comes again and again, and not while the process is stopped."""
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    service = start_service()
    manager.wait_for("READY=1")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")
    service.process.send_signal(signal.SIGSTOP)
    status = Path(f"/proc/{service.process.pid}/status")
    wait_until(lambda: "State:\tT" in status.read_text(), "the stop of the service")
    manager.forget()
    assert not manager.hears_within(0.2)
    service.process.send_signal(signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")


def test_a_watchdog_for_another_process_is_left_alone(
    start_service: StartService, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WATCHDOG_PID names the process that has to feed it."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    service = start_service()
    service.client.get("/health")
    service.stop()
    manager.wait_for("STOPPING=1")
    assert not [message for message in manager.heard if message.startswith("WATCHDOG")]


def test_a_manager_that_does_not_listen_is_one_warning(
    start_service: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service runs all the same."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    service = start_service()
    warning = service.wait_for_event("service_manager_unreachable")
    assert (warning["level"], warning["message"]) == ("warning", "READY")
    assert service.client.get("/health").status_code == 200


def test_it_serves_on_the_sockets_that_it_was_passed(
    start_passed: StartPassed, tcp: socket.socket, unix: socket.socket, tmp_path: Path
) -> None:
    """Several at once, TCP and Unix; host and port of the settings are not used then."""
    service = start_passed(tcp, unix, launched=True, server__host="192.0.2.1", server__port=1).wait_until_serving()
    port = tcp.getsockname()[1]
    serving = service.wait_for_event("serving")
    assert serving["addresses"] == [f"127.0.0.1:{port}", str(tmp_path / "http.sock")]
    assert (serving["host"], serving["port"], serving["passed_by_systemd"]) == ("127.0.0.1", port, True)
    assert service.client.get("/health").json() == {"status": "ok"}
    with over(tmp_path / "http.sock") as local:
        assert local.get("/health").json() == {"status": "ok"}


def test_answers_on_a_passed_socket_do_not_wait_for_more(start_passed: StartPassed, tcp: socket.socket) -> None:
    """TCP_NODELAY is on for what was accepted, or small answers would wait 40 ms for an acknowledgement."""
    service = start_passed(tcp).wait_until_serving()
    service.client.get("/health")
    assert accepted_options(service.process.pid, service.port) == {1}


@pytest.mark.parametrize(("body_timeout_s", "vanished_ms"), [(5, 30_000), (60, 60_000)])
def test_a_client_that_vanishes_is_missed(
    start_passed: StartPassed, tcp: socket.socket, body_timeout_s: int, vanished_ms: int
) -> None:
    """TCP_USER_TIMEOUT ends a connection whose client acknowledges nothing, in 30 s or the time to take an answer."""
    service = start_passed(tcp, server__body_timeout_s=body_timeout_s).wait_until_serving()
    service.client.get("/health")
    assert accepted_options(service.process.pid, service.port, socket.TCP_USER_TIMEOUT) == {vanished_ms}


def test_who_connects_between_two_processes_is_answered_by_the_second(
    start_passed: StartPassed, tcp: socket.socket
) -> None:
    """The queue of a passed socket outlives the process."""
    first = start_passed(tcp).wait_until_serving()
    assert first.stop() == 0
    with socket.create_connection(tcp.getsockname(), timeout=PATIENCE_S) as waiting:
        waiting.sendall(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        start_passed(tcp).wait_until_serving()
        assert waiting.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_the_queue_of_a_passed_socket_is_as_long_as_the_service_can_take(
    start_passed: StartPassed, tcp: socket.socket
) -> None:
    """Whatever it was before: in one that is longer strangers would fill more of the kernel's memory."""
    tcp.listen(7)
    assert longest_queue(tcp) == 7
    service = start_passed(tcp).wait_until_serving()
    assert service.client.get("/health").status_code == 200
    possible = int(Path("/proc/sys/net/core/somaxconn").read_text())
    assert longest_queue(tcp) == min(most_at_once(resource.getrlimit(resource.RLIMIT_NOFILE)[1]), possible)


def test_newcomers_are_answered_while_a_stop_waits_for_a_body(start_passed: StartPassed, tcp: socket.socket) -> None:
    """One slow request takes the time that it is given; whoever connects meanwhile waits neither for it nor in vain."""
    service = start_passed(tcp).wait_until_serving()
    body = b'{"symbol":"A","values":[1.0]}'.ljust(100_000)
    with service.connect() as slow:
        slow.sendall(
            b"POST /add_batch HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        assert slow.recv(4096).startswith(b"HTTP/1.1 100 ")
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_event("stopping")
        sent, until = 0, time.monotonic() + 10 * LINGER_S
        while time.monotonic() < until:
            slow.sendall(body[sent : sent + 1])
            sent += 1
            with service.connect() as newcomer:
                newcomer.sendall(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
                assert newcomer.recv(4096).startswith(b"HTTP/1.1 200 ")
        slow.sendall(body[sent:])
        assert slow.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert service.wait() == 0


def test_unsent_answers_wait_where_they_are_counted(start_passed: StartPassed, tcp: socket.socket) -> None:
    """TCP_NOTSENT_LOWAT bounds what the kernel keeps of an answer that its client does not read."""
    service = start_passed(tcp).wait_until_serving()
    service.client.get("/health")
    assert accepted_options(service.process.pid, service.port, socket.TCP_NOTSENT_LOWAT) == {UNSENT_BYTES}


def test_several_processes_share_a_passed_socket(start_passed: StartPassed, tcp: socket.socket) -> None:
    """Each accepts, each sees what the others stored, and each names itself in its lines and its log file."""
    services = {name: start_passed(tcp, server__instance=name).wait_until_serving() for name in ("one", "two")}
    for name, service in services.items():
        assert {event["instance"] for event in service.events()} == {name}
        assert (service.directory / "logs" / f"app-{name}.log").exists()
    one, two = services.values()
    assert two.stop() == 0
    assert one.add("ABC-USD", [1.0]).json()["total"] == 1
    two = start_passed(tcp, server__instance="two").wait_until_serving()
    one.process.send_signal(signal.SIGSTOP)  # so that the other one has to answer
    with httpx.Client(base_url=two.url, timeout=PATIENCE_S) as client:
        assert client.get("/symbols").json()["symbols"][0]["total"] == 1
    one.process.send_signal(signal.SIGCONT)
    assert one.stop() == 0


def test_sockets_passed_to_another_process_are_left_alone(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LISTEN_PID names the process that they are for."""
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    service = start_service()
    assert service.wait_for_event("serving")["passed_by_systemd"] is False


def test_a_passed_descriptor_that_does_not_listen_stops_the_start(start_passed: StartPassed) -> None:
    """One line that names it, and what the socket unit needs."""
    one, other = socket.socketpair()
    with one, other:
        service = start_passed(one)
    assert service.wait() == 1
    assert service.process.stderr is not None
    assert service.process.stderr.read() == (
        "hft-mmap: descriptor 3 (http), passed by systemd, is not a listening stream socket; "
        "the socket unit needs ListenStream= and Accept=no\n"
    )
    service.close()
