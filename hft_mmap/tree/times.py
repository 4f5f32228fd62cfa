"""Find points of a series by their times, in the column of times: no index has to be kept.

What is asked for of a series, by time or not, is found and folded in one call (`fold_asked`).

Kernels of one question each: they take the table of `fold` by its address, as taking an array apart costs 100 ns. Many
times at once are found by `cuts.find_times`.
"""

import math

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
    prefetch_edges,
    roots_of,
    table_at,
    value_of,
)
from hft_mmap.tree.kernels import OPTIONS
from hft_mmap.tree.pointers import int64_pointer

EARLIEST, LATEST = -(2**63), 2**63 - 1
"""The one is before every time that a point may have, and after the other there is none."""
_FEW = 16
_MOST_MISSES = 2
_ALL = 2**62
_FOUND = types.Tuple((int64, int64, float64, float64, float64, float64, float64, float64, int64))


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
def _first_time_of(times: NDArray[np.int64], chunk: int) -> int:
    return carray(int64_pointer(times[chunk]), (1,))[0]


@njit(**OPTIONS)
def _share(low: int, time: int, high: int) -> float:
    """Return how far `time` lies on the way from `low` to `high`, about; low < time <= high."""
    return float(np.uint64(time) - np.uint64(low)) / float(np.uint64(high) - np.uint64(low))


@njit(**OPTIONS)
def _find_in(t: NDArray[np.int64], first: int, last: int, time: int) -> int:
    """Return the first of the places [first, last] whose time is `time` or later, or last + 1.

    Looks on both sides of where it would be if points came evenly, a root of the width away, until it was not in
    between twice; then at the half of what is left. O(log N).

    PERF: at random places of 1e7 points 0.6 us with the call where they come evenly or at random, 0.9 where their rate
    changes, in bursts or with long waits; steps that double from the end, and halves, took 1.0 to 1.1 of all of them.
    """
    low, high = t[first], t[last]
    if low >= time:
        return first
    if high < time:
        return last + 1
    misses = 0
    while last - first > _FEW:
        if misses < _MOST_MISSES:
            guess = first + int((last - first) * _share(low, time, high))
            margin = 2 + int(math.sqrt(float(last - first)))
            left, right = max(guess - margin, first), min(guess + margin, last)
        else:
            left = right = (first + last) >> 1
        before, after = t[left], t[right]
        misses += 0 if before < time <= after else 1
        if before >= time:
            last, high = left, before
        elif after < time:
            first, low = right, after
        else:
            first, low, last, high = left, before, right, after
    while last - first > 1:
        middle = (first + last) >> 1
        if t[middle] < time:
            first = middle
        else:
            last = middle
    return last


@njit(**OPTIONS)
def _find(table: NDArray[np.int64], lo: int, hi: int, time: int) -> int:
    """Find as `find_time` does: the chunk first, by the first times of each, then the place in it.

    PERF: no division by the size of a chunk for each place that is looked at.
    """
    if lo >= hi:
        return hi
    points = table[TABLE_CHUNK_POINTS]
    times = column_of(table, TABLE_TIMES)
    lo -= table[TABLE_FIRST_POINT]
    hi -= table[TABLE_FIRST_POINT]
    chunk, oldest = (hi - 1) // points, lo // points
    if chunk > oldest and _first_time_of(times, chunk) >= time:
        behind, chunk = chunk, oldest
        while behind - chunk > 1:
            middle = (chunk + behind) >> 1
            if _first_time_of(times, middle) < time:
                chunk = middle
            else:
                behind = middle
        hi = behind * points
    base = chunk * points
    t = carray(int64_pointer(times[chunk]), (hi - base,))
    return table[TABLE_FIRST_POINT] + base + _find_in(t, max(lo - base, 0), hi - base - 1, time)


@njit(int64(int64, int64, int64, int64), **OPTIONS)
def find_time(table_address: int, lo: int, hi: int, time: int) -> int:
    """Return the first of the points [lo, hi) whose time is `time` or later, or `hi`; O(log N).

    The series has times, and the chunks of the table hold all of these points.
    """
    return _find(table_at(table_address), lo, hi, time)


# -- what a question asks for -----------------------------------------------------------------------------------------

# How a range begins: `begin` is a point, so many points before the end, so many nanoseconds (an unsigned number) before
# the last point, or a time; what is at that time is not meant. Behind a time all points have to be kept, or as many are
# meant as are.
BEGINS_AT, BEGINS_BEFORE_END, BEGINS_WITHIN, BEGINS_BEHIND, BEGINS_BEHIND_KEPT = range(5)
# How it ends, to be added: before the point `end`, with the time `end`, or with the newest point.
ENDS_AT, ENDS_WITH, ENDS_NOW = 0, 8, 16
_BEGINS = 7


@njit(**OPTIONS)
def _behind(table: NDArray[np.int64], lo: int, hi: int, time: int) -> int:
    """Return the first of the points [lo, hi) whose time is later than `time`, or `hi`."""
    return hi if time == LATEST else _find(table, lo, hi, time + 1)


@njit(**OPTIONS)
def _time_before(newest: int, lasting: int) -> int:
    """Return the time that lies `lasting` before `newest`, EARLIEST if it would be before that."""
    most = np.uint64(newest) - np.uint64(EARLIEST)
    return EARLIEST if np.uint64(lasting) > most else newest - lasting


@njit(**OPTIONS)
def _bounds(table: NDArray[np.int64], start: int, total: int, how: int, begin: int, end: int) -> tuple[int, int]:
    """Find as `find_bounds` does."""
    ends, begins = how & ~_BEGINS, how & _BEGINS
    if table[TABLE_TIMES] == 0 and (ends == ENDS_WITH or begins >= BEGINS_WITHIN):
        return 0, 0
    hi = total
    if ends == ENDS_AT:
        hi = end
    elif ends == ENDS_WITH:
        hi = _behind(table, start, total, end)
    if not start < hi <= total:
        return 0, 0
    lo = begin
    if begins == BEGINS_BEFORE_END:
        lo = max(start, hi - begin)
    elif begins == BEGINS_WITHIN:
        lo = _behind(table, start, hi, _time_before(_time_of(table, hi - 1), begin))
    elif begins != BEGINS_AT:
        lo = _behind(table, start, hi, begin)
        if begins == BEGINS_BEHIND and lo == start and start > 0:
            return 0, 0  # points may be missing that were of that time
    return (lo, hi) if start <= lo < hi else (0, 0)


@njit(types.UniTuple(int64, 2)(int64, int64, int64, int64, int64, int64), **OPTIONS)
def find_bounds(table_address: int, start: int, total: int, how: int, begin: int, end: int) -> tuple[int, int]:
    """Return the bounds of the points that are asked for by `how`, `begin` and `end`; O(log N).

    [start, total) are kept, and mapped by the table. Both are 0 where there is no answer: no such point is kept, or not
    all of them; or they are asked for by time, and the series has none.
    """
    return _bounds(table_at(table_address), start, total, how, begin, end)


@njit(_FOUND(int64, int64, int64, int64, int64), **OPTIONS)
def fold_asked(
    table_address: int, total_address: int, how: int, begin: int, end: int
) -> tuple[int, int, float, float, float, float, float, float, int]:
    """Return the bounds of what is asked for, then (min, max, last, avg, var, first) of it, and the total.

    A question in one call, as `fold.fold_newest`: it loads the bounds of the series from the live words, finds those of
    the range (`find_bounds`), and folds. The total is 0 where there is no answer, for a reason of the one or the other.
    Where `total_address` is 0 the points [begin, end) are those of a moment that whoever asks has taken.
    """
    table = table_at(table_address)
    total = lo = hi = 0
    if total_address == 0:
        lo, hi, total = begin, end, end
    else:
        start, total = newest_of(table, total_address, _ALL)
        if start < total:
            lo, hi = _bounds(table, start, total, how, begin, end)
    if lo == hi:
        return 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0
    if how < ENDS_NOW:
        prefetch_edges(table, lo, hi)
    low, high, last, avg, var = fold_window(table, roots_of(table), lo, hi)
    return lo, hi, low, high, last, avg, var, value_of(table, lo), total
