"""One request after the other over one connection to a service in another process: the time of a round trip."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, repeat
from time import perf_counter

from perf import servers
from perf.case import Case, Prepare, TimeFunction, Work, name
from perf.lab import SYMBOL, Lab
from perf.requests import add_batch, get
from perf.suites.decode import body

_ANSWER_BYTES = 65_536


@contextmanager
def _round_trips(server: servers.Server, requests: Sequence[bytes]) -> Iterator[TimeFunction]:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        turns = cycle(requests)

        def run(loops: int) -> float:
            begin = perf_counter()
            for _ in repeat(None, loops):
                connection.sendall(next(turns))
                answer = connection.recv(_ANSWER_BYTES)
                while not answer.endswith(b"}"):
                    answer += connection.recv(_ANSWER_BYTES)
                assert answer.startswith(b"HTTP/1.1 200"), answer
            return perf_counter() - begin

        yield run


def _asking(requests: Sequence[bytes], stored: int = 10**6) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with (
            lab.borrowed(stored) as data,
            servers.service(data.parent, data) as server,
            _round_trips(server, requests) as run,
        ):
            yield run

    return prepare


def _bare(requests: Sequence[bytes]) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with (
            lab.scratch() as scratch,
            servers.running(servers.BARE, scratch) as server,
            _round_trips(server, requests) as run,
        ):
            yield run

    return prepare


def cases() -> list[Case]:
    """Return the cases of this suite."""
    request = Work(1, "requests")
    found = [
        Case(name("http_socket", "bare", method="GET"), _bare([get("/")]), request),
        Case(name("http_socket", "bare", method="POST"), _bare([add_batch([body(10)], "/")[0]]), request),
    ]
    found += [
        Case(name("http_socket", "stats", exponent=k), _asking([get(f"/stats/?symbol={SYMBOL}&exponent={k}")]), request)
        for k in (1, 5, 8)
    ]
    found += [
        Case(
            name("http_socket", "add_batch", values=n),
            _asking(add_batch([body(n, seed) for seed in range(4)])),
            Work(n, "values"),
            metadata={"durability": "interval"},
        )
        for n in (10, 10_000)
    ]
    return found
