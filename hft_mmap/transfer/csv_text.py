"""CSV: blocks of whole lines, parsed by pyarrow, in as many threads as there are cores.

A block that parses at once, all cells numbers, costs nothing more. Any other is parsed again, cell by cell, to say
which row it was.
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np

from hft_mmap.transfer.clock import csv_type
from hft_mmap.transfer.columns import attach, attach_cells, encoded, rows_of_texts
from hft_mmap.transfer.csv_look import Shape, shape_of
from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.lines import line_blocks
from hft_mmap.transfer.numerals import Numerals
from hft_mmap.transfer.order import when
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.pipeline import in_threads
from hft_mmap.transfer.rows import Bad, Rows, coded, shown
from hft_mmap.transfer.source import Source
from hft_mmap.transfer.text import opened_text
from hft_mmap.transfer.wanted import Wanted

_QUOTE, _LF, _CR = b'"\n\r'
_MAX_THREADS = 4
_EDGE_ROWS = 8
"""Rows at each end of a block whose times are looked at: a total stands behind the last row."""
_EDGE_BYTES = 1 << 12
_SMALL_BYTES = 1 << 16
"""Of a block as small as this, every row is looked at."""


def read_csv(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of a CSV; memory is bounded by the blocks of some threads. UnreadableFile, MissingPackage.

    Blank lines are no rows. A cell may be quoted, and have space around it. A first row that is nothing but a number
    is a price, and not the name of a column.
    """
    need("pyarrow", f"reading {source.name}")
    with opened_text(source, wanted) as stream:
        blocks = line_blocks(source, stream, quotes=True)
        first = next(filter(None, (block.lstrip(b"\r\n") for block in blocks)), b"")
        if not first:
            if wanted.header is not False:
                behind = f" behind the {wanted.skip_rows} rows that --skip-rows leaves out" if wanted.skip_rows else ""
                raise UnreadableFile(f"{source.name}: is empty{behind}; a CSV begins with the names of its columns")
            return
        # The names of columns alone say nothing: a row comes with them.
        while len(first) < _SMALL_BYTES and len(first.splitlines()) < 2 and (more := next(blocks, b"")):  # noqa: PLR2004
            first += more
        _check_markup(source, first)
        shape = shape_of(source, first, wanted)
        source.look.settle()
        yield Rows.none()
        first = first[shape.begin :]
        threads = min(len(os.sched_getaffinity(0)), _MAX_THREADS)
        parse = partial(_parse, shape, wanted.targets, source.name)
        yield from in_threads(parse, filter(None, chain([first], blocks)), threads)


def _check_markup(source: Source, block: bytes) -> None:
    """Make sure that a file is not what a server sends in place of a CSV, or another format by its first character."""
    begin = block[:64].lstrip().lower()
    if begin.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UnreadableFile(f"{source.name}: is HTML or XML, such as an error page, and holds no rows: load it again")
    if begin.startswith((b'{"', b"[{", b"[[")):
        kind = "ndjson" if begin.startswith(b"{") else "json"
        raise UnreadableFile(f"{source.name}: is JSON: --format {kind} reads it")


def _included(shape: Shape) -> list[str]:
    """Return the columns to be read; they are called by their place, since names may repeat."""
    return [str(place) for place in shape.layout.places]


def _types(shape: Shape) -> dict[str, Arrow]:
    """Return the type of each column that is read, by its place."""
    arrow = need("pyarrow", "reading CSV")
    layout, extra = shape.layout, shape.layout.extra
    number = arrow.float64() if shape.numerals.thousands is None else arrow.string()
    types = dict.fromkeys(map(str, layout.prices), number)
    if extra.clock is not None:
        kind = csv_type(extra.clock) if len(layout.times) == 1 else arrow.string()
        types |= dict.fromkeys(map(str, layout.times), kind)
    if extra.size is not None:
        types[str(extra.size)] = number
    if extra.side is not None:
        types[str(extra.side)] = arrow.string()
    if layout.symbol is not None:
        types[str(layout.symbol)] = arrow.dictionary(arrow.int32(), arrow.string())
    return types


def _parse(shape: Shape, targets: Sequence[str], file: str, block: bytes) -> Rows:
    """Return the rows of one block."""
    if not block.strip():
        return Rows.none()
    _check_quotes(block, shape.delimiter, file)
    arrow = need("pyarrow", f"reading {file}")
    layout, size = shape.layout, shape.layout.extra.size
    try:
        table = _table(shape, block, _types(shape), None)
        arrays = {place: table.column(str(place)).chunk(0) for place in layout.places}
        if shape.numerals.thousands is not None:
            for place in {*layout.prices, *(() if size is None else (size,))}:
                arrays[place] = _ungrouped(arrays[place], shape.numerals)
    except arrow.ArrowInvalid:
        return _noted(_parse_cells(shape, targets, block), shape, block)
    columns = [Rows(len(arrays[place]), arrays[place].to_numpy()) for place in layout.prices]
    rows = Rows.beside(columns, targets) if targets else columns[0]
    if layout.symbol is not None:
        rows.name(*encoded(arrays[layout.symbol]))
    attach(rows, arrays, layout, None)
    return _noted(rows, shape, block)


def _ungrouped(cells: Arrow, numerals: Numerals) -> Arrow:
    """Return cells whose numbers have marks between thousands as float64; ArrowInvalid if one is no such number.

    A mark in another place is none: 1,5 is not 15.
    """
    arrow = need("pyarrow", "reading CSV")
    compute = need("pyarrow.compute", "reading CSV")
    cells = compute.utf8_trim_whitespace(cells)
    if not compute.all(compute.match_substring_regex(cells, f"^(?:{numerals.regex()})$", ignore_case=True)).as_py():
        raise arrow.ArrowInvalid("a cell is no number")
    for mark in numerals.marks():
        cells = compute.replace_substring(cells, mark, "")
    return compute.cast(compute.replace_substring(cells, numerals.decimal, "."), arrow.float64())


def _noted(rows: Rows, shape: Shape, block: bytes) -> Rows:
    """Return rows with those at the edges of the block marked as bad that say no time, where all others do."""
    style = shape.layout.written
    if not style.styles or not rows.count or shape.layout.extra.clock is not None:
        return rows  # of which each was looked at, where times are stored
    if len(block) <= _SMALL_BYTES:
        edges = dict(enumerate(_edge(block, shape.delimiter)))
    else:
        head = block[: block.rfind(b"\n", 0, _EDGE_BYTES) + 1]
        tail = block[block.find(b"\n", len(block) - _EDGE_BYTES) + 1 :]
        edges = dict(enumerate(_edge(head, shape.delimiter)[:_EDGE_ROWS]))
        last = reversed(_edge(tail, shape.delimiter)[-_EDGE_ROWS:])
        edges |= {rows.count - 1 - place: row for place, row in enumerate(last)}
    known = {bad.place for bad in rows.broken}
    for place, row in edges.items():
        if place in known or len(row) != shape.cells or not 0 <= place < rows.count:
            continue
        cell = when([row[column] for column in shape.layout.times])
        if not style.can_read(cell):
            text = shown(shape.delimiter.join(row))
            rows.broken.append(Bad(place, f"{shown(str(cell).strip())} is no time as in the other rows: {text}"))
    rows.broken.sort()
    return rows


def _edge(text: bytes, delimiter: str) -> list[list[str]]:
    """Return the rows of some lines, blank ones left out; none where they are no CSV, or begin in a quoted cell."""
    try:
        lines = io.StringIO(text.decode(errors="backslashreplace"), newline="")
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return []
    return [] if any(mark in cell for row in rows for cell in row for mark in "\r\n") else rows


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


def _table(shape: Shape, block: bytes, types: dict[str, Arrow], handler: Arrow) -> Arrow:
    """Parse a block into a table of the wanted columns, one chunk each; ArrowInvalid if a cell is not of its type."""
    arrow_csv = need("pyarrow.csv", "reading CSV")
    return arrow_csv.read_csv(
        need("pyarrow", "reading CSV").BufferReader(block),
        read_options=arrow_csv.ReadOptions(
            use_threads=False,  # the blocks themselves are parsed side by side
            block_size=len(block) + 1,
            column_names=[str(place) for place in range(shape.cells)],
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=shape.delimiter, newlines_in_values=b'"' in block, invalid_row_handler=handler
        ),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=_included(shape), column_types=types, null_values=[], strings_can_be_null=False,
            decimal_point=shape.numerals.decimal,
        ),
    )  # fmt: skip


def _parse_cells(shape: Shape, targets: Sequence[str], block: bytes) -> Rows:
    """Return the rows of a block in which something is no number, or no row: every cell is looked at."""
    broken: list[Bad] = []

    def note(row: Arrow) -> str:
        cells = f"{row.actual_columns} cell{'s' if row.actual_columns != 1 else ''}"
        broken.append(Bad(row.number - 1, f"{cells} in place of {row.expected_columns}: {shown(row.text)}"))
        return "skip"

    binary = need("pyarrow", "reading CSV").binary()
    table = _table(shape, block, dict.fromkeys(_included(shape), binary), note)

    def texts(place: int) -> list[str]:
        return [cell.decode(errors="backslashreplace").strip() for cell in table.column(str(place)).to_pylist()]

    layout = shape.layout
    columns = [rows_of_texts(texts(place), shape.numerals) for place in layout.prices]
    count = len(table) + len(broken)
    places = None
    if broken:
        whole = np.ones(count, dtype=np.bool_)
        whole[[row.place for row in broken]] = False
        places = np.flatnonzero(whole)
    for rows in columns:
        rows.count, rows.places = count, places
    rows = Rows.beside(columns, targets) if targets else columns[0]
    rows.broken = broken
    if layout.symbol is not None:
        rows.name(*coded(texts(layout.symbol)))
    attach_cells(rows, {place: texts(place) for place in layout.places}, layout, shape.numerals)
    return rows
