"""Tokens, certificates and addresses that others can reach, under the units and a real systemd."""

import http.client
import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_tls import OPENSSL, issue
from tests.service import PATIENCE_S, ROOT, wait_until
from tests.systemd.machine import PORT, SERVICE, Machine

SOCKET = "hft-mmap.socket"
ETC = Path("etc/hft-mmap")
CREDENTIALS = ROOT / "systemd/examples/credentials.conf"


def token(machine: Machine, name: str) -> str:
    """Make a token that may do everything."""
    printed = machine.run("hft-mmap", "token", name, "--scope", "admin", "--file", f"/{ETC}/tokens")
    return str(re.findall(r"^hft_\S+", printed, re.MULTILINE)[0])


def configure(machine: Machine, text: str) -> None:
    """Append to the settings of the service."""
    with (machine.root / ETC / "config.toml").open("a") as settings:
        settings.write(text)


def status(machine: Machine, sent: str = "") -> int:
    """Return the status of an answer to somebody with that token, or without one."""
    with machine.client() as client:
        headers = {"Authorization": f"Bearer {sent}"} if sent else {}
        return client.get("/symbols", headers=headers).status_code


def status_over_tls(machine: Machine, trusted: Path, sent: str) -> int:
    """Return the same over TLS, at the port of the socket."""
    answers: list[Any] = []

    def ask() -> None:
        context = ssl.create_default_context(cafile=str(trusted))
        context.check_hostname = False
        connection = http.client.HTTPSConnection("127.0.0.1", PORT, timeout=PATIENCE_S, context=context)
        connection.request("GET", "/symbols", headers={"Authorization": f"Bearer {sent}"} if sent else {})
        answers.append(connection.getresponse().status)
        connection.close()

    machine.in_network(ask).join(PATIENCE_S)
    return int(answers[0])


@pytest.mark.skipif(not OPENSSL, reason="the package openssl is not installed")
def test_credentials_of_systemd_are_used(machine: Machine, tmp_path: Path) -> None:
    """Files that only root can read: tokens, and TLS on the passed sockets; the service says so in 78 without them."""
    text = CREDENTIALS.read_text()
    settings = "\n".join(line[5:] for line in text.splitlines() if line.startswith("#     "))
    configure(machine, f"\n{settings}\n")
    made = token(machine, "desk")
    issue(tmp_path, "hft-mmap.test")
    for name, source in (("certificate.pem", "cert.pem"), ("key.pem", "key.pem")):
        (machine.root / ETC / name).write_bytes((tmp_path / source).read_bytes())
        (machine.root / ETC / name).chmod(0o600)
    machine.systemctl("start", SERVICE, expect=1)
    assert machine.show("ExecMainStatus") == "78"
    machine.drop_in(text)
    machine.systemctl("reset-failed")
    machine.systemctl("start", SERVICE)
    assert status_over_tls(machine, tmp_path / "cert.pem", made) == 200
    assert status_over_tls(machine, tmp_path / "cert.pem", "") == 401
    machine.run("hft-mmap", "check-config")  # where there are no credentials, and they are not missed


def test_a_reload_takes_tokens_that_are_root_s_own(machine: Machine) -> None:
    """root:hft-mmap 0640: the service reads who may use it, and can't change it."""
    file = f"/{ETC}/tokens"
    configure(machine, f'\n[auth]\ntokens_file = "{file}"\n')
    first = token(machine, "first")
    machine.run("chown", "root:hft-mmap", file)
    machine.run("chmod", "640", file)
    machine.systemctl("start", SERVICE)
    second = token(machine, "second")
    assert [status(machine, one) for one in (first, second, "")] == [200, 401, 401]
    machine.run("sed", "-i", "/^first /d", file)
    machine.run("chown", "root:hft-mmap", file)
    machine.systemctl("reload", SERVICE)
    wait_until(lambda: machine.events("reloaded"), "the tokens to be read again")
    assert [status(machine, one) for one in (first, second, "")] == [401, 200, 401]
    machine.run("setpriv", "--reuid=hft-mmap", "--regid=hft-mmap", "--init-groups", "test", "-w", file, expect=1)


def test_beyond_this_machine_it_wants_tokens(machine: Machine) -> None:
    """Whoever opened the socket: 78, which is not tried again; the reason is in the journal."""
    machine.drop_in(f"[Socket]\nListenStream=\nListenStream=0.0.0.0:{PORT}\n", SOCKET)
    machine.systemctl("start", SERVICE, expect=1)
    assert (machine.show("ActiveState"), machine.show("ExecMainStatus")) == ("failed", "78")
    assert "0.0.0.0 can be reached from other machines" in machine.messages()


def test_a_client_that_waits_for_a_service_with_wrong_settings_is_let_go(machine: Machine) -> None:
    """It has systemd try again until the limit of starts; then the socket is closed, and the client with it."""
    configure(machine, "\n[server]\nprot = 1\n")
    machine.drop_in("[Unit]\nStartLimitBurst=3\n")
    machine.systemctl("start", SOCKET)
    ended: list[str] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE_S)
        connection.request("GET", "/health")
        try:
            connection.getresponse()
        except (ConnectionError, http.client.HTTPException) as error:
            ended.append(type(error).__name__)
        connection.close()

    machine.in_network(ask).join(PATIENCE_S)
    assert ended
    wait_until(lambda: machine.show("ActiveState", SOCKET) == "failed", "the socket to be closed")
    assert machine.show("Result", SOCKET) == "service-start-limit-hit"
    assert machine.show("ExecMainStatus") == "78"
    (machine.root / ETC / "config.toml").write_text((ROOT / "systemd/config.toml").read_text())
    machine.systemctl("reset-failed", SERVICE, SOCKET)
    machine.systemctl("start", SERVICE)
    assert status(machine) == 200
