"""Rows of Python's own values, as JSON and workbooks have them: named members, or cells by their place."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hft_mmap.transfer.columns import attach_cells, rows_of_values, written_cell
from hft_mmap.transfer.order import SAMPLE_ROWS, when
from hft_mmap.transfer.rows import Bad, Rows, coded
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
            broken.append(Bad(place, f"{len(record)} cells in place of {cells}: {written_cell(record)}"))
            continue
        checks = bool(layout.written.styles) and layout.extra.clock is None
        time = when([record[column] for column in layout.times]) if checks else None
        if checks and not layout.written.can_read(time):
            broken.append(Bad(place, f"{written_cell(time)} is no time as in the other rows: {written_cell(record)}"))
            continue
        places.append(place)
        whole.append(record)
    columns = [rows_of_values([record[price] for record in whole], wanted.text) for price in layout.prices]
    for rows in columns:
        rows.count, rows.places, rows.broken = count, np.array(places, dtype=np.int64), []
    rows = Rows.beside(columns, wanted.targets) if wanted.targets else columns[0]
    rows.broken = broken
    if layout.symbol is not None:
        rows.name(*coded(_symbol(record[layout.symbol]) for record in whole))
    attach_cells(rows, {place: [record[place] for record in whole] for place in layout.places}, layout, wanted.text)
    return rows


def _symbol(cell: object) -> str:
    return cell.strip() if isinstance(cell, str) else ""
