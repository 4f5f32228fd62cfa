"""Instant vectors at all steps at once: arithmetic, aggregation, ranks.

A vector has a row for each series and a column for each step; `there` says where a series has a value, which may be NaN
or infinite.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from api.promql.catalogue import Labels
from api.promql.parser import NAME
from api.promql.refusals import NoAnswer
from api.promql.tree import RANKED

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Scalar: TypeAlias = Floats
"""A number at each step."""

_BETWEEN: Mapping[str, Callable[[Floats, Floats], NDArray[Any]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": np.fmod, "^": np.power,
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip
_LARGEST_K = 2.0**63


class Vector(NamedTuple):
    """Series with their values at each step."""

    labels: list[Labels]
    values: Floats
    there: Flags

    def nameless(self) -> "Vector":
        """Return it without the names of metrics. Raises NoAnswer where two series are then the same."""
        return self._replace(labels=[without(labels, {NAME}) for labels in self.labels]).distinct()

    def where(self, holds: Flags) -> "Vector":
        """Return what of it `holds`."""
        return self._replace(there=self.there & holds).distinct()

    def distinct(self) -> "Vector":
        """Return it without series that have no value. Raises NoAnswer where two of the others are the same."""
        some = np.flatnonzero(self.there.any(axis=1)).tolist()
        labels = [self.labels[k] for k in some]
        if len(set(labels)) < len(labels):
            raise NoAnswer("vector cannot contain metrics with the same labelset: give the selector a metric name")
        return self if len(some) == len(self.labels) else Vector(labels, self.values[some], self.there[some])


def without(labels: Labels, names: set[str]) -> Labels:
    """Return the labels that are not among `names`."""
    return tuple(pair for pair in labels if pair[0] not in names)


def stacked(labels: list[Labels], rows: Sequence[tuple[Floats, Flags]], steps: int) -> Vector:
    """Return the vector of these series; those that have no value are left out."""
    values, there = np.empty((len(rows), steps)), np.empty((len(rows), steps), dtype=np.bool_)
    for k, row in enumerate(rows):
        values[k], there[k] = row
    return Vector(labels, values, there).distinct()


def calculated(sign: str, left: Floats, right: Floats) -> Floats:
    """Return left and right with the sign between them, as float64 has it: infinite and NaN are values."""
    with np.errstate(all="ignore"):
        found: Floats = _BETWEEN[sign](left, right).astype(np.float64)  # comparisons are 0 or 1
    return found


def paired(sign: str, left: Vector, right: Vector, *, filters: bool = False) -> Vector:
    """Return the vector of the pairs of series that have the same labels but for their names. Raises NoAnswer.

    filters: it has the values and the names of the left side, where the comparison holds.
    """
    lefts, rights = _grouped(left), _grouped(right)
    both = np.any(left.there, axis=0) & np.any(right.there, axis=0)
    labels, rows = [], []
    for key, at in rights.items():
        if np.any((right.there[at].sum(axis=0) > 1) & both):
            raise _ambiguous("right", key)
        if key not in lefts:
            continue
        values, there = _merged(right.values[at], right.there[at])
        of_left = left.values[lefts[key]]
        found = calculated(sign, of_left, values[np.newaxis])
        pairs = left.there[lefts[key]] & there & ((found != 0) | (not filters))
        if np.any(pairs.sum(axis=0) > 1):
            raise _ambiguous("left", key)
        if filters:
            labels += [left.labels[row] for row in lefts[key]]
            rows += list(zip(of_left, pairs, strict=True))
        else:
            labels.append(key)
            rows.append(_merged(found, pairs))
    return stacked(labels, rows, left.values.shape[1])


def _merged(values: Floats, there: Flags) -> tuple[Floats, Flags]:
    """Return as one the rows of which one at most has a value at each step."""
    return np.where(there, values, 0).sum(axis=0), np.any(there, axis=0)


def _grouped(of: Vector) -> dict[Labels, list[int]]:
    return _members([without(labels, {NAME}) for labels in of.labels])


def _members(keys: Sequence[Labels]) -> dict[Labels, list[int]]:
    """Return the rows of each group, the groups in the order in which they are first met."""
    found: dict[Labels, list[int]] = {}
    for row, key in enumerate(keys):
        found.setdefault(key, []).append(row)
    return found


def _ambiguous(side: str, key: Labels) -> NoAnswer:
    shown = ", ".join(f'{name}="{value}"' for name, value in key)
    return NoAnswer(
        f"found duplicate series for the match group {{{shown}}} on the {side} hand-side of the operation: many-to-"
        "many matching not allowed: give the selectors a metric name"
    )


# -- aggregations -----------------------------------------------------------------------------------------------------


def aggregated(name: str, of: Vector, keys: Sequence[Labels]) -> Vector:
    """Return one series for each of the groups that `keys`, the group of each row, tell."""
    groups = _members(keys)
    rows = [_reduced(name, of.values[at], of.there[at]) for at in groups.values()]
    return stacked(list(groups), rows, of.values.shape[1])


def _reduced(name: str, values: Floats, there: Flags) -> tuple[Floats, Flags]:
    count = there.sum(axis=0)
    with np.errstate(all="ignore"):
        if name == "count":
            found = count.astype(np.float64)
        elif name in {"sum", "avg"}:
            found = np.where(there, values, 0).sum(axis=0)
            found = found / count if name == "avg" else found
        else:  # a NaN counts only where there is nothing else
            reduce = np.fmin.reduce if name == "min" else np.fmax.reduce
            found = reduce(np.where(there, values, np.nan), axis=0)
    return found, count > 0


def ranked(name: str, of: Vector, keys: Sequence[Labels], k: Scalar) -> Vector:
    """Return the k greatest, or least, of each group at each step; in their order where there is one step."""
    if not np.all(np.abs(k) < _LARGEST_K):
        raise NoAnswer(f"{name} takes a number of series, not {float(k[~(np.abs(k) < _LARGEST_K)][0]):g}")
    greatest = name == RANKED[0]
    keep = np.zeros_like(of.there)
    sorting = np.where(np.isnan(of.values), np.inf, -of.values if greatest else of.values)
    order = np.lexsort((sorting, np.isnan(of.values), ~of.there), axis=0)
    for rows in _members(keys).values():
        inside = np.zeros(len(of.labels), dtype=np.bool_)
        inside[rows] = True
        places = np.cumsum(inside[order] & np.take_along_axis(of.there, order, axis=0), axis=0)
        chosen = inside[order] & (places <= np.trunc(k))
        np.put_along_axis(keep, order, np.take_along_axis(keep, order, axis=0) | chosen, axis=0)
    found = of._replace(there=of.there & keep)
    if of.values.shape[1] == 1:
        by_rank = order[:, 0].tolist()
        found = Vector([of.labels[row] for row in by_rank], of.values[by_rank], found.there[by_rank])
    return found.distinct()
