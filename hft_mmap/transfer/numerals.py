"""How numbers are written: which mark stands in front of the decimals, which between thousands."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, Self

POINT, COMMA = ".", ","
SPACE = " "
THOUSANDS = (COMMA, POINT, SPACE, "'")
"""Marks between thousands. A space stands for any of Unicode that is used so, an apostrophe also for U+2019."""
_SAME_AS = {SPACE: " \u00a0\u2009\u202f", "'": "'\u2019"}
_TAIL = r"(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf(?:inity)?)"


@lru_cache(maxsize=32)
def _pattern(decimal: str, thousands: str | None) -> re.Pattern[str]:
    """Return what matches a number; groups have three digits, but for the two of lakh and crore."""
    point = re.escape(decimal)
    plain = rf"[0-9]+(?:{point}[0-9]*)?|{point}[0-9]+"
    if thousands is None:
        return re.compile(rf"[+-]?(?:{plain}){_TAIL}", re.IGNORECASE)
    mark = f"[{_SAME_AS.get(thousands, re.escape(thousands))}]"
    grouped = rf"[0-9]{{1,3}}(?:{mark}[0-9]{{2,3}})*{mark}[0-9]{{3}}(?:{point}[0-9]*)?"
    return re.compile(rf"[+-]?(?:{grouped}|{plain}){_TAIL}", re.IGNORECASE)


class Numerals(NamedTuple):
    """A way to write numbers. thousands None: no mark stands between them."""

    decimal: str = POINT
    thousands: str | None = None

    @classmethod
    def of(cls, decimal: str | None, thousands: str | None) -> Self:
        """Return what was asked for; a comma between thousands leaves the point for decimals, and the other way."""
        if decimal is None:
            decimal = COMMA if thousands == POINT else POINT
        return cls(decimal, thousands)

    def number(self, cell: str) -> float | None:
        """Return the number that a cell holds, None if it holds none."""
        return float(self.plain(cell)) if _pattern(*self).fullmatch(cell) else None

    def plain(self, cell: str) -> str:
        """Return a number as Python writes it."""
        for mark in _SAME_AS.get(self.thousands or "", self.thousands or ""):
            cell = cell.replace(mark, "")
        return cell.replace(self.decimal, POINT)

    def regex(self) -> str:
        """Return what matches a cell that is such a number."""
        return _pattern(*self).pattern

    def marks(self) -> str:
        """Return the characters that may stand between thousands."""
        return _SAME_AS.get(self.thousands or "", self.thousands or "")

    def __str__(self) -> str:
        """Say it as a person would."""
        between = "none" if self.thousands is None else repr(self.thousands)
        return f"decimal mark {self.decimal!r}, between thousands {between}"


PLAIN = Numerals()
_READINGS = tuple(
    Numerals(decimal, thousands)
    for thousands in (None, *THOUSANDS)
    for decimal in (POINT, COMMA)
    if decimal != thousands
)
_THREE_DECIMALS = re.compile(r"[+-]?[0-9]{1,3}\.[0-9]{3}")
_CURRENCY = re.compile(r"[$€£¥₹]\s*[0-9].*|[0-9].*\s*[$€£¥₹]")


def is_number(cell: str) -> bool:
    """Return whether a cell is a number in any way to write one; an amount of money counts too."""
    cell = cell.strip()
    return any(reading.number(cell) is not None for reading in _READINGS) or bool(_CURRENCY.fullmatch(cell))


def readings(cells: Iterable[str]) -> list[Numerals]:
    """Return the ways in which all of these cells that are numbers at all can be read, the simplest ones only.

    A mark between thousands is one only if some cell has it; without any number the plain way is the only one.
    """
    numbers = [cell for cell in cells if any(reading.number(cell) is not None for reading in _READINGS)]
    if not numbers or all(PLAIN.number(cell) is not None for cell in numbers):
        return [PLAIN]
    found: list[Numerals] = []
    for reading in _READINGS:
        if any(reading.number(cell) is None for cell in numbers):
            continue
        used = set(reading.marks()) & {mark for cell in numbers for mark in cell}
        if reading.thousands is None or used:
            found.append(reading)
    if any(reading.decimal == COMMA and reading.thousands is None for reading in found):
        # "1,5" can't be grouped; "1,234" can, and "1,234" beside "999" too.
        return [reading for reading in found if reading.thousands in {None, COMMA}]
    with_decimals = [reading for reading in found if any(reading.decimal in cell for cell in numbers)]
    return with_decimals or found[:1] or []


def points_may_be_thousands(cells: Sequence[str], others: Iterable[str]) -> bool:
    """Return whether "1.234" may be a thousand: all cells are so, and other cells beside them have decimal commas."""
    if not cells or not all(_THREE_DECIMALS.fullmatch(cell) for cell in cells):
        return False
    comma = Numerals(COMMA, POINT)
    commas = [cell for cell in others if PLAIN.number(cell) is None and comma.number(cell) is not None]
    return bool(commas)
