"""What is searched for in a range of a series: the first point that meets a barrier, exact quantiles, ranks.

Functions of a `Moment`; lock-free, and the GIL is released while the tree is walked.
"""

import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from hft_mmap.answers import Passage, Rank
from hft_mmap.asked import checked_index, out_of_range
from hft_mmap.errors import InvalidRange
from hft_mmap.moment import Moment
from hft_mmap.tree.order import select, split
from hft_mmap.tree.passage import NOWHERE, find_first

_NOTHING = np.empty(0)


def first(
    moment: Moment, after: object, *, above: float | None, below: float | None, until: object | None
) -> Passage | None:
    """Return the first point behind `after` that meets a barrier; see `Series.first`."""
    if above is None and below is None:
        raise InvalidRange("give above, below, or both: a barrier that is to be met")
    high = math.inf if above is None else _barrier("above", above)
    low = -math.inf if below is None else _barrier("below", below)
    if low >= high:
        raise InvalidRange(f"below must be less than above, and {low} is not less than {high}")
    lo = checked_index("after", after) + 1
    hi = moment.total if until is None else min(checked_index("until", until), moment.total)
    if lo < moment.start:
        raise out_of_range(moment, lo, max(hi, lo))
    if lo >= hi:
        return None
    found = find_first(moment.view.table, moment.view.roots, lo, hi, high, low)
    if found == NOWHERE:
        return None
    value = _value(moment, found)
    return Passage(found, value, "above" if value >= high else "below")


def _barrier(name: str, value: float) -> float:
    try:
        found = math.nan if isinstance(value, (str, bytes, bytearray, bool, np.bool_)) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InvalidRange(f"{name} must be a finite number, not {value!r}")
    return found


def quantiles(moment: Moment, lo: int, hi: int, shares: object) -> tuple[float, ...]:
    """Return the stored value at each of `shares` of the points [lo, hi), which are kept; see `Series.quantile`."""
    if isinstance(shares, str) or not isinstance(shares, Iterable):
        raise InvalidRange(f"q must be a sequence of numbers from 0 to 1, not {shares!r}; write (0.5,) for one")
    ranks = [_rank(share, hi - lo) for share in shares]
    values = {rank: select(moment.view, lo, hi, rank) for rank in sorted(set(ranks))}
    return tuple(values[rank] for rank in ranks)


def _rank(share: float, n: int) -> int:
    """Return the place of the quantile `share` among `n` sorted values, the least one such that q n are up to it."""
    q = _barrier("q", share)
    if not 0 <= q <= 1:
        raise InvalidRange(f"q must be from 0 to 1, not {share!r}")
    # The number as it is written: 0.07 of 100 points are 7, and the float next to 0.07 is a little more than that.
    return max(math.ceil(Fraction(repr(q)) * n) - 1, 0)


def rank(moment: Moment, lo: int, hi: int, value: float) -> Rank:
    """Return how many of the points [lo, hi), which are kept, are below `value`, equal to it and above it."""
    x = _barrier("value", value)
    view = moment.view
    below, equal = split(view.table, view.roots, lo, hi, x, x, _NOTHING)
    return Rank(below, equal, hi - lo - below - equal)


def _value(moment: Moment, index: int) -> float:
    return float(moment.view.read(index, index + 1)[0])
