"""When rows are of: which columns say it, how it is written, and whether the newest row comes first.

Only what is certain counts. Times that are all equal, that go up and down, or that nobody can read say nothing.
"""

import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from hft_mmap.transfer.clock import ISO, parsed

SAMPLE_ROWS = 1000
"""Rows from the beginning of a file that are looked at."""
_DATES = ("date", "<date>", "day", "trade date", "trade_date")
_TIMES_OF_DAY = ("time", "<time>")
_TIMES = (
    "timestamp", "datetime", "date_time", "date time", "time", "ts", "ts_event", "ts_recv", "open time", "open_time",
    "opentime", "gmt time", "local time", "unix", "unix_time", "unix timestamp", "epoch",
)  # fmt: skip
_DAYS = (
    "%Y.%m.%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%m/%d/%y", "%d/%m/%y",
    "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%b %d %Y", "%Y%m%d",
)  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %H%M%S", " %H%M%S%f", " %I:%M:%S %p")
_ZONE = re.compile(r" (?:UTC|GMT)(?:[+-][0-9]{4})?$")
_MAX_ODD_SHARE = 0.1
_EPOCHS = (*((5e8 * unit, 5e9 * unit) for unit in (1, 1e3, 1e6, 1e9)), (19_000_101, 21_001_231))
"""Seconds from 1985 to 2128, in units down to the nanosecond, and days as 20240131: numbers that are times."""

Style = Callable[[Any], Any]
"""What turns a cell into something that can be compared; ValueError or TypeError where it can't."""


def time_places(names: Sequence[str]) -> list[int]:
    """Return the places of the columns that say when: a date and the time of that day, or one of both, or none."""
    plain = [name.strip().casefold() for name in names]

    def first(known: Sequence[str]) -> list[int]:
        return [plain.index(name) for name in known if name in plain][:1]

    if day := first(_DATES):
        return day + first(_TIMES_OF_DAY)
    return first(_TIMES)


class Times(NamedTuple):
    """How times are written: in each of these ways all of them can be read; 1/2/2024 has two."""

    styles: tuple[Style, ...] = ()

    def can_read(self, cell: object) -> bool:
        """Return whether a cell is such a time."""
        return any(_reads(style, _trimmed(cell)) for style in self.styles)

    def falls(self, cells: Sequence[object]) -> bool | None:
        """Return whether times go down (True) or up (False); None where that is not certain.

        Cells that are no times, or empty, are left out.
        """
        some = [_trimmed(cell) for cell in cells if self.can_read(cell)]
        try:
            found = {_direction([style(cell) for cell in some]) for style in self.styles}
        except (TypeError, ValueError):
            return None
        return found.pop() if len(found) == 1 else None

    def sorts(self, cells: Sequence[object]) -> list[int] | None:
        """Return the places of these times from the oldest to the newest; None where that is not certain."""
        orders = set()
        for style in self.styles:
            try:
                keys = [style(_trimmed(cell)) for cell in cells]
                orders.add(tuple(sorted(range(len(keys)), key=keys.__getitem__)))
            except (TypeError, ValueError):
                return None
        return list(orders.pop()) if len(orders) == 1 else None


def written(cells: Sequence[object], *, all_of_them: bool = False) -> Times:
    """Return how times are written. all_of_them: each cell has to be one; else one of ten may be something else.

    What has no style at all is no time.
    """
    some = [_trimmed(cell) for cell in cells if cell is not None and cell != ""]
    if not some or (all_of_them and len(some) < len(cells)):
        return Times()
    probes = some[:3] + some[-1:]
    for group in _STYLES:
        likely = [style for style in group if any(_reads(style, cell) for cell in probes)]
        odd = {style: sum(not _reads(style, cell) for cell in some) for style in likely}
        most = 0 if all_of_them else math.floor(_MAX_ODD_SHARE * len(some)) or int(len(some) > 2)  # noqa: PLR2004
        fitting = [style for style in likely if odd[style] <= min(most, *odd.values())]
        if fitting:
            return Times(tuple(fitting))
    return Times()


def are_times(cells: Sequence[object]) -> bool:
    """Return whether cells are times for sure, whatever their column is called: dates, or seconds since 1970.

    One of ten may be something else, as the word for a total.
    """
    style = written(cells)
    some = [_trimmed(cell) for cell in cells if style.can_read(cell)]
    if not some or len(some) < (1 - _MAX_ODD_SHARE) * len(cells) - 1:
        return False
    try:
        numbers = [_number(cell) for cell in some]
    except (TypeError, ValueError):
        return True
    return any(all(low <= number <= high for number in numbers) for low, high in _EPOCHS)


def _trimmed(cell: object) -> object:
    """Return a text without the space around it, and without the name of a zone, which would only be compared."""
    return _ZONE.sub("", cell).strip() if isinstance(cell, str) else cell


def when(cells: Sequence[object]) -> object:
    """Return the cells of one row that say when as one text, or the only one as it is."""
    return cells[0] if len(cells) == 1 else " ".join(str(cell).strip() for cell in cells)


def _reads(style: Style, cell: object) -> bool:
    try:
        style(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _direction(numbers: Sequence[Any]) -> bool | None:
    falls = any(after < before for before, after in pairwise(numbers))
    rises = any(after > before for before, after in pairwise(numbers))
    return None if falls == rises else falls


def _number(cell: object) -> float:
    """Return a number as it can be compared, whole ones exactly: nanoseconds have more digits than a float64."""
    if isinstance(cell, str):
        if cell.isdigit():
            return int(cell)
        number = float(cell)
    elif isinstance(cell, datetime):
        return cell.timestamp()
    elif isinstance(cell, date):
        return float(cell.toordinal())
    elif isinstance(cell, int | float):
        number = cell
    else:
        raise TypeError(cell)
    if not math.isfinite(number):
        raise ValueError(cell)
    return number


def _iso(cell: object) -> tuple[bool, int]:
    """Return a time as ISO 8601 has it; those with a zone and those without are never compared."""
    if not isinstance(cell, str):
        raise TypeError(cell)
    found, offset_s = parsed(cell, ISO)
    return offset_s is not None, found - (offset_s or 0) * 10**9


def _as(form: str, cell: object) -> int:
    return parsed(str(cell), form)[0]


_STYLES: tuple[tuple[Style, ...], ...] = (
    (_number,), (_iso,), tuple(partial(_as, day + clock) for day in _DAYS for clock in _CLOCKS)
)  # fmt: skip


def form_of(style: Style) -> str:
    """Return the format of strptime that a style reads, or "iso"."""
    return str(style.args[0]) if isinstance(style, partial) else "iso"


def is_number(style: Times) -> bool:
    """Return whether times are numbers."""
    return _number in style.styles
