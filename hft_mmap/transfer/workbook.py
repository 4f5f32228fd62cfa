"""Workbooks (xlsx, xls, ods): the rows of one sheet, whose first row has the names of the columns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.look import Choice
from hft_mmap.transfer.packages import need
from hft_mmap.transfer.records import PIECE_ROWS, layout_of, rows_of_records
from hft_mmap.transfer.rows import Rows, shown
from hft_mmap.transfer.source import Source
from hft_mmap.transfer.wanted import Wanted


def read_workbook(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of a sheet: the one that is wanted, or the only one with rows; UnreadableFile, MissingPackage.

    Numbers are those that the cells hold, whatever they look like on a screen. Memory: one sheet, of at most 1,048,576
    rows as Excel has them.
    """
    calamine = need("python_calamine", f"reading {source.name}")
    path = Path(source.path("a workbook"))
    try:
        # By what is in it: an .xls that a program has written as xlsx is no rarity, and opened by its name it is none.
        with path.open("rb") as file, calamine.CalamineWorkbook.from_filelike(file) as book:
            full = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except (calamine.CalamineError, OSError) as error:
        raise UnreadableFile(f"{source.name}: is no workbook that can be read: {error}") from error
    rows = _rows_of_sheet(source, {name: rows for name, rows in full.items() if rows}, wanted.sheet)
    rows = [row for row in rows[wanted.skip_rows :] if any(cell not in {"", None} for cell in row)]
    if not rows:
        behind = f" behind the {wanted.skip_rows} that --skip-rows leaves out" if wanted.skip_rows else ""
        raise UnreadableFile(f"{source.name}: the sheet has no row{behind}")
    header = _has_header(source, rows, wanted)
    width = max(map(len, rows), default=0)
    names = [_name(cell) for cell in rows[0]] if header else [str(place + 1) for place in range(width)]
    records = [[None if cell == "" else cell for cell in row] for row in (rows[1:] if header else rows)]
    layout = layout_of(names, records, wanted, source)
    yield Rows.none()
    for begin in range(0, len(records), PIECE_ROWS):
        yield rows_of_records(records[begin : begin + PIECE_ROWS], len(names), layout, wanted)


def _rows_of_sheet(source: Source, sheets: dict[str, list[list[Any]]], named: str | None) -> list[list[Any]]:
    """Return the rows of the sheet of that name, or of the only one; a doubt where there are several."""
    if not sheets:
        raise UnreadableFile(f"{source.name}: no sheet of it has a row")
    listed = ", ".join(map(shown, sheets))
    if named is not None:
        if named not in sheets:
            raise UnreadableFile(f"{source.name}: no sheet with rows is called {shown(named)}; it has {listed}")
        return sheets[named]
    if len(sheets) > 1:
        source.look.doubt(
            f"{len(sheets)} sheets have rows ({listed}): --sheet says which one has the prices",
            *(Choice(f"--sheet {shown(name)}", "", "sheet", name) for name in sheets),
        )
        source.look.settle()
    (rows,) = sheets.values()
    return rows


def _name(cell: object) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _has_header(source: Source, rows: list[list[Any]], wanted: Wanted) -> bool:
    """Return whether the first row has the names of the columns; a doubt where it may be data, or a title."""
    look = source.look
    look.header = wanted.header
    if look.header is None:
        if any(not isinstance(cell, str) for cell in rows[0]) and not wanted.columns:
            look.doubt(
                "the first row has cells that are no text, so it may be data: --no-header takes it as such, with "
                "--column for the number of the column that has the prices; --header takes it as the names",
                Choice("--no-header", "the first row is data", "header", False),
                Choice("--header", "the first row has the names", "header", True),
            )
        names = [cell for cell in rows[0] if cell != ""]
        if len(names) == 1 < len(rows[0]):
            look.doubt(
                f"the first row is a title, {names[0]!r}: --skip-rows 1 begins behind it",
                Choice("--skip-rows 1", "begin behind it", "skip_rows", 1),
            )
        look.settle()
        look.header = True
    return look.header
