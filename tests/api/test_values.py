"""GET /values: the points themselves, in three formats, streamed without holding them all."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from tests.conftest import StartService
from tests.service import PATIENCE_S, Service, wait_until

RAW = "application/octet-stream"
JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
FORMATS = {"raw": RAW, "json": JSON, "arrow": ARROW}
PRICES = np.round(np.random.default_rng(3).random(50_000) * 1000, 2)
CHUNK_POINTS = 4_194_304
MIB = 1 << 20


@pytest.fixture(scope="module")
def stored(shared_service: Service) -> Service:
    """Return a service that holds PRICES under "V"."""
    add(shared_service, "V", PRICES)
    return shared_service


def add(service: Service, symbol: str, values: NDArray[np.float64]) -> int:
    """Append values of any number, and return the total."""
    answer = httpx.Response(0)
    for begin in range(0, len(values), 100_000):
        body = values[begin : begin + 100_000].tobytes()
        answer = service.client.post(
            "/add_batch", params={"symbol": symbol}, content=body, headers={"Content-Type": RAW}
        )
        assert answer.status_code == 200, answer.text
    return int(answer.json()["total"])


def get(service: Service, accept: str | None = None, method: str = "GET", **params: object) -> httpx.Response:
    """Ask for values; `from_` is the parameter from."""
    query = {name.rstrip("_"): str(value) for name, value in params.items()}
    headers = {} if accept is None else {"Accept": accept}
    return service.client.request(method, "/values/", params=query, headers=headers)


def read(answer: httpx.Response) -> NDArray[np.float64]:
    """Return the points of an answer of any format."""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["Content-Type"]
    if kind == RAW:
        return np.frombuffer(answer.content)
    if kind == JSON:
        return np.array(answer.json()["values"], np.float64)
    column = pa.ipc.open_stream(answer.content).read_all()["price"]
    found: NDArray[np.float64] = column.to_numpy()
    return found


def refused(answer: httpx.Response, status: int) -> str:
    """Return the text of a refusal of this status."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    return str(answer.json()["error"])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"last": 10}, PRICES[-10:]),
        ({"last": 10**30}, PRICES),
        ({}, PRICES),
        ({"from_": 0, "to": 1}, PRICES[:1]),
        ({"from_": 100, "to": 40_000}, PRICES[100:40_000]),
        ({"from_": 49_000}, PRICES[49_000:]),
        ({"to": 32_769}, PRICES[:32_769]),
        ({"from_": 49_999, "to": 10**18}, PRICES[-1:]),
        ({"from_": 50_000}, PRICES[:0]),
        ({"from_": 7, "to": 7}, PRICES[:0]),
    ],
)
def test_the_very_points_come_back(
    stored: Service, name: str, params: dict[str, Any], expected: NDArray[np.float64]
) -> None:
    """Bit for bit in each format, and the headers say which they are."""
    for answer in (get(stored, FORMATS[name], symbol="V", **params), get(stored, symbol="V", format=name, **params)):
        assert answer.headers["Content-Type"] == FORMATS[name]
        assert read(answer).tobytes() == expected.tobytes()
        first = params.get("from_", 50_000 - len(expected) if "last" in params else 0)
        shown = {key: answer.headers[f"X-{key}"] for key in ("Total", "Start", "First-Index", "Values")}
        assert shown == {"Total": "50000", "Start": "0", "First-Index": str(first), "Values": str(len(expected))}
        assert ("Content-Length" in answer.headers) == (name != "json")


def test_json_says_what_it_holds(stored: Service) -> None:
    """Symbol and bounds before the values."""
    answer = get(stored, symbol="V", last=2)
    expected = {"symbol": "V", "total": 50_000, "start": 0, "first": 49_998, "values": PRICES[-2:].tolist()}
    assert (list(answer.json()), answer.json()) == (list(expected), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_head_has_the_headers_only(stored: Service, name: str) -> None:
    """Those of GET, with the length where it is known beforehand."""
    head, answer = (get(stored, FORMATS[name], method, symbol="V") for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    for key in ("Content-Type", "X-Total", "X-Start", "X-First-Index", "X-Values", "Vary"):
        assert head.headers[key] == answer.headers[key]
    assert head.headers.get("Content-Length") == answer.headers.get("Content-Length")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (f"{RAW}, */*;q=0.1", RAW),
        (f"{JSON};q=0.5, {ARROW}", ARROW),
        (f"text/html, {RAW};q=0.2", RAW),
    ],
)
def test_accept_chooses_the_format(stored: Service, accept: str | None, kind: str) -> None:
    """By its weights; JSON where it is all the same."""
    assert get(stored, accept, symbol="V", last=1).headers["Content-Type"] == kind


@pytest.mark.parametrize(
    ("params", "status", "part"),
    [
        ({}, 400, "symbol is missing"),
        ({"symbol": "V", "last": 0}, 400, "last"),
        ({"symbol": "V", "last": "x"}, 400, "last"),
        ({"symbol": "V", "last": 1, "from_": 0}, 400, "either"),
        ({"symbol": "V", "from_": 2, "to": 1}, 400, "above"),
        ({"symbol": "V", "from_": -1}, 400, "from"),
        ({"symbol": "V", "format": "csv"}, 400, "format"),
        ({"symbol": "V", "window": 5}, 400, "'window'"),
        ({"symbol": "NONE"}, 404, "Symbol not found: NONE"),
        ({"symbol": "V", "from_": 50_001}, 409, "do not exist"),
    ],
)
def test_what_cannot_be_answered_is_refused(stored: Service, params: dict[str, Any], status: int, part: str) -> None:
    """As a problem document, before anything is streamed; with the bounds where it is about them."""
    for accept in FORMATS.values():
        answer = get(stored, accept, **params)
        assert part in refused(answer, status)
    if status == 409:
        assert (answer.json()["start"], answer.json()["total"]) == (0, 50_000)


def test_a_format_that_does_not_exist_is_refused(stored: Service) -> None:
    """406 names those that do; a header that is no list of types is 400."""
    assert RAW in refused(get(stored, "text/csv", symbol="V"), 406)
    assert "Accept" in refused(get(stored, "nonsense", symbol="V"), 400)


def private_memory(service: Service) -> int:
    """Return the bytes of memory that the service has for itself, mapped files left out."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))


@contextmanager
def asked(service: Service, **params: object) -> Iterator[socket.socket]:
    """Yield a connection on which values were asked for and nothing was read yet; it takes little at a time."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", service.port))
        request = f"GET /values?{urlencode(params)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        yield connection


def rest(connection: socket.socket) -> bytes:
    """Return everything that is left to come, now taking it fast."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    found = bytearray()
    while part := connection.recv(1 << 20):
        found += part
    return bytes(found)


def test_a_slow_reader_holds_a_piece_and_gets_what_was_there(start_service: StartService) -> None:
    """Forty megabytes are not buffered for whoever does not read; and a cleanup meanwhile takes none of them away.

    The chunk that the cleanup removes is read to its end from the mapping, and then its space is free.
    """
    kept = 500_000
    service = start_service(store__max_data_retention=CHUNK_POINTS + 900_000, store__cleanup_keep_count=kept)
    values = np.arange(5_000_000.0)
    add(service, "BIG", values)
    directory = service.data_dir / "BIG"
    before = private_memory(service)
    with asked(service, symbol="BIG", format="raw") as raw, asked(service, symbol="BIG", to=2_000_000) as text:
        heads = [connection.recv(1000) for connection in (raw, text)]
        for added in (100_000, 100_000):
            total = add(service, "BIG", np.ones(added))
        assert total - 5_000_000 == 200_000
        first = directory / f"{0:020d}.chunk"
        wait_until(lambda: not first.exists(), "the first chunk to be unlinked")
        assert private_memory(service) - before < 16 * MIB
        found = (heads[0] + rest(raw)).partition(b"\r\n\r\n")[2]
        assert np.array_equal(np.frombuffer(found), values)
        body = b"".join(chunks((heads[1] + rest(text)).partition(b"\r\n\r\n")[2]))
        assert np.array_equal(np.array(json.loads(body)["values"]), values[:2_000_000])
    answer = get(service, symbol="BIG", from_=0)
    assert "no longer kept" in refused(answer, 409)
    start = answer.json()["start"]
    assert start >= CHUNK_POINTS
    assert answer.json()["total"] == 5_200_000
    again = read(get(service, RAW, symbol="BIG"))
    assert (len(again), again[0], again[-1]) == (5_200_000 - start, float(start), 1.0)
    assert private_memory(service) - before < 32 * MIB


def chunks(body: bytes) -> Iterator[bytes]:
    """Yield the parts of a body with chunked transfer encoding."""
    place = 0
    while size := int(body[place : (begin := body.index(b"\r\n", place) + 2)], 16):
        yield body[begin : begin + size]
        place = begin + size + 2


def test_a_reader_that_goes_away_ends_its_stream(start_service: StartService) -> None:
    """Others are answered, and the service stops in order at once: nothing is left running."""
    service = start_service()
    add(service, "BIG", np.arange(3_000_000.0))
    for _ in range(3):
        with asked(service, symbol="BIG", format="raw") as connection:
            connection.recv(1000)
    assert get(service, symbol="BIG", last=1).json()["values"] == [2_999_999.0]
    assert service.stop() == 0
    assert not [event for event in service.events() if event["level"] == "error"]
