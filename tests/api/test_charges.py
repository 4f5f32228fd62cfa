"""What was charged to an account: to whom it belongs, and that all of it is given back."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from api.access.tokens import READ, WRITE, add
from api.operation.line_budget import STRANGERS, TOKEN
from tests.api.streams.client import BINARY, PING, PONG, Raw, row
from tests.api.test_auth import Sent, bearer, make_tokens
from tests.api.test_budget import OF_METRICS, account, held, unread
from tests.api.test_protocol import answer, batch, get, post
from tests.api.test_strangers_share import authorized
from tests.conftest import StartService
from tests.locks import held as locked
from tests.service import PATIENCE_S, Service, running_service, wait_until

HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
MIB = 2**20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Sent]]:
    """Yield a service with tokens, one for each scope and a second that writes, and small shares."""
    directory = tmp_path_factory.mktemp("service")
    sent = {**make_tokens(directory), "second": add(directory / "tokens", "second", [WRITE])}
    small = {"server__max_body_memory_bytes": 8 * MIB, "server__max_share_percent": 50}
    with running_service(directory, auth__tokens_file="tokens", server__max_connections=8, **small) as service:
        body = batch("A", [1.0] * 100_000)
        headers = bearer(sent[WRITE]) | {"Content-Type": "application/json"}
        for _ in range(2):
            assert service.client.post("/add_batch", content=body, headers=headers).status_code == 200
        yield service, sent


def stream(service: Service, token: str, mode: str = "ingest") -> socket.socket:
    """Return the connection of a stream that was opened with a token."""
    connection = service.connect()
    connection.sendall(get(f"/stream?mode={mode}", HANDSHAKE + authorized(token)))
    assert connection.recv(12) == b"HTTP/1.1 101"
    return connection


def frame(opcode: int, content: bytes, length: int | None = None) -> bytes:
    """Return a masked frame that says to be `length` bytes long."""
    size = len(content) if length is None else length
    head = bytes([0x80 | size]) if size < 126 else b"\xff" + size.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + head + bytes(4) + content


def test_the_messages_of_a_stream_are_its_tokens(shared: tuple[Service, Sent]) -> None:
    """Two tokens of one address have a share each; two streams of one token have one."""
    service, sent = shared
    half = frame(BINARY, bytes(3 * MIB), 4 * MIB)
    with stream(service, sent[WRITE]) as first, stream(service, sent["second"]) as second:
        first.sendall(half)
        wait_until(lambda: account(service, sent, "bodies", "held") >= 3 * MIB, "half a message")
        refused = account(service, sent, "bodies", "refused_total")
        second.sendall(half)
        wait_until(lambda: account(service, sent, "bodies", "held") >= 6 * MIB, "another half")
        assert account(service, sent, "bodies", "refused_total") == refused
        with stream(service, sent[WRITE]) as third, suppress(ConnectionError):
            third.sendall(half)
            wait_until(lambda: account(service, sent, "bodies", "refused_total") > refused, "a refusal")
    wait_until(lambda: account(service, sent, "bodies", "held") == 0, "the end of all")


def test_an_answer_belongs_to_the_token_that_asked(shared: tuple[Service, Sent]) -> None:
    """A download that pauses is not cut off for strangers who take no answer, though it has waited longest."""
    service, sent = shared
    with socket.socket() as holder, ExitStack() as stack:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        holder.settimeout(PATIENCE_S)
        holder.connect(("127.0.0.1", service.port))
        holder.sendall(get("/values?symbol=A&format=raw", authorized(sent[READ])))
        wait_until(lambda: account(service, sent, "answers", "held") > OF_METRICS, "an answer that waits")
        for _ in range(10):
            stack.enter_context(unread(service))
        response = HTTPResponse(holder)
        response.begin()
        assert len(response.read()) == 8 * 200_000
    wait_until(lambda: account(service, sent, "answers", "held") <= OF_METRICS, "the end of all")


def test_a_handshake_in_two_pieces_leaves_no_charge(shared: tuple[Service, Sent]) -> None:
    """Once the stream is open its head is held no more."""
    service, sent = shared
    request = get("/stream?mode=ingest", HANDSHAKE + authorized(sent[WRITE]))
    with service.connect() as connection:
        connection.sendall(request[:100])
        wait_until(lambda: account(service, sent, "requests", "held") > 0, "half a head")
        connection.sendall(request[100:])
        assert connection.recv(12) == b"HTTP/1.1 101"
        assert account(service, sent, "requests", "held") == 0


def test_bodies_that_wait_behind_an_answer_are_counted(shared: tuple[Service, Sent]) -> None:
    """Small ones too, which have come whole while an answer before them is not taken."""
    service, sent = shared
    body = b"{" + b" " * 20_000 + b"}"
    wait_until(lambda: account(service, sent, "answers", "held") <= OF_METRICS, "the end of all others")
    before = account(service, sent, "bodies", "held")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(get("/values?symbol=A&format=raw", authorized(sent[READ])))
        wait_until(lambda: account(service, sent, "answers", "held") > OF_METRICS, "an answer that waits")
        connection.sendall(post(body, head=authorized(sent[WRITE])) * 3)
        wait_until(lambda: account(service, sent, "bodies", "held") > before, "a body that waits")
        assert account(service, sent, "bodies", "held") + account(service, sent, "requests", "held") >= 3 * len(body)
    wait_until(lambda: account(service, sent, "bodies", "held") == 0, "the end of it")


def test_a_message_is_given_back_whatever_comes_behind_it(start_service: StartService) -> None:
    """A large one that is being stored while a small one arrives: both are, and nothing is held."""
    service = start_service()
    service.add("A", [1.0])
    with Raw(service.port, mode="ingest", symbol="A") as client:
        assert client.frame() is not None  # the hello
        with locked(service.data_dir / "A" / "head"):
            client.send(frame(BINARY, row(*[1.0] * 20_000)))
            wait_until(lambda: held(service, "bodies") >= 160_000, "the message")
            client.send(frame(BINARY, row(2.0)), frame(PING, b"x"))
            assert client.frame() == (PONG, b"x")  # so that what came before it was read
        wait_until(lambda: service.client.get("/stats?symbol=A").json()["total"] == 20_002, "both")
        wait_until(lambda: held(service, "bodies") == 0, "what was taken")


def test_streams_and_lines_have_accounts(shared: tuple[Service, Sent]) -> None:
    """Places of streams are told as they are taken, and lines of the log as they are written and left out."""
    service, sent = shared
    before = account(service, sent, "streams", "held")
    with stream(service, sent[READ], "stats"):
        assert account(service, sent, "streams", "held") == before + 1
    wait_until(lambda: account(service, sent, "streams", "held") == before, "its place")
    limit = account(service, sent, "streams", "limit")
    assert account(service, sent, "streams", "share") == limit // 2
    left_out = account(service, sent, "log_strangers", "refused_total")

    def refused() -> bool:
        assert service.client.get("/symbols").status_code == 401
        return account(service, sent, "log_strangers", "refused_total") > left_out

    wait_until(refused, "a line that is left out")
    assert account(service, sent, "log_strangers", "limit") == STRANGERS.bytes
    assert account(service, sent, "log_tokens", "share") == TOKEN.bytes
    assert account(service, sent, "log_strangers", "held") > 0


def test_nobody_is_late_while_the_service_itself_was_stopped(start_service: StartService) -> None:
    """Idle, or behind half a head: what has arrived when it goes on is answered, however long it did not run."""
    service = start_service(server__header_timeout_s=1, server__keep_alive_s=1)
    request = get("/health")
    for begun in (b"", request[:20]):
        with service.connect() as connection:
            connection.sendall(request)
            assert answer(connection)[0] == 200
            connection.sendall(begun)
            service.process.send_signal(signal.SIGSTOP)
            begin = time.monotonic()
            wait_until(lambda begin=begin: time.monotonic() > begin + 3, "more than either of them may take")  # type: ignore[misc]
            connection.sendall(request[len(begun) :])
            service.process.send_signal(signal.SIGCONT)
            assert answer(connection)[0] == 200


def descriptors(service: Service) -> int:
    """Return how many files the process of the service has open."""
    return len(os.listdir(f"/proc/{service.process.pid}/fd"))


def ask_health(service: Service, requests: int) -> socket.socket:
    """Return a connection that has sent so many requests, and takes no answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", service.port))
    for _ in range(requests):
        connection.sendall(get("/health"))
    return connection


def test_who_is_ended_for_another_keeps_no_file(start_service: StartService) -> None:
    """Also where a little of an answer waits that the client never takes: every file is one of a counted connection."""
    service = start_service(server__max_connections=4, server__max_share_percent=100)
    before = descriptors(service)
    with ask_health(service, 0) as probe:
        requests = 0
        while held(service, "answers") == 0:
            probe.sendall(get("/health"))
            requests += 1
    with ExitStack() as stack:
        for fewer in range(4, 48, 4):  # of some a little waits, and not so much that it is noticed
            stack.enter_context(ask_health(service, requests - fewer))
            # By a connection of its own: one that stays would be ended too.
            assert httpx.get(f"{service.url}/health", timeout=PATIENCE_S).status_code == 200
            for _ in range(5):
                stack.enter_context(service.connect())
        wait_until(lambda: descriptors(service) <= before + 4, "the files of those that were ended")


def test_who_takes_nothing_of_the_last_answer_is_ended(start_service: StartService, tmp_path: Path) -> None:
    """After server.body_timeout_s, by a Unix socket too, of which the kernel never gives up."""
    path = str(tmp_path / "socket")
    service = start_service(server__unix_socket=path, server__body_timeout_s=1)

    def ask(requests: int) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        for _ in range(requests):
            connection.sendall(get("/health"))
        return connection

    with ask(0) as probe:
        requests = 0
        while held(service, "answers") == 0:
            probe.sendall(get("/health"))
            requests += 1
    with ExitStack() as stack:
        for fewer in range(4, 48, 4):
            stack.enter_context(ask(requests - fewer)).sendall(get("/health", "Connection: close\r\n"))
        wait_until(lambda: held(service, "connections") == 1, "the end of all but the one that asks")


def test_a_body_is_counted_while_its_batch_waits(start_service: StartService) -> None:
    """A small one that came whole, while another process holds the series."""
    service = start_service()
    service.add("A", [1.0])
    body = batch("A", [1.0] * 10_000)
    with service.connect() as connection:
        with locked(service.data_dir / "A" / "head"):
            connection.sendall(post(body))
            wait_until(lambda: held(service, "bodies") == len(body), "the body")
        assert answer(connection)[0] == 200
        assert held(service, "bodies") == 0
