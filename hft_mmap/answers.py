"""What can be asked of any range of a series: named statistics, of one range, of many, of bars, of many series.

Functions of a view and the bounds [start, total) of one moment that it covers, as `Series` has them: lock-free, and the
GIL is released while the tree is walked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from hft_mmap.asked import newest_of_each, out_of_range
from hft_mmap.batch import arrow_array, is_arrow_only, nulls_of
from hft_mmap.by_time import Window
from hft_mmap.errors import ColumnsDiffer, InvalidRange, InvalidValues
from hft_mmap.files.view import View
from hft_mmap.folding import Found, Plan, folded_alone, of_one, plan_of, statistics
from hft_mmap.folding import across as folded_across
from hft_mmap.moment import Moment
from hft_mmap.named import Column, Columns, Indexes, checked_names
from hft_mmap.tree.buckets import bar_edges
from hft_mmap.tree.passage import fold_each

_MOST = 2**62


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
    check_columns(moment.symbol, moment.view, plan_of(wanted))
    return wanted


def check_columns(symbol: str, view: View, plan: Plan) -> None:
    """Make sure that a series, which has points, has the columns of the statistics of `plan`; ColumnsDiffer."""
    if plan.sized is not None and not len(view.sizes) and view.chunks:
        raise _without(symbol, "sizes", plan.sized)
    if plan.timed is not None and not len(view.times) and view.chunks:
        raise _without(symbol, "times", plan.timed)


def _without(symbol: str, column: str, name: str) -> ColumnsDiffer:
    return ColumnsDiffer(
        f"{symbol} has no {column}, and {name} is made of them: ask for statistics of prices, or append points with "
        f"{column} to a new series"
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


def of_found(symbol: str, view: View, found: Found, names: Sequence[str]) -> dict[str, float | int | None]:
    """Return the statistics `names` of a kept range, of which `found` was folded; None where one is undefined."""
    plan = plan_of(checked_names(names))
    check_columns(symbol, view, plan)
    derived = of_one(view, found, plan)
    if math.isfinite(sum(derived.values())):  # PERF: nearly always, and one by one they take 1 us
        return derived
    return {name: value if math.isfinite(value) else None for name, value in derived.items()}


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
    """Return start, end and the statistics `names` of one kept range [lo, hi) of each series."""
    plan = plan_of(checked_names(names))
    for moment, _, _ in parts:
        check_columns(moment.symbol, moment.view, plan)
    bounds = np.array([[begin, end] for _, begin, end in parts], dtype=np.int64).reshape(-1, 2).T.copy()
    rows = np.empty((6, len(parts)))
    for k, (moment, _, _) in enumerate(parts):
        rows[:, k] = folded_alone(moment, *bounds[:, k].tolist())[2:8]
    views, totals = [moment.view for moment, _, _ in parts], [moment.total for moment, _, _ in parts]
    return _with_bounds(bounds, folded_across(views, totals, bounds, rows, plan))


def across_newest(many: Sequence[Newest], window: int, names: Sequence[str]) -> Columns:
    """Return start, end and the statistics `names` of the newest `window` points of each series.

    PERF: in one compiled call, 1 us a series in place of 4.
    """
    plan = plan_of(checked_names(names))
    held = [one.held() for one in many]
    views = [view for view, _ in held]
    addresses = np.array([[view.address for view in views], [total for _, (_, total) in held]], dtype=np.int64)
    bounds, rows = np.empty((2, len(many)), dtype=np.int64), np.empty((6, len(many)))
    fold_each(addresses, window, bounds, rows)
    # What another process has changed meanwhile is mapped anew, and what nothing was ever appended to is told.
    for k in np.flatnonzero(bounds[1] == 0).tolist():
        moment, *part = many[k].part(window=window)
        bounds[:, k], views[k] = part, moment.view
        rows[:, k] = folded_alone(moment, *bounds[:, k].tolist())[2:8]
    for one, view in zip(many, views, strict=True):
        check_columns(one.symbol, view, plan)
    return _with_bounds(bounds, folded_across(views, bounds[1].tolist(), bounds, rows, plan))


def _with_bounds(bounds: Indexes, found: Mapping[str, Column]) -> Columns:
    return Columns({"start": bounds[0].copy(), "end": bounds[1].copy(), **found})
