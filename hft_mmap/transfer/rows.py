"""What a reader hands on: a run of rows of one file, prices as float64, and what is wrong with some of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hft_mmap.errors import InvalidSymbol
from hft_mmap.files.names import validate_symbol
from hft_mmap.tree.kernels import MAX_PRICE, VALID, VALID_WITH_NEGATIVE_ZERO, find_invalid

MAX_SHOWN = 80
"""Characters of a bad value that a message shows."""


def shown(text: str) -> str:
    """Return a text as a message shows it: quoted, escaped, not too long."""
    return repr(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…")


class Wanted(NamedTuple):
    """What is to be read: the column of prices, and the column that has the symbol of each row.

    column None: "price", or the only column there is. delimiter None: a tab in .tsv, a comma elsewhere. header: the
    first line of a CSV names the columns; without one they are called 1, 2, …. reverse: the newest row comes first, and
    all are turned round; None: that is refused where it is noticed. mixed: rows of several symbols may go to one
    series.
    """

    column: str | None = None
    symbol_column: str | None = None
    delimiter: str | None = None
    header: bool = True
    reverse: bool | None = None
    mixed: bool = False


class Bad(NamedTuple):
    """A row that holds no price: its place among the rows of a run, and what stands there."""

    place: int
    found: str


@dataclass(slots=True)
class Rows:
    """`count` consecutive rows of a file.

    values: float64, one for each row that has a cell of prices, NaN where that is no number; texts: what stands there
    instead, by index. codes, names: the symbol of values[i] is names[codes[i]]. places: which of the `count` rows
    values[i] is, where that is not i. broken: rows that are no rows of the format at all.
    """

    count: int
    values: NDArray[np.float64]
    codes: NDArray[np.integer] | None = None
    names: list[str] = field(default_factory=list)
    places: NDArray[np.int64] | None = None
    texts: dict[int, str] = field(default_factory=dict)
    broken: list[Bad] = field(default_factory=list)
    last: int | None = None
    """How many rows the file has, where it is read from its end."""

    def row(self, place: int, before: int) -> int:
        """Return which row of the file, from 1, one of these is, `before` of them having been read before."""
        return before + place + 1 if self.last is None else self.last - before - place

    def place(self, index: int) -> int:
        """Return which of the rows values[index] is."""
        return index if self.places is None else int(self.places[index])

    def only(self, symbol: str) -> "Rows":
        """Return the rows of one symbol; `count` stays. Broken rows stay, for nobody knows whose they are."""
        keep = np.zeros(len(self.names), dtype=np.bool_)
        for code, name in enumerate(self.names):
            keep[code] = name == symbol
        index = np.flatnonzero(keep[self._codes()])
        places = index.astype(np.int64) if self.places is None else self.places[index]
        texts = {}
        if self.texts:
            texts = {new: self.texts[old] for new, old in enumerate(index.tolist()) if old in self.texts}
        return Rows(self.count, self.values[index], places=places, texts=texts, broken=self.broken)

    def occurring(self) -> set[str]:
        """Return the symbols that rows have, blank ones left out."""
        if self.codes is None or not len(self.codes):
            return set()
        return {self.names[code] for code in np.flatnonzero(np.bincount(self.codes)).tolist()} - {""}

    def turned_round(self) -> "Rows":
        """Return the rows, the last one first."""
        last = self.count - 1
        places = np.arange(len(self.values)) if self.places is None else self.places
        texts = {len(self.values) - 1 - index: text for index, text in self.texts.items()}
        broken = [Bad(last - row.place, row.found) for row in self.broken]
        codes = None if self.codes is None else self.codes[::-1]
        values = np.ascontiguousarray(self.values[::-1])
        return Rows(self.count, values, codes, self.names, last - places[::-1], texts, broken)

    def bad(self) -> list[Bad]:
        """Return the rows that hold no price, or no symbol, in the order of the file."""
        found = [Bad(self.place(index), self._fault(index)) for index in self._without_price()]
        if self.codes is not None:
            for code, name in enumerate(self.names):
                try:
                    validate_symbol(name)
                except InvalidSymbol as error:
                    rows = np.flatnonzero(self.codes == code).tolist()
                    found += [Bad(self.place(index), str(error)) for index in rows]
        return sorted({row.place: row for row in [*self.broken, *found]}.values()) if found or self.broken else []

    def without(self, bad: list[Bad]) -> "Rows":
        """Return the rows that are none of `bad`; `count` stays."""
        if not bad:
            return self
        gone = np.zeros(self.count, dtype=np.bool_)
        gone[[row.place for row in bad]] = True
        places = np.arange(len(self.values)) if self.places is None else self.places
        keep = ~gone[places]
        codes = None if self.codes is None else self.codes[keep]
        return Rows(self.count, self.values[keep], codes, self.names, places[keep])

    def by_symbol(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yield each symbol that occurs with its values, in the order in which the symbols first occur."""
        by_row = self._codes()
        if not len(by_row):
            return
        # PERF: one stable sort splits any number of symbols; a mask for each would read all rows for every symbol.
        order = np.argsort(by_row, kind="stable")
        codes = by_row[order]
        begins = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
        parts = zip(begins, np.split(self.values[order], begins[1:]), strict=True)
        for begin, values in sorted(parts, key=lambda part: int(order[part[0]])):
            yield self.names[codes[begin]], values

    def _codes(self) -> NDArray[np.integer]:
        return np.empty(0, dtype=np.int64) if self.codes is None else self.codes

    def _without_price(self) -> list[int]:
        values = self.values
        if not len(values) or find_invalid(values) in {VALID, VALID_WITH_NEGATIVE_ZERO}:
            return []
        with np.errstate(invalid="ignore"):
            return np.flatnonzero(~((values >= 0.0) & (values <= MAX_PRICE))).tolist()

    def _fault(self, index: int) -> str:
        text = self.texts.get(index)
        if text is not None:
            return f"{text} is no number"
        return f"{float(self.values[index])!r}: a price must be finite, at least 0 and at most {MAX_PRICE:g}"
