"""How windows and places stand in a request: whole numbers are points and indexes, all else is time."""

import operator
from datetime import UTC, datetime, timedelta

from hft_mmap.by_time import Instant, Lasting, Window, duration_ns, instant_ns, is_time
from hft_mmap.ticks import MOST_NS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_NS = 10**9


def window_of(window: Window) -> str:
    """Return a number of points as its digits, or a time as nanoseconds with their unit; InvalidWindow."""
    return lasting(window) if is_time(window) else str(operator.index(window))  # type: ignore[arg-type] # a number


def lasting(window: Window | Lasting, name: str = "window") -> str:
    """Return a time that something lasts as nanoseconds with their unit; InvalidWindow, which calls it `name`."""
    return f"{duration_ns(window, name)}ns"


def place_of(place: int | Instant, name: str) -> str:
    """Return an index as its digits, or a time as the service reads it; InvalidRange, which calls it `name`.

    A text goes as it is: the service knows "now" as well.
    """
    if isinstance(place, str):
        return place
    if hasattr(place, "__index__"):
        return str(operator.index(place))
    # No point lies beyond 64 bits, so what lies there is as far as just behind their end.
    time = min(max(instant_ns(place, name), -MOST_NS - 1), MOST_NS + 1)
    if time >= 0:
        return f"{time}ns"
    seconds, nanoseconds = divmod(time, _SECOND_NS)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]}.{nanoseconds:09d}Z"
