"""Find points of a series by their times, by bisection of the column of times: no index has to be kept.

Kernels of one question each: they take the table of `fold` by its address, as taking an array apart costs 100 ns. Many
times at once are found by `cuts.find_times`.
"""

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.fold import (
    TABLE_CHUNK_POINTS,
    TABLE_FIRST_POINT,
    TABLE_TIMES,
    column_of,
    fold_window,
    newest_of,
    roots_of,
    table_at,
)
from hft_mmap.tree.kernels import OPTIONS
from hft_mmap.tree.pointers import int64_pointer

_ALL = 2**62
_EARLIEST = -(2**63)
_COUNTED = types.Tuple((float64, float64, float64, float64, float64, int64))


@njit(**OPTIONS)
def _time_of(table: NDArray[np.int64], point: int) -> int:
    """Return the time of one point."""
    points = table[TABLE_CHUNK_POINTS]
    place = point - table[TABLE_FIRST_POINT]
    chunk = place // points
    return carray(int64_pointer(column_of(table, TABLE_TIMES)[chunk]), (points,))[place - chunk * points]


@njit(int64(int64, int64), **OPTIONS)
def time_at(table_address: int, point: int) -> int:
    """Return the time of one point of a series that has times."""
    return _time_of(table_at(table_address), point)


@njit(**OPTIONS)
def _find(table: NDArray[np.int64], lo: int, hi: int, time: int) -> int:
    step = 1
    above = hi
    # From the end on, in steps that double: the newest points are asked for most.
    while above > lo:
        at = max(above - step, lo)
        if _time_of(table, at) < time:
            lo = at + 1
            break
        above = at
        step *= 2
    while lo < above:
        at = lo + (above - lo) // 2
        if _time_of(table, at) < time:
            lo = at + 1
        else:
            above = at
    return lo


@njit(int64(int64, int64, int64, int64), **OPTIONS)
def find_time(table_address: int, lo: int, hi: int, time: int) -> int:
    """Return the first of the points [lo, hi) whose time is `time` or later, or `hi`; O(log of its distance from `hi`).

    The series has times, and the chunks of the table hold all of these points.
    """
    return _find(table_at(table_address), lo, hi, time)


@njit(_COUNTED(int64, int64, int64), **OPTIONS)
def fold_lasting(table_address: int, total_address: int, lasting: int) -> tuple[float, float, float, float, float, int]:
    """Return (min, max, last, avg, var, points) of the newest `lasting` nanoseconds, points = 0 if there is no answer.

    As `fold.fold_newest`; `lasting` is from 1. There is no answer either where the series has no times.
    """
    table = table_at(table_address)
    begin, end = newest_of(table, total_address, _ALL)
    if begin == end or table[TABLE_TIMES] == 0:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0
    newest = _time_of(table, end - 1)
    begin = _find(table, begin, end, _EARLIEST if newest < _EARLIEST + lasting else newest - lasting + 1)
    lo, hi, last, avg, var = fold_window(table, roots_of(table), begin, end)
    return lo, hi, last, avg, var, end - begin
