"""What can be asked of any range of a series: named statistics, first passages, quantiles, ranks, as-of.

Functions of a view and the bounds [start, total) of one moment that it covers, as `Series` has them: lock-free, and the
GIL is released while the tree is walked.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from hft_mmap.batch import arrow_array, is_arrow_only, nulls_of
from hft_mmap.errors import InvalidRange, InvalidValues, OutOfRange
from hft_mmap.files.group import groups_of, stored_groups
from hft_mmap.files.view import View
from hft_mmap.moment import Moment
from hft_mmap.named import (
    ARGMAX,
    ARGMIN,
    FORMULAS,
    PATHS,
    Column,
    Columns,
    Floats,
    Folded,
    Indexes,
    Paths,
    checked_names,
)
from hft_mmap.ticks import ticks_of
from hft_mmap.tree import path
from hft_mmap.tree.buckets import bar_edges
from hft_mmap.tree.order import select, split
from hft_mmap.tree.passage import (
    AVG,
    FIRST,
    LAST,
    MAX,
    MIN,
    NOWHERE,
    VAR,
    find_first,
    find_firsts,
    fold_each,
    fold_ranges,
)

_MOST = 2**62
_NOTHING = np.empty(0)
_ALONE = np.zeros(1, dtype=np.int64)
_MANY = 256
_LARGEST_SCALE = 1000
"""The power of two by which deviations grow at most: the least range there is becomes 2^-74, its 4th power 2^-296."""


@dataclass(frozen=True, slots=True)
class Passage:
    """The first point that met a barrier: its index, its value, and which barrier it was."""

    index: int
    value: float
    which: Literal["above", "below"]


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a series; its time in nanoseconds since 1970, and its size, where it has them."""

    index: int
    value: float
    time: int | None = None
    size: float | None = None


class Newest(Protocol):
    """A series as far as its newest points are asked for together with those of others (`Reader`, `Ranges`)."""

    def held(self) -> tuple[View, tuple[memoryview, int]]:
        """Return what must be held while its memory is read by addresses."""

    def part(self, *, window: int | None = None) -> tuple[Moment, int, int]:
        """Return the series as it stands now, and the bounds of its newest points."""


class Rank(NamedTuple):
    """How many points of a range are below a value, equal to it, and above it."""

    below: int
    equal: int
    above: int


def checked_range(moment: Moment, start: object, end: object) -> tuple[int, int]:
    """Return [start, end) as whole numbers; InvalidRange unless start < end, OutOfRange unless all of it is kept."""
    lo, hi = checked_index("start", start), checked_index("end", end)
    if not lo < hi:
        raise InvalidRange(f"start must be below end, and {lo} is not below {hi}: a range holds a point at least")
    if lo < moment.start or hi > moment.total:
        raise _out_of_range(moment, lo, hi)
    return lo, hi


def _out_of_range(moment: Moment, lo: int, hi: int) -> OutOfRange:
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


def checked_indexes(name: str, values: ArrayLike) -> Indexes:
    """Return one row of indexes as int64; InvalidRange for what is none, and where one is null, which it says."""
    try:
        # numpy makes a whole number of a bool among others, and a NaN of a null.
        if isinstance(values, (list, tuple)) and any(isinstance(value, (bool, np.bool_)) for value in values):
            raise InvalidRange(f"{name} holds a bool; an index is a whole number")
        taken: Any = arrow_array(values) if is_arrow_only(values) else values
        nulls, row = nulls_of(taken, ("is_null", "isna")), np.asarray(taken)
    except InvalidValues as error:
        raise InvalidRange(f"{name}: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRange(f"{name} must be one row of whole numbers: {error}") from error
    if nulls.any():
        raise InvalidRange(f"{name}[{int(nulls.argmax())}] is null; an index is a whole number")
    if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
        raise InvalidRange(f"{name} must be one row of whole numbers, not {row.dtype} of shape {row.shape}")
    if row.dtype.kind == "u" and row.size and int(row.max()) > _MOST:
        raise InvalidRange(f"{name} holds {row.max()}, more points than a series can have")
    return np.array(row, dtype=np.int64)  # a copy: theirs may be read-only, as those of Arrow are, or changed meanwhile


def bars(moment: Moment, asked: tuple[int, int], size: int, names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of the bars of what is kept of `asked`; see `Series.stats_bars`."""
    edges = bar_edges((moment.start, moment.total), asked, size)
    lo, hi = edges[:-1].copy(), edges[1:].copy()
    return Columns({"start": lo, "end": hi} | _statistics(moment, lo, hi, checked_names(names)))


def many(moment: Moment, starts: ArrayLike, ends: ArrayLike, names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of each range; see `Series.stats_many`."""
    wanted = checked_names(names)
    lo, hi = checked_indexes("starts", starts), checked_indexes("ends", ends)
    if len(lo) != len(hi):
        raise InvalidRange(f"starts and ends must be of one length, not {len(lo)} and {len(hi)}")
    bad = np.flatnonzero((lo < 0) | (lo >= hi))
    if len(bad):
        k = int(bad[0])
        raise InvalidRange(f"window {k} is [{lo[k]}, {hi[k]}): start must be from 0, and below end")
    bad = np.flatnonzero((lo < moment.start) | (hi > moment.total))
    if len(bad):
        raise _out_of_range(moment, int(lo[bad[0]]), int(hi[bad[0]]))
    return Columns({"start": lo, "end": hi} | _statistics(moment, lo, hi, wanted))


def one(moment: Moment, lo: int, hi: int, names: Sequence[str]) -> dict[str, float | int | None]:
    """Return the statistics `names` of the points [lo, hi), which are kept; None where one is undefined."""
    return rows(_statistics(moment, np.array([lo]), np.array([hi]), checked_names(names)))[0]


def rows(columns: Mapping[str, Column]) -> list[dict[str, float | int | None]]:
    """Return each row of columns as plain numbers, None where a statistic is undefined."""
    values = [
        [value if math.isfinite(value) else None for value in column.tolist()] for column in columns.values()
    ]  # fmt: skip
    return [dict(zip(columns, one, strict=True)) for one in zip(*values, strict=True)]


def newest(moment: Moment, windows: Sequence[int], names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of each of the newest `windows` points; a point is kept at least."""
    lo = np.array([max(moment.start, moment.total - window) for window in windows], dtype=np.int64)
    hi = np.full(len(lo), moment.total, dtype=np.int64)
    return Columns({"start": lo, "end": hi} | _statistics(moment, lo, hi, checked_names(names)))


def across(parts: Sequence[tuple[Moment, int, int]], names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of one kept range [lo, hi) of each series.

    PERF: what is folded of each series is derived for all of them at once, 2 us a series in place of 15.
    """
    wanted = checked_names(names)
    bounds = np.array([[begin, end] for _, begin, end in parts], dtype=np.int64).reshape(-1, 2).T.copy()
    rows = np.empty((6, len(parts)))
    for k, (moment, _, _) in enumerate(parts):
        rows[:, k] = _folded_alone(moment.view, bounds[:, k])
    views, totals = [moment.view for moment, _, _ in parts], [moment.total for moment, _, _ in parts]
    return _across(views, totals, bounds, rows, wanted)


def across_newest(many: Sequence[Newest], window: int, names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of the newest `window` points of each series.

    PERF: in one compiled call, 1 us a series in place of 4.
    """
    wanted = checked_names(names)
    held = [one.held() for one in many]
    views = [view for view, _ in held]
    addresses = np.array([[view.address for view in views], [total for _, (_, total) in held]], dtype=np.int64)
    bounds, rows = np.empty((2, len(many)), dtype=np.int64), np.empty((6, len(many)))
    fold_each(addresses, window, bounds, rows)
    # What another process has changed meanwhile is mapped anew, and what nothing was ever appended to is told.
    for k in np.flatnonzero(bounds[1] == 0).tolist():
        moment, *part = many[k].part(window=window)
        bounds[:, k], views[k] = part, moment.view
        rows[:, k] = _folded_alone(moment.view, bounds[:, k])
    return _across(views, bounds[1].tolist(), bounds, rows, wanted)


def _folded_alone(view: View, bounds: Indexes) -> Floats:
    found = np.empty((6, 1))
    fold_ranges(view.table, view.roots, _ALONE, bounds[:1].copy(), bounds[1:].copy(), found)
    row: Floats = found[:, 0]
    return row


def _across(
    views: Sequence[View], totals: Sequence[int], bounds: Indexes, rows: Floats, names: Sequence[str]
) -> Columns:  # fmt: skip
    lo, hi = bounds[0].copy(), bounds[1].copy()

    def firsts(above: Floats, below: Floats) -> Indexes:
        found = [
            find_first(view.table, view.roots, lo[k], hi[k], above[k], below[k]) for k, view in enumerate(views)
        ]  # fmt: skip
        return np.array(found, dtype=np.int64)

    def paths(centers: Floats, scales: Floats, groups: int) -> Floats:
        found = np.zeros((len(views), path.FIELDS, 1))
        for k, view in enumerate(views):
            here = slice(k, k + 1)
            stored = stored_groups(view, int(lo[k]), int(hi[k]), totals[k], groups)
            of = centers[here], scales[here], groups, found[k]
            path.fold_paths(view.table, view.roots, stored.places, stored.roots, _ALONE, lo[here], hi[here], *of)
        return np.ascontiguousarray(found[:, :, 0].T)

    return Columns({"start": lo, "end": hi} | _derived(lo, hi, rows, names, firsts, paths))


def _in_order(starts: Indexes) -> Indexes:
    """Return the order in which ranges are best walked: as they lie in the series, where there are many.

    PERF: neighbours find in the cache what those before them have read: 1.0 us a range in place of 3.
    """
    if len(starts) < _MANY or bool((starts[1:] >= starts[:-1]).all()):
        return np.arange(len(starts))
    return np.argsort(starts)


def _statistics(moment: Moment, lo: Indexes, hi: Indexes, names: Sequence[str]) -> dict[str, Column]:
    view, order = moment.view, _in_order(lo)
    rows = np.empty((6, len(lo)))
    fold_ranges(view.table, view.roots, order, lo, hi, rows)

    def firsts(above: Floats, below: Floats) -> Indexes:
        found = np.empty(len(lo), dtype=np.int64)
        find_firsts(view.table, view.roots, order, lo, hi, np.stack((above, below)), found)
        return found

    def paths(centers: Floats, scales: Floats, groups: int) -> Floats:
        found = np.zeros((path.FIELDS, len(lo)))
        within = int(lo.min(initial=view.end)), int(hi.max(initial=view.first))
        stored = stored_groups(view, *within, moment.total, groups)
        path.fold_paths(
            view.table, view.roots, stored.places, stored.roots, order, lo, hi, centers, scales, groups, found
        )
        return found

    return _derived(lo, hi, rows, names, firsts, paths)


def _derived(
    lo: Indexes,
    hi: Indexes,
    rows: Floats,
    names: Sequence[str],
    firsts: Callable[[Floats, Floats], Indexes],
    paths: Callable[[Floats, Floats, int], Floats],
) -> dict[str, Column]:
    """Return the statistics `names` of ranges from what was folded of them.

    `firsts` finds places (above, below), and `paths` folds the values (centers, scales, groups): see `tree.path`.
    """
    folded = Folded(lo, hi, rows[MIN], rows[MAX], rows[LAST], rows[AVG], rows[VAR], rows[FIRST])
    never = np.full(len(lo), np.inf)
    walked: Paths | None = None
    found: dict[str, Column] = {}
    for name in names:
        if name == ARGMIN:
            found[name] = firsts(never, folded.min)
        elif name == ARGMAX:
            found[name] = firsts(folded.max, -never)
        elif name in FORMULAS:
            found[name] = FORMULAS[name](folded)
        else:
            walked = walked or _walked(folded, names, paths)
            found[name] = PATHS[name](walked)
    return found


def _walked(folded: Folded, names: Sequence[str], paths: Callable[[Floats, Floats, int], Floats]) -> Paths:
    """Return what the statistics `names` need of the values of the ranges."""
    groups = groups_of(names)
    _, powers = np.frexp(folded.max - folded.min)
    scales = np.ldexp(1.0, np.minimum(-powers, _LARGEST_SCALE))
    return Paths(folded, scales, *paths(np.ascontiguousarray(folded.avg), scales, groups))


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
        raise _out_of_range(moment, lo, max(hi, lo))
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


def asof(moment: Moment, at: object) -> Point:
    """Return the newest point at or before the index `at`; OutOfRange if that is no longer kept, or nothing is.

    InvalidRange for one behind the newest point, where there are times: most likely it is one.
    """
    index = min(asked := checked_index("at", at), moment.total - 1)
    if asked > index >= moment.start and len(moment.view.times):
        behind = f"at is {asked}, an index behind the newest point of {moment.symbol}, {index}"
        raise InvalidRange(f"{behind}; a time in nanoseconds since 1970 has its unit: {asked}ns")
    if index < moment.start:
        raise _out_of_range(moment, max(index, 0), max(index, 0) + 1)
    return point_of(moment, index)


def point_of(moment: Moment, index: int) -> Point:
    """Return one kept point, with its time and size where the series has them."""
    (price,), times, sizes = ticks_of(moment.view, index, index + 1)
    return Point(
        index, float(price), None if times is None else int(times[0]), None if sizes is None else float(sizes[0])
    )


def _value(moment: Moment, index: int) -> float:
    return float(moment.view.read(index, index + 1)[0])
