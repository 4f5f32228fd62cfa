"""Files that hold something else than prices: each is refused with the reason, or its bad rows are named."""

import decimal
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from hft_mmap import Store
from hft_mmap.transfer import BadRow, UnreadableFile
from tests.hft_mmap.transfer.files import bits, bring, text_file
from tests.hft_mmap.transfer.vendors import workbook

Write = Callable[[Path], None]


def text(content: str | bytes) -> Write:
    """Return what writes `content`."""
    return lambda path: void(text_file(path, content))


def array(values: Any, *, cut: int = 0) -> Write:
    """Return what writes a .npy file, and takes `cut` bytes off its end."""

    def write(path: Path) -> None:
        np.save(path, values)
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])

    return write


def table(**columns: Any) -> Write:
    """Return what writes a Parquet file."""
    return lambda path: pyarrow.parquet.write_table(pa.table(columns), path)


def void(_: object) -> None:
    """Return nothing."""


PRICES_SHEET = workbook({"A": [["price"], [1.5]]})
FIELDS = np.array([(1.5, 2.5)], dtype=[("bid", "<f8"), ("ask", "<f8")])
UNREADABLE: list[tuple[str, Write, dict[str, Any], str]] = [
    ("a.npy", text(b"\x93NUMPX" + bytes(100)), {}, "is no .npy file"),
    ("a.npy", array(np.ones((2, 2))), {}, "has the shape (2, 2)"),
    ("a.npy", array(FIELDS), {}, "no field is called 'price'; there are: bid, ask"),
    ("a.npy", array(np.array(["1", "2"])), {}, "prices must be real numbers, not <U1"),
    ("a.npy", array(np.array([1 + 2j])), {}, "prices must be real numbers, not complex128"),
    ("a.npy", array(np.ones(3)), {"column": "price"}, "an array without fields has no columns"),
    ("a.npy", array(np.ones(3), cut=8), {}, "ends 1 values before the 3"),
    ("a.npy", array(np.ones(3), cut=4), {}, "ends 1 values before the 3"),
    ("a.f64", text(bytes(12)), {}, "ends in the middle of a value: 4 bytes too many"),
    ("a.f64", text(bytes(8)), {"column": "price"}, "has no columns, so none is called 'price'"),
    ("a.parquet", table(price=["1.5"]), {}, "prices must be numbers, the column 'price' is of type string"),
    ("a.parquet", table(price=[True]), {}, "is of type bool"),
    ("a.parquet", table(bid=[1.0], ask=[2.0]), {}, "no column is called 'price'; there are: bid, ask"),
    ("a.parquet", table(price=[1.0], ticker=[7]), {"symbol_column": "ticker"}, "symbols must be text, the column"),
    (
        "a.parquet",
        table(price=[1.0]),
        {"symbol_column": "price", "column": "price"},
        "of prices and of symbols at once",
    ),
    ("a.parquet", text(b"no table"), {}, "a.parquet"),
    ("a.parquet.gz", text(gzip.compress(b"PAR1")), {}, "nor compressed as a whole"),
    ("a.csv", text("price,price\n1,2\n"), {}, "2 columns are called 'price'"),
    ("a.csv", text("a,b\n1,2\n"), {"column": "c"}, "no column is called 'c'; there are: a, b"),
    ("a.csv.gz", text(gzip.compress(b"price\n1\n")[:-9]), {}, "a.csv.gz"),
    ("a.csv", text("price\n1\n"), {"skip_rows": 9}, "is empty behind the 9 rows that --skip-rows leaves out"),
    ("a.xlsx", text("price\n1\n"), {}, "is no workbook that can be read"),
    ("a.xlsx", text(PRICES_SHEET), {"skip_rows": 9}, "has no row behind the 9 that --skip-rows leaves out"),
    ("a.xlsx", text(workbook({"A": [["", None]]})), {}, "the sheet has no row"),
]


@pytest.mark.parametrize(("name", "write", "options", "reason"), UNREADABLE, ids=[str(one[3]) for one in UNREADABLE])
def test_a_file_that_is_none_of_prices_is_refused(
    store: Store, tmp_path: Path, name: str, write: Write, options: dict[str, Any], reason: str
) -> None:
    """With its name and the reason; of one that ends too early, the whole values before its end are stored."""
    write(tmp_path / name)
    symbol = None if options.get("symbol_column") else "A"
    with pytest.raises(UnreadableFile) as refusal:
        bring(store, tmp_path / name, symbol=symbol, **options)
    assert str(tmp_path / name) in str(refusal.value)
    assert reason in str(refusal.value)
    assert [info.total for info in store.symbols()] == (
        [2] if "ends 1" in reason else [1] if "middle" in reason else []
    )


def test_a_workbook_is_read_as_what_it_is_whatever_its_name_says(store: Store, tmp_path: Path) -> None:
    """Many a program writes the newer kind under the older name."""
    path = text_file(tmp_path / "a.xls", PRICES_SHEET)
    assert bring(store, path).totals == {"A": 1}
    assert bits(store.window("A", 1)) == bits([1.5])


NULLS = pa.array([1.0, None])
BAD_ROWS: list[tuple[str, Write, int, str]] = [
    ("a.ndjson", text('{"price":1}\n\nnot json\n'), 2, "'not json' is no JSON"),
    ("a.ndjson", text(b'{"price":1}\n\xff\n'), 2, "is no JSON"),
    ("a.ndjson", text('{"price":1}\n[1]\n'), 2, "'[1]' is no JSON object"),
    ("a.ndjson", text('{"price":1}\n{"bid":1,"ask":2}\n'), 2, "no member is called 'price'; there are: bid, ask"),
    ("a.ndjson", text('{"price":1}\n{"price":"2"}\n'), 2, "'2' is no number"),
    ("a.ndjson", text('{"price":1}\n{"price":null}\n'), 2, "null is no number"),
    ("a.ndjson", text('{"price":1}\n{"price":-1}\n'), 2, "a price must be finite, at least 0"),
    ("a.parquet", table(price=NULLS), 2, "null is no number"),
    ("a.parquet", table(price=pa.array([1, None], pa.int32())), 2, "null is no number"),
    ("a.parquet", table(price=pa.nulls(1)), 1, "null is no number"),
    ("a.parquet", table(price=NULLS.dictionary_encode()), 2, "null is no number"),
]


@pytest.mark.parametrize(("name", "write", "row", "found"), BAD_ROWS, ids=[f"{one[0]} {one[3]}" for one in BAD_ROWS])
def test_a_row_that_is_no_price_is_named(
    store: Store, tmp_path: Path, name: str, write: Write, row: int, found: str
) -> None:
    """By file and row, blank lines not counted, with what stands there; or it is counted and skipped."""
    write(tmp_path / name)
    with pytest.raises(BadRow) as refusal:
        bring(store, tmp_path / name)
    assert (refusal.value.file, refusal.value.row) == (str(tmp_path / name), row)
    assert found in refusal.value.found
    report = bring(store, tmp_path / name, skip_bad=True, symbol="B")
    assert (report.progress.skipped, report.progress.stored) == (1, row - 1)


def test_a_line_without_a_symbol_is_named(store: Store, tmp_path: Path) -> None:
    """A symbol is a text; whatever else stands there is no row."""
    path = text_file(
        tmp_path / "a.ndjson", '{"s":"A","price":1}\n{"s":7,"price":2}\n{"price":3}\n{"s":"B","price":4}\n'
    )
    with pytest.raises(BadRow, match="row 2: the member 's' is no text: 7"):
        bring(store, path, symbol=None, symbol_column="s")
    report = bring(store, path, symbol=None, symbol_column="s", skip_bad=True)
    assert (report.totals, report.progress.skipped) == ({"A": 1, "B": 1}, 2)


def test_numbers_of_every_type_are_prices(store: Store, tmp_path: Path) -> None:
    """Each is rounded once: a decimal of 150.1 is the float64 nearest to it. A field of records is a column."""
    exact = [decimal.Decimal("150.1"), decimal.Decimal("0.3")]
    columns = {
        "decimal": pa.array(exact, pa.decimal128(10, 1)),
        "half": pa.array(np.array([150.0, 0.5], np.float16)),
        "small": pa.array([150, 7], pa.uint8()),
        "coded": pa.array([150.1, 0.3]).dictionary_encode(),
    }
    expected = {"decimal": [150.1, 0.3], "half": [150.0, 0.5], "small": [150.0, 7.0], "coded": [150.1, 0.3]}
    table(**columns)(tmp_path / "a.parquet")
    for column, values in expected.items():
        bring(store, tmp_path / "a.parquet", symbol=column, column=column)
        assert store.window(column, 10).tolist() == values
    array(FIELDS)(tmp_path / "a.npy")
    bring(store, tmp_path / "a.npy", symbol="ask", column="ask")
    assert store.window("ask", 10).tolist() == [2.5]
    np.save(tmp_path / "version2.npy", np.array([1.5]))
    with (tmp_path / "version2.npy").open("wb") as file:
        np.lib.format.write_array(file, np.array([1.5, 2.5], ">f4"), version=(2, 0))
    bring(store, tmp_path / "version2.npy", symbol="old")
    assert store.window("old", 10).tolist() == [1.5, 2.5]
