"""Live statistics, over a WebSocket and as server-sent events."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import falcon.asgi
import falcon.testing
import numpy as np
import pytest
import uvloop
from websockets.exceptions import InvalidStatus

from api.http.exchange import RECEIVE
from api.http.request import Request
from api.operation.beside import Beside
from api.streams.events import Events
from api.streams.live import Live, Subscriber
from api.streams.registry import Streams
from hft_mmap import SeriesBusy, Store
from tests.api.streams.client import (
    CLOSE,
    CONTINUATION,
    TEXT,
    Raw,
    ending,
    frame,
    opened,
    resident_bytes,
    said,
    unread_events,
)
from tests.api.test_protocol import answer
from tests.conftest import StartService
from tests.service import Service, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 2**20


CHUNK = 4_194_304


@contextmanager
def suspended(service: Service) -> Iterator[None]:
    """Keep the service from doing anything meanwhile."""
    service.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        service.process.send_signal(signal.SIGCONT)


def follow(client: Any, total: int) -> dict[str, Any]:
    """Return the first message that tells of so many points."""
    while (message := said(client))["total"] < total:
        pass
    return message


def test_what_has_changed_is_sent(shared_service: Service) -> None:
    """At once, then after each batch; the windows are those of /stats."""
    shared_service.add("L1", [1.0, 2.0])
    with opened(shared_service, mode="stats", symbol="L1", window=10, interval_ms=10) as client:
        assert said(client) == {
            "event": "stats", "symbol": "L1", "total": 2, "count": 2,
            "windows": {"10": {"min": 1.0, "max": 2.0, "last": 2.0, "avg": 1.5, "var": 0.25}},
        }  # fmt: skip
        shared_service.add("L1", [3.0])
        message = follow(client, 3)
    answer = shared_service.client.get("/stats", params={"symbol": "L1", "window": 10}).json()
    assert message["windows"] == {"10": answer}


def test_named_statistics_stand_behind_the_five(shared_service: Service) -> None:
    """In both kinds of streams, and after a message that asks for others; null where one is undefined."""
    shared_service.add("L7", [4.0])
    query: dict[str, Any] = {"symbol": "L7", "window": [1, 10], "stats": "std_sample,max,argmax"}
    names = ["min", "max", "last", "avg", "var", "std_sample", "argmax"]
    with (
        opened(shared_service, mode="stats", interval_ms=10, **query) as client,
        shared_service.client.stream("GET", "/events", params={**query, "interval_ms": 10}) as answer,
    ):
        events = (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data"))
        for message in (said(client), next(events)):
            assert [list(one) for one in message["windows"].values()] == [names, names]
            assert (message["windows"]["10"]["std_sample"], message["windows"]["10"]["argmax"]) == (None, 0)
        shared_service.add("L7", [1.0, 7.0])
        for message in (follow(client, 3), next(event for event in events if event["total"] == 3)):
            for window in (1, 10):
                asked: dict[str, Any] = {"symbol": "L7", "window": window, "stats": query["stats"]}
                assert message["windows"][str(window)] == shared_service.client.get("/stats", params=asked).json()
        client.send('{"subscribe":"L7","windows":[2],"stats":["change","change","count"]}')
        assert said(client)["windows"] == {
            "2": {"min": 1.0, "max": 7.0, "last": 7.0, "avg": 4.0, "var": 9.0, "change": 6.0, "count": 2}
        }
        client.send('{"subscribe":"L7","windows":[2]}')
        assert list(said(client)["windows"]["2"]) == names[:5]


def test_points_of_other_processes_are_seen(shared_service: Service) -> None:
    """They are appended to the files, and no request comes by."""
    shared_service.add("L2", [1.0])
    with opened(shared_service, mode="stats", symbol="L2", interval_ms=10) as client:
        assert said(client)["total"] == 1
        with Store(shared_service.data_dir) as other:
            other.append("L2", [2.0, 3.0])
            assert follow(client, 3)["windows"]["100"]["max"] == 3.0


def test_a_client_may_change_its_mind(shared_service: Service) -> None:
    """What it gets wrong is told, and the stream goes on."""
    shared_service.add("L3", [1.0])
    with opened(shared_service, mode="stats", interval_ms=10) as client:
        for message, status in (
            ('{"subscribe":"NOWHERE"}', 404), ("{", 400), (b"x", 400), ('{"subscribe":"L3","windows":[0]}', 400),
        ):  # fmt: skip
            client.send(message)
            assert said(client)["status"] == status
        client.send('{"subscribe":"L3","windows":[5,2,5]}')
        assert list(said(client)["windows"]) == ["2", "5"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('{"subscribe":"L6","windows":[' + "1," * 64 + "1]}", "65 windows; a message lists at most 64"),
        ('{"subscribe":"L6","windows":[0]}', "windows must be whole numbers from 1"),
        ('{"subscribe":"L6","stats":[' + '"std",' * 64 + '"std"]}', "65 stats; a message lists at most 64"),
        ('{"subscribe":"L6","stats":"std"}', "stats must be a list of names"),
        ('{"subscribe":"L6","stats":[1]}', "stats must be a list of names"),
        ('{"subscribe":"L6","stats":[]}', "no statistic was named"),
        ('{"subscribe":"L6","stats":["mode"]}', "there is no statistic 'mode'"),
        ('{"subscribe":"L6","stats":["' + "m" * 900 + '"]}', f"there is no statistic '{'m' * 64}'"),
        ('{"windows":[1]}', "Send {"),
        ('{"unsubscribe":"L6","stats":["std"]}', "Send {"),
    ],
    ids=["many", "none", "many_stats", "text", "number", "no_stats", "unknown", "long", "no_symbol", "both"],
)
def test_what_a_client_asks_for_is_short(shared_service: Service, message: str, reason: str) -> None:
    """Too many of them are told their limit and change nothing; the longest message that may be is obeyed."""
    shared_service.add("L6", [1.0])
    with opened(shared_service, mode="stats", interval_ms=10) as client:
        client.send(message)
        answer = said(client)
        assert (answer.get("status"), reason in answer.get("detail", "")) == (400, True)
        longest = '{"subscribe":"L6","windows":[' + "1," * 63 + "1]"
        client.send(longest + " " * (4095 - len(longest)) + "}")
        assert list(said(client)["windows"]) == ["1"]


@pytest.mark.parametrize(
    "announced_bytes", [b"\x81\xfe\x10\x01", b"\x81\xff" + (4 * 2**20).to_bytes(8, "big"), b"\x82\xfe\x10\x01"]
)
def test_a_message_that_is_too_long_is_refused_before_it_has_arrived(
    shared_service: Service, announced_bytes: bytes
) -> None:
    """The head of the frame is enough: the stream ends with 1009, and nothing of the message is waited for."""
    with Raw(shared_service.port, mode="stats", interval_ms=10) as connection:
        connection.send(announced_bytes + b"mask")
        found = connection.frame()
        assert found is not None
        assert (found[0], int.from_bytes(found[1][:2], "big")) == (CLOSE, 1009)


def test_a_message_in_fragments_is_as_long_as_all_of_them(shared_service: Service) -> None:
    """Fragments of 3 KiB each end a stream with the second; in one that takes points they are a message."""
    part = b" " * 3072
    with Raw(shared_service.port, mode="stats", interval_ms=10) as connection:
        connection.send(frame(TEXT, part, fin=False) + frame(CONTINUATION, part))
        found = connection.frame()
        assert found is not None
        assert (found[0], int.from_bytes(found[1][:2], "big")) == (CLOSE, 1009)


def test_a_window_may_be_longer_than_any_number_of_points(shared_service: Service) -> None:
    """As in a query; what fits into no integer of the kernels is all there is."""
    shared_service.add("L5", [1.0, 3.0])
    with opened(shared_service, mode="stats", interval_ms=10) as client:
        client.send('{"subscribe":"L5","windows":[1,9223372036854775808]}')
        client.send('{"subscribe":"L5","windows":[9223372036854775807]}')
        assert [stats["avg"] for stats in said(client)["windows"].values()][-1] == 2.0


def test_a_series_that_can_no_longer_be_read_ends_the_stream_with_the_reason(start_service: StartService) -> None:
    """The newest chunk is removed by hand after another process has begun it: 503, and 4503; events just end."""
    service = start_service()
    service.add("A", [1.0])
    with (
        opened(service, mode="stats", symbol="A", interval_ms=10) as client,
        service.client.stream("GET", "/events?symbol=A&interval_ms=10") as answer,
    ):
        assert said(client)["total"] == 1
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("id:")) == "id: 1"
        with Store(service.data_dir) as other:
            series = other.series("A")
            hold = service.data_dir / "A"
            values = np.ones(CHUNK)
            with suspended(service):
                other.append("A", values)
                max(hold.glob("*.chunk")).unlink()
            assert series.total == CHUNK + 1
        messages, code = ending(client)
        assert (messages[-1]["event"], messages[-1]["status"], code) == ("error", 503, 4503)
        assert list(lines)[-1] == ""
    wait_for_streams(service, 2)
    assert [event for event in service.events() if event["level"] == "error"] == []


def test_a_series_that_takes_the_place_of_another_is_told_of(start_service: StartService) -> None:
    """It has the name and the bounds of the one that was removed, and other points: both kinds of streams tell them."""
    # Tier `process`, so that the service holds no lock when it is suspended: nothing is committed meanwhile.
    service = start_service(store__durability="process")
    service.add("A", [1.0])
    with (
        opened(service, mode="stats", symbol="A", window=10, interval_ms=10) as client,
        service.client.stream("GET", "/events?symbol=A&window=10&interval_ms=10") as answer,
    ):
        events = (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data"))
        assert [said(client)["windows"]["10"]["last"], next(events)["windows"]["10"]["last"]] == [1.0, 1.0]
        while True:  # it may be suspended at a commit, with the lock that this takes: then it has to go on for a while
            service.client.get("/health").raise_for_status()
            with suppress(SeriesBusy), suspended(service), Store(service.data_dir, durability="process") as other:
                other.remove("A", wait_s=0.5)
                other.append("A", [7.0])
                break
        for message in (said(client), next(events)):
            assert (message["total"], message["count"], message["windows"]["10"]["last"]) == (1, 1, 7.0)


def test_a_slow_reader_gets_the_newest_and_costs_no_memory(start_service: StartService) -> None:
    """It reads nothing while the series changes, then first what was on its way, then the newest."""
    service = start_service()
    service.add("A", [1.0])
    query = {"mode": "stats", "symbol": "A", "interval_ms": 10}
    with (
        opened(service, **query) as fast,
        Raw(service.port, receive_buffer_bytes=4096, **query) as slow,
        unread_events(service, 4096, symbol="A", interval_ms=10) as events,
    ):
        before = resident_bytes(service)
        total = 1
        for _ in range(400):
            total = service.add("A", [float(total)]).json()["total"]
            follow(fast, total)
        assert resident_bytes(service) - before < 4 * MIB
        seen: list[int] = []
        while not seen or seen[-1] < total:
            found = slow.frame()
            assert found is not None
            seen.append(json.loads(found[1])["total"])
        assert seen == sorted(seen)
        assert len(seen) < 401
        told: list[int] = []
        while not told or told[-1] < total:
            line = events.readline()
            assert line
            if line.startswith(b"data: "):
                told.append(json.loads(line[6:])["total"])
        assert told == sorted(told)
        assert len(told) < 401
    skipped = [event["skipped"] for event in wait_for_streams(service, 3)]
    assert sum(1 for count in skipped if count) >= 2


def wait_for_streams(service: Service, count: int) -> list[dict[str, Any]]:
    """Return the lines of the streams that have ended, once there are so many."""
    wait_until(lambda: len(service.events("stream")) == count, "the lines of streams")
    return service.events("stream")


def test_events_are_sent_as_server_sent_events(start_service: StartService) -> None:
    """With the total as their id; a stop ends them, and the exit code is 0."""
    service = start_service()
    service.add("A", [1.0])
    headers = {"Last-Event-ID": "7", "Accept": "text/event-stream"}
    with (
        opened(service, mode="stats", symbol="A") as client,
        service.client.stream("GET", "/events?symbol=A&window=2&interval_ms=10", headers=headers) as answer,
    ):
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
        lines = answer.iter_lines()
        assert [next(lines), next(lines), next(lines)] == ["retry: 2000", "", "id: 1"]
        assert json.loads(next(lines).removeprefix("data: "))["total"] == 1
        assert next(lines) == ""
        service.add("A", [2.0])
        assert next(lines) == "id: 2"
        service.process.send_signal(signal.SIGTERM)
        assert list(lines)[-1] == ""
        assert ending(client)[1] == 1001
    assert service.wait() == 0
    assert {event["mode"] for event in service.events("stream")} == {"stats", "events"}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("symbol=NOWHERE", 404),
        ("symbol=A&window=0", 400),
        ("symbol=A&stats=mode", 400),
        ("symbol=A&stats=std&stats=std", 400),
        ("symbol=A&interval_ms=9", 400),
        ("mode=stats", 400),
    ],
)
def test_events_that_cannot_be_sent(shared_service: Service, query: str, status: int) -> None:
    """The same rules for both ways; the same problems."""
    assert shared_service.client.get(f"/events?{query}").status_code == status
    with pytest.raises(InvalidStatus) as refusal, opened(shared_service, mode="stats", symbol="NOWHERE"):
        pass
    assert refusal.value.response.status_code == 404


def test_pages_of_other_origins_get_no_events(shared_service: Service) -> None:
    """As they get no WebSocket; those of the service itself, and programs, do."""
    shared_service.add("L4", [1.0])
    own = f"http://127.0.0.1:{shared_service.port}"
    for origin, status in (("https://elsewhere.example", 403), (own, 200)):
        for method in ("GET", "HEAD"):
            with shared_service.client.stream(method, "/events?symbol=L4", headers={"Origin": origin}) as answer:
                assert answer.status_code == status


def test_events_take_a_place_too(start_service: StartService) -> None:
    """One more than there may be, of whatever kind, is refused; a place that was left is free again."""
    service = start_service(server__max_streams=1)
    service.add("A", [1.0])
    with service.client.stream("GET", "/events?symbol=A") as answer:
        lines = answer.iter_lines()  # whose end would be that of the answer
        assert next(lines) == "retry: 2000"
        for method in ("GET", "HEAD"):
            refusal = service.client.request(method, "/events?symbol=A")
            assert (refusal.status_code, refusal.headers["Retry-After"]) == (503, "5")
        with pytest.raises(InvalidStatus) as refused, opened(service, mode="stats"):
            pass
        assert refused.value.response.status_code == 503
    wait_for_streams(service, 1)
    assert service.client.head("/events?symbol=A").status_code == 200


def test_a_comment_comes_while_nothing_changes(tmp_path: Path) -> None:
    """So that proxies, and the client, know that the connection lives; after it the events go on."""

    async def never() -> dict[str, Any]:
        message: dict[str, Any] = await asyncio.get_running_loop().create_future()
        return message

    async def listen(store: Store) -> None:
        answer = falcon.asgi.Response()
        scope = falcon.testing.create_scope(path="/events", query_string="symbol=A&window=1&interval_ms=10")
        req = Request({**scope, RECEIVE: never}, never)
        await Events(Live(store), Streams(1), Beside(), heartbeat_s=0.05).on_get(req, answer)
        events = aiter(cast("AsyncIterator[bytes]", answer.stream))
        assert await anext(events) == b"retry: 2000\n\n"
        assert (await anext(events)).startswith(b"id: 1\n")
        assert await anext(events) == b":\n\n"
        store.append("A", [2.0])
        while (event := await anext(events)) == b":\n\n":
            pass
        assert event.startswith(b"id: 2\n")

    with Store(tmp_path) as store:
        store.append("A", [1.0])
        asyncio.run(listen(store))


def test_an_address_may_have_every_symbol_that_a_stream_may(start_service: StartService) -> None:
    """It is longer than what WebSocket libraries take for a line: 256 symbols of 64 letters."""
    names = [f"{'L' * 60}/{i:03d}" for i in range(256)]
    # In memory: on a disk each new symbol waits for it.
    with TemporaryDirectory(dir="/dev/shm") as place:
        service = start_service(store__data_dir=place, store__max_symbols=256)
        for name in names:  # by the service, which may open more files than this process of an ordinary user
            service.add(name, [1.0])
        with opened(service, mode="stats", symbol=names, window=1, interval_ms=10) as client:
            assert {said(client)["symbol"] for _ in names} == set(names)
        assert service.stop() == 0


def test_a_handshake_with_a_long_address_is_refused_as_a_short_one_is(shared_service: Service) -> None:
    """It was never answered, and held its connection for ever."""
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA=="
    with shared_service.connect() as connection:
        connection.sendall(f"PUT /{'A' * 20_000} HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n\r\n".encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("version", "key", "fault"),
    [("13", "eA==", "Sec-WebSocket-Key"), ("12", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version")],
)
def test_a_handshake_that_is_not_sound_is_a_request_that_is_refused(
    shared_service: Service, version: str, key: str, fault: str
) -> None:
    """400 in a problem document that says what is wrong, a line in the log, and the connection goes on."""
    upgrade = (
        f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}"
    )
    identity = f"X-Request-ID: unsound-{version}"
    with shared_service.connect() as connection:
        connection.sendall(f"GET /stream?mode=stats HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n{identity}\r\n\r\n".encode())
        status, problem = answer(connection)
        assert (status, fault in problem["detail"]) == (400, True)
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer(connection) == (200, {"status": "ok"})
    assert shared_service.wait_for_event("request", request_id=f"unsound-{version}")["status"] == 400


def test_a_reader_may_come_just_when_others_are_due(tmp_path: Path) -> None:
    """A timer that has nothing to wait for any more is of another kind, in uvloop."""

    async def come(live: Live) -> None:
        readers = [Subscriber(1e-6) for _ in range(2)]
        for reader in readers:
            live.add(reader)
        for reader in readers:
            live.remove(reader)

    with Store(tmp_path) as store, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(come(Live(store)))
