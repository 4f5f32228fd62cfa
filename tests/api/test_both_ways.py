"""The short way answers, byte for byte, what the long way answers: tables, examples, and generated requests.

A few thousand in `make test`, a hundred thousand in `make torture`. Replay what it prints:
make torture SEED=7 ARGS="-k both_ways".
"""

import asyncio
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from tests.api.both_ways import LAST, both_ways, converse, metric, plain, talk
from tests.api.test_openapi import DOCUMENT, resolved
from tests.api.test_openapi_examples import EVENTS, GETS, REFUSED, content
from tests.hostile.drafts import draft, post, request
from tests.hostile.mutations import mutant
from tests.service import Service

Pair = tuple[Service, Service]

SHARE, ALL = 3_000, 100_000
_LANES = 16
_POOL = 24  # requests that a lane sends again and again
_LARGEST = 20_000
_OF_ALL = (b"/metrics", b"/symbols", b"/events", b"/stream")  # tell of other lanes, or of the process
BATCH = '{"symbol":"ABC-USD","values":[150.1,150.5,151.0]}'
RAW = struct.pack("<3d", 1.5, 2.5, 3.5)
OCTETS = "application/octet-stream"
TABLE = {
    "health": request("GET", "/health"),
    "health/": request("GET", "/health/"),
    "head": request("HEAD", "/health"),
    "ready": request("GET", "/ready"),
    "ready/": request("GET", "/ready/", None, "Accept: */*", "User-Agent: curl/8"),
    "stats": request("GET", "/stats?symbol=ABC-USD&exponent=1"),
    "stats/": request("GET", "/stats/?symbol=ABC-USD&k=8"),
    "a window": request("GET", "/stats?window=3&symbol=ABC%2DUSD"),
    "all windows": request("GET", "/stats?symbol=ABC-USD"),
    "named": request("GET", "/stats?symbol=ABC-USD&stats=avg"),
    "head of stats": request("HEAD", "/stats?symbol=ABC-USD"),
    "not found": request("GET", "/stats?symbol=NO"),
    "bad query": request("GET", "/stats?symbol=ABC-USD&exponent=9"),
    "bars": request("GET", "/series?symbol=RAW&window=50&size=2"),
    "many buckets": request("GET", "/series?symbol=RAW&window=1000"),
    "buckets of a range": request("GET", "/series?symbol=RAW&from=0&to=5"),
    "buckets": request("GET", "/series?symbol=ABC-USD&window=3"),
    "a batch": post(BATCH),
    "a batch/": post(BATCH, target="/add_batch/"),
    "with a charset": post(BATCH, kind="application/json; charset=utf-8"),
    "another length": post(BATCH.replace(",", " , ")),
    "not plain": post('{"values":[1,2],"symbol":"ABC-USD","offset":0}'),
    "an offset": post('{"symbol":"OFFSET","values":[7],"offset":0}'),
    "x-offset": post(BATCH, "X-Offset: 0"),
    "raw": post(RAW, kind=OCTETS, target="/add_batch?symbol=RAW"),
    "raw at an offset": post(RAW, kind=OCTETS, target="/add_batch?symbol=RAW&offset=0"),
    "raw at an x-offset": post(RAW, "X-Offset: 0", kind=OCTETS, target="/add_batch?symbol=RAW"),
    "raw, refused": post(struct.pack("<d", -1), kind=OCTETS, target="/add_batch?symbol=RAW"),
    "half a number": post(b"1234567", kind=OCTETS, target="/add_batch?symbol=RAW"),
    "none": post(b"", kind=OCTETS, target="/add_batch?symbol=RAW"),
    "a price that is none": post('{"symbol":"ABC-USD","values":[-1.000000000000000]}'),
    "no number": post('{"symbol":"ABC-USD","values":["a"]}'),
    "no json": post("{"),
    "no symbol": post('{"symbol":"","values":[1]}'),
    "no type": request("POST", "/add_batch", BATCH.encode()),
    "an identity": request("GET", "/health", None, "X-Request-ID: mine"),
    "keep-alive": request("GET", "/health", None, "Connection: keep-alive"),
    "keep-alive, by name": request("GET", "/health", None, "connection:  Keep-Alive"),
    "close": request("GET", "/health", None, "Connection: close"),
    "http/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "http/1.0, kept": b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "continue": post(BATCH, "Expect: 100-continue"),
    "a get with a body": request("GET", "/health", b"abc"),
    "a strange name": b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "another site": request("GET", "/stats?symbol=ABC-USD", None, "Sec-Fetch-Site: cross-site"),
    "a proxy's form": request("GET", "http://test/health"),
    "two lengths": b"POST /add_batch HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "chunks": request("POST", "/add_batch", None, "Content-Type: application/json", "Transfer-Encoding: chunked")
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BATCH), BATCH.encode()),
    "lines": post(BATCH + "\n", kind="application/x-ndjson"),
    "no route": request("GET", "/nothing"),
    "no method": request("DELETE", "/stats"),
    "an empty line first": b"\r\n\r\n" + request("GET", "/health"),
    "no request": b"\x00\r\n\r\n",
    "bare line ends": b"GET /health HTTP/1.1\nHost: test\n\n",
}
SHORT = [
    "health", "health/", "ready", "ready/", "stats", "stats/", "a window", "all windows", "buckets", "bars", "a batch",
    "a batch/",
    "with a charset", "another length", "an offset", "x-offset", "raw", "raw at an offset", "raw at an x-offset",
    "keep-alive", "keep-alive, by name",
]  # fmt: skip
"""Those that the short way takes."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Yield two services that were sent the same."""
    with both_ways(tmp_path_factory.mktemp("both"), store__max_symbols=10_000) as pair:
        for service in pair:
            assert service.add("ABC-USD", [150.1, 150.5, 151.0]).status_code == 200
            assert service.add("RAW", [1.5, 2.5, 3.5]).status_code == 200
        yield pair


def assert_alike(pair: Pair, *pieces: bytes) -> bytes:
    """Send the same to both; return what both answered, as plain text."""
    short, long = (plain(talk(service, *pieces)) for service in pair)
    assert short == long
    return short


@pytest.mark.parametrize("name", TABLE)
def test_every_request_of_the_table_is_answered_alike(pair: Pair, name: str) -> None:
    """Again and again, alone, in a row, in pieces, and behind another."""
    one = TABLE[name]
    before = metric(pair[0], "hft_mmap_prepared_answers_total")
    for _ in range(4):
        assert_alike(pair, one + LAST)
    assert_alike(pair, one * 5 + LAST)
    assert_alike(pair, TABLE["stats"] + one + TABLE["stats"] + one + LAST)
    taken = metric(pair[0], "hft_mmap_prepared_answers_total") - before
    assert taken >= 7 if name in SHORT else taken <= 1  # of these, /stats before them
    assert metric(pair[1], "hft_mmap_prepared_answers_total") == 0


@pytest.mark.parametrize("name", SHORT)
def test_what_is_remembered_is_answered_the_short_way(pair: Pair, name: str) -> None:
    """From the third time on; the first two are understood."""
    one = TABLE[name]
    for _ in range(2):
        talk(pair[0], one, LAST)
    before = metric(pair[0], "hft_mmap_prepared_answers_total")
    talk(pair[0], *[one] * 10, LAST)
    assert metric(pair[0], "hft_mmap_prepared_answers_total") == before + 10
    for _ in range(12):
        talk(pair[1], one + LAST)  # so that both hold the same


@pytest.mark.parametrize("name", ["a batch", "raw", "raw at an offset", "a price that is none", "x-offset", "no json"])
def test_a_body_may_come_behind_its_head(pair: Pair, name: str) -> None:
    """Whole, or in pieces, right or wrong, with other requests around it: each answer is the same."""
    one, health = TABLE[name], TABLE["health"]
    end = one.index(b"\r\n\r\n") + 4
    head, body = one[:end], one[end:]
    assert_alike(pair, one, one, one, health + head, body + LAST)
    assert_alike(pair, one, one, one + head, body + one + head, body + one + LAST)
    assert_alike(pair, one, health + head, body[:1] + b"x" * (len(body) - 1) + TABLE["stats"] + LAST)


AT: dict[str, Callable[[object], bytes]] = {
    "in the query": lambda at: post(RAW, kind=OCTETS, target=f"/add_batch?symbol=RAW&offset={at}"),
    "first in the query": lambda at: post(RAW, kind=OCTETS, target=f"/add_batch?offset={at}&symbol=RAW"),
    "behind a percent sign": lambda at: post(RAW, kind=OCTETS, target=f"/add_batch?symbol=R%41W&offset={at}"),
    "in a header": lambda at: post(RAW, f"X-Offset: {at}", kind=OCTETS, target="/add_batch?symbol=RAW"),
    "beside JSON": lambda at: post('{"symbol":"RAW","values":[1.5,2.5,3.5]}', f"x-offset:{at}"),
}
NOT_AT: dict[str, Callable[[object], bytes]] = {
    "twice": lambda at: post(RAW, f"X-Offset: {at}", kind=OCTETS, target=f"/add_batch?symbol=RAW&offset={at}"),
    "encoded": lambda at: post(RAW, f"A-offset: {at}", kind=OCTETS, target="/add_batch?symbol=RAW&o%66fset=0"),
    "in a symbol": lambda at: post(RAW, "X-OFFSET: 0", kind=OCTETS, target=f"/add_batch?symbol=S?offset={at}"),
    "in a word like it": lambda at: post(RAW, kind=OCTETS, target=f"/add_batch?symbol=xffset={at}&offset=0"),
    "of nothing": lambda at: post(RAW, f"My-Offset: {at}", kind=OCTETS, target="/add_batch?symbol=RAW"),
    "of a question": lambda at: request("GET", f"/stats?symbol=RAW&offset={at}"),
    "a word behind it": lambda at: post(RAW, f"X-Offset: {at} 0", kind=OCTETS, target="/add_batch?symbol=RAW"),
    "in the body, too": lambda at: post('{"symbol":"RAW","values":[1.5],"offset":0}', f"X-Offset: {at}"),
}
OFFSETS = ["0", "00", "3", "1", "000000000000000000003", "9223372036854775807", "9223372036854775808", "-1", "", "3_0"]


@pytest.mark.parametrize("where", AT | NOT_AT)
def test_an_offset_that_differs_each_time_is_read_alike(pair: Pair, where: str) -> None:
    """Every offset behind every other, that belongs or not, that is one or none; and only what is one is left out."""
    made = (AT | NOT_AT)[where]
    before = metric(pair[0], "hft_mmap_prepared_answers_total")
    for one in OFFSETS:
        assert_alike(pair, *[made(one)] * 3, *map(made, OFFSETS), LAST)
    for at in range(0, 30, 3):
        assert_alike(pair, made(at) + LAST)
    taken = metric(pair[0], "hft_mmap_prepared_answers_total") - before
    assert taken >= 20 if where in AT else where != "twice" or taken == 0


@pytest.mark.parametrize("cut", [1, 30, -1, -20, -60])
def test_a_remembered_request_may_come_in_pieces(pair: Pair, cut: int) -> None:
    """Its head, or its body, with a whole one before and behind it."""
    for one in (TABLE["stats"], TABLE["a batch"]):
        assert_alike(pair, one, one, one, one + one[:cut], one[cut:] + one + LAST)


def test_empty_lines_between_requests_are_part_of_no_head(pair: Pair) -> None:
    """However many come in all, and whichever way the requests between them go."""
    assert_alike(pair, TABLE["health"] + LAST)
    answers = assert_alike(pair, *[TABLE["health"] + b"\r\n" * 2000] * 20, LAST)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 21


def test_answers_keep_their_order(pair: Pair) -> None:
    """Three hundred in one write, more than are answered in a row; each batch is seen by the question behind it."""
    both = TABLE["a batch"] + TABLE["stats"] + TABLE["health"]
    for _ in range(3):
        answers = assert_alike(pair, both * 100 + LAST)
        assert answers.count(b"HTTP/1.1 200 OK\r\n") == 301


def _examples() -> Iterator[tuple[str, bytes]]:
    """Yield the request of each GET with the examples of its parameters, and those that are refused."""
    client = httpx.Client(base_url="http://test")

    def sent(method: str, path: str, **more: Any) -> bytes:
        made = client.build_request(method, path, **more)
        head = [f"{made.method} {made.url.raw_path.decode()} HTTP/1.1"]
        head += [f"{name.decode()}: {value.decode()}" for name, value in made.headers.raw]
        return "\r\n".join([*head, "", ""]).encode() + made.read()

    for path in GETS:
        if path == "/metrics" or EVENTS in content(path, "get", 200):
            continue
        item = DOCUMENT["paths"][path]
        named = [resolved(one) for one in item.get("parameters", []) + item["get"].get("parameters", [])]
        params = {one["name"]: one["example"] for one in named if "example" in one and one["in"] == "query"}
        places = {one["name"]: one["example"] for one in named if "example" in one and one["in"] == "path"}
        yield f"get {path}", sent("GET", path.format(**places), params=params)
    for (path, method, status), more in REFUSED.items():
        if status not in {413, 426} and method != "delete":
            given = dict(more)
            yield f"{method} {path} {status}", sent(method.upper(), given.pop("path", path), **given)


@pytest.mark.parametrize(("name", "one"), list(_examples()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_example_of_the_document_is_answered_alike(pair: Pair, name: str, one: bytes) -> None:
    """Of questions, and of what is refused."""
    for _ in range(3):
        assert_alike(pair, one + LAST), name


def _conversations(seed: int, lane: int) -> Iterator[tuple[int, bytes]]:
    """Yield what a lane sends: requests of a small pool, again and again, and mutants of them."""
    random = Random(f"{seed}/{lane}")
    while True:
        pool = [one for _ in range(_POOL) if _fits(one := draft(random, f"W{lane}").request)]
        pool += [post(f'{{"symbol":"W{lane}","values":[{i}.5]}}') for i in range(4)]
        pool += [request("GET", f"/stats?symbol=W{lane}&window={i + 1}") for i in range(4)]
        for one in pool:
            yield 2, one + one + LAST
        for _ in range(2 * _POOL):
            sent = random.choices(pool, k=random.randint(1, 8))
            if random.random() < 0.3 and _fits(spoilt := mutant(random, random.choice(pool))):
                sent.append(spoilt)
            yield len(sent), b"".join(sent) + LAST


def _fits(one: bytes) -> bool:
    return len(one) < _LARGEST and not any(word in one for word in _OF_ALL)


def compare(directory: Path, seed: int, requests: int) -> tuple[int, float]:
    """Have as many requests answered by both services; return how many, and how many of them the short way."""
    hurry = {"server__header_timeout_s": 1, "server__body_timeout_s": 1}
    with both_ways(directory, **hurry, store__max_symbols=10_000) as (short, long):
        sent = 0

        async def lane(number: int) -> None:
            nonlocal sent
            for count, data in _conversations(seed, number):
                if sent >= requests:
                    return
                sent += count
                answers = await asyncio.gather(converse(short.port, data), converse(long.port, data))
                assert plain(answers[0]) == plain(answers[1]), f"seed {seed}, lane {number}: {data!r}"

        async def lanes() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(_LANES):
                    group.create_task(lane(number))

        asyncio.run(lanes())
        assert short.client.get("/ready").status_code == long.client.get("/ready").status_code == 200
        assert [event for event in short.events() if event["level"] == "error"] == []
        return sent, metric(short, "hft_mmap_prepared_answers_total")


def test_generated_requests_are_answered_alike(tmp_path: Path) -> None:
    """The same ones every time; a good part of them the short way."""
    sent, short = compare(tmp_path, 1, SHARE)
    assert short > sent / 20


@pytest.mark.torture
def test_a_hundred_thousand_requests_are_answered_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Others every time; prints the seed and the counts."""
    seed = int(os.environ.get("TORTURE_SEED") or secrets.randbelow(1_000_000))
    with capsys.disabled():
        print(f"\nboth ways: TORTURE_SEED={seed}", flush=True)  # noqa: T201
        sent, short = compare(tmp_path, seed, ALL)
        print(f"both ways: {sent} requests, {short:.0f} the short way, none answered otherwise")  # noqa: T201
