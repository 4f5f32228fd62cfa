"""What a reader hands on: a run of rows of one file, prices as float64, and what is wrong with some of them."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hft_mmap.batch import no_price
from hft_mmap.errors import InvalidSymbol
from hft_mmap.files.names import validate_symbol
from hft_mmap.ticks import Ticks
from hft_mmap.transfer.numerals import readings
from hft_mmap.tree.kernels import MAX_PRICE, VALID, VALID_WITH_NEGATIVE_ZERO, find_invalid

SENTINELS = (9_999_999_999.0, 9_223_372_036_854_775_807.0, 18_446_744_073_709_551_615.0)
"""Numbers that stand for "no price": LOBSTER's, and the largest of 64 bits, as Databento and others have it."""
_LOWEST_SENTINEL = np.nextafter(min(SENTINELS), 0.0)
MAX_SHOWN = 80
"""Characters of a bad value that a message shows."""


def shown(text: str) -> str:
    """Return a text as a message shows it: quoted, escaped, not too long."""
    return repr(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…")


class Bad(NamedTuple):
    """A row that holds no price: its place among the rows of a run, and what stands there."""

    place: int
    found: str


class Part(NamedTuple):
    """The points of one symbol in a run of rows, and which of its rows each is; None: in their order."""

    symbol: str
    points: Ticks
    places: NDArray[np.int64] | None


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
    symbols: frozenset[str] | None = None
    """What the rows name as their symbols, where `codes` has the series that their columns go to; else None."""
    times: NDArray[np.int64] | None = None
    sizes: NDArray[np.float64] | None = None
    """Nanoseconds since 1970, and sizes with the sign of the aggressor, one for each of `values`; None: no column."""
    faults: dict[int, str] = field(default_factory=dict)
    """What is wrong beside the price of values[i], by index."""

    @classmethod
    def none(cls) -> "Rows":
        """Return no rows: what a reader yields once it has looked at a file, before it reads on."""
        return cls(0, np.empty(0))

    @classmethod
    def beside(cls, columns: Sequence["Rows"], targets: Sequence[str]) -> "Rows":
        """Return several columns of the same rows as one run, the values of each under the name of its series.

        Where a row is bad in one of them, it is bad in all.
        """
        count = columns[0].count
        texts: dict[int, str] = {}
        begin = 0
        for rows in columns:
            texts |= {begin + index: text for index, text in rows.texts.items()}
            begin += len(rows.values)
        names = list(dict.fromkeys(targets))
        codes = np.repeat([names.index(target) for target in targets], [len(rows.values) for rows in columns])
        places = [np.arange(count) if rows.places is None else rows.places for rows in columns]
        broken = [bad for rows in columns for bad in rows.broken]
        values = np.concatenate([rows.values for rows in columns])
        return cls(count, values, codes, names, np.concatenate(places), texts, broken, symbols=frozenset())

    def name(self, codes: NDArray[np.integer], names: list[str]) -> None:
        """Take the symbols that a column of the rows has; they decide the series where nothing else does."""
        named = Rows(self.count, self.values, codes, names)
        if self.codes is None:
            self.codes, self.names = named.codes, named.names
        else:
            self.symbols = named._occurring()

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
        return replace(self._taken(np.flatnonzero(keep[self._codes()])), codes=None, names=[])

    def _taken(self, index: NDArray[np.intp]) -> "Rows":
        """Return what belongs to the values of `index`, in that order; `count` and broken rows stay."""
        places = index.astype(np.int64) if self.places is None else self.places[index]
        texts, faults = self.texts, self.faults
        if texts or faults:
            new = {old: place for place, old in enumerate(index.tolist())}
            texts, faults = ({new[old]: text for old, text in some.items() if old in new} for some in (texts, faults))
        codes, times, sizes = (
            None if column is None else np.ascontiguousarray(column[index])
            for column in (self.codes, self.times, self.sizes)
        )
        values = np.ascontiguousarray(self.values[index])
        return replace(
            self, values=values, codes=codes, places=places, texts=texts, times=times, sizes=sizes, faults=faults
        )

    def attach(
        self, times: NDArray[np.int64] | None, sizes: NDArray[np.float64] | None, faults: Mapping[int, str]
    ) -> None:
        """Take times and sizes, one for each row; where the values are of several columns, each of them has these."""
        row = len(next((column for column in (times, sizes) if column is not None), ()))
        columns = len(self.values) // row if row else 1
        if columns > 1:
            times = None if times is None else np.tile(times, columns)
            sizes = None if sizes is None else np.tile(sizes, columns)
        self.times, self.sizes = times, sizes
        self.faults = {row * column + index: text for column in range(columns) for index, text in faults.items()}

    def named(self) -> frozenset[str]:
        """Return the symbols that the rows name themselves, blank ones left out, where one series takes them all."""
        return self._occurring() if self.symbols is None else self.symbols

    def _occurring(self) -> frozenset[str]:
        if self.codes is None or not len(self.codes):
            return frozenset()
        return frozenset(self.names[code] for code in np.flatnonzero(np.bincount(self.codes)).tolist()) - {""}

    def turned_round(self) -> "Rows":
        """Return the rows, the last one first."""
        last = self.count - 1
        rows = self._taken(np.arange(len(self.values))[::-1])
        places = rows.places if rows.places is not None else np.arange(0)
        broken = [Bad(last - row.place, row.found) for row in self.broken]
        return replace(rows, places=last - places, broken=broken)

    def with_prices(self, absent: NDArray[np.bool_] | None, divide_by: float | None) -> "Rows":
        """Return the rows without the values that are `absent`, and the others divided; `count` stays.

        A quotient is rounded once, so that 5853300 / 10000 is the float64 nearest to 585.33.
        """
        rows = self
        if absent is not None and absent.any():
            rows = self._taken(np.flatnonzero(~absent))
        return rows if divide_by is None else replace(rows, values=rows.values / divide_by)

    def absent(self, values: NDArray[np.float64], texts: Container[str], *, nan: bool) -> NDArray[np.bool_]:
        """Return which values say that there is no price: some numbers, some texts, NaN where that counts."""
        found = np.isin(self.values, values)
        if nan:
            found |= np.isnan(self.values)
        for index, text in self.texts.items():
            found[index] = text in texts
        return found

    def bad(self, most: float | None = None, *, signed: bool = False) -> list[Bad]:
        """Return the rows that hold no price, or no symbol, in the order of the file; most: the highest price.

        None: MAX_PRICE, but for numbers that stand for "no price" at vendors. signed: a price may be negative.
        """
        found = [Bad(self.place(index), text) for index, text in self.faults.items()]
        without = self._without_price(most, signed=signed)
        found += [Bad(self.place(index), self._fault(index, most, signed=signed)) for index in without]
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
        return replace(self._taken(np.flatnonzero(~gone[places])), broken=[])

    def part(self, symbol: str) -> Part:
        """Return all points as those of one symbol."""
        return Part(symbol, Ticks(self.values, self.times, self.sizes), self.places)

    def by_symbol(self) -> Iterator[Part]:
        """Yield each symbol that occurs with its points, in the order in which the symbols first occur."""
        by_row = self._codes()
        if not len(by_row):
            return
        # PERF: one stable sort splits any number of symbols; a mask for each would read all rows for every symbol.
        order = np.argsort(by_row, kind="stable")
        codes = by_row[order]
        begins = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
        by_code = self._taken(order).part("")
        parts = zip(begins.tolist(), [*begins[1:].tolist(), len(order)], strict=True)
        for begin, end in sorted(parts, key=lambda part: int(order[part[0]])):
            places = None if by_code.places is None else by_code.places[begin:end]
            yield Part(self.names[codes[begin]], by_code.points.cut(begin, end), places)

    def _codes(self) -> NDArray[np.integer]:
        return np.empty(0, dtype=np.int64) if self.codes is None else self.codes

    def _without_price(self, most: float | None, *, signed: bool) -> list[int]:
        values = self.values
        if not len(values):
            return []
        sound = find_invalid(values) in {VALID, VALID_WITH_NEGATIVE_ZERO}
        if sound and values.max() <= (_LOWEST_SENTINEL if most is None else most):
            return []
        with np.errstate(invalid="ignore"):
            highest = MAX_PRICE if most is None else min(most, MAX_PRICE)
            prices = (values >= (-MAX_PRICE if signed else 0.0)) & (values <= highest)
        if most is None:
            prices &= ~np.isin(np.abs(values), SENTINELS)
        return np.flatnonzero(~prices).tolist()

    def _fault(self, index: int, most: float | None, *, signed: bool) -> str:
        text = self.texts.get(index)
        if text is not None:
            return f"{text} is no number{_hint(text)}"
        value = float(self.values[index])
        if most is None and (value in SENTINELS or (signed and -value in SENTINELS)):
            return (
                f"{value:.0f} stands for 'no price' at some vendors: --no-price {value:.0f} leaves such rows out, "
                f"--max-price {MAX_PRICE:g} takes it as a price"
            )
        return no_price(value, signed=signed, most=MAX_PRICE if most is None else most)


def coded(names: Iterable[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Return names as codes, and the names that these stand for, each once."""
    codes: dict[str, int] = {}
    return np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int64), list(codes)


def _hint(text: str) -> str:
    """Return the options that read what is no number as it stands, as a message ends."""
    cell = text.strip("'\"")
    ways = [way for way in readings([cell]) if way.number(cell) is not None] if any(map(str.isdigit, cell)) else []
    options = [
        f"--decimal {way.decimal}" if way.thousands is None else f"--thousands {way.thousands!r}" for way in ways
    ]
    return f"; {' or '.join(options)} reads it" if options else ""
