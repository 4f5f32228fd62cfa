"""Which points a question asks for: a window or a range, by points or by time, as compiled code takes it.

`asked_of` reads a question and knows nothing of a series. What it returns is found in a series, and folded, by one
compiled call (`tree.times.fold_asked`); where that has no answer, `bounds` looks at a moment, and says why.
"""

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from hft_mmap.by_time import (
    Instant,
    Window,
    check_times,
    duration_ns,
    first_from,
    instant_ns,
    is_instant,
    is_time,
    nothing,
)
from hft_mmap.errors import HftMmapError, InvalidRange, InvalidWindow, OutOfRange, SymbolNotFound
from hft_mmap.moment import Moment
from hft_mmap.named import Indexes
from hft_mmap.tree.times import (
    BEGINS_AT,
    BEGINS_BEFORE_END,
    BEGINS_BEHIND,
    BEGINS_BEHIND_KEPT,
    BEGINS_WITHIN,
    EARLIEST,
    ENDS_AT,
    ENDS_NOW,
    ENDS_WITH,
    LATEST,
    find_bounds,
)

MAX_WINDOW = 2**62
"""More than there can be points: a window above it is the same as this one, and would not fit compiled code."""
_UNSIGNED = 2**64

Place: TypeAlias = int | Instant | None
"""Where a range begins or ends: an index, a time, or None for where the series does."""


Asked: TypeAlias = tuple[int, int, int]
"""How a range begins and ends, added up, and with what: what `tree.times.find_bounds` takes as how, begin and end."""


def checked_window(window: object) -> int:
    """Return `window` as an int; InvalidWindow unless it is a whole number from 1 (numpy's integers are)."""
    try:
        size = operator.index(window)  # type: ignore[arg-type]
    except TypeError:
        size = 0
    if size < 1 or isinstance(window, bool):
        message = f"window must be a whole number from 1, not {window!r}"
        raise InvalidWindow(message)
    return size


def is_index(at: object) -> bool:
    """Say whether a place is given as an index, and not as a time; what is neither is refused as an index."""
    return not is_instant(at)


def checked_range(moment: Moment, start: object, end: object) -> tuple[int, int]:
    """Return [start, end) as whole numbers; InvalidRange unless start < end, OutOfRange unless all of it is kept."""
    lo, hi = checked_index("start", start), checked_index("end", end)
    if not lo < hi:
        raise InvalidRange(f"start must be below end, and {lo} is not below {hi}: a range holds a point at least")
    if lo < moment.start or hi > moment.total:
        raise out_of_range(moment, lo, hi)
    return lo, hi


def out_of_range(moment: Moment, lo: int, hi: int) -> OutOfRange:
    """Return the error that says which of the points [lo, hi) are not there."""
    reason = "are no longer kept" if lo < moment.start else "do not exist"
    return OutOfRange(
        f"points of [{lo}, {hi}) of {moment.symbol} {reason}: it holds those from {moment.start} up to {moment.total}",
        moment.start,
        moment.total,
    )


def checked_index(name: str, value: object) -> int:
    """Return `value` as an index; InvalidRange, which calls it `name`, unless it is a whole number from 0."""
    try:
        found = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        found = -1
    if not found >= 0 or isinstance(value, bool):
        raise InvalidRange(f"{name} must be a whole number from 0, not {value!r}")
    return found


# -- reading a question -----------------------------------------------------------------------------------------------


def asked_of(window: Window | None, at: Place, start: Place, end: Place) -> Asked:
    """Return what is asked for; InvalidWindow, InvalidRange for what is no window, no place, or does not go together.

    All that are kept where nothing is said. With `at` the window ends there; see `Ranges.statistics`.
    """
    if at is not None:
        if window is None or start is not None or end is not None:
            message = "at goes with a window, which ends there, and with nothing else"
            raise InvalidRange(message)
        return _ending(window, at)
    if start is None and end is None:
        return newest(MAX_WINDOW if window is None else window)
    if window is not None:
        message = "give window, or start and end, not both"
        raise InvalidRange(message)
    return between(start, end)


def newest(window: object) -> Asked:
    """Return the newest `window` points, or those in (T - window, T], T being the time of the newest."""
    if type(window) is str:
        return _newest_lasting(window)
    if is_time(window):
        return _newest_lasting.__wrapped__(window)
    return BEGINS_BEFORE_END | ENDS_NOW, min(checked_window(window), MAX_WINDOW), 0


@lru_cache(maxsize=256)
def _newest_lasting(window: object) -> Asked:
    """Return `newest` of a window by time. PERF: few are asked for, again and again: 0.15 us in place of 0.47."""
    lasting = duration_ns(window)
    return BEGINS_WITHIN | ENDS_NOW, lasting if lasting <= LATEST else min(lasting, _UNSIGNED - 1) - _UNSIGNED, 0


def _ending(window: object, at: object) -> Asked:
    """Return those in (at - window, at], as far as they are kept, or so many points up to `at`."""
    if is_time(window):
        lasting, time = duration_ns(window), instant_ns(at, "at")
        return _of_64_bits(BEGINS_BEHIND_KEPT | ENDS_WITH, time - lasting, time)
    how, end = (ENDS_AT, checked_index("at", at) + 1) if is_index(at) else (ENDS_WITH, instant_ns(at, "at"))
    return _of_64_bits(BEGINS_BEFORE_END | how, min(checked_window(window), MAX_WINDOW), end)


def between(start: Place, end: Place) -> Asked:
    """Return [start, end), either of which may be an index, or a time; None for where the series starts or ends."""
    begins, begin = BEGINS_BEFORE_END, MAX_WINDOW
    if is_instant(start):
        begins, begin = BEGINS_BEHIND, instant_ns(start, "start") - 1
    elif start is not None:
        begins, begin = BEGINS_AT, checked_index("start", start)
    ends, until = ENDS_NOW, 0
    if is_instant(end):
        ends, until = ENDS_WITH, instant_ns(end, "end") - 1
    elif end is not None:
        ends, until = ENDS_AT, checked_index("end", end)
    return _of_64_bits(begins | ends, begin, until)


def _of_64_bits(how: int, begin: int, end: int) -> Asked:
    """Return places as the nearest numbers of 64 bits: before the first and behind the last of them is no point."""
    if EARLIEST <= begin <= LATEST and EARLIEST <= end <= LATEST:
        return how, begin, end
    return how, min(max(begin, EARLIEST), LATEST), min(max(end, EARLIEST), LATEST)


# -- of a series ------------------------------------------------------------------------------------------------------


def bounds(
    moment: Moment, window: Window | None = None, at: Place = None, start: Place = None, end: Place = None
) -> tuple[int, int]:  # fmt: skip
    """Return the bounds of what is asked for; what `asked_of` raises, and OutOfRange, SymbolNotFound, ColumnsDiffer."""
    asked = asked_of(window, at, start, end)
    lo, hi = find_bounds(moment.view.address, moment.start, moment.total, *asked)
    if lo == hi:
        raise _refusal(moment, window, at, start, end)
    return lo, hi


def _refusal(moment: Moment, window: object, at: Place, start: Place, end: Place) -> HftMmapError:
    """Return, or raise, why a series has no answer."""
    if at is None and moment.start == moment.total:
        return SymbolNotFound(moment.symbol)
    if is_time(window) or is_instant(at) or is_instant(start) or is_instant(end):
        check_times(moment)
    if at is None:
        return _not_between(moment, start, end)
    if is_index(at) and not is_time(window):
        last = checked_index("at", at)
        return out_of_range(moment, last, last + 1)
    where = f"in the {window} up to {at}" if is_time(window) else f"at or before {at}"
    return nothing(moment, where, before=first_from(moment, instant_ns(at) + 1) == moment.start)


def _not_between(moment: Moment, start: Place, end: Place) -> HftMmapError:
    """Return, or raise, why there is nothing between two places."""
    if is_instant(start) and moment.start and instant_ns(start) <= (oldest := moment.view.time_of(moment.start)):
        message = f"points of {moment.symbol} from {start} on are no longer kept: it holds those from index "
        held = f"{moment.start} up to {moment.total}, the first of them of {oldest} ns"
        return OutOfRange(message + held, moment.start, moment.total)
    if is_instant(start) and is_instant(end) and instant_ns(start) >= instant_ns(end):
        return InvalidRange(f"start must be before end, and {start} is not before {end}")
    lo: object = moment.start if start is None else start
    hi: object = moment.total if end is None else end
    if is_instant(start):
        lo = first_from(moment, instant_ns(start))
    if is_instant(end):
        hi = first_from(moment, instant_ns(end))
    if lo == hi and (is_instant(start) or is_instant(end)):
        parts = (f"from {start} on" if start is not None else "", f"before {end}" if end is not None else "")
        return nothing(moment, " ".join(filter(None, parts)), before=hi == moment.start)
    first, last = checked_range(moment, lo, hi)
    return out_of_range(moment, first, last)


def newest_of_each(moment: Moment, windows: Sequence[object]) -> Indexes:
    """Return where each of the newest `windows`, points or times, begins; a point is kept at least."""
    found = np.empty(len(windows), dtype=np.int64)
    for k, window in enumerate(windows):
        found[k] = bounds(moment, window)[0]  # type: ignore[arg-type] # looked at there
    return found
