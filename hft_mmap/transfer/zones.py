"""Time zones: by how much the clocks of one are ahead of UTC, and when the times are that they show."""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from hft_mmap.ticks import MOST_NS

DAY_NS, SECOND_NS = 86_400 * 10**9, 10**9
_QUARTER_NS = 900 * SECOND_NS
_FIXED = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})")


def offset_s(zone: str | None) -> int | None:
    """Return the seconds by which a zone, as "+01:00" or "UTC", is ahead of UTC; None for none."""
    if zone is None:
        return None
    found = re.search(r"([+-])([0-9]{2}):?([0-9]{2})?", zone)
    if found is None:
        return 0
    seconds = int(found[2]) * 3600 + int(found[3] or 0) * 60
    return -seconds if found[1] == "-" else seconds


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo | int:
    """Return a zone by its name, or the seconds by which a fixed one, as "+01:00", is ahead of UTC; ValueError."""
    if name.upper() in {"UTC", "GMT", "Z"}:
        return 0
    fixed = _FIXED.fullmatch(name)
    if fixed is not None:
        return offset_s(name) or 0
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = (
            f"{name!r} is no time zone that this system knows: one is UTC, +01:00, or a name such as Europe/Berlin (of "
            "the package tzdata)"
        )
        raise ValueError(message) from None


@lru_cache(maxsize=1 << 16)
def _offset_ns(zone: ZoneInfo, quarter: int) -> int | None:
    """Return by how much a zone is ahead of UTC in a quarter of an hour of its own time; None: there is none, or two.

    Zones change at quarters, so each has one offset throughout.
    """
    local = datetime(1970, 1, 1) + timedelta(minutes=15 * quarter)  # noqa: DTZ001 - of the zone
    first, second = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return None if first is None or first != second else round(first.total_seconds()) * SECOND_NS


def to_utc(local: NDArray[np.int64], zone: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return times of a zone as times since 1970 UTC, and which of them the zone has not, or twice."""
    known = zone_of(zone)
    wrong = (local > MOST_NS - DAY_NS) | (local < DAY_NS - MOST_NS)
    local = np.where(wrong, 0, local) if wrong.any() else local
    if isinstance(known, int):
        return local - known * SECOND_NS if known else local, wrong
    if not len(local):
        return local, wrong
    quarters = local // _QUARTER_NS
    # PERF: times mostly go up, so a run of rows has one quarter, and the zone is asked once for each run.
    begins = np.flatnonzero(np.r_[True, quarters[1:] != quarters[:-1]])
    offsets = [_offset_ns(known, quarter) for quarter in quarters[begins].tolist()]
    lengths = np.diff(np.r_[begins, len(local)])
    wrong |= np.repeat(np.array([offset is None for offset in offsets]), lengths)
    return local - np.repeat(np.array([offset or 0 for offset in offsets], dtype=np.int64), lengths), wrong
