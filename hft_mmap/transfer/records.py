"""Rows of Python's own values, as JSON and workbooks have them: named members, or cells by their place."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import orjson

from hft_mmap.transfer.numerals import Numerals
from hft_mmap.transfer.order import SAMPLE_ROWS, when
from hft_mmap.transfer.rows import Bad, Rows, coded, shown
from hft_mmap.transfer.source import Source
from hft_mmap.transfer.survey import Layout, Sample, survey
from hft_mmap.transfer.wanted import Wanted

PIECE_ROWS = 1 << 16
Record = Sequence[Any]


def layout_of(names: Sequence[str], records: Sequence[Record], wanted: Wanted, source: Source) -> Layout:
    """Find out which of the cells of records are meant; UnreadableFile."""
    some = [record for record in records[:SAMPLE_ROWS] if len(record) == len(names)]
    texts = frozenset(place for place in range(len(names)) if any(isinstance(row[place], str) for row in some))
    layout = survey(Sample(names, lambda place: [row[place] for row in some], texts), wanted, source.look)
    source.look.settle()
    cells = [row[place] for row in some for place in layout.prices]
    source.look.whole_numbers = all(type(cell) is int for cell in cells if cell is not None) if cells else None
    return layout


def rows_of_records(records: Iterable[Record], cells: int, layout: Layout, wanted: Wanted) -> Rows:
    """Return records as rows; what is no record of so many cells, or says no time where all others do, is broken."""
    broken: list[Bad] = []
    whole: list[Record] = []
    places: list[int] = []
    count = 0
    for place, record in enumerate(records):
        count += 1
        if len(record) != cells:
            broken.append(Bad(place, f"{len(record)} cells in place of {cells}: {_written(record)}"))
            continue
        time = when([record[column] for column in layout.times]) if layout.written.styles else None
        if layout.written.styles and not layout.written.can_read(time):
            broken.append(Bad(place, f"{_written(time)} is no time as in the other rows: {_written(record)}"))
            continue
        places.append(place)
        whole.append(record)
    columns = [_column([record[price] for record in whole], wanted.text) for price in layout.prices]
    for rows in columns:
        rows.count, rows.places, rows.broken = count, np.array(places, dtype=np.int64), []
    rows = Rows.beside(columns, wanted.targets) if wanted.targets else columns[0]
    rows.broken = broken
    if layout.symbol is not None:
        rows.name(*coded(_symbol(record[layout.symbol]) for record in whole))
    return rows


def _symbol(cell: object) -> str:
    return cell.strip() if isinstance(cell, str) else ""


def _column(cells: Sequence[object], numerals: Numerals | None) -> Rows:
    """Return cells as prices: numbers, or texts of numbers where somebody said how those are written."""
    texts: dict[int, str] = {}
    values = np.full(len(cells), np.nan)
    for index, cell in enumerate(cells):
        if type(cell) is float or type(cell) is int:
            values[index] = float(cell)
            continue
        number = numerals.number(cell.strip()) if numerals is not None and isinstance(cell, str) else None
        if number is not None:
            values[index] = number
        else:
            texts[index] = _text(cell, numerals)
    return Rows(len(cells), values, texts=texts)


def _text(cell: object, numerals: Numerals | None) -> str:
    """Return what stands in a cell that is no number, with the option that would read it."""
    text = _written(cell)
    if isinstance(cell, str) and numerals is None and Numerals().number(cell.strip()) is not None:
        text = f"the text {text}, which --decimal . reads,"
    return text


def _written(value: object) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, str):
        return shown(value.strip())
    if isinstance(value, datetime | date):
        return value.isoformat()
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError:
        text = str(value)
    return text if text in {"null", "true", "false"} else shown(text)
