"""Tokens that are for some symbols only: what they may read and write, and what they are told of the others."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.access.patterns import MOST_PATTERNS, parse_pattern
from api.access.secret_files import CredentialsError
from api.access.tokens import add, read
from hft_mmap import Store
from tests.api.test_auth import bearer
from tests.service import ROOT, Service, running_service, wait_until

Sent = dict[str, str]
SCOPES = {
    "all": ["read", "write"], "es": ["read:ES.*", "write:ES.A"], "two": ["read:NQ", "read:ES.A", "read"],
    "writer": ["write:NQ"], "admin": ["admin"],
}  # fmt: skip
SYMBOLS = ("ES.A", "ES.B", "NQ")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Sent]]:
    """Yield a service with three symbols and tokens for some of them."""
    directory = tmp_path_factory.mktemp("symbols")
    sent = {name: add(directory / "tokens", name, scopes) for name, scopes in SCOPES.items()}
    with running_service(directory, auth__tokens_file="tokens") as service:
        for symbol in SYMBOLS:
            answer = post(service, sent["all"], {"symbol": symbol, "values": [1.0, 2.0, 3.0]})
            assert answer.status_code == 200
        yield service, sent


def post(service: Service, token: str, body: object, **options: object) -> httpx.Response:
    """Append a batch."""
    return service.client.post("/add_batch", json=body, headers=bearer(token), **options)  # type: ignore[arg-type]


def get(service: Service, token: str, path: str) -> httpx.Response:
    """Ask."""
    return service.client.get(path, headers=bearer(token))


def asking() -> list[tuple[str, str]]:
    """Return method and path of each request that the OpenAPI document has and that names a symbol in its query."""
    document = json.loads((ROOT / "api" / "routes" / "openapi.json").read_text(encoding="utf-8"))
    shared = document["components"]["parameters"]
    found = []
    for route, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                given = [*item.get("parameters", ()), *operation.get("parameters", ())]
                known = [shared[one["$ref"].rsplit("/", 1)[1]] if "$ref" in one else one for one in given]
                if any((one["name"], one["in"]) == ("symbol", "query") for one in known):
                    found.append((method.upper(), route))
    return found


def test_no_route_answers_for_a_symbol_that_a_token_is_not_for(shared: tuple[Service, Sent]) -> None:
    """Every route with a symbol in its query: 403, the first time and again, spelt in whatever way."""
    service, sent = shared
    routes = [one for one in asking() if one[1] not in {"/stream", "/add_batch"}]
    assert {route for _, route in routes} >= {"/stats", "/values", "/events", "/windows", "/metrics", "/series"}
    for method, route in routes:
        for query in ("symbol=NQ", "symbol=NQ", "%73ymbol=%4eQ", "symbol=ES.A&symbol=NQ", "window=1&symbol=NQ&"):
            answer = service.client.request(method, f"{route}?{query}", headers=bearer(sent["es"]))
            assert (answer.status_code, "NQ" in answer.text or method == "HEAD") == (403, True), (method, route, query)
            assert answer.headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="read"')
        assert service.client.request(method, f"{route}?symbol=NONE", headers=bearer(sent["es"])).status_code == 403
    assert get(service, sent["es"], "/stats?symbol=%zz").status_code == 400
    assert get(service, sent["es"], "/stats?symbol=ES.A&window=2").json()["avg"] == 2.5
    assert get(service, sent["es"], "/stats?symbol=ES.A&symbol=ES.B&window=2").status_code == 200
    assert get(service, sent["two"], "/stats?symbol=ES.B&window=2").status_code == 200
    assert get(service, sent["writer"], "/stats?symbol=NQ&window=2").status_code == 403


def test_a_list_has_what_a_token_may_read(shared: tuple[Service, Sent]) -> None:
    """The others are neither listed nor looked at by their names, nor counted by a page."""
    service, sent = shared

    def listed(token: str, query: str = "") -> list[str]:
        return [row["symbol"] for row in get(service, sent[token], f"/symbols{query}").json()["symbols"]]

    assert (listed("es"), listed("all"), listed("admin")) == (["ES.A", "ES.B"], [*SYMBOLS], [*SYMBOLS])
    page = get(service, sent["es"], "/symbols?limit=1&after=ES.A").json()
    assert ([row["symbol"] for row in page["symbols"]], page["next"]) == (["ES.B"], None)
    for path, status in (("/symbols/ES.A", 200), ("/symbols/NQ", 403), ("/symbols/NONE", 403), ("/symbols/N%51/", 403)):
        assert get(service, sent["es"], path).status_code == status
    assert service.client.delete("/symbols/ES.A", headers=bearer(sent["es"])).status_code == 403
    metrics = read_text(get(service, sent["es"], "/metrics").text)
    named = {one.labels["symbol"] for family in metrics for one in family.samples if "symbol" in one.labels}
    assert named == {"ES.A", "ES.B"}


def test_a_batch_is_for_a_symbol_that_a_token_may_write(shared: tuple[Service, Sent]) -> None:
    """In every form of a body; nothing of another is stored, and none is made."""
    service, sent = shared
    before = get(service, sent["all"], "/symbols").json()
    for symbol in ("ES.B", "NQ", "NEW"):
        assert post(service, sent["es"], {"symbol": symbol, "values": [9.0]}).status_code == 403
        raw = {**bearer(sent["es"]), "Content-Type": "application/octet-stream"}
        answer = service.client.post(f"/add_batch?symbol={symbol}", content=b"\0" * 8, headers=raw)
        assert (answer.status_code, symbol in answer.text) == (403, True)
    assert get(service, sent["all"], "/symbols").json() == before
    lines = b'{"symbol":"NQ","values":[1]}\n{"symbol":"ES.A","values":[4]}\n{"symbol":"ES.B","values":[1]}\n'
    ndjson = {**bearer(sent["es"]), "Content-Type": "application/x-ndjson"}
    answer = service.client.post("/add_batch", content=lines, headers=ndjson)
    assert (answer.status_code, [line["status"] for line in answer.json()["lines"]]) == (200, [403, 200, 403])
    totals = {row["symbol"]: row["total"] for row in get(service, sent["all"], "/symbols").json()["symbols"]}
    assert (totals["NQ"], totals["ES.B"], set(totals)) == (3, 3, set(SYMBOLS))
    assert post(service, sent["writer"], {"symbol": "NQ", "values": []}).status_code == 400


def test_streams_are_for_the_symbols_of_their_tokens(shared: tuple[Service, Sent]) -> None:
    """In the query, in a message and in each frame."""
    service, sent = shared
    url = f"ws://127.0.0.1:{service.port}/stream"
    for token, query in (
        ("es", "mode=stats&symbol=NQ"), ("es", "mode=stats&symbol=ES.A&symbol=NQ"), ("es", "mode=ingest&symbol=ES.B"),
        ("writer", "mode=stats&symbol=NQ"), ("writer", "mode=ingest&symbol=ES.A"),
    ):  # fmt: skip
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"{url}?{query}", additional_headers=bearer(sent[token])) as stream,
        ):
            stream.recv()
        assert refused.value.response.status_code == 403, query
    with connect(f"{url}?mode=stats", additional_headers=bearer(sent["es"])) as stream:
        stream.send('{"subscribe":"NQ"}')
        assert json.loads(stream.recv())["status"] == 403
        stream.send('{"subscribe":"ES.B"}')
        assert json.loads(stream.recv())["symbol"] == "ES.B"
    with connect(f"{url}?mode=ingest", additional_headers=bearer(sent["es"])) as stream:
        assert sorted(json.loads(stream.recv())["totals"]) == ["ES.A", "ES.B"]
        stream.send('{"symbol":"NQ","values":[1.0]}')
        assert json.loads(stream.recv())["status"] == 403


def test_what_does_not_serve_is_told_to_whom_it_is_for(tmp_path: Path) -> None:
    """That something does not is told to everybody."""
    with Store(tmp_path / "data") as store:
        for symbol in ("ES.A", "NQ"):
            store.append(symbol, [1.0])
    (tmp_path / "data" / "NQ" / "head").write_bytes(b"no head")
    sent = {name: add(tmp_path / "tokens", name, scopes) for name, scopes in SCOPES.items()}
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        for token, symbols in (("all", ["NQ"]), ("es", [])):
            answer = get(service, sent[token], "/ready")
            assert (answer.status_code, [one["symbol"] for one in answer.json()["reasons"]]) == (503, symbols)
            assert ("NQ" in answer.text) == bool(symbols)


def test_another_pattern_is_another_token(tmp_path: Path) -> None:
    """A line whose pattern has changed counts from the reload on, also where the token was let through before."""
    token = add(tmp_path / "tokens", "desk", ["read:ES.*"])
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        assert get(service, token, "/stats?symbol=ES.A").status_code == 404
        path = tmp_path / "tokens"
        path.write_text(path.read_text().replace("ES.*", "NQ"))
        service.process.send_signal(1)
        wait_until(lambda: get(service, token, "/stats?symbol=NQ").status_code == 404, "the reload")
        assert get(service, token, "/stats?symbol=ES.A").status_code == 403


@pytest.mark.parametrize(
    ("pattern", "those", "others"),
    [
        ("ES", ["ES"], ["ES.A", "es", "XES", ""]),
        ("ES.*", ["ES.", "ES.A", "ES.A.B"], ["ES", "ESxA"]),
        ("*", ["ES", ""], []),
        ("*.A", [".A", "ES.A"], ["A", "ES.AB"]),
        ("A*A", ["AA", "ABA"], ["A", "AAB"]),
        ("A*B*C*D", ["ABCD", "A-B-CC-D"], ["ACBD", "ABC"]),
        ("**x**", ["x", "axb"], ["a"]),
        ("a%2Ab", ["a*b"], ["a%2Ab", "axb"]),
        ("EUR/USD%20%2C%23", ["EUR/USD ,#"], ["EUR/USD"]),
        ("日*", ["日本"], ["本"]),
    ],
)
def test_a_pattern_stands_for_symbols(pattern: str, those: list[str], others: list[str]) -> None:
    """A star for any characters, everything else for itself."""
    found = parse_pattern(pattern)
    assert [found.matches(symbol) for symbol in those] == [True] * len(those)
    assert [found.matches(symbol) for symbol in others] == [False] * len(others)


@pytest.mark.parametrize(
    ("scopes", "reason"),
    [
        (["admin:ES"], "admin is for all symbols"),
        (["read:"], "has 1 to 256 characters"),
        (["read:" + "x" * 257], "has 1 to 256 characters"),
        (["read:%4"], "two hexadecimal digits"),
        (["read:%ff"], "must be UTF-8"),
        (["reed:ES"], "the scopes must be some of read, write, admin"),
        ([f"read:{number}" for number in range(MOST_PATTERNS + 1)], "at most 64 patterns"),
    ],
)
def test_a_line_that_is_wrong_is_refused(tmp_path: Path, scopes: list[str], reason: str) -> None:
    """With what is wrong in it, whether the command or an editor wrote it."""
    with pytest.raises(CredentialsError, match=reason):
        add(tmp_path / "tokens", "desk", scopes)
    path = tmp_path / "written"
    path.write_text(f"desk {','.join(scopes)} sha256:{'0' * 64}\n")
    path.chmod(0o600)
    with pytest.raises(CredentialsError, match=reason):
        read(path)
