"""What stands beside the prices of a table: when each row is of, how much was traded, and who wanted it.

Found by the names of columns and by the first rows. What is found is stored, so whatever about it is not certain is a
doubt: a zone that nobody says, a day and a month that may change places, a word that is no side.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hft_mmap.transfer.clock import EPOCH, ISO, LIKELY_NS, UNITS, Clock, number_ns, parsed
from hft_mmap.transfer.look import Choice, Look
from hft_mmap.transfer.order import Times, form_of, is_number
from hft_mmap.transfer.rows import shown
from hft_mmap.transfer.wanted import Beside
from hft_mmap.transfer.zones import DAY_NS
from hft_mmap.tree.kernels import MAX_PRICE

SIZE_COLUMNS = ("size", "qty", "quantity", "last_size", "last_qty", "trade_size", "trade_qty")
"""What a column is called, in any case, that has the sizes of trades for sure."""
_OF_TICKS = ("volume", "vol", "amount")
"""What is one where the table is no table of bars, whose volumes are of many trades."""
_OF_BARS = frozenset({"open", "high", "low", "close", "adj close"})
SIDE_COLUMNS = ("side", "aggressor", "aggressor_side", "taker_side")
BOUGHT = ("buy", "b", "bid", "bought", "buyer", "1", "+1", "+")
SOLD = ("sell", "s", "ask", "a", "sold", "seller", "-1", "-")
_DAYS_AS_NUMBERS = (19_000_101, 21_001_231)
NO_TIME = Choice("--no-time", "prices without times", "time", False)
NO_SIDE = Choice("--no-side", "sizes without a sign", "side", False)


class Signs(NamedTuple):
    """What the cells of a side say: 1 bought, -1 sold."""

    of: Mapping[str, float]

    def sign(self, cell: object) -> float:
        """Return 1 or -1; NaN where a cell says neither."""
        text = str(cell).strip().casefold()
        return self.of.get(text.removesuffix(".0"), np.nan)


class Extra(NamedTuple):
    """What is read beside the prices: how times are, and the places of sizes and sides; None where there is none."""

    clock: Clock | None = None
    size: int | None = None
    side: int | None = None
    signs: Signs = Signs({})

    @property
    def places(self) -> tuple[int, ...]:
        """The columns of sizes and sides."""
        return tuple(place for place in (self.size, self.side) if place is not None)


def signed(
    sizes: NDArray[np.float64], texts: Mapping[int, str], signs: NDArray[np.float64] | None, sides: Sequence[object]
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Return sizes with their signs, and what is wrong with those that are none, by place.

    texts: what stands where a size is no number. signs, sides: what the side of each says, and its cell.
    """
    faults = {index: f"the size {text} is no number" for index, text in texts.items()}
    with np.errstate(invalid="ignore"):
        sound = np.abs(sizes) <= MAX_PRICE
        if signs is not None:
            sound &= sizes >= 0
    for index in np.flatnonzero(~sound).tolist():
        least = "0" if signs is not None else f"-{MAX_PRICE:g}"
        faults.setdefault(
            index, f"the size {float(sizes[index])!r}: a size must be finite, and from {least} to {MAX_PRICE:g}"
        )
    if signs is None:
        return sizes, faults
    for index in np.flatnonzero(np.isnan(signs)).tolist():
        faults.setdefault(
            index, f"the side {shown(str(sides[index]).strip())} is neither bought nor sold; --no-side takes none"
        )
    return sizes * signs, faults


def signs_of(beside: Beside) -> Signs:
    """Return what the cells of a side say."""
    if beside.bought or beside.sold:
        words = {**dict.fromkeys(beside.bought, 1.0), **dict.fromkeys(beside.sold, -1.0)}
    else:
        words = {**dict.fromkeys(BOUGHT, 1.0), **dict.fromkeys(SOLD, -1.0)}
    return Signs({word.strip().casefold(): sign for word, sign in words.items()})


def size_place(names: Sequence[str], beside: Beside) -> int | None:
    """Return the column that has sizes, by its name, among `names` as they are compared; None if there is none."""
    if not beside.size:
        return None
    known = SIZE_COLUMNS if _OF_BARS & set(names) else SIZE_COLUMNS + _OF_TICKS
    return next((names.index(name) for name in known if names.count(name) == 1), None)


def side_place(names: Sequence[str], beside: Beside) -> int | None:
    """Return the column that says who wanted a trade, by its name; None if there is none."""
    if not (beside.size and beside.side):
        return None
    return next((names.index(name) for name in SIDE_COLUMNS if names.count(name) == 1), None)


def check_sides(cells: Sequence[object], signs: Signs, look: Look) -> None:
    """Note a doubt where a cell of a side is neither bought nor sold."""
    odd = next((cell for cell in cells if cell is not None and np.isnan(signs.sign(cell))), None)
    if odd is not None:
        look.doubt(
            f"{shown(str(odd))} in {look.side} says neither bought nor sold: --bought and --sold name the cells that "
            f"do, --no-side takes sizes without a sign",
            NO_SIDE,
        )


def clock_of(
    cells: Sequence[object], style: Times, beside: Beside, look: Look, typed: Clock | None = None
) -> Clock | None:
    """Return how times are read, of which the first are `cells`; None, and a doubt, where that is not certain.

    typed: what the type of their column says.
    """
    some = [cell.strip() if isinstance(cell, str) else cell for cell in cells if cell is not None and cell != ""]
    if beside.day is not None:
        return _of_midnight(some, beside.day, beside, look, typed)
    if typed is not None and beside.form is None and beside.unit is None:
        return _in_zone(typed, beside, look, None if typed.zone is None else some)
    if not some:
        return _unread(cells, look)
    if all(isinstance(cell, date) for cell in some):
        zoned = any(isinstance(cell, datetime) and cell.tzinfo is not None for cell in some)
        days = not any(isinstance(cell, datetime) and cell.time() != time() for cell in some)
        return _in_zone(Clock(ISO, zone=None if zoned else "", days=days and not zoned), beside, look, some)
    if beside.unit is not None or (beside.form is None and is_number(style)):
        return _of_numbers(some, style, beside, look)
    forms = [form_of(one) for one in style.styles] if beside.form is None else [beside.form]
    return _of_forms(some, style, forms, beside, look)


def _of_forms(
    some: Sequence[object], style: Times, forms: Sequence[str], beside: Beside, look: Look
) -> Clock | None:  # fmt: skip
    """Return the clock of texts; None, with a doubt, unless there is one way to read them."""
    if len(forms) == 1:
        return _of_texts([str(cell) for cell in some], forms[0], beside, look)
    if not forms:
        return _unread(some, look)
    first = next(str(cell) for cell in some if style.can_read(cell))
    look.doubt(
        f"{shown(first)} in {' and '.join(look.times)} can be read as {' or as '.join(map(str, forms))}: "
        f"--time-format says which, --no-time takes the prices alone",
        *(Choice(f"--time-format {shown(str(form))}", "", "time_format", form) for form in forms),
        NO_TIME,
    )
    return None


def _unread(some: Sequence[object], look: Look) -> Clock | None:
    """Return no clock, with a doubt, where there are times that nobody can read."""
    if not some:
        return None
    look.doubt(
        f"{shown(str(some[0]))} in {' and '.join(look.times)} is read as no time: --time-column names the column of "
        f"times, --time-format says how they are written, as %d.%m.%Y %H:%M:%S, or --time-unit the unit of numbers "
        f"since 1970; --no-time takes the prices alone",
        NO_TIME,
    )
    return None


def _of_texts(some: Sequence[str], form: str, beside: Beside, look: Look) -> Clock | None:
    """Return the clock of texts of one format."""
    found = []
    for cell in some:
        try:
            found.append(parsed(cell, form))
        except ValueError:
            continue
    if not found:
        return _unread(some, look)
    zoned = any(offset is not None for _, offset in found)
    days = not zoned and not any(local % DAY_NS for local, _ in found)
    return _in_zone(Clock(form, zone=None if zoned else "", days=days), beside, look, some)


def _of_midnight(
    some: Sequence[object], day: date, beside: Beside, look: Look, typed: Clock | None
) -> Clock | None:  # fmt: skip
    """Return the clock of numbers since midnight of a day; None, with a doubt, where they are none, or of no zone."""
    if typed is not None:
        look.doubt(f"the times in {' and '.join(look.times)} say their day themselves: leave out --date")
        return None
    unit = beside.unit or "s"
    if not any(_is_of_day(cell, unit) for cell in some):
        first = some[0] if some else ""
        look.doubt(
            f"{shown(str(first))} in {' and '.join(look.times)} is no time of one day, in {unit} since midnight: "
            f"leave out --date, or name another --time-column or --time-unit",
            NO_TIME,
        )
        return None
    midnight = (day - date(1970, 1, 1)).days * DAY_NS
    fractions = any("." in str(cell) for cell in some)
    return _in_zone(Clock(EPOCH, unit, fractions=fractions, zone="", midnight=midnight), beside, look, some)


def _is_of_day(cell: object, unit: str) -> bool:
    try:
        return 0 <= number_ns(cell, unit) < DAY_NS
    except ValueError:
        return False


def _of_numbers(some: Sequence[object], style: Times, beside: Beside, look: Look) -> Clock | None:
    """Return the clock of numbers since 1970, by their unit or their magnitude, or of days as 20260131."""
    numbers = [cell for cell in some if beside.unit is not None or style.can_read(cell)]
    fractions = any("." in str(cell) for cell in numbers)
    if beside.unit is not None:
        _check_no_zone(beside, look)
        return Clock(EPOCH, beside.unit, fractions=fractions)
    if all(_DAYS_AS_NUMBERS[0] <= float(str(cell)) <= _DAYS_AS_NUMBERS[1] for cell in numbers):
        return _in_zone(Clock("%Y%m%d", zone="", days=True), beside, look, some)
    for unit in UNITS:
        if all(_is_likely(cell, unit) for cell in numbers):
            _check_no_zone(beside, look)
            return Clock(EPOCH, unit, bounded=True, fractions=fractions)
    look.doubt(
        f"{shown(str(numbers[0]))} in {' and '.join(look.times)} is no time since 1970 whose unit its magnitude tells: "
        f"--time-unit says it, --no-time takes the prices alone",
        *(Choice(f"--time-unit {unit}", "", "time_unit", unit) for unit in UNITS),
        NO_TIME,
    )
    return None


def _is_likely(cell: object, unit: str) -> bool:
    try:
        return LIKELY_NS[0] <= number_ns(cell, unit) < LIKELY_NS[1]
    except ValueError:
        return False


def _check_no_zone(beside: Beside, look: Look) -> None:
    """Note a doubt where a zone is given for times that need none."""
    if beside.zone is not None:
        look.doubt(f"the times say themselves what zone they are of: leave out --tz {beside.zone}")


def _in_zone(clock: Clock, beside: Beside, look: Look, some: Sequence[object] | None) -> Clock | None:
    """Return a clock with its zone: the one given, UTC for days and columns that say it; a doubt where nobody knows.

    some: the first times, where their zone is to be said.
    """
    if clock.zone is None:
        _check_no_zone(beside, look)
        return clock
    if beside.zone is not None:
        return clock._replace(zone=beside.zone, days=False)
    words = {word for name in look.times for word in name.casefold().replace("_", " ").split()}
    if words & {"gmt", "utc"}:
        return clock._replace(zone="UTC", days=False)
    if clock.days:
        return clock._replace(zone="UTC")
    first = f", as {shown(str(some[0]))}," if some else ""
    look.doubt(
        f"the times in {' and '.join(look.times)}{first} say no time zone: --tz names it, as --tz UTC or --tz "
        f"America/New_York; --no-time takes the prices alone",
        Choice("--tz UTC", "in UTC", "tz", "UTC"),
        NO_TIME,
    )
    return None
