"""How the named statistics of ranges are put together: what is folded for them, of one range, of many, of many series.

Functions of views and kept ranges; lock-free, and the GIL is released while many are walked. All three ways call the
same compiled folds and the same formulas (`named`), so a range has the same answer to the bit, however it is asked for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from hft_mmap.either import Values, power_below
from hft_mmap.files.proved import Stored, groups_of, stored_groups
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
    Floats,
    Folded,
    Indexes,
    Paths,
    Traded,
)
from hft_mmap.tree import path, trades
from hft_mmap.tree.groups import TRADES as TRADES_GROUP
from hft_mmap.tree.passage import find_first, find_firsts, find_in_range, fold_range, fold_ranges

_ALONE = np.zeros(1, dtype=np.int64)
_MANY = 256
_PLACES: Mapping[str, Callable[[Folded], tuple[Values | None, Values | None]]] = {
    ARGMIN: lambda f: (None, f.min),
    ARGMAX: lambda f: (f.max, None),
}
"""Statistics that are places: the barriers, above and below, that the first such point meets."""
_TRADES = ((trades.SIZES, set(SIZED)), (trades.TIMES, {"twap", "gap"}), (trades.SPAN, {"rate"}))


Formula: TypeAlias = Callable[[Any], Values]
_OF_FOLDED, _OF_PATHS, _OF_TRADED, _OF_PLACES = range(4)


class Plan(NamedTuple):
    """Statistics by their names, without repeats, and what has to be folded for them.

    steps: each name, what it is made of, and its formula. groups: of the path, those of `tree.groups`; columns: those
    of `tree.trades`. sized, timed: the first name that needs sizes, and times; None for none.
    """

    steps: tuple[tuple[str, int, Formula], ...]
    groups: int
    columns: int
    sized: str | None
    timed: str | None


@lru_cache(maxsize=1024)
def plan_of(names: tuple[str, ...]) -> Plan:
    """Return what the statistics `names`, which there are, need."""
    columns = sum(group for group, members in _TRADES if not members.isdisjoint(names))
    sized, timed = (next((name for name in names if name in of), None) for of in (SIZED, TIMED))
    return Plan(tuple(map(_step, names)), groups_of(names) & ~TRADES_GROUP, columns, sized, timed)


def _step(name: str) -> tuple[str, int, Formula]:
    if name in FORMULAS:
        # PERF: what was folded itself is taken without a call of Python's.
        return name, _OF_FOLDED, attrgetter(name) if name in Folded._fields else FORMULAS[name]
    if name in PATHS:
        return name, _OF_PATHS, PATHS[name]
    return (name, _OF_TRADED, TRADES[name]) if name in TRADES else (name, _OF_PLACES, _PLACES[name])


class _Folds(Protocol):
    """What is folded of ranges beyond `Folded`: numbers of one, arrays of many."""

    def first(self, above: Values | None, below: Values | None) -> Values:
        """Find the first point of each range that is >= `above`, or <= `below`; one of them is given."""

    def paths(self, centers: Values, scales: Values, groups: int) -> Iterable[Values]:
        """Fold the values: what `tree.path.fold_paths` writes."""

    def traded(self, lows: Values, wanted: int) -> Iterable[Values]:
        """Fold the columns: what `tree.trades.fold_trades` writes."""


def _derived(folded: Folded, plan: Plan, folds: _Folds) -> dict[str, Values]:
    """Return the statistics of `plan` from what was folded, and what is folded further."""
    walked: Paths | None = None
    traded: Traded | None = None
    found: dict[str, Values] = {}
    for name, source, formula in plan.steps:
        if source == _OF_FOLDED:
            found[name] = formula(folded)
        elif source == _OF_PATHS:
            if walked is None:
                scale = power_below(folded.max - folded.min)
                walked = Paths(folded, scale, *folds.paths(folded.avg, scale, plan.groups))
            found[name] = formula(walked)
        elif source == _OF_TRADED:
            traded = traded or Traded(folded, *folds.traded(folded.min, plan.columns))
            found[name] = formula(traded)
        else:
            found[name] = folds.first(*formula(folded))
    return found


# -- one range --------------------------------------------------------------------------------------------------------


class _One:
    """Folds one range; compiled code takes addresses here, as taking an array apart costs 100 ns each."""

    __slots__ = ("hi", "lo", "moment")

    def __init__(self, moment: Moment, lo: int, hi: int) -> None:
        self.moment, self.lo, self.hi = moment, lo, hi

    def first(self, above: float | None, below: float | None) -> int:
        """See `_Folds`."""
        high, low = np.inf if above is None else above, -np.inf if below is None else below
        return int(find_in_range(self.moment.view.address, self.lo, self.hi, high, low))

    def _stored(self, groups: int) -> Stored:
        return stored_groups(self.moment.view, self.lo, self.hi, self.moment.total, groups)

    def paths(self, center: float, scale: float, groups: int) -> Sequence[float]:
        """See `_Folds`."""
        stored = self._stored(groups)
        found: Sequence[float] = path.fold_path(
            self.moment.view.address, *stored.addresses, self.lo, self.hi, center, scale, groups
        )
        return found

    def traded(self, low: float, wanted: int) -> Sequence[float]:
        """See `_Folds`."""
        stored = self._stored(TRADES_GROUP)
        found: Sequence[float] = trades.fold_trade(
            self.moment.view.address, *stored.addresses, self.lo, self.hi, low, wanted
        )
        return found


def of_one(moment: Moment, lo: int, hi: int, plan: Plan) -> dict[str, Values]:
    """Return the statistics of `plan` of the points [lo, hi), at least one, all of them kept; NaN where undefined."""
    return _derived(Folded(lo, hi, *fold_range(moment.view.address, lo, hi)), plan, _One(moment, lo, hi))


# -- many ranges ------------------------------------------------------------------------------------------------------


class _Many:
    """Folds ranges of one series, as they lie in it where there are many.

    PERF: neighbours find in the cache what those before them have read: 1.0 us a range in place of 3.
    """

    def __init__(self, moment: Moment, lo: Indexes, hi: Indexes) -> None:
        self._moment, self._view = moment, moment.view
        is_ordered = len(lo) < _MANY or bool((lo[1:] >= lo[:-1]).all())
        self._asked = (np.arange(len(lo)) if is_ordered else np.argsort(lo)), lo, hi

    def folded(self) -> Folded:
        """Return what nodes give."""
        _, lo, hi = self._asked
        found = np.empty((6, len(lo)))
        fold_ranges(self._view.table, self._view.roots, *self._asked, found)
        return Folded(lo, hi, *found)

    def first(self, above: Floats | None, below: Floats | None) -> Indexes:
        """See `_Folds`."""
        barriers = _barriers(above, below)
        found = np.empty(barriers.shape[1], dtype=np.int64)
        find_firsts(self._view.table, self._view.roots, *self._asked, barriers, found)
        return found

    def _stored(self, groups: int) -> Stored:
        view, (_, lo, hi) = self._view, self._asked
        within = int(lo.min(initial=view.end)), int(hi.max(initial=view.first))
        return stored_groups(view, *within, self._moment.total, groups)

    def paths(self, centers: Floats, scales: Floats, groups: int) -> Floats:
        """See `_Folds`."""
        found, stored, view = np.zeros((path.FIELDS, len(centers))), self._stored(groups), self._view
        part = view.table, view.roots, stored.places, stored.roots
        path.fold_paths(*part, *self._asked, centers, scales, groups, found)
        return found

    def traded(self, lows: Floats, wanted: int) -> Floats:
        """See `_Folds`."""
        found, stored, view = np.zeros((trades.FIELDS, len(lows))), self._stored(TRADES_GROUP), self._view
        part = view.table, view.times, view.sizes, stored.places, stored.roots
        trades.fold_trades(*part, *self._asked, lows, wanted, found)
        return found


def statistics(moment: Moment, lo: Indexes, hi: Indexes, names: Sequence[str]) -> dict[str, Column]:
    """Return the statistics `names` of the ranges [lo[k], hi[k]), each of which is kept and holds a point."""
    plan = plan_of(tuple(names))
    if len(lo) == 1:
        return {name: np.array([one]) for name, one in of_one(moment, int(lo[0]), int(hi[0]), plan).items()}
    folds = _Many(moment, lo, hi)
    return _derived(folds.folded(), plan, folds)


# -- many series ------------------------------------------------------------------------------------------------------


class _Each:
    """Folds one range of each series."""

    def __init__(self, views: Sequence[View], totals: Sequence[int], lo: Indexes, hi: Indexes) -> None:
        self._views, self._totals, self._lo, self._hi = views, totals, lo, hi

    def first(self, above: Floats | None, below: Floats | None) -> Indexes:
        """See `_Folds`."""
        high, low = _barriers(above, below)
        found = [
            find_first(view.table, view.roots, self._lo[k], self._hi[k], high[k], low[k])
            for k, view in enumerate(self._views)
        ]
        return np.array(found, dtype=np.int64)

    def paths(self, centers: Floats, scales: Floats, groups: int) -> Floats:
        """See `_Folds`."""
        found = [
            one.paths(float(centers[k]), float(scales[k]), groups) for k, one in enumerate(self._ones())
        ]  # fmt: skip
        return _columns(found, path.FIELDS)

    def traded(self, lows: Floats, wanted: int) -> Floats:
        """See `_Folds`."""
        return _columns([one.traded(float(lows[k]), wanted) for k, one in enumerate(self._ones())], trades.FIELDS)

    def _ones(self) -> list[_One]:
        bounds = zip(self._views, self._totals, self._lo.tolist(), self._hi.tolist(), strict=True)
        return [_One(Moment("", view, view.first, total), lo, hi) for view, total, lo, hi in bounds]


def across(
    views: Sequence[View], totals: Sequence[int], bounds: Indexes, rows: Floats, plan: Plan
) -> dict[str, Column]:  # fmt: skip
    """Return the statistics of `plan` of one range of each series, of which `rows` has what `fold_ranges` writes.

    bounds: shape (2, n). PERF: derived for all at once, 2 us a series in place of 15.
    """
    lo, hi = bounds
    return _derived(Folded(lo, hi, *rows), plan, _Each(views, totals, lo, hi))


def folded_alone(view: View, bounds: Indexes) -> Floats:
    """Return what `fold_ranges` writes of the one range `bounds`."""
    return np.array(fold_range(view.address, int(bounds[0]), int(bounds[1])))


def _barriers(above: Floats | None, below: Floats | None) -> Floats:
    """Return rows of barriers above and below, infinite where there is none."""
    if above is None:
        above = np.full_like(below, np.inf)
    return np.stack((above, np.full_like(above, -np.inf) if below is None else below))


def _columns(found: Sequence[Sequence[float]], fields: int) -> Floats:
    """Return the numbers of each as a row of each field."""
    return np.array(found, dtype=np.float64).reshape(-1, fields).T.copy()
