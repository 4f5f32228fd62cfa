"""Files in the shapes in which vendors ship prices, with content of our own, and what has to become of each.

A shape is what a vendor writes; a surprise is what else happens to such a file. `Case.refusal` is what the refusal has
to name, and `Case.then` the options that it named, with which the file is stored right.
"""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd

ROWS = 40
BEGIN = datetime(2024, 1, 29, tzinfo=UTC)
MS, US, NS = 1_000, 1_000_000, 1_000_000_000


@dataclass(frozen=True)
class Case:
    """One file, or several, and what has to become of it; series None: it is refused, whatever one says."""

    name: str
    files: dict[str, bytes]
    options: dict[str, Any]
    series: dict[str, list[float]] | None
    refusal: str | None = None
    then: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bars:
    """Prices with their times, oldest first."""

    times: list[datetime]
    closes: list[float]

    @classmethod
    def of(cls, seed: int, level: float = 100.0, *, step: timedelta = timedelta(days=1)) -> "Bars":
        """Return a walk with two decimals."""
        walk = level * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, ROWS)))
        return cls([BEGIN + place * step for place in range(ROWS)], [round(float(price), 2) for price in walk])

    def rows(self, time: Callable[[datetime], str], cells: Callable[[str, int], list[str]]) -> list[list[str]]:
        """Return rows of cells: the time, then what `cells` makes of a price as text and its place."""
        return [
            [time(when), *cells(f"{close:.2f}", place)]
            for place, (when, close) in enumerate(zip(self.times, self.closes, strict=True))
        ]


def text(header: str | None, rows: Sequence[Sequence[str]], delimiter: str = ",", end: str = "\n") -> bytes:
    """Return a CSV."""
    lines = ([] if header is None else [header]) + [delimiter.join(row) for row in rows]
    return "".join(line + end for line in lines).encode()


def epoch(unit: int) -> Callable[[datetime], str]:
    """Return what writes a time as a count of units since 1970."""
    return lambda when: str(int(when.timestamp()) * unit)


def at(form: str) -> Callable[[datetime], str]:
    """Return what writes a time in a form."""
    return lambda when: when.strftime(form)


def ohlc(close: str, place: int) -> list[str]:
    """Return open, high, low, close and volume, all different."""
    price = float(close)
    return [f"{price - 0.01:.2f}", f"{price + 0.03:.2f}", f"{price - 0.04:.2f}", close, str(1000 + place)]


KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
MBP_HEADER = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence,symbol"
)
STOOQ_HEADER = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"
MINUTE = timedelta(minutes=1)
HOUR_OF_UTC = "%Y-%m-%d %H:%M:%S UTC"


def klines(bars: Bars, unit: int) -> list[list[str]]:
    """Return rows as Binance's candles have them."""
    step = bars.times[1] - bars.times[0]

    def cells(close: str, place: int) -> list[str]:
        end = int((bars.times[place] + step).timestamp()) * unit - 1
        return [*ohlc(close, place), str(end), "1.5", "7", "0.5", "0.25", "0"]

    return bars.rows(epoch(unit), cells)


def trades(bars: Bars, unit: int) -> list[list[str]]:
    """Return rows as Binance's aggregated trades have them."""
    return [
        [
            str(3_000_000_007 + place),
            f"{close:.8f}",
            "0.001",
            str(place),
            str(place + 1),
            epoch(unit)(when),
            "True",
            "True",
        ]
        for place, (when, close) in enumerate(zip(bars.times, bars.closes, strict=True))
    ]


def databento(bars: Bars, price: Callable[[float], str]) -> list[list[str]]:
    """Return trades as Databento's CSV has them; the last is the undefined price."""
    rows = bars.rows(
        epoch(NS),
        lambda close, place: [
            str(place),
            "0",
            "1",
            "5",
            "T",
            "A",
            "0",
            price(float(close)),
            "3",
            "0",
            "1",
            "9",
            "ESH4",
        ],
    )
    return [[row[0], row[0], *row[2:]] for row in rows]


def plain_shapes(seed: int, end: str) -> Iterator[Case]:
    """Yield files as vendors write them, and the options with which each is imported."""
    bars, minutes = Bars.of(seed), Bars.of(seed + 1000, 1.0, step=MINUTE)
    for part in (_exchanges, _brokers, _collections):
        for found in part(bars, minutes, end):
            yield replace(found, name=f"{found.name} {seed}")
    yield from other_formats(seed, bars)


def case(name: str, file: str, content: bytes, series: dict[str, list[float]], **options: Any) -> Case:
    """Return a case of one file."""
    return Case(name, {file: content}, options, series)


def _exchanges(bars: Bars, minutes: Bars, end: str) -> Iterator[Case]:
    """Yield what exchanges ship, and those who record them."""
    one, many = {"A": bars.closes}, {"A": minutes.closes}
    yield case(
        "binance klines ms",
        "BTCUSDT-1d.csv",
        text(None, klines(bars, MS), end=end),
        one,
        column="5",
        time_columns=("7",),
    )
    yield case(
        "binance klines us",
        "BTCUSDT-1d.csv",
        text(None, klines(bars, US), end=end),
        one,
        column="5",
        time_columns=("7",),
    )
    yield case(
        "binance futures",
        "BTCUSDT-1d.csv",
        text(KLINE_HEADER, klines(bars, MS), end=end),
        one,
        column="close",
        time_columns=("close_time",),
    )
    yield case(
        "binance aggTrades ms", "T.csv", text(None, trades(minutes, MS), end=end), many, column="2", time_columns=("6",)
    )
    yield case(
        "binance aggTrades us", "T.csv", text(None, trades(minutes, US), end=end), many, column="2", time_columns=("6",)
    )
    yield case("kraken trades", "XBTUSD.csv", text(None, bars.rows(epoch(1), lambda c, _: [c, "0.5"]), end=end), one,
               column="2", time_columns=("1",))  # fmt: skip
    yield case("kraken ohlcvt", "XBTUSD_1440.csv", text(None, [[*row, "3"] for row in bars.rows(epoch(1), ohlc)],
               end=end), one, column="5", time_columns=("1",))  # fmt: skip
    fixed = databento(bars, lambda price: str(round(price * NS)))
    fixed[3][8] = "9223372036854775807"
    known = {"A": bars.closes[:3] + bars.closes[4:]}
    yield case("databento fixed", "t.csv", text(MBP_HEADER, fixed, end=end), known, preset="databento")
    pretty = databento(bars, lambda price: f"{price:.9f}")
    pretty[3][8] = ""
    yield case("databento pretty", "t.csv", text(MBP_HEADER, pretty, end=end), known, preset="databento")
    message = [[f"{34200 + place}.5", "1", "7", "100", str(round(close * 10_000)), "1"]
               for place, close in enumerate(bars.closes)]  # fmt: skip
    yield case("lobster message", "m.csv", text(None, message, end=end), one, preset="lobster", column="5")
    yield case("lobster with times", "m.csv", text(None, message, end=end), one, preset="lobster", column="5",
               time_columns=("1",), day=date(2012, 6, 21))  # fmt: skip
    book = [[str(round(close * 10_000)), "5", "-9999999999" if place == 7 else str(round(close * 10_000) - 100), "6"]
            for place, close in enumerate(bars.closes)]  # fmt: skip
    bids = [(round(close * 10_000) - 100) / 10_000 for place, close in enumerate(bars.closes) if place != 7]
    yield case("lobster orderbook", "b.csv", text(None, book, end=end), {"A.ask": bars.closes, "A.bid": bids},
               preset="lobster", columns=(("1", "A.ask"), ("3", "A.bid")))  # fmt: skip


def _brokers(bars: Bars, minutes: Bars, end: str) -> Iterator[Case]:
    """Yield what brokers ship, and those who record them."""
    one, many = {"A": bars.closes}, {"A": minutes.closes}
    yield case("dukascopy candles", "d.csv", text("Gmt time,Open,High,Low,Close,Volume",
               bars.rows(at("%d.%m.%Y %H:%M:%S.000"), ohlc), end=end), one, column="Close")  # fmt: skip
    asks = {"E.bid": minutes.closes, "E.ask": [round(close + 0.01, 2) for close in minutes.closes]}
    ticks = minutes.rows(at("%d.%m.%Y %H:%M:%S.000"), lambda c, _: [f"{float(c) + 0.01:.2f}", c, "1", "2"])
    yield case("dukascopy ticks", "t.csv", text("Gmt time,Ask,Bid,AskVolume,BidVolume", ticks, end=end), asks,
               columns=(("bid", "E.bid"), ("ask", "E.ask")))  # fmt: skip
    yield case("histdata m1", "DAT_ASCII_EURUSD_M1_2024.csv",
               text(None, minutes.rows(at("%Y%m%d %H%M%S"), ohlc), ";", end), many, header=False,
               column="5", tz="-05:00")  # fmt: skip
    yield case("histdata ticks", "DAT_ASCII_EURUSD_T_202401.csv",
               text(None, minutes.rows(at("%Y%m%d %H%M%S000"), lambda c, _: [c, "1.99", "0"]), end=end), many,
               column="2", tz="-05:00")  # fmt: skip
    yield case("histdata metatrader", "DAT_MT_EURUSD_M1_2024.csv",
               text(None, minutes.rows(at("%Y.%m.%d,%H:%M"), ohlc), end=end), many, column="6")  # fmt: skip
    yield case("metatrader 5", "EURUSD.csv", text("<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>",
               minutes.rows(at("%Y.%m.%d\t%H:%M:%S"), ohlc), "\t", end), many, column="close", tz="UTC")  # fmt: skip


def _collections(bars: Bars, minutes: Bars, end: str) -> Iterator[Case]:
    """Yield what sites ship that collect prices."""
    one = {"A": bars.closes}
    rows = bars.rows(at("%Y-%m-%d"), ohlc)
    stooq = [["AAPL.US", "D", row[0].replace("-", ""), "000000", *row[1:], "0"] for row in rows]
    yield case("stooq bulk", "aapl.us.txt", text(STOOQ_HEADER, stooq, end=end), one, column="Close")  # fmt: skip
    yield case("stooq", "aapl_us_d.csv", text("Date,Open,High,Low,Close,Volume", rows, end=end), one, column="Close")
    yahoo = [[*row[:5], f"{float(row[4]) / 2:.6f}", row[5]] for row in rows]
    yield case("yahoo", "AAPL.csv", text("Date,Open,High,Low,Close,Adj Close,Volume", yahoo, end=end), one,
               column="close")  # fmt: skip
    gaps = [["null" if place == 4 else cell for cell in row[1:]] for place, row in enumerate(yahoo)]
    adjusted = {"A": [float(row[5]) for place, row in enumerate(yahoo) if place != 4]}  # fmt: skip
    yield case("yahoo with nulls", "AAPL.csv", text("Date,Open,High,Low,Close,Adj Close,Volume",
               [[row[0], *gap] for row, gap in zip(yahoo, gaps, strict=True)], end=end), adjusted,
               column="adj close", no_price=("null",))  # fmt: skip
    invest = [[f'"{cell}"' for cell in (*row, "1.5M", "0.12%")]
              for row in bars.rows(at("%m/%d/%Y"), lambda c, _: [c, c, c, c])]  # fmt: skip
    yield case("investing.com", "AAPL.csv", text('"Date","Price","Open","High","Low","Vol.","Change %"',
               invest[::-1], end=end), one, reverse=True)  # fmt: skip
    coins = bars.rows(at(HOUR_OF_UTC), lambda c, _: [c, "1000.5", "3.25"])
    yield case("coingecko", "btc.csv", text("snapped_at,price,market_cap,total_volume", coins, end=end), one)
    truefx = [["EUR/USD", *row] for row in minutes.rows(at("%Y%m%d %H:%M:%S.000"), lambda c, _: [c, "1.99"])]
    yield case("truefx", "EURUSD.csv", text(None, truefx, end=end), {"EUR/USD": minutes.closes}, header=False,
               symbol_column="1", column="3", tz="UTC")  # fmt: skip
    polygon = [[row[0], "AAPL", *row[1:]] for row in bars.rows(epoch(NS), ohlc)]
    yield case("polygon", "2024.csv", text("window_start,ticker,open,high,low,close,volume", polygon, end=end),
               {"AAPL": bars.closes}, symbol_column="ticker", column="close")  # fmt: skip
    fred = bars.rows(at("%Y-%m-%d"), lambda c, place: ["." if place == 5 else c])
    yield case("fred", "DEXUSEU.csv", text("observation_date,DEXUSEU", fred, end=end),
               {"A": bars.closes[:5] + bars.closes[6:]}, column="DEXUSEU", no_price=(".",))  # fmt: skip
    names = [[*row, name] for name in ("AAL", "AAPL") for row in rows]
    yield case("kaggle stocks", "all_stocks_5yr.csv", text("date,open,high,low,close,volume,Name", names, end=end),
               {"AAL": bars.closes, "AAPL": bars.closes}, symbol_column="Name", column="close")  # fmt: skip


def other_formats(seed: int, bars: Bars) -> Iterator[Case]:
    """Yield what is no plain CSV."""
    frame = pd.DataFrame({"time": bars.times, "price": bars.closes})
    lines = frame.assign(time=frame.time.astype(str)).to_dict("records")
    one = {"A": bars.closes}
    for name, content in (
        ("bars.parquet", parquet(frame)), ("bars.ndjson", "".join(json.dumps(line) + "\n" for line in lines).encode()),
        ("bars.json", json.dumps(lines).encode()), ("bars.npy", npy(np.array(bars.closes))),
        ("bars.csv.gz", gzip.compress(frame.to_csv(index=False).encode())),
        ("bars.csv.bz2", bz2.compress(frame.to_csv(index=False).encode())),
        ("bars.csv.xz", lzma.compress(frame.to_csv(index=False).encode())),
        ("bars.csv.zst", zstd.compress(frame.to_csv(index=False).encode())),
        ("bars.zip", zipped({"bars.csv": frame.to_csv(index=False).encode()})),
    ):  # fmt: skip
        if seed % 2 or name.endswith(("parquet", "json", "zip")):
            yield Case(f"{name} {seed}", {name: content}, {}, one)


def parquet(frame: pd.DataFrame) -> bytes:
    """Return a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink)
    return sink.getvalue()


def npy(values: Any) -> bytes:
    """Return a .npy file."""
    sink = io.BytesIO()
    np.save(sink, values)
    return sink.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    """Return a ZIP archive."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


def workbook(sheets: dict[str, Sequence[Sequence[object]]]) -> bytes:
    """Return an xlsx file, the least that one has: text in the cells themselves, numbers as they are."""
    names = list(sheets)
    place = list(enumerate(names, 1))
    kind = "http://schemas.openxmlformats.org"
    book = "".join(f'<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>' for number, name in place)
    links = "".join(
        f'<Relationship Id="rId{number}" Type="{kind}/officeDocument/2006/relationships/worksheet" '
        f'Target="worksheets/sheet{number}.xml"/>'
        for number, _ in place
    )
    members = {
        "_rels/.rels": f'<Relationships xmlns="{kind}/package/2006/relationships"><Relationship Id="rId1" '
        f'Type="{kind}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{kind}/spreadsheetml/2006/main" '
        f'xmlns:r="{kind}/officeDocument/2006/relationships"><sheets>{book}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{kind}/package/2006/relationships">{links}'
        "</Relationships>",
    }
    for number, name in place:
        rows = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in sheets[name])
        members[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{kind}/spreadsheetml/2006/main"><sheetData>{rows}</sheetData></worksheet>'
        )
    return zipped({name: f'<?xml version="1.0"?>{content}'.encode() for name, content in members.items()})


def _cell(value: object) -> str:
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
    return "<c/>" if value is None else f"<c><v>{value}</v></c>"
