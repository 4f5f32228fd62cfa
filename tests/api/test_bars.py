"""Over HTTP: statistics of times and sizes, bars by time, volume and value, windows and points by many times."""

import io
from typing import Any

import httpx
import numpy as np
import orjson
import pyarrow as pa
import pytest

from tests.api import test_http_table
from tests.api.streams.client import opened
from tests.service import Service

SYMBOL, PRICES, TIMED = "B/ß", "B2", "B3"
SECOND = 10**9
START_NS = 1_767_225_600 * SECOND
ROWS = {
    "values": [10, 11, 9, 12], "times": [1_767_225_600 + s for s in (0, 60, 110, 400)], "sizes": [2, -1.5, 0.25, 1],
    "time_unit": "s",
}  # fmt: skip
VWAP = [10, 11 - 2 * 0.25 / 1.75, 12]


@pytest.fixture(scope="module", autouse=True)
def stored(shared_service: Service) -> None:
    """Store four ticks, as many of another symbol without sizes, and prices of a third."""
    for body in ({"symbol": SYMBOL, **ROWS}, {"symbol": TIMED, **{k: v for k, v in ROWS.items() if k != "sizes"}}):
        answer = shared_service.client.post("/add_batch", content=orjson.dumps(body), headers=JSON)
        assert answer.status_code == 200, answer.text
    assert shared_service.add(PRICES, [1.0, 2.0, 3.0]).status_code == 200


JSON = {"Content-Type": "application/json"}
ARROW = "application/vnd.apache.arrow.stream"


def ask(service: Service, path: str, **parameters: Any) -> dict[str, Any]:
    """Return the answer for these parameters; HEAD has none."""
    answer = service.client.get(path, params={"symbol": SYMBOL, **parameters})
    assert answer.status_code == 200, answer.text
    assert service.client.head(path, params={"symbol": SYMBOL, **parameters}).content == b""
    found: dict[str, Any] = answer.json()
    return found


def stream(table: pa.Table) -> bytes:
    """Return a table as an Arrow stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def post(service: Service, path: str, body: object, **parameters: Any) -> httpx.Response:
    """Send a body of JSON."""
    return service.client.post(
        path, params={"symbol": SYMBOL, **parameters}, content=orjson.dumps(body), headers=JSON
    )  # fmt: skip


def test_statistics_of_times_and_sizes_have_names(shared_service: Service) -> None:
    """Beside the five, null where one is undefined."""
    names = "volume,signed_volume,vwap,twap,gap,rate"
    found = ask(shared_service, "/stats", window=4, stats=names)
    assert {name: found[name] for name in names.split(",")} == {
        "volume": 4.75, "signed_volume": 1.75, "vwap": pytest.approx(9 + (2 + 1.5 * 2 + 3) / 4.75, rel=1e-14),
        "twap": pytest.approx(9 + (60 * 1 + 50 * 2) / 400, rel=1e-14), "gap": 290.0, "rate": 3 / 400,
    }  # fmt: skip
    found = ask(shared_service, "/stats", window="1s", stats=names)
    assert (found["twap"], found["gap"], found["rate"], found["vwap"]) == (None, None, None, 12.0)
    assert ask(shared_service, "/stats", stats="volume")["windows"]["1"]["volume"] == 4.75


def test_bars_by_time_have_what_a_candle_has(shared_service: Service) -> None:
    """Aligned to the epoch; the bar that nothing was traded in is left out."""
    found = ask(shared_service, "/bars", every="1m")
    assert list(found) == [
        "symbol", "total", "start", "time", "index", "open", "high", "low", "close", "mean", "std", "count", "volume",
        "vwap",
    ]  # fmt: skip
    assert found["time"] == [START_NS, START_NS + 60 * SECOND, START_NS + 360 * SECOND]
    assert [found[name] for name in ("index", "open", "high", "low", "close", "count")] == [
        [0, 1, 3], [10, 11, 12], [10, 11, 12], [10, 9, 12], [10, 9, 12], [1, 2, 1],
    ]  # fmt: skip
    assert found["volume"] == [2, 1.75, 1]
    assert found["vwap"] == pytest.approx(VWAP, rel=1e-14)
    assert ask(shared_service, "/bars", every="1m", stats="gap")["gap"] == [None, 50.0, None]


@pytest.mark.parametrize(("fill", "close"), [("null", [9, None, 12]), ("previous", [9, 9, 12])])
def test_bars_are_filled(shared_service: Service, fill: str, close: list[float | None]) -> None:
    """From `from` to `to`, with nulls or with the price before."""
    span = {"from": "2026-01-01T00:00:30Z", "to": "2026-01-01T00:07:00Z"}
    found = ask(shared_service, "/bars", every="2m", fill=fill, **span)
    assert found["time"] == [START_NS + s * SECOND for s in (0, 120, 240, 360)]
    assert found["close"] == [close[0], close[1], close[1], close[2]]
    assert (found["count"], found["volume"], found["vwap"][1]) == ([2, 0, 0, 1], [1.75, 0, 0, 1], None)


def test_bars_begin_at_midnight_of_a_time_zone(shared_service: Service) -> None:
    """Five and a half hours before that of UTC, in this one."""
    found = ask(shared_service, "/bars", every="1d", tz="Asia/Kolkata")
    assert found["time"] == [START_NS - 5 * 3600 * SECOND - 1800 * SECOND]


@pytest.mark.parametrize(
    ("parameters", "index"),
    [({"volume": "2"}, [0, 1]), ({"volume": 3.5}, [0, 2]), ({"value": "20.5"}, [0, 2]), ({"points": 3}, [0, 3]),
     ({"points": 2, "window": "291s"}, [2]), ({"every": "1h", "window": 2}, [2]), ({"volume": 1, "from": 1}, [1, 2])],
)  # fmt: skip
def test_bars_are_cut_by_what_was_traded(shared_service: Service, parameters: dict[str, Any], index: list[int]) -> None:
    """By volume, by value, by points; each has the time of its first point, and what was traded in it."""
    found = ask(shared_service, "/bars", **parameters)
    assert found["index"] == index
    assert len(found["time"]) == len(found["vwap"]) == len(index)


def test_bars_of_a_series_have_what_it_has(shared_service: Service) -> None:
    """Without sizes no volume, without times no time."""
    timed = shared_service.client.get("/bars", params={"symbol": TIMED, "every": "1h"}).json()
    assert ("time" in timed, "volume" in timed) == (True, False)
    prices = shared_service.client.get("/bars", params={"symbol": PRICES, "points": 2}).json()
    assert ("time" in prices, "volume" in prices, prices["index"]) == (False, False, [0, 2])


@pytest.mark.parametrize("kind", ["json", "arrow", "raw"])
def test_windows_around_times(shared_service: Service, kind: str) -> None:
    """Both ends are in; one without a point is a row of nulls."""
    times = [START_NS + s * SECOND for s in (60, 250, 400)]
    parameters = {"symbol": SYMBOL, "by": "time", "before": "60s", "after": "50s", "stats": "count,vwap,argmin"}
    bodies = {"json": orjson.dumps({"time": times}), "raw": np.array(times, "<i8").tobytes()}
    types = {"json": "application/json", "arrow": "application/vnd.apache.arrow.stream",
             "raw": "application/octet-stream"}  # fmt: skip
    if kind == "arrow":
        bodies["arrow"] = stream(pa.table({"time": times}))
    answer = shared_service.client.post(
        "/windows", params=parameters, content=bodies[kind], headers={"Content-Type": types[kind]}
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["start"], found["end"], found["count"]) == ([0, 3, 3], [3, 3, 4], [3, 0, 1])
    assert (found["argmin"], found["vwap"][1:]) == ([2, None, 3], [None, 12.0])


@pytest.mark.parametrize(
    ("parameters", "body", "start", "end"),
    [
        ({"before": "60s"}, {"index": [1, 3]}, [0, 3], [2, 4]),
        ({"after": "5m", "before": 0}, {"index": [0]}, [0], [3]),
        ({"by": "time", "before": 1, "after": 1}, {"time": [START_NS + 100 * SECOND]}, [0], [3]),
        ({"by": "time"}, {"start": [START_NS, START_NS + 60 * SECOND], "end": [START_NS + 60 * SECOND] * 1
                          + [START_NS + 61 * SECOND]}, [0, 1], [1, 2]),
        ({}, {"start": [0], "end": [4]}, [0], [4]),
    ],
)  # fmt: skip
def test_windows_are_of_times_or_of_points(
    shared_service: Service, parameters: dict[str, Any], body: dict[str, Any], start: list[int], end: list[int]
) -> None:
    """Places by index or by time, and windows of points or of a time around them."""
    answer = post(shared_service, "/windows", body, stats="count", **parameters)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["start"], answer.json()["end"]) == (start, end)


def test_a_point_is_near_enough_or_null(shared_service: Service) -> None:
    """As of a time with a tolerance, of one series and of several."""
    at = "2026-01-01T00:02:00Z"
    assert ask(shared_service, "/asof", at=at, tolerance="10s") == {
        "symbol": SYMBOL, "index": 2, "value": 9.0, "time": START_NS + 110 * SECOND, "size": 0.25,
    }  # fmt: skip
    found = ask(shared_service, "/asof", at=at, tolerance="9s")
    assert found == {"symbol": SYMBOL, "index": None, "value": None, "time": None}
    several = shared_service.client.get("/asof", params=[("symbol", SYMBOL), ("symbol", TIMED), ("at", at)])
    assert several.json() == {
        "symbols": [SYMBOL, TIMED], "index": [2, 2], "time": [START_NS + 110 * SECOND] * 2, "value": [9, 9],
        "size": [0.25, None],
    }  # fmt: skip
    several = shared_service.client.get("/asof", params=[("symbol", PRICES), ("symbol", TIMED), ("at", 1)])
    assert (several.json()["value"], several.json()["time"]) == ([2, 11], [None, START_NS + 60 * SECOND])


def test_points_as_of_many_times(shared_service: Service) -> None:
    """A row for each, in any order, null where none is near; of several series a list for each."""
    times = [START_NS + s * SECOND for s in (400, -1, 115, 300)]
    found = post(shared_service, "/asof", {"time": times}, tolerance="1m").json()
    assert found == {
        "symbol": SYMBOL, "index": [3, None, 2, None], "value": [12, None, 9, None], "size": [1, None, 0.25, None],
        "time": [START_NS + 400 * SECOND, None, START_NS + 110 * SECOND, None],
    }  # fmt: skip
    answer = shared_service.client.post(
        "/asof", params=[("symbol", SYMBOL), ("symbol", TIMED)], content=orjson.dumps({"time": times}), headers=JSON
    )
    assert answer.json()["symbols"] == [SYMBOL, TIMED]
    assert answer.json()["index"] == [[3, None, 2, 2]] * 2
    assert answer.json()["size"] == [[1, None, 0.25, 0.25], None]


@pytest.mark.parametrize("kind", ["integers", "timestamps"])
@pytest.mark.parametrize("by", ["format", "accept"])
def test_points_as_of_many_times_come_as_arrow(shared_service: Service, kind: str, by: str) -> None:
    """With timestamps in UTC, null where there is no point; also the times that are asked may be timestamps."""
    seconds = [1_767_225_600 + s for s in (400, -1, 115, 300)]
    times = pa.array(seconds, pa.timestamp("s", "Europe/Berlin"))
    body = stream(pa.table({"time": times if kind == "timestamps" else pa.array(seconds).cast("int64")}))
    params: Any = [
        ("symbol", SYMBOL),
        ("symbol", TIMED),
        ("tolerance", "1m"),
        *([("format", "arrow")] if by == "format" else []),
    ]
    if kind == "integers":
        body = stream(pa.table({"time": [second * SECOND for second in seconds], "other": [1.5] * 4}))
    headers = {"Content-Type": ARROW, **({"Accept": ARROW} if by == "accept" else {})}
    answer = shared_service.client.post("/asof", params=params, content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, ARROW), answer.text
    found = pa.ipc.open_stream(answer.content).read_all()
    assert found.schema.field("time").type == pa.timestamp("ns", "UTC")
    assert found["symbol"].to_pylist() == [SYMBOL] * 4 + [TIMED] * 4
    assert found["index"].to_pylist() == [3, None, 2, None] * 2
    whole = found["time"].cast(pa.int64()).to_pylist()
    assert whole == [START_NS + 400 * SECOND, None, START_NS + 110 * SECOND, None] * 2
    assert (found["value"].to_pylist(), found["size"].to_pylist()) == (
        [12, None, 9, None] * 2,
        [1, None, 0.25, *[None] * 5],
    )
    alone = shared_service.client.post("/asof", params=params[1:], content=body, headers=headers)
    assert pa.ipc.open_stream(alone.content).read_all().column_names == ["index", "time", "value", "size"]


def test_windows_between_timestamps(shared_service: Service) -> None:
    """In Arrow, where they have a time zone; without one they are no times, and no indexes at all."""
    bounds = {"start": [1_767_225_600], "end": [1_767_225_661]}
    headers, params = {"Content-Type": ARROW}, {"symbol": SYMBOL, "by": "time", "stats": "count"}

    def ask_between(kind: pa.DataType, **further: str) -> httpx.Response:
        body = stream(pa.table({name: pa.array(values, kind) for name, values in bounds.items()}))
        return shared_service.client.post("/windows", params=params | further, content=body, headers=headers)

    assert ask_between(pa.timestamp("s", "UTC")).json() == {"start": [0], "end": [2], "count": [2]}
    for kind, further, text in (
        (pa.timestamp("s"), {}, "has timestamps without a time zone"),
        (pa.timestamp("s", "UTC"), {"by": "index"}, "must be of integers, not of 'timestamp"),
        (pa.float64(), {}, "must be of integers or timestamps, not of 'double'"),
    ):
        assert text in test_http_table.refused(ask_between(kind, **further), 400)


def test_the_points_themselves_have_rfc_3339(shared_service: Service) -> None:
    """Where that is asked for, in JSON; the other formats have times of their own."""
    found = ask(shared_service, "/values", times="iso", last=2)
    assert found["times"] == ["2026-01-01T00:01:50.000000000Z", "2026-01-01T00:06:40.000000000Z"]
    assert (found["values"], found["sizes"]) == ([9, 12], [0.25, 1])
    assert ask(shared_service, "/values", times="ns", last=1)["times"] == [START_NS + 400 * SECOND]
    assert "times" not in ask(shared_service, "/values", times="iso", columns="price")
    for kind in ("arrow", "raw"):
        answer = shared_service.client.get(
            "/values", params={"symbol": SYMBOL, "times": "iso", "format": kind, "columns": "time,price"}
        )
        assert "times=iso goes with application/json" in test_http_table.refused(answer, 400)
    answer = post(shared_service, "/asof", {"time": [START_NS]}, times="iso", format="arrow")
    assert "times=iso goes with application/json" in test_http_table.refused(answer, 400)


def test_many_points_have_rfc_3339(shared_service: Service) -> None:
    """All of them, whatever pieces they are sent in."""
    times = START_NS + np.arange(3000)
    shared_service.client.post(
        "/add_batch", params={"symbol": "B4", "columns": "time,price", "offset": 0},
        content=times.tobytes() + np.ones(3000).tobytes(), headers={"Content-Type": "application/octet-stream"},
    )  # fmt: skip
    found = shared_service.client.get("/values", params={"symbol": "B4", "times": "iso"}).json()["times"]
    assert found == [f"2026-01-01T00:00:00.{k:09d}Z" for k in range(3000)]


def test_times_are_nanoseconds_or_rfc_3339(shared_service: Service) -> None:
    """As is asked for; with all nine digits, in UTC."""
    moment = "2026-01-01T00:01:50.000000000Z"
    assert ask(shared_service, "/asof", at="now", times="iso")["time"] == "2026-01-01T00:06:40.000000000Z"
    assert ask(shared_service, "/bars", every="1m", times="iso")["time"][1] == "2026-01-01T00:01:00.000000000Z"
    several = shared_service.client.get(
        "/asof", params=[("symbol", SYMBOL), ("symbol", PRICES), ("at", 2), ("times", "iso")]
    )
    assert several.json()["time"] == [moment, None]
    times = [START_NS + 115 * SECOND, START_NS - 1]
    assert post(shared_service, "/asof", {"time": times}, times="iso").json()["time"] == [moment, None]
    answer = shared_service.client.get("/asof", params={"symbol": SYMBOL, "at": 0, "times": "unix"})
    assert "times must be one of ns, iso, not 'unix'" in test_http_table.refused(answer, 400)


@pytest.mark.parametrize(
    ("path", "parameters", "status", "text"),
    [
        ("/stats", {"symbol": TIMED, "window": 1, "stats": "avg,vwap"}, 422, "B3 has no sizes, and vwap is made of"),
        ("/stats", {"symbol": PRICES, "window": 1, "stats": "gap"}, 422, "B2 has no times, and gap is made of them"),
        ("/bars", {}, 400, "Give one of points, every, volume, value, which says what a bar is, not none"),
        ("/bars", {"points": 1, "every": "1m"}, 400, "not points and every"),
        ("/bars", {"every": "5"}, 400, "every must be a whole number from 1"),
        ("/bars", {"every": "1m", "tz": "Nowhere"}, 400, "tz must be the IANA name of a time zone"),
        ("/bars", {"every": "7m", "tz": "UTC"}, 400, "every must divide a day"),
        ("/bars", {"every": "1m", "fill": "0"}, 400, "fill must be one of none, null, previous"),
        ("/bars", {"points": 1, "fill": "null"}, 400, "fill goes with every, for bars by time, and not with points"),
        ("/bars", {"volume": 1, "tz": "UTC"}, 400, "tz goes with every"),
        ("/bars", {"volume": "0"}, 400, "volume must be a number above 0"),
        ("/bars", {"value": "-1"}, 400, "value must be a number above 0"),
        ("/bars", {"every": "1m", "window": 1, "from": 1}, 400, "Give either window"),
        ("/bars", {"every": "1m", "from": 2, "to": 1}, 400, "from must not be above to"),
        ("/bars", {"every": "1ns"}, 400, "at most 1,000,000 are cut"),
        ("/bars", {"every": "1m", "fill": "null", "from": "2025-01-01T00:00:00Z"}, 400, "at most 5,000 are cut"),
        ("/bars", {"symbol": PRICES, "every": "1m"}, 422, "B2 has no times"),
        ("/bars", {"symbol": TIMED, "volume": 1}, 422, "B3 has no sizes"),
        ("/asof", {"at": 1, "tolerance": "1s"}, 400, "tolerance goes with a time, and at is the index 1"),
        ("/asof", {"at": "now", "tolerance": "1"}, 400, "tolerance must be a whole number from 1, not '1'"),
    ],
)  # fmt: skip
def test_what_can_not_be_answered_is_refused(
    shared_service: Service, path: str, parameters: dict[str, Any], status: int, text: str
) -> None:
    """With what was wrong, and what would be right."""
    answer = shared_service.client.get(path, params={"symbol": SYMBOL, **parameters})
    assert text in test_http_table.refused(answer, status)


@pytest.mark.parametrize(
    ("path", "parameters", "body", "status", "text"),
    [
        ("/windows", {"by": "date"}, {"start": [0], "end": [1]}, 400, "by must be index or time"),
        ("/windows", {"before": 5, "after": "1s"}, {"index": [1]}, 400, "must both be points, or both be times"),
        ("/windows", {"by": "time", "before": "1s"}, {"index": [1]}, 422, 'must be an object {"time": […]}'),
        ("/windows", {"by": "time"}, {"start": [5], "end": [5]}, 400, "window 0 is from 5 ns to 5 ns"),
        ("/windows", {"by": "time", "before": 1}, {"time": [5]}, 409, "lies at or before 5 ns, which is time[0]"),
        ("/windows", {"before": "1s"}, {"index": [4]}, 409, "points of [4, 5) of B/ß do not exist"),
        ("/windows", {"symbol": PRICES, "before": "1s"}, {"index": [1]}, 422, "B2 has no times"),
        ("/windows", {"symbol": PRICES, "by": "time"}, {"start": [1], "end": [2]}, 422, "B2 has no times"),
        ("/windows", {"symbol": TIMED, "stats": "vwap"}, {"start": [0], "end": [1]}, 422, "B3 has no sizes"),
        ("/asof", {"at": 1}, {"time": [1]}, 400, "Unknown parameter 'at'"),
        ("/asof", {}, {"times": [1]}, 422, 'must be an object {"time": […]}'),
        ("/asof", {"symbol": PRICES}, {"time": [1]}, 422, "B2 has no times"),
        ("/asof", {"format": "csv"}, {"time": [1]}, 400, "format must be one of json, arrow, not 'csv'"),
    ],
)  # fmt: skip
def test_what_is_no_body_is_refused(
    shared_service: Service, path: str, parameters: dict[str, Any], body: object, status: int, text: str
) -> None:
    """Whole, and nothing of it is answered."""
    assert text in test_http_table.refused(post(shared_service, path, body, **parameters), status)


def test_the_windows_of_a_series_with_times_are_of_points_and_of_time(shared_service: Service) -> None:
    """Eight by count as ever, eight by time beside them; a series without times has what it had."""
    found = ask(shared_service, "/stats")
    assert list(found) == ["symbol", "total", "count", "windows", "by_time"]
    assert list(found["by_time"]) == ["1s", "5s", "10s", "1m", "5m", "15m", "1h", "1d"]
    for window, stats in found["by_time"].items():
        assert stats == ask(shared_service, "/stats", window=window)
    named = ask(shared_service, "/stats", stats="vwap,count")
    assert [one["count"] for one in named["by_time"].values()] == [1, 1, 1, 1, 2, 4, 4, 4]
    assert named["by_time"]["1d"]["vwap"] == named["windows"]["8"]["vwap"]
    assert "by_time" not in shared_service.client.get("/stats", params={"symbol": PRICES}).json()


def test_a_stream_tells_of_windows_by_time(shared_service: Service) -> None:
    """Those that are asked for under their names, and the eight standard ones beside the eight by count."""
    with opened(shared_service, mode="stats", symbol=TIMED, window=["5m", 2], interval_ms=10) as stream:
        first = orjson.loads(stream.recv())
        assert list(first["windows"]) == ["2", "5m"]
        assert (first["windows"]["5m"]["min"], "by_time" in first) == (9.0, False)
        stream.send('{"subscribe":"B3","windows":["291s",1],"stats":["rate","count"]}')
        assert orjson.loads(stream.recv())["windows"]["291s"]["count"] == 2
        stream.send('{"subscribe":"B3","windows":["5"]}')
        assert "windows must be a whole number from 1, not '5'" in orjson.loads(stream.recv())["detail"]
        stream.send('{"subscribe":"B3","windows":["5m"],"stats":["gap"]}')
        assert "nothing bounds how many 5m has" in orjson.loads(stream.recv())["detail"]
        stream.send('{"subscribe":"B2","windows":["5m"]}')
        assert orjson.loads(stream.recv())["status"] == 422
        stream.send('{"subscribe":"B3"}')
        found = orjson.loads(stream.recv())
        assert found["by_time"] == shared_service.client.get("/stats", params={"symbol": TIMED}).json()["by_time"]
        assert next(iter(found["windows"])) == "10"


@pytest.mark.parametrize(
    ("parameters", "status", "text"),
    [
        ({"symbol": PRICES, "window": "5m"}, 422, "B2 has no times"),
        ({"symbol": TIMED, "window": "5m", "stats": "rv"}, 400, "nothing bounds how many 5m has"),
        ({"symbol": TIMED, "window": 5, "stats": "vwap"}, 422, "B3 has no sizes"),
        ({"symbol": TIMED, "window": "5x"}, 400, "window must be a whole number from 1"),
    ],
)
def test_events_that_can_not_be_told_are_refused(
    shared_service: Service, parameters: dict[str, Any], status: int, text: str
) -> None:
    """Before the first of them."""
    assert text in test_http_table.refused(shared_service.client.get("/events", params=parameters), status)
