"""What else happens to files of prices: each surprise on its own, in a file as vendors ship it."""

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from tests.hft_mmap.transfer.vendors import (
    MINUTE,
    MS,
    Bars,
    Case,
    at,
    klines,
    npy,
    ohlc,
    parquet,
    text,
    workbook,
    zipped,
)

HEADER = "Date,Open,High,Low,Close,Volume"
CLOSE = {"column": "Close"}


def surprises(seed: int) -> Iterator[Case]:
    """Yield every surprise once."""
    yield from _encodings(seed)
    yield from _numbers(seed)
    yield from _rows(seed)
    yield from _columns(seed)
    yield from _containers(seed)


def _daily(seed: int, level: float = 100.0) -> tuple[Bars, list[list[str]], dict[str, list[float]]]:
    bars = Bars.of(seed, level)
    return bars, bars.rows(at("%Y-%m-%d"), ohlc), {"A": bars.closes}


def _case(
    name: str, content: bytes, series: dict[str, list[float]] | None, refusal: str | None = None, **more: Any
) -> Case:  # fmt: skip
    file = more.pop("file", "prices.csv")
    then = more.pop("then", {})
    return Case(name, {file: content}, more or dict(CLOSE), series, refusal, then)


def _encodings(seed: int) -> Iterator[Case]:
    _, rows, one = _daily(seed)
    plain = text(HEADER, rows)
    yield _case("byte order mark", b"\xef\xbb\xbf" + plain, one)
    yield _case("utf-16", plain.decode().encode("utf-16"), one)
    yield _case("utf-16 big endian", b"\xfe\xff" + plain.decode().encode("utf-16-be"), one)
    yield _case("utf-16 without mark", plain.decode().encode("utf-16-le"), one, "--encoding utf-16-le",
                then={"encoding": "utf-16-le"})  # fmt: skip
    latin = text("Datum;Eröffnung;Höchst;Tiefst;Schluß;Stück", rows, ";").decode().encode("latin-1")
    yield _case("latin-1", latin, one, "--encoding latin-1", column="Schluß", then={"encoding": "latin-1"})
    yield _case("carriage returns", plain.replace(b"\n", b"\r"), one)
    yield _case("separator line", b"sep=;\r\n" + text(HEADER.replace(",", ";"), rows, ";", "\r\n"), one)
    yield _case("comments", b"# made by us\n# on a Monday\n" + plain, one, "--skip-rows 2", then={"skip_rows": 2})
    yield _case("comments among rows", plain.replace(b"\n", b"\n# note\n", 4), one, comment="#", **CLOSE)
    yield _case("a page in place of a file", b"<!DOCTYPE html><html>not found</html>", None, "load it again")
    yield _case("an empty file", b"", None, "is empty")


def _numbers(seed: int) -> Iterator[Case]:
    bars, rows, one = _daily(seed)
    _, large, big = _daily(seed, 4000.0)

    def german(row: list[str], group: str = "") -> list[str]:
        return [row[0], *(f"{float(cell):,.2f}".replace(",", group).replace(".", ",", -1)[:-3].replace(",", group)
                          + "," + f"{float(cell):.2f}"[-2:] for cell in row[1:])]  # fmt: skip

    semicolons = HEADER.replace(",", ";")
    yield _case("decimal comma", text(semicolons, [german(row) for row in rows], ";"), one)
    yield _case("decimal comma and points", text(semicolons, [german(row, ".") for row in large], ";"), big)
    yield _case("decimal comma and spaces", text(semicolons, [german(row, "\u00a0") for row in large], ";"), big)
    quoted = [[row[0], *(f'"{float(cell):,.2f}"' for cell in row[1:])] for row in large]
    yield _case("thousands", text(HEADER, quoted), big)
    whole = {"A": [float(round(price)) for price in Bars.of(seed, 4000.0).closes]}
    cells = [[row[0], f'"{round(float(row[4])):,}"'] for row in large]
    yield _case("thousands or decimals", text("Date,Close", cells), whole, "--thousands ,", then={"thousands": ","})
    mixed = [[row[0], f"{float(row[4]):.3f}", "7,25"] for row in rows]
    yield _case("points that may be thousands", text("Date;Close;Rate", mixed, ";"), one, "--decimal .",
                then={"decimal": "."})  # fmt: skip
    yield _case("quoted numbers", text(HEADER, [[f'"{cell}"' for cell in row] for row in rows]), one)
    spaced = [[row[0], *(f"  {cell} " for cell in row[1:])] for row in rows]
    yield _case("spaces", text(" Date , Open , High , Low , Close , Volume ", spaced), one)
    yield _case("one column with decimal commas", text("Close", [[row[4].replace(".", ",")] for row in rows]), one,
                "--decimal ,", then={"delimiter": ";", "decimal": ","})  # fmt: skip
    yield _case("exponents", text("Date,Close", [[row[0], f"{float(row[4]):.6e}"] for row in rows]), one)
    for name, cell, refusal, then in (
        ("sentinel", "9999999999", "--no-price 9999999999", {"no_price": ("9999999999",)}),
        ("null", "null", "'null' is no number", {"no_price": ("null",)}),
        ("nan", "NaN", "nan: a price must be finite", {"no_price": ("NaN",)}),
        ("negative", "-1.5", "at least 0", {"skip_bad": True}),
        ("not available", "#N/A", "'#N/A' is no number", {"no_price": ("#N/A",)}),
        ("empty", "", "'' is no number", {"no_price": ("",)}),
        ("too high", "123456789", "at most 1e+06", {"skip_bad": True}),
    ):
        torn = [[*row[:4], cell if place == 9 else row[4], row[5]] for place, row in enumerate(rows)]
        limit = {"max_price": 1e6} if name == "too high" else {}
        yield _case(name, text(HEADER, torn), {"A": bars.closes[:9] + bars.closes[10:]}, refusal, then=then, **CLOSE,
                    **limit)  # fmt: skip


def _rows(seed: int) -> Iterator[Case]:
    bars, rows, one = _daily(seed)
    plain = text(HEADER, rows)
    total = f"{sum(bars.closes):.2f}"
    skip = {"skip_bad": True}
    turn = {"reverse": True}
    for name, form in (("iso", "%Y-%m-%d"), ("words", '"%b %d, %Y"'), ("german", "%d.%m.%Y")):
        newest = text(HEADER, bars.rows(at(form), ohlc)[::-1])
        yield _case(f"newest first, {name}", newest, one, "--reverse", then=turn)
    yield _case(
        "newest first, no header",
        text(None, klines(bars, MS)[::-1]),
        one,
        "--reverse",
        column="5",
        time_columns=("7",),
        then=turn,
    )
    yield _case("total behind", plain + f"Total,,,,{total},5\n".encode(), one, "is no time", then=skip)
    yield _case("total without a word", plain + f",,,,{total},\n".encode(), one, "is no time", then=skip)
    yield _case("average in front", text(HEADER, [["Average", *rows[0][1:]], *rows]), one, "is no time", then=skip)
    yield _case("footnote", plain + b"Source: our own\n", one, "1 cell in place of 6", then=skip)
    yield _case("blank lines", plain.replace(b"\n", b"\n\n"), one)
    yield _case("header again", plain + plain.replace(b"2024", b"2028"), {"A": bars.closes * 2}, "'Close' is no number",
                then=skip)  # fmt: skip
    yield _case("title lines", b"Prices of A\nExported today\n" + plain, one, "--skip-rows 2", then={"skip_rows": 2})
    yield _case("link above", b"https://www.example.com\n" + plain, one, "--skip-rows 1", then={"skip_rows": 1})
    yield _case("torn at its end", plain[: plain.rfind(b",") - 4], {"A": bars.closes[:-1]}, "in place of 6", then=skip)
    yield _case("delimiter at the end", text(HEADER + ",", [[*row, ""] for row in rows]), one)
    yield _case("delimiter at the end of rows", text(HEADER, [[*row, ""] for row in rows]), one)
    yield _case("a quote that stays open", plain.replace(b"\n2024-02-05", b'\n"2024-02-05', 1), None,
                "a double quote is never closed")  # fmt: skip


def _columns(seed: int) -> Iterator[Case]:
    bars, rows, one = _daily(seed)
    other = Bars.of(seed + 1)
    yield _case("no header", text(None, rows), one, "--no-header", symbol="A", then={"header": False, "column": "5"})
    yield _case("one column without header", text(None, [[row[4]] for row in rows]), one, symbol="A")
    yield _case("two prices", text("time,bid,ask", [[row[0], row[4], row[1]] for row in rows]), one, "--column",
                symbol="A", then={"column": "bid"})  # fmt: skip
    both = [row for pair in zip([[*r, "A"] for r in rows], [[*r, "B"] for r in other.rows(at("%Y-%m-%d"), ohlc)],
                                strict=True) for row in pair]  # fmt: skip
    two = {"A": bars.closes, "B": other.closes}
    for name, column in (("symbols", "Symbol"), ("names", "Name")):
        yield _case(f"mixed {name}", text(f"{HEADER},{column}", both), two, "--symbol-column",
                    then={"symbol_column": column, "symbol": None}, **CLOSE)  # fmt: skip
    blocks = [[*row, "A"] for row in rows] + [[*row, "B"] for row in other.rows(at("%Y-%m-%d"), ohlc)]
    yield _case("symbols one after the other", text(f"{HEADER},Paper", blocks), two, "--symbol-column",
                then={"symbol_column": "Paper", "symbol": None}, **CLOSE)  # fmt: skip
    spaced = [[*row[:-1], f" {row[-1]} "] for row in both]
    yield _case("symbols with space", text(f"{HEADER},Symbol", spaced), two, symbol=None, symbol_column="symbol",
                column="CLOSE")  # fmt: skip
    pair = text("Time,Symbol,Bid,Ask", [[r[0], s, r[4], r[1]] for r, s in zip(rows, "AB" * 20, strict=True)])
    yield _case("mixed symbols in two columns", pair, {"A": bars.closes[::2]}, "--symbol-column with one --column",
                columns=(("Bid", "B"), ("Ask", "A")),
                then={"columns": (), "symbol": "A", "symbol_column": "Symbol", "column": "Bid"})  # fmt: skip
    for name, mark in (("semicolons", ";"), ("tabs", "\t"), ("bars", "|")):
        yield _case(name, text(HEADER.replace(",", mark), rows, mark), one)


def _containers(seed: int) -> Iterator[Case]:
    bars, rows, one = _daily(seed)
    plain = text(HEADER, rows)
    frame = pd.DataFrame({"time": bars.times, "price": bars.closes})
    yield _case("gzip called csv", gzip.compress(plain), one)
    yield _case("parquet called csv", parquet(frame), one, column="price")
    yield _case("an archive called csv", zipped({"a.csv": plain}), one)
    yield _case("an archive in an archive", zipped({"a.zip": zipped({"a.csv": plain})}), None, "unzip",
                file="a.zip", **CLOSE)  # fmt: skip
    parts = {f"part-{n}.csv": text(HEADER, rows[n * 4 : n * 4 + 4]) for n in range(10)} | {"__MACOSX/._a.csv": b"\0"}
    parts["part-10.csv"] = parts.pop("part-9.csv")
    yield _case("parts in an archive", zipped(parts), one, file="a.zip", **CLOSE)
    months = {"jan.csv": text(HEADER, rows[:20]), "feb.csv": text(HEADER, rows[20:])}
    yield Case("months by name", dict(sorted(months.items())), CLOSE, one, "--by-time", {"by_time": True})
    folders = {f"symbol={name}/day=1/part.csv": plain for name in ("A", "B%2FC")}
    yield Case("folders that name symbols", folders, CLOSE, {"A": bars.closes, "B/C": bars.closes}, "--symbol-column",
               {"symbol_column": "symbol", "symbol": None})  # fmt: skip
    yield _case("json called csv", json.dumps(frame.price.map(lambda p: {"price": p}).tolist()).encode(), one,
                "--format json", symbol="A", then={"format": "json"})  # fmt: skip
    lines = [
        {"t": int(when.timestamp()), "price": str(price)} for when, price in zip(bars.times, bars.closes, strict=True)
    ]
    yield _case("numbers as text", "\n".join(map(json.dumps, lines)).encode(), one, "--decimal .", file="a.ndjson",
                column="price", then={"decimal": "."})  # fmt: skip
    candles = [[int(when.timestamp()), 1, 2, 3, price] for when, price in zip(bars.times, bars.closes, strict=True)]
    yield _case("candles newest first", json.dumps(candles[::-1]).encode(), one, "--column", file="a.json", symbol="A",
                then={"column": "5", "reverse": True})  # fmt: skip
    yield _case("json in an envelope", json.dumps({"prices": candles}).encode(), None, "jq", file="a.json", **CLOSE)
    sheet: list[list[object]] = [["Date", "Close"], *([row[0], float(row[4])] for row in rows)]
    yield _case("workbook", workbook({"Prices": sheet}), one, file="a.xlsx", **CLOSE)
    yield _case("workbook with a title", workbook({"Prices": [["Prices of A", None], *sheet]}), one, "--skip-rows 1",
                file="a.xlsx", then={"skip_rows": 1}, **CLOSE)  # fmt: skip
    two = workbook({"Notes": [["Made by us", None], ["in May", 5]], "Prices": sheet})
    yield _case("workbook of two sheets", two, one, "--sheet", file="a.xlsx", then={"sheet": "Prices"}, **CLOSE)
    yield _case("workbook without the sheet", two, None, "it has 'Notes', 'Prices'", file="a.xlsx", sheet="A", **CLOSE)
    named = {"bid.npy": npy(np.array(bars.closes)), "ask.npy": npy(np.ones(3))}
    yield _case("arrays", zipped(named), one, "--column", file="a.npz", symbol="A", then={"column": "bid"})
    records = np.array(list(zip(["A", "B"] * 20, bars.closes, strict=True)), dtype=[("sym", "U8"), ("price", "f8")])
    yield _case("records of several symbols", npy(records), {"A": bars.closes[::2], "B": bars.closes[1::2]},
                "--symbol-column", file="a.npy", symbol="A", then={"symbol": None, "symbol_column": "sym"})  # fmt: skip
    minutes = Bars.of(seed, step=MINUTE)
    later = Bars([when + timedelta(days=9) for when in minutes.times], minutes.closes)
    files = {f"day-{name}.csv": text("time,price", one_.rows(at("%H:%M:%S"), lambda c, _: [c]))
             for name, one_ in (("1", minutes), ("2", later))}  # fmt: skip
    apart = {f"{name}.csv": text(HEADER, Bars.of(seed + place).rows(at("%Y-%m-%d"), ohlc))
             for place, name in enumerate(("AAPL", "MSFT"))}  # fmt: skip
    joined = {"A": [*bars.closes, *Bars.of(seed + 1).closes]}
    yield Case("files of several symbols", apart, CLOSE, joined, "of several symbols", {"by_time": False})
    notes = zipped({"DAT_M1.csv": plain, "DAT_M1.txt": b"Gap of 121s found\n"})
    yield _case("notes in an archive", notes, one, file="a.zip", **CLOSE)
    yield Case("clocks without days", files, {"symbol": "A", "time": False}, {"A": minutes.closes * 2})
