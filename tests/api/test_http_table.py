"""The HTTP contract, row by row, on a real running service."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.conftest import StartService
from tests.service import Service

PRICES = [150.1, 150.5, 151.0, 149.8, 150.2, 151.1, 151.2, 152.0, 151.5, 151.9]
STATISTICS = {"min": 149.8, "max": 152.0, "last": 151.9, "avg": 150.93, "var": pytest.approx(0.5201, rel=1e-12)}
JSON = {"Content-Type": "application/json"}
TITLES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Entity",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test uses."""
    return f"T-{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def stored(shared_service: Service, symbol: str) -> Iterator[str]:
    """Yield a symbol that holds the ten prices, and check afterwards that it still holds just these."""
    shared_service.add(symbol, PRICES)
    yield symbol
    assert totals(shared_service)[symbol] == len(PRICES)


def totals(service: Service) -> dict[str, int]:
    """Return the total of every series."""
    return {row["symbol"]: row["total"] for row in service.client.get("/symbols").json()["symbols"]}


def refused(answer: httpx.Response, status: int) -> str:
    """Return the text of a problem document, which must be complete and have this status."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    assert answer.headers["X-Request-ID"]
    problem: dict[str, Any] = answer.json()
    assert (problem["type"], problem["status"], problem["title"]) == ("about:blank", status, TITLES[status])
    assert problem["error"] == problem["detail"]
    return str(problem["error"])


def post(service: Service, body: str | bytes, **headers: str) -> httpx.Response:
    """Send any body to /add_batch."""
    return service.client.post("/add_batch", content=body, headers=JSON | headers)


def raw(service: Service, request: bytes) -> tuple[bytes, bytes]:
    """Send bytes as they are; return head and body of the answer, read to the end of the connection."""
    with service.connect() as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65_536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize("path", ["/health", "/health/"])
def test_health(shared_service: Service, path: str) -> None:
    """GET answers, HEAD answers the same without a body."""
    answer = shared_service.client.get(path)
    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    assert answer.headers["Content-Type"] == "application/json"
    head = shared_service.client.head(path)
    assert (head.status_code, head.text, head.headers["Content-Length"]) == (200, "", "15")


@pytest.mark.parametrize("path", ["/ready", "/ready/"])
def test_ready_when_every_series_serves(shared_service: Service, path: str) -> None:
    """GET and HEAD say so."""
    answer = shared_service.client.get(path)
    assert (answer.status_code, answer.text) == (200, '{"status":"ready"}')
    assert shared_service.client.head(path).status_code == 200


def test_not_ready_with_the_reasons(start_service: StartService, tmp_path: Path) -> None:
    """A series whose head is damaged is named by /ready, refuses with 503, and the others serve."""
    before = start_service()
    before.add("GOOD", PRICES)
    before.add("DAMAGED", PRICES)
    assert before.stop() == 0
    head = tmp_path / "data" / "DAMAGED" / "head"
    head.write_bytes(b"\0" * head.stat().st_size)
    after = start_service()

    answer = after.client.get("/ready")
    refused(answer, 503)
    assert [(reason["symbol"], reason["code"]) for reason in answer.json()["reasons"]] == [("DAMAGED", "set_aside")]
    assert after.client.head("/ready").status_code == 503
    assert after.client.get("/health").status_code == 200
    assert "DAMAGED" in refused(after.client.get("/stats?symbol=DAMAGED"), 503)
    assert "DAMAGED" in refused(after.add("DAMAGED", PRICES), 503)
    assert after.client.get("/stats?symbol=GOOD&k=1").json() == STATISTICS
    assert after.add("GOOD", PRICES).json()["total"] == 20


@pytest.mark.parametrize("path", ["/add_batch", "/add_batch/"])
def test_a_batch_is_added(shared_service: Service, symbol: str, path: str) -> None:
    """The answer counts the batch and the series."""
    body = {"symbol": symbol, "values": PRICES}
    for total in (10, 20):
        answer = shared_service.client.post(path, json=body)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json() == {"status": "success", "added": 10, "total": total, "durability": "interval"}


@pytest.mark.parametrize("durability", ["process", "interval", "sync"])
def test_the_answer_says_what_durability_was_met(start_service: StartService, durability: str) -> None:
    """The tier of the settings, and the batch is visible right after."""
    service = start_service(store__durability=durability)
    assert service.add("A", PRICES).json() == {
        "status": "success",
        "added": 10,
        "total": 10,
        "durability": durability,
    }
    assert service.client.get("/stats?symbol=A&exponent=1").json() == STATISTICS


def test_a_get_right_after_sees_the_batch(shared_service: Service, symbol: str) -> None:
    """However often the same question was asked before."""
    for count in range(1, 50):
        shared_service.add(symbol, [float(count)])
        answer = shared_service.client.get("/stats", params={"symbol": symbol, "exponent": 8}).json()
        assert (answer["last"], answer["max"]) == (count, count)
        windows = shared_service.client.get("/stats", params={"symbol": symbol}).json()
        assert (windows["total"], windows["windows"]["1"]["last"]) == (count, count)


@pytest.mark.parametrize("path", ["/stats", "/stats/"])
@pytest.mark.parametrize("name", ["exponent", "k"])
def test_statistics_of_a_standard_window(shared_service: Service, stored: str, path: str, name: str) -> None:
    """The five figures, in this order, as plain numbers."""
    for exponent in range(1, 9):
        answer = shared_service.client.get(path, params={"symbol": stored, name: exponent})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json() == STATISTICS
        assert list(answer.json()) == ["min", "max", "last", "avg", "var"]
        assert answer.text.startswith('{"min":149.8,"max":152.0,"last":151.9,"avg":150.93,"var":0.5201')


@pytest.mark.parametrize(
    ("window", "low"), [(1, 151.9), (2, 151.5), (3, 151.5), (7, 149.8), (10, 149.8), (10**8, 149.8), (10**40, 149.8)]
)
def test_statistics_of_any_window(shared_service: Service, stored: str, window: int, low: float) -> None:
    """Any whole number from 1; all points where there are fewer."""
    answer = shared_service.client.get("/stats", params={"symbol": stored, "window": window}).json()
    assert (answer["min"], answer["last"]) == (low, 151.9)


def test_a_window_of_one_point_has_no_variance(shared_service: Service, stored: str) -> None:
    """Every figure is the newest point."""
    answer = shared_service.client.get(f"/stats?symbol={stored}&window=1").json()
    assert answer == {"min": 151.9, "max": 151.9, "last": 151.9, "avg": 151.9, "var": 0.0}


def test_statistics_of_all_windows(shared_service: Service, stored: str) -> None:
    """Asked for no window, it answers with eight, and with how many points there are."""
    answer = shared_service.client.get("/stats/", params={"symbol": stored}).json()
    assert list(answer) == ["symbol", "total", "count", "windows"]
    assert (answer["symbol"], answer["total"], answer["count"]) == (stored, 10, 10)
    assert answer["windows"] == {str(exponent): STATISTICS for exponent in range(1, 9)}


def test_windows_cover_the_newest_points(shared_service: Service, symbol: str) -> None:
    """Each standard window reaches just as far back as its name says."""
    values = [float(value) for value in range(1, 2001)]
    shared_service.add(symbol, values)
    windows = shared_service.client.get("/stats", params={"symbol": symbol}).json()["windows"]
    assert [windows[str(exponent)]["min"] for exponent in range(1, 9)] == [1991.0, 1901.0, 1001.0, *[1.0] * 5]


def test_symbols(start_service: StartService) -> None:
    """All series, sorted, with their bounds, newest point and size; none to begin with."""
    service = start_service()
    assert service.client.get("/symbols").json() == {"symbols": []}
    service.add("B", PRICES)
    service.add("A", [1.5])
    for path in ("/symbols", "/symbols/"):
        rows = service.client.get(path).json()["symbols"]
        names = ["symbol", "total", "start", "count", "last", "bytes", "appended_at"]
        assert [list(row) for row in rows] == [names] * 2
        assert [tuple(row.values())[:5] for row in rows] == [("A", 1, 0, 1, 1.5), ("B", 10, 0, 10, 151.9)]
        assert all(row["bytes"] > 0 for row in rows)
        assert 0 < rows[1]["appended_at"] <= rows[0]["appended_at"]


@pytest.mark.parametrize(
    "symbol",
    ["EUR/USD", "日本円-USD", "BRK.B", "..", ".", "a b", "a+b", "100%", "a&b=c", "é" * 32, "x" * 64, "~", "#?"],
)
def test_a_symbol_is_any_short_text(shared_service: Service, symbol: str) -> None:
    """1 to 64 bytes of UTF-8, whatever they mean to a file system or to a query string."""
    assert shared_service.add(symbol, PRICES).status_code == 200
    for query in (f"symbol={quote(symbol, safe='')}", httpx.QueryParams({"symbol": symbol})):
        assert shared_service.client.get(f"/stats?{query}&k=1").json() == STATISTICS
    assert symbol in totals(shared_service)


@pytest.mark.parametrize("symbol", ["", "x" * 65, "é" * 33, "a\nb", "a\0b", "\x7f", "\u2028"])
def test_a_symbol_that_is_none_is_refused(shared_service: Service, symbol: str) -> None:
    """Too short, too long, control characters: 400 for writing and for reading, and no series."""
    before = totals(shared_service)
    assert "symbol" in refused(shared_service.add(symbol, PRICES), 400)
    assert "symbol" in refused(shared_service.client.get("/stats", params={"symbol": symbol, "k": 1}), 400)
    assert totals(shared_service) == before


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ("", "empty"),
        ("-0.01", "values[0]"),
        ("1,2,-1e-300", "values[2]"),
        ("1,NaN", "Malformed JSON"),
        ("1,Infinity", "Malformed JSON"),
        ("1,-Infinity", "Malformed JSON"),
        ("1,1e999", "infinity"),
        ("1,1.1e140", "values[1]"),
        ("1" + "0" * 141, "values[0]"),
        (",".join(["1"] * 100_001), "100001"),
        ("1,", "Malformed JSON"),
        ("1", "offset must be from 0"),
    ],
)
def test_400_for_values_that_are_no_prices(shared_service: Service, stored: str, values: str, part: str) -> None:
    """The text names the first one, and nothing is stored."""
    offset = ',"offset":-1' if part.startswith("offset") else ""
    assert part in refused(post(shared_service, f'{{"symbol":"{stored}","values":[{values}]{offset}}}'), 400)


@pytest.mark.parametrize("values", ["0", "-0.0", "1e140", "1e-320", "18446744073709551616", "1" + "0" * 140])
def test_the_smallest_and_the_largest_price_are_taken(shared_service: Service, symbol: str, values: str) -> None:
    """0 and 1e140 belong to the range, and integers of any length; -0.0 is 0.0."""
    assert post(shared_service, f'{{"symbol":"{symbol}","values":[{values}]}}').json()["total"] == 1
    answer = shared_service.client.get("/stats", params={"symbol": symbol, "k": 1})
    assert answer.json()["last"] == abs(float(values))
    assert "-" not in answer.text.replace("e-", "")


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "{",
        "not json",
        "[1,2",
        '{"symbol":"A","values":[1]}}',
        '{"symbol":"\\ud800","values":[1]}',
        b"\xff\xfe",
    ],
)
def test_400_for_malformed_json(shared_service: Service, body: str | bytes) -> None:
    """An empty body is malformed too."""
    assert "Malformed JSON" in refused(post(shared_service, body), 400)


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ('"values":[1,null]', "values[1] must be a number, not null"),
        ('"values":[1,"2"]', "values[1] must be a number, not a string"),
        ('"values":[true]', "values[0] must be a number, not a boolean"),
        ('"values":[[1],[2]]', "values[0] must be a number, not a list"),
        ('"values":[{}]', "values[0] must be a number, not an object"),
        ('"values":"1"', "values must be a list of numbers"),
        ('"values":1.5', "values must be a list of numbers"),
        ('"values":null', "values must be a list of numbers"),
        ('"price":1', "Unknown field 'price'"),
        ('"values":[1],"price":1', "Unknown field 'price'"),
        ('"offset":0', "values is missing"),
        ('"values":[1],"offset":"0"', "offset must be a whole number"),
    ],
)
def test_422_for_json_that_is_no_batch(shared_service: Service, stored: str, members: str, part: str) -> None:
    """The text names the field and the place, and nothing is stored."""
    assert part in refused(post(shared_service, f'{{"symbol":"{stored}",{members}}}'), 422)


@pytest.mark.parametrize("body", ["[]", "null", "1", '"text"', "{}", '{"values":[1]}', '{"symbol":5,"values":[1]}'])
def test_422_for_json_without_a_symbol(shared_service: Service, body: str) -> None:
    """A body that is no object, or has no symbol that is a string."""
    refused(post(shared_service, body), 422)


def test_400_for_the_symbol_above_the_limit(start_service: StartService) -> None:
    """The eleventh symbol is refused by default; the ten go on."""
    service = start_service()
    for number in range(10):
        assert service.add(f"S{number}", PRICES).status_code == 200
    assert "10" in refused(service.add("S10", PRICES), 400)
    assert service.add("S9", PRICES).json()["total"] == 20
    assert len(totals(service)) == 10


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "application/json; charset=latin-1",
        "application/json, text/plain",
        "APPLICATION",
    ],
)
def test_415_for_a_body_that_is_not_called_json(shared_service: Service, stored: str, content_type: str | None) -> None:
    """A bare `curl -d` too; the text says how to send it."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = json.dumps({"symbol": stored, "values": [1.0]}).encode()
    answer = shared_service.client.post("/add_batch", content=body, headers=headers)
    assert "-H 'Content-Type: application/json'" in refused(answer, 415)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
def test_every_spelling_of_json_is_taken(shared_service: Service, symbol: str, content_type: str) -> None:
    """With a charset or without, in any case."""
    body = json.dumps({"symbol": symbol, "values": [1.0]}).encode()
    answer = shared_service.client.post("/add_batch", content=body, headers={"Content-Type": content_type})
    assert answer.json()["added"] == 1


def test_413_for_a_body_above_the_limit(shared_service: Service, stored: str) -> None:
    """With its length announced or not, well-formed or not; a body of just the limit is read."""
    start = json.dumps({"symbol": stored, "values": [1.0]}).encode()
    for size in (2**22 + 1, 2**23, 2**25):
        body = start.ljust(size)
        assert "4194304" in refused(post(shared_service, body), 413)
        parts = [body[first : first + 65_536] for first in range(0, size, 65_536)]
        chunked = shared_service.client.post("/add_batch", content=iter(parts), headers=JSON)
        assert "server.max_body_bytes" in refused(chunked, 413)
    full = start.replace(b"1.0", b"null" + b" " * (2**22 - len(start) - 1))
    assert len(full) == 2**22
    assert "null" in refused(post(shared_service, full), 422)


def test_413_is_said_before_the_body_is_sent(shared_service: Service) -> None:
    """A client that waits for leave to send gets the refusal in place of "100 Continue"."""
    head, body = raw(
        shared_service,
        b"POST /add_batch HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n",
    )
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["status"] == 413


def test_a_connection_goes_on_after_413(shared_service: Service) -> None:
    """What was too large is read to its end and thrown away, so the next request on the connection is understood."""
    with httpx.Client(base_url=shared_service.url, limits=httpx.Limits(max_connections=1)) as client:
        assert client.post("/add_batch", content=b" " * (2**22 + 1), headers=JSON).status_code == 413
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("exponent=", "exponent"),
        ("exponent", "exponent"),
        ("exponent=0", "exponent"),
        ("exponent=9", "exponent"),
        ("exponent=-1", "exponent"),
        ("exponent=x", "exponent"),
        ("exponent=1.0", "exponent"),
        ("exponent=1e0", "exponent"),
        ("exponent=01", "exponent"),
        ("exponent=+1", "exponent"),
        ("exponent=%2B1", "exponent"),
        ("exponent=%203", "exponent"),
        ("exponent=3%20", "exponent"),
        ("exponent=3%0A", "exponent"),
        ("exponent=%D9%A3", "exponent"),
        ("exponent=10", "exponent"),
        ("exponent=1&exponent=1", "twice"),
        ("exponent=1&exponent=2", "twice"),
        ("k=0", "k must be"),
        ("k=1&k=1", "twice"),
        ("k=1&exponent=1", "only one"),
        ("exponent=1&window=10", "only one"),
        ("k=1&window=10", "only one"),
        ("window=", "window"),
        ("window=0", "window"),
        ("window=-5", "window"),
        ("window=1.5", "window"),
        ("window=%2B5", "window"),
        ("window=1_000", "window"),
        ("window=007", "window"),
        ("window=%D9%A3", "window"),
        ("window=5&window=5", "twice"),
        ("Exponent=1", "Unknown parameter 'Exponent'"),
        ("limit=1", "Unknown parameter 'limit'"),
        ("exponent=%", "percent"),
        ("exponent=%1", "percent"),
        ("exponent=%zz", "percent"),
        ("exponent=%ff", "UTF-8"),
        ("=1", "Unknown parameter ''"),
    ],
)
def test_400_for_a_query_that_is_not_plain(shared_service: Service, stored: str, query: str, part: str) -> None:
    """Nothing is guessed, and no refusal is taken back by asking again."""
    for _ in range(2):
        assert part in refused(shared_service.client.get(f"/stats?symbol={stored}&{query}"), 400)


@pytest.mark.parametrize("query", ["", "?", "?exponent=1", "?Symbol=A", "?symbol", "?symbol=", "?symbol=&k=1"])
def test_400_for_a_query_without_a_symbol(shared_service: Service, query: str) -> None:
    """There is no default series."""
    refused(shared_service.client.get(f"/stats{query}"), 400)


def test_400_for_bytes_that_are_no_text(shared_service: Service) -> None:
    """Raw bytes in a query are refused, not answered with 500."""
    head, body = raw(shared_service, b"GET /stats?symbol=\xff&k=1 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), head + body


def test_an_ampersand_too_many_is_no_parameter(shared_service: Service, stored: str) -> None:
    """Clients that join parameters carelessly are understood."""
    assert shared_service.client.get(f"/stats?&symbol={stored}&&k=1&").json() == STATISTICS


def test_404_for_an_unknown_symbol(shared_service: Service, symbol: str) -> None:
    """The text is fixed; once the symbol exists the same question is answered."""
    for query in (f"symbol={symbol}&exponent=1", f"symbol={symbol}&window=5", f"symbol={symbol}"):
        assert refused(shared_service.client.get(f"/stats/?{query}"), 404) == f"Symbol not found: {symbol}"
        assert shared_service.client.head(f"/stats/?{query}").status_code == 404
    shared_service.add(symbol, PRICES)
    assert shared_service.client.get(f"/stats/?symbol={symbol}&exponent=1").json() == STATISTICS


@pytest.mark.parametrize("path", ["/static", "/nothing", "/stats/x", "/add_batch/x", "/STATS", "/stats//", "/%FF"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_404_for_an_unknown_route(shared_service: Service, path: str, method: str) -> None:
    """The text says where the routes are listed."""
    answer = shared_service.client.request(method, httpx.URL(f"{shared_service.url}{path}"))
    assert "/openapi.json" in refused(answer, 404)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/health", "GET, HEAD, OPTIONS"),
        ("/ready", "GET, HEAD, OPTIONS"),
        ("/stats", "GET, HEAD, OPTIONS"),
        ("/stats/", "GET, HEAD, OPTIONS"),
        ("//stats", "GET, HEAD, OPTIONS"),
        ("/symbols", "GET, HEAD, OPTIONS"),
        ("/symbols/ABC%2FD", "DELETE, GET, HEAD, PATCH, PUT, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/add_batch", "POST, OPTIONS"),
    ],
)
def test_405_for_a_method_that_the_route_has_not(shared_service: Service, path: str, allowed: str) -> None:
    """With the methods that it has, also for methods that HTTP does not know."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "PURGE"):
        if method not in allowed:
            answer = shared_service.client.request(method, shared_service.url + path)
            assert allowed in refused(answer, 405)
            assert answer.headers["Allow"] == allowed
    options = shared_service.client.options(shared_service.url + path)
    assert (options.status_code, options.headers["Allow"]) == (200, allowed.removesuffix(", OPTIONS"))


def test_every_get_route_answers_head(shared_service: Service, stored: str) -> None:
    """With the same headers and no body."""
    for path in ("/health", "/ready", "/symbols", "/openapi.json", f"/stats?symbol={stored}&k=1"):
        get, head = shared_service.client.get(path), shared_service.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("Content-Type", "Content-Length", "Content-Encoding"):
            assert head.headers.get(name) == get.headers.get(name), (path, name)
        plain = shared_service.client.head(path, headers={"Accept-Encoding": "identity"})
        assert plain.headers["Content-Length"] == str(len(get.content))


def test_a_batch_with_an_offset_is_stored_once(shared_service: Service, symbol: str) -> None:
    """Sent again it is answered alike; at another place, or with other values, it is 409 with the actual total."""
    first: dict[str, object] = {"symbol": symbol, "values": [1.0, 2.0], "offset": 0}
    second: dict[str, object] = {"symbol": symbol, "values": [3.0], "offset": 2}
    for body, added, total in ((first, 2, 2), (first, 2, 2), (second, 1, 3), (first, 2, 2), (second, 1, 3)):
        answer = shared_service.client.post("/add_batch", json=body)
        assert (answer.status_code, answer.json()["added"], answer.json()["total"]) == (200, added, total)
    for body in (first | {"offset": 4}, first | {"offset": 1}, first | {"values": [1.0, 9.0]}):
        answer = shared_service.client.post("/add_batch", json=body)
        refused(answer, 409)
        assert answer.json()["total"] == 3
    assert totals(shared_service)[symbol] == 3


def test_507_when_there_is_no_space(service: Service) -> None:
    """Nothing is stored, reads go on, and writes too as soon as there is space, with no restart."""
    service.add("A", PRICES)
    unlimited = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    many = [150.0] * 20_000
    refused(service.add("A", many), 507)
    assert totals(service) == {"A": 10}
    assert service.client.get("/stats?symbol=A&k=1").json() == STATISTICS
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, unlimited)
    assert service.add("A", many).json()["total"] == 20_010


def test_a_refusal_carries_the_request_id(shared_service: Service) -> None:
    """The one that was sent, if it is short and printable; else a new one."""
    sent = {"X-Request-ID": "order-7/ABC"}
    assert shared_service.client.get("/nothing", headers=sent).headers["X-Request-ID"] == "order-7/ABC"
    for bad in ("x" * 129, "\xe9", ""):
        answer = shared_service.client.get("/nothing", headers={b"X-Request-ID": bad.encode("latin-1")})
        assert answer.headers["X-Request-ID"] not in ("", bad)
    fresh = {shared_service.client.get("/nothing").headers["X-Request-ID"] for _ in range(5)}
    assert len(fresh) == 5


def test_an_answer_does_not_grow_with_what_it_refuses(shared_service: Service) -> None:
    """A long name is shown cut."""
    long = "x" * 20_000
    assert len(shared_service.client.get(f"/{long}").content) < 1000
    assert len(shared_service.client.get(f"/stats?{long}=1").content) < 1000
    assert len(shared_service.client.get(f"/stats?symbol={long}").content) < 1000
    assert len(post(shared_service, f'{{"{long}":1}}').content) < 1000
    assert len(post(shared_service, "{}", **{"Content-Type": long}).content) < 1000


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_both_versions_of_http_are_served(shared_service: Service, version: bytes) -> None:
    """Also by a client as old as HTTP/1.0."""
    head, body = raw(shared_service, b"GET /health HTTP/" + version + b"\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert (head.split(b" ")[1], body) == (b"200", b'{"status":"ok"}')


def test_pipelined_requests_are_answered_in_turn(shared_service: Service, symbol: str) -> None:
    """A batch and a question sent in one go: the question sees the batch."""
    body = json.dumps({"symbol": symbol, "values": PRICES}).encode()
    head, answers = raw(
        shared_service,
        b"POST /add_batch HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: "
        + str(len(body)).encode()
        + b"\r\n\r\n"
        + body
        + b"GET /stats?symbol="
        + symbol.encode()
        + b"&k=1 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
    )
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answers.split(b"\r\n\r\n")[-1]) == STATISTICS
