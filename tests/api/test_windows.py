"""Named statistics over HTTP: /stats with `stats=`, any range and several symbols; /bars; POST /windows."""

import io
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from tests.api.test_http_table import refused
from tests.service import Service

SYMBOL, OTHER = "W/ß", "W2"
VALUES = [100.0 + (7 * i) % 13 for i in range(1000)]
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module", autouse=True)
def stored(shared_service: Service) -> None:
    """Store a thousand points, and as many of another symbol."""
    assert shared_service.add(SYMBOL, VALUES).status_code == 200
    assert shared_service.add(OTHER, VALUES[::-1]).status_code == 200


def ask(service: Service, path: str, **parameters: Any) -> dict[str, Any]:
    """Return the answer for these parameters; HEAD has none."""
    answer = service.client.get(path, params={"symbol": SYMBOL, **parameters})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    head = service.client.head(path, params={"symbol": SYMBOL, **parameters})
    assert (head.status_code, head.content) == (200, b"")
    found: dict[str, Any] = answer.json()
    return found


def numbers(part: list[float]) -> dict[str, float]:
    """Return the five statistics of `part`, and its standard deviation."""
    means = {"avg": float(np.mean(part)), "var": float(np.var(part)), "std": float(np.std(part))}
    return {"min": min(part), "max": max(part), "last": part[-1], **means}


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"window": 10}, VALUES[-10:]),
        ({"exponent": 2}, VALUES[-100:]),
        ({"window": 10, "at": 500}, VALUES[491:501]),
        ({"k": 3, "at": 20}, VALUES[:21]),
        ({"from": 3, "to": 40}, VALUES[3:40]),
        ({"from": 990}, VALUES[990:]),
        ({"to": 7}, VALUES[:7]),
    ],
)
def test_named_statistics_stand_behind_the_five(
    shared_service: Service, parameters: dict[str, Any], part: list[float]
) -> None:
    """Of a window, of one that ends anywhere, and of a range; what is undefined is null."""
    found = ask(shared_service, "/stats", stats="std,count,last,first", **parameters)
    assert list(found) == ["min", "max", "last", "avg", "var", "std", "count", "first"]
    assert found == pytest.approx({**numbers(part), "count": len(part), "first": part[0]})
    assert ask(shared_service, "/stats", window=1, stats="zscore")["zscore"] is None


def test_the_answer_without_names_is_what_it_was(shared_service: Service) -> None:
    """A range has the same five as a window, and the eight windows take names too."""
    plain = shared_service.client.get("/stats", params={"symbol": SYMBOL, "window": 1000})
    assert shared_service.client.get("/stats", params={"symbol": SYMBOL, "from": 0}).content == plain.content
    eight = shared_service.client.get("/stats", params={"symbol": SYMBOL}).json()
    named = ask(shared_service, "/stats", stats="range")
    assert (named["total"], named["count"], list(named["windows"])) == (1000, 1000, list("12345678"))
    assert {name: named["windows"]["2"][name] for name in eight["windows"]["2"]} == eight["windows"]["2"]
    assert named["windows"]["8"]["range"] == 12.0


@pytest.mark.parametrize("copies", [1, 10])
def test_symbols_are_answered_together(shared_service: Service, copies: int) -> None:
    """A row a symbol, in the order of the request, however many there are; one that is missing refuses all."""
    symbols = [SYMBOL, OTHER, *(f"W2-{k}" for k in range(2, copies))]
    for symbol in symbols[2:]:
        shared_service.add(symbol, VALUES[: len(symbol)])
    found = shared_service.client.get("/stats", params={"symbol": symbols, "window": 5, "stats": "first"}).json()
    assert list(found) == ["symbols", "min", "max", "last", "avg", "var", "first"]
    assert found["symbols"] == symbols
    for k, symbol in enumerate(symbols):
        one = shared_service.client.get("/stats", params={"symbol": symbol, "window": 5, "stats": "first"}).json()
        assert {name: found[name][k] for name in one} == one
    missing = shared_service.client.get("/stats", params={"symbol": [*symbols, "-"], "window": 5})
    assert "Symbol not found: -" in refused(missing, 404)


def test_bars_have_their_names(shared_service: Service) -> None:
    """They begin at multiples of `points`, and what is asked beside stands behind."""
    found = ask(shared_service, "/bars", points=100, **{"from": 150}, stats="zscore,argmax")
    names = ["symbol", "total", "start", "index", "open", "high", "low", "close", "mean", "std", "count", "zscore"]
    assert list(found) == [*names, "argmax"]
    assert found["index"] == [150, *range(200, 1000, 100)]
    part = VALUES[200:300]
    exact = numbers(part)
    row = {name: found[name][1] for name in ("open", "high", "low", "close", "mean", "std", "count")}
    prices = {"open": part[0], "high": exact["max"], "low": exact["min"], "close": part[-1], "mean": exact["avg"]}
    assert row == pytest.approx(prices | {"std": exact["std"], "count": 100})
    assert ask(shared_service, "/bars", points=7, window=21)["count"][-1] == 1000 % 7
    assert ask(shared_service, "/bars", points=7, **{"from": 5000})["index"] == []


def post(service: Service, content: Any, kind: str = "application/json", **parameters: Any) -> httpx.Response:
    """Send windows."""
    how = {"json": content} if kind == "application/json" else {"content": content, "headers": {"Content-Type": kind}}
    return service.client.post("/windows", params={"symbol": SYMBOL, **parameters}, **how)


def table(**columns: Any) -> bytes:
    """Return an Arrow stream of these columns."""
    sink = io.BytesIO()
    made = pa.table(columns)
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    return sink.getvalue()


STARTS = np.arange(900)
ENDS = STARTS + 1 + STARTS % 90
BODIES = {
    "application/json": {"start": STARTS.tolist(), "end": ENDS.tolist()},
    "application/octet-stream": np.stack((STARTS, ENDS), axis=1).astype("<i8").tobytes(),
    ARROW: table(other=["x"] * 900, end=ENDS.astype(np.int32), start=STARTS),
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("format_", ["json", "arrow"])
def test_many_windows_are_answered_in_one_request(shared_service: Service, kind: str, format_: str) -> None:
    """Whatever the form of the body and of the answer; what is undefined is null."""
    answer = post(shared_service, BODIES[kind], kind, stats="avg,var_sample,argmin", format=format_)
    assert (answer.status_code, answer.headers["X-Windows"]) == (200, "900"), answer.text
    found = answer.json() if format_ == "json" else pa.ipc.open_stream(answer.content).read_all().to_pydict()
    assert list(found) == ["start", "end", "avg", "var_sample", "argmin"]
    assert (found["start"], found["end"]) == (STARTS.tolist(), ENDS.tolist())
    for k in range(0, 900, 89):
        part = VALUES[STARTS[k] : ENDS[k]]
        assert found["avg"][k] == pytest.approx(np.mean(part))
        assert found["var_sample"][k] == (pytest.approx(np.var(part, ddof=1)) if len(part) > 1 else None)
        assert found["argmin"][k] == STARTS[k] + int(np.argmin(part))


@pytest.mark.parametrize("kind", BODIES)
def test_windows_lie_around_points(shared_service: Service, kind: str) -> None:
    """So many points before an index, itself, and so many after it; none at all is an answer as well."""
    index = np.array([5, 100, 998])
    body = {"application/json": {"index": index.tolist()}, ARROW: table(index=index)}.get(kind, index.tobytes())
    found = post(shared_service, body, kind, before=2, after=1).json()
    assert (found["start"], found["end"]) == ([3, 98, 996], [7, 102, 1000])
    assert found["last"] == [VALUES[6], VALUES[101], VALUES[999]]
    nothing = {"application/json": {"index": []}, ARROW: table(index=index[:0])}.get(kind, b"")
    names = ("start", "end", "min", "max", "last", "avg", "var")
    assert post(shared_service, nothing, kind, before=2).json() == {name: [] for name in names}


@pytest.mark.parametrize(
    ("path", "parameters", "text"),
    [
        ("/stats", {"stats": "mode"}, "there is no statistic 'mode'"),
        ("/stats", {"stats": ""}, "there is no statistic ''"),
        ("/stats", {"at": 5}, "at is where a window ends"),
        ("/stats", {"window": 5, "from": 5}, "Give either window"),
        ("/stats", {"window": 5, "k": 5, "stats": "std"}, "Give only one of"),
        ("/stats", {"from": "+5"}, "from must be a whole number"),
        ("/stats", {"from": 5, "to": 5}, "start must be below end"),
        ("/stats", {"from": 5, "q": 5}, "Unknown parameter 'q'"),
        ("/stats", {"symbol": [SYMBOL, OTHER]}, "Several symbols need one window"),
        ("/stats", {"symbol": [SYMBOL, SYMBOL], "window": 1}, "is given twice"),
        ("/stats", {"symbol": [*map(str, range(1001))], "window": 1}, "at most 1,000"),
        ("/bars", {}, "Give one of points, every, volume, value"),
        ("/bars", {"points": 0}, "points must be a whole number"),
        ("/bars", {"points": 1, "window": 5, "from": 1}, "Give either window"),
        ("/bars", {"points": 1, "from": 6, "to": 5}, "from must not be above to"),
    ],
)
def test_what_is_no_question_is_refused(
    shared_service: Service, path: str, parameters: dict[str, Any], text: str
) -> None:
    """The problem says what is wrong."""
    assert text in refused(shared_service.client.get(path, params={"symbol": SYMBOL, **parameters}), 400)


@pytest.mark.parametrize(
    ("content", "kind", "parameters", "status", "text"),
    [
        ({"start": [1], "end": [2, 3]}, "application/json", {}, 422, "must be of one length, not 1 and 2"),
        ({"start": [1], "end": [2.5]}, "application/json", {}, 422, "whole numbers below 2^63"),
        ({"start": [1], "end": [2**63]}, "application/json", {}, 422, "whole numbers below 2^63"),
        ({"start": [[1]], "end": 2}, "application/json", {}, 422, '"start": […], "end": […]'),
        ({"index": [1]}, "application/json", {}, 422, '"start": […], "end": […]'),
        ({"start": [5], "end": [5]}, "application/json", {}, 400, "window 0 is [5, 5)"),
        ({"start": [0, 5], "end": [1, 5000]}, "application/json", {}, 409, "do not exist"),
        ({"index": [1]}, "application/json", {"before": 2}, 400, "window 0 is [-1, 2)"),
        ({"index": [2**63 - 1]}, "application/json", {"after": 9}, 400, "index[0] must be"),
        ({"index": [1]}, "application/json", {"before": -2}, 400, "before must be"),
        ({}, "application/json", {"format": "raw"}, 400, "format must be one of"),
        ({}, "application/json", {"stats": "x"}, 400, "no statistic 'x'"),
        (b"{", "application/json; charset=utf-8", {}, 400, "Malformed JSON"),
        (b"1234567", "application/octet-stream", {}, 400, "16 bytes"),
        (table(start=[1.5], end=[2]), ARROW, {}, 400, "start must be of integers"),
        (table(start=[1, None], end=[2, 3]), ARROW, {}, 400, "has a null"),
        (table(start=[1]), ARROW, {}, 400, "no columns of the name 'end'"),
        (table(start=[1], end=[2])[:-20], ARROW, {}, 400, "no sound Arrow stream"),
        (b"{}", "application/x-ndjson", {}, 415, "Windows come as"),
    ],
)
def test_what_are_no_windows_is_refused(
    shared_service: Service, content: Any, kind: str, parameters: dict[str, Any], status: int, text: str
) -> None:
    """With what is wrong, and which of them."""
    assert text in refused(post(shared_service, content, kind, **parameters), status)


def test_windows_are_bounded(shared_service: Service) -> None:
    """A body of JSON, and what an answer has; the kinds of answers are named."""
    body = {"content": b" " * (4 * 2**20 + 1), "headers": {"Content-Type": "application/json"}}
    assert shared_service.client.post("/windows", params={"symbol": SYMBOL}, **body).status_code == 413  # type: ignore[arg-type]
    answer = shared_service.client.post("/windows?symbol=-", json={"start": [0], "end": [1]})
    assert "Symbol not found" in refused(answer, 404)
    headers = {"Accept": "image/png"}
    answer = shared_service.client.post("/windows?symbol=W2", json={"start": [0], "end": [1]}, headers=headers)
    assert "application/json and application/vnd.apache.arrow.stream" in answer.json()["detail"]
    assert answer.status_code == 406


def test_long_questions_are_counted(shared_service: Service) -> None:
    """By their kind, and with the memory of the answers that are still to be sent: none."""
    before = shared_service.client.get("/metrics").text
    shared_service.client.get("/quantile", params={"symbol": SYMBOL, "q": "0.5"})
    assert post(shared_service, {"start": [0], "end": [1]}).status_code == 200
    after = shared_service.client.get("/metrics").text

    def count(text: str, name: str) -> float:
        return float(next(line for line in text.splitlines() if line.startswith(name)).rpartition(" ")[2])

    for kind in ("quantile", "windows"):
        name = f'hft_mmap_long_questions_total{{kind="{kind}"}}'
        assert count(after, name) == count(before, name) + 1
    assert count(after, "hft_mmap_long_answers_bytes") == count(after, "hft_mmap_long_questions_unfinished") == 0.0
