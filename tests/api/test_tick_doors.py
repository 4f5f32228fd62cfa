"""Times and sizes by every other door: raw columns, Arrow, NDJSON, streams; and out again."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import orjson
import pyarrow as pa
import pytest

from tests.api import test_http_table
from tests.api.streams.client import acknowledged, ending, ingesting
from tests.service import Service

START_NS = 1_767_225_600 * 10**9
TIMES = START_NS + np.array([0, 5, 5, 10**9])
PRICES = np.array([1.5, 1 / 3, 5e-324, 1e140])
SIZES = np.array([1.0, -2.5, 0.0, 1e-9])
RAW, ARROW = "application/octet-stream", "application/vnd.apache.arrow.stream"


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test uses."""
    return f"D-{abs(hash(request.node.nodeid)):x}"


def send(service: Service, body: bytes, kind: str, **query: object) -> httpx.Response:
    """Send a batch that is no JSON."""
    named: dict[str, Any] = query
    return service.client.post("/add_batch", params=named, content=body, headers={"Content-Type": kind})


def columns(*names: np.ndarray[Any, Any]) -> bytes:
    """Return columns as a raw body has them."""
    return b"".join(column.tobytes() for column in names)


def arrow_stream(**named: Any) -> bytes:
    """Return a table as an Arrow stream of two record batches."""
    table = pa.table(named)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return bytes(sink.getvalue())


def refused(answer: httpx.Response, status: int, text: str) -> None:
    """Assert that this is a whole problem document, with that status and, in its detail, that text."""
    assert text in test_http_table.refused(answer, status)


def stored(service: Service, symbol: str) -> dict[str, Any]:
    """Return what the service has of a symbol, as JSON."""
    found: dict[str, Any] = service.client.get("/values", params={"symbol": symbol}).json()
    return {name: found[name] for name in ("values", "times", "sizes") if name in found}


ALL = {"values": PRICES.tolist(), "times": TIMES.tolist(), "sizes": SIZES.tolist()}
BODIES: dict[str, Callable[[], tuple[bytes, str, dict[str, object]]]] = {
    "raw": lambda: (columns(TIMES, PRICES, SIZES), RAW, {"columns": "time,price,size"}),
    "raw in another order": lambda: (columns(SIZES, PRICES, TIMES), RAW, {"columns": "size,price,time"}),
    "arrow": lambda: (
        arrow_stream(ts=pa.array(TIMES, pa.timestamp("ns", "UTC")), p=PRICES, n=SIZES, other=["x"] * 4), ARROW,
        {"column": "p", "time_column": "ts", "size_column": "n"},
    ),
    "arrow of integers": lambda: (
        arrow_stream(price=PRICES, ts=TIMES, n=SIZES), ARROW, {"time_column": "ts", "size_column": "n"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_binary_body_has_times_and_sizes(shared_service: Service, symbol: str, name: str) -> None:
    """All of them, bit for bit; and at its offset it is stored once."""
    body, kind, query = BODIES[name]()
    for _ in range(2):
        answer = send(shared_service, body, kind, symbol=symbol, offset=0, **query)
        assert (answer.status_code, answer.json()["total"]) == (200, 4), answer.text
    assert stored(shared_service, symbol) == ALL
    other = send(
        shared_service, columns(TIMES + 1, PRICES, SIZES), RAW, symbol=symbol, offset=0, columns="time,price,size"
    )
    refused(other, 409, "other rows are stored there")


def test_times_have_the_unit_that_the_query_says(shared_service: Service, symbol: str) -> None:
    """In raw columns and in Arrow alike."""
    times = np.array([1_767_225_600_000, 1_767_225_600_001])
    raw = columns(PRICES[:2], times)
    assert send(shared_service, raw, RAW, symbol=symbol, columns="price,time", time_unit="ms").status_code == 200
    body = arrow_stream(price=PRICES[:2], time=times)
    query = {"symbol": symbol, "time_column": "time", "time_unit": "ms", "column": "price"}
    assert send(shared_service, body, ARROW, **query).json()["late"] == 1
    assert stored(shared_service, symbol)["times"] == [START_NS, *[START_NS + 10**6] * 3]


@pytest.mark.parametrize(
    ("query", "body", "text"),
    [
        ({"columns": "time"}, bytes(8), "columns must be price"),
        ({"columns": "price,price"}, bytes(16), "each once"),
        ({"columns": "price,volume"}, bytes(16), "not 'price,volume'"),
        ({"columns": "price,time"}, bytes(24), "so 8 are too many"),
        ({"columns": "price", "time_unit": "s"}, bytes(8), "time_unit must be one of"),
        ({"columns": "price,time", "time_unit": "m"}, bytes(16), "time_unit must be one of"),
        ({"columns": "price,time"}, b"", "empty"),
        ({"columns": "price,time", "time_unit": "s"}, columns(PRICES[:1], np.array([2**62])), "times are from 1677"),
        ({"columns": "price,size"}, columns(PRICES[:1], np.array([np.nan])), "sizes[0] is nan"),
        ({"columns": "price,size"}, columns(np.array([-1.0]), SIZES[:1]), "values[0] is -1.0"),
    ],
)
def test_raw_columns_that_are_none_are_refused(
    shared_service: Service, symbol: str, query: dict[str, str], body: bytes, text: str
) -> None:
    """With 400, by name and place, and nothing is stored."""
    refused(send(shared_service, body, RAW, symbol=symbol, **query), 400, text)
    assert shared_service.client.get("/values", params={"symbol": symbol}).status_code == 404


@pytest.mark.parametrize(
    ("named", "query", "text"),
    [
        ({"t": pa.array([1, 2], pa.timestamp("ns"))}, {"time_column": "t"}, "timestamps without a time zone"),
        ({"t": pa.array([1.0, 2.0])}, {"time_column": "t"}, "must be of timestamps or integers, not of 'double'"),
        ({"t": pa.array([1, None])}, {"time_column": "t"}, "times[1] must be a number, not null"),
        ({"t": [1, 2]}, {"time_column": "when"}, "no columns of the name 'when'"),
        ({"t": [1, 2]}, {"time_column": "price"}, "must be of timestamps or integers"),
        ({"t": [1, 2]}, {"time_column": "t", "size_column": "t"}, "One column is named twice"),
        ({"t": [1, 2]}, {"time_unit": "s", "column": "price"}, "time_unit stands beside time_column"),
        ({"t": pa.array([1, 2], pa.timestamp("ns", "UTC"))}, {"time_column": "t", "time_unit": "s"}, "leave out"),
        ({"n": ["1", "2"]}, {"size_column": "n"}, "must be of integers or floats, not of 'string'"),
    ],
)  # fmt: skip
def test_arrow_columns_that_are_none_are_refused(
    shared_service: Service, symbol: str, named: dict[str, Any], query: dict[str, str], text: str
) -> None:
    """With 400, by name and place."""
    body = arrow_stream(price=PRICES[:2], **named)
    refused(send(shared_service, body, ARROW, symbol=symbol, **{"column": "price", **query}), 400, text)


def test_lines_have_times_and_sizes(shared_service: Service, symbol: str) -> None:
    """Each as a body of its own; late points are counted by line."""
    batch = {"symbol": symbol, "values": [1.5, 2.5], "times": [7, 5], "sizes": [1, -1]}
    lines = [batch, {**batch, "times": [7, 8], "offset": 2}, {"symbol": symbol, "values": [1]}]
    body = b"\n".join(map(orjson.dumps, lines))
    answer = send(shared_service, body, "application/x-ndjson").json()
    assert [line["status"] for line in answer["lines"]] == [200, 200, 422]
    assert answer["lines"][0] == {
        "line": 1, "status": 200, "symbol": symbol, "added": 2, "total": 2, "late": 1, "latest_ns": 2,
    }  # fmt: skip
    assert "late" not in answer["lines"][1]
    assert stored(shared_service, symbol)["times"] == [7, 7, 7, 8]


def test_frames_of_a_stream_have_the_columns_that_its_query_names(shared_service: Service, symbol: str) -> None:
    """Of one symbol, and of any; the acknowledgement counts late points."""
    query = {"columns": "time,price,size", "time_unit": "s"}
    with ingesting(shared_service, symbol=symbol, **query) as client:
        client.send(columns(np.array([10, 9]), PRICES[:2], SIZES[:2]))
        assert acknowledged(client, 1) == {"event": "ack", "frames": 1, "total": 2, "late": 1, "latest_ns": 10**9}
    name = symbol.encode()
    head = (2).to_bytes(8, "little") + bytes([len(name)]) + name
    with ingesting(shared_service, **query) as client:
        body = columns(np.array([11, 12]), PRICES[2:], SIZES[2:])
        client.send(head + bytes(-len(head) % 8) + body)
        client.send(
            orjson.dumps({"symbol": symbol, "values": [7], "times": [13], "sizes": [3], "time_unit": "s"}).decode()
        )
        assert acknowledged(client, 2)["totals"] == {symbol: 5}
    assert stored(shared_service, symbol) == {
        "values": [*PRICES.tolist(), 7.0], "times": [s * 10**9 for s in (10, 10, 11, 12, 13)],
        "sizes": [*SIZES.tolist(), 3.0],
    }  # fmt: skip


def test_a_frame_with_other_columns_ends_the_stream(shared_service: Service, symbol: str) -> None:
    """As a batch with other columns is refused."""
    with ingesting(shared_service, symbol=symbol, columns="price,size") as client:
        client.send(columns(PRICES, SIZES))
        acknowledged(client, 1)
    with ingesting(shared_service, symbol=symbol) as client:
        client.send(PRICES.tobytes())
        *_, fault = (found := ending(client))[0]
    assert (fault["status"], found[1]) == (422, 4422)


@pytest.mark.parametrize("kind", ["raw", "arrow"])
def test_what_went_in_comes_out_bit_for_bit(shared_service: Service, symbol: str, kind: str) -> None:
    """In raw columns, which have to be named, and in Arrow, with timestamps in UTC; a subset too."""
    body, media_type, query = BODIES["raw"]()
    send(shared_service, body, media_type, symbol=symbol, **query)
    get = shared_service.client.get
    if kind == "raw":
        refused(get("/values", params={"symbol": symbol, "format": kind}), 406, "columns=time,price,size")
        answer = get("/values", params={"symbol": symbol, "format": kind, "columns": "time,price,size"})
        assert (answer.content, answer.headers["x-columns"]) == (body, "time,price,size")
        assert get("/values", params={"symbol": symbol, "format": kind, "columns": "size"}).status_code == 400
        alone = get("/values", params={"symbol": symbol, "format": kind, "columns": "price", "last": 2})
        assert alone.content == PRICES[2:].tobytes()
        return
    answer = get("/values", params={"symbol": symbol, "format": kind})
    assert int(answer.headers["content-length"]) == len(answer.content)
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.schema.field("time").type == pa.timestamp("ns", "UTC")
    assert table["time"].cast(pa.int64()).to_pylist() == TIMES.tolist()
    assert table["price"].to_numpy().tobytes() + table["size"].to_numpy().tobytes() == columns(PRICES, SIZES)


def test_a_column_that_a_series_lacks_is_refused(shared_service: Service, symbol: str) -> None:
    """Whatever the format."""
    shared_service.add(symbol, [1.0])
    for kind in ("json", "raw", "arrow"):
        answer = shared_service.client.get(
            "/values", params={"symbol": symbol, "format": kind, "columns": "price,time"}
        )
        refused(answer, 422, "has no times; its columns are price")
