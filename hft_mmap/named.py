"""Statistics by their names: what may be asked of a range, and how each follows from what is folded.

Most are computed from min, max, last, avg, var and first of a range, which nodes give; those of PATHS from what is
folded out of its values, those of TRADES out of its times and sizes as well, by groups where there are some. What is
undefined (the sample variance of one point, the return from a price of 0, the z-score where nothing varies) is NaN: no
stored price is. docs/accuracy.md has the error of each.
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
_NS = 1e9  # of a second


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


@dataclass(frozen=True, slots=True)
class Paths:
    """What was folded out of the values of ranges; arrays of shape (n,), of no meaning where not wanted.

    `squares` and `changes` are the sums of squared log returns and of absolute changes; `fall` and `rise` the least
    ratio of a price to the greatest up to it, and the greatest to the least; m2, m3, m4 sums of powers of deviations
    from the mean, and `cross` that of deviations of index and price, all of prices times `scale`.
    """

    folded: Folded
    scale: Floats
    squares: Floats
    changes: Floats
    fall: Floats
    rise: Floats
    m2: Floats
    m3: Floats
    m4: Floats
    cross: Floats


def _where(defined: NDArray[np.bool_], found: Floats) -> Floats:
    """Return `found`, NaN where it is not defined, or no longer a float64."""
    return np.where(defined & np.isfinite(found), found, np.nan)


def _rv(p: Paths) -> Floats:
    return _where(p.folded.min > 0, p.squares)


def _varies(p: Paths) -> NDArray[np.bool_]:
    return p.folded.max > p.folded.min


def _skew(p: Paths) -> Floats:
    n = p.folded.count.astype(np.float64)
    return _where(_varies(p), _ratio(p.m3 / n, (p.m2 / n) ** 1.5))


def _kurtosis(p: Paths) -> Floats:
    n = p.folded.count.astype(np.float64)
    return _where(_varies(p), np.maximum(_ratio(p.m4 / n, (p.m2 / n) ** 2) - 3, -2))


def _index_squares(p: Paths) -> Floats:
    """Return the sum of squared deviations of the indexes of each range: n (n^2 - 1) / 12."""
    n = p.folded.count.astype(np.float64)
    return n * (n - 1) * (n + 1) / 12


def _slope(p: Paths) -> Floats:
    return _where(p.folded.count > 1, _ratio(p.cross, _index_squares(p)) / p.scale)


def _r2(p: Paths) -> Floats:
    return _where(_varies(p), np.minimum(_ratio(p.cross * p.cross, _index_squares(p) * p.m2), 1))


PATHS: Mapping[str, Callable[[Paths], Floats]] = {
    "rv": _rv,
    "volatility": lambda p: np.sqrt(_rv(p)),
    "path": lambda p: p.changes,
    "drawdown": lambda p: _where(p.folded.first > 0, p.fall - 1),
    "runup": lambda p: _where(p.folded.min > 0, p.rise - 1),
    "skew": _skew,
    "kurtosis": _kurtosis,
    "slope": _slope,
    "r2": _r2,
}
"""The statistics of the path of a range: of groups of nodes where there are some, else of its values.

With p_1 ... p_n its points:

- rv: the sum of ln(p_i / p_(i-1))^2 over i > 1; volatility: its square root, neither annualised nor divided by a count;
- path: the sum of |p_i - p_(i-1)|;
- drawdown: the least p_j / max(p_1 ... p_j) - 1, from -1 to 0; runup: the greatest p_j / min(p_1 ... p_j) - 1, from 0;
- skew: m3 / m2^1.5, kurtosis: m4 / m2^2 - 3 (the excess: 0 for a normal distribution), where mk is the mean of
  (p_i - avg)^k: of the population, as scipy.stats has them by default;
- slope: of the least squares line against the index, in price a point; r2: the squared correlation of the two.

rv, volatility and runup are NaN where a price is 0, drawdown where the first one is; skew, kurtosis and r2 where
nothing varies; slope of one point. Of one point rv, volatility, path, drawdown and runup are 0.
"""


@dataclass(frozen=True, slots=True)
class Traded:
    """What was folded out of the columns of ranges; arrays of shape (n,), of no meaning where not wanted.

    `volume` and `signed` are the sums of absolute sizes and of sizes, `by_size` and `by_time` the weighted means of
    prices above the least of the range, `gap_ns` the longest time between neighbours, `span_ns` that from the first
    point to the last.
    """

    folded: Folded
    volume: Floats
    signed: Floats
    by_size: Floats
    by_time: Floats
    gap_ns: Floats
    span_ns: Floats


def _weighted(t: Traded, above: Floats, weights: Floats) -> Floats:
    """Return the mean of the prices whose part above the least is `above`; NaN where nothing has a weight."""
    found = np.minimum(np.maximum(t.folded.min + above, t.folded.min), t.folded.max)
    return np.where(weights > 0, found, np.nan)


TRADES: Mapping[str, Callable[[Traded], Floats]] = {
    "volume": lambda t: t.volume,
    "signed_volume": lambda t: t.signed,
    "vwap": lambda t: _weighted(t, t.by_size, t.volume),
    "twap": lambda t: _weighted(t, t.by_time, t.span_ns),
    "gap": lambda t: np.where(t.folded.count > 1, t.gap_ns / _NS, np.nan),
    "rate": lambda t: _ratio((t.folded.count - 1).astype(np.float64) * _NS, t.span_ns),
}
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
