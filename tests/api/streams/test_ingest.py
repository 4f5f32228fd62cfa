"""The stream that brings points: what is stored, what is acknowledged, what is refused."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from hft_mmap import Store
from tests.api.streams.client import acknowledged, ending, ingesting, named, opened, row, said
from tests.api.test_lifecycle import newest_commit
from tests.conftest import StartService
from tests.service import Service

PRICES = [150.1, 150.5, 151.0, 149.8, 150.2, 151.1, 151.2, 152.0, 151.5, 151.9]


def total(service: Service, symbol: str) -> int:
    """Return the points ever appended to a series; 0 if there is none."""
    rows = service.client.get("/symbols").json()["symbols"]
    return next((int(found["total"]) for found in rows if found["symbol"] == symbol), 0)


def stored(service: Service, symbol: str) -> list[float]:
    """Return every point of a series, read from its files."""
    with Store(service.data_dir, mode="r") as store:
        points: list[float] = store.window(symbol, 10**9).tolist()
    return points


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test uses."""
    return f"S-{abs(hash(request.node.nodeid)):x}"


def test_frames_are_stored_in_order_and_acknowledged_by_total(shared_service: Service, symbol: str) -> None:
    """A thousand frames need not wait for each other; an acknowledgement covers all before it."""
    with ingesting(shared_service, symbol=symbol) as client:
        for i in range(1000):
            client.send(row(i, i + 0.5))
        assert acknowledged(client, 1000) == {"event": "ack", "frames": 1000, "total": 2000}
    assert stored(shared_service, symbol) == [i / 2 for i in range(2000)]


def test_what_is_acknowledged_is_seen_by_the_next_request(shared_service: Service, symbol: str) -> None:
    """As after a POST."""
    with ingesting(shared_service, symbol=symbol) as client:
        client.send(row(*PRICES))
        acknowledged(client, 1)
        answer = shared_service.client.get("/stats", params={"symbol": symbol, "exponent": 1}).json()
    assert answer == {
        "min": 149.8, "max": 152.0, "last": 151.9, "avg": 150.93, "var": pytest.approx(0.5201, rel=1e-12),
    }  # fmt: skip


def test_the_hello_tells_where_the_series_ends(shared_service: Service, symbol: str) -> None:
    """Nothing there yet; then what a POST stored."""
    expected = {"event": "hello", "mode": "ingest", "symbol": symbol, "offset": None, "durability": "interval"}
    with opened(shared_service, mode="ingest", symbol=symbol) as client:
        assert said(client) == expected | {"total": 0}
    shared_service.add(symbol, PRICES)
    with opened(shared_service, mode="ingest", symbol=symbol, offset="total") as client:
        assert said(client) == expected | {"total": 10, "offset": 10}


def test_frames_sent_before_a_close_are_stored_though_nobody_reads_the_answers(
    shared_service: Service, symbol: str
) -> None:
    """The close frame comes after them, and they are taken first."""
    with ingesting(shared_service, symbol=symbol) as client:
        for _ in range(500):
            client.send(row(1.0))
    shared_service.wait_for_event("stream", symbol=symbol, frames=500)
    assert total(shared_service, symbol) == 500


@pytest.mark.parametrize(
    ("message", "status", "text"),
    [
        (b"", 400, "values is empty"),
        (b"1234567", 400, "a float64 takes 8, so 7 are too many"),
        (row(1, -1), 400, "values[1] is -1.0"),
        (row(float("nan")), 400, "values[0] is nan"),
        (row(float("inf")), 400, "values[0] is inf"),
        (row(1e141), 400, "values[0] is 1e+141"),
        (bytes(8 * 100_001), 400, "100001 numbers; a batch has at most 100000"),
        ("[1.0]", 415, "takes binary messages"),
    ],
    ids=["empty", "odd", "negative", "nan", "infinite", "large", "many", "text"],
)
def test_a_bad_frame_is_told_changes_nothing_and_ends_the_stream(
    shared_service: Service, symbol: str, message: str | bytes, status: int, text: str
) -> None:
    """What came before is acknowledged first; what came behind it is not stored."""
    with ingesting(shared_service, symbol=symbol) as client:
        client.send(row(1.0))
        client.send(message)
        client.send(row(2.0))
        (acknowledgement, problem), code = ending(client)
    assert acknowledgement == {"event": "ack", "frames": 1, "total": 1}
    assert (problem["event"], problem["status"], problem["frame"], code) == ("error", status, 2, 4000 + status)
    assert text in problem["detail"] == problem["error"]
    assert stored(shared_service, symbol) == [1.0]


def test_with_an_offset_each_frame_has_its_place(shared_service: Service, symbol: str) -> None:
    """What is there already is acknowledged again and not stored twice."""
    shared_service.add(symbol, PRICES)
    with ingesting(shared_service, symbol=symbol, offset=8) as client:
        client.send(row(*PRICES[8:]))
        client.send(row(1.0, 2.0))
        assert acknowledged(client, 2)["total"] == 12
    assert stored(shared_service, symbol) == [*PRICES, 1.0, 2.0]


def test_an_offset_that_does_not_fit_is_a_conflict(shared_service: Service, symbol: str) -> None:
    """Somebody else appended meanwhile: the problem says where the series ends."""
    with ingesting(shared_service, symbol=symbol, offset="total") as client:
        client.send(row(1.0))
        acknowledged(client, 1)
        shared_service.add(symbol, [7.0])
        client.send(row(2.0))
        (problem,), code = ending(client)
    assert (problem["status"], problem["total"], problem["frame"], code) == (409, 2, 2, 4409)
    assert stored(shared_service, symbol) == [1.0, 7.0]


def test_one_stream_may_bring_many_symbols(shared_service: Service, symbol: str) -> None:
    """Binary and text may be mixed; the acknowledgement names the series that grew since the last one."""
    other = f"{symbol}/日本"
    with opened(shared_service, mode="ingest") as client:
        hello = said(client)
        assert (hello["event"], symbol in hello["totals"]) == ("hello", False)
        client.send(named(symbol, 1.0, 2.0))
        assert acknowledged(client, 1) == {"event": "ack", "frames": 1, "totals": {symbol: 2}}
        client.send(json.dumps({"symbol": other, "values": [3.0], "offset": 0}))
        assert acknowledged(client, 2) == {"event": "ack", "frames": 2, "totals": {other: 1}}
        client.send(named(other, 4.0, offset=1))
        client.send(named(other, 3.0, 4.0, offset=0))
        assert acknowledged(client, 4)["totals"] == {other: 2}
    assert (stored(shared_service, symbol), stored(shared_service, other)) == ([1.0, 2.0], [3.0, 4.0])
    with opened(shared_service, mode="ingest") as client:
        assert said(client)["totals"].items() >= {symbol: 2, other: 2}.items()


@pytest.mark.parametrize(
    ("message", "status", "text"),
    [
        (b"12345678", 400, "has no header"),
        (named("A"), 400, "has its values from byte 16 on"),
        (named("A", 1.0)[:-1], 400, "has its values from byte 16 on"),
        (named("A", 1.0, offset=-2), 400, "offset must be"),
        (named("", 1.0), 400, "symbol"),
        (named("A\n", 1.0), 400, "symbol"),
        (named("A", 1.0).replace(b"A\0", b"A\1"), 400, "zeros only"),
        (named("A", 1.0).replace(b"A", b"\xff"), 400, "The symbol is not UTF-8"),
        (named("A", *[1.0] * 100_001), 400, "100001 numbers"),
        (named("NOWHERE", 1.0, offset=5), 409, "its total is 0"),
        ("[]", 422, "must be an object"),
        ('{"symbol":"A","values":[1.0],"x":1}', 422, "Unknown field"),
        ('{"symbol":"A","values":[', 400, "Malformed JSON"),
    ],
)
def test_a_bad_message_for_many_symbols(shared_service: Service, message: str | bytes, status: int, text: str) -> None:
    """The same rules as for a POST, the same texts."""
    with ingesting(shared_service) as client:
        client.send(message)
        (problem,), code = ending(client)
    assert (problem["status"], problem["frame"], code) == (status, 1, 4000 + status)
    assert text in problem["detail"]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ({}, 400, "mode must be ingest"),
        ({"mode": "Ingest"}, 400, "not 'Ingest'"),
        ({"mode": "ingest", "symbol": ""}, 400, "symbol"),
        ({"mode": "ingest", "offset": 1}, 400, "offset needs a symbol"),
        ({"mode": "ingest", "symbol": "A", "offset": "-1"}, 400, "offset must be a whole number"),
        ({"mode": "ingest", "symbol": "A", "offset": "٣"}, 400, "offset must be a whole number"),
        ({"mode": "ingest", "symbol": "A", "window": 1}, 400, "Unknown parameter 'window'"),
    ],
)
def test_a_handshake_that_cannot_be_understood_is_refused(
    shared_service: Service, query: dict[str, Any], status: int, text: str
) -> None:
    """With a problem document, as every other request."""
    with pytest.raises(InvalidStatus) as refusal, opened(shared_service, **query):
        pass
    response = refusal.value.response
    problem = json.loads(response.body)
    assert (response.status_code, problem["status"]) == (status, status)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"]
    assert text in problem["detail"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "", "x"])
def test_pages_of_other_origins_may_not_open_a_stream(shared_service: Service, origin: str) -> None:
    """Or any page could push prices into a service on 127.0.0.1, from the browser of whoever looks at it."""
    with pytest.raises(InvalidStatus) as refusal, opened(shared_service, origin=origin, mode="ingest", symbol="A"):
        pass
    assert refusal.value.response.status_code == 403


def test_pages_of_the_same_host_may(shared_service: Service, symbol: str) -> None:
    """Host and port are those of the request."""
    origin = f"http://127.0.0.1:{shared_service.port}"
    with opened(shared_service, origin=origin, mode="ingest", symbol=symbol) as client:
        assert said(client)["event"] == "hello"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_without_an_upgrade_the_route_says_what_it_is(shared_service: Service, method: str) -> None:
    """426, with the header that names the protocol."""
    answer = shared_service.client.request(method, "/stream?mode=ingest&symbol=A")
    assert (answer.status_code, answer.headers["Upgrade"]) == (426, "websocket")


@pytest.mark.parametrize(("path", "status"), [("/stats", 400), ("/nothing", 404)])
def test_other_routes_are_no_websockets(shared_service: Service, path: str, status: int) -> None:
    """They refuse the handshake, with a problem document."""
    headers = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }  # fmt: skip
    answer = shared_service.client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_there_are_only_so_many_streams(start_service: StartService) -> None:
    """One too many is refused with 503; when one has ended there is a place again."""
    service = start_service(server__max_streams=1)
    with ingesting(service, symbol="A"):
        with pytest.raises(InvalidStatus) as refusal, ingesting(service, symbol="A"):
            pass
        assert refusal.value.response.status_code == 503
        assert b"server.max_streams" in refusal.value.response.body
    service.wait_for_event("stream", symbol="A")
    with ingesting(service, symbol="A"):
        pass


def test_in_tier_sync_an_acknowledgement_means_on_the_disk(start_service: StartService) -> None:
    """The commit slot has the total that was acknowledged, every time."""
    service = start_service(store__durability="sync")
    with ingesting(service, symbol="A") as client:
        for i in range(1, 21):
            client.send(row(1.0))
            if i % 5 == 0:
                acknowledged(client, i)
                assert newest_commit(service, "A").total >= i


@pytest.mark.parametrize("tier", ["interval", "sync"])
def test_a_stop_ends_streams_with_1001_and_loses_nothing_acknowledged(start_service: StartService, tier: str) -> None:
    """Exit code 0, a clean commit, and the last acknowledgement is exactly what is stored."""
    service = start_service(store__durability=tier)
    with ingesting(service, symbol="A") as client:
        for i in range(2000):
            client.send(row(float(i)))
        service.process.send_signal(signal.SIGTERM)
        messages, code = ending(client)
    assert service.wait() == 0
    commit = newest_commit(service, "A")
    assert (code, commit.clean, commit.total) == (1001, True, messages[-1]["total"])
    assert stored(service, "A") == [float(i) for i in range(commit.total)]
    assert not [event for event in service.events() if event["level"] == "error"]


def test_killed_at_any_moment_each_point_is_stored_once(start_service: StartService, tmp_path: Path) -> None:
    """A producer reconnects with offset=total, goes on from what the hello says, and never looks back."""
    points = np.arange(6000.0)
    moments = iter(np.random.default_rng(6).integers(100, 1900, 2).tolist())
    moment = next(moments)
    service = start_service(tmp_path)
    sent = 0
    while sent < len(points):
        with opened(service, mode="ingest", symbol="A", offset="total") as client:
            sent = begin = said(client)["total"]
            try:
                while sent < len(points):
                    client.send(points[sent : sent + 3].tobytes())
                    sent += 3
                    if moment is not None and sent - begin > moment:
                        service.kill()
                        moment = next(moments, None)
                acknowledged(client, (sent - begin) // 3)
            except Exception:  # noqa: BLE001 - however the connection broke, the producer connects again
                service = start_service(tmp_path)
                sent = 0
    assert stored(service, "A") == points.tolist()
