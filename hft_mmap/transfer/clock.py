"""Times of a file as nanoseconds since 1970 UTC: numbers since then, ISO 8601, or any format, and zones.

A time is exact or none: digits below a nanosecond, a day that does not exist, an hour that a zone has twice or never
make a bad row.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hft_mmap.ticks import MOST_NS, UNITS_NS
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.rows import shown
from hft_mmap.transfer.zones import DAY_NS, SECOND_NS, offset_s, to_utc

EPOCH, ISO = "epoch", "iso"
UNITS = ("s", "ms", "us", "ns")
LIKELY_NS = (5 * 10**17, 5 * 10**18)
"""From 1985 to 2128: of numbers in one of the four units that lie there, the unit is certain."""
_DECIMALS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
_THIS_CENTURY = 69
"""Years of two digits below it are of this one, as POSIX has it."""
_DIGITS = 9
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_ZONED = r"(?P<z>\s*(?:Z|(?:UTC|GMT)?\s?[+-][0-9]{2}(?::?[0-9]{2})?|UTC|GMT))?"
_ISO = (
    r"(?P<Y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"
    r"(?:[T ](?P<H>[0-9]{2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2})(?:[.,](?P<f>[0-9]+))?)?)?"
)
_FIELDS = {
    "Y": "[0-9]{4}", "y": "[0-9]{2}", "m": "[0-9]{1,2}", "d": "[0-9]{1,2}", "H": "[0-9]{1,2}", "I": "[0-9]{1,2}",
    "M": "[0-9]{1,2}", "S": "[0-9]{1,2}", "f": "[0-9]+", "b": "[A-Za-z]{3,}", "B": "[A-Za-z]{3,}", "p": "[AaPp][Mm]",
}  # fmt: skip
_NEEDED = (("Y", "y"), ("m", "b", "B"), ("d",))


class Clock(NamedTuple):
    """How the times of a file are read. form: EPOCH, ISO, or a format as `--time-format` has it.

    unit: of EPOCH. bounded: it was told by the magnitude of the numbers, and one of another magnitude is a bad row.
    fractions: numbers have decimals. zone: of times that don't say theirs; None: each says it, or is a number.
    days: times are days alone, taken as midnight in UTC as nobody says a zone. midnight: of EPOCH, numbers are since
    the midnight of a day in the zone, which is so many nanoseconds after that of 1970.
    """

    form: str
    unit: str = "ns"
    bounded: bool = False
    fractions: bool = False
    zone: str | None = None
    days: bool = False
    midnight: int | None = None

    def __str__(self) -> str:
        """Say it as a person would."""
        if self.midnight is not None:
            return f"{self.unit} since midnight of {np.datetime64(self.midnight, 'ns').astype('M8[D]')}, {self.zone}"
        if self.form == EPOCH:
            return f"{self.unit} since 1970 UTC" + (", by magnitude" if self.bounded else "")
        zone = "each with its zone" if self.zone is None else self.zone
        return f"{'days' if self.days else 'ISO 8601' if self.form == ISO else self.form}, {zone}"


@lru_cache(maxsize=64)
def _pattern(form: str) -> re.Pattern[str]:
    """Return what matches a time, its parts as groups; ValueError for a format that says no day, or is none."""
    if form == ISO:
        return re.compile(_ISO + _ZONED)
    parts, last = "", 0
    seen: list[str] = []
    directives = list(re.finditer(r"%(.)", form))
    for found in directives:
        name = found[1]
        if name not in _FIELDS or name in seen:
            what = "twice" if name in seen else "which is none of " + " ".join(f"%{one}" for one in _FIELDS)
            message = f"{form!r} has %{name}, {what}"
            raise ValueError(message)
        seen.append(name)
        # Where nothing stands between two numbers, only their widths tell them apart.
        glued = form[found.end() : found.end() + 1] == "%" or form[: found.start()][-2:-1] == "%"
        width = _FIELDS[name].replace("{1,2}", "{2}") if glued else _FIELDS[name]
        parts += re.escape(form[last : found.start()]) + f"(?P<{name}>{width})"
        last = found.end()
    if any(not set(names) & set(seen) for names in _NEEDED):
        message = f"{form!r} says no day: it needs %Y (or %y), %m (or %b, %B) and %d"
        raise ValueError(message)
    return re.compile(parts + re.escape(form[last:]) + _ZONED)


def check_form(form: str) -> None:
    """Make sure that a format can be read; ValueError."""
    _pattern(form)


def parsed(cell: str, form: str) -> tuple[int, int | None]:
    """Return a time as nanoseconds since 1970 in its own zone, and the seconds by which that is ahead of UTC.

    None: it does not say. ValueError where it is none.
    """
    found = _pattern(form).fullmatch(cell.strip())
    if found is None:
        raise ValueError(cell)
    part = found.groupdict()
    year = int(part["Y"]) if part.get("Y") else int(part["y"]) + (2000 if int(part["y"]) < _THIS_CENTURY else 1900)
    name = part.get("b") or part.get("B")
    month = int(part["m"]) if name is None else _month(name)
    days = date(year, month, int(part["d"])).toordinal() - date(1970, 1, 1).toordinal()
    hour, minute, second = (int(part.get(name) or 0) for name in "HMS")
    if part.get("I"):
        hour = int(part["I"]) % 12 + (12 if (part.get("p") or "").lower() == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004 - a leap second has no place in time since 1970
        raise ValueError(cell)
    digits = (part.get("f") or "").rstrip("0")
    if len(digits) > 9:  # noqa: PLR2004 - of a nanosecond
        raise ValueError(cell)
    return ((days * 24 + hour) * 60 + minute) * 60 * SECOND_NS + second * SECOND_NS + int(digits.ljust(9, "0")), (
        offset_s(part["z"])
    )


def _month(name: str) -> int:
    """Return the number of a month, of which a name is the beginning; 13 where it is of none."""
    return next((number for number, full in enumerate(_MONTHS, 1) if full.startswith(name.lower())), 13)


def number_ns(number: object, unit: str) -> int:
    """Return a number of units since 1970 as nanoseconds; ValueError where it is none, or has digits below those."""
    try:
        found = Decimal(repr(number) if isinstance(number, float) else str(number).strip()) * UNITS_NS[unit]
        if not found.is_finite() or found != found.to_integral_value():
            raise ValueError(number)
    except InvalidOperation:
        raise ValueError(number) from None
    return int(found)


def ns_of_cells(clock: Clock, cells: Sequence[object]) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Return cells, texts or Python's own values, as times, and what is wrong with those that are none, by place."""
    times = np.zeros(len(cells), dtype=np.int64)
    faults: dict[int, str] = {}
    known: dict[object, int | str] = {}
    for index, cell in enumerate(cells):
        key = (type(cell), cell) if isinstance(cell, int | float | str | date) else str(cell)
        found = known.get(key)
        if found is None:
            found = known[key] = _one(clock, cell)
        if isinstance(found, str):
            faults[index] = found
        else:
            times[index] = found
    if clock.zone is None:
        return times, faults
    for index in np.flatnonzero(times % DAY_NS).tolist() if clock.days else ():
        what = f"{_written(cells[index])} has a time of day, where the first rows are days alone"
        faults.setdefault(index, f"{what}: --tz says the time zone")
    times, wrong = to_utc(times, clock.zone)
    for index in np.flatnonzero(wrong).tolist():
        faults.setdefault(index, f"{_written(cells[index])} is no time in {clock.zone}, or there are two of it")
    return times, faults


def _one(clock: Clock, cell: object) -> int | str:
    """Return one time, of its own zone where the clock has one; or what is wrong with it."""
    what = _written(cell)
    try:
        if clock.form == EPOCH:
            return _number(clock, cell)
        if isinstance(cell, date):
            found, offset = _of_date(cell)
        elif isinstance(cell, str | int):
            found, offset = parsed(str(cell), clock.form)
        else:
            return f"{what} is no time"
    except (ValueError, OverflowError):
        return f"{what} is no time as in the other rows ({clock})"
    if (offset is None) != (clock.zone is not None):
        has = "no time zone" if offset is None else "a time zone"
        return f"{what} has {has}, where the first rows are otherwise"
    return _within(found - (offset or 0) * SECOND_NS, what)


def _number(clock: Clock, cell: object) -> int | str:
    """Return the time that a number says, or what is wrong with it; ValueError where it is none."""
    what, since = _written(cell), "1970" if clock.midnight is None else "midnight"
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return f"{what} is no time: a number of {clock.unit} since {since} is one"
    found = number_ns(cell, clock.unit)
    if clock.midnight is not None:
        return found + clock.midnight if 0 <= found < DAY_NS else f"{what} is no time of one day ({clock})"
    if clock.bounded and not LIKELY_NS[0] <= found < LIKELY_NS[1]:
        return f"{what} is no time in {clock.unit} since 1970, as the others are; --time-unit says the unit"
    return _within(found, what)


def _within(found: int, what: str) -> int | str:
    return found if -MOST_NS <= found <= MOST_NS else f"{what} is no time from 1677 to 2262"


def _of_date(cell: date) -> tuple[int, int | None]:
    offset = cell.utcoffset() if isinstance(cell, datetime) else None
    if isinstance(cell, datetime):
        since = cell.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    else:
        since = timedelta(days=cell.toordinal() - date(1970, 1, 1).toordinal())
    ns = ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1000
    return ns, None if offset is None else round(offset.total_seconds())


def _written(cell: object) -> str:
    """Return a cell as a message shows it."""
    if isinstance(cell, date):
        return cell.isoformat()
    return "null" if cell is None else shown(cell.strip() if isinstance(cell, str) else str(cell))


def csv_type(clock: Clock) -> Arrow:
    """Return the type as which Arrow reads such cells of a CSV by itself; text where it can't."""
    arrow = need("pyarrow", "reading CSV")
    if clock.form == EPOCH:
        return arrow.decimal128(28, _DECIMALS[clock.unit]) if clock.fractions else arrow.int64()
    if clock.form == ISO:
        return arrow.timestamp("ns", tz="UTC" if clock.zone is None else None)
    return arrow.string()


def ns_of_arrow(clock: Clock, array: Arrow) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Return an array of Arrow as times, and what is wrong with those that are none, by place."""
    types = need("pyarrow", "reading a table").types
    kind = array.type
    plain = (types.is_timestamp(kind) and (kind.tz is None) == (clock.zone is not None)) or types.is_date(kind)
    plain &= clock.midnight is None
    whole = types.is_integer(kind) and clock.form == EPOCH
    exact = types.is_decimal128(kind) and clock.form == EPOCH and kind.scale == _DECIMALS[clock.unit]
    if array.null_count:
        times = None
    elif plain or whole or exact:
        times = _whole_ns(clock, array)
    else:
        times = _ns_of_texts(clock, array) if types.is_string(kind) else None
    if times is None:
        return ns_of_cells(clock, _cells(array))
    if clock.midnight is not None:
        if len(times) and not 0 <= times.min() <= times.max() < DAY_NS:
            return ns_of_cells(clock, _cells(array))
        times = times + clock.midnight
    if clock.zone is not None:
        wrong = bool((times % DAY_NS).any()) if clock.days else False
        times, missing = to_utc(times, clock.zone)
        return (times, {}) if not (wrong or missing.any()) else ns_of_cells(clock, _cells(array))
    if clock.bounded and len(times) and not LIKELY_NS[0] <= times.min() <= times.max() < LIKELY_NS[1]:
        return ns_of_cells(clock, _cells(array))
    return times, {}


def _whole_ns(clock: Clock, array: Arrow) -> NDArray[np.int64] | None:
    """Return numbers and typed times of Arrow as nanoseconds; None where one is beyond them."""
    arrow = need("pyarrow", "reading a table")
    if arrow.types.is_decimal128(array.type):
        words = np.frombuffer(array.buffers()[1], dtype=np.int64).reshape(-1, 2)
        low, high = words[array.offset : array.offset + len(array)].T
        return np.ascontiguousarray(low) if bool((high == low >> 63).all()) else None
    try:
        if not arrow.types.is_integer(array.type):
            zone = getattr(array.type, "tz", None)
            array = array.cast(arrow.timestamp("ns", tz=zone))  # raises where that is beyond 64 bits
            return np.ascontiguousarray(array.cast(arrow.int64()).to_numpy(zero_copy_only=False))
        found = array.cast(arrow.int64()).to_numpy(zero_copy_only=False)
    except arrow.ArrowInvalid:
        return None
    most = MOST_NS // UNITS_NS[clock.unit]
    if len(found) and not -most <= found.min() <= found.max() <= most:
        return None
    return np.ascontiguousarray(found * UNITS_NS[clock.unit] if clock.unit != "ns" else found)


def _ns_of_texts(clock: Clock, array: Arrow) -> NDArray[np.int64] | None:
    """Return texts of one format as nanoseconds of their own zone; None where one of them has to be looked at alone.

    PERF: 0.3 us a row where `parsed` takes 3.
    """
    if clock.form == EPOCH or clock.zone is None or not len(array):
        return None
    compute = need("pyarrow.compute", "reading a table")
    found = compute.extract_regex(array, rf"^\s*(?:{_pattern(clock.form).pattern})\s*$")
    if found.null_count:
        return None
    names = [field.name for field in found.type]
    part = {name: compute.struct_field(found, [place]) for place, name in enumerate(names)}
    if compute.any(compute.not_equal(part["z"], "")).as_py():
        return None
    numbers = {name: _numbers(part[name]) for name in "YymdHIMS" if name in part}
    year = numbers["Y"] if "Y" in numbers else numbers["y"] + np.where(numbers["y"] < _THIS_CENTURY, 2000, 1900)
    month = numbers["m"] if "m" in numbers else _months(part["b"] if "b" in part else part["B"])
    nothing = np.zeros(len(array), dtype=np.int64)
    hour, minute, second = (numbers.get(name, nothing) for name in "HMS")
    if "I" in numbers:
        after = nothing if "p" not in part else _numbers(compute.equal(compute.utf8_lower(part["p"]), "pm"))
        hour = numbers["I"] % 12 + 12 * after
    first = (year - 1970) * 12 + month - 1
    days = first.astype("M8[M]").astype("M8[D]") + (numbers["d"] - 1)
    sound = (month >= 1) & (month <= 12) & (days.astype("M8[M]").astype(np.int64) == first)  # noqa: PLR2004
    sound &= (hour <= 23) & (minute <= 59) & (second <= 59)  # noqa: PLR2004 - as in `parsed`
    since = days.astype(np.int64)
    sound &= np.abs(since) < MOST_NS // DAY_NS - 1
    rest = compute.utf8_rtrim(part["f"], "0") if "f" in part else None
    if not sound.all() or (rest is not None and compute.max(compute.utf8_length(rest)).as_py() > _DIGITS):
        return None
    fraction = nothing if rest is None else _numbers(compute.utf8_rpad(rest, _DIGITS, "0"))
    return ((since * 24 + hour) * 60 + minute) * (60 * SECOND_NS) + second * SECOND_NS + fraction


def _numbers(column: Arrow) -> NDArray[np.int64]:
    """Return texts of digits, of which an empty one is 0, as numbers."""
    arrow, compute = need("pyarrow", "reading a table"), need("pyarrow.compute", "reading a table")
    if arrow.types.is_string(column.type):
        column = compute.if_else(compute.equal(column, ""), "0", column)
    found: NDArray[np.int64] = column.cast(arrow.int64()).to_numpy(zero_copy_only=False)
    return found


def _months(column: Arrow) -> NDArray[np.int64]:
    """Return names of months as their numbers, 0 where one is none."""
    coded = column.dictionary_encode()
    numbers = [number if (number := _month(name)) <= len(_MONTHS) else 0 for name in coded.dictionary.to_pylist()]
    found: NDArray[np.int64] = np.array(numbers, dtype=np.int64)[coded.indices.to_numpy(zero_copy_only=False)]
    return found


def _cells(array: Arrow) -> list[object]:
    """Return an array as Python's values: typed times as texts, of which none lacks its nanoseconds."""
    arrow = need("pyarrow", "reading a table")
    if arrow.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if arrow.types.is_timestamp(array.type) or arrow.types.is_date(array.type):
        array = array.cast(arrow.string())
    if arrow.types.is_decimal(array.type):
        array = array.cast(arrow.string())
    cells: list[object] = array.to_pylist()
    return cells
