"""What clients can make the log grow by: so many lines and bytes a minute, with everything beyond counted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.access.tokens import READ, add
from api.operation.line_budget import MAX_KINDS, PERIOD_S, SERVICE, STRANGERS, TOKEN, LineBudget
from api.operation.logs import render
from tests.service import Service, running_service

MORE = 5
MAX_BYTES_A_MINUTE = 1_000_000


class Clock:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def budget() -> Iterator[tuple[LineBudget, Clock, list[bytes]]]:
    """Yield a budget with its clock, and the lines that pass it; everything that is logged does."""
    clock, lines = Clock(), list[bytes]()
    budget = LineBudget(clock)
    structlog.configure(
        processors=[
            budget,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        logger_factory=lambda *_: _Lines(lines),
        cache_logger_on_first_use=False,
    )
    yield budget, clock, lines
    structlog.reset_defaults()


class _Lines:
    """Takes finished lines, of any level."""

    def __init__(self, lines: list[bytes]) -> None:
        self.info = self.warning = self.error = self.debug = lines.append


def send_malformed(service: Service) -> None:
    """Send what is no HTTP, and wait until the service has answered and hung up."""
    with service.connect() as connection:
        connection.sendall(b"no http at all\r\n\r\n")
        while connection.recv(4096):
            pass


def test_one_client_cannot_fill_the_log(tmp_path: Path) -> None:
    """Of wrong tokens and malformed requests the first ones have lines with the address; one line has the count."""
    add(tmp_path / "tokens", "reader", [READ])
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        for _ in range(STRANGERS.lines + MORE):
            refused = service.client.get("/symbols", headers={"Authorization": "Bearer wrong"})
            assert refused.status_code == 401
            send_malformed(service)
        assert service.stop() == 0
        requests = [line for line in service.events("request") if line["status"] == 401]
        malformed = [line for line in service.events("refused") if line["status"] == 400]
        summaries = service.events("lines_left_out")
    assert (len(requests), len(malformed)) == (STRANGERS.lines, STRANGERS.lines)
    assert {line["client"] for line in requests + malformed} == {"127.0.0.1"}
    told = {(line["of"], line["client"], line["status"]): line["without_line"] for line in summaries}
    assert told == {("request", "127.0.0.1", 401): MORE, ("refused", "127.0.0.1", 400): MORE}


@pytest.mark.parametrize("kind", ["slow", "stream"])
def test_answered_requests_have_a_budget_too(tmp_path: Path, kind: str) -> None:
    """Neither requests that are slow nor streams that are opened and left can fill the log; their count is told."""
    with running_service(tmp_path, log__slow_request_ms=0) as service:
        assert service.add("A", [1.0]).status_code == 200
        lines = 1 if kind == "slow" else 0
        for _ in range(STRANGERS.lines + MORE - lines):
            if kind == "slow":
                assert service.client.get("/symbols").status_code == 200
            else:
                with service.client.stream("GET", "/events?symbol=A") as answer:
                    assert next(answer.iter_bytes())
        assert service.stop() == 0
        event = "request" if kind == "slow" else "stream"
        written = service.events(event)
        (left_out,) = [line for line in service.events("lines_left_out") if line["of"] == event]
    assert len([line for line in written if line["client"] == "127.0.0.1"]) == STRANGERS.lines
    assert left_out["without_line"] == MORE


def test_what_a_known_caller_is_refused_is_not_lost_among_strangers(tmp_path: Path) -> None:
    """Each refusal of a token's holder has its line, however many strangers were refused before."""
    token = add(tmp_path / "tokens", "reader", [READ])
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        for _ in range(STRANGERS.lines + MORE):
            assert service.client.get("/stats?symbol=A&k=99").status_code == 401
            refused = service.client.get("/stats?symbol=A&k=99", headers={"Authorization": f"Bearer {token}"})
            assert refused.status_code == 400
        assert service.stop() == 0
        assert len([line for line in service.events("request") if line["status"] == 400]) == STRANGERS.lines + MORE


def test_a_refused_batch_does_not_write_its_long_symbol(tmp_path: Path) -> None:
    """The line of a batch with a symbol of 190 kB says how long it was, and is short."""
    with running_service(tmp_path) as service:
        for symbol in ("x" * 190_000, "é" * 60_000):
            refused = service.client.post("/add_batch", json={"symbol": symbol, "values": [1]})
            assert refused.status_code == 400
        assert service.stop() == 0
        first, second = service.events("request")
        lines = service.log_file.read_bytes().splitlines()
    assert first["symbol"].endswith("… (190000 characters)")
    assert second["symbol"].endswith("… (60000 characters)")
    assert max(map(len, lines)) < 4096


@pytest.mark.parametrize("addresses", [1, MAX_KINDS * 10])
def test_each_minute_starts_anew_and_many_addresses_share_one_bound(
    budget: tuple[LineBudget, Clock, list[bytes]], addresses: int
) -> None:
    """One address has 20 lines of a kind a minute, many have no more bytes than all may cause; nothing is uncounted."""
    bounds, clock, lines = budget
    log = structlog.get_logger()
    assert bounds.seconds_left() is None
    for _ in range(2):
        lines.clear()
        for n in range(addresses * (STRANGERS.lines + MORE)):
            log.info("request", status=401, client=f"2001:db8::{n % addresses:x}")
        if addresses == 1:
            assert len(lines) == STRANGERS.lines
        assert STRANGERS.lines <= len(lines) <= STRANGERS.lines * (MAX_KINDS + 1)
        assert sum(map(len, lines)) - len(lines[-1]) < STRANGERS.bytes
        clock.now += PERIOD_S
        assert bounds.seconds_left() == 0.0
        left_out = sum(fields["without_line"] for fields in bounds.summaries())
        assert len(lines) + left_out == addresses * (STRANGERS.lines + MORE)


def _all_kinds(n: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield an event of each kind that clients can cause, as long as they can make it, from the address number `n`."""
    client = f"2001:db8:0:0:0:0:{n >> 16:x}:{n & 65535:x}"
    path, identity = "\x01" * 200, "'" * 128
    for status in (200, 400, 401, 404, 405, 408, 409, 413, 415, 421, 426, 431, 500, 503, 507):
        fields = {"method": "OPTIONS", "route": path, "request_id": identity, "symbol": "\x02" * 190_000}
        yield "request", {**fields, "status": status, "client": client}
        yield "refused", {"status": status, "detail": "d" * 200, "client": client}
    yield "stream", {"mode": "stats", "code": 4400, "reason": "r" * 1000, "client": client, "request_id": identity}
    yield "unexpected_error", {"request_id": identity, "route": path, "exception": "e" * 100_000}
    yield "cleanup", {"symbol": "s" * 60, "removed": 2**60}
    yield "write_failed", {"symbol": "s" * 60, "error": "e" * 400}
    yield "a text that a client chose", {"logger": "websockets.server", "exception": "e" * 100_000}


def test_strangers_cause_at_most_a_megabyte_a_minute(budget: tuple[LineBudget, Clock, list[bytes]]) -> None:
    """From 500 addresses, with every kind of line as long as it can be: all lines, and those that count the rest."""
    bounds, _, lines = budget
    log = structlog.get_logger()
    total = 0
    for n in range(6000):
        for event, fields in _all_kinds(n % 500):
            log.info(event, **fields)
            total += 1
    written = len(lines)
    for fields in bounds.summaries():
        lines.append(render(None, "", {"event": "lines_left_out", "level": "info", "timestamp": "t" * 27, **fields}))
        total -= fields["without_line"]
    assert written == total
    assert STRANGERS.bytes + SERVICE.bytes < sum(map(len, lines)) < MAX_BYTES_A_MINUTE


def test_holders_of_tokens_have_lines_of_their_own(budget: tuple[LineBudget, Clock, list[bytes]]) -> None:
    """Who uses up his own lines takes none of another token, of strangers, or of the service itself."""
    _, _, lines = budget
    log = structlog.get_logger()
    for _ in range(TOKEN.lines + MORE):
        log.warning("request", status=200, client="127.0.0.1", caller="loud")
    for fields in ({"caller": "calm"}, {"caller": None}, {}):
        log.warning("request", status=200, client="127.0.0.1", **fields)
    log.info("cleanup", symbol="A")
    told = [json.loads(line) for line in lines]
    assert [line.get("caller", line["event"]) for line in told[TOKEN.lines :]] == ["calm", None, "request", "cleanup"]


def test_what_is_told_once_of_each_series_has_no_budget(budget: tuple[LineBudget, Clock, list[bytes]]) -> None:
    """A start with thousands of series tells of each; no client can repeat that."""
    _, _, lines = budget
    for n in range(5000):
        structlog.get_logger().warning("lost", symbol=f"S{n}")
    assert len(lines) == 5000


def test_at_level_debug_every_request_is_told(budget: tuple[LineBudget, Clock, list[bytes]]) -> None:
    """Whoever sets that level has asked for them."""
    _, _, lines = budget
    for _ in range(5000):
        structlog.get_logger().debug("request", status=200, client="127.0.0.1")
    assert len(lines) == 5000
