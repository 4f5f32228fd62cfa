"""Each program takes a recording: every trade once, with its time, its price, and the side of the aggressor."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from hft_mmap.client import Client
from tests.contrib.programs import SAMPLES, run
from tests.service import Service

S = 1_767_225_600 * 10**9
MS = 10**6


class Case(NamedTuple):
    """A program, its recording, and the points of each symbol: nanoseconds since 2026, price, size."""

    program: str
    sample: str
    symbols: dict[str, list[tuple[int, float, float]]]
    options: tuple[str, ...] = ()
    missing: int = 0


BTC = [(100 * MS, 88001.5, 0.012), (320 * MS, 88001.49, -0.25), (400 * MS, 88001.5, 0.001), (911 * MS, 88003.0, 0.1)]
COINBASE = [
    (1000 * MS, 88010.01, 0.01), (1250 * MS, 88010.0, -0.5), (1_950_123_456, 88011.02, 0.003),
    (3100 * MS, 88012.0, 0.02),
]  # fmt: skip
KRAKEN = [(100_001_000, 88020.1, 0.05), (200_002_000, 88020.0, -0.11), (300_003_000, 88020.2, 0.001)]
OWN = {"BTC-USD": [(1, 88000.5, -0.25), (3, 88001.0, 0.5)], "ETH-USD": [(2, 2970.0, -1.5)]}
CASES = (
    Case("binance", "binance", {"BTCUSDT": BTC, "ETHUSDT": [(110 * MS, 2970.11, -1.5)]}, missing=2),
    Case("binance", "binance", {"BTC-USDT": BTC}, ("--symbol", "BTCUSDT=BTC-USDT"), missing=2),
    Case("binance", "binance-trade", {"BTCUSDT": [(100 * MS, 88001.5, 0.01), (100 * MS, 88001.5, 0.002), BTC[1]]},
         ("--each",)),
    Case("coinbase", "coinbase", {"BTC-USD": COINBASE}),
    Case("coinbase", "coinbase-matches", {"BTC-USD": COINBASE[:2]}, ("--matches",)),
    Case("kraken", "kraken", {"BTC-USD": KRAKEN}, ("--symbol", "BTC/USD=BTC-USD")),
    Case("kafka_topic", "kafka", OWN),
    Case("nats_stream", "nats", OWN),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join([case.sample, *case.options[1:]]))
def test_a_recording_is_stored_once(service: Service, tmp_path: Path, case: Case) -> None:
    """However often it is replayed; of an exchange it is said which trades never came."""
    sample, journal = str(SAMPLES / f"{case.sample}.jsonl"), tmp_path / "journal"
    points = sum(map(len, case.symbols.values()))
    for given in (points, 0):
        done = run(case.program, service, journal, "--replay", sample, *case.options)
        assert done.exit_code == 0, done.stderr
        never = case.missing if given else 0
        assert done.stderr.endswith(f"{given} given, {points - given} were there, {never} never came\n")
        with Client(service.url) as client:
            assert {row.symbol for row in client.symbols()} == set(case.symbols)
            for symbol, rows in case.symbols.items():
                found = client.ticks(symbol)
                assert found.times is not None
                assert found.sizes is not None
                columns = ((found.times - S).tolist(), found.prices.tolist(), found.sizes.tolist())
                assert list(zip(*columns, strict=True)) == rows


def test_a_recording_goes_on_where_the_store_ends(service: Service, tmp_path: Path) -> None:
    """What was written down and not stored is given again: the store decides."""
    whole, part, journal = SAMPLES / "binance.jsonl", tmp_path / "part.jsonl", tmp_path / "journal"
    lines = whole.read_text(encoding="utf-8").splitlines(keepends=True)
    part.write_text("".join(lines[:4]), encoding="utf-8")
    assert run("binance", service, journal, "--replay", str(part)).exit_code == 0
    with journal.open("a", encoding="utf-8") as file:
        file.write("2 3000009 BTCUSDT\n77 1234 BTCUS")  # killed before it was sent, and in the middle of a line
    done = run("binance", service, journal, "--replay", str(whole))
    assert done.stderr.endswith("2 given, 3 were there, 2 never came\n")
    assert "BTCUSDT: trades 3000004 to 3000005 never came" in done.stderr
    with Client(service.url) as client:
        assert client.values("BTCUSDT").tolist() == [price for _, price, _ in BTC]


@pytest.mark.parametrize(
    ("program", "line", "told"),
    [
        ("binance", '{"error":{"code":2,"msg":"Invalid request"}}', "Binance says: {'code': 2"),
        ("binance", '{"e":"trade","s":"A","t":1,"p":"1","q":"1","m":true}', "not of the shape of a message of trades"),
        ("binance", '{"e":"trade","s":"A","t":1,"p":"-1","q":"1","T":1,"m":true}', "values[0] is -1.0: a price"),
        ("binance", "{", "Expecting property name"),
        ("coinbase", '{"type":"error","message":"Failed to subscribe","reason":"no"}', "Coinbase says: Failed to subs"),
        ("kraken", '{"method":"subscribe","success":false,"error":"Currency pair not supported"}', "Kraken says: Curr"),
        ("nats_stream", '{"sequence":1,"data":{"symbol":"A","price":1}}', "message 1 has no size, time"),
        ("kafka_topic", json.dumps({"offset": 5, "payload": '{"symbol":"A","price":1,"size":1,"side":"x","time":1}'}),
         'side must be "buy" or "sell", not \'x\''),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(service: Service, tmp_path: Path, program: str, line: str, told: str) -> None:
    """With the place, and nothing of it is stored."""
    recording = tmp_path / "wrong.jsonl"
    recording.write_text(f"{line}\n", encoding="utf-8")
    done = run(program, service, tmp_path / "journal", "--replay", str(recording))
    assert done.exit_code == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    with Client(service.url) as client:
        assert client.symbols() == []


def test_what_has_to_be_named_is(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A symbol of an exchange; the package that is not there."""
    done = run("kraken", service, tmp_path / "journal")
    assert (done.exit_code, "name at least one symbol: --symbol NAME[=SYMBOL]" in done.stderr) == (2, True)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)  # as where it is not installed
    done = run("kafka_topic", service, tmp_path / "journal")
    assert (done.exit_code, "pip install confluent-kafka" in done.stderr) == (1, True)
