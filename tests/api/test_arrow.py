"""Batches as Arrow streams: which column is taken, and what is refused before it costs anything."""

import asyncio
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from api.app import create_app
from api.body.arrow import ArrowColumns, arrow_rows
from api.http.problems import Refusal
from api.operation.settings import Settings
from hft_mmap import Store, Ticks
from tests.service import Service

ARROW = "application/vnd.apache.arrow.stream"
PRICES = np.array([150.1, 150.5, 151.0, 149.8, 150.2, 151.1, 151.2, 152.0, 151.5, 151.9])


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test uses."""
    return f"A-{abs(hash(request.node.nodeid)):x}"


def stream(*batches: dict[str, Any], **options: Any) -> bytes:
    """Return record batches, each from its columns, as an Arrow stream."""
    made = [pa.record_batch({name: pa.array(column) for name, column in one.items()}) for one in batches]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for one in made:
            writer.write_batch(one)
    return bytes(sink.getvalue())


def post(service: Service, body: bytes, symbol: str, more: str = "") -> httpx.Response:
    """Send an Arrow stream."""
    return service.client.post(f"/add_batch/?symbol={symbol}{more}", content=body, headers={"Content-Type": ARROW})


def refused(answer: httpx.Response, status: int = 400) -> str:
    """Return the text of a refusal of this status."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    return str(answer.json()["error"])


def last(service: Service, symbol: str) -> tuple[int, float]:
    """Return total and newest value of a symbol."""
    answer = service.client.get("/stats", params={"symbol": symbol}).json()
    return answer["total"], answer["windows"]["1"]["last"]


@pytest.mark.parametrize(
    ("columns", "newest"),
    [
        (pa.array(PRICES), 151.9),
        (pa.array(PRICES.astype(np.float32)), float(np.float32(151.9))),
        (pa.array(np.arange(10, dtype=np.int64) + 2**40), 2.0**40 + 9),
        (pa.array(np.arange(10, dtype=np.uint8)), 9.0),
        (pa.array(np.append(np.arange(9.0), -0.0)), 0.0),
    ],
)
def test_a_column_of_any_number_type_is_a_batch(
    shared_service: Service, symbol: str, columns: pa.Array, newest: float
) -> None:
    """Floats and integers of every width become float64."""
    answer = post(shared_service, stream({"price": columns}), symbol)
    expected = {"status": "success", "added": 10, "total": 10, "durability": "interval"}
    assert (answer.status_code, answer.json()) == (200, expected), answer.text
    assert last(shared_service, symbol) == (10, newest)


def test_all_record_batches_are_one_batch(shared_service: Service, symbol: str) -> None:
    """Whatever their sizes; an empty one among them is fine, a stream of none is an empty batch."""
    body = stream({"p": PRICES[:3]}, {"p": PRICES[:0]}, {"p": PRICES[3:]})
    assert post(shared_service, body, symbol, "&offset=0").json()["total"] == 10
    assert post(shared_service, body, symbol, "&offset=0").json()["total"] == 10
    assert last(shared_service, symbol) == (10, 151.9)
    assert "empty" in refused(post(shared_service, stream({"p": PRICES[:0]}), symbol))


def test_the_column_may_be_named(shared_service: Service, symbol: str) -> None:
    """Where there are several of numbers it must be; what other columns hold does not matter, nulls included."""
    columns = {"time": np.arange(10), "price": PRICES, "note": [None, "x"] * 5, "size": [1, None] * 5}
    body = stream(columns)
    text = refused(post(shared_service, body, symbol))
    assert "'time', 'price', 'size'" in text
    assert post(shared_service, body, symbol, "&column=price").status_code == 200
    assert last(shared_service, symbol) == (10, 151.9)
    times = {"time": pa.array(np.arange(10), pa.timestamp("us")), "price": PRICES}
    assert post(shared_service, stream(times), symbol).status_code == 200
    for name, part in (("volume", "no columns of the name 'volume'"), ("note", "not of 'string'")):
        assert part in refused(post(shared_service, body, symbol, f"&column={name}"))
    assert last(shared_service, symbol)[0] == 20


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (stream({"p": [1.0, None, 2.0]}), "values[1] must be a number, not null"),
        (stream({"p": [1.0, 2.0]}, {"p": [3.0, None]}), "values[3] must be a number, not null"),
        (stream({"p": [1.0, float("nan")]}), "values[1] is nan"),
        (stream({"p": [-1]}), "values[0]"),
        (stream({"p": ["1.0"]}), "one column of numbers"),
        (stream({"p": [True]}), "one column of numbers"),
        (stream({"p": np.arange(60_000.0)}, {"p": np.arange(60_000.0)}), "120000 numbers"),
        (stream({"p": PRICES}, compression="zstd"), "Content-Encoding"),
        (stream({"p": PRICES}, compression="lz4"), "Content-Encoding"),
        (stream({"p": PRICES, "s": pa.array(["a"] * 10).dictionary_encode()}), "dictionary"),
        (stream({f"{'name' * 50}{i}": [1.0] for i in range(300)}), "bytes of metadata"),
        (stream({"p": PRICES}) + b"more", "behind the end"),
        (stream({"p": PRICES})[:-100], "no sound Arrow stream"),
        (PRICES.tobytes(), "no sound Arrow stream"),
        (b"ARROW1\0\0" + stream({"p": PRICES}), "no sound Arrow stream"),
        (b"", "no sound Arrow stream"),
    ],
)
def test_what_is_no_batch_is_refused(shared_service: Service, symbol: str, body: bytes, part: str) -> None:
    """With the reason, and nothing is stored."""
    assert part in refused(post(shared_service, body, symbol))
    assert shared_service.client.get(f"/stats?symbol={symbol}").status_code == 404


def test_older_streams_are_read(shared_service: Service, symbol: str) -> None:
    """Those of the format before Arrow 1.0, and before 0.15."""
    for options in ({"metadata_version": pa.ipc.MetadataVersion.V4}, {"use_legacy_format": True}):
        assert post(shared_service, stream({"p": PRICES}, **options), symbol).status_code == 200


def mutated(body: bytes, choose: random.Random) -> bytes:
    """Return `body` with some bytes changed, taken out or put in."""
    found = bytearray(body)
    for _ in range(choose.choice((1, 1, 2, 4))):
        place = choose.randrange(len(found))
        number = choose.choice((2**62, 2**31, 0, -1, -(2**63), 10**6)).to_bytes(8, "little", signed=True)
        kind = choose.random()
        if kind < 0.5:
            found[place] = choose.randrange(256)
        elif kind < 0.7:
            del found[place : place + 4]
        elif kind < 0.8:
            found[place:place] = bytes(4)
        else:
            found[place // 8 * 8 : place // 8 * 8 + 8] = number
    return bytes(found)


def test_a_damaged_stream_is_a_batch_or_refused() -> None:
    """Thousands of streams with wrong bytes, lengths and counts: never another error, never more than was sent."""
    choose = random.Random(7)
    seeds = [
        stream({"p": PRICES}, {"p": PRICES}),
        stream({"p": PRICES, "s": ["x"] * 10, "l": [[1, 2]] * 10}),
        stream({"p": [1, None] * 5}),
        stream({"p": PRICES}, compression="zstd"),
    ]

    async def judge() -> int:
        taken = 0
        for _ in range(3000):
            body = mutated(choose.choice(seeds), choose)
            with suppress(Refusal):
                values = await arrow_rows(body, ArrowColumns(), 1000)
                assert not isinstance(values, Ticks)
                assert values.dtype == np.float64
                assert values.ndim == 1
                assert values.nbytes <= len(body)
                taken += 1
        return taken

    assert 0 < asyncio.run(judge()) < 3000


def test_without_pyarrow_it_is_an_unsupported_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """415, and the text says what it lacks."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("api.body.arrow._modules", {})

    async def ask(store: Store) -> httpx.Response:
        transport = httpx.ASGITransport(create_app(store, Settings()))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/add_batch?symbol=A", content=b"", headers={"Content-Type": ARROW})

    with Store(tmp_path) as store:
        assert "installed without pyarrow, which its extra import brings" in refused(asyncio.run(ask(store)), 415)
