"""Open files: what is left for the store where clients want them all, and what happens when none is left."""

import os
import resource
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.api.test_protocol import answer, get
from tests.api.test_tls import OPENSSL, issue
from tests.conftest import StartService
from tests.service import Service

FEW = 420
"""Of these 314 are kept for the store of ten symbols and for the process itself."""


def leave_files(service: Service, count: int | None) -> None:
    """Let the service have so many more files than it has; None: as many as before."""
    _, hard = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
    used = len(os.listdir(f"/proc/{service.process.pid}/fd"))
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (hard if count is None else used + count, hard))


def test_any_number_of_connections_leaves_files_for_the_store(tmp_path: Path) -> None:
    """While many times as many clients as there are files keep their connections, every symbol is made and read."""
    launcher = ["prlimit", f"--nofile={FEW}:{FEW}"]
    service = Service(tmp_path, {"store.max_symbols": 10}, launcher=launcher).wait_until_serving()
    try:
        assert service.events("fewer_connections")[0]["possible"] == FEW - 314
        with ExitStack() as stack:
            for number in range(10):
                for _ in range(80):
                    with suppress(OSError):
                        stack.enter_context(service.connect()).sendall(get("/health")[:number])
                assert service.add(f"S{number}", [1.0, 2.0]).status_code == 200
            assert service.client.get("/ready").status_code == 200
        assert [event for event in service.events() if event["level"] == "error"] == []
    finally:
        service.close()


@pytest.mark.parametrize(
    ("symbols", "told"), [(300, "with times and sizes 1412, and the system allows 1024"), (100, "")]
)
def test_the_files_of_columns_are_counted(tmp_path: Path, symbols: int, told: str) -> None:
    """Symbols that would fit with prices alone, and not with times and sizes, are told of at the start."""
    launcher = ["prlimit", "--nofile=1024:1024"]
    service = Service(tmp_path, {"store.max_symbols": symbols}, launcher=launcher).wait_until_serving()
    try:
        told_of = [event["reason"] for event in service.events("system_limit") if "open files" in event["reason"]]
        assert [told in reason for reason in told_of] == [True] * bool(told)
    finally:
        service.close()


def test_a_client_for_whom_there_is_no_file_is_closed(start_service: StartService) -> None:
    """Nobody waits for ever, those who are there are answered, and so are newcomers once there are files again."""
    service = start_service()
    assert service.client.get("/health").status_code == 200
    leave_files(service, 0)
    with service.connect() as newcomer:
        with suppress(ConnectionResetError):
            newcomer.sendall(get("/health"))
            assert newcomer.recv(1) == b""
        assert service.client.get("/health").status_code == 200
    leave_files(service, None)
    with service.connect() as newcomer:
        newcomer.sendall(get("/health"))
        assert answer(newcomer)[0] == 200


@pytest.mark.skipif(not OPENSSL, reason="the package openssl is not installed")
def test_a_client_of_tls_waits_until_there_is_a_file(start_service: StartService, tmp_path: Path) -> None:
    """In the queue, at which the service looks again a second later."""
    issue(tmp_path, "one")
    service = start_service(server__tls_certificate=tmp_path / "cert.pem", server__tls_key=tmp_path / "key.pem")
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    leave_files(service, 0)
    with service.connect() as newcomer:
        leave_files(service, None)
        with context.wrap_socket(newcomer, server_hostname="127.0.0.1") as secure:
            secure.sendall(get("/health"))
            assert answer(secure)[0] == 200
