"""Statistics by their names: what may be asked of a range, and how each follows from what is folded.

Everything is computed from min, max, last, avg, var and first of a range. What is undefined (the sample variance of
one point, the return from a price of 0, the z-score where nothing varies) is NaN: no stored price is.
docs/accuracy.md has the error of each.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hft_mmap.errors import InvalidStatistic

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]
Column = Floats | Indexes


@dataclass(frozen=True, slots=True)
class Folded:
    """Ranges [start, end) and what was folded of each; arrays of shape (n,)."""

    start: Indexes
    end: Indexes
    min: Floats
    max: Floats
    last: Floats
    avg: Floats
    var: Floats
    first: Floats

    @property
    def count(self) -> Indexes:
        """Points of each range."""
        return self.end - self.start

    @property
    def std(self) -> Floats:
        """Population standard deviation of each range."""
        return np.sqrt(self.var)


def _ratio(a: Floats, b: Floats) -> Floats:
    """Return a / b, NaN where b is 0 or the ratio is beyond float64, as that of 1e140 and a price near 0 is."""
    with np.errstate(over="ignore"):
        found: Floats = np.divide(a, b, out=np.full(a.shape, np.nan), where=b != 0)
    found[np.isinf(found)] = np.nan
    return found


def _var_sample(f: Folded) -> Floats:
    n = f.count.astype(np.float64)
    return np.multiply(f.var, _ratio(n, n - 1))


FORMULAS: Mapping[str, Callable[[Folded], Column]] = {
    "min": lambda f: f.min,
    "max": lambda f: f.max,
    "last": lambda f: f.last,
    "avg": lambda f: f.avg,
    "var": lambda f: f.var,
    "count": lambda f: f.count,
    "std": lambda f: f.std,
    "var_sample": _var_sample,
    "std_sample": lambda f: np.sqrt(_var_sample(f)),
    "first": lambda f: f.first,
    "change": lambda f: f.last - f.first,
    "return": lambda f: _ratio(f.last - f.first, f.first),
    "range": lambda f: f.max - f.min,
    "zscore": lambda f: _ratio(f.last - f.avg, f.std),
    "bollinger_lower": lambda f: f.avg - 2 * f.std,
    "bollinger_upper": lambda f: f.avg + 2 * f.std,
}
ARGMIN, ARGMAX = "argmin", "argmax"
STATISTICS = (*FORMULAS, ARGMIN, ARGMAX)
"""The names: the five of a window, and those that follow. argmin and argmax are the index of the first such point."""
FIVE = ("min", "max", "last", "avg", "var")


def checked_names(names: Iterable[object]) -> tuple[str, ...]:
    """Return `names` without repeats, in their order; InvalidStatistic for one that there is not, or for none."""
    if isinstance(names, str):
        raise InvalidStatistic(f"stats must be a sequence of names, not the text {names!r}; write ({names!r},)")
    found: dict[str, None] = {}
    for name in names:
        if not isinstance(name, str) or name not in STATISTICS:
            raise InvalidStatistic(f"there is no statistic {name!r}; there are {', '.join(STATISTICS)}")
        found[name] = None
    if not found:
        raise InvalidStatistic(f"no statistic was named; there are {', '.join(STATISTICS)}")
    return tuple(found)


class Columns(Mapping[str, Column]):
    """Named columns of equal length, in order: numpy arrays, read-only; NaN where a statistic is undefined.

    A mapping, so `pandas.DataFrame(dict(columns))` and `polars.DataFrame(dict(columns))` take it as it is; with pyarrow
    installed also what speaks the Arrow PyCapsule interface takes it, with null in place of NaN:
    `pyarrow.table(columns)`, `pandas.DataFrame.from_arrow(columns)`, `polars.from_arrow(columns).struct.unnest()`.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        """Keep `columns`, all of one length."""
        self._columns = dict(columns)
        for column in self._columns.values():
            column.flags.writeable = False

    def __getitem__(self, name: str) -> Column:
        """Return one column."""
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the columns as one Arrow stream, null where a statistic is undefined; ImportError without pyarrow."""
        try:
            pyarrow: Any = import_module("pyarrow")
        except ModuleNotFoundError as error:
            raise ImportError("columns as Arrow need the package pyarrow: pip install pyarrow") from error
        arrays = {name: pyarrow.array(column, from_pandas=True) for name, column in self._columns.items()}
        return pyarrow.table(arrays).__arrow_c_stream__(requested_schema)
