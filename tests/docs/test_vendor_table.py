"""The commands in the table of vendors in docs/import-export.md: each imports a file in that vendor's shape, right."""

import re
import shlex
from pathlib import Path

import pytest
from backports import zstd
from click.testing import CliRunner

from api.cli.command import main
from hft_mmap import Store
from tests.hft_mmap.transfer.vendors import Case, plain_shapes, zipped
from tests.service import ROOT

SHAPES = {case.name.removesuffix(" 0"): case for case in plain_shapes(0, "\n")}
FILES = {
    "BTCUSDT-1m-2026-01.zip": "binance klines us", "BTCUSDT-aggTrades-2026-01.zip": "binance aggTrades us",
    "BTCUSDT-5m-2026-01.zip": "binance futures", "XBTUSD.csv": "kraken trades", "XBTUSD_1440.csv": "kraken ohlcvt",
    "glbx-mdp3.trades.csv.zst": "databento fixed", "AAPL_2012-06-21_message_10.csv": "lobster with times",
    "AAPL_orderbook_10.csv": "lobster orderbook", "EURUSD_Candlestick_1_D_BID.csv": "dukascopy candles",
    "EURUSD_Ticks.csv": "dukascopy ticks", "HISTDATA_COM_ASCII_EURUSD_M1.zip": "histdata m1",
    "HISTDATA_COM_ASCII_EURUSD_T.zip": "histdata ticks", "aapl.us.txt": "stooq bulk", "aapl_us_d.csv": "stooq",
    "AAPL.csv": "yahoo with nulls", "DAX Historical Data.csv": "investing.com", "EURUSD_M1.csv": "metatrader 5",
    "btc-usd-max.csv": "coingecko", "DEXUSEU.csv": "fred", "all_stocks_5yr.csv": "kaggle stocks",
}  # fmt: skip
"""The shape of the file that a command names."""
_ROW = re.compile(r"^\|.*\| ([a-z, ]+) \| `hft-mmap (import .*)` \|$", re.MULTILINE)
BESIDE = {command: beside for beside, command in _ROW.findall((ROOT / "docs" / "import-export.md").read_text())}
"""What the table says that is stored beside the prices, by command."""
COMMANDS = list(BESIDE)


def content_of(name: str, case: Case) -> bytes:
    """Return a file as it is shipped: in an archive, with the notes beside it, or compressed."""
    (content,) = case.files.values()
    if name.endswith(".zip"):
        return zipped({name.replace(".zip", ".csv"): content, name.replace(".zip", ".txt"): b"Notes of the vendor\n"})
    return zstd.compress(content) if name.endswith(".zst") else content


def test_each_command_names_a_file_that_is_tried() -> None:
    """And no file is without its command."""
    assert sorted(name for command in COMMANDS for name in FILES if name in shlex.split(command)) == sorted(FILES)
    assert len(COMMANDS) == len(FILES)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_table_imports_what_the_vendor_ships(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every price, in order, in the series that the command names, with the columns that the table says."""
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)
    (name,) = [argument for argument in arguments if argument in FILES]
    case = SHAPES[FILES[name]]
    Path(name).write_bytes(content_of(name, case))
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    with Store("data", mode="r") as store:
        found = [store.window(symbol, 10**6).tolist() for symbol in store]
        beside = {", ".join(store.series(symbol).columns) or "prices alone" for symbol in store}
    assert case.series is not None
    assert beside == {BESIDE[command]}
    assert sorted(found) == sorted(case.series.values())
