"""Every operation of the OpenAPI document, by tokens for some symbols: a route that is new is in it from the start."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import httpx
import pyarrow as pa
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.access.tokens import ADMIN, READ, WRITE, Token, add
from tests.api.test_auth import bearer
from tests.api.test_openapi import DOCUMENT, OPERATIONS, resolved
from tests.service import Service, running_service

Sent = dict[str, str]
MINE, OTHERS, MISSING = "ES.A", "NQ.SECRET", "NQ.ABSENT"
TOKENS = {
    "both": ["read:ES.*", "write:ES.*"], "reader": ["read:ES.*"], "writer": ["write:ES.A"],
    "crossed": ["read:ES.*", "write:NQ.S*"], "stars": ["read:*S.A", "write:E*.A"],
}  # fmt: skip
FORM = "application/x-www-form-urlencoded"
JSON, RAW, ARROW, LINES, TEXT = (
    "application/json", "application/octet-stream", "application/vnd.apache.arrow.stream", "application/x-ndjson",
    "text/plain",
)  # fmt: skip


def _arrow(**columns: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _batch(symbol: str) -> bytes:
    return json.dumps({"symbol": symbol, "values": [1.0]}).encode()


# What an operation is sent, by its media type. A body that has the symbol goes without one in the query.
BODIES: Mapping[tuple[str, str, str], Callable[[str], bytes]] = {
    ("/add_batch", "post", JSON): _batch,
    ("/add_batch", "post", LINES): _batch,
    ("/add_batch", "post", RAW): lambda _: b"\0" * 6 + b"\xf0\x3f",
    ("/add_batch", "post", ARROW): lambda _: _arrow(price=[1.0]),
    ("/write", "post", TEXT): lambda symbol: f"{symbol} price=1".encode(),
    ("/api/v2/write", "post", TEXT): lambda symbol: f"{symbol} price=1".encode(),
    ("/windows", "post", JSON): lambda _: b'{"start":[0],"end":[1]}',
    ("/windows", "post", RAW): lambda _: b"\0" * 8 + b"\1" + b"\0" * 7,
    ("/windows", "post", ARROW): lambda _: _arrow(start=[0], end=[1]),
    ("/asof", "post", JSON): lambda _: b'{"time":[1]}',
    ("/asof", "post", RAW): lambda _: b"\1" + b"\0" * 7,
    ("/asof", "post", ARROW): lambda _: _arrow(time=[1]),
    ("/symbols/{symbol}", "patch", JSON): lambda _: b'{"symbol":"ES.NEW"}',
    ("/api/v1/query", "post", FORM): lambda _: b"query=price",
    ("/api/v1/query_range", "post", FORM): lambda _: b"query=price&start=1&end=2&step=1",
    ("/api/v1/series", "post", FORM): lambda _: b"match[]=price",
    ("/api/v1/labels", "post", FORM): lambda _: b"match[]=price",
    ("/cluster", "patch", JSON): lambda _: b'{"max_data_retention":100,"cleanup_keep_count":50}',
}
BY_TIME = {
    ("/asof", "post"): 422, ("/write", "post"): 400, ("/api/v2/write", "post"): 400,
    **{(f"/udf/{route}", method): 422 for route in ("symbols", "history") for method in ("get", "head")},
}  # fmt: skip
"""What can't be done with these series, which have no times: it is refused for that, and only that, to who may."""
ANSWERED = {"200", "201", "204", "101"}
MODES = {"ingest": WRITE, "stats": READ, "query": READ}
"""The streams behind a handshake, whose query decides about the scope."""


def _parameters(path: str, operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [resolved(one) for one in (*DOCUMENT["paths"][path].get("parameters", ()), *operation.get("parameters", ()))]


class Case(NamedTuple):
    """One way to ask: an operation, the type of its body, and the mode of a stream."""

    path: str
    method: str
    media_type: str
    mode: str

    def parameters(self) -> dict[str, dict[str, Any]]:
        """Return the parameters of the path and of the query by their names."""
        given = _parameters(self.path, OPERATIONS[self.path, self.method])
        return {one["name"]: one for one in given if one["in"] in {"path", "query"}}

    def needed(self) -> str | None:
        """Return the scope that it needs, None where it is open to all."""
        if self.mode:
            return MODES[self.mode]
        security = OPERATIONS[self.path, self.method].get("security")
        return security[1]["bearer"][0] if security and security[1]["bearer"] else None


def _cases() -> Iterator[Case]:
    for (path, method), operation in OPERATIONS.items():
        if "101" in operation["responses"]:
            (mode,) = (one for one in _parameters(path, operation) if one["name"] == "mode")
            yield from (Case(path, method, "", name) for name in resolved(mode["schema"])["enum"])
        else:
            for media_type in resolved(operation.get("requestBody", {})).get("content", {"": None}):
                yield Case(path, method, media_type, "")


CASES = list(_cases())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Sent]]:
    """Yield a service with a symbol of theirs and one of others, and the tokens."""
    directory = tmp_path_factory.mktemp("matrix")
    sent = {name: add(directory / "tokens", name, scopes) for name, scopes in {**TOKENS, "all": [ADMIN]}.items()}
    with running_service(directory, auth__tokens_file="tokens") as service:
        for symbol in (MINE, OTHERS):
            values = [float(one) for one in range(1, 21)]
            answer = service.client.post(
                "/add_batch", json={"symbol": symbol, "values": values}, headers=bearer(sent["all"])
            )
            assert answer.is_success
        yield service, sent


def asked(service: Service, token: str, case: Case, *symbols: str) -> tuple[int, str]:
    """Ask about symbols; return the status and the text of the answer, without what is of one request."""
    content = BODIES[case.path, case.method, case.media_type](symbols[0]) if case.media_type else None
    query: list[tuple[str, Any]] = []
    path = case.path
    for name, one in case.parameters().items():
        if one["in"] == "path":
            path = path.replace(f"{{{name}}}", symbols[0] if name == "symbol" else one["example"])
        elif name == "symbol" and case.mode != "query" and (content is None or symbols[0].encode() not in content):
            query += [(name, symbol) for symbol in symbols]
        elif name == "mode":
            query.append((name, case.mode or "stats"))
        elif name != "symbol" and (one.get("required") or (_names(case) and "example" in one)):
            value = one["example"]
            query += [(name, each) for each in (value if isinstance(value, list) else [value])]
    url = str(httpx.URL(path, params=query))
    if case.mode:
        return _shaken(service, token, url)
    headers = {**bearer(token), "X-Request-ID": "one", **({"Content-Type": case.media_type} if content else {})}
    with service.client.stream(case.method.upper(), url, headers=headers, content=content) as answer:
        if answer.is_success and answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            return answer.status_code, ""  # it has no end
        answer.read()
        status = answer.status_code
        if case.media_type == LINES and answer.is_success:
            (line,) = answer.json()["lines"]
            status = line["status"]
        told = [f"{name}: {value}" for name, value in answer.headers.items() if name != "date"]
        return status, "\n".join([*told, answer.content.decode("utf-8", "replace")])


def _shaken(service: Service, token: str, url: str) -> tuple[int, str]:
    headers = {**bearer(token), "X-Request-ID": "one"}
    try:
        with connect(f"ws://127.0.0.1:{service.port}{url}", additional_headers=headers) as stream:
            return 101, str(stream.recv())
    except InvalidStatus as refused:
        return refused.response.status_code, (refused.response.body or b"").decode()


def _names(case: Case) -> bool:
    """Say whether an operation is about symbols that it is told."""
    return ("symbol" in case.parameters() and case.mode != "query") or case.media_type == TEXT


def _named(case: Case) -> str:
    return " ".join(filter(None, case))


@pytest.mark.parametrize("case", CASES, ids=_named)
def test_an_operation_is_for_the_symbols_of_a_token(shared: tuple[Service, Sent], case: Case) -> None:
    """Its own: never refused for the scope. Another: 403, and the same as for one that there is not, to the letter."""
    service, sent = shared
    answers_something = not OPERATIONS[case.path, case.method]["responses"].keys().isdisjoint(ANSWERED)
    for name, scopes in TOKENS.items():
        allowed, needed = Token(name, scopes, b""), case.needed()
        told = {symbol: asked(service, sent[name], case, symbol) for symbol in (MINE, OTHERS, MISSING)}
        if not _names(case):
            # What a token allows is told to whoever has it, and may have a pattern of theirs: it is no symbol.
            assert not any(one in text for _, text in told.values() for one in (OTHERS, MISSING)), (name, told)
            continue
        if not answers_something:
            assert {status for status, _ in told.values()} == {426}, (name, told)
            continue
        for symbol, (status, _) in told.items():
            may = (needed is None or needed in allowed.scopes) and (needed is None or allowed.may(needed, symbol))
            assert (status != 403) == may, (name, symbol, told)
            assert not may or status < 300 or status == BY_TIME.get(case[:2]), (name, symbol, told)
        if told[OTHERS][0] == 403:
            same = told[OTHERS][1].replace(OTHERS, MISSING) == told[MISSING][1]
            assert same, (name, told)
            assert case.method == "head" or "expects" not in told[OTHERS][1]


def _takes_several(case: Case) -> bool:
    symbol = case.parameters().get("symbol", {"in": ""})
    several = symbol["in"] == "query" and resolved(symbol["schema"]).get("type") == "array" and case.mode != "ingest"
    return several and (case.mode == "stats" or "200" in OPERATIONS[case.path, case.method]["responses"])


@pytest.mark.parametrize("case", [case for case in CASES if _takes_several(case)], ids=_named)
def test_several_symbols_are_refused_for_one_of_them(shared: tuple[Service, Sent], case: Case) -> None:
    """Wherever an operation takes several: 403, in whatever order."""
    service, sent = shared
    for symbols in ((MINE, OTHERS), (OTHERS, MINE), (MINE, MISSING)):
        assert asked(service, sent["both"], case, *symbols)[0] == 403, symbols


def test_nothing_of_others_has_changed(shared: tuple[Service, Sent]) -> None:
    """After every operation by every token: no symbol more or less, and none of theirs touched."""
    service, sent = shared

    def totals() -> dict[str, int]:
        rows = service.client.get("/symbols", headers=bearer(sent["all"])).json()["symbols"]
        return {row["symbol"]: row["total"] for row in rows}

    before = totals()
    assert before.keys() == {MINE, OTHERS}
    for case in CASES:
        for name in TOKENS.keys() - {"crossed"}:
            for symbol in (OTHERS, MISSING):
                asked(service, sent[name], case, symbol)
    assert totals() == before
