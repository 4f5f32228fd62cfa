"""The look at files before anything is stored, what it finds, and imports that go on with all that it allows."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hft_mmap import Limits, Store, SymbolLimitReached
from hft_mmap.ticks import Ticks
from hft_mmap.transfer import (
    BadRow,
    Doubtful,
    ImportConflict,
    Plan,
    Room,
    StoreSink,
    UnreadableFile,
    arrays,
    import_files,
    lines,
    preview,
    records,
    tables,
)
from hft_mmap.transfer.numerals import Numerals, readings
from hft_mmap.transfer.overlap import Overlap
from tests.hft_mmap.transfer.files import LIMITS, bring, scratch, text_file
from tests.hft_mmap.transfer.test_importing import stop_after
from tests.hft_mmap.transfer.vendors import parquet, workbook, zipped

DAYS = [f"2024-01-{day:02}" for day in range(1, 29)]


def test_a_preview_says_what_was_found_and_what_would_be_stored(tmp_path: Path) -> None:
    """Without a store: how the file is written, what its columns are, and its first points."""
    rows = "".join(f"{day};AAPL;{place},5\n" for place, day in enumerate(DAYS))
    path = text_file(tmp_path / "a.csv", ("Datum;Symbol;Kurs\n" + rows).encode("utf-16"))
    (found,) = preview(Plan([str(path)], "A", "Kurs"))
    look = found.look
    assert (look.format, look.encoding, look.delimiter, look.header) == ("csv", "utf-16", ";", True)
    assert (look.numerals, look.names) == (Numerals(",", None), ["Datum", "Symbol", "Kurs"])
    assert (look.times, look.order, look.first_time, look.last_time) == (
        ["Datum"], "oldest first", DAYS[0], DAYS[-1]
    )  # fmt: skip
    assert (look.symbol, look.symbols, look.prices, look.doubts) == ("Symbol", ["AAPL"], ["Kurs"], [])
    assert found.points == [(place + 1, "A", place + 0.5) for place in range(5)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]


def test_a_preview_lists_each_doubt_with_its_options(tmp_path: Path) -> None:
    """All of them, where an import names the first."""
    rows = "".join(f'{day},"1,234"\n' for day in reversed(DAYS))
    path = text_file(tmp_path / "a.csv", "Date,price\n" + rows)
    (found,) = preview(Plan([str(path)], "A"))
    options = [[choice.option for choice in doubt.choices] for doubt in found.look.doubts]
    assert options == [["--reverse", "--no-reverse"], ["--decimal ,", "--thousands ,"]]
    assert found.points == []
    (found,) = preview(Plan([str(path)], "A", reverse=True, thousands=","))
    assert (found.look.doubts, found.points[0]) == ([], (28, "A", 1234.0))


def test_a_doubt_about_the_last_file_is_met_before_the_first_is_stored(store: Store, tmp_path: Path) -> None:
    """Each file is looked at first."""
    good = text_file(tmp_path / "a.csv", "price\n1\n")
    doubtful = text_file(tmp_path / "b.csv", "bid,ask\n1,2\n")
    with pytest.raises(Doubtful, match="no column is called 'price'"):
        bring(store, good, doubtful)
    assert store.symbols() == []


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.5", "2"], [(".", None)]),
        (["1,5", "2"], [(",", None)]),
        (["1,234"], [(",", None), (".", ",")]),
        (["1,234", "999"], [(",", None), (".", ",")]),
        (["1,234", "1.5"], [(".", ",")]),
        (["1,234,567"], [(".", ",")]),
        (["12,34,567.5"], [(".", ",")]),
        (["1.234,5", "1,5"], [(",", ".")]),
        (["1.234.567"], [(",", ".")]),
        (["1 234,5", "7"], [(",", " ")]),
        (["1\u202f234.5"], [(".", " ")]),
        (["1'234.50"], [(".", "'")]),
        (["1,5", "1.5"], []),
        (["x", ""], [(".", None)]),
        (["nan", "1,5e3"], [(",", None)]),
    ],
)
def test_numbers_are_read_in_every_way_that_fits_all_of_them(
    cells: list[str], expected: list[tuple[str, str | None]]
) -> None:
    """One way is certain, two are a question."""
    assert readings(cells) == [Numerals(*way) for way in expected]


def test_a_mark_between_thousands_stands_between_thousands(store: Store, tmp_path: Path) -> None:
    """1,5 is not 15, whatever was said: such a row is a bad one."""
    path = text_file(tmp_path / "a.csv", 'price\n"1,234.5"\n"1,5"\n"2,345"\n')
    report = bring(store, path, thousands=",", skip_bad=True)
    assert store.window("A", 10).tolist() == [1234.5, 2345.0]
    assert report.progress.skipped == 1


def test_a_number_in_the_place_of_a_name_is_asked_for(store: Store, tmp_path: Path) -> None:
    """Column 2 may be the second one, or one that is called 2; the option decides."""
    path = text_file(tmp_path / "a.csv", "1,2\n3,4\n5,6\n")
    with pytest.raises(Doubtful, match="--no-header"):
        bring(store, path, column="2")
    bring(store, path, column="2", header=False)
    bring(store, path, column="2", header=True, symbol="B")
    assert store.window("A", 10).tolist() == [2.0, 4.0, 6.0]
    assert store.window("B", 10).tolist() == [4.0, 6.0]


def test_names_of_columns_may_differ_in_case_and_space(store: Store, tmp_path: Path) -> None:
    """But where two of them do only by that, the exact one is meant, or none."""
    path = text_file(tmp_path / "a.csv", "close,CLOSE, Bid Size \n1,2,3\n")
    bring(store, path, column="CLOSE")
    bring(store, path, column="bid size")
    with pytest.raises(UnreadableFile, match="2 columns are called 'Close'"):
        bring(store, path, column="Close")
    assert store.window("A", 10).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("name", ["a.parquet", "a.json", "a.xlsx"])
def test_several_columns_go_to_several_series(store: Store, tmp_path: Path, name: str) -> None:
    """Of every format that has columns; a bad price of one takes the row from all."""
    frame = pd.DataFrame({"bid": [1.0, 2.0, -3.0], "ask": [1.5, 2.5, 3.5]})
    content = {
        "a.parquet": parquet(frame),
        "a.json": frame.to_json(orient="records").encode(),
        "a.xlsx": workbook({"A": [["bid", "ask"], *frame.to_numpy().tolist()]}),
    }[name]
    path = text_file(tmp_path / name, content)
    columns = (("bid", "E.bid"), ("ask", "E.ask"))
    report = bring(store, path, symbol=None, columns=columns, skip_bad=True)
    assert (report.totals, report.progress.skipped) == ({"E.bid": 2, "E.ask": 2}, 1)
    assert store.window("E.ask", 10).tolist() == [1.5, 2.5]


def test_prices_of_a_fixed_scale_are_divided(store: Store, tmp_path: Path) -> None:
    """Each quotient is the float64 nearest to the price."""
    path = text_file(tmp_path / "a.csv", "price\n5853300\n1\n")
    bring(store, path, divide_by=10_000.0)
    assert store.window("A", 10).tolist() == [585.33, 0.0001]


def test_what_stands_for_no_price_is_left_out_and_counted(store: Store, tmp_path: Path) -> None:
    """As text, as a number however it is written, in any format; what was not named is a bad row."""
    path = text_file(tmp_path / "a.csv", "price\n1\nnull\n9999999999.0\n2\n")
    report = bring(store, path, no_price=("null", "9999999999"))
    assert (report.progress.absent, report.progress.rows) == (2, 4)
    path = text_file(tmp_path / "a.ndjson", '{"price":3}\n{"price":null}\n')
    bring(store, path, no_price=("null",))
    assert store.window("A", 10).tolist() == [1.0, 2.0, 3.0]


def test_files_of_a_folder_are_taken_in_their_natural_order(store: Store, tmp_path: Path) -> None:
    """Folders below it too; what is hidden, or has no known suffix, is no data."""
    for number in (10, 9, 1):
        text_file(tmp_path / f"part-{number}.csv", f"price\n{number}\n")
    (tmp_path / "sub").mkdir()
    text_file(tmp_path / "sub" / "a.csv", "price\n100\n")
    for name in ("_SUCCESS.csv", ".hidden.csv", "README"):
        text_file(tmp_path / name, "price\n7\n")
    bring(store, tmp_path)
    bring(store, f"{tmp_path}/part-*.csv")
    assert store.window("A", 10).tolist() == [1.0, 9.0, 10.0, 100.0, 1.0, 9.0, 10.0]
    with pytest.raises(UnreadableFile, match="no file has a name like this"):
        bring(store, f"{tmp_path}/nothing-*.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableFile, match="holds no file whose name tells a format"):
        bring(store, tmp_path / "empty")


def test_a_damaged_archive_is_refused(store: Store, tmp_path: Path) -> None:
    """Also where only one of its files is."""
    content = zipped({"a.csv": b"price\n" + b"1.5\n" * 100})
    damaged = text_file(tmp_path / "a.zip", content[:60] + b"\0\0\0" + content[63:])
    with pytest.raises(UnreadableFile, match=r"a\.zip"):
        bring(store, damaged)
    with pytest.raises(UnreadableFile, match="is a damaged ZIP archive"):
        bring(store, text_file(tmp_path / "b.zip", content[:-30]))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("readme.md", "nothing")
    with pytest.raises(UnreadableFile, match="holds no file whose name tells a format"):
        bring(store, tmp_path / "c.zip")


def test_a_file_name_that_is_no_utf8_is_taken(store: Store, tmp_path: Path) -> None:
    """As the file system has it."""
    name = os.fsencode(tmp_path) + b"/\xff.csv"
    with open(name, "wb") as file:  # noqa: PTH123 - a Path takes no bytes
        file.write(b"price\n1\n")
    bring(store, os.fsdecode(name))
    assert bring(store, os.fsdecode(name), resume=True).already


def test_symbols_past_the_limit_are_refused_before_anything_is_stored(tmp_path: Path) -> None:
    """Where the first rows name them; a dry run finds all of them, and says the same."""
    path = text_file(tmp_path / "a.csv", "symbol,price\nX,1\nY,2\nZ,3\n")
    plan = Plan([str(path)], None, symbol_column="symbol")
    limits = Limits(max_symbols=2, starting_capacity=0, chunk_points=64)
    with Store(tmp_path / "data", limits=limits) as store:
        with pytest.raises(SymbolLimitReached, match=r"of at most 2 symbols \(store.max_symbols\).*nothing was stored"):
            import_files(plan, StoreSink(store))
        assert store.symbols() == []
    with pytest.raises(SymbolLimitReached, match=r"store\.max_symbols"):
        import_files(plan, None, room=Room(frozenset({"Q"}), 3))
    assert import_files(plan, None, room=Room(frozenset({"X"}), 3)).progress.stored == 3


@pytest.mark.usefixtures("small_pieces")
def test_a_symbol_past_the_limit_in_a_later_block_says_what_was_stored(tmp_path: Path) -> None:
    """And the import goes on once the limit is raised."""
    path = text_file(tmp_path / "a.csv", "symbol,price\n" + "X,1\n" * 2000 + "Y,2\n")
    plan = Plan([str(path)], None, symbol_column="symbol")
    with (
        Store(tmp_path / "data", limits=Limits(max_symbols=1, starting_capacity=0, chunk_points=64)) as store,
        pytest.raises(SymbolLimitReached, match=r"the [0-9]+ points stored before that stay"),
    ):
        import_files(plan, StoreSink(store))
    with Store(tmp_path / "data", limits=Limits(max_symbols=2, starting_capacity=0, chunk_points=64)) as store:
        report = import_files(plan, StoreSink(store), resume=True)
    assert report.totals == {"X": 2000, "Y": 1}
    assert report.progress.found > 0


RESUMED: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "columns": (
        "a.csv", b"bid;ask\n" + b"1,5;2,5\n3,25;4,5\n" * 9,
        {"symbol": None, "columns": (("bid", "A"), ("ask", "B"))},
    ),
    "thousands": ("a.csv", b'price\n"1,234.5"\n"2,000.25"\n' * 1 + b'"3,000"\n"4"\n' * 9, {}),
    "comments": ("a.csv", b"# note\nprice\n" + b"1\n# note\n2\n" * 9, {"comment": "#"}),
    "utf-16": ("a.csv", ("price\n" + "1\n2\n3\n" * 9).encode("utf-16"), {}),
    "archive": ("a.zip", zipped({f"{n}.csv": f"price\n{n}\n{n}.5\n".encode() for n in range(9)}), {}),
    "no price": ("a.csv", b"price\n" + b"10000\n-\n20000\n" * 9, {"no_price": ("-",), "divide_by": 10_000.0}),
    "reversed": (
        "a.csv", b"Date,price\n" + b"".join(f"{day},{i}\n".encode() for i, day in enumerate(DAYS[::-1])),
        {"reverse": True},
    ),
    "array": ("a.json", b"[" + b",".join(b"%d" % n for n in range(1, 30)) + b"]", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", RESUMED)
@given(
    pieces=st.lists(st.integers(0, 3), max_size=3), sizes=st.lists(st.sampled_from([1, 3, 16]), min_size=4, max_size=4)
)
@settings(max_examples=6)
def test_an_import_that_was_stopped_goes_on_with_every_option(name: str, pieces: list[int], sizes: list[int]) -> None:
    """Each point is there once, however the batches are cut, and whatever is done to the file on the way."""
    file, content, options = RESUMED[name]
    options = {"symbol": "A", **options}
    with scratch() as place, pytest.MonkeyPatch.context() as patch:
        path = text_file(Path(place, file), content)
        with Store(f"{place}/whole", limits=LIMITS) as store:
            bring(store, path, **options)
            expected = {symbol: store.window(symbol, 1000).tolist() for symbol in store}
        with Store(f"{place}/data", limits=LIMITS) as store:
            for count, size in zip([*pieces, None], sizes, strict=False):
                patch.setattr(lines, "BLOCK_BYTES", 20 * size)
                for module in (tables, arrays):
                    patch.setattr(module, "BATCH_ROWS", size)
                patch.setattr(records, "PIECE_ROWS", size)
                stop, tell = stop_after(1000 if count is None else count)
                plan = Plan([str(path)], **options)
                report = import_files(plan, StoreSink(store), resume=True, stop=stop, tell=tell)
            assert report.complete
            assert {symbol: store.window(symbol, 1000).tolist() for symbol in store} == expected


@pytest.mark.parametrize(
    ("cell", "hint", "options"),
    [
        ('"1,234.5"', "--thousands ','", {"thousands": ","}),
        ("9999999999", "--no-price 9999999999", {"no_price": ("9999999999",)}),
        ("null", "is no number", {"no_price": ("null",)}),
    ],
)
@pytest.mark.usefixtures("small_pieces")
def test_who_was_told_of_an_option_goes_on_with_it(
    store: Store, tmp_path: Path, cell: str, hint: str, options: dict[str, Any]
) -> None:
    """The import is the same one: what was stored before the bad row is not stored again."""
    path = text_file(tmp_path / "a.csv", "price\n" + "1.5\n" * 2000 + f"{cell}\n2\n")
    with pytest.raises(BadRow, match=hint):
        bring(store, path)
    assert store.series("A").total > 0
    with pytest.raises(ImportConflict, match="--resume goes on"):
        bring(store, path, **options)
    bring(store, path, resume=True, **options)
    assert store.series("A").total == 2001 + ("thousands" in options)


def walk(count: int, seed: int = 0) -> list[float]:
    """Return prices that go up and down."""
    return list(map(float, np.round(100 + np.cumsum(np.random.default_rng(seed).normal(0, 1, count)), 2)))


def as_text(prices: list[float], name: str = "price") -> str:
    """Return a CSV of one column."""
    return f"{name}\n" + "".join(f"{price}\n" for price in prices)


@pytest.mark.parametrize("begin", [0, 30, 392])
@pytest.mark.usefixtures("small_pieces")
def test_of_a_file_that_has_grown_only_what_is_new_is_taken(store: Store, tmp_path: Path, begin: int) -> None:
    """Whether it begins where it did or later, once and then again; nothing of it is stored twice."""
    prices = walk(500)
    path = text_file(tmp_path / "a.csv", as_text(prices[:400]))
    bring(store, path)
    text_file(path, as_text(prices[begin:450]))
    report = bring(store, path, append_new=True)
    assert (report.progress.stored, report.progress.found) == (50, 400 - begin)
    assert bring(store, path, append_new=True).progress.stored == 0
    text_file(path, as_text(prices[begin:]))
    assert bring(store, path, append_new=True).progress.stored == 50
    assert store.window("A", 1000).tolist() == prices


def test_new_points_of_several_series_are_found_each_by_itself(store: Store, tmp_path: Path) -> None:
    """And a series that did not exist takes all."""
    first, second, third = walk(60, 1), walk(60, 2), walk(20, 3)

    def rows(symbol: str, prices: list[float]) -> str:
        return "".join(f"{symbol},{price}\n" for price in prices)

    path = text_file(tmp_path / "a.csv", "symbol,price\n" + rows("A", first[:40]) + rows("B", second[:30]))
    bring(store, path, symbol=None, symbol_column="symbol")
    text_file(path, "symbol,price\n" + rows("C", third) + rows("A", first[20:]) + rows("B", second))
    bring(store, path, symbol=None, symbol_column="symbol", append_new=True)
    assert [store.window(symbol, 100).tolist() for symbol in "ABC"] == [first, second, third]


@pytest.mark.parametrize(
    ("stored", "file", "message"),
    [
        (walk(50), walk(50, 9), "are nowhere in the files"),
        (walk(50), walk(100)[60:], "are nowhere in the files"),
        (walk(50), walk(100)[46:], "do not say for certain"),
        ([5.0] * 50, [5.0] * 60, "do not say for certain"),
        ([1.0, 2.0] * 30, [1.0, 2.0] * 40, "do not say for certain"),
        (walk(3), walk(6), "do not say for certain"),
    ],
)
def test_where_new_points_begin_has_to_be_certain(
    store: Store, tmp_path: Path, stored: list[float], file: list[float], message: str
) -> None:
    """Another file, a gap, too few points, or prices that stand still or repeat: nothing is appended."""
    store.append("A", stored)
    path = text_file(tmp_path / "a.csv", as_text(file))
    before = store.series("A").total
    with pytest.raises(ImportConflict, match=message):
        bring(store, path, append_new=True)
    assert store.series("A").total == before


@given(
    stored=st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=60), begin=st.integers(0, 60),
    new=st.lists(st.sampled_from([1.0, 2.0, 3.0]), max_size=20), cut=st.integers(1, 30),
)  # fmt: skip
def test_an_overlap_is_a_place_where_the_points_are(
    stored: list[float], begin: int, new: list[float], cut: int
) -> None:
    """However the values are cut: what is called known does end with the newest points."""
    values = np.array(stored[begin:] + new)
    overlap = Overlap("A", Ticks(np.array(stored)))
    for place in range(0, len(values), cut):
        overlap.feed(Ticks(values[place : place + cut]))
    try:
        known = overlap.new_from()
    except ImportConflict:
        return
    length = min(known, len(stored))
    assert values[known - length : known].tolist() == stored[len(stored) - length :]


def test_what_comes_once_has_no_new_part(store: Store) -> None:
    """A pipe can't be read twice, and is refused."""
    with pytest.raises(UnreadableFile, match="--append-new reads files twice"):
        bring(store, "-", append_new=True, format="csv")
