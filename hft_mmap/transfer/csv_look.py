"""How a CSV is written, told by its first rows: what stands between cells, whether it names columns, its numbers."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.formats import plain_suffix
from hft_mmap.transfer.look import Choice, Look
from hft_mmap.transfer.numerals import COMMA, PLAIN, POINT, Numerals, is_number, points_may_be_thousands, readings
from hft_mmap.transfer.order import SAMPLE_ROWS, are_times
from hft_mmap.transfer.rows import shown
from hft_mmap.transfer.source import Source
from hft_mmap.transfer.survey import DEFAULT_COLUMN, Layout, Sample, listed, plain, survey
from hft_mmap.transfer.text import LATIN1, UTF8
from hft_mmap.transfer.wanted import Wanted

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_BYTES = 1 << 18
_LINE_END = re.compile(rb"\r\n?|\n")
_SEPARATOR_LINE = re.compile(rb'"?sep=(.)"?(?:\r\n|\n|\r)', re.IGNORECASE)
_MAX_TITLE_LINES = 30
NO_HEADER = Choice("--no-header", "the first row is data", "header", False)
HEADER = Choice("--header", "the first row has the names of the columns", "header", True)


class Shape(NamedTuple):
    """What a CSV is: so many cells a row, separated so, its numbers written so; where its rows begin in a block."""

    cells: int
    delimiter: str
    layout: Layout
    numerals: Numerals
    begin: int


def shape_of(source: Source, block: bytes, wanted: Wanted) -> Shape:
    """Find out how a CSV is written whose first rows are in `block`; UnreadableFile. Doubts go into the look."""
    look = source.look
    begin = 0
    delimiter = wanted.delimiter
    if delimiter is None and (found := _SEPARATOR_LINE.match(block)):  # as Excel writes it
        delimiter, begin = found[1].decode("latin-1"), found.end()
    sample = _sample(block[begin:])
    if delimiter is None:
        delimiter = _delimiter(sample, source)
    look.delimiter = delimiter
    end = begin + first_row_end(block[begin:])
    names = _first_row(block[begin:end], delimiter, source)
    rows = [row for row in _rows(sample, delimiter) if row]
    if len(rows) > 1 and all(len(row) == len(names) + 1 and not row[-1].strip() for row in rows[1:]):
        names.append("")  # each row ends with a delimiter, but for the first
        rows[0] = names
    _check_titles(names, rows, delimiter, wanted, look)
    look.header = wanted.header if wanted.header is not None else _has_header(names, wanted, look)
    if look.header:
        begin, rows = end, rows[1:]
    else:
        names = [str(number) for number in range(1, len(names) + 1)]
    whole = [row for row in rows if len(row) == len(names)][:SAMPLE_ROWS]
    _check_one_cell(names, delimiter, wanted, look)
    layout = survey(Sample(names, lambda place: [row[place] for row in whole]), wanted, look)
    numerals = wanted.text or _numerals(whole, layout, look)
    look.numerals = numerals
    cells = [cell for row in whole for place in layout.prices if (cell := row[place].strip())]
    look.whole_numbers = all(cell.lstrip("+-").isdigit() for cell in cells) if cells else None
    if look.encoding is None and layout.symbol is not None and not _is_text(whole, layout.symbol):
        look.doubt("symbols are not in UTF-8: --encoding latin-1, or another one, reads them", LATIN1)
    return Shape(len(names), delimiter, layout, numerals, begin)


def first_row_end(block: bytes) -> int:
    """Return where the first row of a block ends: behind LF, CRLF or a lone CR, none of them in quotes."""
    for found in _LINE_END.finditer(block):
        if block.count(b'"', 0, found.start()) % 2 == 0:
            return found.end()
    return len(block)


def _sample(block: bytes) -> str:
    """Return the first rows of a block as text, whole ones; bytes that are no UTF-8 stay what they are."""
    some = block[:_SAMPLE_BYTES]
    if len(some) < len(block):
        some = some[: max(some.rfind(b"\n"), some.rfind(b"\r")) + 1] or block
    return some.decode(errors="surrogateescape")


def _rows(sample: str, delimiter: str) -> list[list[str]]:
    """Return the rows of a sample, up to where it is no CSV."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            rows.append(row)
            if len(rows) > SAMPLE_ROWS:
                break
    except csv.Error:
        pass  # whoever reads all of it tells what is wrong
    return rows


def _first_row(line: bytes, delimiter: str, source: Source) -> list[str]:
    """Return the cells of the first row; UnreadableFile if it is no text, or has a delimiter of several characters."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        source.look.doubt(
            f"the first line can't be read as CSV in {UTF8}: {error}; --encoding latin-1, or another one, reads it",
            LATIN1,
        )
        source.look.settle()
        raise
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except (csv.Error, TypeError) as error:
        raise UnreadableFile(f"{source.name}: the first line can't be read as CSV: {error}") from error


def _delimiter(sample: str, source: Source) -> str:
    """Return what stands between cells: the only mark that cuts all rows into as many cells; a doubt if there are more.

    A comma where nothing cuts them: rows of one cell. A tab in .tsv.
    """
    if plain_suffix(source.plain_name) == ".tsv":
        return "\t"
    shares: dict[str, float] = {}
    for mark in DELIMITERS:
        lengths = Counter(len(row) for row in _rows(sample, mark) if row)
        (cells, rows), *_ = lengths.most_common(1) or [(0, 0)]
        if cells > 1:
            shares[mark] = rows / lengths.total()
    likely = [mark for mark, share in shares.items() if share == max(shares.values())]
    if len(likely) > 1:
        likely = [mark for mark in likely if _cuts_clean(sample, mark)] or likely
    if len(likely) > 1:
        source.look.doubt(
            f"{' and '.join(map(repr, likely))} cut its rows into cells alike: --delimiter says which one it is",
            *(Choice(f"--delimiter {mark!r}", "", "delimiter", mark) for mark in likely),
        )
    return likely[0] if likely else COMMA


def _cuts_clean(sample: str, mark: str) -> bool:
    """Return whether cells have no other delimiter in them; but for a comma, which may be a decimal mark.

    "1,5;2,5" cut at its commas leaves "5;2".
    """
    others = [other for other in DELIMITERS if other not in {mark, COMMA}]
    return not any(other in cell for row in _rows(sample, mark) for cell in row for other in others)


def _check_one_cell(names: list[str], delimiter: str, wanted: Wanted, look: Look) -> None:
    """Note a doubt where the first row is one cell that has what may be a delimiter."""
    if wanted.delimiter is None and len(names) == 1:
        other = next((mark for mark in DELIMITERS if mark != delimiter and mark in names[0]), None)
        if other is not None:
            look.doubts.clear()
            look.doubt(
                f"the first row is one cell, {shown(names[0])}: --delimiter says what stands between cells, as "
                f"--delimiter {other!r}; where it is one cell, --delimiter ','",
                Choice(f"--delimiter {other!r}", "several cells", "delimiter", other),
                Choice("--delimiter ','", "one cell", "delimiter", ","),
            )
            look.settle()


def _check_titles(
    names: list[str], rows: list[list[str]], delimiter: str, wanted: Wanted, look: Look
) -> None:  # fmt: skip
    """Note a doubt where lines of another length precede all others: a title, and no names of columns."""
    lengths = Counter(map(len, rows))
    if not rows or wanted.skip_rows:
        return
    usual, times = lengths.most_common(1)[0]
    if len(names) >= usual or times < max(2, len(rows) - _MAX_TITLE_LINES) or len(rows[0]) != len(names):
        return
    before = next((place for place, row in enumerate(rows) if len(row) == usual), 0)
    if not 0 < before <= _MAX_TITLE_LINES or any(len(row) != usual for row in rows[before : before + 3]):
        return
    first = shown(names[0] if names else "")
    if len(names) == before == 1 and all(map(is_number, rows[before])):
        look.doubt(
            f"the first row is one cell, {first}, those behind it are {usual}, as "
            f"{shown(delimiter.join(rows[before]))}: where the comma is the decimal mark, --delimiter ';' --decimal ,; "
            f"where the first row is a title, --skip-rows 1"
        )
    else:
        count = f"{len(names)} cell{'s' if len(names) != 1 else ''}"
        look.doubt(
            f"the first row has {count}, {first}, those behind it have {usual}: --skip-rows {before} begins behind "
            f"such lines",
            Choice(f"--skip-rows {before}", "begin behind those lines", "skip_rows", before),
        )
    look.settle()


def _has_header(names: list[str], wanted: Wanted, look: Look) -> bool:
    """Return whether the first row has the names of the columns; False: it is data already.

    A doubt where it can be either. A column that was asked for by its name may be called 2024.
    """
    numbers = [name for name in names if name.strip() and (is_number(name) or are_times([name]))]
    asked = [*wanted.columns, *([wanted.symbol_column] if wanted.symbol_column else [])]
    known = {plain(name) for name in names}
    if not numbers:
        return True
    by_place = bool(asked) and all(name.isdigit() and 1 <= int(name) <= len(names) for name in asked)
    by_name = bool(wanted.columns) and all(plain(name) in known for name in asked)
    if by_place != by_name:
        return by_name
    if not asked and DEFAULT_COLUMN in known:
        return True
    if not asked and len(names) == 1:
        return False
    if wanted.columns and not by_place:
        raise UnreadableFile(
            f"{look.file}: no column is called {wanted.columns[0]!r}; there are: {listed(names)}; if that is data "
            f"already, --no-header takes it as such, with --column for the number of the column that has the prices"
        )
    look.doubt(
        f"the first row has the number {shown(numbers[0])}, so it may be data: --no-header takes it as such, "
        f"with --column for the number of the column that has the prices; --header, and --column with a name, takes it "
        f"as the names",
        NO_HEADER,
        HEADER,
    )
    look.settle()
    return True


def _numerals(rows: Sequence[Sequence[str]], layout: Layout, look: Look) -> Numerals:
    """Return how the prices are written; a doubt where that is not certain."""
    cells = [row[place].strip() for place in layout.prices for row in rows]
    found = readings(cells)
    if found == [PLAIN]:
        others = (cell.strip() for row in rows for place, cell in enumerate(row) if place not in layout.prices)
        if not points_may_be_thousands(cells, others):
            return PLAIN
        look.doubt(
            f"{shown(cells[0])} may be a thousand, for other columns have a decimal comma: --decimal . takes the "
            f"point as decimal mark, --decimal , --thousands . as a mark between thousands",
            Choice("--decimal .", "a decimal mark", "decimal", POINT),
            Choice("--thousands .", "a mark between thousands", "thousands", POINT),
        )
        return PLAIN
    if len(found) > 1:
        example = next(cell for cell in cells if COMMA in cell)
        look.doubt(
            f"{shown(example)} can be read in two ways: --decimal , takes the comma as decimal mark, --thousands , as "
            f"a mark between thousands",
            Choice("--decimal ,", "a decimal mark", "decimal", COMMA),
            Choice("--thousands ,", "a mark between thousands", "thousands", COMMA),
        )
    return found[0] if found else PLAIN


def _is_text(rows: Sequence[Sequence[str]], place: int) -> bool:
    """Return whether no cell of a column has bytes that are no UTF-8."""
    return not any("\udc80" <= character <= "\udcff" for row in rows for character in row[place])
