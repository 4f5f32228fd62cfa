"""CSV: blocks of whole lines, parsed by pyarrow, in as many threads as there are cores.

A block that parses at once, all cells numbers, costs nothing more. Any other is parsed again, cell by cell, to say
which row it was.
"""

import csv
import io
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from hft_mmap.transfer.columns import DEFAULT_COLUMN, choose, encoded
from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.formats import plain_suffix
from hft_mmap.transfer.lines import line_blocks
from hft_mmap.transfer.order import check_order, time_places
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.pipeline import in_threads
from hft_mmap.transfer.rows import Bad, Rows, Wanted, shown
from hft_mmap.transfer.source import Source

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)
_QUOTE, _LF, _CR = b'"\n\r'
_OTHER_DELIMITER = re.compile(r"[;|\t]")
_LINE_END = re.compile(rb"\r\n?|\n")
_MAX_THREADS = 4


class _Columns(NamedTuple):
    """What a block has: so many cells a row, separated so; the places of prices and of symbols."""

    cells: int
    delimiter: str
    price: int
    symbol: int | None

    def included(self) -> list[str]:
        """Return the columns to be read; they are called by their place, since names may repeat."""
        return [str(place) for place in (self.price, self.symbol) if place is not None]


def _header(line: bytes, delimiter: str, file: str) -> list[str]:
    """Return the cells of the first row; UnreadableFile if it is no text, or has a delimiter of several characters."""
    try:
        return next(csv.reader(io.StringIO(line.decode(), newline=""), delimiter=delimiter, strict=True), [])
    except (UnicodeDecodeError, csv.Error, TypeError) as error:
        raise UnreadableFile(f"{file}: the first line can't be read as CSV in UTF-8: {error}") from error


def _first_row_end(block: bytes) -> int:
    """Return where the first row of a block ends: behind LF, CRLF or a lone CR, none of them in quotes."""
    for found in _LINE_END.finditer(block):
        if block.count(b'"', 0, found.start()) % 2 == 0:
            return found.end()
    return len(block)


def _names_or_price(names: list[str], wanted: Wanted, file: str) -> bool:
    """Return whether the first row has the names of the columns; False: it is data already, for it is a price.

    UnreadableFile where it can be either. A column that was asked for by its name may be called 2024.
    """
    numbers = [name for name in names if _number(name.strip()) is not None]
    if not numbers or wanted.column is not None or DEFAULT_COLUMN in names:
        return True
    if len(names) == 1:
        return False
    raise UnreadableFile(
        f"{file}: the first row has the number {shown(numbers[0])}, so it may be data: --no-header takes it as such, "
        f"with --column for the number of the column that has the prices; --column with a name takes it as the names"
    )


def read_csv(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of a CSV; memory is bounded by the blocks of some threads. UnreadableFile, MissingPackage.

    Blank lines are no rows. A cell may be quoted, and have space around it. A first row that is nothing but a number
    is a price, and not the name of a column.
    """
    need("pyarrow", f"reading {source.name}")
    delimiter = wanted.delimiter or ("\t" if plain_suffix(source.given) == ".tsv" else ",")
    with source.opened() as stream:
        blocks = line_blocks(source, stream, quotes=True)
        first = next(filter(None, (block.lstrip(b"\r\n") for block in blocks)), b"")
        if not first:
            if wanted.header:
                raise UnreadableFile(f"{source.name}: is empty; a CSV begins with the names of its columns")
            return
        end = _first_row_end(first)
        names = _header(first[:end], delimiter, source.name)
        if wanted.delimiter is None and len(names) == 1 and (other := _OTHER_DELIMITER.search(names[0])):
            raise UnreadableFile(
                f"{source.name}: the first row is one cell, {shown(names[0])}: --delimiter says what stands between "
                f"cells, as --delimiter {other[0]!r}; where it is one cell, --delimiter ','"
            )
        if wanted.header and _names_or_price(names, wanted, source.name):
            first = first[end:]
        else:
            names = [str(number) for number in range(1, len(names) + 1)]
        columns = _Columns(len(names), delimiter, *choose(names, wanted, source.name))
        _check_order(first, names, columns, wanted, source.name)
        threads = min(len(os.sched_getaffinity(0)), _MAX_THREADS)
        yield from in_threads(partial(_parse, columns, source.name), filter(None, chain([first], blocks)), threads)


def _check_order(block: bytes, names: list[str], columns: _Columns, wanted: Wanted, file: str) -> None:
    """Make sure that the first rows of a file go from old to new; UnreadableFile."""
    places = time_places(names)
    if not places:
        return
    lines = io.StringIO(block.decode(errors="backslashreplace"), newline="")
    rows = (row for row in csv.reader(lines, delimiter=columns.delimiter) if len(row) == columns.cells)
    symbol = columns.symbol
    with suppress(csv.Error):  # whoever reads all of it tells what is wrong
        check_order(
            wanted, file,
            (([row[place] for place in places], None if symbol is None else row[symbol]) for row in rows),
        )  # fmt: skip


def _parse(columns: _Columns, file: str, block: bytes) -> Rows:
    """Return the rows of one block."""
    if not block.strip():
        return Rows(0, np.empty(0))
    _check_quotes(block, columns.delimiter, file)
    arrow = need("pyarrow", f"reading {file}")
    types = {str(columns.price): arrow.float64()}
    if columns.symbol is not None:
        types[str(columns.symbol)] = arrow.dictionary(arrow.int32(), arrow.string())
    try:
        table = _table(columns, block, types, None)
    except arrow.ArrowInvalid:
        return _parse_cells(columns, block)
    values = table.column(0).chunk(0).to_numpy()
    if columns.symbol is None:
        return Rows(len(values), values)
    return Rows(len(values), values, *encoded(table.column(1).chunk(0)))


def _check_quotes(block: bytes, delimiter: str, file: str) -> None:
    """Make sure that a quote which spans lines is one cell; UnreadableFile if it was never closed and swallows rows.

    Arrow reads such rows as one, or as the cell of another one.
    """
    if b'"' not in block:
        return
    # PERF: 3 ms a block of 2 MiB that has quotes at all; only blocks with a line end inside of them are read twice.
    array = np.frombuffer(block, dtype=np.uint8)
    inside = np.bitwise_xor.accumulate(array == _QUOTE)
    if not (inside & ((array == _LF) | (array == _CR))).any():
        return
    line = None
    text = io.StringIO(block.decode(errors="backslashreplace"), newline="")
    try:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        for cells in reader:
            line = delimiter.join(cells)
    except csv.Error as error:
        raise UnreadableFile(
            f"{file}: a double quote is never closed, or closed in the middle of a cell, {_where(line)}: rows after "
            f"it would be taken for one cell ({error})"
        ) from error


def _where(line: str | None) -> str:
    """Return where something was met that comes behind the row `line`."""
    return "in the first row of a block" if line is None else f"in the row behind {shown(line)}"


def _table(columns: _Columns, block: bytes, types: dict[str, Arrow], handler: Arrow) -> Arrow:
    """Parse a block into a table of the wanted columns, one chunk each; ArrowInvalid if a cell is not of its type."""
    arrow_csv = need("pyarrow.csv", "reading CSV")
    return arrow_csv.read_csv(
        need("pyarrow", "reading CSV").BufferReader(block),
        read_options=arrow_csv.ReadOptions(
            use_threads=False,  # the blocks themselves are parsed side by side
            block_size=len(block) + 1,
            column_names=[str(place) for place in range(columns.cells)],
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=columns.delimiter, newlines_in_values=b'"' in block, invalid_row_handler=handler
        ),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=columns.included(), column_types=types, null_values=[], strings_can_be_null=False
        ),
    )


def _parse_cells(columns: _Columns, block: bytes) -> Rows:
    """Return the rows of a block in which something is no number, or no row: every cell is looked at."""
    broken: list[Bad] = []

    def note(row: Arrow) -> str:
        cells = f"{row.actual_columns} cell{'s' if row.actual_columns != 1 else ''}"
        broken.append(Bad(row.number - 1, f"{cells} in place of {row.expected_columns}: {shown(row.text)}"))
        return "skip"

    binary = need("pyarrow", "reading CSV").binary()
    table = _table(columns, block, dict.fromkeys(columns.included(), binary), note)
    cells = [cell.decode(errors="backslashreplace").strip() for cell in table.column(0).to_pylist()]
    numbers = [_number(cell) for cell in cells]
    texts = {index: shown(cells[index]) for index, number in enumerate(numbers) if number is None}
    values = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
    count = len(cells) + len(broken)
    places = None
    if broken:
        whole = np.ones(count, dtype=np.bool_)
        whole[[row.place for row in broken]] = False
        places = np.flatnonzero(whole)
    rows = Rows(count, values, places=places, texts=texts, broken=broken)
    if columns.symbol is not None:
        names = [cell.decode(errors="backslashreplace").strip() for cell in table.column(1).to_pylist()]
        codes: dict[str, int] = {}
        rows.codes = np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int64)
        rows.names = list(codes)
    return rows


def _number(cell: str) -> float | None:
    """Return the number that a cell holds, None if it holds none."""
    return float(cell) if _NUMBER.fullmatch(cell) else None
