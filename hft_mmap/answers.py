"""What can be asked of any range of a series: named statistics, of one range, of many, of bars, of many series.

Functions of a view and the bounds [start, total) of one moment that it covers, as `Series` has them: lock-free, and the
GIL is released while the tree is walked.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from hft_mmap.batch import arrow_array, is_arrow_only, nulls_of
from hft_mmap.by_time import Window, newest_of_each
from hft_mmap.errors import ColumnsDiffer, InvalidRange, InvalidValues, OutOfRange
from hft_mmap.files.proved import groups_of, stored_groups
from hft_mmap.files.view import View
from hft_mmap.moment import Moment
from hft_mmap.named import (
    ARGMAX,
    ARGMIN,
    FORMULAS,
    PATHS,
    SIZED,
    TIMED,
    TRADES,
    Column,
    Columns,
    Floats,
    Folded,
    Indexes,
    Paths,
    Traded,
    checked_names,
)
from hft_mmap.tree import path, trades
from hft_mmap.tree.buckets import bar_edges
from hft_mmap.tree.groups import TRADES as TRADES_GROUP
from hft_mmap.tree.passage import (
    AVG,
    FIRST,
    LAST,
    MAX,
    MIN,
    VAR,
    find_first,
    find_firsts,
    fold_each,
    fold_ranges,
)

_MOST = 2**62
_ALONE = np.zeros(1, dtype=np.int64)
_MANY = 256
_TRADES = ((trades.SIZES, set(SIZED)), (trades.TIMES, {"twap", "gap"}), (trades.SPAN, {"rate"}))
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

    symbol: str

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


def wanted_of(moment: Moment, names: Sequence[str]) -> tuple[str, ...]:
    """Return `names` without repeats; InvalidStatistic, and ColumnsDiffer for one whose column the series lacks."""
    wanted = checked_names(names)
    check_columns(moment.symbol, moment.view, wanted)
    return wanted


def check_columns(symbol: str, view: View, names: Sequence[str]) -> None:
    """Make sure that a series, which has points, has the columns of the statistics `names`; ColumnsDiffer."""
    if TRADES.keys().isdisjoint(names):
        return
    for column, of, there in (("sizes", SIZED, view.sizes), ("times", TIMED, view.times)):
        if view.chunks and not len(there) and not set(of).isdisjoint(names):
            name = next(name for name in names if name in of)
            raise ColumnsDiffer(
                f"{symbol} has no {column}, and {name} is made of them: ask for statistics of prices, or append points "
                f"with {column} to a new series"
            )


def bars(moment: Moment, asked: tuple[int, int], size: int, names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of the bars of what is kept of `asked`; see `Series.stats_bars`."""
    edges = bar_edges((moment.start, moment.total), asked, size)
    lo, hi = edges[:-1].copy(), edges[1:].copy()
    return Columns({"start": lo, "end": hi} | statistics(moment, lo, hi, wanted_of(moment, names)))


def many(moment: Moment, starts: ArrayLike, ends: ArrayLike, names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of each range; see `Series.stats_many`."""
    wanted = wanted_of(moment, names)
    lo, hi = checked_indexes("starts", starts), checked_indexes("ends", ends)
    lo, hi = check_ranges(moment, lo, hi)
    return Columns({"start": lo, "end": hi} | statistics(moment, lo, hi, wanted))


def check_ranges(moment: Moment, lo: Indexes, hi: Indexes) -> tuple[Indexes, Indexes]:
    """Return the bounds of ranges; InvalidRange, OutOfRange unless each of them holds a point, and is kept."""
    if len(lo) != len(hi):
        raise InvalidRange(f"starts and ends must be of one length, not {len(lo)} and {len(hi)}")
    bad = np.flatnonzero((lo < 0) | (lo >= hi))
    if len(bad):
        k = int(bad[0])
        raise InvalidRange(f"window {k} is [{lo[k]}, {hi[k]}): start must be from 0, and below end")
    bad = np.flatnonzero((lo < moment.start) | (hi > moment.total))
    if len(bad):
        raise out_of_range(moment, int(lo[bad[0]]), int(hi[bad[0]]))
    return lo, hi


def one(moment: Moment, lo: int, hi: int, names: Sequence[str]) -> dict[str, float | int | None]:
    """Return the statistics `names` of the points [lo, hi), which are kept; None where one is undefined."""
    return rows(statistics(moment, np.array([lo]), np.array([hi]), wanted_of(moment, names)))[0]


def rows(columns: Mapping[str, Column]) -> list[dict[str, float | int | None]]:
    """Return each row of columns as plain numbers, None where a statistic is undefined."""
    values = [
        [value if math.isfinite(value) else None for value in column.tolist()] for column in columns.values()
    ]  # fmt: skip
    return [dict(zip(columns, one, strict=True)) for one in zip(*values, strict=True)]


def newest(moment: Moment, windows: Sequence[Window], names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of each of the newest `windows`; a point is kept at least."""
    lo = newest_of_each(moment, windows)
    hi = np.full(len(lo), moment.total, dtype=np.int64)
    return Columns({"start": lo, "end": hi} | statistics(moment, lo, hi, wanted_of(moment, names)))


def across(parts: Sequence[tuple[Moment, int, int]], names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of one kept range [lo, hi) of each series.

    PERF: what is folded of each series is derived for all of them at once, 2 us a series in place of 15.
    """
    wanted = checked_names(names)
    for moment, _, _ in parts:
        check_columns(moment.symbol, moment.view, wanted)
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
    for one, view in zip(many, views, strict=True):
        check_columns(one.symbol, view, wanted)
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

    def traded(lows: Floats, wanted: int) -> Floats:
        found = np.zeros((len(views), trades.FIELDS, 1))
        for k, view in enumerate(views):
            stored = stored_groups(view, int(lo[k]), int(hi[k]), totals[k], TRADES_GROUP)
            part = view.table, view.times, view.sizes, stored.places, stored.roots
            here = slice(k, k + 1)
            trades.fold_trades(*part, _ALONE, lo[here], hi[here], lows[here], wanted, found[k])
        return np.ascontiguousarray(found[:, :, 0].T)

    return Columns({"start": lo, "end": hi} | _derived(lo, hi, rows, names, _Further(firsts, paths, traded)))


def _in_order(starts: Indexes) -> Indexes:
    """Return the order in which ranges are best walked: as they lie in the series, where there are many.

    PERF: neighbours find in the cache what those before them have read: 1.0 us a range in place of 3.
    """
    if len(starts) < _MANY or bool((starts[1:] >= starts[:-1]).all()):
        return np.arange(len(starts))
    return np.argsort(starts)


def statistics(moment: Moment, lo: Indexes, hi: Indexes, names: Sequence[str]) -> dict[str, Column]:
    """Return the statistics `names` of the ranges [lo[k], hi[k]), each of which is kept and holds a point."""
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

    def traded(lows: Floats, wanted: int) -> Floats:
        found = np.zeros((trades.FIELDS, len(lo)))
        within = int(lo.min(initial=view.end)), int(hi.max(initial=view.first))
        stored = stored_groups(view, *within, moment.total, TRADES_GROUP)
        part = view.table, view.times, view.sizes, stored.places, stored.roots
        trades.fold_trades(*part, order, lo, hi, lows, wanted, found)
        return found

    return _derived(lo, hi, rows, names, _Further(firsts, paths, traded))


class _Further(NamedTuple):
    """What is asked of ranges beyond the fold of their nodes: see `tree.passage`, `tree.path` and `tree.trades`.

    `firsts` finds places (above, below), `paths` folds the values (centers, scales, groups), and `traded` the columns
    (lows, what is wanted).
    """

    firsts: Callable[[Floats, Floats], Indexes]
    paths: Callable[[Floats, Floats, int], Floats]
    traded: Callable[[Floats, int], Floats]


def _derived(lo: Indexes, hi: Indexes, rows: Floats, names: Sequence[str], further: _Further) -> dict[str, Column]:
    """Return the statistics `names` of ranges from what was folded of them, and what is asked further."""
    folded = Folded(lo, hi, rows[MIN], rows[MAX], rows[LAST], rows[AVG], rows[VAR], rows[FIRST])
    never = np.full(len(lo), np.inf)
    walked: Paths | None = None
    columns: Traded | None = None
    found: dict[str, Column] = {}
    for name in names:
        if name == ARGMIN:
            found[name] = further.firsts(never, folded.min)
        elif name == ARGMAX:
            found[name] = further.firsts(folded.max, -never)
        elif name in FORMULAS:
            found[name] = FORMULAS[name](folded)
        elif name in TRADES:
            wanted = sum(group for group, members in _TRADES if not members.isdisjoint(names))
            columns = columns or Traded(folded, *further.traded(np.ascontiguousarray(folded.min), wanted))
            found[name] = TRADES[name](columns)
        else:
            walked = walked or _walked(folded, names, further.paths)
            found[name] = PATHS[name](walked)
    return found


def _walked(folded: Folded, names: Sequence[str], paths: Callable[[Floats, Floats, int], Floats]) -> Paths:
    """Return what the statistics `names` need of the values of the ranges."""
    groups = groups_of(names) & ~TRADES_GROUP
    _, powers = np.frexp(folded.max - folded.min)
    scales = np.ldexp(1.0, np.minimum(-powers, _LARGEST_SCALE))
    return Paths(folded, scales, *paths(np.ascontiguousarray(folded.avg), scales, groups))
