"""Bars by time, by volume and by value: where each begins and ends, and the statistics of each.

A `Cut` says which points each bar has, of one moment; a bar may be empty where `fill` asks for those as well. Of an
empty bar count, volume and signed_volume are 0; with fill "previous" its prices (min, max, first, last, avg) are the
price that held when it began, and all else is undefined.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hft_mmap import by_time, clock
from hft_mmap.answers import wanted_of
from hft_mmap.asked import checked_index
from hft_mmap.asof import picked
from hft_mmap.errors import ColumnsDiffer, InvalidRange, SymbolNotFound
from hft_mmap.files.layout import TIME
from hft_mmap.folding import statistics
from hft_mmap.moment import Moment
from hft_mmap.named import ARGMAX, ARGMIN, Column, Columns, Indexes
from hft_mmap.tree.buckets import bar_edges
from hft_mmap.tree.cuts import TOO_MANY
from hft_mmap.tree.cuts import cut_by_sizes as cut_points

FILLS = ("none", "null", "previous")
MOST_BARS = 20_000_000
"""Bars of one answer of the library, empty ones among them."""
_PRICES = frozenset({"min", "max", "first", "last", "avg"})
_ZERO = frozenset({"count", "volume", "signed_volume"})
_MOST_LIMIT = 1e300


@dataclass(frozen=True, slots=True)
class Cut:
    """Bars of a series: when each begins, None where nothing says so, and which points [starts[k], ends[k]) it has."""

    times: Indexes | None
    starts: Indexes
    ends: Indexes
    fill: str = "none"

    @property
    def points(self) -> int:
        """Return how many points all bars have together."""
        return int((self.ends - self.starts).sum())


def cut_by_clock(  # noqa: PLR0913 - all by name but the first
    moment: Moment, every: object, start: object = None, end: object = None, *, tz: object = None,
    fill: str = "none", most: int = MOST_BARS,
) -> Cut:  # fmt: skip
    """Return the bars of `every` over what is kept of [start, end), which may be indexes or times.

    See `Series.time_bars`. InvalidWindow, InvalidRange, ColumnsDiffer, SymbolNotFound.
    """
    if fill not in FILLS:
        raise InvalidRange(f"fill must be one of {', '.join(FILLS)}, not {fill!r}")
    zone = None if tz is None else clock.zone_of(tz)
    length = clock.length_ns(every, zoned=zone is not None)
    by_time.check_times(moment)
    lo, hi = kept_of(moment, start, end)
    # What is asked for by time has bars where there is no point as well.
    begin = by_time.instant_ns(start, "start") if by_time.is_instant(start) else None
    until = by_time.instant_ns(end, "end") if by_time.is_instant(end) else None
    if lo < hi and (begin is None or fill == "none"):
        begin = moment.view.time_of(lo)
    if lo < hi and (until is None or fill == "none"):
        until = moment.view.time_of(hi - 1) + 1
    if begin is None or until is None or begin >= until or (lo == hi and fill == "none"):
        nothing = np.empty(0, dtype=np.int64)
        return Cut(nothing, nothing, nothing, fill)
    edges = clock.edges(begin, until, length, zone, most)
    places = np.clip(by_time.firsts_from(moment, edges), lo, hi)
    cut = Cut(edges[:-1], places[:-1].copy(), places[1:].copy(), fill)
    if fill != "none":
        return cut
    there = cut.starts < cut.ends
    return cut if there.all() else Cut(edges[:-1][there], cut.starts[there], cut.ends[there])


def cut_by_points(moment: Moment, size: int, start: int, end: int) -> Cut:
    """Return the bars of `size` points over the kept points [start, end); see `Series.stats_bars`."""
    edges = bar_edges((moment.start, moment.total), (start, end), size)
    starts, ends = edges[:-1].copy(), edges[1:].copy()
    return Cut(picked(moment, starts, TIME) if len(moment.view.times) else None, starts, ends)


def cut_by_sizes(
    moment: Moment, limit: object, start: object = None, end: object = None, *, by_value: bool = False,
    most: int = MOST_BARS,
) -> Cut:  # fmt: skip
    """Return the bars of what is kept of [start, end) that end where their volume, or value, reaches `limit`.

    See `Series.volume_bars`. InvalidRange, ColumnsDiffer, SymbolNotFound.
    """
    name = "value" if by_value else "volume"
    most_of_it = _limit(name, limit)
    if moment.start == moment.total:
        raise SymbolNotFound(moment.symbol)
    if not len(moment.view.sizes):
        raise ColumnsDiffer(f"{moment.symbol} has no sizes, so that bars can't be cut by {name}: cut by points")
    lo, hi = kept_of(moment, start, end)
    out = np.empty(min(most, hi - lo) + 1, dtype=np.int64)
    bars = cut_points(moment.view.table, moment.view.sizes, lo, hi, most_of_it, int(by_value), out)
    if bars == TOO_MANY:
        raise InvalidRange(
            f"{name}={most_of_it:g} makes more than {most:,} bars: give a larger {name}, or ask for fewer points"
        )
    starts, ends = out[:bars].copy(), out[1 : bars + 1].copy()
    return Cut(picked(moment, starts, TIME) if len(moment.view.times) else None, starts, ends)


def _limit(name: str, limit: object) -> float:
    is_number = isinstance(limit, (int, float, np.integer, np.floating)) and not isinstance(limit, bool)
    if not is_number or not 0 < limit <= _MOST_LIMIT:  # type: ignore[operator] # a number
        raise InvalidRange(f"{name} must be a number above 0, up to {_MOST_LIMIT:g}, not {limit!r}")
    return float(limit)  # type: ignore[arg-type] # likewise


def kept_of(moment: Moment, start: object, end: object) -> tuple[int, int]:
    """Return the bounds of what is kept of [start, end), each an index, a time, or None; equal where nothing is.

    InvalidRange for what is neither, and where end is before start; ColumnsDiffer by time without times.
    """
    found = []
    for name, place, otherwise in (("start", start, moment.start), ("end", end, moment.total)):
        if place is None:
            found.append(otherwise)
        elif by_time.is_instant(place):
            by_time.check_times(moment)
            found.append(by_time.first_from(moment, by_time.instant_ns(place, name)))
        else:
            found.append(checked_index(name, place))
    if by_time.is_instant(start) and by_time.is_instant(end):
        if by_time.instant_ns(start, "start") > by_time.instant_ns(end, "end"):
            raise InvalidRange(f"start must not be after end, and {start} is after {end}")
    elif start is not None and end is not None and found[0] > found[1]:
        raise InvalidRange(f"start must not be after end, and {start} is after {end}")
    lo, hi = (min(max(place, moment.start), moment.total) for place in found)
    return lo, max(lo, hi)


def folded(moment: Moment, cut: Cut, names: Sequence[str]) -> Columns:
    """Return time where there is one, start, end and the statistics `names` of each bar, NaN where undefined."""
    wanted = wanted_of(moment, names)
    times: dict[str, Column] = {} if cut.times is None else {"time": cut.times}
    found = of_any(moment, cut.starts, cut.ends, wanted)
    empty = np.flatnonzero((cut.starts == cut.ends) & (cut.starts > moment.start))
    if cut.fill == "previous" and len(empty):
        before = picked(moment, cut.starts[empty] - 1)
        for name in _PRICES.intersection(wanted):
            found[name][empty] = before
    return Columns({**times, "start": cut.starts, "end": cut.ends, **found})


def of_any(moment: Moment, starts: Indexes, ends: Indexes, names: Sequence[str]) -> dict[str, Column]:
    """Return the statistics `names` of kept ranges, some of which may be empty: NaN there, or 0 of what is counted.

    Indexes are floats where a range is empty.
    """
    there = starts < ends
    if there.all():
        return statistics(moment, starts, ends, names)
    some = statistics(moment, starts[there], ends[there], names)
    found: dict[str, Column] = {}
    for name in names:
        dtype = np.float64 if name in {ARGMIN, ARGMAX} else some[name].dtype
        found[name] = np.full(len(starts), 0 if name in _ZERO else math.nan if dtype == np.float64 else 0, dtype=dtype)
        found[name][there] = some[name]
    return found
