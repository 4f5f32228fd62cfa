"""Which columns of a table are meant, and whether its rows are in the order of a series, by the first of its rows.

What is found goes into the `Look` of the file, and what is not certain becomes a doubt there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from hft_mmap.transfer.beside import NO_TIME, Extra, check_sides, clock_of, side_place, signs_of, size_place
from hft_mmap.transfer.clock import Clock
from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.look import NEWEST_FIRST, OLDEST_FIRST, Choice, Look
from hft_mmap.transfer.numerals import is_number as is_number_cell
from hft_mmap.transfer.order import Times, are_times, is_number, time_places, when, written
from hft_mmap.transfer.rows import shown
from hft_mmap.transfer.wanted import Beside, Wanted

DEFAULT_COLUMN = "price"
SYMBOL_COLUMNS = frozenset({"symbol", "ticker", "instrument", "sym"})
"""What a column is called, in any case, that has symbols for sure: it is looked at also where nobody asks for it."""
_PERHAPS_SYMBOLS = frozenset({
    "asset", "code", "coin", "company", "contract", "crypto", "currency", "index", "isin", "market", "name", "pair",
    "product", "ric", "root", "security", "stock", "symbols", "tickers", "underlying", "coin_name", "currency_pair",
    "market_pair", "stock_symbol", "ticker_symbol", "underlying_symbol",
})  # fmt: skip
"""What a column is called that has symbols if it behaves so."""
_SECONDS_DIGITS = 11
"""Of whole numbers that are seconds, and of no names of trades or days that have more."""
_MAX_NAMED = 20
_MAX_SYMBOLS = 10_000


class Layout(NamedTuple):
    """The places of the columns that are meant. written: how the cells of `times` are, joined.

    extra: what of it is stored beside the prices.
    """

    prices: tuple[int, ...]
    symbol: int | None
    times: tuple[int, ...] = ()
    written: Times = Times()
    extra: Extra = Extra()

    @property
    def places(self) -> tuple[int, ...]:
        """The columns that have to be read, each once."""
        symbol = () if self.symbol is None else (self.symbol,)
        times = self.times if self.extra.clock is not None else ()
        return tuple(dict.fromkeys((*self.prices, *symbol, *times, *self.extra.places)))


@dataclass(slots=True)
class Sample:
    """The first rows of a table, by column; `column` returns the cells of one, as text or typed."""

    names: Sequence[str]
    column: Callable[[int], list[object]]
    only: frozenset[int] | None = None
    """Columns that hold what could be a text; None: all."""
    clocks: Mapping[int, Clock] = field(default_factory=dict)
    """How the times of a column are, by its type."""
    _known: dict[int, list[object]] = field(default_factory=dict)

    def cells(self, place: int) -> list[object]:
        """Return the cells of a column, read once."""
        if place not in self._known:
            self._known[place] = self.column(place)
        return self._known[place]

    def times(self, places: Sequence[int]) -> list[object]:
        """Return when each row is of; empty where a cell of it is."""
        rows = zip(*(self.cells(place) for place in places), strict=True)
        return ["" if any(cell is None or cell == "" for cell in row) else when(row) for row in rows]


def plain(name: str) -> str:
    """Return a name as it is compared where nothing has exactly that name; some vendors write <CLOSE>."""
    return " ".join(name.split()).removeprefix("<").removesuffix(">").casefold()


def place_of(names: Sequence[str], column: str, file: str, hint: str = "") -> int:
    """Return the place of `column` among `names`; UnreadableFile if it is not there, or there twice.

    A name counts also in another case, or with space around it, where that leaves no doubt.
    """
    found = [place for place, name in enumerate(names) if name == column] or [
        place for place, name in enumerate(names) if plain(name) == plain(column)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnreadableFile(f"{file}: {len(found)} columns are called {column!r}")
    raise UnreadableFile(f"{file}: no column is called {column!r}; there are: {listed(names)}{hint}")


def listed(names: Sequence[str]) -> str:
    """Return names as a message lists them."""
    return ", ".join(names[:_MAX_NAMED]) + (", …" if len(names) > _MAX_NAMED else "")


def symbol_place(names: Sequence[str]) -> int | None:
    """Return the place of a column that has symbols, by its name; None if there is none."""
    return next((place for place, name in enumerate(names) if plain(name) in SYMBOL_COLUMNS), None)


def choose(names: Sequence[str], wanted: Wanted, look: Look) -> tuple[tuple[int, ...], int | None]:
    """Return the places of the columns of prices and of symbols (None: there is none) among the columns of a file.

    UnreadableFile if one is missing; a doubt, and no place, if it is not clear which one has the prices.
    """
    file = look.file
    symbol = None if wanted.symbol_column is None else place_of(names, wanted.symbol_column, file)
    others = [place for place in range(len(names)) if place != symbol]
    if wanted.columns:
        prices = tuple(place_of(names, column, file) for column in wanted.columns)
    elif [name for name in names if plain(name) == DEFAULT_COLUMN]:
        prices = (place_of(names, DEFAULT_COLUMN, file),)
    elif len(others) == 1:
        prices = (others[0],)
    else:
        look.doubt(
            f"no column is called {DEFAULT_COLUMN!r}; there are: {listed(names)}; --column names the one that has the "
            f"prices",
            *(Choice(f"--column {shown(names[place])}", "", "column", names[place]) for place in others),
        )
        prices = ()
    if symbol in prices:
        raise UnreadableFile(f"{file}: {names[symbol]!r} cannot be the column of prices and of symbols at once")
    return prices, symbol


def survey(sample: Sample, wanted: Wanted, look: Look) -> Layout:
    """Find out which columns are meant, and whether rows go from old to new; UnreadableFile for a column that misses.

    A column of symbols that nobody asked for is among them, so that an import may see whether there are several.
    """
    names, file = sample.names, look.file
    look.names = list(names)
    prices, symbol = choose(names, wanted, look)
    look.prices = [names[place] for place in prices]
    given = tuple(place_of(names, column, file) for column in wanted.beside.times)
    times = given or tuple(time_places(names)) or _times_by_content(sample, {*prices, symbol}, wanted, look)
    times = tuple(place for place in times if place not in prices) if not given else times
    cells = sample.times(times) if times else []
    style = written(cells) if times else Times()
    if symbol is None and wanted.watches:
        symbol = symbol_place(names)
        if symbol is not None and (symbol in prices or not _has_text(sample, symbol)):
            symbol = None  # nobody asked for it
        if symbol is None:
            symbol = _hidden_symbol(sample, {*prices, *times}, cells, style)
    if symbol is not None:
        look.symbol = names[symbol]
        look.symbols = list(dict.fromkeys(str(cell).strip() for cell in sample.cells(symbol) if cell))[:_MAX_SYMBOLS]
    if times:
        look.times = [names[place] for place in times]
        _check_order(sample, symbol, cells, style, wanted, look)
    layout = Layout(prices, symbol, times, style)
    return layout._replace(extra=_extra(sample, layout, wanted.beside, look))


def _extra(sample: Sample, layout: Layout, beside: Beside, look: Look) -> Extra:
    """Find out what is stored beside the prices; what of it is not certain is a doubt."""
    names, prices, times = sample.names, layout.prices, layout.times
    taken = {*prices, layout.symbol, *times}
    clock = None
    asked = any(choice.field == "time_columns" for doubt in look.doubts for choice in doubt.choices)
    if beside.time and times and not asked:
        typed = sample.clocks.get(times[0]) if len(times) == 1 else None
        clock = clock_of(sample.times(times), layout.written, beside, look, typed)
    elif beside.time and (beside.form or beside.unit or beside.zone or beside.day):
        look.doubt("no column says when: --time-column names it", NO_TIME)
    plains = [plain(name) if place not in taken else "" for place, name in enumerate(names)]
    size = place_of(names, beside.sizes, look.file) if beside.sizes else None
    if size is None and len(prices) == 1:
        size = size_place(plains, beside)
    side = place_of(names, beside.sides, look.file) if beside.sides else None
    if side is None and size is not None and len(prices) == 1:
        side = side_place(plains, beside)
    signs = signs_of(beside)
    there = {"times": bool(times) and not beside.time}
    there["sizes"] = len(prices) == 1 and not beside.size and size_place(plains, beside._replace(size=True)) is not None
    look.unread = [name for name, is_there in there.items() if is_there]
    look.clock = None if clock is None else str(clock)
    look.size = None if size is None else names[size]
    look.side = None if side is None or size is None else names[side]
    if side is not None and size is None:
        raise UnreadableFile(
            f"{look.file}: {names[side]!r} says who wanted a trade, and no column its size: --size-column names it"
        )
    if side is not None:
        check_sides(sample.cells(side), signs, look)
    return Extra(clock, size, side, signs)


def _has_text(sample: Sample, place: int) -> bool:
    return sample.only is None or place in sample.only


def _times_by_content(sample: Sample, taken: set[int | None], wanted: Wanted, look: Look) -> tuple[int, ...]:
    """Return the column whose cells are times for sure, whatever it is called; none where there is none.

    Dates are, and what has the type of one. Numbers may be counts, volumes or names of trades: they are where no other
    column could be, they go one way, and have more digits than seconds. Else they are a doubt, if they go one way.
    """
    names, beside = sample.names, wanted.beside
    plains = [plain(name) for name in names]
    taken = taken | {size_place(plains, beside._replace(size=True)), side_place(plains, beside)}
    sure: list[int] = []
    numbers: list[int] = []
    for place in range(len(names)):
        if place in taken:
            continue
        if place in sample.clocks:
            sure.append(place)
        elif _has_text(sample, place) and are_times(sample.cells(place)):
            cells = sample.times((place,))
            (numbers if is_number(written(cells)) else sure).append(place)
    if len(sure) == 1 or not (sure or numbers):
        return tuple(sure)
    places = sure or numbers
    cells = sample.times(places[:1])
    style = written(cells)
    goes = style.falls(cells) is not None
    certain = len(places) == 1 and goes and all(len(str(cell).strip()) > _SECONDS_DIGITS for cell in cells)
    if beside.time and not certain and (sure or goes):
        listed_ = ", ".join(shown(names[place]) for place in places)
        look.doubt(
            f"{'these columns say' if len(places) > 1 else 'this column may say'} when rows are of: {listed_}; "
            f"--time-column names the one that does, --no-time takes the prices alone",
            *(Choice(f"--time-column {shown(names[place])}", "", "time_columns", (names[place],)) for place in places),
            NO_TIME,
        )
    return tuple(places[:1]) if sure or goes else ()


def _hidden_symbol(sample: Sample, taken: set[int], times: list[object], style: Times) -> int | None:
    """Return the place of a column that behaves as one of symbols: by its name and its cells, or by the times alone.

    By its name: it is the same in all of these rows, or each of its texts has times that go one way where all of them
    together do not. By the times: they begin anew with each of its texts.
    """
    for place, name in enumerate(sample.names):
        if place in taken or not _has_text(sample, place):
            continue
        cells = sample.cells(place)
        if not cells or not all(isinstance(cell, str) and cell.strip() and not is_number_cell(cell) for cell in cells):
            continue
        runs = 1 + sum(before != after for before, after in pairwise(cells))
        if plain(name) in _PERHAPS_SYMBOLS:
            if runs == 1 and len(cells) > 1:
                return place
            if times and len(set(cells)) > 1 and not _is_strict(times, style) and _one_way(cells, times, style):
                return place
        elif times and 1 < runs == len(set(cells)) < len(cells) and _one_way(cells, times, style, anew=True):
            return place
    return None


def _is_strict(times: list[object], style: Times) -> bool:
    """Return whether times go one way, and no two are equal."""
    return style.falls(times) is not None and len(set(times)) == len(times)


def _one_way(cells: list[object], times: list[object], style: Times, *, anew: bool = False) -> bool:
    """Return whether the times of each text go one way, none twice. anew: and those of all together do not."""
    groups: dict[object, list[object]] = {}
    for cell, time in zip(cells, times, strict=True):
        groups.setdefault(cell, []).append(time)
    ways = {style.falls(group) for group in groups.values() if len(group) > 1}
    if any(len(set(group)) < len(group) for group in groups.values()) or len(ways) > 1 or None in ways:
        return False
    return not anew or (bool(ways) and style.falls(times) is None)


def _check_order(
    sample: Sample, symbol: int | None, cells: list[object], style: Times, wanted: Wanted, look: Look
) -> None:  # fmt: skip
    """Note the order of rows; a doubt where the newest comes first, or the oldest of a file to be turned round."""
    if symbol is not None and cells:
        symbols = [str(cell).strip() for cell in sample.cells(symbol)]
        cells = [cell for cell, name in zip(cells, symbols, strict=True) if name == symbols[0]]
    cells = [cell for cell in cells if style.can_read(cell)]
    if not cells:
        return
    look.first_time, look.last_time = str(cells[0]), str(cells[-1])
    falls = style.falls(cells)
    if falls is None:
        return
    look.order = NEWEST_FIRST if falls else OLDEST_FIRST
    if wanted.reverse is False or falls == bool(wanted.reverse):
        return
    between = f"(the times go from {shown(look.first_time)} to {shown(look.last_time)})"
    if falls:
        look.doubt(
            f"the newest row comes first {between}, and a series begins with the oldest: --reverse turns the file "
            f"round, --no-reverse takes it as it is",
            Choice("--reverse", "turn it round", "reverse", True),
            Choice("--no-reverse", "take it as it is", "reverse", False),
        )
        return
    raise UnreadableFile(f"{look.file}: the oldest row comes first {between}: it needs no --reverse")
