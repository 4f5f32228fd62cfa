"""What a client without a token can take of the service: no memory for bodies, no place, and no time of a stop."""

from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from api.access.tokens import READ, WRITE
from api.connection.connections import MOST_TOLD
from api.operation.capacity import files_of_store
from api.operation.settings import ServerSettings
from api.server import connection_limits, most_at_once
from hft_mmap import Limits
from tests.api.test_auth import bearer, make_tokens
from tests.api.test_protocol import answer, answers, batch, get, post
from tests.conftest import StartService

BODY_BYTES = 190_000
HALF_HEAD = b"GET /stats?symbol=A HTTP/1.1\r\nHost:"


def authorized(token: str) -> str:
    """Return the header line that sends a token."""
    return f"Authorization: Bearer {token}\r\n"


def test_a_body_is_refused_at_its_head_where_the_token_is_missing(start_service: StartService, tmp_path: Path) -> None:
    """Ten strangers send nearly all of a body: each is told 401 at once, and a token holder finds all the memory."""
    sent = make_tokens(tmp_path)
    service = start_service(auth__tokens_file=tmp_path / "tokens", server__max_body_memory_bytes=2**20)
    with ExitStack() as stack:
        for _ in range(10):
            stranger = stack.enter_context(service.connect())
            stranger.sendall(post(b"x" * (BODY_BYTES - 1), length=BODY_BYTES))
            assert answer(stranger)[0] == 401
        body = b'{"symbol":"A","values":[' + b"1," * 450_000 + b"1]}"
        found = service.client.post(
            "/add_batch", content=body, headers=bearer(sent[WRITE]) | {"Content-Type": "application/json"}
        )
        assert (found.status_code, "server.max_batch_values" in found.text) == (400, True)
        metrics = service.client.get("/metrics", headers=bearer(sent[READ])).text
        assert "hft_mmap_body_memory_bytes 0.0" in metrics


@pytest.mark.parametrize("head", ["", "Expect: 100-continue\r\n"])
def test_a_short_body_without_a_token_ends_no_connection(
    start_service: StartService, tmp_path: Path, head: str
) -> None:
    """It is read to its end and thrown away; the request behind it is answered."""
    make_tokens(tmp_path)
    service = start_service(auth__tokens_file=tmp_path / "tokens")
    with service.connect() as connection:
        connection.sendall(post(batch("A", [1.0]), head=head) + get("/health", "Connection: close\r\n"))
        assert [status for status, _ in answers(connection)] == [401, 200]


def test_half_heads_shut_no_token_holder_out(start_service: StartService, tmp_path: Path) -> None:
    """With every place taken the oldest half head goes, before any connection that brought a token."""
    sent = make_tokens(tmp_path)
    service = start_service(auth__tokens_file=tmp_path / "tokens", server__max_connections=4)
    question = get("/symbols", authorized(sent[READ]))
    with service.connect() as holder, ExitStack() as stack:
        holder.sendall(question)
        assert answer(holder)[0] == 200
        for number in range(12):
            half = stack.enter_context(service.connect())
            half.sendall(HALF_HEAD)
            with service.connect() as newcomer:
                newcomer.sendall(question)
                assert answer(newcomer)[0] == 200, number
        holder.sendall(question)
        assert answer(holder)[0] == 200


def test_connections_too_many_are_closed_at_once(start_service: StartService) -> None:
    """Those that ask are told; of those that wait, only so many are kept open."""
    service = start_service(server__max_connections=1)
    body = batch("A", [1.0])
    with service.connect() as busy, ExitStack() as stack:
        busy.sendall(post(b"", length=len(body), head="Expect: 100-continue\r\n"))
        assert busy.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        too_many = [stack.enter_context(service.connect()) for _ in range(MOST_TOLD + 20)]
        for connection in too_many[:20]:
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        too_many[-1].sendall(get("/health"))
        assert answer(too_many[-1])[0] == 503
        busy.sendall(body)
        assert answer(busy)[0] == 200


def half_requests() -> list[bytes]:
    """Return requests that never come to their end."""
    return [HALF_HEAD, post(b"{", length=100), post(b"{", length=10**6), get("/health") + HALF_HEAD]


def test_a_stop_does_not_wait_for_what_does_not_move(start_service: StartService) -> None:
    """Half a head and half a body are refused with 503, long before their time is over."""
    service = start_service(server__header_timeout_s=300, server__body_timeout_s=300, server__shutdown_grace_s=60)
    with ExitStack() as stack:
        held = [stack.enter_context(service.connect()) for _ in half_requests()]
        for connection, data in zip(held, half_requests(), strict=True):
            connection.sendall(data)
        assert answer(held[-1])[0] == 200
        assert service.client.get("/health").status_code == 200  # asked later than all of them
        assert service.stop() == 0
        assert [[status for status, _ in answers(connection)] for connection in held] == [[503]] * len(held)
    assert service.events("grace_exceeded") == []


@pytest.mark.parametrize(("open_files", "most"), [(1_048_576, 4096), (20_000, 4096), (4096, 1024), (1024, 256)])
def test_files_are_kept_for_the_store(open_files: int, most: int) -> None:
    """Connections, the queue of clients, and every series full: all of them together are what the system allows."""
    limits = Limits()
    found = connection_limits(ServerSettings(), limits, open_files).max_connections
    assert found >= most
    together = found + MOST_TOLD + files_of_store(limits) + most_at_once(open_files)
    assert together <= open_files or found == open_files // 4
