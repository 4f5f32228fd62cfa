"""Who may do what, on a real service with tokens: default deny, scopes, reload, and no token in any log."""

import http.client
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.access.tokens import ADMIN, ANY, NOBODY, OPEN, READ, SCOPES, WRITE, Tokens, add, read
from api.app import access_by_method
from hft_mmap import Store
from tests.conftest import StartService
from tests.hft_mmap.damage import flip
from tests.service import ROOT, Service, run_command, running_service

Sent = dict[str, str]
"""Tokens by the name of their only scope."""


def make_tokens(directory: Path) -> Sent:
    """Write a tokens file with one token for each scope."""
    return {scope: add(directory / "tokens", scope, [scope]) for scope in SCOPES}


def bearer(token: str) -> dict[str, str]:
    """Return the header that sends a token."""
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Sent]]:
    """Yield a service with tokens for all tests that leave it as it is, and its tokens."""
    directory = tmp_path_factory.mktemp("guarded")
    sent = make_tokens(directory)
    with running_service(directory, auth__tokens_file="tokens") as service:
        body = {"symbol": "A", "values": [1.0, 2.0]}
        assert service.client.post("/add_batch", json=body, headers=bearer(sent[WRITE])).status_code == 200
        yield service, sent


def described() -> dict[tuple[str, str], str]:
    """Return the scope of each method of each route as the OpenAPI document has it (which has its own tests)."""
    document = json.loads((ROOT / "api" / "routes" / "openapi.json").read_text(encoding="utf-8"))
    return {
        (method.upper(), route): next(iter(operation["security"][1]["bearer"]), ANY)
        if "security" in operation
        else OPEN
        for route, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_every_route_needs_what_its_table_says(shared: tuple[Service, Sent]) -> None:
    """Each method of each route with each token and with none, with the slash at the end and without."""
    service, sent = shared
    table = described()
    assert {scope for _, scope in table.items()} >= {OPEN, READ, WRITE}
    for (method, route), scope in table.items():
        for path in (route, f"{route.rstrip('/')}/"):
            for name, token in {"": "", **sent}.items():
                answer = service.client.request(method, path, headers=bearer(token) if token else {})
                allowed = scope == OPEN or (bool(name) and (name in {scope, ADMIN} or scope == ANY))
                expected = None if allowed else 403 if name else 401
                found = answer.status_code if answer.status_code in {401, 403} else None
                assert found == expected, (method, path, name, answer.text)


@pytest.mark.parametrize("path", ["/nowhere", "/n", "/stats/x", "/statsx", "/../stats", "/data/A/head", "/%2e%2e/etc"])
def test_what_is_no_route_is_closed_too(shared: tuple[Service, Sent], path: str) -> None:
    """A stranger does not even learn that there is nothing; any token does."""
    service, sent = shared
    answer = raw(service, f"GET {path} HTTP/1.1\r\nHost: x\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")
    answer = raw(service, f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sent[WRITE]}\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "path", ["//symbols", "///symbols/", "/symbols/", "/%73ymbols", "/symbols?prefix=x", "//symbols?after=/health"]
)
def test_no_other_way_of_writing_a_route_opens_it(shared: tuple[Service, Sent], path: str) -> None:
    """Whatever path leads to /symbols needs the scope of /symbols: the router itself is asked where it leads."""
    service, sent = shared
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n"
    assert raw(service, request).startswith(b"HTTP/1.1 401 ")
    assert raw(service, f"{request}Authorization: Bearer {sent[WRITE]}\r\n").startswith(b"HTTP/1.1 403 ")
    assert raw(service, f"{request}Authorization: Bearer {sent[READ]}\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "PUT", "OPTIONS", "DELETE"])
def test_other_methods_need_a_token(shared: tuple[Service, Sent], method: str) -> None:
    """What a route allows is told to those only who may use the service at all."""
    service, sent = shared
    assert service.client.request(method, "/stats").status_code == 401
    answer = service.client.request(method, "/stats", headers=bearer(sent[WRITE]))
    assert (answer.status_code, answer.headers["Allow"]) in {(405, "GET, HEAD, OPTIONS"), (200, "GET, HEAD")}


def raw(service: Service, request: str) -> bytes:
    """Send a request that no client would write, and return the beginning of its answer."""
    with service.connect() as connection:
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
        return connection.recv(4096)


def test_a_refusal_is_a_problem_with_a_challenge(shared: tuple[Service, Sent]) -> None:
    """401 says how to send a token, or that this one is none; 403 names the scope that is missing (RFC 6750)."""
    service, sent = shared
    detail = "A token is needed; send it with: -H 'Authorization: Bearer TOKEN'"
    check(service.client.get("/symbols", headers={"X-Request-ID": "mine"}), 401, detail, 'Bearer realm="hft-mmap"')
    assert service.client.get("/symbols", headers={"X-Request-ID": "mine"}).headers["X-Request-ID"] == "mine"
    detail = "The token is not known: it is wrong, or was revoked"
    challenge = 'Bearer realm="hft-mmap", error="invalid_token"'
    for header in ("Bearer wrong", "Basic eDp5", "", f"Bearer {sent[READ]}x", sent[READ]):
        check(service.client.get("/symbols", headers={"Authorization": header}), 401, detail, challenge)
    detail = "The token read has the scope read; this needs write"
    challenge = 'Bearer realm="hft-mmap", error="insufficient_scope", scope="write"'
    answer = service.client.post("/add_batch", json={"symbol": "A", "values": [3.0]}, headers=bearer(sent[READ]))
    check(answer, 403, detail, challenge)
    assert service.client.get("/symbols", headers=bearer(sent[READ])).json()["symbols"][0]["total"] == 2


def check(answer: httpx.Response, status: int, detail: str, challenge: str) -> None:
    """Compare a refusal with what it must be, whole."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == challenge
    title = {401: "Unauthorized", 403: "Forbidden"}[status]
    expected = {"type": "about:blank", "title": title, "status": status, "detail": detail, "error": detail}
    assert (answer.status_code, answer.json()) == (status, expected)


def test_a_refused_body_is_not_waited_for(shared: tuple[Service, Sent]) -> None:
    """A large body from a stranger is refused by its head, and the connection goes on behind it."""
    service, sent = shared
    with service.connect() as connection:
        head = f"POST /add_batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {4 << 20}\r\n"
        connection.sendall(head.encode() + b"\r\n")
        refused = http.client.HTTPResponse(connection)
        refused.begin()
        assert (refused.status, refused.will_close, len(refused.read()) > 0) == (401, False, True)
        connection.sendall(b" " * (4 << 20))
        connection.sendall(f"GET /symbols HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sent[READ]}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_stranger_learns_that_it_is_not_ready_and_not_why(start_service: StartService, tmp_path: Path) -> None:
    """The reasons of /ready name symbols and files: with a token that may read they are told, otherwise not."""
    sent = make_tokens(tmp_path)
    with Store(tmp_path / "data") as store:
        store.append("SECRET-USD", [1.0])
    flip(tmp_path / "data" / "SECRET-USD" / "head", 8)
    service = start_service(auth__tokens_file="tokens")
    for headers in ({}, bearer("wrong"), bearer(sent[WRITE])):
        answer = service.client.get("/ready", headers=headers)
        assert (answer.status_code, answer.json()["reasons"], "SECRET" in answer.text) == (503, [], False)
    answer = service.client.get("/ready/", headers=bearer(sent[READ]))
    assert (answer.status_code, answer.json()["reasons"][0]["symbol"]) == (503, "SECRET-USD")


def test_a_reload_takes_new_tokens_and_drops_old_ones(start_service: StartService, tmp_path: Path) -> None:
    """SIGHUP: what was added works, what was removed does not, even if just used; a bad file changes nothing."""
    sent = make_tokens(tmp_path)
    service = start_service(auth__tokens_file="tokens")

    def statuses(*tokens: str) -> list[int]:
        return [service.client.get("/symbols", headers=bearer(token)).status_code for token in tokens]

    assert statuses(sent[READ], sent[ADMIN]) == [200, 200]
    path = tmp_path / "tokens"
    path.write_text(
        "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("read "))
    )
    new = add(path, "new", [READ])
    assert statuses(sent[READ], new) == [200, 401]
    service.process.send_signal(signal.SIGHUP)
    service.wait_for_event("reloaded", what="tokens")
    assert statuses(sent[READ], new, sent[ADMIN]) == [401, 200, 200]
    with path.open("a") as file:
        file.write(f"mine read {sent[READ]}\n")  # the token where its hash belongs
    service.process.send_signal(signal.SIGHUP)
    failed = service.wait_for_event("reload_failed", what="tokens")
    assert failed["reason"] == "tokens file tokens: line 4: the hash must be sha256: and 64 hexadecimal digits"
    assert failed["level"] == "error"
    assert statuses(sent[READ], new, sent[ADMIN]) == [401, 200, 200]
    assert service.stop() == 0


def test_a_hang_up_without_anything_to_reload_does_nothing(service: Service) -> None:
    """`systemctl reload` and a terminal that closes must not end the service."""
    service.process.send_signal(signal.SIGHUP)
    assert service.add("A", [1.0]).status_code == 200
    assert service.stop() == 0


def test_no_token_is_ever_logged(start_service: StartService, tmp_path: Path) -> None:
    """Right, wrong, in the wrong place, refused: at level debug neither console nor file has a part of any token."""
    sent = make_tokens(tmp_path)
    wrong = "hft_wrong-" + "w" * 37
    service = start_service(auth__tokens_file="tokens", log__level="debug")
    for token in (*sent.values(), wrong):
        for path in ("/symbols", "/stats?symbol=A", "/nowhere", f"/stats?symbol=A&access_token={token}", "/ready"):
            for headers in (bearer(token), {"Authorization": token}, {"Authorization": f"Basic {token}"}):
                answer = service.client.get(path, headers=headers)
                assert token not in answer.text
                assert token not in str(answer.headers)
        body = {"symbol": "A", "values": [1.0], "token": token}
        assert token not in service.client.post("/add_batch", json=body, headers=bearer(token)).text
    service.process.send_signal(signal.SIGHUP)
    service.wait_for_event("reloaded")
    assert service.stop() == 0
    callers = {event.get("caller") for event in service.events("request")}
    assert callers == {*sent, None}
    logged = service.log_file.read_text() + json.dumps(service.events())
    for token in (*sent.values(), wrong):
        for part in (token, token[4:24], token[-20:]):
            assert part not in logged


def test_a_tokens_file_without_tokens_lets_nobody_in(start_service: StartService, tmp_path: Path) -> None:
    """Whoever removes the last line has closed the door, not taken it off its hinges."""
    (tmp_path / "tokens").touch(0o600)
    service = start_service(auth__tokens_file="tokens")
    assert service.client.get("/symbols").status_code == 401
    assert service.client.get("/health").status_code == 200


# -- starts that must fail --------------------------------------------------------------------------------------------


def test_a_tokens_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """With 78, one line, and before the port and the data are touched."""
    make_tokens(tmp_path)
    (tmp_path / "tokens").chmod(0o644)
    result = run_command(tmp_path, "serve", server__port=0, auth__tokens_file="tokens")
    text = "hft-mmap: tokens file tokens is open to others (mode 0644): chmod 600 tokens\n"
    assert (result.returncode, result.stderr) == (78, text)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - that nobody listens there by accident is the point
def test_strangers_are_not_served_by_accident(tmp_path: Path, host: str) -> None:
    """Beyond loopback it takes tokens or a deliberate setting; otherwise 78, and the data is not touched."""
    result = run_command(tmp_path, "serve", server__port=0, server__host=host)
    assert result.returncode == 78
    assert result.stderr.startswith(f"hft-mmap: {host} can be reached from other machines, and everybody there could ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("key", "value", "status"), [("allow_anonymous", "true", 200), ("tokens_file", "tokens", 401)])
def test_strangers_are_served_on_purpose(tmp_path: Path, key: str, value: str, status: int) -> None:
    """With the setting, or with tokens."""
    make_tokens(tmp_path)
    settings: dict[str, object] = {"server__host": "0.0.0.0", f"auth__{key}": value}  # noqa: S104 - on purpose
    with running_service(tmp_path, **settings) as service:
        assert service.client.get("/symbols").status_code == status


def test_every_route_must_say_who_may_use_it() -> None:
    """A route, or a method of one, that is left out of the table stops the start."""

    class Resource:
        async def on_get(self) -> None:
            pass

        on_post = on_get

    assert access_by_method({"GET": READ, "POST": WRITE}, Resource()) == {"GET": READ, "POST": WRITE, "OPTIONS": ANY}
    with pytest.raises(KeyError, match="POST"):
        access_by_method({"GET": READ}, Resource())
    assert NOBODY.scopes == {OPEN}


def test_tokens_come_back_from_the_file_they_were_added_to(tmp_path: Path) -> None:
    """What `add` writes is what `Tokens` knows."""
    sent = make_tokens(tmp_path)
    tokens = Tokens(tmp_path / "tokens")
    assert [tokens.of(token.encode()).name for token in sent.values()] == [t.name for t in read(tmp_path / "tokens")]
