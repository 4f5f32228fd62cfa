"""NDJSON: a JSON object a line."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import orjson

from hft_mmap.transfer.columns import attach_cells
from hft_mmap.transfer.lines import line_blocks
from hft_mmap.transfer.numerals import Numerals
from hft_mmap.transfer.order import SAMPLE_ROWS
from hft_mmap.transfer.rows import Bad, Rows, coded, shown
from hft_mmap.transfer.source import Source
from hft_mmap.transfer.survey import Layout, Sample, survey
from hft_mmap.transfer.text import opened_text
from hft_mmap.transfer.wanted import Wanted


def read_ndjson(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of NDJSON, blank lines left out; memory is bounded by one block. UnreadableFile.

    A price is a JSON number: no text, no null, no true; a text only where somebody says how numbers are written.
    """
    with opened_text(source, wanted) as stream:
        members: _Members | None = None
        for block in line_blocks(source, stream, quotes=False):
            if members is None:
                members = _members(block, wanted, source)
                yield Rows.none()
            yield _parse(members, wanted, block)


class _Members:
    """The members of objects that are meant: of prices, and of symbols where that is wanted or watched."""

    def __init__(
        self, prices: tuple[str, ...], symbol: str | None, *, needed: bool, layout: Layout | None = None,
        beside: Mapping[int, str] | None = None,
    ) -> None:  # fmt: skip
        self.prices = prices
        self.symbol = symbol
        self.needed = needed
        self.layout = layout or Layout((), None)
        self.beside = dict(beside or {})
        """Those of times and sizes, by their places in the layout."""


def _objects(block: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects of a block; what is none is left out."""
    for line in block.splitlines():
        with suppress(orjson.JSONDecodeError):
            entry = orjson.loads(line)
            if isinstance(entry, dict):
                yield entry


def _members(block: bytes, wanted: Wanted, source: Source) -> _Members:
    """Find out which members are meant, by the first objects of a file; UnreadableFile."""
    some = [entry for entry, _ in zip(_objects(block), range(SAMPLE_ROWS), strict=False)]
    names = list(dict.fromkeys(name for entry in some for name in entry))
    if not names:  # nothing is an object, and each line will say so
        return _Members(wanted.columns or ("price",), wanted.symbol_column, needed=wanted.symbol_column is not None)
    texts = frozenset(
        place for place, name in enumerate(names) if any(isinstance(entry.get(name), str) for entry in some)
    )
    sample = Sample(names, lambda place: [entry.get(names[place]) for entry in some], texts)
    layout = survey(sample, wanted, source.look)
    source.look.settle()
    cells = [entry.get(names[place]) for entry in some for place in layout.prices]
    source.look.whole_numbers = all(type(cell) is int for cell in cells if cell is not None) if cells else None
    symbol = None if layout.symbol is None else names[layout.symbol]
    extra = layout.extra
    places = (*(layout.times if extra.clock is not None else ()), *extra.places)
    return _Members(
        tuple(names[place] for place in layout.prices), symbol, needed=wanted.symbol_column is not None, layout=layout,
        beside={place: names[place] for place in places},
    )  # fmt: skip


def _parse(members: _Members, wanted: Wanted, block: bytes) -> Rows:
    """Return the rows of a block."""
    broken: list[Bad] = []
    columns = [Rows(0, np.empty(0)) for _ in members.prices]
    numbers: list[list[float]] = [[] for _ in members.prices]
    places: list[int] = []
    names: list[str] = []
    beside: dict[int, list[object]] = {place: [] for place in members.beside}
    count = 0
    for line in block.splitlines():
        if not line.strip():
            continue
        place, count = count, count + 1
        entry, fault = _entry(line, members)
        if fault:
            broken.append(Bad(place, fault))
            continue
        for rows, found, member in zip(columns, numbers, members.prices, strict=True):
            number, text = _number(entry[member], wanted.text)
            if text is not None:
                rows.texts[len(found)] = text
            found.append(number)
        places.append(place)
        for column, member in members.beside.items():
            beside[column].append(entry.get(member))
        if members.symbol is not None:
            name = entry.get(members.symbol)
            names.append(name.strip() if isinstance(name, str) else "")
    for rows, found in zip(columns, numbers, strict=True):
        rows.count, rows.values, rows.places = count, np.array(found, dtype=np.float64), np.array(places, np.int64)
    rows = Rows.beside(columns, wanted.targets) if wanted.targets else columns[0]
    rows.broken = broken
    if members.symbol is not None:
        rows.name(*coded(names))
    attach_cells(rows, beside, members.layout, wanted.text)
    return rows


def _entry(line: bytes, members: _Members) -> tuple[Any, str | None]:
    """Return what a line holds, and what keeps it from being a row, None if nothing does."""
    try:
        entry: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return None, f"{shown(line.decode(errors='backslashreplace'))} is no JSON: {error}"
    return entry, _fault(entry, members)


def _number(value: object, numerals: Numerals | None) -> tuple[float, str | None]:
    """Return a price, and None; or NaN, and what stands there instead."""
    if type(value) is float or type(value) is int:
        return float(value), None
    if type(value) is str:
        if numerals is not None and (number := numerals.number(value.strip())) is not None:
            return number, None
        return np.nan, shown(value)
    return np.nan, orjson.dumps(value).decode()


def _fault(entry: object, members: _Members) -> str | None:
    """Return what keeps a line from being a row, None if nothing does."""
    if not isinstance(entry, dict):
        return f"{shown(orjson.dumps(entry).decode())} is no JSON object"
    missing = next((member for member in members.prices if member not in entry), None)
    if missing is not None:
        return f"no member is called {missing!r}; there are: {', '.join(map(str, entry))}"
    if members.needed and members.symbol is not None and not isinstance(entry.get(members.symbol), str):
        return f"the member {members.symbol!r} is no text: {orjson.dumps(entry.get(members.symbol)).decode()}"
    return None
