"""How many points a request may have read one by one, for statistics of paths or columns: in all, on the event loop."""

from collections.abc import Iterable
from http import HTTPStatus

from api.http.problems import Refusal
from hft_mmap.named import SCANNED

MOST_POINTS = 200_000_000
"""Of all windows of one request. All that `store.max_data_retention` keeps by default, or the eight standard windows,
fit into it; it takes a thread half a second, up to eight where all prices jump, and longer where they are subnormal."""

FEW_POINTS = 1_024
"""So many are read on the event loop, and for one message of a stream: in 40 us at most, 0.2 ms of subnormal prices."""
_SCANNED = frozenset(SCANNED)


def reads_path(names: Iterable[str]) -> bool:
    """Say whether one of the statistics `names` is of a path, or of times and sizes, so that points are read."""
    return not _SCANNED.isdisjoint(names)


def check_path_points(points: float) -> None:
    """Raise Refusal (422) where the windows of one request have more than MOST_POINTS points."""
    if points > MOST_POINTS:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The windows have {points:,.0f} points together, and {', '.join(SCANNED)} read every point; one request "
            f"reads at most {MOST_POINTS:,}: ask for shorter windows, for fewer of them, or without these statistics",
        )
