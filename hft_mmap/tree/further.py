"""Statistics of the path of a range, and of its times and sizes: folded, and derived, in one call.

What is folded for them is that of `path` and `trades`; what each of them is says `hft_mmap.named`. What is undefined,
or no longer a float64, is NaN. Divisions and roots round as IEEE 754 says, so a range has the same bits alone and among
many.
"""

import math

import numpy as np
from numba import float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.fold import AVG, FIRST, MAX, MIN, TABLE_SIZES, TABLE_TIMES, column_of, roots_of, table_at
from hft_mmap.tree.group_roots import stored_at
from hft_mmap.tree.kernels import OPTIONS
from hft_mmap.tree.path import fold_path
from hft_mmap.tree.trades import fold_trades

PATH_ROWS, TRADE_ROWS = 9, 6
"""How many are of the path, and of times and sizes, in the order of `named.PATHS` and `named.TRADES`."""
ROWS = PATH_ROWS + TRADE_ROWS

_OF_PATH = 7
_LARGEST_SCALE = 1000
"""The power of two by which deviations grow at most: the least range there is becomes 2^-74, its 4th power 2^-296."""
_NS = 1e9  # of a second

_I8 = types.Array(int64, 1, "C")
_TABLE = types.Array(float64, 2, "C")
_Nine = tuple[float, float, float, float, float, float, float, float, float]
_Eight = tuple[float, float, float, float, float, float, float, float]
_Six = tuple[float, float, float, float, float, float]


@njit(**OPTIONS)
def _where(is_defined: bool, x: float) -> float:  # noqa: FBT001 - compiled code takes it so
    """Return `x`, NaN where it is not defined, or no longer a float64."""
    return x if is_defined and abs(x) < np.inf else np.nan


@njit(**OPTIONS)
def _ratio(a: float, b: float) -> float:
    """Return a / b, NaN where b is 0 or the ratio is beyond float64, as that of 1e140 and a price near 0 is."""
    return _where(b != 0.0, a / b)


@njit(**OPTIONS)
def _within(x: float, low: float, high: float) -> float:
    """Return `x`, or the nearest number from `low` to `high`; NaN of NaN."""
    if x < low:
        return low
    return high if x > high else x  # noqa: FURB136 - `min` says nothing of NaN


@njit(**OPTIONS)
def _scale_of(width: float) -> float:
    """Return the power of two by which `width` becomes about 1, at most 2^1000."""
    return math.ldexp(1.0, min(-math.frexp(width)[1], _LARGEST_SCALE))


@njit(**OPTIONS)
def _of_path(folded: _Eight, points: int, scale: float, least: float, most: float, first: float) -> _Nine:
    """Return rv, volatility, path, drawdown, runup, skew, kurtosis, slope and r2 from what `fold_path` found."""
    squares, changes, fall, rise, sum2, sum3, sum4, cross = folded
    n = float(points)
    varies = most > least
    rv = _where(least > 0.0, squares)
    m2 = sum2 / n
    index_squares = n * (n - 1.0) * (n + 1.0) / 12.0  # the sum of squared deviations of the indexes
    return (
        rv,
        math.sqrt(rv),
        changes,
        _where(first > 0.0 and least >= 0.0, fall - 1.0),
        _where(least > 0.0, rise - 1.0),
        _where(varies, _ratio(sum3 / n, m2 * math.sqrt(m2))),
        _where(varies, _within(_ratio(sum4 / n, m2 * m2) - 3.0, -2.0, np.inf)),
        _where(points > 1, _ratio(cross, index_squares) / scale),
        _where(varies, _within(_ratio(cross * cross, index_squares * sum2), 0.0, 1.0)),
    )


@njit(**OPTIONS)
def _of_trades(folded: _Six, points: int, least: float, most: float) -> _Six:
    """Return volume, signed volume, vwap, twap, gap and rate from what `fold_trades` found."""
    volume, signed, by_size, by_time, gap_ns, span_ns = folded
    return (
        volume,
        signed,
        _where(volume > 0.0, _within(least + by_size, least, most)),
        _where(span_ns > 0.0, _within(least + by_time, least, most)),
        _where(points > 1, gap_ns / _NS),
        _ratio((float(points) - 1.0) * _NS, span_ns),
    )


@njit(types.UniTuple(float64, ROWS)(int64, int64, int64, int64, float64, float64, float64, float64, int64), **OPTIONS)
def fold_further(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table_address: int, stored_address: int, lo: int, hi: int, least: float, most: float, avg: float, first: float,
    wanted: int,
) -> tuple[float, ...]:  # fmt: skip
    """Return the ROWS statistics of the points [lo, hi), of no meaning where not `wanted`.

    wanted: groups of `path` and columns of `trades`, added up; the columns have to be there. stored_address: of the
    words of `files.proved.Stored`. least, most, avg, first: as folded of the same points.
    """
    table = table_at(table_address)
    stored, known = stored_at(stored_address)
    points = hi - lo
    of_path = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    of_trades = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if wanted & _OF_PATH:
        scale = _scale_of(most - least)
        folded = fold_path(table, roots_of(table), stored, known, lo, hi, avg, scale, wanted)
        of_path = _of_path(folded, points, scale, least, most, first)
    if wanted & ~_OF_PATH:
        times, sizes = column_of(table, TABLE_TIMES), column_of(table, TABLE_SIZES)
        traded = fold_trades(table, times, sizes, stored, known, lo, hi, least, wanted)
        of_trades = _of_trades(traded, points, least, most)
    return of_path + of_trades


@njit(types.void(int64, int64, _I8, _I8, _I8, _TABLE, int64, _TABLE), **OPTIONS)
def fold_furthers(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table_address: int, stored_address: int, order: NDArray[np.int64], starts: NDArray[np.int64],
    ends: NDArray[np.int64], folded: NDArray[np.float64], wanted: int, out: NDArray[np.float64],
) -> None:  # fmt: skip
    """Write what `fold_further` returns of the points [starts[k], ends[k]) into `out[:, k]`, shape (ROWS, n).

    folded: what `passage.fold_ranges` has written of the same ranges. `order` has the ranges as they are to be taken.
    Rows of the path are left as they are where nothing of it is wanted, and likewise the others.
    """
    begin = 0 if wanted & _OF_PATH else PATH_ROWS
    end = ROWS if wanted & ~_OF_PATH else PATH_ROWS
    for k in order:
        least, most, avg, first = folded[MIN, k], folded[MAX, k], folded[AVG, k], folded[FIRST, k]
        found = fold_further(table_address, stored_address, starts[k], ends[k], least, most, avg, first, wanted)
        for row in range(begin, end):
            out[row, k] = found[row]
