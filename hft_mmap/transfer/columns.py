"""Which columns of a table are the prices and the symbols, and prices of any numeric type of Arrow as float64."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.rows import Rows, Wanted

DEFAULT_COLUMN = "price"
SYMBOL_COLUMNS = frozenset({"symbol", "ticker", "instrument", "sym"})
"""What a column is called, in any case, that has symbols for sure: it is looked at also where nobody asks for it."""
_MAX_NAMED = 20


def symbol_place(names: Sequence[str]) -> int | None:
    """Return the place of a column that has symbols, by its name; None if there is none."""
    return next((place for place, name in enumerate(names) if name.strip().casefold() in SYMBOL_COLUMNS), None)


def _place_of(names: Sequence[str], column: str, file: str, hint: str = "") -> int:
    """Return the place of `column` among `names`; UnreadableFile if it is not there, or there twice."""
    found = [place for place, name in enumerate(names) if name == column]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnreadableFile(f"{file}: {len(found)} columns are called {column!r}")
    listed = ", ".join(names[:_MAX_NAMED]) + (", …" if len(names) > _MAX_NAMED else "")
    raise UnreadableFile(f"{file}: no column is called {column!r}; there are: {listed}{hint}")


def choose(names: Sequence[str], wanted: Wanted, file: str) -> tuple[int, int | None]:
    """Return the places of the columns of prices and of symbols (None: there is none) among the columns of a file.

    A column of symbols that nobody asked for is among them, so that an import may see whether there are several.
    UnreadableFile if one is missing, or if it is not clear which one has the prices.
    """
    symbol = None if wanted.symbol_column is None else _place_of(names, wanted.symbol_column, file)
    others = [name for place, name in enumerate(names) if place != symbol]
    if wanted.column is None and DEFAULT_COLUMN not in names and len(others) == 1:
        price = _place_of(names, others[0], file)
    else:
        hint = "" if wanted.column else "; --column names the one that has the prices"
        price = _place_of(names, wanted.column or DEFAULT_COLUMN, file, hint)
    if wanted.symbol_column is None and not wanted.mixed:
        found = symbol_place(names)
        return price, None if found == price else found
    if price == symbol:
        raise UnreadableFile(f"{file}: {names[price]!r} cannot be the column of prices and of symbols at once")
    return price, symbol


def check_types(schema: Arrow, price: int, symbol: int | None, file: str) -> None:
    """Make sure that a column of a typed table holds numbers, and the other one text; UnreadableFile if not.

    As in JSON, "1.5" in a column of text is no number, and neither is true.
    """
    types = need("pyarrow", f"reading {file}").types
    kind = _value_type(schema, price)
    if not (types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind) or types.is_null(kind)):
        raise UnreadableFile(
            f"{file}: prices must be numbers, the column {schema.field(price).name!r} is of type {kind}"
        )
    if symbol is not None and not is_text(schema, symbol):
        name = schema.field(symbol).name
        raise UnreadableFile(
            f"{file}: symbols must be text, the column {name!r} is of type {_value_type(schema, symbol)}"
        )


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


def rows_of(prices: Arrow, symbols: Arrow | None) -> Rows:
    """Return a column of prices, and one of symbols beside it, as rows."""
    values, nulls = as_float64(prices)
    texts = dict.fromkeys(nulls.tolist(), "null")
    if symbols is None:
        return Rows(len(values), values, texts=texts)
    codes, names = encoded(symbols)
    return Rows(len(values), values, codes, names, texts=texts)


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
