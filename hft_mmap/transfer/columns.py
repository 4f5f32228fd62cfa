"""Typed tables of Arrow: which columns may hold prices and symbols, and prices of any numeric type as float64."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import numpy as np
import orjson
from numpy.typing import NDArray

from hft_mmap.transfer.beside import signed
from hft_mmap.transfer.clock import ISO, Clock, ns_of_arrow, ns_of_cells
from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.numerals import Numerals
from hft_mmap.transfer.order import when
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.rows import Rows, coded, shown
from hft_mmap.transfer.survey import Layout
from hft_mmap.transfer.wanted import Wanted


def check_types(schema: Arrow, layout: Layout, wanted: Wanted, file: str) -> None:
    """Make sure that columns of a typed table hold numbers, and the one of symbols text; UnreadableFile if not.

    As in JSON, "1.5" in a column of text is no number unless somebody says how numbers are written there, and neither
    is true.
    """
    types = need("pyarrow", f"reading {file}").types
    sizes = () if layout.extra.size is None else (layout.extra.size,)
    for price in (*layout.prices, *sizes):
        kind = _value_type(schema, price)
        number = types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind) or types.is_null(kind)
        if number or (is_text(schema, price) and wanted.text is not None):
            continue
        hint = "; --decimal . reads numbers that are written as text" if is_text(schema, price) else ""
        what = "sizes" if price in sizes else "prices"
        raise UnreadableFile(
            f"{file}: {what} must be numbers, the column {schema.field(price).name!r} is of type {kind}{hint}"
        )
    if layout.symbol is not None and not is_text(schema, layout.symbol):
        name = schema.field(layout.symbol).name
        raise UnreadableFile(
            f"{file}: symbols must be text, the column {name!r} is of type {_value_type(schema, layout.symbol)}"
        )


def holds_integers(schema: Arrow, layout: Layout) -> bool:
    """Return whether prices are of a type that has no decimals."""
    types = need("pyarrow", "reading a table").types
    return all(types.is_integer(_value_type(schema, price)) for price in layout.prices)


def _value_type(schema: Arrow, place: int) -> Arrow:
    kind = schema.field(place).type
    return kind.value_type if need("pyarrow", "reading a table").types.is_dictionary(kind) else kind


def is_text(schema: Arrow, place: int) -> bool:
    """Return whether a column of a typed table holds text."""
    types = need("pyarrow", "reading a table").types
    kind = _value_type(schema, place)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def as_float64(array: Arrow) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return an Arrow array of numbers as float64, and the indices of the nulls in it, whose values are NaN.

    Each value is rounded once, to the nearest float64. float64 without nulls is not copied.
    """
    arrow = need("pyarrow", "reading a table")
    compute = need("pyarrow.compute", "reading a table")
    types = arrow.types
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    nulls = np.empty(0, dtype=np.int64)
    if array.null_count:
        nulls = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).astype(np.int64)
    if types.is_null(array.type):
        return np.full(len(array), np.nan), nulls
    if types.is_decimal(array.type):
        # Arrow's own conversion multiplies by a power of ten that is no float64: 150.1 would not be 150.1.
        array = compute.cast(compute.cast(array, arrow.string()), arrow.float64())
    elif len(nulls) and types.is_integer(array.type):
        array = array.fill_null(0)
    values = array.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        values = values.astype(np.float64, copy=False)
    if len(nulls):
        values = values.copy()
        values[nulls] = np.nan
    return values, nulls


def clock_of_type(kind: Arrow) -> Clock | None:
    """Return how the times of a typed column are, whose zone is "" where it has none; None where it has no times."""
    types = need("pyarrow", "reading a table").types
    if types.is_timestamp(kind):
        return Clock(ISO, zone="" if kind.tz is None else None)
    return Clock(ISO, zone="", days=True) if types.is_date(kind) else None


def rows_of(table: Mapping[int, Arrow], layout: Layout, wanted: Wanted) -> Rows:
    """Return a table, whose columns stand by their place, as rows."""
    columns = [_column(table[place], wanted.text) for place in layout.prices]
    rows = Rows.beside(columns, wanted.targets) if wanted.targets else columns[0]
    if layout.symbol is not None:
        rows.name(*encoded(table[layout.symbol]))
    attach(rows, table, layout, wanted.text)
    return rows


def attach(rows: Rows, table: Mapping[int, Arrow], layout: Layout, numerals: Numerals | None) -> None:
    """Give rows the times and sizes that stand beside their prices, by the place of each column.

    numerals: how sizes are written, if they are text.
    """
    times, sizes, faults = None, None, dict[int, str]()
    extra = layout.extra
    if extra.clock is not None:
        columns = [table[place] for place in layout.times]
        array = columns[0] if len(columns) == 1 else _joined(columns)
        times, faults = ns_of_arrow(extra.clock, array)
    if extra.size is not None:
        found = _column(table[extra.size], numerals)
        signs, sides = None, list[object]()
        if extra.side is not None:
            sides = table[extra.side].to_pylist()
            codes, names = coded(map(str, sides))
            signs = np.array([extra.signs.sign(name) for name in names])[codes] if names else np.empty(0)
        sizes, wrong = signed(found.values, found.texts, signs, sides)
        faults = {**wrong, **faults}
    rows.attach(times, sizes, faults)


def attach_cells(
    rows: Rows, table: Mapping[int, Sequence[object]], layout: Layout, numerals: Numerals | None
) -> None:  # fmt: skip
    """Give rows what stands beside their prices, as `attach`, of columns of Python's own values."""
    times, sizes, faults = None, None, dict[int, str]()
    extra = layout.extra
    if extra.clock is not None:
        columns = [table[place] for place in layout.times]
        times, faults = ns_of_cells(extra.clock, [when(row) for row in zip(*columns, strict=True)])
    if extra.size is not None:
        found = rows_of_values(table[extra.size], numerals)
        sides = [] if extra.side is None else table[extra.side]
        signs = None if extra.side is None else np.array([extra.signs.sign(cell) for cell in sides], dtype=np.float64)
        sizes, wrong = signed(found.values, found.texts, signs, sides)
        faults = {**wrong, **faults}
    rows.attach(times, sizes, faults)


def _joined(columns: Sequence[Arrow]) -> Arrow:
    """Return a date and a time of it, both as text, as one text."""
    compute = need("pyarrow.compute", "reading a table")
    string = need("pyarrow", "reading a table").string()
    texts = [compute.utf8_trim_whitespace(column.cast(string)) for column in columns]
    return compute.binary_join_element_wise(*texts, " ")


def _column(array: Arrow, numerals: Numerals | None) -> Rows:
    """Return one column of prices. numerals: how numbers are written, if they are text."""
    arrow = need("pyarrow", "reading a table")
    if arrow.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if numerals is not None and not _is_numeric(array.type):
        return rows_of_texts(array.to_pylist(), numerals)
    values, nulls = as_float64(array)
    return Rows(len(values), values, texts=dict.fromkeys(nulls.tolist(), "null"))


def _is_numeric(kind: Arrow) -> bool:
    types = need("pyarrow", "reading a table").types
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind) or types.is_null(kind))


def rows_of_texts(cells: Sequence[str | None], numerals: Numerals) -> Rows:
    """Return cells of text, each a number or not, as rows."""
    numbers = [None if cell is None else numerals.number(cell.strip()) for cell in cells]
    texts = {
        index: "null" if cells[index] is None else shown(str(cells[index]).strip())
        for index, number in enumerate(numbers)
        if number is None
    }
    values = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
    return Rows(len(values), values, texts=texts)


def encoded(symbols: Arrow) -> tuple[NDArray[np.integer], list[str]]:
    """Return a column of text as codes and the names they stand for, without the space around them.

    A null is the empty text, which is no symbol.
    """
    arrow = need("pyarrow", "reading a table")
    if not arrow.types.is_dictionary(symbols.type):
        symbols = symbols.dictionary_encode()
    names = ["" if name is None else name.strip() for name in symbols.dictionary.to_pylist()]
    indices = symbols.indices
    if indices.null_count:
        indices = indices.fill_null(len(names))
        names.append("")
    codes = indices.to_numpy(zero_copy_only=False)
    # Names may repeat in a dictionary; a symbol has one code.
    first: dict[str, int] = {}
    same = np.array([first.setdefault(name, code) for code, name in enumerate(names)], dtype=np.int64)
    return (codes if len(first) == len(names) else same[codes]), names


def rows_of_values(cells: Sequence[object], numerals: Numerals | None) -> Rows:
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
    text = written_cell(cell)
    if isinstance(cell, str) and numerals is None and Numerals().number(cell.strip()) is not None:
        text = f"the text {text}, which --decimal . reads,"
    return text


def written_cell(value: object) -> str:
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
