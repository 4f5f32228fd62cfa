"""What a series was at each step, or over the window before it: all steps of a query in a few compiled calls.

Prices are folded from the tree, whatever the window; sums of sizes too, where there is the group `trades`. What no tree
has (quantiles; extremes and deviations of sizes) reads the points of each window.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from api.promql.budget import Budget
from api.promql.catalogue import PRICE, SIZE, VALUE, VOLUME, Found
from hft_mmap import asof, by_time
from hft_mmap.asof import NOWHERE, picked
from hft_mmap.candles import of_any
from hft_mmap.files.layout import SIZE as SIZES
from hft_mmap.files.layout import TIME
from hft_mmap.files.proved import groups_of, read_from
from hft_mmap.moment import Moment
from hft_mmap.named import Columns, Indexes
from hft_mmap.ticks import MOST_NS

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Row: TypeAlias = tuple[Floats, Flags]
"""Values at each step, and whether there is one."""

STALE_AFTER = "5m"
"""How long the newest point counts, as in Prometheus."""
_MS = 10**6  # nanoseconds
_ENOUGH_TO_EXTRAPOLATE = 1.1
_NEWEST = frozenset({"last_over_time", "present_over_time"})
"""What needs the newest point of a window, so that others may be gone."""
_OF_PRICES = {
    "avg_over_time": "avg", "min_over_time": "min", "max_over_time": "max", "stddev_over_time": "std",
    "stdvar_over_time": "var",
}  # fmt: skip
_SUMMED = {SIZE: ("signed_volume",), VOLUME: ("volume",), VALUE: ("volume", "vwap")}
_READ: Mapping[str, Callable[[Floats], np.float64]] = {
    "min_over_time": np.min, "max_over_time": np.max, "stddev_over_time": np.std, "stdvar_over_time": np.var,
}  # fmt: skip


def in_ns(times_ms: Indexes) -> Indexes:
    """Return times in nanoseconds, those that an int64 can't hold as the first or last that it can."""
    most = MOST_NS // _MS
    found: Indexes = np.clip(times_ms, -most, most) * _MS
    return found


def at_each(found: Found, times_ms: Indexes) -> Row:
    """Return the newest value at or before each of `times_ms`, none where that is older than STALE_AFTER."""
    point = asof.many(found.moment, in_ns(times_ms), STALE_AFTER)
    there = point["index"] != NOWHERE
    return _of_metric(found.metric, point), there


def _of_metric(metric: str, point: Columns) -> Floats:
    prices = point["value"]
    if metric == PRICE:
        return prices.astype(np.float64)
    sizes = point["size"].astype(np.float64)
    if metric == SIZE:
        return sizes
    absolute: Floats = np.abs(sizes)
    return absolute if metric == VOLUME else absolute * prices.astype(np.float64)


class Windows(NamedTuple):
    """The points [lo, hi) in the window of each step, whether it counts, and when it begins and ends."""

    lo: Indexes
    hi: Indexes
    there: Flags
    begins: Indexes
    ends: Indexes

    def points(self) -> int:
        """Return how many points the windows have together."""
        return int((self.hi - self.lo)[self.there].sum())


def windows_of(name: str, moment: Moment, times_ms: Indexes, range_ms: int) -> Windows:
    """Return the windows [t - range, t], both ends in it, as in Prometheus before 3.0.

    One that may have had points which are no longer kept does not count, unless the newest point alone decides.
    """
    ends, begins = in_ns(times_ms), in_ns(times_ms - range_ms)
    lo, hi = by_time.firsts_from(moment, begins), by_time.firsts_behind(moment, ends)
    there = hi > lo
    if moment.start and name not in _NEWEST:
        there &= begins > moment.view.time_of(moment.start)
    return Windows(lo, hi, there, begins, ends)


def over_time(name: str, found: Found, windows: Windows, budget: Budget) -> Row:
    """Return what the function `name` makes of the values of each window. Raises NoAnswer beyond what may be read."""
    there = windows.there.copy()
    values = np.full(len(there), np.nan)
    lo, hi = windows.lo[there], windows.hi[there]
    if name == "delta":
        windows = Windows(lo, hi, there[there], windows.begins[there], windows.ends[there])
        values[there], there[there] = _delta(found, windows)
    elif name == "count_over_time":
        values[there] = hi - lo
    elif name == "present_over_time":
        values[there] = 1
    elif name == "last_over_time":
        values[there] = _picked(found, hi - 1)
    elif found.metric == PRICE:
        values[there] = _of_prices(name, found.moment, lo, hi)
    elif name in _READ:
        budget.read(name, int((hi - lo).sum()), len(lo))
        values[there] = [_READ[name](_values(found, *one)) for one in zip(lo.tolist(), hi.tolist(), strict=True)]
    else:
        sums = _sums(found, lo, hi, budget, name)
        values[there] = sums if name == "sum_over_time" else sums / (hi - lo)
    return values, there


def _of_prices(name: str, moment: Moment, lo: Indexes, hi: Indexes) -> Floats:
    if name == "sum_over_time":
        return of_any(moment, lo, hi, ("avg",))["avg"] * (hi - lo)
    statistic = _OF_PRICES[name]
    return of_any(moment, lo, hi, (statistic,))[statistic].astype(np.float64)


def _sums(found: Found, lo: Indexes, hi: Indexes, budget: Budget, name: str) -> Floats:
    names = _SUMMED[found.metric]
    begin = read_from(found.moment.view, groups_of(names))
    budget.read(name, int(np.maximum(hi - np.maximum(lo, begin), 0).sum()))
    columns = of_any(found.moment, lo, hi, names)
    sums = columns[names[0]].astype(np.float64)
    return np.where(sums > 0, sums * columns["vwap"], 0.0) if found.metric == VALUE else sums


def _picked(found: Found, index: Indexes) -> Floats:
    """Return the values of the points `index`."""
    prices = picked(found.moment, index)
    if found.metric == PRICE:
        return prices
    return _of_metric(found.metric, Columns({"value": prices, "size": picked(found.moment, index, SIZES)}))


def _values(found: Found, lo: int, hi: int) -> Floats:
    """Return the values of the points [lo, hi)."""
    view = found.moment.view
    if found.metric == PRICE:
        return view.read(lo, hi)
    sizes: Floats = view.read_column(SIZES, lo, hi)
    if found.metric == SIZE:
        return sizes
    absolute = np.abs(sizes)
    return absolute if found.metric == VOLUME else absolute * view.read(lo, hi)


def _delta(found: Found, windows: Windows) -> Row:
    """Return last less first of each window, stretched to all of it as Prometheus does; none where no time passed.

    To an end of the window that is nearer than 1.1 times the mean distance of two points it is stretched to that end,
    otherwise by half that distance.
    """
    lo, hi = windows.lo, windows.hi
    first, last = picked(found.moment, lo, TIME), picked(found.moment, hi - 1, TIME)
    span = (last - first).astype(np.float64)
    passed = span > 0
    mean = span / np.maximum(hi - lo - 1, 1)
    stretched = span.copy()
    for gap in ((first - windows.begins).astype(np.float64), (windows.ends - last).astype(np.float64)):
        stretched += np.where(gap < _ENOUGH_TO_EXTRAPOLATE * mean, gap, mean / 2)
    change = _picked(found, hi - 1) - _picked(found, lo)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(passed, change * (stretched / span), np.nan), passed


def quantile_over_time(q: Floats, found: Found, windows: Windows, budget: Budget) -> Row:
    """Return the quantile `q` of each window, between two values where it lies between them, as Prometheus does."""
    budget.read("quantile_over_time", windows.points(), int(windows.there.sum()))
    values = np.full(len(q), np.nan)
    for step in np.flatnonzero(windows.there).tolist():
        share = float(q[step])
        if not 0 <= share <= 1:
            values[step] = np.nan if np.isnan(share) else np.inf if share > 1 else -np.inf
            continue
        inside = _values(found, int(windows.lo[step]), int(windows.hi[step]))
        rank = share * (len(inside) - 1)
        below = int(rank)
        above = min(below + 1, len(inside) - 1)
        low, high = np.partition(inside, (below, above))[[below, above]].tolist()
        weight = rank - below
        values[step] = low * (1 - weight) + high * weight
    return values, windows.there
