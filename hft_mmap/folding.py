"""How the named statistics of ranges are put together: what is folded for them, of one range, of many, of many series.

Functions of views and kept ranges; lock-free, and the GIL is released while many are walked. All three ways call the
same compiled folds and the same formulas (`named`), so a range has the same answer to the bit, however it is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from hft_mmap.either import Values
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
    Floats,
    Folded,
    Indexes,
)
from hft_mmap.tree import trades
from hft_mmap.tree.further import ROWS, fold_further, fold_furthers
from hft_mmap.tree.groups import TRADES as TRADES_GROUP
from hft_mmap.tree.passage import find_first, find_firsts, find_in_range, fold_ranges
from hft_mmap.tree.times import BEGINS_AT, ENDS_AT, fold_asked

_MANY = 256
_PLACES: Mapping[str, Callable[[Folded], tuple[Values | None, Values | None]]] = {
    ARGMIN: lambda f: (None, f.min),
    ARGMAX: lambda f: (f.max, None),
}
"""Statistics that are places: the barriers, above and below, that the first such point meets."""
_COLUMNS = ((trades.SIZES, set(SIZED)), (trades.TIMES, {"twap", "gap"}), (trades.SPAN, {"rate"}))
_FOLDED = len(Folded._fields)
_folded = partial(tuple.__new__, Folded)
"""`Folded` of the tuple of its fields, in half the time of the method that takes them one by one."""

Found: TypeAlias = tuple[Any, ...]
"""What `tree.times.fold_asked` returns: the fields of `Folded`, and the total."""
_ROW = (*Folded._fields, "total", *PATHS, *TRADES)
"""What is folded of a range, or of many: `Found`, and behind it the rows of `tree.further`."""
_TAKEN = {name: place for place, name in enumerate(_ROW) if name not in {"start", "end", "total"}}


class Plan(NamedTuple):
    """Statistics by their names, without repeats, and what has to be folded for them.

    taken: each name, and its place in a row as `_ROW`, 0 for what does not stand there. formulas, places: these, as
    they are in `named.FORMULAS` and `_PLACES`. wanted: what of `tree.further`; groups: those that help to fold it.
    sized, timed: the first name that needs sizes, and times; None for none.
    """

    taken: tuple[tuple[str, int], ...]
    formulas: tuple[str, ...]
    places: tuple[str, ...]
    wanted: int
    groups: int
    sized: str | None
    timed: str | None


@lru_cache(maxsize=1024)
def plan_of(names: tuple[str, ...]) -> Plan:
    """Return what the statistics `names`, which there are, need."""
    columns = sum(group for group, members in _COLUMNS if not members.isdisjoint(names))
    sized, timed = (next((name for name in names if name in of), None) for of in (SIZED, TIMED))
    groups = groups_of(names)
    taken = tuple((name, _TAKEN.get(name, 0)) for name in names)
    others = [name for name in names if name not in _TAKEN]
    formulas, places = (tuple(name for name in others if name in of) for of in (FORMULAS, _PLACES))
    return Plan(taken, formulas, places, (groups & ~TRADES_GROUP) | columns, groups, sized, timed)


First: TypeAlias = Callable[[Any, Any], Values]
"""Finds the first point of each range that is >= the one number, or <= the other; one of them is given."""


def _derived(row: tuple[Any, ...], plan: Plan, first: First) -> dict[str, Values]:
    """Return the statistics of `plan` from what was folded: numbers of one range, arrays of many.

    row: as `_ROW`, without what is of `tree.further` where nothing of it is wanted. PERF: what stands there itself, as
    mostly all does, is taken without a call for each, and by a loop: 0.4 us for nine, `dict` and `zip` take 0.8.
    """
    found: dict[str, Values] = {}
    for name, place in plan.taken:
        found[name] = row[place]
    if plan.formulas or plan.places:
        folded = _folded(row[:_FOLDED])
        for name in plan.formulas:
            found[name] = FORMULAS[name](folded)
        for name in plan.places:
            found[name] = first(*_PLACES[name](folded))
    return found


# -- one range --------------------------------------------------------------------------------------------------------


def folded_alone(moment: Moment, lo: int, hi: int) -> Found:
    """Return what is folded of the points [lo, hi), at least one, all of them kept."""
    return *fold_asked(moment.view.address, 0, BEGINS_AT | ENDS_AT, lo, hi)[:-1], moment.total


def of_one(view: View, found: Found, plan: Plan) -> dict[str, Values]:
    """Return the statistics of `plan` of one range of a series, of which `found` was folded; NaN where undefined.

    PERF: compiled code takes addresses here, as taking an array apart costs 100 ns each.
    """
    row = found + _further(view, found, plan) if plan.wanted else found
    return _derived(row, plan, lambda above, below: _first_in(view, found[0], found[1], above, below))


def _further(view: View, found: Found, plan: Plan) -> tuple[float, ...]:
    """Return the rows of `tree.further` of one range."""
    lo, hi, low, high, _last, avg, _var, first, total = found
    stored = stored_groups(view, lo, hi, total, plan.groups)  # held until the call has ended
    rows: tuple[float, ...] = fold_further(view.address, stored.address, lo, hi, low, high, avg, first, plan.wanted)
    return rows


def _first_in(view: View, lo: int, hi: int, above: float | None, below: float | None) -> int:
    high, low = np.inf if above is None else above, -np.inf if below is None else below
    return int(find_in_range(view.address, lo, hi, high, low))


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
        """Find as `First` does."""
        barriers = _barriers(above, below)
        found = np.empty(barriers.shape[1], dtype=np.int64)
        find_firsts(self._view.table, self._view.roots, *self._asked, barriers, found)
        return found

    def further(self, folded: Folded, plan: Plan) -> Floats:
        """Return the rows of `tree.further`."""
        view, (order, lo, hi) = self._view, self._asked
        within = int(lo.min(initial=view.end)), int(hi.max(initial=view.first))
        stored = stored_groups(view, *within, self._moment.total, plan.groups)
        found = np.empty((ROWS, len(lo)))  # of which what nobody writes takes no memory
        fold_furthers(view.address, stored.address, order, lo, hi, np.stack(folded[2:]), plan.wanted, found)
        return found


def statistics(moment: Moment, lo: Indexes, hi: Indexes, names: Sequence[str]) -> dict[str, Column]:
    """Return the statistics `names` of the ranges [lo[k], hi[k]), each of which is kept and holds a point."""
    plan = plan_of(tuple(names))
    if len(lo) == 1:
        found = folded_alone(moment, int(lo[0]), int(hi[0]))
        return {name: np.array([one]) for name, one in of_one(moment.view, found, plan).items()}
    folds = _Many(moment, lo, hi)
    folded = folds.folded()
    return _derived((*folded, moment.total, *(folds.further(folded, plan) if plan.wanted else ())), plan, folds.first)


# -- many series ------------------------------------------------------------------------------------------------------


def across(
    views: Sequence[View], totals: Sequence[int], bounds: Indexes, rows: Floats, plan: Plan
) -> dict[str, Column]:  # fmt: skip
    """Return the statistics of `plan` of one range of each series, of which `rows` has what `fold_ranges` writes.

    bounds: shape (2, n). PERF: derived for all at once, 2 us a series in place of 15.
    """
    further = np.empty((ROWS, len(views)))
    if plan.wanted:
        parts = zip(*bounds.tolist(), *rows.tolist(), totals, strict=True)
        for k, (view, found) in enumerate(zip(views, parts, strict=True)):
            further[:, k] = _further(view, found, plan)
    return _derived((*bounds, *rows, totals, *further), plan, partial(_firsts_of_each, views, bounds))


def _firsts_of_each(
    views: Sequence[View], bounds: Indexes, above: Floats | None, below: Floats | None
) -> Indexes:  # fmt: skip
    """Find as `First` does, one range of each series."""
    high, low = _barriers(above, below)
    found = [
        find_first(view.table, view.roots, *bounds[:, k], high[k], low[k]) for k, view in enumerate(views)
    ]  # fmt: skip
    return np.array(found, dtype=np.int64)


def _barriers(above: Floats | None, below: Floats | None) -> Floats:
    """Return rows of barriers above and below, infinite where there is none."""
    if above is None:
        above = np.full_like(below, np.inf)
    return np.stack((above, np.full_like(above, -np.inf) if below is None else below))
