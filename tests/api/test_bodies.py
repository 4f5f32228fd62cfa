"""Bodies that are not plain JSON: raw numbers, compressed ones, and the offset in a header."""

import gzip
import json
import sys
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from tests.service import Service

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PRICES = np.array([150.1, 150.5, 151.0, 149.8, 150.2, 151.1, 151.2, 152.0, 151.5, 151.9])
RAW = "application/octet-stream"
JSON = "application/json"
CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(gzip.compress, compresslevel=1),
    "x-gzip": partial(gzip.compress, compresslevel=9),
    "GZIP": partial(gzip.compress, compresslevel=1),
    "zstd": zstd.compress,
}
MIB = 1 << 20


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test uses."""
    return f"B-{abs(hash(request.node.nodeid)):x}"


def post(service: Service, content: bytes, query: str = "", kind: str = RAW, **headers: str) -> httpx.Response:
    """Send a body of any type, with headers such as `Content_Encoding="gzip"`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.client.post(f"/add_batch/{query}", content=content, headers={"Content-Type": kind, **named})


def added(answer: httpx.Response, points: int, total: int) -> None:
    """Check that a batch was taken."""
    expected = {"status": "success", "added": points, "total": total, "durability": "interval"}
    assert (answer.status_code, answer.json()) == (200, expected), answer.text


def refused(answer: httpx.Response, status: int) -> str:
    """Return the text of a refusal of this status."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    return str(answer.json()["error"])


def total(service: Service, symbol: str) -> int:
    """Return how many points a symbol has."""
    answer = service.client.get("/stats", params={"symbol": symbol})
    return 0 if answer.status_code == 404 else int(answer.json()["total"])


def stats(service: Service, symbol: str, window: int) -> dict[str, Any]:
    """Return the statistics of one window."""
    found: dict[str, Any] = service.client.get("/stats", params={"symbol": symbol, "window": window}).json()
    return found


def test_raw_numbers_are_a_batch(shared_service: Service, symbol: str) -> None:
    """They give the very answers that the same numbers give as JSON."""
    shared_service.add(f"{symbol}-json", PRICES.tolist())
    for count in (10, 20):
        added(post(shared_service, PRICES.tobytes(), f"?symbol={symbol}"), 10, count)
    for window in (1, 3, 10):
        assert stats(shared_service, symbol, window) == stats(shared_service, f"{symbol}-json", window)


@pytest.mark.parametrize("symbol", ["EUR/USD raw", "日本円-USD raw", "a+b&c=d raw", "%"])
def test_any_symbol_can_stand_in_the_query(shared_service: Service, symbol: str) -> None:
    """Percent-encoded, as in every other query."""
    added(post(shared_service, PRICES.tobytes(), f"?symbol={quote(symbol, safe='')}"), 10, 10)
    assert total(shared_service, symbol) == 10


def test_as_many_values_as_a_batch_may_have(shared_service: Service, symbol: str) -> None:
    """The same limit as for JSON, and one more is refused."""
    many = np.arange(100_001.0)
    assert "100001" in refused(post(shared_service, many.tobytes(), f"?symbol={symbol}"), 400)
    assert total(shared_service, symbol) == 0
    added(post(shared_service, many[1:].tobytes(), f"?symbol={symbol}"), 100_000, 100_000)
    assert stats(shared_service, symbol, 100_000)["min"] == 1.0


def test_negative_zero_is_stored_as_zero(shared_service: Service, symbol: str) -> None:
    """As from JSON."""
    added(post(shared_service, np.array([-0.0]).tobytes(), f"?symbol={symbol}"), 1, 1)
    assert '"last":0.0' in shared_service.client.get("/stats", params={"symbol": symbol, "k": 1}).text


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "empty"),
        (b"\0" * 7, "7 bytes"),
        (PRICES.tobytes() + b"\0", "81 bytes"),
        (np.array([1.0, float("nan")]).tobytes(), "values[1] is nan"),
        (np.array([float("inf")]).tobytes(), "values[0] is inf"),
        (np.array([1.0, 2.0, -1e-300]).tobytes(), "values[2]"),
        (np.array([1.1e140]).tobytes(), "values[0]"),
    ],
)
def test_raw_numbers_that_are_no_batch_are_refused(
    shared_service: Service, symbol: str, body: bytes, part: str
) -> None:
    """By the rules of JSON; nothing is stored."""
    assert part in refused(post(shared_service, body, f"?symbol={symbol}"), 400)
    assert total(shared_service, symbol) == 0


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("", "symbol is missing"),
        ("?offset=0", "symbol is missing"),
        ("?symbol=", "symbol"),
        ("?symbol=A&symbol=B", "twice"),
        ("?symbol=A&offset=", "offset"),
        ("?symbol=A&offset=-1", "offset"),
        ("?symbol=A&offset=1.5", "offset"),
        ("?symbol=A&offset=%201", "offset"),
        ("?symbol=A&offset=9223372036854775808", "offset"),
        ("?symbol=A&values=1", "'values'"),
        ("?symbol=A&column=price", "'column'"),
    ],
)
def test_a_query_that_says_not_where_is_refused(shared_service: Service, query: str, part: str) -> None:
    """Nothing is guessed."""
    assert part in refused(post(shared_service, PRICES.tobytes(), query), 400)
    assert total(shared_service, "A") == 0


def test_a_batch_with_an_offset_is_stored_once(shared_service: Service, symbol: str) -> None:
    """In the query or in the header, for raw numbers and for JSON; a wrong one is a conflict with the total."""
    body = PRICES.tobytes()
    for _ in range(2):
        added(post(shared_service, body, f"?symbol={symbol}&offset=0"), 10, 10)
        added(post(shared_service, body, f"?symbol={symbol}", X_Offset="0"), 10, 10)
    json_body = json.dumps({"symbol": symbol, "values": PRICES.tolist()}).encode()
    for _ in range(2):
        added(post(shared_service, json_body, kind=JSON, X_Offset="10"), 10, 20)
    for answer in (
        post(shared_service, body, f"?symbol={symbol}&offset=21"),
        post(shared_service, body, f"?symbol={symbol}", X_Offset="21"),
        post(shared_service, json_body, kind=JSON, X_Offset="21"),
    ):
        assert "offset 21 does not fit" in refused(answer, 409)
        assert answer.json()["total"] == 20
    assert total(shared_service, symbol) == 20


def test_an_offset_is_given_once_and_is_a_whole_number(shared_service: Service, symbol: str) -> None:
    """In header and body at once it is refused, whatever it says."""
    with_offset = json.dumps({"symbol": symbol, "values": [1.0], "offset": 0}).encode()
    assert "twice" in refused(post(shared_service, with_offset, kind=JSON, X_Offset="0"), 400)
    assert "twice" in refused(post(shared_service, PRICES.tobytes(), f"?symbol={symbol}&offset=0", X_Offset="0"), 400)
    for text in ("", "-1", "1.0", "+1", "x", "٣"):
        answer = shared_service.client.post(
            f"/add_batch?symbol={symbol}",
            content=PRICES.tobytes(),
            headers={b"Content-Type": RAW.encode(), b"X-Offset": text.encode()},
        )
        assert "X-Offset" in refused(answer, 400)
    assert total(shared_service, symbol) == 0


def test_a_json_body_takes_no_query(shared_service: Service, symbol: str) -> None:
    """It would say the same twice, or two different things."""
    body = json.dumps({"symbol": symbol, "values": [1.0]}).encode()
    assert "query" in refused(post(shared_service, body, f"?symbol={symbol}", kind=JSON), 400)
    assert total(shared_service, symbol) == 0


@pytest.mark.parametrize(
    ("kind", "coding"), [(RAW, "gzip"), (RAW, "zstd"), (JSON, "GZIP"), (JSON, "zstd"), (RAW, "x-gzip")]
)
def test_a_body_may_be_compressed(shared_service: Service, symbol: str, kind: str, coding: str) -> None:
    """By gzip or zstd, whatever is in it, small or in many steps."""
    many = np.round(np.random.default_rng(1).random(100_000) * 100, 2)
    count = 0
    for values in (PRICES, many):
        body = values.tobytes() if kind == RAW else json.dumps({"symbol": symbol, "values": values.tolist()}).encode()
        query = f"?symbol={symbol}" if kind == RAW else ""
        count += len(values)
        answer = post(shared_service, CODERS[coding](body), query, kind, Content_Encoding=coding)
        added(answer, len(values), count)
    last = stats(shared_service, symbol, 100_000)
    assert (last["min"], last["max"], last["last"]) == (many.min(), many.max(), many[-1])


def test_a_body_may_say_that_it_is_not_compressed(shared_service: Service, symbol: str) -> None:
    """Content-Encoding: identity."""
    added(post(shared_service, PRICES.tobytes(), f"?symbol={symbol}", Content_Encoding="identity"), 10, 10)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_compressed_bodies_may_follow_each_other(shared_service: Service, symbol: str, coding: str) -> None:
    """What `cat a.gz b.gz` makes is one body; some hundred at most, and nothing else behind the last."""
    coder, query = CODERS[coding], f"?symbol={symbol}"
    halves = coder(PRICES[:5].tobytes()) + coder(b"") + coder(PRICES[5:].tobytes())
    added(post(shared_service, halves, query, Content_Encoding=coding), 10, 10)
    assert stats(shared_service, symbol, 10)["last"] == 151.9
    assert "1024" in refused(post(shared_service, coder(b"") * 1025, query, Content_Encoding=coding), 400)
    assert "no sound" in refused(post(shared_service, halves + b"more", query, Content_Encoding=coding), 400)
    assert total(shared_service, symbol) == 10


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_damaged_body_is_refused(shared_service: Service, symbol: str, coding: str) -> None:
    """Cut off anywhere, flipped anywhere, not compressed at all, or empty: 400, and nothing is stored."""
    whole, query = CODERS[coding](PRICES.tobytes()), f"?symbol={symbol}"
    for length in (0, 1, 5, len(whole) // 2, len(whole) - 1):
        assert "no sound" in refused(post(shared_service, whole[:length], query, Content_Encoding=coding), 400)
    flipped = bytearray(whole)
    flipped[0] ^= 1
    for bad in (bytes(flipped), PRICES.tobytes()):
        assert "no sound" in refused(post(shared_service, bad, query, Content_Encoding=coding), 400)
    if coding == "gzip":
        flipped = bytearray(whole)
        flipped[-8] ^= 1  # the checksum
        assert "no sound" in refused(post(shared_service, bytes(flipped), query, Content_Encoding=coding), 400)
    assert total(shared_service, symbol) == 0


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "gzip;q=1", "compress", "*", ""])
def test_an_unknown_coding_is_refused(shared_service: Service, symbol: str, coding: str) -> None:
    """415, and the answer names those that are known."""
    for kind, query in ((RAW, f"?symbol={symbol}"), (JSON, "")):
        answer = post(shared_service, gzip.compress(PRICES.tobytes()), query, kind, Content_Encoding=coding)
        assert "Content-Encoding" in refused(answer, 415)
        assert answer.headers["Accept-Encoding"] == "gzip, zstd"
    assert total(shared_service, symbol) == 0


def test_an_unknown_type_is_refused(shared_service: Service) -> None:
    """415, and the answer names those that are known."""
    for kind in ("text/csv", "application/octet", "", "application/json; charset=latin-1"):
        answer = shared_service.client.post("/add_batch?symbol=A", content=b"1", headers={"Content-Type": kind})
        refused(answer, 415)
        assert answer.headers["Accept"].split(", ")[:2] == [JSON, RAW]


def private_memory(service: Service) -> int:
    """Return the bytes of memory that the service has for itself, files left out."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))


def gzip_bomb(size: int) -> bytes:
    """Return a gzip that inflates to `size` zeros, made of one megabyte's worth again and again."""
    coder = zlib.compressobj(9, zlib.DEFLATED, 31)
    begin = coder.compress(bytes(MIB)) + coder.flush(zlib.Z_FULL_FLUSH)
    again = coder.compress(bytes(MIB)) + coder.flush(zlib.Z_FULL_FLUSH)
    return begin + again * (size // MIB)


def zstd_bomb(size: int) -> bytes:
    """Return a zstd frame that inflates to `size` zeros."""
    return zstd.compress(bytes(size))


@pytest.mark.parametrize(
    ("kind", "coding", "body"),
    [(RAW, "gzip", gzip_bomb(512 * MIB)), (RAW, "zstd", zstd_bomb(128 * MIB)), (JSON, "gzip", gzip_bomb(512 * MIB))],
    ids=["raw gzip", "raw zstd", "json gzip"],
)
def test_a_bomb_is_refused_before_it_goes_off(
    shared_service: Service, symbol: str, kind: str, coding: str, body: bytes
) -> None:
    """413 once more than server.max_body_bytes come out, whatever would follow; the memory is not taken."""
    assert len(body) < 4 * MIB
    before = private_memory(shared_service)
    query = f"?symbol={symbol}" if kind == RAW else ""
    answer = post(shared_service, body, query, kind, Content_Encoding=coding)
    assert "inflates to more than 4194304 bytes" in refused(answer, 413)
    assert private_memory(shared_service) - before < 48 * MIB
    assert total(shared_service, symbol) == 0


def test_a_window_that_takes_too_much_memory_is_refused(shared_service: Service, symbol: str) -> None:
    """A zstd frame may ask for 128 MiB to be read at all; 8 MiB are given, as RFC 9659 has it."""
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    coder = zstd.ZstdCompressor(options=options)
    body = coder.compress(PRICES.tobytes()) + coder.flush()
    answer = post(shared_service, body, f"?symbol={symbol}", Content_Encoding="zstd")
    assert "no sound zstd" in refused(answer, 400)


@pytest.mark.parametrize("coding", ["gzip", "zstd", "identity"])
def test_the_bound_is_on_what_comes_out(shared_service: Service, coding: str) -> None:
    """A body of just server.max_body_bytes is looked at (and has too many values), one byte more is too large."""
    for size, status in ((4 * MIB, 400), (4 * MIB + 1, 413)):
        body = CODERS.get(coding, bytes)(bytes(size))
        refused(post(shared_service, body, "?symbol=A", Content_Encoding=coding), status)


def peak_memory(service: Service) -> int:
    """Return the most memory that the service had at once since `forget_peak`."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def forget_peak(service: Service) -> None:
    """Have the kernel begin anew with what `peak_memory` returns."""
    Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")


def test_many_small_bodies_that_inflate_take_turns(shared_service: Service) -> None:
    """A hundred at once that become 4 MiB each never take 400 MiB: some are inflated while the others wait."""
    body = gzip.compress(bytes(4 * MIB))
    head = f"POST /add_batch?symbol=A HTTP/1.1\r\nHost: a\r\nContent-Type: {RAW}\r\nContent-Encoding: gzip\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    forget_peak(shared_service)
    before = peak_memory(shared_service)
    with ExitStack() as stack:
        connections = [stack.enter_context(shared_service.connect()) for _ in range(100)]
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")
    assert peak_memory(shared_service) - before < 160 * MIB
