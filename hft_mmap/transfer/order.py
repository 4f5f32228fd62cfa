"""Whether a file has its newest row first, as many vendors have it: told by its column of times, before it is read.

Only what is certain counts. Times that are all equal, that go up and down, or that nobody can read say nothing.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from itertools import islice, pairwise
from typing import Any

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.rows import Wanted, shown

SAMPLE_ROWS = 1000
"""Rows from the beginning of a file that are looked at."""
_DATES = ("date", "<date>", "day", "trade date", "trade_date")
_TIMES_OF_DAY = ("time", "<time>")
_TIMES = (
    "timestamp", "datetime", "date_time", "date time", "time", "ts", "ts_event", "ts_recv", "open time", "open_time",
    "opentime", "gmt time", "local time", "unix", "unix_time", "unix timestamp", "epoch",
)  # fmt: skip
_FORMATS = (
    "%Y.%m.%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%m/%d/%y", "%d/%m/%y",
    "%d-%b-%Y", "%b %d, %Y", "%Y%m%d",
)  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %H%M%S")


def time_places(names: Sequence[str]) -> list[int]:
    """Return the places of the columns that say when: a date and the time of that day, or one of both, or none."""
    plain = [name.strip().casefold() for name in names]

    def first(known: Sequence[str]) -> list[int]:
        return [plain.index(name) for name in known if name in plain][:1]

    if day := first(_DATES):
        return day + first(_TIMES_OF_DAY)
    return first(_TIMES)


def check_order(wanted: Wanted, file: str, rows: Iterable[tuple[Sequence[object], object]]) -> None:
    """Make sure that the oldest row comes first, or last with `wanted.reverse`; UnreadableFile names what decides.

    rows: from the beginning of the file, for each the cells that say when, and the symbol, by which the first rows of
    one symbol are told from those of the next one.
    """
    if wanted.reverse is False:
        return
    some = list(islice(rows, SAMPLE_ROWS))
    cells = [
        _when(times)
        for times, symbol in some
        if symbol == some[0][1] and all(cell is not None and cell != "" for cell in times)
    ]
    falls = _falls(cells)
    if falls is None or falls == bool(wanted.reverse):
        return
    between = f"(the times go from {shown(str(cells[0]))} to {shown(str(cells[-1]))})"
    if falls:
        raise UnreadableFile(
            f"{file}: the newest row comes first {between}, and a series begins with the oldest: --reverse turns the "
            f"file round, --no-reverse takes it as it is"
        )
    raise UnreadableFile(f"{file}: the oldest row comes first {between}: it needs no --reverse")


def _when(cells: Sequence[object]) -> object:
    """Return the cells of one row as one text, or the only one as it is."""
    return cells[0] if len(cells) == 1 else " ".join(str(cell).strip() for cell in cells)


def _falls(cells: Sequence[object]) -> bool | None:
    """Return whether times go down (True) or up (False); None where that is not certain."""
    texts = [str(cell).strip() if isinstance(cell, str | bytes) else cell for cell in cells]
    found = {_direction(numbers) for numbers in _readings(texts)}
    return found.pop() if len(found) == 1 else None


def _direction(numbers: Sequence[Any]) -> bool | None:
    falls = any(after < before for before, after in pairwise(numbers))
    rises = any(after > before for before, after in pairwise(numbers))
    return None if falls == rises else falls


def _readings(cells: Sequence[object]) -> Iterable[list[Any]]:
    """Yield the cells as times, in each way in which all of them can be read: 1/2/2024 has two."""
    try:
        numbers = [_finite(cell) if isinstance(cell, str) else _number_of(cell) for cell in cells]
    except (TypeError, ValueError):
        pass
    else:
        yield numbers
        return
    texts = [str(cell) for cell in cells]
    try:
        times = [datetime.fromisoformat(text) for text in texts]
        _direction(times)  # times with and without a zone can't be compared
    except (TypeError, ValueError):
        pass
    else:
        yield times
        return
    for day in _FORMATS:
        for clock in _CLOCKS:
            try:
                yield [datetime.strptime(text, day + clock) for text in texts]  # noqa: DTZ007 - only compared
            except ValueError:
                continue


def _finite(text: str) -> float:
    """Return the number that a text is, whole ones exactly: nanoseconds have more digits than a float64."""
    if text.isdigit():
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _number_of(cell: object) -> float:
    """Return what a typed cell holds as something that can be compared."""
    if isinstance(cell, datetime):
        return cell.timestamp()
    if isinstance(cell, date):
        return float(cell.toordinal())
    if isinstance(cell, int | float) and math.isfinite(cell):
        return cell
    raise TypeError(cell)
