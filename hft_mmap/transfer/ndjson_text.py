"""NDJSON: a JSON object a line."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import orjson

from hft_mmap.transfer.columns import DEFAULT_COLUMN, symbol_place
from hft_mmap.transfer.lines import line_blocks
from hft_mmap.transfer.order import check_order, time_places
from hft_mmap.transfer.rows import Bad, Rows, Wanted, shown
from hft_mmap.transfer.source import Source


def read_ndjson(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of NDJSON, blank lines left out; memory is bounded by one block. UnreadableFile.

    A price is a JSON number: no text, no null, no true.
    """
    with source.opened() as stream:
        names: list[str] | None = None
        for block in line_blocks(source, stream, quotes=False):
            if names is None:
                names = _names(block)
                _check_order(block, names, wanted, source.name)
            watched = None
            if wanted.symbol_column is None and not wanted.mixed and (place := symbol_place(names)) is not None:
                watched = names[place]
            yield _parse(wanted.column or DEFAULT_COLUMN, wanted.symbol_column, watched, block)


def _objects(block: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects of a block; what is none is left out."""
    for line in block.splitlines():
        with suppress(orjson.JSONDecodeError):
            entry = orjson.loads(line)
            if isinstance(entry, dict):
                yield entry


def _names(block: bytes) -> list[str]:
    """Return the names of the members of the first object."""
    return list(next(_objects(block), {}))


def _check_order(block: bytes, names: list[str], wanted: Wanted, file: str) -> None:
    """Make sure that the first rows of a file go from old to new; UnreadableFile."""
    whens = [names[place] for place in time_places(names)]
    symbol = wanted.symbol_column
    if whens:
        rows = ([entry.get(name) for name in whens] for entry in _objects(block))
        symbols = (None if symbol is None else str(entry.get(symbol)) for entry in _objects(block))
        check_order(wanted, file, zip(rows, symbols, strict=True))


def _parse(column: str, symbol_column: str | None, watched: str | None, block: bytes) -> Rows:
    """Return the rows of a block. watched: a member that has symbols where it is there, and is text."""
    rows = Rows(0, np.empty(0))
    numbers: list[float] = []
    places: list[int] = []
    codes: list[int] = []
    code_of: dict[str, int] = {}
    for line in block.splitlines():
        if not line.strip():
            continue
        place = rows.count
        rows.count += 1
        try:
            entry: Any = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            rows.broken.append(Bad(place, f"{shown(line.decode(errors='backslashreplace'))} is no JSON: {error}"))
            continue
        fault = _fault(entry, column, symbol_column)
        if fault:
            rows.broken.append(Bad(place, fault))
            continue
        value = entry[column]
        if type(value) is float or type(value) is int:
            numbers.append(float(value))
        else:
            rows.texts[len(numbers)] = shown(value) if type(value) is str else orjson.dumps(value).decode()
            numbers.append(np.nan)
        places.append(place)
        if symbol_column is not None or watched is not None:
            name = entry[symbol_column] if symbol_column is not None else entry.get(watched)
            codes.append(code_of.setdefault(name.strip() if isinstance(name, str) else "", len(code_of)))
    rows.values = np.array(numbers, dtype=np.float64)
    rows.places = np.array(places, dtype=np.int64)
    if symbol_column is not None or watched is not None:
        rows.codes, rows.names = np.array(codes, dtype=np.int64), list(code_of)
    return rows


def _fault(entry: object, column: str, symbol_column: str | None) -> str | None:
    """Return what keeps a line from being a row, None if nothing does."""
    if not isinstance(entry, dict):
        return f"{shown(orjson.dumps(entry).decode())} is no JSON object"
    if column not in entry:
        return f"no member is called {column!r}; there are: {', '.join(map(str, entry))}"
    if symbol_column is not None and not isinstance(entry.get(symbol_column), str):
        return f"the member {symbol_column!r} is no text: {orjson.dumps(entry.get(symbol_column)).decode()}"
    return None
