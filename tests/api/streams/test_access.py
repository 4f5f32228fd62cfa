"""Streams of a service with tokens: the scope they need, how a browser sends its token, and what a revocation does."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from api.tokens import READ, WRITE, add
from tests.api.streams.client import acknowledged, ending, row, said, target
from tests.service import PATIENCE_S, Service, running_service

Guarded = tuple[Service, dict[str, str]]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield a service with a token of each kind, and the tokens by their name."""
    directory = tmp_path_factory.mktemp("guarded")
    tokens = {name: add(directory / "tokens", name, [name]) for name in (READ, WRITE)}
    tokens["short-lived"] = add(directory / "tokens", "short-lived", [WRITE])
    with running_service(directory, auth__tokens_file="tokens") as service:
        yield service, tokens


@contextmanager
def opened(service: Service, token: str = "", **options: Any) -> Iterator[ClientConnection]:
    """Yield a client of an ingest stream that sends `token` in its header."""
    url = f"ws://127.0.0.1:{service.port}{target(mode='ingest', symbol='A')}"
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
    with opened(service, tokens["short-lived"]) as revoked, opened(service, tokens[WRITE]) as other:
        assert said(revoked)["event"] == said(other)["event"] == "hello"
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
