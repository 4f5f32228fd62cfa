"""Streams of a service with tokens: the scope they need, how a browser sends its token, and what a revocation does."""

import signal
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from api.access.tokens import ADMIN, READ, WRITE, add
from tests.api.streams.client import acknowledged, ending, row, said, target
from tests.service import PATIENCE_S, Service, running_service, wait_until

Guarded = tuple[Service, dict[str, str]]
A = target(mode="ingest", symbol="A")
STATS_OF_A = target(mode="stats", symbol="A", interval_ms=10)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield a service with a token of each kind, and the tokens by their name."""
    directory = tmp_path_factory.mktemp("guarded")
    tokens = {name: add(directory / "tokens", name, [name]) for name in (READ, WRITE, ADMIN)}
    tokens["short-lived"] = add(directory / "tokens", "short-lived", [READ, WRITE])
    with running_service(directory, auth__tokens_file="tokens") as service:
        headers = {"Authorization": f"Bearer {tokens[WRITE]}"}
        service.client.post("/add_batch", json={"symbol": "A", "values": [0.5]}, headers=headers).raise_for_status()
        yield service, tokens


@contextmanager
def opened(service: Service, token: str = "", what: str = A, **options: Any) -> Iterator[ClientConnection]:
    """Yield a client of the stream `what` that sends `token` in its header."""
    url = f"ws://127.0.0.1:{service.port}{what}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with connect(url, additional_headers=headers, open_timeout=PATIENCE_S, **options) as client:
        yield client


@pytest.mark.parametrize(("name", "status"), [("", 401), (READ, 403)])
def test_sending_prices_needs_a_token_that_may_write(guarded: Guarded, name: str, status: int) -> None:
    """As POST /add_batch does."""
    service, tokens = guarded
    with pytest.raises(InvalidStatus) as refusal, opened(service, tokens.get(name, "")):
        pass
    assert refusal.value.response.status_code == status
    assert refusal.value.response.headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(("name", "status"), [("", 401), (WRITE, 403)])
def test_statistics_need_a_token_that_may_read(guarded: Guarded, name: str, status: int) -> None:
    """As GET /stats does; one that may is told them."""
    service, tokens = guarded
    with pytest.raises(InvalidStatus) as refusal, opened(service, tokens.get(name, ""), STATS_OF_A):
        pass
    assert refusal.value.response.status_code == status
    with opened(service, tokens[READ], STATS_OF_A) as client:
        assert said(client)["symbol"] == "A"


def test_who_may_only_write_is_not_told_which_series_there_are(guarded: Guarded) -> None:
    """Who may read as well is told all of them."""
    service, tokens = guarded
    many = target(mode="ingest")
    with opened(service, tokens[WRITE], many) as writer, opened(service, tokens["short-lived"], many) as reader:
        assert said(writer)["totals"] == {}
        assert said(reader)["totals"].keys() == {"A"}


def test_with_a_token_pages_of_any_origin_may(guarded: Guarded) -> None:
    """They were given it: a browser sends none by itself."""
    service, tokens = guarded
    with opened(service, tokens[WRITE], origin="https://dashboard.example") as client:
        assert said(client)["event"] == "hello"


def test_a_browser_sends_its_token_as_a_sub_protocol(guarded: Guarded) -> None:
    """The service chooses the other one, or the browser would end the connection."""
    service, tokens = guarded
    offered = ["hft-mmap", f"hft-mmap.bearer.{tokens[WRITE]}"]
    with opened(service, subprotocols=offered) as client:
        assert client.subprotocol == "hft-mmap"
        client.send(row(1.0))
        assert said(client)["event"] == "hello"
        acknowledged(client, 1)


def test_a_token_that_is_revoked_ends_its_streams(guarded: Guarded) -> None:
    """At its next message, which is not stored; others go on."""
    service, tokens = guarded
    headers = {"Authorization": f"Bearer {tokens['short-lived']}"}
    with (
        opened(service, tokens["short-lived"]) as revoked,
        opened(service, tokens["short-lived"], STATS_OF_A) as statistics,
        service.client.stream("GET", "/events?symbol=A&interval_ms=10", headers=headers) as events,
        opened(service, tokens[WRITE]) as other,
    ):
        assert said(revoked)["event"] == said(other)["event"] == "hello"
        assert said(statistics)["event"] == "stats"
        told = events.iter_lines()
        first = list(islice(told, 5))
        assert (first[0], first[3].partition(":")[0], first[4]) == ("retry: 2000", "data", "")
        file = service.directory / "tokens"
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith("short-lived")), encoding="utf-8")
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_event("reloaded", what="tokens")
        revoked.send(row(2.0))
        (problem,), code = ending(revoked)
        assert (problem["status"], code) == (401, 4401)
        other.send(row(3.0))
        acknowledged(other, 1)
        (problem,), code = ending(statistics)
        assert (problem["status"], code) == (401, 4401)
        assert [line for line in told if line] == []


@pytest.mark.parametrize("form", ["json", "raw"])
def test_a_token_that_is_revoked_ends_its_downloads(guarded: Guarded, form: str) -> None:
    """Before they are whole, and so that nobody takes them for it; the log has who it was."""
    service, tokens = guarded
    lasting = {"Authorization": f"Bearer {tokens[ADMIN]}"}
    token = add(service.directory / "tokens", f"loader-{form}", [READ])
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: service.client.get("/symbols", headers={"Authorization": f"Bearer {token}"}).is_success, "it")
    points = np.arange(1_000_000.0)
    for first in range(0, len(points), 100_000):
        headers = lasting | {"Content-Type": "application/octet-stream"}
        batch = points[first : first + 100_000].tobytes()
        assert service.client.post(f"/add_batch?symbol=D-{form}", content=batch, headers=headers).is_success
    asked = f"/values?symbol=D-{form}&format={form}"
    with service.client.stream("GET", asked, headers={"Authorization": f"Bearer {token}"}) as answer:
        pieces = answer.iter_bytes()
        assert next(pieces)
        file = service.directory / "tokens"
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith(f"loader-{form}")), encoding="utf-8")
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: service.client.get("/symbols", headers=answer.request.headers).status_code == 401, "its end")
        with pytest.raises(httpx.RemoteProtocolError):
            deque(pieces, maxlen=0)
    assert service.wait_for_event("request", status=401, caller=f"loader-{form}", route="/values")["level"] == "info"


EVENTS = "/events?symbol=A"


@contextmanager
def reading(service: Service, token: str) -> Iterator[int]:
    """Yield the status of an event stream that stays open."""
    headers = {"Authorization": f"Bearer {token}"}
    with service.client.stream("GET", EVENTS, headers=headers) as answer:
        pieces = answer.iter_bytes()  # whose end would be that of the answer
        assert next(pieces)  # by now it has its place
        yield answer.status_code


def places(directory: Path, names: dict[str, list[str]], most: int) -> tuple[dict[str, str], dict[str, object]]:
    """Make tokens; return them, and the settings of a service that has them and `most` places for streams."""
    tokens = {name: add(directory / "tokens", name, scopes) for name, scopes in names.items()}
    return tokens, {"auth__tokens_file": "tokens", "server__max_streams": most}


def test_one_token_cannot_take_all_places(tmp_path: Path) -> None:
    """It has half of them at most, and is told so; another one that reads has the quarter that is left to readers."""
    tokens, settings = places(tmp_path, {"loud": [READ], "calm": [READ], "feed": [WRITE]}, 4)
    with running_service(tmp_path, **settings) as service, ExitStack() as stack:
        headers = {"Authorization": f"Bearer {tokens['feed']}"}
        service.client.post("/add_batch", json={"symbol": "A", "values": [0.5]}, headers=headers).raise_for_status()
        statuses = [stack.enter_context(reading(service, tokens[name])) for name in ("loud", "loud", "calm")]
        assert statuses == [200, 200, 200]
        for name, share in (("loud", "half"), ("calm", "three quarters")):
            refused = service.client.get(EVENTS, headers={"Authorization": f"Bearer {tokens[name]}"})
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert share in refused.json()["detail"]
            assert "server.max_streams" in refused.json()["detail"]
        with opened(service, tokens["feed"]) as writer:
            assert said(writer)["event"] == "hello"


def test_the_only_token_has_all_places(tmp_path: Path) -> None:
    """There is nobody to leave one to."""
    tokens, settings = places(tmp_path, {"only": [READ, WRITE]}, 2)
    with running_service(tmp_path, **settings) as service, ExitStack() as stack:
        headers = {"Authorization": f"Bearer {tokens['only']}"}
        service.client.post("/add_batch", json={"symbol": "A", "values": [0.5]}, headers=headers).raise_for_status()
        assert [stack.enter_context(reading(service, tokens["only"])) for _ in range(3)] == [200, 200, 503]
