"""api.connection.turn: what strangers do takes little of each turn of the event loop."""

import re
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.access.tokens import READ
from tests.api.test_auth import Sent, make_tokens
from tests.api.test_charges import HANDSHAKE
from tests.api.test_protocol import answers, get
from tests.api.test_strangers_share import authorized
from tests.conftest import StartService
from tests.service import Service

STRANGERS = 40
REQUESTS = 100


@pytest.fixture
def guarded(start_service: StartService, tmp_path: Path) -> tuple[Service, Sent]:
    """Return a service with tokens."""
    sent = make_tokens(tmp_path)
    return start_service(auth__tokens_file=tmp_path / "tokens"), sent


def test_the_holder_of_a_token_does_not_wait_for_strangers(guarded: tuple[Service, Sent]) -> None:
    """Not for thousands of requests that were there before; and each of them is answered all the same, in its turn."""
    service, sent = guarded
    with ExitStack() as stack:
        service.process.send_signal(signal.SIGSTOP)
        strangers = [stack.enter_context(service.connect()) for _ in range(STRANGERS)]
        for stranger in strangers:
            stranger.sendall(get("/stats?symbol=A") * (REQUESTS - 1) + get("/health", "Connection: close\r\n"))
        holder = stack.enter_context(service.connect())
        holder.sendall(get("/metrics", authorized(sent[READ]) + "Connection: close\r\n"))
        service.process.send_signal(signal.SIGCONT)
        with holder.makefile("rb") as stream:
            metrics = stream.read().decode()
        assert metrics.startswith("HTTP/1.1 200 ")
        refused = re.findall(r'hft_mmap_http_requests_total\{[^}]*status="401"[^}]*\} ([0-9.]+)', metrics)
        assert sum(map(float, refused)) < STRANGERS * REQUESTS / 4
        expected = [401] * (REQUESTS - 1) + [200]
        assert [[code for code, _ in answers(stranger)] for stranger in strangers] == [expected] * STRANGERS


def test_who_comes_behind_a_crowd_waits_for_few_of_its_requests(guarded: tuple[Service, Sent]) -> None:
    """While clients are let in, requests of strangers wait, but for one in each turn; all of them are answered."""
    service, sent = guarded
    crowd = 10 * STRANGERS
    with ExitStack() as stack:
        service.process.send_signal(signal.SIGSTOP)
        strangers = [stack.enter_context(service.connect()) for _ in range(STRANGERS)]
        for stranger in strangers:
            stranger.sendall(get("/stats?symbol=A") * (REQUESTS - 1) + get("/health", "Connection: close\r\n"))
        for _ in range(crowd):
            stack.enter_context(service.connect())
        holder = stack.enter_context(service.connect())
        holder.sendall(get("/metrics", authorized(sent[READ]) + "Connection: close\r\n"))
        service.process.send_signal(signal.SIGCONT)
        with holder.makefile("rb") as stream:
            metrics = stream.read().decode()
        refused = re.findall(r'hft_mmap_http_requests_total\{[^}]*status="401"[^}]*\} ([0-9.]+)', metrics)
        assert 0 < sum(map(float, refused)) < crowd / 2
        expected = [401] * (REQUESTS - 1) + [200]
        assert [[code for code, _ in answers(stranger)] for stranger in strangers] == [expected] * STRANGERS


def test_streams_of_strangers_wait_for_their_turn_too(guarded: tuple[Service, Sent]) -> None:
    """Each handshake without a token is refused, however many came at once."""
    service, _ = guarded
    with ExitStack() as stack:
        service.process.send_signal(signal.SIGSTOP)
        strangers = [stack.enter_context(service.connect()) for _ in range(STRANGERS)]
        for stranger in strangers:
            stranger.sendall(get("/stream?mode=stats", HANDSHAKE))
        service.process.send_signal(signal.SIGCONT)
        assert [[code for code, _ in answers(stranger)] for stranger in strangers] == [[401]] * STRANGERS


def test_who_waits_for_a_turn_makes_room_and_may_go(guarded: tuple[Service, Sent]) -> None:
    """A stranger that has gone meanwhile is forgotten, and the others are answered."""
    service, _ = guarded
    with ExitStack() as stack:
        service.process.send_signal(signal.SIGSTOP)
        strangers = [stack.enter_context(service.connect()) for _ in range(STRANGERS)]
        for stranger in strangers:
            stranger.sendall(get("/stats?symbol=A") * REQUESTS + get("/health", "Connection: close\r\n"))
        for stranger in strangers[::2]:
            stranger.close()
        service.process.send_signal(signal.SIGCONT)
        for stranger in strangers[1::2]:
            assert [code for code, _ in answers(stranger)] == [401] * REQUESTS + [200]
    assert service.events("unanswered") == []
