"""What a token for some symbols costs others, and what it is still worth once it was taken back."""

import json
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from api.access.patterns import MOST_PATTERNS
from api.access.tokens import add
from hft_mmap import Limits, Store
from tests.api.test_auth import bearer
from tests.service import PATIENCE_S, Service, running_service

LONG = [f"{scope}:{number:02d}{'x' * 240}*" for number in range(MOST_PATTERNS // 2) for scope in ("read", "write")]


def total(service: Service, token: str, symbol: str) -> int:
    """Return where a series ends."""
    return int(service.client.get(f"/symbols/{symbol}", headers=bearer(token)).json()["total"])


def test_a_refusal_does_not_grow_with_the_patterns_of_the_token(tmp_path: Path) -> None:
    """Each line of a body is told why it was refused, in a text of bounded length."""
    token = add(tmp_path / "tokens", "desk", LONG)
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        headers = {**bearer(token), "Content-Type": "application/x-ndjson"}
        answer = service.client.post("/add_batch", content=b'{"symbol":"NQ","values":[1]}\n' * 500, headers=headers)
        assert [line["status"] for line in answer.json()["lines"]] == [403] * 500
        assert len(answer.content) < 500 * 700
        refused = service.client.get("/stats?symbol=NQ", headers=bearer(token))
        assert (refused.status_code, len(refused.content) < 2_000) == (403, True)


def test_what_is_no_symbol_is_held_against_no_pattern(tmp_path: Path) -> None:
    """It is told what is wrong with it, in a query, a body, a line, a frame and a message; so are too many symbols."""
    token = add(tmp_path / "tokens", "desk", ["read:ES.*", "write:ES.*"])
    long = "ES." + "x" * 62
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        headers = bearer(token)
        for symbol in (long, "", "NQ%0A"):
            answer = service.client.get(f"/stats?symbol={symbol}", headers=headers)
            assert (answer.status_code, "symbol" in answer.text) == (400, True)
        for symbol in (long, "N" * 60_000, "NQ\n"):
            batch = {"symbol": symbol, "values": [1.0]}
            assert service.client.post("/add_batch", json=batch, headers=headers).status_code == 400
            lines = {**headers, "Content-Type": "application/x-ndjson"}
            answer = service.client.post("/add_batch", content=json.dumps(batch), headers=lines)
            assert answer.json()["lines"][0]["status"] == 400
        many = "&".join(f"symbol=NQ{number}" for number in range(1_001))
        answer = service.client.get(f"/stats?window=1&{many}", headers=headers)
        assert (answer.status_code, "at most 1,000" in answer.text) == (400, True)
        url = f"ws://127.0.0.1:{service.port}/stream"
        with connect(f"{url}?mode=stats", additional_headers=headers) as stream:
            stream.send(json.dumps({"subscribe": long}))
            assert json.loads(stream.recv())["status"] == 400
        with connect(f"{url}?mode=ingest", additional_headers=headers) as stream:
            assert json.loads(stream.recv())["event"] == "hello"
            stream.send(json.dumps({"symbol": long, "values": [1.0]}))
            assert json.loads(stream.recv())["status"] == 400


def test_a_list_of_some_of_many_symbols_is_made_beside_the_event_loop(tmp_path: Path) -> None:
    """However few it asks for: every symbol is held against the patterns until they are found."""
    with Store(tmp_path / "data", limits=Limits(max_symbols=200)) as store:
        for number in range(102):
            store.create(f"S{number:03d}")
    sent = {name: add(tmp_path / "tokens", name, scopes) for name, scopes in (("all", ["read"]), ("z", ["read:S101"]))}

    def beside(service: Service) -> float:
        families = read_text(service.client.get("/metrics", headers=bearer(sent["all"])).text)
        samples = [one for family in families for one in family.samples]
        return sum(one.value for one in samples if one.name == "hft_mmap_long_questions_total")

    with running_service(tmp_path, auth__tokens_file="tokens", store__max_symbols=200) as service:
        before = beside(service)
        assert service.client.get("/symbols?limit=1", headers=bearer(sent["all"])).json()["next"] == "S000"
        assert beside(service) == before
        answer = service.client.get("/symbols?limit=1", headers=bearer(sent["z"])).json()
        assert ([row["symbol"] for row in answer["symbols"]], answer["next"]) == (["S101"], None)
        assert beside(service) == before + 1


@pytest.mark.parametrize("now", ["", "desk read:NQ,write:NQ"])
def test_what_is_under_way_ends_with_its_token(tmp_path: Path, now: str) -> None:
    """A token is removed, or is for other symbols: an idle stream asks no more, and a body that comes is not stored."""
    path = tmp_path / "tokens"
    token = add(path, "desk", ["read:ES.*", "write:ES.*"])
    line = path.read_text()
    whole = add(path, "all", ["read", "write"])
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        assert service.client.post(
            "/add_batch", json={"symbol": "ES.A", "values": [1.0]}, headers=bearer(whole)
        ).is_success  # fmt: skip
        body = b'{"symbol":"ES.A","values":[2.0]}'
        head = (
            f"POST /add_batch HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"  # run from the head on
        ).encode()
        url = f"ws://127.0.0.1:{service.port}/stream?mode=stats"
        with service.connect() as upload, connect(url, additional_headers=bearer(token)) as stream:
            upload.sendall(head + b"%x\r\n%b\r\n" % (10, body[:10]))
            stream.send('{"subscribe":"ES.NONE"}')
            assert json.loads(stream.recv())["status"] == 404
            hashed = line.split()[-1]
            path.write_text(path.read_text().replace(line, f"{now} {hashed}\n" if now else ""))
            service.process.send_signal(1)
            service.wait_for_event("reloaded", what="tokens")
            upload.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 10, body[10:]))
            assert _status(upload) == 401
            stream.send('{"subscribe":"ES.NONE"}')
            assert json.loads(stream.recv())["status"] == 401
            with pytest.raises(ConnectionClosed) as ended:
                stream.recv()
            assert ended.value.rcvd is not None
            assert ended.value.rcvd.code == 4401
        assert total(service, whole, "ES.A") == 1


def _status(sent: socket.socket) -> int:
    """Return the status of the answer that comes."""
    sent.settimeout(PATIENCE_S)
    with sent.makefile("rb") as answer:
        return int(answer.readline().split()[1])
