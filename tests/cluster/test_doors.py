"""Prices, times and sizes by every way in of a replica: the other one has the same, bit for bit."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from tests.api.streams.client import acknowledged, ingesting
from tests.cluster.shards import needs_nats, post
from tests.service import Service

pytestmark = needs_nats

START_NS = 1_767_225_600 * 10**9
PRICES = np.array([1.5, 1 / 3, 5e-324, 1e140])
TIMES = START_NS + np.array([0, 5, 3, 10**9])
STORED_TIMES = START_NS + np.array([0, 5, 5, 10**9])
SIZES = np.array([1.0, -2.5, 0.0, 1e-9])
Told = dict[str, Any]


def sent(service: Service, body: bytes, kind: str, **query: object) -> Told:
    """Return what a batch that is no JSON was answered."""
    named: dict[str, Any] = query
    answer = service.client.post("/add_batch", params=named, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    told: Told = answer.json()
    return told


def by_json(service: Service, symbol: str) -> Told:
    """Send a body of JSON."""
    told = post(service, symbol, PRICES.tolist(), times=TIMES.tolist(), sizes=SIZES.tolist(), offset=0)
    return dict(told.json())


def by_raw(service: Service, symbol: str) -> Told:
    """Send raw columns."""
    body = b"".join(column.tobytes() for column in (TIMES, PRICES, SIZES))
    return sent(service, body, "application/octet-stream", symbol=symbol, columns="time,price,size", offset=0)


def by_arrow(service: Service, symbol: str) -> Told:
    """Send an Arrow stream of two record batches."""
    table = pa.table({"t": pa.array(TIMES, pa.timestamp("ns", "UTC")), "p": PRICES, "n": SIZES})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    query = {"column": "p", "time_column": "t", "size_column": "n", "symbol": symbol, "offset": 0}
    return sent(service, bytes(sink.getvalue()), "application/vnd.apache.arrow.stream", **query)


def by_lines(service: Service, symbol: str) -> Told:
    """Send two lines of NDJSON."""
    halves = [
        {
            "symbol": symbol, "values": PRICES[part].tolist(), "times": TIMES[part].tolist(),
            "sizes": SIZES[part].tolist(), "offset": part.start,
        }
        for part in (slice(0, 2), slice(2, 4))
    ]  # fmt: skip
    told = sent(service, b"\n".join(map(orjson.dumps, halves)), "application/x-ndjson")
    assert [line["status"] for line in told["lines"]] == [200, 200], told
    return {**told["lines"][-1], "seq": told["seq"]}


def by_stream(service: Service, symbol: str) -> Told:
    """Send two frames, of columns and of JSON."""
    with ingesting(service, symbol=symbol, columns="time,price,size", offset=0) as client:
        for part in (slice(0, 2), slice(2, 4)):
            client.send(b"".join(column[part].tobytes() for column in (TIMES, PRICES, SIZES)))
        return acknowledged(client, 2)


WAYS: dict[str, Callable[[Service, str], Told]] = {
    "json": by_json, "raw": by_raw, "arrow": by_arrow, "lines": by_lines, "stream": by_stream,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_brings_times_and_sizes_to_the_other_replica(both: list[Service], way: str) -> None:
    """The late time is told, and stored alike; the same again, by the other one, stores nothing and says the same."""
    a, b = both
    symbol = f"WAY-{way}"
    told = WAYS[way](a, symbol)
    assert (told["total"], told["late"], told["latest_ns"]) == (4, 1, 2), told
    again = WAYS[way](b, symbol)
    assert (again["total"], again["late"], again["latest_ns"]) == (4, 1, 2), again
    for replica in both:
        found = replica.client.get("/values", params={"symbol": symbol}, headers={"X-Min-Seq": str(again["seq"])})
        assert {name: found.json()[name] for name in ("values", "times", "sizes")} == {
            "values": PRICES.tolist(), "times": STORED_TIMES.tolist(), "sizes": SIZES.tolist(),
        }  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_with_other_columns_is_refused_by_every_replica(both: list[Service], way: str) -> None:
    """422, and 409 for other rows; nothing more is stored."""
    a, b = both
    symbol = f"OTHER-{way}"
    WAYS[way](a, symbol)
    for replica in (b, a):
        bare = post(replica, symbol, [1.0], offset=4)
        assert (bare.status_code, "times" in bare.json()["detail"]) == (422, True)
        other = post(replica, symbol, PRICES.tolist(), times=(TIMES + 1).tolist(), sizes=SIZES.tolist(), offset=0)
        assert (other.status_code, other.json()["total"]) == (409, 4)
    assert json.loads(a.client.get("/values", params={"symbol": symbol}).content)["total"] == 4


def test_times_that_must_not_be_late_are_refused_before_the_log(both: list[Service]) -> None:
    """What can't be stored takes no record."""
    a, _ = both
    before = a.client.get("/cluster").json()["applied"]
    refused = post(a, "BAD", [1.0, -1.0], times=[1, 2], sizes=[1, 1])
    assert refused.status_code == 400
    assert a.client.get("/cluster").json()["applied"] == before


def test_a_batch_that_fits_into_no_record_is_refused_with_the_limit(both: list[Service]) -> None:
    """413 for 24 bytes a point where 8 would fit."""
    n = 50_000
    columns = np.arange(n), np.ones(n), np.ones(n)
    answer = both[0].client.post(
        "/add_batch",
        params={"symbol": "LONG", "columns": "time,price,size"},
        content=b"".join(column.tobytes() for column in columns),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert (answer.status_code, "cluster.max_block_bytes" in answer.json()["detail"]) == (413, True)
