"""Files as vendors order them: the newest row first, several symbols in one file."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hft_mmap import Store
from hft_mmap.transfer import BadRow, Doubtful, Plan, UnreadableFile, preview, readers
from hft_mmap.transfer.plan import plan_with
from tests.hft_mmap.transfer.files import bring, text_file

BEGIN = datetime(2024, 1, 30, 22, 0, tzinfo=UTC)
HOURS = [BEGIN + timedelta(hours=7 * hour) for hour in range(60)]
STYLES: dict[str, Callable[[datetime], str]] = {
    "iso": lambda time: time.strftime("%Y-%m-%d %H:%M:%S"),
    "iso with a zone": datetime.isoformat,
    "day only": lambda time: time.strftime("%Y-%m-%d"),
    "seconds": lambda time: str(int(time.timestamp())),
    "milliseconds": lambda time: str(int(time.timestamp() * 1000)),
    "yyyymmdd": lambda time: time.strftime("%Y%m%d"),
    "american": lambda time: time.strftime("%m/%d/%Y"),
    "german": lambda time: time.strftime("%d.%m.%Y %H:%M:%S.000"),
    "in words": lambda time: time.strftime('"%b %d, %Y"'),
    "dots": lambda time: time.strftime("%Y.%m.%d %H:%M"),
}

ZONES = dict.fromkeys(("iso", "german", "dots"), "UTC")
"""Of the styles that say none, and are no days alone."""


def as_csv(path: Path, times: Sequence[str], column: str = "Date") -> Path:
    """Write a CSV with a price beside each time: 0, 1, ... in the order of the rows."""
    rows = "".join(f"{time},{price}\n" for price, time in enumerate(times))
    return text_file(path / "a.csv", f"{column},price\n{rows}")


@pytest.mark.parametrize("style", STYLES)
def test_a_file_with_its_newest_row_first_is_refused_or_turned_round(store: Store, tmp_path: Path, style: str) -> None:
    """Whatever the style of its times; the text names the option, and nothing is stored before."""
    path = as_csv(tmp_path, [STYLES[style](time) for time in reversed(HOURS)])
    with pytest.raises(UnreadableFile, match=r"the newest row comes first .* --reverse turns the file round"):
        bring(store, path)
    assert store.symbols() == []
    bring(store, path, reverse=True, tz=ZONES.get(style))
    assert store.window("A", 100).tolist() == list(range(59, -1, -1))


@pytest.mark.parametrize("style", STYLES)
def test_a_file_with_its_oldest_row_first_needs_nothing(store: Store, tmp_path: Path, style: str) -> None:
    """And is not turned round by mistake."""
    path = as_csv(tmp_path, [STYLES[style](time) for time in HOURS])
    with pytest.raises(UnreadableFile, match="it needs no --reverse"):
        bring(store, path, reverse=True)
    bring(store, path, tz=ZONES.get(style))
    assert store.window("A", 100).tolist() == list(range(60))


@pytest.mark.parametrize(
    ("column", "times"),
    [
        ("Date", ["01/02/2024", "02/01/2024"]),
        ("Time", ["23:59", "00:00"]),
        ("Date", ["2024-01-02", "2024-01-01", "2024-01-03"]),
        ("Date", ["2024-01-02", "2024-01-02"]),
        ("Date", ["tomorrow", "today"]),
        ("Date", ["2024-01-02", "", "nan"]),
        ("strike", ["3", "2", "1"]),
    ],
)
def test_what_is_not_certain_is_taken_as_it_is(
    store: Store, tmp_path: Path, column: str, times: list[str]
) -> None:  # fmt: skip
    """A day that may be a month, a clock that passes midnight, times up and down, and columns that say no time."""
    bring(store, as_csv(tmp_path, times, column), time=False)
    assert store.window("A", 100).tolist() == list(range(len(times)))


def test_who_knows_better_is_believed(store: Store, tmp_path: Path) -> None:
    """With --no-reverse a file is taken as it is."""
    path = as_csv(tmp_path, ["2024-01-02", "2024-01-01"])
    bring(store, path, reverse=False)
    assert store.window("A", 100).tolist() == [0, 1]


def test_a_day_and_a_time_of_day_count_together(store: Store, tmp_path: Path) -> None:
    """As Stooq and HistData have them."""
    text = "<DATE>,<TIME>,price\n" + "".join(f"20240102,{20 - hour}0000,{hour}\n" for hour in range(5))
    with pytest.raises(UnreadableFile, match="the newest row comes first"):
        bring(store, text_file(tmp_path / "a.csv", text))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.arrows", "a.ndjson"])
def test_other_formats_are_looked_at_too(store: Store, tmp_path: Path, name: str) -> None:
    """By nanoseconds, and by text."""
    count = 20
    times = pd.date_range(BEGIN, periods=count, freq="ns")[::-1]
    path = tmp_path / name
    table = pa.table({"ts_event": times, "price": np.arange(float(count)), "symbol": ["A "] * count})
    if name == "a.parquet":
        pq.write_table(table, path)
    elif name == "a.ndjson":
        rows = ({"ts_event": time.value, "price": float(price)} for price, time in enumerate(times))
        path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    else:
        make = pa.ipc.new_file if name == "a.arrow" else pa.ipc.new_stream
        with make(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    with pytest.raises(UnreadableFile, match="the newest row comes first"):
        bring(store, path)
    bring(store, path, reverse=True)
    assert store.window("A", 100).tolist() == list(range(count - 1, -1, -1))


@pytest.mark.usefixtures("small_pieces")
def test_a_file_that_is_turned_round_keeps_the_numbers_of_its_rows(store: Store, tmp_path: Path) -> None:
    """Of bad rows, and of those of other symbols; each symbol is turned round by itself."""
    days = [f"2024-01-{day:02}" for day in range(28, 0, -1)]
    rows = [f"{day},{symbol},{price}" for price, day in enumerate(days) for symbol in ("A", "B")]
    rows[20] = rows[20].replace(",10", ",x")
    rows[31] = "torn"
    path = text_file(tmp_path / "a.csv", "Date,symbol,price\n" + "\n".join(rows))
    with pytest.raises(BadRow, match="row 32: 1 cell in place of 3"):
        bring(store, path, symbol=None, symbol_column="symbol", reverse=True)
    report = bring(store, path, symbol=None, symbol_column="symbol", reverse=True, skip_bad=True, resume=True)
    assert report.progress.skipped == 2
    assert store.window("A", 100).tolist() == [price for price in range(27, -1, -1) if price != 10]
    assert store.window("B", 100).tolist() == [price for price in range(27, -1, -1) if price != 15]


def test_only_so_many_rows_are_turned_round(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in memory meanwhile, and that has a limit."""
    monkeypatch.setattr(readers, "MAX_REVERSED_ROWS", 59)
    path = as_csv(tmp_path, [str(time) for time in reversed(HOURS)])
    with pytest.raises(UnreadableFile, match="more than 59 rows, the most that --reverse turns round"):
        bring(store, path, reverse=True)
    assert store.symbols() == []


@pytest.mark.parametrize("column", ["symbol", "Ticker", " SYMBOL "])
@pytest.mark.parametrize("kind", ["csv", "parquet", "ndjson"])
def test_a_file_of_several_symbols_is_not_mixed_into_one(
    store: Store, tmp_path: Path, kind: str, column: str
) -> None:  # fmt: skip
    """Unless it is asked for; one whose symbols are all the same is what it seems to be."""
    frame = pd.DataFrame({column: ["AAPL", "MSFT", "AAPL"], "price": [1.0, 2.0, 3.0]})
    one = frame.assign(**{column: "AAPL"})
    for name, rows in (("many", frame), ("one", one)):
        path = tmp_path / f"{name}.{kind}"
        if kind == "csv":
            rows.to_csv(path, index=False)
        elif kind == "parquet":
            rows.to_parquet(path)
        else:
            rows.to_json(path, orient="records", lines=True)
    with pytest.raises(UnreadableFile, match="several symbols, as 'AAPL' and 'MSFT': --symbol-column"):
        bring(store, tmp_path / f"many.{kind}")
    assert store.symbols() == []
    bring(store, tmp_path / f"many.{kind}", mixed=True)
    bring(store, tmp_path / f"one.{kind}")
    assert store.window("A", 10).tolist() == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("kind", ["csv", "broken.csv", "parquet", "ndjson", "npy", "json"])
def test_several_columns_are_of_one_symbol_each(store: Store, tmp_path: Path, kind: str) -> None:
    """A file of several symbols is mixed into no series, however many of its columns are taken, and in any format."""
    frame = pd.DataFrame({"symbol": ["AAPL", "MSFT"], "bid": [1.0, 2.0], "ask": [3.0, 4.0]})
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "npy":
        np.save(path, frame.to_records(index=False).astype([("symbol", "U4"), ("bid", "f8"), ("ask", "f8")]))
    elif kind in {"ndjson", "json"}:
        frame.to_json(path, orient="records", lines=kind == "ndjson")
    else:
        text_file(path, frame.to_csv(index=False) + "ZZ,no,5\n" * (kind == "broken.csv"))
    columns = (("bid", "B"), ("ask", "A"))
    with pytest.raises(UnreadableFile, match="several symbols, as 'AAPL' and 'MSFT': --symbol-column with one --col"):
        bring(store, path, symbol=None, columns=columns)
    assert store.symbols() == []
    bring(store, path, symbol=None, columns=columns, mixed=True, skip_bad=True)
    assert [store.window(symbol, 10).tolist() for symbol in "BA"] == [[1, 2], [3, 4]]
    bring(store, path, symbol=None, symbol_column="symbol", column="ask", skip_bad=True)
    assert store.window("MSFT", 10).tolist() == [4]


@pytest.mark.usefixtures("small_pieces")
def test_a_symbol_that_comes_later_ends_an_import_of_several_columns(store: Store, tmp_path: Path) -> None:
    """What the first rows do not show is noticed where it stands."""
    rows = "".join(f"{'AAPL' if row < 1500 else 'MSFT'},{row},{row}\n" for row in range(2000))
    path = text_file(tmp_path / "a.csv", f"symbol,bid,ask\n{rows}")
    with pytest.raises(UnreadableFile, match="points stored before that stay"):
        bring(store, path, symbol=None, columns=(("bid", "B"), ("ask", "A")))
    assert len(store.window("B", 2000)) <= 1500


def test_folders_of_several_symbols_are_met_before_the_first_is_stored(store: Store, tmp_path: Path) -> None:
    """A series takes the files of one symbol, by their folders, and a preview says so too."""
    for name in ("AAPL", "MSFT"):
        (tmp_path / f"symbol={name}").mkdir()
        text_file(tmp_path / f"symbol={name}" / "a.csv", "price\n1\n")
    with pytest.raises(Doubtful, match="several symbols, as 'AAPL' and 'MSFT'"):
        bring(store, tmp_path)
    assert store.symbols() == []
    first, second = preview(Plan([str(tmp_path)], "A"))
    assert (first.look.doubts, [choice.field for choice in second.look.doubts[0].choices]) == ([], ["mixed"])


def test_which_symbols_are_meant_can_be_answered(tmp_path: Path) -> None:
    """A file of several symbols is a question with three answers, each an option."""
    path = text_file(tmp_path / "a.csv", "Ticker,price\nAAPL,1\nMSFT,2\n")
    plan = Plan([str(path)], "AAPL")
    (doubt,) = preview(plan)[0].look.doubts
    answered = [plan_with(plan, {choice.field: choice.value, **dict(choice.sets)}) for choice in doubt.choices]
    assert [(one.symbol, one.symbol_column, one.mixed) for one in answered] == [
        (None, "Ticker", False), ("AAPL", "Ticker", False), ("AAPL", None, True),
    ]  # fmt: skip
    assert [[point[1:] for point in preview(one)[0].points] for one in answered] == [
        [("AAPL", 1), ("MSFT", 2)], [("AAPL", 1)], [("AAPL", 1), ("AAPL", 2)],
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson"])
def test_symbols_have_no_space_around_them(store: Store, tmp_path: Path, name: str) -> None:
    """They are one series with and without, and so are they where only those of one symbol are taken."""
    if name == "a.csv":
        path = text_file(tmp_path / name, "symbol,price\n AAPL,1\nAAPL ,2\nAAPL,3\n")
    else:
        rows = zip([" AAPL", "AAPL ", "AAPL"], [1, 2, 3], strict=True)
        text = "\n".join(f'{{"symbol": "{symbol}", "price": {price}}}' for symbol, price in rows)
        path = text_file(tmp_path / name, text)
    bring(store, path, symbol=None, symbol_column="symbol")
    bring(store, path, symbol="AAPL", symbol_column="symbol")
    assert [row.symbol for row in store.symbols()] == ["AAPL"]
    assert store.window("AAPL", 10).tolist() == [1, 2, 3, 1, 2, 3]


def test_integers_called_symbol_are_no_symbols(store: Store, tmp_path: Path) -> None:
    """A column of numbers that nobody asked for decides nothing."""
    pq.write_table(pa.table({"symbol": [1, 2], "price": [1.0, 2.0]}), tmp_path / "a.parquet")
    bring(store, tmp_path / "a.parquet")
    assert store.window("A", 10).tolist() == [1, 2]
