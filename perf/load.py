"""The load generator: prebuilt requests over keep-alive connections, closed loop or open loop, in one thread.

Closed loop: each connection sends its next request when it has its answer; that finds the most a server can do. Open
loop: requests are due at set times whatever the server does, and a latency counts from the time at which a request was
due, not from when a connection was free to send it. A generator that waits with the server instead (coordinated
omission) sends nothing during a stall and so hides it.

The thread spins while it has an open loop to serve, so that it is never late by a wake-up: give it a core of its own.

    python -m perf.load 8080 "/stats/?symbol=ABC-USD&exponent=5"                closed loop, 32 connections, 5 s
    python -m perf.load 8080 /add_batch/ --values 10 --rate 2000                open loop: 2,000 batches a second
"""

import argparse
import os
import select
import socket
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import orjson
from numpy.typing import NDArray

from perf.memory import no_collection
from perf.prices import random_walk
from perf.record import durations, quantities
from perf.requests import add_batch, get

_READ_BYTES = 65_536
_OK = b"HTTP/1.1 200"
_NO_CONTENT = b"HTTP/1.1 204"
_LENGTH = b"content-length: "
_PATIENCE_S = 30.0


class LoadError(Exception):
    """The server did not answer as it should; a benchmark of refusals would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one kind, sent in turn over `connections`: at `rate` a second (open loop), or as fast as they can."""

    name: str
    requests: Sequence[bytes]
    connections: int
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a stream: requests answered, the seconds that took, and each one's latency in seconds."""

    name: str
    answered: int
    seconds: float
    latencies: NDArray[np.float64]

    @property
    def rate(self) -> float:
        """Return the requests answered a second."""
        return self.answered / self.seconds

    def percentile(self, p: float) -> float:
        """Return the latency that `p` percent of the requests did not exceed (100: the worst)."""
        return float(np.percentile(self.latencies, p, method="higher"))


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """Return several rounds of one stream as one: a percentile of all samples, not one of percentiles."""
    first = outcomes[0]
    answered, seconds = (sum(getattr(one, what) for one in outcomes) for what in ("answered", "seconds"))
    return Outcome(first.name, int(answered), seconds, np.concatenate([one.latencies for one in outcomes]))


@dataclass(slots=True, eq=False)
class _Flow:
    """A stream while it runs."""

    stream: Stream
    due: float
    first_due: float = 0.0
    idle: list["_Connection"] = field(default_factory=list)
    sent: int = 0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))

    def next_request(self) -> bytes:
        """Return the request whose turn it is."""
        requests = self.stream.requests
        request = requests[self.sent % len(requests)]
        self.sent += 1
        return request


class _Connection:
    """One keep-alive connection with at most one request in flight."""

    __slots__ = ("began", "fd", "flow", "received", "socket", "unsent")

    def __init__(self, port: int, flow: _Flow) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()
        self.flow = flow
        self.began = 0.0
        self.received = b""
        self.unsent: memoryview | None = None


class _Load:
    """One run of some streams against one server."""

    def __init__(self, port: int, streams: Sequence[Stream]) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._flows = [_Flow(stream, 0.0) for stream in streams]
        for flow in self._flows:
            for _ in range(flow.stream.connections):
                connection = _Connection(port, flow)
                self._connections[connection.fd] = connection
                self._epoll.register(connection.fd, select.EPOLLIN)
                flow.idle.append(connection)

    def close(self) -> None:
        self._epoll.close()
        for connection in self._connections.values():
            connection.socket.close()

    def run(self, seconds: float) -> list[Outcome]:
        begin = perf_counter()
        end = begin + seconds
        opens = [flow for flow in self._flows if flow.stream.rate is not None]
        for i, flow in enumerate(opens):
            flow.due = flow.first_due = begin + i / (len(opens) * float(flow.stream.rate or 1))  # not all at once
        for flow in self._flows:
            if flow.stream.rate is None:
                for connection in flow.idle:
                    self._send(connection, begin)
                flow.idle.clear()
        now = begin
        while now < end:
            for flow in opens:
                self._send_due(flow, now)
            self._take(0.0 if opens else 1.0, last=False)
            now = perf_counter()
        self._finish(opens, end)
        return [
            Outcome(flow.stream.name, len(flow.latencies), now - begin, np.array(flow.latencies))
            for flow in self._flows
        ]

    def _send_due(self, flow: _Flow, now: float) -> None:
        """Send what is due; what finds no free connection stays due, and its latency grows."""
        rate = float(flow.stream.rate or 1)
        while flow.due < now and flow.idle:
            self._send(flow.idle.pop(), flow.due)
            flow.due = flow.first_due + flow.sent / rate  # not by adding: the rounding would add up

    def _send(self, connection: _Connection, due: float) -> None:
        connection.began = due
        request = connection.flow.next_request()
        written = os.write(connection.fd, request)
        if written < len(request):
            connection.unsent = memoryview(request)[written:]
            self._epoll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)

    def _send_rest(self, connection: _Connection) -> None:
        assert connection.unsent is not None
        try:
            connection.unsent = connection.unsent[os.write(connection.fd, connection.unsent) :]
        except BlockingIOError:
            return
        if not connection.unsent:
            connection.unsent = None
            self._epoll.modify(connection.fd, select.EPOLLIN)

    def _take(self, patience_s: float, *, last: bool) -> None:
        """Take the answers that are there, and send what follows them."""
        for fd, event in self._epoll.poll(patience_s):
            connection = self._connections[fd]
            if event & select.EPOLLOUT:
                self._send_rest(connection)
            if not event & ~select.EPOLLOUT:
                continue
            answer = os.read(fd, _READ_BYTES)
            # PERF: nearly every answer comes whole; all answers of status 200 are JSON objects.
            if connection.received or not answer.startswith(_OK) or not answer.endswith(b"}"):
                if not answer:
                    raise LoadError(f"the server closed a connection after {connection.received!r}")
                connection.received += answer
                if not _is_whole(connection.received):
                    continue
                connection.received = b""
            now = perf_counter()
            flow = connection.flow
            flow.latencies.append(now - connection.began)
            if last or flow.stream.rate is not None:
                flow.idle.append(connection)
            else:
                self._send(connection, now)

    def _finish(self, opens: Sequence[_Flow], end: float) -> None:
        """Send what was due before `end`, and wait for all answers; each counts, and the late ones most of all."""
        deadline = end + _PATIENCE_S
        while sum(len(flow.idle) for flow in self._flows) < len(self._connections) or any(
            flow.due < end for flow in opens
        ):
            if perf_counter() > deadline:
                raise LoadError(f"requests were left unanswered for {_PATIENCE_S} s")
            for flow in opens:
                self._send_due(flow, end)
            self._take(0.001, last=True)


def _is_whole(answer: bytes) -> bool:
    """Say whether an answer is complete; LoadError if it is neither a 200 nor a 204, which has no body."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    if answer.startswith(_NO_CONTENT):
        return True
    begin = head.lower().index(_LENGTH) + len(_LENGTH)
    if len(body) < int(head[begin:].partition(b"\r")[0]):
        return False
    if not answer.startswith(_OK):
        raise LoadError(answer.decode(errors="replace"))
    return True


def run(port: int, streams: Sequence[Stream], seconds: float) -> dict[str, Outcome]:
    """Put the load of all `streams` on 127.0.0.1:`port` for so long; return what came of each. LoadError.

    Whatever was due within that time is sent, and waited for, however late it is.
    """
    load = _Load(port, streams)
    try:
        with no_collection():
            return {outcome.name: outcome for outcome in load.run(seconds)}
    finally:
        load.close()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m perf.load", description="Put a load on an HTTP service on 127.0.0.1, and say how it answered."
    )
    parser.add_argument("port", type=int)
    parser.add_argument("path", help="path and query; GET, unless --values or --body makes it a POST")
    parser.add_argument("--values", type=int, metavar="N", help="post batches of N prices as JSON")
    parser.add_argument("--symbol", default="ABC-USD", help="their symbol (default: %(default)s)")
    parser.add_argument("--body", type=Path, metavar="FILE", help="post this JSON again and again")
    parser.add_argument("--connections", type=int, default=32, help="kept open (default: %(default)s)")
    parser.add_argument("--rate", type=float, metavar="R", help="open loop: R requests a second (default: closed loop)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long (default: %(default)g)")
    args = parser.parse_args(arguments)
    if args.connections < 1 or args.seconds <= 0 or (args.rate is not None and args.rate <= 0):
        parser.error("connections, seconds and rate must be more than 0")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Load what the command line names, print rate and percentiles; exit code 1 where it is not answered."""
    args = _options(arguments)
    if args.body:
        requests = add_batch([args.body.read_bytes()], args.path)
    elif args.values:
        batches = [random_walk(args.values, seed).tolist() for seed in range(4)]
        requests = add_batch([orjson.dumps({"symbol": args.symbol, "values": one}) for one in batches], args.path)
    else:
        requests = [get(args.path)]
    try:
        found = run(args.port, [Stream("all", requests, args.connections, args.rate)], args.seconds)["all"]
    except (LoadError, OSError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    print(f"{found.answered} answers in {found.seconds:.2f} s: {quantities(found.rate)}requests/s")
    print(*(f"p{p:g} {durations(found.percentile(p))}" for p in (50, 95, 99, 99.9)), sep=", ", end=", ")
    print(f"worst {durations(found.percentile(100))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
