"""CSV, as people and programs write it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_mmap import Store
from hft_mmap.transfer import BadRow, Plan, Progress, StoreSink, UnreadableFile, import_files, lines
from hft_mmap.transfer.lines import end_of_rows
from tests.hft_mmap.transfer.files import bring, text_file

PRICES = [1.5, 2.0, 3.25]


@pytest.mark.parametrize(
    "text",
    [
        "price\n1.5\n2\n3.25\n",
        "price\n1.5\n2\n3.25",
        "price\r\n1.5\r\n2\r\n3.25\r\n",
        "\ufeffprice\n1.5\n2\n3.25\n",
        '\ufeff"price"\n"1.5"\n"2"\n"3.25"\n',
        "\n\nprice\n\n1.5\n\n2\n3.25\n\n",
        "n,price\n1,1.5\n2, 2 \n3,3.25\n",
        'name,price\n"a\nb",1.5\n"c,d",2\n"e""f",3.25\n',
        "price,price2\n1.5,x\n2,y\n3.25,z\n",
        'price,"a ""quoted""\nname"\n1.5,x\n2,y\n3.25,z\n',
        "value\n1.5\n+2\n32.5e-1\n",
        "price\n1.50000000000000000000000\n2.\n3.25\n",
        "a,price\n\xff,1.5\n\xfe,2\n\xfd,3.25\n".encode("latin-1"),
        "price,b\n1.5,\n2,\n3.25,\n",
        "price\r1.5\r2\r3.25\r",
        "price\r1.5\n2\n3.25\n",
        "price\r\n1.5\r2\n3.25",
        'name,price\r"a\rb",1.5\r"c",2\r"",3.25\r',
        "1.5\n2\n3.25\n",
        "\ufeff1.5\r\n2\r\n3.25",
        '"1.5"\n"2"\n"3.25"\n',
    ],
)
@pytest.mark.parametrize("block_bytes", [4, 1 << 20])
def test_dialects(
    store: Store, tmp_path: Path, text: str | bytes, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte order mark, CRLF, quotes, line ends in quotes, space, blank lines, other encodings in other columns."""
    monkeypatch.setattr(lines, "BLOCK_BYTES", block_bytes)
    bring(store, text_file(tmp_path / "a.csv", text))
    assert store.window("A", 10).tolist() == PRICES


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"delimiter": ";"}, "a;price\nx;1.5\ny;2\nz;3.25\n"),
        ({"delimiter": "\t"}, "a\tprice\nx\t1.5\ny\t2\nz\t3.25\n"),
        ({"column": "Adj Close"}, "Close,Adj Close\n9,1.5\n9,2\n9,3.25\n"),
        ({"header": False, "column": "2"}, "x,1.5\ny,2\nz,3.25\n"),
        ({"header": False}, "1.5\n2\n3.25\n"),
        ({"column": "2024"}, "2023,2024\n9,1.5\n9,2\n9,3.25\n"),
        ({"column": "2024"}, "2024\n1.5\n2\n3.25\n"),
    ],
)
def test_options(store: Store, tmp_path: Path, options: dict[str, object], text: str) -> None:
    """Another delimiter, another column, no header."""
    bring(store, text_file(tmp_path / "a.csv", text), **options)  # type: ignore[arg-type]
    assert store.window("A", 10).tolist() == PRICES


def test_a_tsv_has_tabs(store: Store, tmp_path: Path) -> None:
    """Nothing has to be said about it."""
    bring(store, text_file(tmp_path / "a.tsv", "a,b\tprice\nx\t1.5\n"))
    assert store.window("A", 10).tolist() == [1.5]


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("x", "'x' is no number"),
        ("", "'' is no number"),
        ("1_000", "'1_000' is no number"),
        ("1,5", "3 cells in place of 2: '7,1,5'"),
        ('"1,5"', "'1,5' is no number"),
        ("-1", r"-1\.0: a price must be"),
        ("-1e-300", "-1e-300: a price must be"),
        ("nan", "nan: a price must be"),
        ("inf", "inf: a price must be"),
        ("1e999", "inf: a price must be"),
        ("1e141", r"1e\+141: a price must be"),
        ("true", "'true' is no number"),
        ("null", "'null' is no number"),
        ("0x10", "'0x10' is no number"),
        ("٣", "'٣' is no number"),
        ("1.5.1", "'1.5.1' is no number"),
    ],
)
@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
def test_what_is_no_price_is_refused_with_its_row(
    store: Store, tmp_path: Path, cell: str, found: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows count from 1, the header and blank lines not counted."""
    monkeypatch.setattr(lines, "BLOCK_BYTES", block_bytes)
    path = text_file(tmp_path / "a.csv", "n,price\n" + "7,1.5\n" * 9 + "\n" + f"7,{cell}\n" + "7,1.5\n" * 9)
    with pytest.raises(BadRow, match=f"row 10: {found}"):
        bring(store, path)


def test_a_row_with_too_few_cells_is_a_bad_row(store: Store, tmp_path: Path) -> None:
    """The first of several bad rows is told, whatever is wrong with it."""
    path = text_file(tmp_path / "a.csv", "n,price\n1,2\n3\n4,x\n")
    with pytest.raises(BadRow, match="row 2: 1 cell in place of 2: '3'"):
        bring(store, path)
    assert bring(store, path, skip_bad=True, resume=True).progress.skipped == 2


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n", {}, "no column is called 'price'; there are: a, b"),
        ("a,b\n1,2\n", {"column": "c"}, "no column is called 'c'; there are: a, b"),
        ("a|b;price\n1|2;3\n", {}, r"';' and '\|' cut its rows into cells alike: --delimiter says"),
        ("a;price\nb\nc\n", {}, "the first row is one cell, 'a;price': --delimiter says"),
        ("1\t2\n", {"header": False}, "no column is called 'price'; there are: 1, 2; --column names"),
        ("1,1.5\n2,2.5\n", {}, "the first row has the number '1', so it may be data: --no-header"),
        ("AAPL,1.5\nAAPL,2.5\n", {"symbol_column": "AAPL"}, "the number '1.5', so it may be data: --no-header"),
        ("price,price\n1,2\n", {}, "2 columns are called 'price'"),
        ("", {}, "is empty; a CSV begins with the names of its columns"),
        (b"\xff\xfe\x00", {}, "is not in utf-16: .* truncated data"),
        (b"\xff\xe9price\n1\n", {}, "the first line can't be read as CSV in UTF-8: .* --encoding latin-1"),
        ("price\n1\n", {"delimiter": ";;"}, "the first line can't be read as CSV"),
        ("price\n1\n", {"symbol_column": "price"}, "cannot be the column of prices and of symbols at once"),
    ],
)
def test_a_file_that_can_not_be_read_is_refused(
    store: Store, tmp_path: Path, text: str | bytes, options: dict[str, object], message: str
) -> None:
    """With its name, and what there is instead."""
    path = text_file(tmp_path / "a.csv", text)
    with pytest.raises(UnreadableFile, match=message) as error:
        bring(store, path, **options)  # type: ignore[arg-type]
    assert str(error.value).startswith(str(path))
    assert store.symbols() == []


def test_a_quote_that_is_never_closed_ends_with_a_hint(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not with a file of any size in memory."""
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 1000)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 100)
    path = text_file(tmp_path / "a.csv", 'name,price\n"x,1\n' + "x,1\n" * 1000)
    with pytest.raises(UnreadableFile, match="is a double quote never closed"):
        bring(store, path)


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        'name,price\n"x,1\n' + "x,1\n" * 1000,
        'name,price\nx,1\n"x,1\n' + "x,1\n" * 1000 + '"y,3\n',
        'name,price\r"x,1\r' + "x,1\r" * 1000,
    ],
)
def test_a_quote_that_is_never_closed_swallows_no_rows(
    store: Store, tmp_path: Path, text: str, *, skip_bad: bool
) -> None:
    """Such a file is refused, bad rows skipped or not: what the quote swallows is no bad row."""
    with pytest.raises(UnreadableFile, match="a double quote is never closed"):
        bring(store, text_file(tmp_path / "a.csv", text), skip_bad=skip_bad)
    assert store.symbols() == []


def test_a_file_that_gets_shorter_while_it_is_read_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not called complete: nobody knows how many rows are missing."""
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1000)
    path = text_file(tmp_path / "a.csv", "price\n" + "1.5\n" * 10_000)

    def shorten(progress: Progress) -> None:
        if progress.rows:
            os.truncate(path, 20_000)

    with pytest.raises(UnreadableFile, match="got shorter while it was read, from 40006 bytes to 20000"):
        import_files(Plan([str(path)], "A"), StoreSink(store), tell=shorten)


@pytest.mark.parametrize(("suffix", "magic"), [(".gz", b"\x1f\x8b\x08\x00"), (".zst", b"\x28\xb5\x2f\xfd")])
def test_a_compressed_file_that_is_damaged_is_refused(store: Store, tmp_path: Path, suffix: str, magic: bytes) -> None:
    """Cut short, or no such file at all."""
    for text in (magic, b"price\n1\n"):
        with pytest.raises(UnreadableFile, match=r"a\.csv"):
            bring(store, text_file(tmp_path / f"a.csv{suffix}", text))


@given(st.lists(st.sampled_from(["a", ",", "\n", '"'])).map("".join))
def test_blocks_end_at_line_ends_outside_of_quotes(text: str) -> None:
    """The last one of them, however many there are."""
    block = text.encode()
    ends = [i + 1 for i, c in enumerate(text) if c == "\n"]
    assert end_of_rows(block, quotes=False) == max(ends, default=0)
    outside = [end for end in ends if block[:end].count(b'"') % 2 == 0]
    assert end_of_rows(block, quotes=True) == max(outside, default=0)
