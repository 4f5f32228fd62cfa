"""Statistics by their names: what may be asked of a range, and how each follows from what is folded.

Most are computed from min, max, last, avg, var and first of a range, which nodes give; those of PATHS and TRADES by
compiled code (`tree.further`), from what is folded out of values, times and sizes, by groups where there are some. What
is undefined (the sample variance of one point, the return from a price of 0, the z-score where nothing varies) is NaN:
no stored price is. docs/accuracy.md has the error of each.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hft_mmap.either import Values, ratio, root, where
from hft_mmap.errors import InvalidStatistic

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]
Column = Floats | Indexes


class Folded(NamedTuple):
    """Ranges [start, end) and what was folded of each: arrays of shape (n,), or the numbers of one range."""

    start: Values
    end: Values
    min: Values
    max: Values
    last: Values
    avg: Values
    var: Values
    first: Values

    @property
    def points(self) -> Values:
        """How many points each range has, as whole numbers."""
        return self.end - self.start

    @property
    def n(self) -> Values:
        """The same as float64."""
        return (self.end - self.start) * 1.0

    @property
    def std(self) -> Values:
        """Population standard deviation of each range."""
        return root(self.var)


def _var_sample(f: Folded) -> Values:
    return f.var * ratio(f.n, f.n - 1.0)


def _return(f: Folded) -> Values:
    return where((f.first > 0.0) & (f.last >= 0.0), ratio(f.last - f.first, f.first))


FORMULAS: Mapping[str, Callable[[Folded], Values]] = {
    "min": lambda f: f.min,
    "max": lambda f: f.max,
    "last": lambda f: f.last,
    "avg": lambda f: f.avg,
    "var": lambda f: f.var,
    "count": lambda f: f.points,
    "std": lambda f: f.std,
    "var_sample": _var_sample,
    "std_sample": lambda f: root(_var_sample(f)),
    "first": lambda f: f.first,
    "change": lambda f: f.last - f.first,
    "return": _return,
    "range": lambda f: f.max - f.min,
    "zscore": lambda f: ratio(f.last - f.avg, f.std),
    "bollinger_lower": lambda f: f.avg - 2.0 * f.std,
    "bollinger_upper": lambda f: f.avg + 2.0 * f.std,
}
"""The statistics that follow from the fold of a range alone; a return is NaN from a price of 0 or below, or to one that
is negative."""

PATHS = ("rv", "volatility", "path", "drawdown", "runup", "skew", "kurtosis", "slope", "r2")
"""The statistics of the path of a range: of groups of nodes where there are some, else of its values.

With p_1 ... p_n its points:

- rv: the sum of ln(p_i / p_(i-1))^2 over i > 1; volatility: its square root, neither annualised nor divided by a count;
- path: the sum of |p_i - p_(i-1)|;
- drawdown: the least p_j / max(p_1 ... p_j) - 1, from -1 to 0; runup: the greatest p_j / min(p_1 ... p_j) - 1, from 0;
- skew: m3 / m2^1.5, kurtosis: m4 / m2^2 - 3 (the excess: 0 for a normal distribution), where mk is the mean of
  (p_i - avg)^k: of the population, as scipy.stats has them by default;
- slope: of the least squares line against the index, in price a point; r2: the squared correlation of the two.

rv, volatility and runup are NaN where a price is 0 or negative, drawdown where the first one is 0 or any is negative;
skew, kurtosis and r2 where nothing varies; slope of one point. Of one point rv, volatility, path, drawdown and runup
are 0.
"""

TRADES = ("volume", "signed_volume", "vwap", "twap", "gap", "rate")
"""The statistics of what was traded, and when. With s_i the sizes, and t_i the times, of the points p_1 ... p_n:

- volume: the sum of |s_i|; signed_volume: the sum of s_i, bought less sold;
- vwap: the sum of p_i |s_i| divided by volume, NaN where that is 0; never outside [min, max];
- twap: the mean of p_1 ... p_(n-1), each weighted by the time t_(i+1) - t_i that it held; NaN where no time passed;
- gap: the longest t_(i+1) - t_i, in seconds; NaN of one point;
- rate: (n - 1) / (t_n - t_1), in points a second; NaN where no time passed.
"""
SIZED, TIMED = ("volume", "signed_volume", "vwap"), ("twap", "gap", "rate")
"""Those that need sizes, and those that need times."""
SCANNED = (*PATHS, *SIZED, "twap", "gap")
"""The statistics for which every point of a range is read, but for those that groups cover."""
ARGMIN, ARGMAX = "argmin", "argmax"
STATISTICS = (*FORMULAS, ARGMIN, ARGMAX, *PATHS, *TRADES)
"""The names: the five of a window, and those that follow. argmin and argmax are the index of the first such point."""
FIVE = ("min", "max", "last", "avg", "var")


def checked_names(names: Iterable[object]) -> tuple[str, ...]:
    """Return `names` without repeats, in their order; InvalidStatistic for one that there is not, or for none."""
    if isinstance(names, str):
        raise InvalidStatistic(f"stats must be a sequence of names, not the text {names!r}; write ({names!r},)")
    wanted = tuple(names)
    try:
        return _checked(wanted)
    except TypeError:  # what can't be hashed is no name
        return _checked.__wrapped__(wanted)


@lru_cache(maxsize=1024)
def _checked(names: tuple[object, ...]) -> tuple[str, ...]:
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
