"""perf.load: what the generator counts, against a server that this test controls to the byte."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from perf.load import LoadError, Stream, run
from perf.requests import get, post

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def read_request(connection: socket.socket, length: int) -> bytes:
    """Return exactly one request, or nothing at the end."""
    found = b""
    while len(found) < length and (part := connection.recv(length - len(found))):
        found += part
    return found


@contextmanager
def server(answer: Callable[[socket.socket, int], None], length: int) -> Iterator[int]:
    """Serve requests of `length` bytes: `answer` gets the connection and the number of the request on it."""

    def converse(connection: socket.socket) -> None:
        with connection:
            number = 0
            while read_request(connection, length):
                answer(connection, number)
                number += 1

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


REQUEST = get("/")


def test_a_closed_loop_counts_every_answer() -> None:
    """As many latencies as the server gave answers, and the rate is theirs."""
    lock = threading.Lock()
    answered = 0

    def answer(connection: socket.socket, _number: int) -> None:
        nonlocal answered
        with lock:
            answered += 1
        connection.sendall(ANSWER)

    with server(answer, len(REQUEST)) as port:
        outcome = run(port, [Stream("all", [REQUEST], connections=3)], 0.05)["all"]
    assert outcome.answered == len(outcome.latencies) == answered > 0
    assert outcome.rate == outcome.answered / outcome.seconds


def test_an_open_loop_sends_as_many_requests_as_were_due() -> None:
    """500 a second for a tenth of a second are fifty, however late the answers come."""
    with server(lambda connection, _: connection.sendall(ANSWER), len(REQUEST)) as port:
        outcome = run(port, [Stream("all", [REQUEST], connections=2, rate=500.0)], 0.099)["all"]
    assert outcome.answered == 50


def test_a_stall_counts_for_every_request_that_was_due_meanwhile() -> None:
    """No coordinated omission: the server stops once, and not one request waited but all that were due."""
    seconds, rate = 0.199, 500.0
    stalled = threading.Event()

    def answer(connection: socket.socket, number: int) -> None:
        if number == 0:
            stalled.wait(seconds)  # nobody sets it: the one connection is busy for that long
        connection.sendall(ANSWER)

    with server(answer, len(REQUEST)) as port:
        outcome = run(port, [Stream("all", [REQUEST], connections=1, rate=rate)], seconds)["all"]
    assert outcome.answered == 100
    # Request i was due i/rate after the first, and could not be answered before the stall was over.
    for i, latency in enumerate(outcome.latencies):
        assert latency >= seconds - i / rate - 1e-3


def test_answers_in_pieces_are_put_together() -> None:
    """The kernel may split an answer wherever it likes."""

    def answer(connection: socket.socket, _number: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(ANSWER), 7):
            connection.sendall(ANSWER[i : i + 7])

    with server(answer, len(REQUEST)) as port:
        assert run(port, [Stream("all", [REQUEST], connections=2)], 0.02)["all"].answered > 0


def test_requests_larger_than_a_socket_buffer_arrive_whole() -> None:
    """A write takes what there is room for; the rest follows when there is more."""
    request = post("/add_batch/", b"x" * 20_000_000)
    with server(lambda connection, _: connection.sendall(ANSWER), len(request)) as port:
        assert run(port, [Stream("all", [request], connections=1)], 0.01)["all"].answered > 0


def test_streams_are_counted_apart_and_their_requests_taken_in_turn() -> None:
    """A mixed load says what each kind of request met."""
    with server(lambda connection, _: connection.sendall(ANSWER), len(get("/a"))) as port:
        streams = [Stream("reads", [get("/a"), get("/b")], 1, 200.0), Stream("writes", [get("/c")], 1, 100.0)]
        found = run(port, streams, 0.099)
    assert (found["reads"].answered, found["writes"].answered) == (20, 10)


def test_an_answer_that_is_no_200_stops_the_load() -> None:
    """A benchmark of refusals would look splendid."""
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"
    with (
        server(lambda connection, _: connection.sendall(refusal), len(REQUEST)) as port,
        pytest.raises(LoadError, match="400 Bad Request"),
    ):
        run(port, [Stream("all", [REQUEST], connections=1)], 0.05)


def test_a_connection_that_closes_stops_the_load() -> None:
    """The same for a server that hangs up."""
    with (
        server(lambda connection, _: connection.shutdown(socket.SHUT_RDWR), len(REQUEST)) as port,
        pytest.raises(LoadError, match="closed a connection"),
    ):
        run(port, [Stream("all", [REQUEST], connections=1)], 0.05)


def test_percentiles_are_latencies_that_happened() -> None:
    """The worst is the worst, not an extrapolation."""
    with server(lambda connection, _: connection.sendall(ANSWER), len(REQUEST)) as port:
        outcome = run(port, [Stream("all", [REQUEST], connections=1, rate=500.0)], 0.05)["all"]
    assert outcome.percentile(100) == max(outcome.latencies)
    assert outcome.percentile(99.9) in outcome.latencies
