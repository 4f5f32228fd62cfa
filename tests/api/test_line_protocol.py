"""InfluxDB's line protocol: what a line means, what becomes of those that are refused, and clients of others."""

import gzip
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.access.tokens import READ, WRITE, add
from api.body.line_protocol import UNITS, LineProtocol
from api.operation.settings import LineProtocolSettings
from tests.conftest import StartService
from tests.service import Service, running_service
from tests.small_disk import SmallDisk

T = 1_767_225_600_000_000_000


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test uses."""
    return f"W-{abs(hash(request.node.nodeid)):x}"


def write(service: Service, body: str | bytes, query: str = "", **headers: str) -> httpx.Response:
    """Send lines."""
    return service.client.post(f"/write{query}", content=body, headers=headers)


def stored(service: Service, symbol: str) -> list[tuple[float, int, float | None]]:
    """Return price, time and size of each point."""
    answer = service.client.get("/values", params={"symbol": symbol, "last": 1000})
    if answer.status_code == 404:
        return []
    found = answer.json()
    return list(zip(found["values"], found["times"], found.get("sizes") or [None] * len(found["values"]), strict=True))


def refused(answer: httpx.Response, status: int = 400, code: str = "invalid") -> str:
    """Return what is told of lines that were not stored."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json"), answer.text
    told = answer.json()
    assert told["code"] == code
    assert told["message"] == told["error"]
    return str(told["message"])


@pytest.mark.parametrize("path", ["/write", "/write/", "/api/v2/write", "/api/v2/write/"])
def test_a_line_is_a_tick(shared_service: Service, symbol: str, path: str) -> None:
    """Stored as it stands there; the answer has no body."""
    answer = shared_service.client.post(
        path, params={"bucket": "b", "org": "o"}, content=f"trades,symbol={symbol}{len(path)} price=1.5,size=2 {T}"
    )
    assert (answer.status_code, answer.content) == (204, b"")
    assert stored(shared_service, f"{symbol}{len(path)}") == [(1.5, T, 2.0)]


@pytest.mark.parametrize(
    ("line", "tick"),
    [
        (f"t,symbol=S price=1.5,size=2 {T}", (1.5, T, 2.0)),
        (f"S price=1.5,size=2 {T}", (1.5, T, 2.0)),
        (f"S,exchange=X,symbol.x=Y close=3i,qty=+.5 {T}", (3.0, T, 0.5)),
        (f"S value=1e3,amount=2.5E-1 {T}", (1000.0, T, 0.25)),
        (f"S value=1,close=2,price=3,qty=4,size=5 {T}", (3.0, T, 5.0)),
        (f"S price=3,value=1,size=5,qty=4 {T}", (3.0, T, 5.0)),
        (f'S side="sell",price=1,size=2 {T}', (1.0, T, -2.0)),
        (f"S,side=SELL price=1,size=2 {T}", (1.0, T, -2.0)),
        (f"S,side=Buy price=1,size=-2 {T}", (1.0, T, 2.0)),
        (f"S price=1,size=-2 {T}", (1.0, T, -2.0)),
        (f'S text="a, b=\\"c\\" \n price=7",price=1,size=2 {T}', (1.0, T, 2.0)),
        (f"t,symbol=S,symbol=S price=0,size=0 {T}\r", (0.0, T, 0.0)),
        (f"S price=1,size=2   {T}  ", (1.0, T, 2.0)),
        ("S price=1,size=2 -9223372036854775807", (1.0, -(2**63 - 1), 2.0)),
        (f"S price=0.1234567890123456789,size=12345678901234567 {T}", (0.1234567890123456789, T, 12345678901234567.0)),
        (f"S price=0.00000000000000000000001234,size=1 {T}", (1.234e-23, T, 1.0)),
    ],
)  # fmt: skip
def test_what_a_line_means(shared_service: Service, symbol: str, line: str, tick: tuple[float, int, float]) -> None:
    """The symbol by tag or measurement, the first of the names of each list, the sign by the side."""
    body = "# a comment\n\n" + line.replace("S ", f"{symbol} ").replace("S,", f"{symbol},") + "\n"
    assert write(shared_service, body).status_code == 204
    assert stored(shared_service, symbol) == [tick]


def test_names_with_escapes_and_other_letters(shared_service: Service, symbol: str) -> None:
    """Backslashes stand before commas, spaces and equals signs; a backslash elsewhere is one."""
    names = [f"{symbol} {name}" for name in ("a,b", "a=b", "a\\b", "日本円")]
    lines = [
        "t,symbol=" + name.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ") + f" price=1 {T}"
        for name in names
    ]
    assert write(shared_service, "\n".join(lines)).status_code == 204
    assert [stored(shared_service, name) for name in names] == [[(1.0, T, None)]] * 4


@pytest.mark.parametrize(("precision", "unit_ns"), UNITS.items())
def test_precision(shared_service: Service, symbol: str, precision: str, unit_ns: int) -> None:
    """The unit of the times, by the names of both versions of InfluxDB."""
    answer = shared_service.client.post(
        "/write", params={"precision": precision, "db": "x"}, content=f"{symbol} price=1 7"
    )
    assert answer.status_code == 204
    assert stored(shared_service, symbol) == [(1.0, 7 * unit_ns, None)]


@pytest.mark.parametrize(
    ("query", "part"),
    [("?precision=ps", "precision must be one of n, u"), ("?q=1", "Unknown parameter 'q'"), ("?db=1&db=2", "twice")],
)
def test_a_query_that_is_none(shared_service: Service, symbol: str, query: str, part: str) -> None:
    """Nothing is stored."""
    answer = write(shared_service, f"{symbol} price=1 7", query)
    assert answer.status_code == 400
    assert part in answer.json()["error"]
    assert stored(shared_service, symbol) == []


def test_a_line_without_a_time_has_that_of_its_arrival(shared_service: Service, symbol: str) -> None:
    """Of one moment for the whole body, between those before and after the request."""
    times = []
    for _ in range(2):
        assert write(shared_service, f"{symbol} price=1\n{symbol} price=2\n").status_code == 204
        times.append([time for _, time, _ in stored(shared_service, symbol)][-2:])
    assert times[0][0] == times[0][1] < times[1][0] == times[1][1]
    assert write(shared_service, f"{symbol} price=3 {times[1][0]}").status_code == 204


def test_the_lines_of_a_symbol_are_stored_in_the_order_of_their_times(shared_service: Service, symbol: str) -> None:
    """Those of one time in the order of the body; symbols may be mixed."""
    a, b = f"{symbol}-a", f"{symbol}-b"
    lines = [(a, 5, 1.0), (b, 9, 2.0), (a, 3, 3.0), (a, 5, 4.0), (b, 1, 5.0)]
    body = "".join(f"{name} price={price} {time}\n" for name, time, price in lines)
    assert write(shared_service, gzip.compress(body.encode()), **{"Content-Encoding": "gzip"}).status_code == 204
    assert stored(shared_service, a) == [(3.0, 3, None), (1.0, 5, None), (4.0, 5, None)]
    assert stored(shared_service, b) == [(5.0, 1, None), (2.0, 9, None)]


@pytest.mark.parametrize("body", ["", "\n\n", "# nothing\n", "  \r\n"])
def test_no_line_at_all(shared_service: Service, body: str) -> None:
    """Is stored as such."""
    assert write(shared_service, body).status_code == 204


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("S", "is no line protocol"),
        ("S 1", "is no line protocol"),
        ("S,a price=1", "is no line protocol"),
        ("S,a=1", "is no line protocol"),
        ("S =1", "is no line protocol"),
        ('S price=1,text="open', "is no line protocol"),
        ("S bid=1", "has none of the fields price, close, value (line_protocol.price_fields)"),
        ('S price="1"', "has a price that is no number"),
        ("S price=", "has a price that is no number"),
        ("S price=t", "has a price that is no number"),
        ("S price=1.2.3", "has a price that is no number"),
        ("S price=1e", "has a price that is no number"),
        ("S price=nan", "has a price that is no number"),
        ("S price=-1", "has a price that is not from 0 to 1e+140"),
        ("S price=1e141", "has a price that is not from 0 to 1e+140"),
        ("S price=1,size=x", "has a size that is no number"),
        ("S price=1,size=1e999", "has a size that is not finite"),
        ("S price=1,size=1,side=maybe", "has a side that is none of buy, b"),
        ("S price=1 1.5", "has a time that is no whole number of 64 bits"),
        ("S price=1 9223372036854775808", "has a time that is no whole number of 64 bits"),
        ("S price=1 1 2", "has a time that is no whole number of 64 bits"),
        ("t,symbol= price=1", "of '': "),
        ("t,symbol=\x01 price=1", "of '\\x01': "),
    ],
)
def test_a_line_that_is_refused(shared_service: Service, symbol: str, line: str, reason: str) -> None:
    """Its number and the reason are told, and the lines beside it are stored."""
    # A text without its end takes all behind it.
    lines = [f"{symbol} price=1 1", line.replace("S", symbol, 1)]
    text = refused(write(shared_service, "\n".join(lines)))
    assert text.startswith("partial write: line 2 ")
    assert reason in text
    assert text.endswith("dropped=1")
    assert [price for price, *_ in stored(shared_service, symbol)] == [1.0]


def test_a_time_beyond_the_clock(shared_service: Service, symbol: str) -> None:
    """In a larger unit a number reaches farther than 64 bits of nanoseconds."""
    text = refused(write(shared_service, f"{symbol} price=1 9223372037\n{symbol} price=2 9223372036\n", "?precision=s"))
    assert "line 1 has a time that lies beyond 64 bits of nanoseconds" in text
    assert stored(shared_service, symbol) == [(2.0, 9_223_372_036_000_000_000, None)]


def test_many_reasons_are_told_shortly(shared_service: Service, symbol: str) -> None:
    """One for all lines that have it; at most five, in the order of the body."""
    bad = [
        f"{symbol} x=1",
        f"{symbol} price=x",
        f"{symbol} price=1,size=x",
        f"{symbol} price=1 x",
        "x",
        f"{symbol} price=-1",
    ]
    text = refused(write(shared_service, "\n".join(bad * 1000)))
    assert text.startswith("partial write: line 1 has none of the fields")
    assert text.count("(and 999 more lines)") == 5
    assert text.endswith("; and 1 other reasons dropped=6000")
    assert len(text) < 800


def test_lines_with_other_columns_than_their_series(shared_service: Service, symbol: str) -> None:
    """Are refused, also where the same body makes the series; the first say what it has."""
    text = refused(write(shared_service, f"{symbol} price=1,size=2 {T}\n{symbol} price=2 {T}\n{symbol}2 price=3 {T}\n"))
    assert f"line 2 of '{symbol}': " in text
    assert text.endswith("dropped=1")
    assert stored(shared_service, symbol) == [(1.0, T, 2.0)]
    assert stored(shared_service, f"{symbol}2") == [(3.0, T, None)]
    shared_service.add(f"{symbol}3", [1.0])
    assert "dropped=2" in refused(write(shared_service, f"{symbol}3 price=1 {T}\n" * 2))


def test_what_is_too_much(start_service: StartService) -> None:
    """Lines beyond the limit, symbols beyond theirs, bytes beyond theirs: of the first and last nothing is stored."""
    with_limits: dict[str, Any] = {
        "server__max_batch_values": 10,
        "store__max_symbols": 2,
        "server__max_body_bytes": 1024,
    }
    service = start_service(**with_limits)
    answer = write(service, "S price=1\n" * 11)
    assert answer.status_code == 413
    assert "11 lines; one request has at most 10 (server.max_batch_values)" in answer.json()["detail"]
    assert write(service, "#" * 1025).status_code == 413
    assert write(service, "#", **{"Content-Encoding": "br"}).status_code == 415
    assert stored(service, "S") == []
    text = refused(write(service, "".join(f"S{k} price=1 {T}\n" for k in range(4))))
    assert "store.max_symbols" in text
    assert text.endswith("dropped=2")


def test_a_large_body_of_one_symbol(shared_service: Service, symbol: str) -> None:
    """Is read beside the event loop, and stored as one batch."""
    n = 50_000
    body = "".join(f"{symbol} price={k % 1000 + 0.25},size=1 {T + k}\n" for k in range(n))
    assert write(shared_service, body).status_code == 204
    answer = shared_service.client.get("/stats", params={"symbol": symbol, "window": n}).json()
    assert (answer["min"], answer["max"], answer["avg"]) == (0.25, 999.25, 499.75)


def test_the_names_are_settings(start_service: StartService) -> None:
    """Each of them, with words that stand for two things at once."""
    service = start_service(
        line_protocol__symbol_tag="pair", line_protocol__price_fields="bid,ask", line_protocol__size_fields="",
        line_protocol__side="",
    )  # fmt: skip
    assert write(service, f"t,symbol=A,pair=B,side=x ask=2,bid=1,size=9 {T}").status_code == 204
    assert stored(service, "B") == [(1.0, T, None)]
    assert "has none of the fields bid,ask" in refused(write(service, "t,pair=B price=1"))


def test_who_may_write(tmp_path: Path) -> None:
    """A token is sent as clients of InfluxDB do; one line for another symbol, and nothing of the body is stored."""
    tokens = tmp_path / "tokens"
    sent = {
        name: add(tokens, name, scopes)
        for name, scopes in {"all": [WRITE, READ], "es": ["write:ES.*"], "r": [READ]}.items()
    }
    with running_service(tmp_path, auth__tokens_file=str(tokens)) as service:
        body = f"ES.A price=1 {T}\nNQ.A price=1 {T}\n"
        assert write(service, body).status_code == 401
        for name, status in {"r": 403, "es": 403, "all": 204}.items():
            assert write(service, body, Authorization=f"Token {sent[name]}").status_code == status
        assert write(service, f"ES.A price=2 {T}\n", Authorization=f"Bearer {sent['es']}").status_code == 204
        assert write(service, f"ES.A price=2 {T}\n", Authorization=f"Basic {sent['es']}").status_code == 401
        answer = service.client.get(
            "/values", params={"symbol": "ES.A", "last": 9}, headers={"Authorization": f"token {sent['all']}"}
        )
        assert answer.json()["values"] == [1.0, 2.0]


@pytest.mark.parametrize("durability", ["process", "interval", "sync"])
def test_every_tier(start_service: StartService, durability: str) -> None:
    """What was answered is there after a restart."""
    service = start_service(store__durability=durability)
    assert write(service, f"A price=1 {T}\nB price=2 {T}\n").status_code == 204
    assert service.stop() == 0
    service = start_service()
    assert [stored(service, name) for name in "AB"] == [[(1.0, T, None)], [(2.0, T, None)]]


def test_a_full_disk(start_service: StartService, disk: SmallDisk) -> None:
    """Is told as such, with a status after which clients try again; what it has no space for is not there."""
    service = start_service(store__data_dir=disk.path / "data", store__starting_capacity=0)
    assert write(service, f"A price=1 {T}\n").status_code == 204
    disk.fill()
    body = "".join(f"A price=1,x={k} {T}\n" for k in range(20_000))
    text = refused(write(service, body), 507, "insufficient storage")
    assert text.startswith("partial write: line 1 of 'A': ")
    assert stored(service, "A") == [(1.0, T, None)]


NUMBERS = st.one_of(
    st.floats(0, 1e140).map(repr),
    st.decimals(0, 10**9, places=8).map(str),
    st.integers(0, 10**18).map(lambda n: f"{n}i"),
    st.from_regex(r"[+]?[0-9]{1,25}(\.[0-9]{0,25})?([eE][+-]?[0-9])?", fullmatch=True),
)
NAMES = st.text(st.characters(exclude_characters="\n\\#", exclude_categories=["Cs"]), min_size=1, max_size=5)


def _escaped(name: str) -> str:
    return "".join(f"\\{c}" if c in ",= " else c for c in name)


@settings(max_examples=300)
@given(st.lists(st.tuples(NAMES, NUMBERS, NUMBERS, st.integers(-(2**63) + 1, 2**63 - 1)), min_size=1, max_size=30))
def test_numbers_are_those_that_python_reads(ticks: list[tuple[str, str, str, int]]) -> None:
    """Whatever way a number is written, to the last bit, and every line under its own symbol."""
    body = "".join(f"m,symbol={_escaped(name)} price={price},size={size} {time}\n" for name, price, size, time in ticks)
    found = LineProtocol(LineProtocolSettings()).read(body.encode(), body.count("\n"), 1, 0)
    assert found.faults == []
    expected: dict[str, list[tuple[int, Fraction, Fraction]]] = {}
    for name, price, size, time in ticks:
        numbers = [Fraction(float(text.removesuffix("i"))) for text in (price, size)]
        expected.setdefault(name, []).append((time, numbers[0], numbers[1]))
    assert len(found.parts) == len(expected)
    for part in found.parts:
        times, sizes = part.ticks.times, part.ticks.sizes
        assert times is not None
        assert sizes is not None
        rows = zip(times.tolist(), map(Fraction, part.ticks.prices), map(Fraction, sizes), strict=True)
        assert list(rows) == sorted(expected[part.symbol], key=lambda row: row[0])


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text('S,= \\"\n\r#1.e-ipricesd', max_size=80).map(str.encode))
def test_no_bytes_are_too_strange(body: bytes) -> None:
    """Each line that is none is told of, and what is taken is a price."""
    found = LineProtocol(LineProtocolSettings()).read(body, body.count(b"\n"), 1, 0)
    for part in found.parts:
        assert all(0 <= price <= 1e140 and math.isfinite(price) for price in part.ticks.prices)
    lines = sum(len(part.ticks.prices) for part in found.parts) + sum(fault.lines for fault in found.faults)
    assert lines <= body.count(b"\n") + 1


HEADS = (
    "m",
    "m,symbol=A",
    "m,symbol=C",
    "m,symbol=A,side=buy",
    "m,symbol=AB,side=sell",
    "m,side=buy",
    "m,",
    "n,symbol=A ",
    "m\\ ",
)
FIELDS = ("price=1.5", "price=2,size=3", 'price=2,size=3,side="s"', "size=3", "price=x", "price=1,size=2,size=", "")
TIMES = (
    "",
    " 1",
    " 2 ",
    f" {2**63 - 1}",
    f" {2**63}",
    " 12345678901234567890",
    " 000000000000000001",
    " 1x",
    " -",
    " -5",
)
ENDS = ("\n", "\r\n", "\n\n", " \n")


def _told(body: str) -> tuple[list[tuple[str, list[float], list[int], list[float] | None]], list[tuple[int, str]]]:
    """Return what is read of `body`: each symbol's ticks, and how many lines are refused for which reason."""
    found = LineProtocol(LineProtocolSettings()).read(body.encode(), body.count("\n"), 1, 7)
    parts = []
    for part in found.parts:
        times, sizes = part.ticks.times, part.ticks.sizes
        assert times is not None
        parts.append(
            (part.symbol, part.ticks.prices.tolist(), times.tolist(), None if sizes is None else sizes.tolist())
        )
    return parts, [(fault.lines, fault.reason) for fault in found.faults]


LINES = st.builds("{} {}{}{}".format, *map(st.sampled_from, (HEADS, FIELDS, TIMES, ENDS)))


@settings(max_examples=500)
@given(st.lists(LINES, min_size=1, max_size=6))
def test_a_line_means_the_same_behind_any_other(lines: list[str]) -> None:
    """Though one that begins as the line before it is read by what that one said."""
    ticks: dict[tuple[str, bool], list[tuple[int, float, float | None]]] = {}
    refused_for: dict[str, int] = {}
    for line in lines:
        parts, faults = _told(line)
        for name, prices, times, sizes in parts:
            row = (times[0], prices[0], None if sizes is None else sizes[0])
            ticks.setdefault((name, sizes is None), []).append(row)
        for count, reason in faults:
            refused_for[reason] = refused_for.get(reason, 0) + count
    parts, faults = _told("".join(lines))
    assert {reason: count for count, reason in faults} == refused_for
    found: dict[tuple[str, bool], list[tuple[int, float, float | None]]] = {}
    for name, prices, times, sizes in parts:
        none: list[float | None] = [None] * len(times)
        found[name, sizes is None] = list(zip(times, prices, none if sizes is None else sizes, strict=True))
    assert found == {key: sorted(rows, key=lambda row: row[0]) for key, rows in ticks.items()}
