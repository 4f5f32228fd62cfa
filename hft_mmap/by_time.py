"""What a time is, and a window by time; and which points lie where many times say, found in the column of times.

One window or range by time is read in `asked`. Functions of a `Moment`; O(log N), no lock. A bare number is points, a
number with a unit is time; what is a time, and what an index, its type says: a whole number is an index, a text or a
datetime is a time.
"""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from hft_mmap.errors import ColumnsDiffer, InvalidRange, InvalidTimes, InvalidWindow, OutOfRange, SymbolNotFound
from hft_mmap.moment import Moment
from hft_mmap.named import Indexes
from hft_mmap.ticks import MOST_NS, Times, as_times, time_ns
from hft_mmap.tree.cuts import find_times
from hft_mmap.tree.times import find_time

Window: TypeAlias = int | str | timedelta | np.timedelta64
"""Points, as a whole number; or a time, as "5m" or a timedelta."""
Lasting: TypeAlias = str | timedelta | np.timedelta64
"""A time that something lasts, as "5m" or a timedelta."""
Instant: TypeAlias = str | datetime | np.datetime64
"""A time: RFC 3339, nanoseconds since 1970 as "1700000000000000000ns", a datetime64, or a datetime with a time zone."""

UNITS_NS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9,
}  # fmt: skip
_NUMPY_UNITS_NS = {unit: ns for unit, ns in UNITS_NS.items() if unit != "d"} | {
    "D": UNITS_NS["d"], "W": 7 * UNITS_NS["d"],
}  # fmt: skip
"""Months and years have no one length."""
_MOST_CHARS = 40
_MOST_PLAIN_CHARS = 22
_MANY = 256
_WITH_UNIT = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,12})?)(ns|us|ms|s|m|h|d)")
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-5][0-9])"
)


def is_time(window: object) -> bool:
    """Say whether a window is given as a time."""
    return isinstance(window, (str, timedelta, np.timedelta64))


def is_instant(at: object) -> bool:
    """Say whether a place is given as a time."""
    return isinstance(at, (str, datetime, np.datetime64))


def duration_ns(window: object, name: str = "window") -> int:
    """Return a window that is given as a time in nanoseconds; InvalidWindow, which calls it `name`."""
    if isinstance(window, str):
        found = _number_with_unit(window)
    elif isinstance(window, np.timedelta64):
        unit, step = np.datetime_data(window.dtype)
        # Not by `astype`, which goes round behind 292 years.
        exact = int(window.view(np.int64)) * step * _NUMPY_UNITS_NS.get(unit, 0)
        found = None if np.isnat(window) else exact
    elif isinstance(window, timedelta):
        found = (window.days * 86_400 + window.seconds) * 10**9 + window.microseconds * 1_000
        found += int(getattr(window, "nanoseconds", 0))  # those of pandas have some
    else:
        found = None
    if found is None or found < 1:
        message = (
            f"{name} must be a whole number from 1, not {str(window)[:_MOST_CHARS]!r}; a time is above 0 and has a "
            f"unit of {', '.join(UNITS_NS)}, such as 5m"
        )
        raise InvalidWindow(message)
    return found


def _number_with_unit(text: str) -> int | None:
    """Return "1.5s" in nanoseconds; None where it is no such text, or no whole number of them."""
    if len(text) > _MOST_CHARS:
        return None
    # PERF: places in time are mostly new ones, and plain: 0.2 us in place of 3.
    if text[-2:] == "ns" and len(text) <= _MOST_PLAIN_CHARS and text.isascii() and text[:-2].isdigit():
        return int(text[:-2])
    return _with_fraction(text)


@lru_cache(maxsize=256)
def _with_fraction(text: str) -> int | None:
    match = _WITH_UNIT.fullmatch(text)
    if match is None:
        return None
    exact = Decimal(match[1]) * UNITS_NS[match[2]]
    return int(exact) if exact == exact.to_integral_value() else None


def instant_ns(instant: object, name: str = "time") -> int:
    """Return a time as nanoseconds since 1970 UTC, of any size; InvalidRange, which calls it `name`."""
    if not isinstance(instant, str):
        try:
            return time_ns(instant, name=name)
        except InvalidTimes as error:
            raise InvalidRange(str(error)) from error
    found = _number_with_unit(instant)
    if found is None:
        found = _rfc_3339(instant)
    if found is None:
        message = (
            f"{name} must be a whole number from 0, not {instant[:_MOST_CHARS]!r}; a time is RFC 3339 with its zone, "
            f"such as 2026-01-31T09:30:00Z, or a number since 1970 with a unit of {', '.join(UNITS_NS)}"
        )
        raise InvalidRange(message)
    return found


def _rfc_3339(text: str) -> int | None:
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    date, clock, fraction, zone = match.groups()
    try:
        whole = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError:  # the 31st of June, 24:00:00, a leap second
        return None
    return time_ns(whole) + int((fraction or "").ljust(9, "0"))


# -- of a series ------------------------------------------------------------------------------------------------------


def first_from(moment: Moment, time: int) -> int:
    """Return the first kept point whose time is `time` or later, or the total."""
    if time > MOST_NS:
        return moment.total
    return int(find_time(moment.view.address, moment.start, moment.total, max(time, -MOST_NS - 1)))


def firsts_from(moment: Moment, times: Indexes) -> Indexes:
    """Return for each of `times` the first kept point whose time is it or later, or the total."""
    view = moment.view
    found = np.empty(len(times), dtype=np.int64)
    # PERF: those near each other find in the cache what those before them have read: 0.5 us each in place of 2.4.
    order = None if len(times) < _MANY or (times[1:] >= times[:-1]).all() else np.argsort(times)
    asked = times if order is None else times[order]
    find_times(view.times, view.layout.points, view.first, moment.start, moment.total, asked, found)
    if order is not None:
        found[order] = found.copy()
    return found


def firsts_behind(moment: Moment, times: Indexes) -> Indexes:
    """Return for each of `times` the first kept point whose time is later, or the total."""
    behind = firsts_from(moment, np.minimum(times, MOST_NS - 1) + 1)
    behind[times == MOST_NS] = moment.total  # nothing is later
    return behind


def many_ns(name: str, times: Times) -> Indexes:
    """Return one row of times as nanoseconds since 1970; InvalidRange, which calls it `name`."""
    try:
        return np.array(as_times(times))  # theirs may be read-only, or changed meanwhile
    except InvalidTimes as error:
        raise InvalidRange(f"{name}: {error}") from error


def many_around(moment: Moment, times: Times, before: object, after: object) -> tuple[Indexes, Indexes]:
    """Return the bounds of the points in [t - before, t + after] for each t of `times`; equal where there is none.

    before, after: windows by time, or None for no time. OutOfRange where points are no longer kept that may have been.
    """
    since, up = (
        0 if lasting is None else min(duration_ns(lasting, name), MOST_NS)
        for name, lasting in (("before", before), ("after", after))
    )
    asked = many_ns("times", times)
    # Cut where 64 bits end: no point lies beyond.
    return _kept_between(moment, _moved(asked, -since), _moved(asked, up), closed=True)


def many_between(moment: Moment, starts: Times, ends: Times) -> tuple[Indexes, Indexes]:
    """Return the bounds of the points in [start, end) for each pair of times; equal where there is none.

    InvalidRange unless each start is before its end; OutOfRange as `many_around`.
    """
    begin, end = many_ns("starts", starts), many_ns("ends", ends)
    if len(begin) != len(end):
        raise InvalidRange(f"starts and ends must be of one length, not {len(begin)} and {len(end)}")
    bad = np.flatnonzero(begin >= end)
    if len(bad):
        k = int(bad[0])
        raise InvalidRange(f"window {k} is from {begin[k]} ns to {end[k]} ns: start must be before end")
    return _kept_between(moment, begin, end, closed=False)


def _moved(times: Indexes, by: int) -> Indexes:
    return np.maximum(times, -MOST_NS - by) + by if by < 0 else np.minimum(times, MOST_NS - by) + by


def _kept_between(moment: Moment, begin: Indexes, end: Indexes, *, closed: bool) -> tuple[Indexes, Indexes]:
    check_times(moment)
    if moment.start and len(begin) and int(begin.min()) <= (oldest := moment.view.time_of(moment.start)):
        k = int(np.flatnonzero(begin <= oldest)[0])
        raise OutOfRange(
            f"points of {moment.symbol} from {begin[k]} ns on, where window {k} begins, are no longer kept: it holds "
            f"those from index {moment.start} up to {moment.total}, the first of them of {oldest} ns",
            moment.start,
            moment.total,
        )
    return firsts_from(moment, begin), firsts_behind(moment, end) if closed else firsts_from(moment, end)


def check_times(moment: Moment) -> None:
    """Make sure that there are points, and that they have times; SymbolNotFound, ColumnsDiffer."""
    if moment.start == moment.total:
        raise SymbolNotFound(moment.symbol)
    if not len(moment.view.times):
        message = f"{moment.symbol} has no times, so that nothing can be asked of it by time: ask by points"
        raise ColumnsDiffer(message)


def until(moment: Moment, at: object) -> int:
    """Return the newest point whose time is `at` or earlier; OutOfRange where none is kept."""
    time = instant_ns(at, "at")
    check_times(moment)
    found = first_from(moment, time + 1) - 1
    if found < moment.start:
        raise nothing(moment, f"at or before {at}", before=True)
    return found


def kept_without(moment: Moment, before: object) -> int:
    """Return where the series begins once every point before the time `before` is gone; OutOfRange if none remains."""
    time = instant_ns(before, "before")
    check_times(moment)
    found = first_from(moment, time)
    if found == moment.total:
        message = f"no point of {moment.symbol} lies from {before} on: to let go of every point remove the symbol"
        raise OutOfRange(message, moment.start, moment.total)
    return found


def nothing(moment: Moment, where: str, *, before: bool) -> OutOfRange:
    """Return the error that says where no point lies; `before`: it would be before those that are kept."""
    why = "; what came before is no longer kept" if before and moment.start else ""
    message = f"no point of {moment.symbol} lies {where}{why}"
    return OutOfRange(message, moment.start, moment.total)
