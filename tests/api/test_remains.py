"""Answers that are in the kernel, and that a client does not take: counted, also where its connection was closed."""

import re
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.access.tokens import READ
from tests.api.test_auth import bearer, make_tokens
from tests.api.test_budget import held
from tests.api.test_protocol import get
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service, wait_until

PAGE = "/static/uplot.js"
"""An answer that the kernel takes whole, though its client takes nothing."""
CLOSE = "Connection: close\r\n"


def ask(service: Service, head: str = "", path: str = PAGE) -> socket.socket:
    """Return a connection that has asked, and has little room for an answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_S)
    connection.connect(("127.0.0.1", service.port))
    connection.sendall(get(path, head))
    return connection


def body(connection: socket.socket) -> bytes:
    """Read one answer, and return its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65_536)
    head, _, found = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None
    while len(found) < int(length[1]):
        piece = connection.recv(65_536)
        assert piece, "it ended too early"
        found += piece
    return found


@pytest.mark.parametrize("head", ["", CLOSE], ids=["kept", "closed"])
def test_an_answer_counts_until_it_is_taken(start_service: StartService, head: str) -> None:
    """Its bytes and its connection, which has its file; then both are given back, and all of the answer was there."""
    service = start_service()
    with ask(service, head) as connection:
        wait_until(lambda: held(service, "answers") > 30_000, "the bytes in the kernel")
        assert held(service, "connections") == 2
        assert body(connection) == service.client.get(PAGE).content
        wait_until(lambda: held(service, "answers") == 0, "the end of the charge")
        if head:
            assert connection.recv(1) == b""
            wait_until(lambda: held(service, "connections") == 1, "the end of the connection")
        else:
            connection.sendall(get("/health"))
            assert body(connection) == b'{"status":"ok"}'


@pytest.mark.parametrize("head", ["", CLOSE], ids=["kept", "closed"])
def test_who_takes_nothing_is_reset(start_service: StartService, head: str) -> None:
    """After server.body_timeout_s the kernel drops the rest, which it would keep for half a minute more."""
    service = start_service(server__body_timeout_s=1)
    with ask(service, head) as connection:
        wait_until(lambda: held(service, "answers") > 30_000, "the bytes in the kernel")
        wait_until(lambda: held(service, "connections") == 1, "the end of the connection")
        wait_until(lambda: held(service, "answers") == 0, "the end of the charge")
        with pytest.raises(ConnectionResetError):
            body(connection)


def test_who_takes_a_little_at_a_time_is_waited_for(start_service: StartService) -> None:
    """The time begins anew with each look that finds less: twelve pieces, each after the time of another was over."""
    service = start_service(server__body_timeout_s=1)
    with ask(service, CLOSE) as connection, ask(service, CLOSE) as other:
        taken = b""
        for _ in range(4):
            before = held(service, "answers")
            taken += connection.recv(8192)
            wait_until(lambda before=before: held(service, "answers") < before, "a look")  # type: ignore[misc]
        wait_until(lambda: held(service, "connections") == 2, "the end of the one that takes nothing")
        while piece := connection.recv(65_536):
            taken += piece
        assert taken.endswith(service.client.get(PAGE).content)
        with pytest.raises(ConnectionResetError):
            body(other)


@pytest.mark.parametrize("head", ["", CLOSE], ids=["kept", "closed"])
def test_answers_in_the_kernel_are_bounded_together(start_service: StartService, tmp_path: Path, head: str) -> None:
    """Who has waited longest is ended for the others, and the holder of a token before nobody else."""
    sent = make_tokens(tmp_path)
    service = start_service(
        auth__tokens_file=tmp_path / "tokens",
        server__max_share_percent=100,
        server__max_answer_memory_bytes=2**20,
    )
    service.client.headers.update(bearer(sent[READ]))
    with ExitStack() as stack:
        known = stack.enter_context(ask(service, f"Authorization: {bearer(sent[READ])['Authorization']}\r\n{head}"))
        wait_until(lambda: held(service, "answers") > 30_000, "the first")
        strangers = [stack.enter_context(ask(service, head)) for _ in range(60)]
        wait_until(lambda: held(service, "connections") < 30, "the end of most")
        assert 0 < held(service, "answers") <= 2**20
        with pytest.raises(ConnectionResetError):
            body(strangers[0])
        assert body(known) == service.client.get(PAGE).content
        assert body(strangers[-1]) == service.client.get(PAGE).content
