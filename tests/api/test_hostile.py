"""Clients that mean harm, on raw connections: each is refused, in time, and nobody else is hurt by it."""

import json
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from api.connection.budget import CONNECTIONS
from api.connection.connections import ConnectionLimits
from tests.api.test_protocol import answer, answers, batch, get, post
from tests.conftest import StartService
from tests.service import Service, running_service, wait_until

CLOSE = get("/health", "Connection: close\r\n")
CHUNKED = b"POST /add_batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
IDLE = 5_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service that waits for nothing longer than a second, and for the disk before it answers."""
    hurry = {"server__header_timeout_s": 1, "server__body_timeout_s": 1, "server__keep_alive_s": 1}
    with running_service(tmp_path_factory.mktemp("service"), store__durability="sync", **hurry) as service:
        yield service


def statuses(service: Service, data: bytes) -> list[int]:
    """Send `data`; return the status of every answer until the service ends the connection."""
    with service.connect() as connection:
        connection.sendall(data)
        return [status for status, _ in answers(connection)]


def symbols(service: Service) -> set[str]:
    """Return the symbols there are."""
    with service.connect() as connection:
        connection.sendall(get("/symbols"))
        return {row["symbol"] for row in answer(connection)[1]["symbols"]}


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"5\r\nabcde\r\n0\r\n\r\n", head="Transfer-Encoding: chunked\r\n"),
        b"POST /add_batch HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        post(b"{}", head="Content-Length: 3\r\n"),
        post(b"{}", head="Transfer-Encoding: chunked, gzip\r\n"),
        post(b"{}", head="Transfer-Encoding: xchunked\r\n"),
        post(b"{}", head="Transfer-Encoding:\r\n chunked\r\n"),
        get("/health", "X-Folded: a\r\n b\r\n"),
        get("/health", "X-Nul: a\0b\r\n"),
        get("/health", "X-Bare: a\rb: c\r\n"),
        get("/health", "Space : 1\r\n"),
        b"GET /health HTTP/1.1\nHost: x\n\n",
        b"GET /health HTTP/2.0\r\n\r\n",
        b"GET /health HTTP/0.9\r\n\r\n",
        b"GET http:///health HTTP/1.1\r\n\r\n",
        b"GET /h\xe9alth HTTP/1.1\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes.fromhex("16030102000100") + bytes(512),  # how TLS begins
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"0x5\r\n",
        post(batch("UP", [1.0]), head="Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        post(batch("UP", [1.0]), head="Host: y\r\n"),
        post(batch("UP", [1.0])).replace(b"Host: x\r\n", b""),
        post(batch("UP", [1.0]), head="X-Offset: 0\r\nX-Offset: 0\r\n"),
        post(batch("UP", [1.0]), head="content-type: application/json\r\n"),
        post(batch("UP", [1.0]), head="Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"),
        post(b"", head="Transfer-Encoding: gzip, chunked\r\n").replace(b"Content-Length: 0\r\n", b"") + b"0\r\n\r\n",
        CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
    ],
)
def test_what_two_readers_could_read_in_two_ways_is_refused(service: Service, request_bytes: bytes) -> None:
    """With 400 and the end of the connection: nothing behind it is taken for a request, all before it is answered."""
    assert statuses(service, get("/health") + request_bytes + CLOSE) == [200, 400]
    assert symbols(service) == set()


def test_an_upgrade_swallows_no_request_before_it(service: Service) -> None:
    """A web socket in the same bytes as a batch is refused; the batch is answered."""
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    assert statuses(service, post(batch("SOCKET", [1.0])) + get("/stream", upgrade)) == [200, 400]


def test_an_unknown_method_on_an_unknown_route_is_not_found(service: Service) -> None:
    """A method that the framework does not know must not make it fail."""
    assert statuses(
        service, b"M-SEARCH * HTTP/1.1\r\nHost: x\r\n\r\n" + b"PURGE /x HTTP/1.1\r\nHost: x\r\n\r\n" + CLOSE
    ) == [404, 404, 200]


def test_the_only_connection_is_timed_as_well(service: Service) -> None:
    """One slow client with nobody beside it does not stay for ever."""
    with service.connect() as connection:
        connection.sendall(b"GET /health")
        assert [status for status, _ in answers(connection)] == [408]
    with service.connect() as connection:
        assert connection.recv(1) == b""


def test_time_is_for_a_request_and_not_for_a_byte(service: Service) -> None:
    """Who sends a byte now and then runs out of it; who sends requests in odd pieces, one after the other, does not."""
    request = post(batch("DRIP", [1.0]))
    head_bytes = request.index(b"\r\n\r\n") + 4
    half = len(request) // 2
    with ExitStack() as stack:
        ahead, slow_head, slow_body = (stack.enter_context(service.connect()) for _ in range(3))
        ahead.sendall(request[:half])
        slow_body.sendall(request[:head_bytes])
        done: dict[str, int] = {}
        sent = 0
        total = 0
        while len(done) < 2:
            ahead.sendall(request[half:] + request[:half])
            total = answer(ahead)[1]["total"]
            for name, connection, data in (("head", slow_head, request), ("body", slow_body, request[head_bytes:])):
                if name in done:
                    continue
                if sent < 20:
                    connection.sendall(data[sent : sent + 1])
                connection.settimeout(0.02)
                with suppress(TimeoutError):
                    done[name] = int(connection.recv(4096).split()[1])
            sent += 1
        ahead.sendall(request[half:] + CLOSE)
        assert [(status, body.get("total")) for status, body in answers(ahead)] == [(200, total + 1), (200, None)]
    assert done == {"head": 408, "body": 408}


@pytest.mark.parametrize("data", [post(batch("HALF", [1.0])) * 3, get("/metrics"), get("/health") * 30])
def test_who_sends_no_more_may_still_be_listening(service: Service, data: bytes) -> None:
    """Half-closed: every request that arrived whole is answered, waits included, and then the connection ends."""
    with service.connect() as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65_536):
            received += part
    assert received.count(b"HTTP/1.1 200 OK\r\n") == data.count(b"HTTP/1.1")


@pytest.mark.parametrize(
    "endless", [b"1;" + b"x" * 3_000_000, b"0\r\nX: " + b"y" * 3_000_000, b"0\r\n" + b"X: y\r\n" * 500_000]
)
def test_the_frame_of_a_chunked_body_is_bounded(service: Service, endless: bytes) -> None:
    """Extensions and trailers without end are refused while they come; they would be kept in memory."""
    with service.connect() as connection:
        connection.sendall(CHUNKED)
        with suppress(OSError):  # where it is refused before all of it was sent
            connection.sendall(endless)
            assert [status for status, _ in answers(connection)] == [400]
    assert statuses(service, CLOSE) == [200]


def test_tiny_chunks_are_still_a_body(service: Service) -> None:
    """One byte each."""
    body = batch("TINY", [1.0]).replace(b"]", b" " * 20_000 + b"]")
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert statuses(service, CHUNKED + chunks + CLOSE) == [200, 200]


def test_who_waits_for_leave_to_send_is_given_it_or_refused(service: Service) -> None:
    """Expect: 100-continue. A body that was refused before it was sent is not waited for for long."""
    with service.connect() as connection:
        body = batch("EXPECT", [1.0])
        connection.sendall(post(b"", length=len(body), head="Expect: 100-continue\r\n"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert answer(connection)[0] == 200
    for announced, kind, status in ((10, b"text/plain", 415), (10**11, b"application/json", 413)):
        request = post(b"", length=announced, head="Expect: 100-continue\r\n").replace(b"application/json", kind)
        assert statuses(service, request) == [status]


def test_http_1_0_is_not_told_to_go_on(service: Service) -> None:
    """100 Continue is of HTTP/1.1: a client of 1.0 would take it for the answer."""
    request = post(batch("OLD", [1.0]), head="Expect: 100-continue\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert statuses(service, request) == [200]


def test_a_connection_that_is_reset_stores_nothing(service: Service) -> None:
    """Torn off in the middle of a body, many times."""
    request = post(batch("RESET", [1.0]))
    for number in range(50):
        with service.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(request[: len(request) - 1 - number])
    assert "RESET" not in symbols(service)


def test_thousands_of_idle_connections_shut_nobody_out(start_service: StartService) -> None:
    """Up to the share of one address all are kept; beyond it the oldest make room, and files stay bounded."""
    limit = ConnectionLimits().shares()[CONNECTIONS]
    assert limit < IDLE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 500:
        pytest.skip(f"needs {IDLE + 500} open files, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        service = start_service()
        with ExitStack() as stack:
            held = [stack.enter_context(service.connect()) for _ in range(limit - 100)]
            for connection in held[::400]:
                connection.sendall(get("/health"))
                assert answer(connection)[0] == 200
            held += [stack.enter_context(service.connect()) for _ in range(IDLE - len(held))]
            assert service.add("A", [1.0]).status_code == 200
            for connection in held[-100::20]:
                connection.sendall(get("/stats?symbol=A&k=1"))
                assert answer(connection)[0] == 200
            assert held[1].recv(1) == b""
            files = Path(f"/proc/{service.process.pid}/fd")
            assert len(list(files.iterdir())) < limit + 100
        wait_until(lambda: len(list(files.iterdir())) < 100, "the files of the connections that have ended")
        assert json.loads(service.client.get("/health").content) == {"status": "ok"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_sixteen_mebibytes_of_brackets_are_refused(start_service: StartService) -> None:
    """By whoever reads them, where a body may be as long; nobody waits meanwhile."""
    brackets = b"[" * (16 << 20)
    service = start_service(server__max_body_bytes=len(brackets))
    with service.connect() as connection, service.connect() as other:
        connection.sendall(post(brackets))
        other.sendall(get("/health"))
        assert answer(other)[0] == 200
        status, problem = answer(connection)
        assert (status, '"values": [' in problem["detail"]) == (422, True)
    assert symbols(service) == set()


@pytest.mark.parametrize(
    ("behind", "expected"), [(CLOSE, [200, 200]), (b"}" + CLOSE, [200, 400]), (batch("LONGER", [2.0]), [200, 400])]
)
def test_a_body_ends_where_it_was_announced(service: Service, behind: bytes, expected: list[int]) -> None:
    """What a longer one has behind that is read as the next request, is none, and ends the connection."""
    assert statuses(service, post(batch("ANNOUNCED", [1.0])) + behind) == expected
    assert "LONGER" not in symbols(service)
