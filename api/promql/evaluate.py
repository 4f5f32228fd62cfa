"""The answer to a query: its tree walked once, with all steps at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np

from api.promql import over_time
from api.promql.budget import Budget
from api.promql.catalogue import Catalogue, Labels
from api.promql.parser import NAME
from api.promql.refusals import NoAnswer
from api.promql.tree import (
    COMPARISONS,
    KINDS,
    RANKED,
    Aggregation,
    Binary,
    Call,
    Expression,
    Negated,
    Number,
    Selector,
    kind_of,
)
from api.promql.vectors import Floats, Scalar, Vector, aggregated, calculated, paired, ranked, stacked, without
from hft_mmap.named import Indexes

Value: TypeAlias = Scalar | Vector

_MATHS: Mapping[str, Callable[[Floats], Floats]] = {
    "abs": np.abs, "ceil": np.ceil, "exp": np.exp, "floor": np.floor, "ln": np.log, "log10": np.log10,
    "log2": np.log2, "sgn": np.sign, "sqrt": np.sqrt,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Steps:
    """The times that a query is asked at, in milliseconds since 1970: one, or every `step` from the first to the last.

    `start_ms` and `end_ms` are what was asked for, which `@ start()` and `@ end()` mean.
    """

    times_ms: Indexes
    start_ms: int
    end_ms: int


def evaluated(query: Expression, steps: Steps, catalogue: Catalogue, budget: Budget) -> Value:
    """Return what `query` is at each step. Raises NoAnswer, NoQuery, SeriesSetAside, SeriesBusy."""
    if kind_of(query) not in {"scalar", "vector"}:
        raise NoAnswer(
            f"a {KINDS[kind_of(query)]} is not answered here: ask for a scalar or an instant vector, such as "
            'avg_over_time(price{symbol="ABC-USD"}[5m])'
        )
    return _Walk(steps, catalogue, budget).value(query)


class _Walk:
    """Evaluates the parts of one query."""

    def __init__(self, steps: Steps, catalogue: Catalogue, budget: Budget) -> None:
        self._steps = steps
        self._n = len(steps.times_ms)
        self._catalogue = catalogue
        self._budget = budget

    def value(self, one: Expression) -> Value:
        """Return a scalar or an instant vector."""
        if isinstance(one, Number):
            return np.full(self._n, one.value)
        if isinstance(one, Selector):
            return self._selected(one)
        if isinstance(one, Call):
            return self._called(one)
        if isinstance(one, Negated):
            return _negative(self.value(one.of))
        if isinstance(one, Binary):
            return self._between(one)
        if isinstance(one, Aggregation):
            return self._aggregated(one)
        raise NoAnswer(f"a {KINDS[kind_of(one)]} is not answered here")

    def _vector(self, one: Expression) -> Vector:
        return cast("Vector", self.value(one))  # the parser has looked

    def _scalar(self, one: Expression) -> Scalar:
        return cast("Scalar", self.value(one))

    # -- series -------------------------------------------------------------------------------------------------------

    def _times(self, one: Selector) -> Indexes:
        """Return the times that a selector is looked at: one for all steps where it has a time of its own."""
        at: Indexes = self._steps.times_ms
        if one.at_ms is not None:
            fixed = {"start": self._steps.start_ms, "end": self._steps.end_ms}
            at = np.array([fixed[one.at_ms] if isinstance(one.at_ms, str) else one.at_ms], dtype=np.int64)
        return at - one.offset_ms

    def _selected(self, one: Selector) -> Vector:
        found = self._catalogue.find(one.matchers)
        self._budget.hold(len(found), self._n)
        times = self._times(one)
        rows = [over_time.at_each(series, times) for series in found]
        return stacked([series.labels for series in found], rows, self._n)

    def _windowed(self, name: str, of: Selector, quantile: Scalar | None = None) -> Vector:
        """Return what a function makes of the window of each step, series by series."""
        found = self._catalogue.find(of.matchers)
        self._budget.hold(len(found), self._n)
        times = self._times(of)
        if quantile is not None and len(times) < self._n and (quantile != quantile[0]).any():
            times = np.repeat(times, self._n)
        rows = []
        for series in found:
            windows = over_time.windows_of(name, series.moment, times, of.range_ms or 0)
            if quantile is None:
                rows.append(over_time.over_time(name, series, windows, self._budget))
            else:
                rows.append(over_time.quantile_over_time(quantile[: len(times)], series, windows, self._budget))
        return stacked([series.labels for series in found], rows, self._n)

    # -- functions ----------------------------------------------------------------------------------------------------

    def _called(self, one: Call) -> Value:
        if one.name == "time":
            return self._steps.times_ms / 1000
        if one.name in {"absent", "absent_over_time"}:
            return self._absent(one)
        if one.name == "vector":
            there = np.ones((1, self._n), dtype=np.bool_)
            return Vector([()], self._scalar(one.arguments[0])[np.newaxis], there)
        if kind_of(one.arguments[-1]) == "matrix":
            shares = self._scalar(one.arguments[0]) if one.name == "quantile_over_time" else None
            windowed = self._windowed(one.name, cast("Selector", one.arguments[-1]), shares)
            return windowed if one.name == "last_over_time" else windowed.nameless()
        of = self._vector(one.arguments[0])
        if one.name == "scalar":
            alone = of.there.sum(axis=0) == 1
            return np.where(alone, np.where(of.there, of.values, 0).sum(axis=0), np.nan)
        of = of.nameless()
        with np.errstate(all="ignore"):
            return of._replace(values=_MATHS[one.name](of.values))

    def _absent(self, one: Call) -> Vector:
        """Return 1 at the steps at which there is nothing, with the labels that the selector says."""
        of = one.arguments[0]
        found = self._vector(of) if one.name == "absent" else self._windowed("present_over_time", cast("Selector", of))
        labels = _said(of) if isinstance(of, Selector) else ()
        row = np.ones(self._n), ~np.any(found.there, axis=0)
        return stacked([labels], [row], self._n)

    def _between(self, one: Binary) -> Value:
        left, right = self.value(one.left), self.value(one.right)
        filters = one.sign in COMPARISONS and not one.as_bool
        if isinstance(left, Vector) and isinstance(right, Vector):
            return paired(one.sign, left, right, filters=filters)
        of = left if isinstance(left, Vector) else right
        values = calculated(one.sign, _columns(left), _columns(right))
        if not isinstance(of, Vector):
            alone: Scalar = values[0]
            return alone
        return of.where(values != 0) if filters else of.nameless()._replace(values=values)

    def _aggregated(self, one: Aggregation) -> Vector:
        of = self._vector(one.of)
        if one.without:
            keys = [without(labels, {NAME, *one.labels}) for labels in of.labels]
        else:
            keys = [tuple(pair for pair in labels if pair[0] in one.labels) for labels in of.labels]
        if one.name in RANKED:
            return ranked(one.name, of, keys, self._scalar(cast("Expression", one.parameter)))
        return aggregated(one.name, of, keys)


def _columns(of: Value) -> Floats:
    """Return values with a column for each step."""
    return of.values if isinstance(of, Vector) else of[np.newaxis]


def _negative(of: Value) -> Value:
    if not isinstance(of, Vector):
        return -of
    found = of.nameless()
    return found._replace(values=-found.values)


def _said(selector: Selector) -> Labels:
    """Return the labels whose values the matchers say, each by one matcher alone."""
    names = [one.label for one in selector.matchers]
    said = {
        one.label: one.equal
        for one in selector.matchers
        if one.label != NAME and one.equal and names.count(one.label) == 1
    }
    return tuple(sorted(said.items()))
