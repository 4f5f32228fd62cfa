"""Times and sizes over HTTP: what is stored of them, what is answered by time, and what is refused."""

import gzip
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from api.body.decode import PIECE_BYTES
from tests.api import test_http_table
from tests.conftest import StartService
from tests.service import Service

SYMBOL, PRICES = "T/ß", "T2"
JSON = {"Content-Type": "application/json"}
SECOND = 10**9
START_NS = 1_767_225_600 * SECOND
START = "2026-01-01T00:00:00Z"
SECONDS = [0, 1, 2, 5, 5, 60]
ROWS = {
    "symbol": SYMBOL, "values": [1, 2, 3, 4, 5, 6], "times": [1_767_225_600 + s for s in SECONDS],
    "sizes": [1.5, -2, 0, 4, -1, 10], "time_unit": "s",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def stored(shared_service: Service) -> None:
    """Store six points with both columns, and as many prices of another symbol."""
    assert post(shared_service, ROWS).json() == {
        "status": "success", "added": 6, "total": 6, "durability": "interval",
    }  # fmt: skip
    assert shared_service.add(PRICES, [1.0, 2.0]).status_code == 200


def post(service: Service, body: object, **headers: str) -> httpx.Response:
    """Send a batch."""
    return service.client.post(
        "/add_batch/", content=orjson.dumps(body), headers={"Content-Type": "application/json", **headers}
    )


def refused(answer: httpx.Response, status: int, text: str) -> None:
    """Assert that this is a whole problem document, with that status and, in its detail, that text."""
    assert text in test_http_table.refused(answer, status)


def ask(service: Service, path: str, **parameters: Any) -> dict[str, Any]:
    """Return the answer for these parameters."""
    answer = service.client.get(path, params={"symbol": SYMBOL, **parameters})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- batches ----------------------------------------------------------------------------------------------------------


def test_values_have_the_times_and_sizes_that_they_came_with(shared_service: Service) -> None:
    """As nanoseconds, behind the values."""
    found = ask(shared_service, "/values")
    assert list(found) == ["symbol", "total", "start", "first", "values", "times", "sizes"]
    assert found["values"] == [1, 2, 3, 4, 5, 6]
    assert found["times"] == [START_NS + s * SECOND for s in SECONDS]
    assert found["sizes"] == ROWS["sizes"]
    found = ask(shared_service, "/values", **{"from": 6})
    assert (found["values"], found["times"], found["sizes"]) == ([], [], [])


@pytest.mark.parametrize("n", [3, 20_000])
def test_a_late_point_is_told_and_counted(shared_service: Service, n: int) -> None:
    """The answer says how many were late, and by how much at most; so does /metrics, of all."""
    symbol = f"LATE{n}"
    times = [*range(1_000_000, 1_000_000 + n - 1), 999_999]
    late = times[-2] - times[-1]
    answer = post(shared_service, {"symbol": symbol, "values": [1] * n, "times": times})
    assert answer.json() == {
        "status": "success", "added": n, "total": n, "durability": "interval", "late": 1, "latest_ns": late,
    }  # fmt: skip
    metrics = shared_service.client.get("/metrics", params={"symbol": symbol}).text
    assert f'hft_mmap_series_late_points_total{{symbol="{symbol}"}} 1.0' in metrics
    assert f'hft_mmap_series_latest_seconds{{symbol="{symbol}"}} ' in metrics
    assert shared_service.client.get("/values", params={"symbol": symbol, "last": 2}).json()["times"] == [times[-2]] * 2


def test_a_repeated_batch_with_columns_is_stored_once(shared_service: Service) -> None:
    """An offset compares times and sizes as well."""
    body = {"symbol": "ONCE", "values": [1, 2], "times": [5, 4], "sizes": [1, 2], "offset": 0}
    assert [post(shared_service, body).json()["total"] for _ in range(2)] == [2, 2]
    for name in ("times", "sizes"):
        answer = post(shared_service, body | {name: [7, 8]})
        refused(answer, 409, "other rows are stored there")
        assert answer.json()["total"] == 2


def test_a_large_body_is_read_as_a_small_one(shared_service: Service) -> None:
    """Whatever the order of its lists, in pieces, compressed or not."""
    n = 50_000
    draw = np.random.default_rng(1)
    rows = {
        "times": (START_NS + np.cumsum(draw.integers(0, 9, n))).tolist(), "symbol": "LARGE",
        "sizes": np.round(draw.normal(size=n), 2).tolist(), "offset": 0, "values": draw.random(n).tolist(),
    }  # fmt: skip
    assert len(orjson.dumps(rows)) > 10 * PIECE_BYTES
    assert post(shared_service, rows).json()["total"] == n
    squeezed = gzip.compress(orjson.dumps(rows))
    answer = shared_service.client.post(
        "/add_batch/", content=squeezed, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
    )
    assert answer.json()["total"] == n
    found = shared_service.client.get("/values", params={"symbol": "LARGE"}).json()
    assert [found[name] for name in ("values", "times", "sizes")] == [
        [value + 0.0 for value in rows[name]] if name != "times" else rows[name]
        for name in ("values", "times", "sizes")
    ]


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"times": None}, 422, "times must be a list of numbers, not null"),
        ({"times": [1, 2.5]}, 422, "times[1] must be a whole number, not 2.5"),
        ({"times": [1, "2"]}, 422, "times[1] must be a whole number, not a string"),
        ({"times": [1, True]}, 422, "times[1] must be a whole number, not a boolean"),
        ({"times": [1, 2**63]}, 400, "times[1] is 9223372036854775808, and times are from 1677 to 2262"),
        ({"times": [1, 10**10], "time_unit": "s"}, 400, "times[1] is 10000000000 s, and times are from 1677 to 2262"),
        ({"times": [1]}, 400, "times must have one number for each of the 2 values, not 1"),
        ({"sizes": [1, 2, 3]}, 400, "sizes must have one number for each of the 2 values, not 3"),
        ({"sizes": [1, None]}, 422, "sizes[1] must be a number, not null"),
        ({"sizes": [1, -2e140]}, 400, "sizes[1] is -2e+140: a size must be finite"),
        ({"sizes": {}}, 422, "sizes must be a list of numbers, not an object"),
        ({"time_unit": "m"}, 422, "time_unit must be one of ns, us, ms, s, and stands beside times"),
        ({"time_unit": 1}, 422, "time_unit must be one of ns, us, ms, s"),
        ({"times": [[1], [2]]}, 422, "times[0] must be a whole number, not a list"),
        ({"time": [1, 2]}, 422, "Unknown field 'time'; a batch has symbol, values, offset, times, sizes, time_unit"),
    ],
)
@pytest.mark.parametrize("padding", [0, 70_000], ids=["small", "large"])
def test_what_is_no_batch_with_columns_is_refused(
    shared_service: Service, change: dict[str, object], status: int, text: str, padding: int
) -> None:
    """By its place, with nothing stored; in a large body, which is read in pieces, as in a small one."""
    body = {"symbol": "REFUSED", "values": [1, 2], "times": [1, 2], "sizes": [1, 2]} | change
    content = orjson.dumps(body).replace(b'"values":[', b'"values":[' + b" " * padding)
    if padding and "list" in text and "must be a whole number" in text:
        text = "times must be a flat list of numbers; there is a list in it"
    if padding and "not a string" in text:
        text = "times[1] must be a number, not a string"
    refused(shared_service.client.post("/add_batch/", content=content, headers=JSON), status, text)
    assert shared_service.client.get("/values", params={"symbol": "REFUSED"}).status_code == 404


@pytest.mark.parametrize(
    "twice", [b'"times":[1],"times":[1]', b'"sizes":[1],"sizes":[1]', b'"time_unit":"s","time_unit":"s"']
)
@pytest.mark.parametrize("padding", [0, 70_000], ids=["small", "large"])
def test_a_list_that_is_given_twice_is_refused(shared_service: Service, twice: bytes, padding: int) -> None:
    """Nobody knows which of the two is meant."""
    times = b"" if b"times" in twice else b',"times":[1]'
    content = b'{"symbol":"TWICE","values":[1' + b" " * padding + b"]" + times + b"," + twice + b"}"
    refused(shared_service.client.post("/add_batch/", content=content, headers=JSON), 400, "A field is given twice")


@pytest.mark.parametrize("name", ["times", "sizes"])
def test_a_list_whose_name_is_escaped_is_a_list_as_well(shared_service: Service, name: str) -> None:
    """A large body is cut at the names of its lists; one that is written otherwise is not lost."""
    escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
    for at, (listed, status) in enumerate((("[1]", 200), ("[1,2]", 400), ("7", 422))):
        content = f'{{"symbol":"ESCAPED{name}{at}","values":[{" " * 70_000}1],"{escaped}":{listed}}}'.encode()
        answer = shared_service.client.post("/add_batch/", content=content, headers=JSON)
        assert answer.status_code == status, answer.text
    found = shared_service.client.get("/values", params={"symbol": f"ESCAPED{name}0"}).json()
    assert (found["values"], found[name]) == ([1], [1])


def test_a_batch_with_other_columns_is_refused(shared_service: Service) -> None:
    """By name, whatever its format; nothing is left out unsaid."""
    missing = f"{SYMBOL} has prices, times and sizes, and the batch has prices"
    refused(post(shared_service, {"symbol": SYMBOL, "values": [1]}), 422, missing)
    refused(
        post(shared_service, {"symbol": SYMBOL, "values": [1], "times": [1]}), 422, "the batch has prices and times"
    )
    refused(post(shared_service, {"symbol": PRICES, "values": [1], "sizes": [1]}), 422, f"{PRICES} has prices, and")
    raw = shared_service.client.post(
        "/add_batch/", params={"symbol": SYMBOL}, content=bytes(8), headers={"Content-Type": "application/octet-stream"}
    )
    refused(raw, 422, missing)
    assert ask(shared_service, "/stats")["total"] == 6


def test_late_points_are_refused_where_the_settings_say_so(start_service: StartService) -> None:
    """With 409, the place and the total."""
    service = start_service(store__late="refuse")
    assert post(service, {"symbol": "A", "values": [1, 2], "times": [1, 2]}).status_code == 200
    answer = post(service, {"symbol": "A", "values": [1, 2], "times": [3, 2]})
    refused(answer, 409, "times[1] is 2, 1 ns before that of the point before it (3)")
    assert (answer.json()["index"], answer.json()["total"]) == (1, 2)


# -- by time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "first", "last"),
    [
        ({"window": "1s"}, 6, 6), ({"window": "55s"}, 6, 6), ({"window": "55.5s"}, 4, 6), ({"window": "1h"}, 1, 6),
        ({"window": 3}, 4, 6), ({"window": "2s", "at": "2026-01-01T00:00:02Z"}, 2, 3),
        ({"window": "2s", "at": START_NS + 2 * SECOND}, 2, 3), ({"window": 2, "at": "2026-01-01T00:00:02.5Z"}, 2, 3),
        ({"window": 2, "at": 2}, 2, 3), ({"from": START, "to": "2026-01-01T00:00:05Z"}, 1, 3),
        ({"from": "2026-01-01T01:00:05+01:00"}, 4, 6), ({"to": "now"}, 1, 6), ({"from": "1767225605s", "to": 5}, 4, 5),
        ({"from": 1, "to": 3}, 2, 3), ({"window": "100d", "at": "now"}, 0, 0),
    ],
)  # fmt: skip
def test_statistics_are_answered_by_time(
    shared_service: Service, parameters: dict[str, Any], first: int, last: int
) -> None:
    """A bare number is points, or an index; one with a unit is a time, and so is RFC 3339."""
    if not first:
        answer = shared_service.client.get("/stats", params={"symbol": SYMBOL, **parameters})
        refused(answer, 409, "no point of T/ß lies in the 100d up to")
        return
    found = ask(shared_service, "/stats", stats="first,count", **parameters)
    assert (found["first"], found["last"], found["count"]) == (first, last, last - first + 1)
    plain = ask(shared_service, "/stats", **parameters)
    assert (plain["min"], plain["max"], plain["last"]) == (first, last, last)


def test_an_answer_by_time_follows_what_is_appended(shared_service: Service) -> None:
    """It is remembered as long as nothing comes."""
    for number in range(3):
        post(shared_service, {"symbol": "NEXT", "values": [number], "times": [number], "time_unit": "s"})
        for _ in range(2):
            found = shared_service.client.get("/stats", params={"symbol": "NEXT", "window": "1500ms"}).json()
            assert (found["min"], found["max"]) == (max(number - 1, 0), number)


def test_values_are_streamed_by_time(shared_service: Service) -> None:
    """The newest of a time, and those of a range."""
    assert ask(shared_service, "/values", last="56s")["values"] == [4, 5, 6]
    assert ask(shared_service, "/values", **{"from": START, "to": "2026-01-01T00:00:02Z"})["values"] == [1, 2]
    found = ask(shared_service, "/values", **{"from": "2026-01-01T00:00:02Z"})
    assert (found["first"], found["sizes"]) == (2, [0, 4, -1, 10])


def test_other_answers_are_given_by_time(shared_service: Service) -> None:
    """As of a time, with time and size; quantiles and ranks of a window by time; several symbols."""
    assert ask(shared_service, "/asof", at="2026-01-01T00:00:04Z") == {
        "symbol": SYMBOL, "index": 2, "value": 3.0, "time": START_NS + 2 * SECOND, "size": 0.0,
    }  # fmt: skip
    assert shared_service.client.get("/asof", params={"symbol": PRICES, "at": 1}).json() == {
        "symbol": PRICES, "index": 1, "value": 2.0,
    }  # fmt: skip
    assert ask(shared_service, "/quantile", q="0,1", window="56s")["value"] == [4, 6]
    assert ask(shared_service, "/rank", value="2", **{"from": START, "to": "2026-01-01T00:00:05Z"})["below"] == 1
    post(shared_service, ROWS | {"symbol": "T3"})
    several = shared_service.client.get("/stats", params=[("symbol", SYMBOL), ("symbol", "T3"), ("window", "56s")])
    assert several.json()["min"] == [4, 4]


@pytest.mark.parametrize(
    ("path", "parameters", "status", "text"),
    [
        ("/stats", {"window": "0s"}, 400, "a time is above 0 and has a unit of ns, us, ms, s, m, h, d, such as 5m"),
        ("/stats", {"window": "5x"}, 400, "window must be a whole number from 1"),
        ("/stats", {"window": "1.5"}, 400, "window must be a whole number from 1"),
        ("/stats", {"window": 5, "at": "noon"}, 400, "or a time such as 2026-01-31T09:30:00Z, not 'noon'"),
        ("/stats", {"from": "2026-01-01T00:00:00"}, 400, "a time is RFC 3339 with its zone"),
        ("/stats", {"from": "2026-13-01T00:00:00Z"}, 400, "a time is RFC 3339 with its zone"),
        ("/stats", {"from": START, "to": START}, 400, "start must be before end"),
        ("/stats", {"from": "2027-01-01T00:00:00Z"}, 409, "no point of T/ß lies from 2027-01-01T00:00:00Z on"),
        ("/asof", {"at": "2025-01-01T00:00:00Z"}, 409, "no point of T/ß lies at or before 2025-01-01T00:00:00Z"),
        ("/values", {"last": "5y"}, 400, "last must be a whole number from 1, not '5y'; a time is above 0 and has a"),
        ("/stats", {"window": "5min"}, 400, "window must be a whole number from 1, not '5min'; a time is above 0"),
        ("/stats", {"window": "5M"}, 400, "a unit of ns, us, ms, s, m, h, d, such as 5m"),
        ("/stats", {"window": "1s", "at": "0001-01-01T00:00:00+01:00"}, 409, "no point of T/ß lies in the 1s up to"),
        ("/asof", {"at": START_NS}, 400, f"a time in nanoseconds since 1970 has its unit: {START_NS}ns"),
        ("/bars", {"points": 1, "window": "5x"}, 400, "window must be a whole number from 1"),
        ("/stats", {"symbol": PRICES, "window": "5m"}, 422, "T2 has no times, so that nothing can be asked"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(
    shared_service: Service, path: str, parameters: dict[str, Any], status: int, text: str
) -> None:
    """With what one looks like, or why there is no answer."""
    refused(shared_service.client.get(path, params={"symbol": SYMBOL, **parameters}), status, text)


def test_a_plus_in_a_query_that_was_not_encoded_is_told(shared_service: Service) -> None:
    """It stands for a space, so the time has no zone."""
    answer = shared_service.client.get(f"/stats?symbol={PRICES}&from=2026-01-01T00:00:00+01:00")
    refused(answer, 400, "a time is RFC 3339 with its zone")
