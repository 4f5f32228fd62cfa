"""One connection: requests in pieces and in rows, and the bounds on what a client may hold."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest
from uvicorn.server import ServerState

from api.connection.connections import ConnectionLimits, Connections
from api.connection.head import MAX_HEAD_BYTES, MAX_HEADERS
from api.connection.protocol import HttpProtocol
from api.operation.settings import Settings
from api.server import uvicorn_config
from perf.suites.protocol import Wire
from tests.api.streams.client import resident_bytes
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service, running_service, wait_until

MIB = 2**20
H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service with one series of three points."""
    with running_service(tmp_path_factory.mktemp("service")) as service:
        service.add("A", [1.0, 2.0, 3.0])
        yield service


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service that waits for nothing longer than a second."""
    hurry = {"server__header_timeout_s": 1, "server__body_timeout_s": 1, "server__keep_alive_s": 1}
    with running_service(tmp_path_factory.mktemp("service"), **hurry) as service:
        yield service


def answer(connection: socket.socket) -> tuple[int, Any]:
    """Read one answer with a content-length; return its status and its JSON."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


def answers(connection: socket.socket) -> list[tuple[int, Any]]:
    """Read answers until the connection ends; return the status and the JSON of each."""
    stream = connection.makefile("rb")
    found = []
    while status_line := stream.readline():
        length = 0
        while (line := stream.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        found.append((int(status_line.split()[1]), json.loads(stream.read(length))))
    return found


def post(body: bytes, *, length: int | None = None, head: str = "") -> bytes:
    """Return a POST /add_batch/ with `body`, announced as `length` bytes."""
    lines = f"Content-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n{head}"
    return f"POST /add_batch/ HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode() + body


def batch(symbol: str, values: list[float]) -> bytes:
    """Return the JSON of a batch."""
    return json.dumps({"symbol": symbol, "values": values}).encode()


def get(path: str, head: str = "") -> bytes:
    """Return a GET of `path`."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode()


def test_a_request_byte_by_byte(shared: Service) -> None:
    """However a request is cut into pieces, it is the same request."""
    with shared.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(batch("PIECES", [5.0])):
            connection.sendall(bytes([byte]))
        assert answer(connection)[1]["total"] == 1


def test_requests_in_a_row_are_answered_in_their_order(shared: Service) -> None:
    """200 requests in one write: each sees what those before it have stored, and none those after it."""
    rounds = 100
    request = b"".join(post(batch("ROW", [float(i)])) + get("/stats?symbol=ROW&window=1") for i in range(rounds))
    with shared.connect() as connection:
        connection.sendall(request + get("/health", "Connection: close\r\n"))
        found = answers(connection)
    assert [body["total"] for _, body in found[:-1:2]] == list(range(1, rounds + 1))
    assert [body["last"] for _, body in found[1:-1:2]] == [float(i) for i in range(rounds)]
    assert found[-1] == (200, {"status": "ok"})


def test_thousands_of_requests_in_one_piece(shared: Service) -> None:
    """They are answered in their order, however many the service reads at once."""
    rounds = 5_000
    with shared.connect() as connection:
        request = get("/health") * rounds + get("/nothing", "Connection: close\r\n")
        sender = threading.Thread(target=connection.sendall, args=(request,))
        sender.start()
        found = answers(connection)
        sender.join(PATIENCE_S)
    assert [status for status, _ in found] == [200] * rounds + [404]


def test_requests_are_not_parsed_long_before_they_are_run() -> None:
    """Ten thousand tiny requests come in one read; as objects they would take twenty times the memory."""

    async def waiting() -> int:
        async def never(_scope: object, _receive: object, _send: object) -> None:
            await asyncio.get_running_loop().create_future()

        state = ServerState()
        protocol = HttpProtocol(
            uvicorn_config(Settings().server, never), state, {}, watch=Connections(ConnectionLimits())
        )
        protocol.connection_made(Wire())
        protocol.data_received(b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * 10_000)
        count = len(protocol.waiting)
        await asyncio.sleep(0)  # the tasks take their first step
        for task in state.tasks:
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        protocol.connection_lost(None)
        return count

    assert 0 < asyncio.run(waiting()) < 300


def test_requests_in_a_row_that_wait_for_the_disk(start_service: StartService) -> None:
    """The next request of a connection starts when the one before it is answered, waits included."""
    service = start_service(store__durability="sync")
    with service.connect() as connection:
        connection.sendall(
            b"".join(post(batch("A", [float(i)])) for i in range(20)) + get("/x", "Connection: close\r\n")
        )
        found = answers(connection)
    assert [body.get("total") for _, body in found] == [*range(1, 21), None]


def test_a_stop_answers_every_request_of_a_row(start_service: StartService) -> None:
    """What has arrived when the service is told to stop is answered; only the last answer closes the connection."""
    service = start_service(store__durability="sync")
    with service.connect() as connection:
        connection.sendall(b"".join(post(batch("A", [float(i)])) for i in range(50)))
        connection.recv(1, socket.MSG_PEEK)  # the first answer is on its way; others may be with it
        assert service.stop() == 0
        assert [body["total"] for _, body in answers(connection)] == list(range(1, 51))


def test_what_is_no_request_is_refused_after_those_before_it(shared: Service) -> None:
    """The answer to good requests is not lost because of what follows them."""
    with shared.connect() as connection:
        connection.sendall(get("/health") + post(batch("BEFORE", [1.0])) + b"no request at all\r\n\r\n")
        found = answers(connection)
    assert [status for status, _ in found] == [200, 200, 400]
    assert (
        found[2][1]["error"]
        == found[2][1]["detail"]
        == ("The bytes that arrived are not an HTTP/1.1 request; the connection ends")
    )


@pytest.mark.parametrize(
    "head",
    ["".join(f"X-{i}: 1\r\n" for i in range(MAX_HEADERS + 1)), f"X-Long: {'x' * MAX_HEAD_BYTES}\r\n"],
    ids=["many", "long"],
)
def test_headers_are_bounded(shared: Service, head: str) -> None:
    """Neither their number nor their size can use up memory."""
    with shared.connect() as connection:
        connection.sendall(get("/health", head))
        status, body = answer(connection)
        assert connection.recv(1) == b""
    assert (status, body["status"]) == (431, 431)


def test_headers_that_never_end_are_refused_before_they_do(shared: Service) -> None:
    """The bound does not wait for the end of the headers."""
    with shared.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX-Endless: " + b"x" * (2 * MAX_HEAD_BYTES))
        assert answer(connection)[0] == 431


def test_a_broken_chunk_is_refused(shared: Service) -> None:
    """Also when the application is reading the body already; nothing of it is stored."""
    head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with shared.connect() as connection:
        connection.sendall(head + b'5\r\n{"sym\r\n')
        connection.sendall(b"zz\r\n")
        found = answers(connection)
    assert [status for status, _ in found] == [400]


def test_trailers_are_not_headers(shared: Service) -> None:
    """What follows a chunked body changes nothing."""
    body = batch("TRAILER", [1.0])
    chunks = b"%x\r\n%b\r\n0\r\nContent-Type: text/plain\r\nX-Request-ID: t\r\n\r\n" % (len(body), body)
    head = (
        b"POST /add_batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with shared.connect() as connection:
        connection.sendall(head + chunks)
        assert answer(connection)[1]["total"] == 1


def test_http_1_0_ends_with_its_answer(shared: Service) -> None:
    """No keep-alive is offered to a client that may not know it."""
    with shared.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert answers(connection) == [(200, {"status": "ok"})]


def test_an_upgrade_that_is_not_offered_is_an_ordinary_request(shared: Service) -> None:
    """A client that would like HTTP/2 gets its answer in HTTP/1.1, and the connection goes on."""
    request = get("/health", f"{H2C}HTTP2-Settings: x\r\n")
    with shared.connect() as connection:
        connection.sendall(request * 3 + get("/health", "Connection: Upgrade, close\r\nUpgrade: h2c\r\n"))
        assert answers(connection) == [(200, {"status": "ok"})] * 4


@pytest.mark.parametrize("cut", [None, 1, 7, 64])
def test_a_body_behind_an_upgrade_that_is_not_offered_is_stored(shared: Service, cut: int | None) -> None:
    """Java's HttpClient and curl --http2 ask for h2c with each batch: with a length or in chunks, however it is cut."""
    symbol = f"H2C{cut}"
    body = batch(symbol, [1.0, 2.0])
    chunked = post(b"", head=H2C).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:])) + b"0\r\n\r\n"
    data = post(body, head=H2C) + chunked + chunks + post(body) + get("/health", "Connection: close\r\n")
    with shared.connect() as connection:
        for begin in range(0, len(data), cut or len(data)):
            connection.sendall(data[begin : begin + (cut or len(data))])
        found = answers(connection)
    assert [(status, answer.get("total")) for status, answer in found] == [(200, 2), (200, 4), (200, 6), (200, None)]


def test_a_large_body_behind_an_upgrade_is_taken_as_it_comes(shared: Service) -> None:
    """One that is longer than what is waited for whole."""
    values = [1.5] * 60_000
    with shared.connect() as connection:
        connection.sendall(post(batch("LARGE", values), head=H2C) + get("/health", "Connection: close\r\n"))
        assert [(status, answer.get("total")) for status, answer in answers(connection)] == [(200, 60_000), (200, None)]


def test_late_requests_are_refused_and_idle_connections_closed(impatient: Service) -> None:
    """Headers, small bodies and large bodies have their time; so has a connection without any request."""
    body = batch("LATE", [1.0])
    begun = {
        "headers": b"GET /health HTTP/1.1\r\nHost:",
        "small body": post(body[:-1], length=len(body)),
        "large body": post(body, length=MIB),
        "chunked body": post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"5\r\nab",
        "second of two": get("/health") + b"GET",
        "nothing": b"",
        "kept alive": get("/health"),
    }
    with ExitStack() as stack:
        connections = {name: stack.enter_context(impatient.connect()) for name in begun}
        for name, part in begun.items():
            connections[name].sendall(part)
        found = {name: answers(connection) for name, connection in connections.items()}
    assert {name: [status for status, _ in those] for name, those in found.items()} == {
        "headers": [408],
        "small body": [408],
        "large body": [408],
        "chunked body": [408],
        "second of two": [200, 408],
        "nothing": [],
        "kept alive": [200],
    }
    assert "server.header_timeout_s" in found["headers"][0][1]["error"]
    assert {"server.body_timeout_s" in found[name][0][1]["error"] for name in found if "body" in name} == {True}
    assert impatient.client.get("/symbols").json() == {"symbols": []}


def test_an_answer_that_is_not_taken_ends_the_connection(impatient: Service) -> None:
    """A client that asks and does not read holds its connection for server.body_timeout_s, not for ever."""
    request = get("/openapi.json") * 400  # tens of megabytes of answers: more than the kernel takes in
    with impatient.connect() as connection:
        sender = threading.Thread(target=_send_until_reset, args=(connection, request), daemon=True)
        sender.start()
        sender.join(PATIENCE_S)
        assert not sender.is_alive()
    # Over a connection of its own: this service closes idle ones within moments.
    assert httpx.get(f"{impatient.url}/health", timeout=PATIENCE_S).status_code == 200


def _send_until_reset(connection: socket.socket, request: bytes) -> None:
    try:
        while True:
            connection.sendall(request)
    except OSError:
        pass


@pytest.mark.parametrize(
    ("begin", "status"),
    [(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (MAX_HEAD_BYTES + 1), 431), (b"NO REQUEST\r\n\r\n", 400)],
)
def test_a_client_that_is_still_sending_sees_why_it_is_refused(shared: Service, begin: bytes, status: int) -> None:
    """It reads only when it has sent everything; a reset would have taken the answer away."""
    with shared.connect() as connection:
        connection.sendall(begin)
        for _ in range(8):
            connection.sendall(b"x" * MIB)
            assert shared.client.get("/health").status_code == 200  # it has had time to close
        assert answer(connection)[0] == status
        assert connection.recv(1) == b""


def test_a_body_that_goes_on_after_its_refusal_is_read_for_a_moment(shared: Service) -> None:
    """A body that is far too large is refused at its head; the client sends on, and then sees the 413."""
    with shared.connect() as connection:
        connection.sendall(post(b"", length=10**9))
        for _ in range(8):
            connection.sendall(b"x" * MIB)
            assert shared.client.get("/health").status_code == 200
        assert answer(connection)[0] == 413
        assert connection.recv(1) == b""


def test_a_client_that_never_stops_sending_is_cut_off(shared: Service) -> None:
    """What is read of it and thrown away has an end."""
    with shared.connect() as connection:
        connection.sendall(b"NO REQUEST\r\n\r\n")
        _send_until_reset(connection, b"x" * MIB)


def test_a_connection_too_many_takes_the_place_of_the_longest_idle(start_service: StartService) -> None:
    """Whoever opens most connections can't shut others out with idle ones."""
    service = start_service(server__max_connections=3)
    with ExitStack() as stack:
        held = []
        for _ in range(3):
            held.append(stack.enter_context(service.connect()))
            held[-1].sendall(get("/health"))
            assert answer(held[-1])[0] == 200
        held[0].sendall(get("/health"))  # the second has been idle for longest now
        assert answer(held[0])[0] == 200
        newcomer = stack.enter_context(service.connect())
        newcomer.sendall(get("/health"))
        assert answer(newcomer)[0] == 200
        assert held[1].recv(1) == b""
        for connection in (held[0], held[2]):
            connection.sendall(get("/health"))
            assert answer(connection)[0] == 200


def test_with_every_connection_busy_a_newcomer_is_told_so(start_service: StartService) -> None:
    """503 as a problem document, and room again as soon as one of them ends."""
    service = start_service(server__max_connections=2)
    body = batch("A", [1.0])
    with ExitStack() as stack:
        busy = [stack.enter_context(service.connect()) for _ in range(2)]
        for connection in busy:
            # Once it is told to go on, its request is at work: until then a newcomer may take its place.
            connection.sendall(post(b"", length=len(body), head="Expect: 100-continue\r\n"))
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body[:-1])

        def refused() -> Any:
            with service.connect() as newcomer:
                newcomer.sendall(get("/health"))
                status, problem = answer(newcomer)
                return status == 503 and problem

        wait_until(refused, "a refusal")
        assert "server.max_connections" in refused()["error"]
        for connection in busy:
            connection.sendall(body[-1:])
            assert answer(connection)[0] == 200
    wait_until(lambda: not refused(), "room for a newcomer")


def test_memory_for_bodies_is_bounded_for_all_requests_together(start_service: StartService) -> None:
    """A body that would exceed it gets 503; what is being read already is not harmed, and its memory comes back."""
    service = start_service(server__max_body_memory_bytes=MIB)
    body = b'{"symbol":"A","values":[' + b"1," * 300_000 + b"1]}"
    assert MIB / 2 < len(body) < MIB
    with service.connect() as first, service.connect() as second:
        first.sendall(post(body[:-1], length=len(body)))
        wait_until(lambda: _refuses(service, body), "the first body to be held")
        second.sendall(post(body))
        status, problem = answer(second)
        assert (status, "server.max_body_memory_bytes" in problem["error"]) == (503, True)
        assert service.add("SMALL", [1.0]).status_code == 200
        first.sendall(body[-1:])
        assert answer(first) == (400, answer_too_many())
    for _ in range(3):
        assert not _refuses(service, body)


def _refuses(service: Service, body: bytes) -> bool:
    return (
        service.client.post("/add_batch", content=body, headers={"Content-Type": "application/json"}).status_code == 503
    )


def answer_too_many() -> object:
    """Return something that equals any problem about the number of values."""

    class Problem:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, dict) and "server.max_batch_values" in other["error"]

        __hash__ = None  # type: ignore[assignment]

    return Problem()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(batch("PINNED", [1.0]).ljust(180_000)), 200),
        (post(batch("PINNED", [1.0]).ljust(180_000)).replace(b"Host: ", b"Host: not-"), 421),
        (post(bytes(180_000)).replace(b"/add_batch", b"/health"), 405),
        (get("/health", f"X: {'x' * 60_000}\r\n"), 200),
    ],
    ids=["taken", "other name", "other method", "head"],
)
def test_an_idle_connection_keeps_nothing_of_what_it_sent(
    start_service: StartService, request_: bytes, status: int
) -> None:
    """One that was answered, or refused, costs a few kilobytes, not the 180 kB of its last request."""
    service = start_service()
    connections = 200
    with ExitStack() as stack:

        def answered() -> None:
            connection = stack.enter_context(service.connect())
            connection.sendall(request_)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 %d " % status)

        for _ in range(20):
            answered()
        before = resident_bytes(service)
        for _ in range(connections):
            answered()
        assert resident_bytes(service) - before < connections * 40_000
