"""Typed tables of Arrow: which columns may hold prices and symbols, and prices of any numeric type as float64."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.numerals import Numerals
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.rows import Rows, shown
from hft_mmap.transfer.survey import Layout
from hft_mmap.transfer.wanted import Wanted


def check_types(schema: Arrow, layout: Layout, wanted: Wanted, file: str) -> None:
    """Make sure that columns of a typed table hold numbers, and the one of symbols text; UnreadableFile if not.

    As in JSON, "1.5" in a column of text is no number unless somebody says how numbers are written there, and neither
    is true.
    """
    types = need("pyarrow", f"reading {file}").types
    for price in layout.prices:
        kind = _value_type(schema, price)
        number = types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind) or types.is_null(kind)
        if number or (is_text(schema, price) and wanted.text is not None):
            continue
        hint = "; --decimal . reads numbers that are written as text" if is_text(schema, price) else ""
        raise UnreadableFile(
            f"{file}: prices must be numbers, the column {schema.field(price).name!r} is of type {kind}{hint}"
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


def rows_of(prices: Sequence[Arrow], symbols: Arrow | None, wanted: Wanted) -> Rows:
    """Return columns of prices, and one of symbols beside them, as rows."""
    columns = [_column(array, wanted.text) for array in prices]
    rows = Rows.beside(columns, wanted.targets) if wanted.targets else columns[0]
    if symbols is not None:
        rows.name(*encoded(symbols))
    return rows


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
