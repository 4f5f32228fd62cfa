"""Where bars by time begin: at multiples of their length since 1970, or on the clock of a time zone.

In a time zone a bar begins where the clock there shows a multiple of the length since midnight, whatever the clock was
set to in between. So a bar in which it is put forward is shorter, and one in which it is put back longer; hours that
the clock shows twice are bars twice, where a bar is no longer than what it was put back by.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from hft_mmap.by_time import duration_ns
from hft_mmap.errors import InvalidRange
from hft_mmap.named import Indexes
from hft_mmap.ticks import MOST_NS

DAY_NS = 86_400 * 10**9
_SECOND_NS = 10**9
_DAY_S = 86_400
_MOST_CHARS = 40


def zone_of(name: object) -> ZoneInfo:
    """Return the time zone of an IANA name, as "Europe/Berlin"; InvalidRange."""
    try:
        return ZoneInfo(name)  # type: ignore[arg-type] # what is no text is refused with the rest
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        shown = str(name)[:_MOST_CHARS]
        message = (
            f"tz must be the IANA name of a time zone, such as Europe/Berlin, not {shown!r}; if this machine knows no "
            "time zone by its name, install its package tzdata"
        )
        raise InvalidRange(message) from None


def length_ns(every: object, *, zoned: bool) -> int:
    """Return the length of bars in nanoseconds; InvalidWindow, and InvalidRange for one that no midnight ends."""
    found = duration_ns(every, "every")
    if zoned and DAY_NS % found and found % DAY_NS:
        message = f"every must divide a day, or be whole days, where tz is given, and {every} does neither"
        raise InvalidRange(message)
    return found


def edges(begin: int, end: int, every: int, zone: ZoneInfo | None, most: int) -> Indexes:
    """Return where the bars that have a part of [begin, end) begin, and where the last one ends, in nanoseconds.

    InvalidRange where that makes more than `most` bars, or leaves 64 bits.
    """
    bars = (end - 1) // every - begin // every + 1
    if bars > most:
        message = (
            f"every makes {bars:,} bars from {begin} ns to {end} ns, empty ones among them, and at most {most:,} are "
            "cut: give a longer every, or a shorter range"
        )
        raise InvalidRange(message)
    slack = DAY_NS + every
    if begin - slack < -MOST_NS or end + slack > MOST_NS:
        message = f"bars from {begin} ns to {end} ns begin or end beyond 1677 to 2262: give a shorter every or range"
        raise InvalidRange(message)
    if zone is None:
        first = begin // every * every
        return np.arange(first, first + (bars + 1) * every, every, dtype=np.int64)
    found = _zoned(begin - slack, end + slack, every, zone)
    return found[np.searchsorted(found, begin, "right") - 1 : np.searchsorted(found, end, "left") + 1]


def _zoned(begin: int, end: int, every: int, zone: ZoneInfo) -> Indexes:
    """Return all borders of bars in [begin, end)."""
    parts = []
    segments = _segments(begin // _SECOND_NS, -(-end // _SECOND_NS), zone)
    before: int | None = None  # how far the clock was ahead of UTC until then
    for number, (since, ahead) in enumerate(segments):
        until = segments[number + 1][0] if number + 1 < len(segments) else end
        reached = since + ahead if before is None else since + before  # what the clock has shown until then
        is_put_back = 0 < reached - (since + ahead) < every
        first = -(-(reached if is_put_back else since + ahead) // every) * every
        if reached <= first - every < since + ahead < first:
            parts.append(np.array([since], dtype=np.int64))  # put forward over a border, which is where it was put so
        parts.append(np.arange(first, until + ahead, every, dtype=np.int64) - ahead)
        before = ahead
    return np.concatenate(parts)


def _segments(begin_s: int, end_s: int, zone: ZoneInfo) -> list[tuple[int, int]]:
    """Return since when, in nanoseconds, the clock of `zone` is how many nanoseconds ahead of UTC."""
    ahead = _ahead_s(begin_s, zone)
    found = [(begin_s * _SECOND_NS, ahead * _SECOND_NS)]
    for day in range(begin_s, end_s, _DAY_S):
        then = _ahead_s(day + _DAY_S, zone)
        if then != ahead:
            low, high = day, day + _DAY_S
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _ahead_s(middle, zone) == ahead else (low, middle)
            found.append((high * _SECOND_NS, then * _SECOND_NS))
            ahead = then
    return found


def _ahead_s(at_s: int, zone: ZoneInfo) -> int:
    """Return how many seconds the clock of `zone` is ahead of UTC at a time."""
    offset = datetime.fromtimestamp(at_s, UTC).astimezone(zone).utcoffset()
    return round(offset.total_seconds()) if offset is not None else 0
