"""Thousands of conversations with one service, and the model of what it must have stored after them.

A conversation is one connection: some drafts in a row, perhaps a mutant behind them, and a last good request that asks
for the end of the connection. So each comes to an end by itself, at the latest when the service stops waiting. Its
seed is its number, and a number makes the same bytes every time.

Drafts append to the symbols of their lane, whose conversations follow one another: of those the very values are known.
Mutants append where they like, and of what they append only the answers tell.
"""

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from hft_mmap import Store
from tests.hostile.drafts import Draft, draft, odd_symbols, post, request
from tests.hostile.mutations import mutant
from tests.service import Service

LANES = 24
PATIENCE_S = 60.0
MAX_SYMBOLS = LANES * (len(odd_symbols("")) + 1) + 40
"""Room for the symbols of the lanes, one more for the mutants of each, and a few that mutants make up."""
_FIRST = 0.125
_LAST = request("GET", "/health", None, "Connection: close")
_MAX_SHOWN = 400
_NO_WEBSOCKET = b"Failed to open a WebSocket connection"  # the words of the websockets package, in plain text


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one connection sends."""

    number: int
    drafts: tuple[Draft, ...]
    tail: bytes
    mutants: int

    def sent(self) -> bytes:
        """Return all bytes of it."""
        return b"".join(one.request for one in self.drafts) + self.tail


@dataclass(slots=True)
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Tally:
    """What became of the requests so far."""

    requests: int = 0
    mutants: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    points: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return one line."""
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"{self.requests} requests, {self.mutants} of them mutants: {answers}; "
            f"{self.points} points stored, {len(self.faults)} faults"
        )


def conversation(seed: int, number: int) -> Conversation:
    """Return one conversation; of the same seed and number it is always the same."""
    random = Random(f"{seed}/{number}")
    lane = number % LANES
    drafts: list[Draft] = []
    for _ in range(random.randint(1, 8)):
        drafts.append(draft(random, f"W{lane}"))
        if drafts[-1].ends:
            return Conversation(number, tuple(drafts), b"", 0)
    if random.random() < 0.2:
        return Conversation(number, tuple(drafts), _LAST, 0)
    return Conversation(number, tuple(drafts), mutant(random, draft(random, f"M{lane}").request) + _LAST, 1)


def symbols_of_lanes() -> list[str]:
    """Return every symbol that drafts append to."""
    return [symbol for lane in range(LANES) for symbol in odd_symbols(f"W{lane}")]


async def attack(port: int, seed: int, requests: int, tally: Tally) -> None:
    """Have conversations until so many requests were sent; all lanes at once."""
    await _converse(port, _prelude(), tally)

    async def lane(first: int) -> None:
        for number in itertools.count(first, LANES):
            if tally.requests >= requests or tally.faults:
                return
            await _converse(port, conversation(seed, number), tally)

    await asyncio.gather(*(lane(first) for first in range(LANES)))


def _prelude() -> Conversation:
    """Make the series that drafts append to, so that mutants can't take their places."""
    symbols = [*symbols_of_lanes(), *(f"M{lane}" for lane in range(LANES))]
    drafts = [
        Draft(post(json.dumps({"symbol": symbol, "values": [_FIRST]})), frozenset({200}), symbol, (_FIRST,))
        for symbol in symbols
    ]
    return Conversation(-1, tuple(drafts), _LAST, 0)


class _Wire(asyncio.Protocol):
    """Sends everything at once, keeps what comes back, and knows when the connection has ended, however it did."""

    def __init__(self, data: bytes) -> None:
        self.received = bytearray()
        self.ended = asyncio.get_running_loop().create_future()
        self.lost = False
        self._data = data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost = True
        if not self.ended.done():
            self.ended.set_result(None)


async def _converse(port: int, talk: Conversation, tally: Tally) -> None:
    """Have one conversation and judge the answers."""
    data = talk.sent()
    transport, wire = await asyncio.get_running_loop().create_connection(lambda: _Wire(data), "127.0.0.1", port)
    tally.requests += len(talk.drafts) + talk.mutants
    tally.mutants += talk.mutants
    try:
        await asyncio.wait_for(wire.ended, PATIENCE_S)
        _judge(talk, answers_in(bytes(wire.received)), tally)
    except (AssertionError, TimeoutError) as error:
        fault = str(error) or "hangs"
        seen = bytes(wire.received[-_MAX_SHOWN:])
        tally.faults.append(f"conversation {talk.number}: {fault}; it sends {data[-_MAX_SHOWN:]!r} and gets {seen!r}")
    finally:
        if not wire.lost:  # Python 3.11 fails to abort what ended with something left to write
            transport.abort()


def answers_in(data: bytes) -> list[Answer]:
    """Return the answers on a connection that has ended; AssertionError where they are no HTTP."""
    found: list[Answer] = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"half an answer: {head!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ")
        assert version == "HTTP/1.1", f"no status line: {first!r}"
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if status == "100":
            continue
        length = int(headers["content-length"])
        # An answer to HEAD has a length and no body; no body of ours looks like the next answer.
        if not data.startswith(b"HTTP/1.1 ") and data:
            assert len(data) >= length, "half a body"
            body, data = data[:length], data[length:]
        else:
            body = b""
        found.append(Answer(int(status), headers, body))
    return found


def _judge(talk: Conversation, answers: list[Answer], tally: Tally) -> None:
    """Hold the answers against what is known of the requests; count what was stored."""
    for one in answers:
        tally.statuses[one.status] += 1
        _check_form(one)
    for sent, got in zip(talk.drafts, answers, strict=False):
        assert got.status in sent.statuses, f"{got.status} {got.body!r} to {sent.request[:_MAX_SHOWN]!r}"
        if got.status == 200 and sent.values:
            assert json.loads(got.body)["added"] == len(sent.values)
            tally.values.setdefault(sent.symbol, []).extend(sent.values)
            tally.points += len(sent.values)
    assert len(answers) >= len(talk.drafts), f"{len(answers)} answers to {len(talk.drafts)} requests"
    tally.points += sum(_added(one) for one in answers[len(talk.drafts) :])


def _check_form(one: Answer) -> None:
    assert one.status < 500, f"{one.status} {one.body!r}"
    if one.status >= 400 and one.body and not one.body.startswith(_NO_WEBSOCKET):
        assert one.headers["content-type"] == "application/problem+json"
        problem = json.loads(one.body)
        assert (problem["status"], problem["detail"]) == (one.status, problem["error"])


def _added(one: Answer) -> int:
    """Return how many points the answer to a mutant says were stored."""
    if one.status != 200 or not one.body.startswith(b'{"'):
        return 0
    answer: dict[str, Any] = json.loads(one.body)
    if isinstance(answer.get("lines"), list):
        return sum(line.get("added", 0) for line in answer["lines"])
    return int(answer.get("added", 0))


def check_store(service: Service, tally: Tally) -> None:
    """Compare what is stored with the model: the values that drafts sent, and as many points as were answered for."""
    with Store(service.data_dir, mode="r") as store:
        assert sum(info.total for info in store.symbols()) == tally.points, "not what the answers said"
        for symbol in symbols_of_lanes():
            values = tally.values[symbol]
            stored = store.window(symbol, len(values) + 1)
            assert np.array_equal(stored, values), f"{symbol} is not what was sent"
