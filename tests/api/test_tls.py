"""TLS: a real handshake with a real service, renewal while it runs, and files that cannot be used."""

import shutil
import signal
import socket
import ssl
import struct
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.access.secret_files import CredentialsError
from api.access.tls import Certificate
from api.connection.handshakes import HANDSHAKE_BYTES
from api.operation.settings import ServerSettings
from hft_mmap.client import Client, Unreachable
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service, run_command, wait_until

OPENSSL = shutil.which("openssl") or ""
pytestmark = pytest.mark.skipif(not OPENSSL, reason="the package openssl is not installed")


def issue(directory: Path, name: str, stem: str = "") -> None:
    """Write a self-signed certificate for 127.0.0.1 with the common name `name`, and its key."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", f"{stem}key.pem", "-out", f"{stem}cert.pem"]
    about = ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([OPENSSL, "req", "-x509", *curve, *files, *about], cwd=directory, check=True, capture_output=True)


def common_name(service: Service, trusted: Path) -> str:
    """Return the common name of the certificate that a new connection gets, which `trusted` must vouch for."""
    context = ssl.create_default_context(cafile=trusted)
    with context.wrap_socket(service.connect(), server_hostname="127.0.0.1") as connection:
        certificate: Any = connection.getpeercert()
    return str(certificate["subject"][0][0][1])


def test_an_import_trusts_the_certificate_that_it_is_told_of(start_service: StartService, tmp_path: Path) -> None:
    """Without, and where no TLS is spoken, it ends at once and names the address: waiting would change nothing."""
    issue(tmp_path, "own")
    url = f"127.0.0.1:{start_service(server__tls_certificate='cert.pem', server__tls_key='key.pem').port}"
    np.save(tmp_path / "a.npy", np.array([1.5]))
    command = ("import", "A", "a.npy", "--url")
    result = run_command(tmp_path, *command, f"https://{url}")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"hft-mmap: https://{url}: ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED] ")
    assert result.stderr.endswith("; name a file with what signed it (verify, --ca)\n")
    assert run_command(tmp_path, *command, f"https://{url}", "--ca", "cert.pem").returncode == 0
    (tmp_path / "empty.pem").touch()
    result = run_command(tmp_path, *command, f"https://{url}", "--ca", "empty.pem")
    assert result.stderr.startswith("hft-mmap: empty.pem holds no certificate in PEM that could be trusted: ")
    plain = tmp_path / "plain"
    plain.mkdir()
    url = f"https://127.0.0.1:{start_service(plain).port}"
    result = run_command(tmp_path, *command, url)
    assert result.returncode == 1
    assert result.stderr.startswith(f"hft-mmap: {url}: ConnectError: [SSL")


def test_it_speaks_tls_and_takes_a_renewed_certificate(start_service: StartService, tmp_path: Path) -> None:
    """Requests over TLS 1.2 and 1.3 only; SIGHUP renews, open connections go on, and bad files change nothing."""
    issue(tmp_path, "first")
    service = start_service(server__tls_certificate="cert.pem", server__tls_key="key.pem")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(tmp_path / "cert.pem", trusted)
    with httpx.Client(
        base_url=f"https://127.0.0.1:{service.port}",
        verify=ssl.create_default_context(cafile=trusted),
        timeout=PATIENCE_S,
    ) as client:
        assert client.post("/add_batch", json={"symbol": "A", "values": [1.0] * 50_000}).status_code == 200
        assert client.get("/stats?symbol=A&exponent=1").json()["last"] == 1.0
        check_versions(service, trusted)
        assert common_name(service, trusted) == "first"

        issue(tmp_path, "second")
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_event("reloaded", what="certificate")
        assert common_name(service, tmp_path / "cert.pem") == "second"

        shutil.copy(tmp_path / "cert.pem", trusted)
        issue(tmp_path, "third", "other-")
        shutil.copy(tmp_path / "other-cert.pem", tmp_path / "cert.pem")  # without its key
        service.process.send_signal(signal.SIGHUP)
        reason = service.wait_for_event("reload_failed", what="certificate")["reason"]
        assert (
            reason == "TLS certificate cert.pem and key key.pem cannot be used: the key is not that of the certificate"
        )
        assert common_name(service, trusted) == "second"
        assert client.get("/health").status_code == 200  # on the connection of before
    assert service.stop() == 0


def check_versions(service: Service, trusted: Path) -> None:
    """Only TLS 1.2 and newer get an answer."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=trusted)
        context.minimum_version = context.maximum_version = version
        assert (
            httpx.get(f"https://127.0.0.1:{service.port}/health", verify=context, timeout=PATIENCE_S).status_code == 200
        )
    old = subprocess.run(
        [OPENSSL, "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{service.port}"],
        input=b"", capture_output=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert (old.returncode, b"Cipher is (NONE)" in old.stdout) == (1, True)
    with service.connect() as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in plain.recv(4096)


def test_an_orderly_stop_answers_what_is_in_flight(start_service: StartService, tmp_path: Path) -> None:
    """Also over TLS: the body that arrives after SIGTERM is answered; who is idle or silent is not waited for."""
    issue(tmp_path, "x")
    service = start_service(server__tls_certificate="cert.pem", server__tls_key="key.pem")
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    with (
        service.connect(),
        context.wrap_socket(service.connect(), server_hostname="127.0.0.1") as idle,
        context.wrap_socket(service.connect(), server_hostname="127.0.0.1") as connection,
    ):
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")
        body = b'{"symbol":"A","values":[1.0]}'
        connection.sendall(
            b"POST /add_batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_event("stopping")
        connection.sendall(body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert service.wait() == 0
    assert not service.events("grace_exceeded")


def test_a_silent_client_has_no_minute_to_begin_tls(start_service: StartService, tmp_path: Path) -> None:
    """Its connection is closed after server.header_timeout_s, as that of one who never ends its headers is."""
    issue(tmp_path, "x")
    service = start_service(
        server__tls_certificate="cert.pem",
        server__tls_key="key.pem",
        server__header_timeout_s=1,
        server__keep_alive_s=30,
    )
    with service.connect() as silent:
        assert silent.recv(1) == b""


def test_handshakes_that_are_not_over_are_counted_and_make_room(start_service: StartService, tmp_path: Path) -> None:
    """With every place taken by clients that only connected, the oldest of them goes, and who speaks TLS is served."""
    issue(tmp_path, "x")
    service = start_service(server__tls_certificate="cert.pem", server__tls_key="key.pem", server__max_connections=4)
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")

    def held(client: httpx.Client, account: str) -> float:
        line = f'hft_mmap_account_held{{account="{account}"}} '
        text = client.get("/metrics").text
        return next(float(found.removeprefix(line)) for found in text.splitlines() if found.startswith(line))

    url = f"https://127.0.0.1:{service.port}"
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(base_url=url, verify=context, timeout=PATIENCE_S))
        assert (held(client, "connections"), held(client, "requests")) == (1, 0)
        silent = [stack.enter_context(service.connect()) for _ in range(2)]
        wait_until(lambda: held(client, "connections") == 3, "their places")
        assert held(client, "requests") == 2 * HANDSHAKE_BYTES
        silent += [stack.enter_context(service.connect()) for _ in range(10)]
        for ended in silent[:8]:
            with suppress(ConnectionResetError):
                assert ended.recv(1) == b""
        assert common_name(service, tmp_path / "cert.pem") == "x"
        assert held(client, "connections") <= 4
        for connection in silent:
            connection.close()
        wait_until(lambda: (held(client, "connections"), held(client, "requests")) == (1, 0), "the end of all")


def test_whatever_comes_in_place_of_a_handshake_is_no_fault(start_service: StartService, tmp_path: Path) -> None:
    """Noise, half a handshake, a reset, and any of them ended to make room: nothing is logged, and nothing is kept."""
    issue(tmp_path, "x")
    service = start_service(server__tls_certificate="cert.pem", server__tls_key="key.pem", server__max_connections=4)
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="127.0.0.1").do_handshake()
    hello = sent.read()
    for round_ in range(40):
        with ExitStack() as stack:
            for data in (b"", b"GET / HTTP/1.1\r\n\r\n", hello[:100], hello, hello + bytes(100)):
                connection = stack.enter_context(service.connect())
                if round_ % 2:  # closed with a reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with suppress(ConnectionError):
                    connection.sendall(data)
    with httpx.Client(base_url=f"https://127.0.0.1:{service.port}", verify=context, timeout=PATIENCE_S) as client:
        wait_until(lambda: 'held{account="connections"} 1.0\n' in client.get("/metrics").text, "the end of all others")
        assert 'held{account="requests"} 0.0\n' in client.get("/metrics").text
    assert service.stop() == 0
    assert [event for event in service.events() if event["level"] in {"warning", "error"}] == []


def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """With 78, one line, and before the data is touched."""
    (tmp_path / "cert.pem").write_text("no certificate")
    (tmp_path / "key.pem").write_text("no key")
    files = {"server__tls_certificate": "cert.pem", "server__tls_key": "key.pem"}
    result = run_command(tmp_path, "serve", server__port=0, **files)
    text = "hft-mmap: TLS certificate cert.pem and key key.pem cannot be used: both must be PEM, "
    assert (result.returncode, result.stderr.count("\n")) == (78, 1)
    assert result.stderr.startswith(text)
    assert not (tmp_path / "data").exists()


def test_each_file_that_is_missing_or_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, of another pair, with a password: the text says which file, and never asks a terminal."""
    monkeypatch.chdir(tmp_path)
    settings = ServerSettings(tls_certificate="cert.pem", tls_key="key.pem")

    def refusal() -> str:
        with pytest.raises(CredentialsError) as caught:
            Certificate(settings)
        return str(caught.value)

    assert refusal() == "TLS certificate cert.pem cannot be read: No such file or directory"
    issue(tmp_path, "one")
    Path("key.pem").rename("away.pem")
    assert refusal() == "TLS key key.pem cannot be read: No such file or directory"
    command = [OPENSSL, "ec", "-in", "away.pem", "-out", "key.pem", "-aes256", "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)
    assert "the key without a password" in refusal()
    issue(tmp_path, "two", "other-")
    Path("other-key.pem").rename("key.pem")
    assert "the key is not that of the certificate" in refusal()


def test_a_feed_trusts_the_certificate_that_it_is_told_of(start_service: StartService, tmp_path: Path) -> None:
    """And no other: waiting would change nothing."""
    issue(tmp_path, "own")
    url = f"https://127.0.0.1:{start_service(server__tls_certificate='cert.pem', server__tls_key='key.pem').port}"
    with Client(url, verify=ssl.create_default_context(cafile=tmp_path / "cert.pem")) as client:
        with client.feed() as feed:
            feed.add("A", 1.5)
        assert client.values("A").tolist() == [1.5]
    with (
        Client(url) as client,
        pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"),
        client.feed(offsets={"A": 1}) as feed,
    ):
        feed.add("A", 2.5)
