"""Fold the path of a window: returns, falls and rises, third and fourth moments, the slope.

What depends on the order of the points, or on more than their squares, does not follow from the nodes of a chunk. Where
its groups have nodes (`tree.groups`) these are folded, else the values are read, with the GIL released: 2 to 40 ns a
point, some hundreds of subnormal prices. Three states, each of a run of consecutive points, and each with a merge of an
older run and a newer one:

========  ============================================================================================================
returns   sum of squared log returns, sum of absolute changes. A return belongs to the point at which it ends, and the
          first point of a window has none, so that both are plain sums.
extremes  greatest and least price, min of p_j / p_i and max of p_j / p_i over i <= j, for i the greatest (the least)
          price up to j. Merged bit for bit, as a rounded quotient keeps the order of the exact ones. The min and max of
          nodes tell which values can be passed over: mostly nearly all.
moments   count, mean, m2, m3, m4 and the sum of (i - mean of i)(p - mean): in runs of 64, merged in pairs of equal
          count, so that roundings add up by the logarithm of the count. Of prices relative to a centre near their mean,
          in units near their range (a power of two): each deviation is rounded relative to itself, and none of their
          powers leaves the float64 numbers.
========  ============================================================================================================

Formulas: ln(b/a) = 2 atanh((b - a)/(b + a)), as a series, which loses nothing where a and b are close; merges of
moments by Pébay (2008), "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
statistical moments", SAND2008-6212; the correction of a run by the sum of its deviations, which would be 0, after
Chan, Golub, LeVeque (1983), eq. 1.7; compensated sums by Neumaier (1974).

Errors: sums of what is positive (rv, path) within 1e-14 of themselves, a fall or rise the rounded quotient itself, m3,
m4 and cross within 1e-13 of the sum of the absolute terms.
"""

import numpy as np
from numba import carray, njit
from numpy.typing import NDArray

from hft_mmap.tree.fold import (
    TABLE_ADDRESSES,
    TABLE_CHUNK_POINTS,
    TABLE_FIRST_POINT,
    TABLE_LEVEL_OFFSETS,
    TABLE_LEVELS,
)
from hft_mmap.tree.group_roots import returns_of_chunks, whole_chunks
from hft_mmap.tree.groups import (
    EXTREMES,
    MOMENTS,
    NEAR,
    OF_EXTREMES,
    OF_RETURNS,
    RETURNS,
    group_nodes,
    group_place,
    log_square,
    nodes_from,
    returns_run,
)
from hft_mmap.tree.kernels import FAN_OUT, FAN_OUT_BITS, NODE_FIELDS, OPTIONS
from hft_mmap.tree.path_moments import fold_moments, sum_of
from hft_mmap.tree.pointers import float64_pointer

_Eight = tuple[float, float, float, float, float, float, float, float]
_Extremes = tuple[float, float, float, float]


@njit(**OPTIONS)
def _return_run(v: NDArray[np.float64], scratch: NDArray[np.float64]) -> tuple[float, float]:
    """Sum the squared log returns and the absolute changes between neighbours of `v`, at most FAN_OUT of them.

    PERF: each on its own first, which the compiler does for several at once, then the sums: 1.3 ns a point in place
    of 4. A few that moved far are seen to one by one.
    """
    n = v.shape[0] - 1
    squares, changes = scratch[0], scratch[1]
    far = 0
    for i in range(n):
        d = v[i + 1] - v[i]
        z = d / (v[i + 1] + v[i])
        w = z * z
        y = 1.0 + w * (1 / 3 + w * (1 / 5 + w * (1 / 7 + w * (1 / 9 + w * (1 / 11)))))
        squares[i] = 4.0 * w * (y * y)
        changes[i] = abs(d)
        far += 0 if w < NEAR else 1  # 0 / 0 is NaN
    if far:
        for i in range(n):
            squares[i] = log_square(v[i], v[i + 1])
    return sum_of(squares, n), sum_of(changes, n)


@njit(**OPTIONS)
def _added(total: tuple[float, float], x: float) -> tuple[float, float]:
    """Add `x` to a sum and what it has lost."""
    s = total[0] + x
    lost = (total[0] - s) + x if abs(total[0]) >= abs(x) else (x - s) + total[0]
    return s, total[1] + lost


@njit(**OPTIONS)
def _fold_returns(
    table: NDArray[np.int64], stored: NDArray[np.int64], known: NDArray[np.float64], lo: int, hi: int
) -> tuple[float, float]:
    """Return the sums of squared log returns and of absolute changes between the points [lo, hi)."""
    points = table[TABLE_CHUNK_POINTS]
    begin = lo - table[TABLE_FIRST_POINT]
    end = hi - table[TABLE_FIRST_POINT]
    scratch = np.empty((2, FAN_OUT))
    squares, path = (0.0, 0.0), (0.0, 0.0)
    i = begin
    before = 0.0
    while i < end:
        chunk = i // points
        whole = whole_chunks(table, stored, OF_RETURNS, i, end)
        if whole:
            s, p, first, last = returns_of_chunks(known, stored.shape[1], chunk, whole)
            squares, path = _added(squares, s), _added(path, p)
            if i > begin:
                squares, path = _added(squares, log_square(before, first)), _added(path, abs(first - before))
            before = last
            i += whole * points
            continue
        stop = min(points, end - chunk * points)
        v = carray(float64_pointer(table[TABLE_ADDRESSES + chunk]), (stop,))
        j = i - chunk * points
        if i > begin:  # the return that crosses from chunk to chunk
            squares, path = _added(squares, log_square(before, v[j])), _added(path, abs(v[j] - before))
        j += 1
        address, covered = group_place(stored, OF_RETURNS, chunk, stop)
        while j < stop:
            level, n = nodes_from(j, covered, table[TABLE_LEVELS])
            if level:
                s, p = returns_run(group_nodes(address, table, level, 2, j >> (FAN_OUT_BITS * level), n), n)
                k = j + (n << (FAN_OUT_BITS * level))
            else:
                k = min((j | (FAN_OUT - 1)) + 1, stop)
                s, p = _return_run(v[j - 1 : k], scratch)
            squares, path = _added(squares, s), _added(path, p)
            j = k
        before = v[stop - 1]
        i = chunk * points + stop
    return squares[0] + squares[1], path[0] + path[1]


@njit(**OPTIONS)
def _may_hide(node: tuple[float, float], state: _Extremes) -> bool:
    """Say whether a node (least, greatest) may have a deeper fall or a greater rise in it than its ends show.

    Without a new high in it, the deepest fall in it is that to its least. With one, none is deeper than from its
    greatest to its least; where there was a deeper one already, it need not be looked at either.
    """
    (least, most), (high, low, fall, rise) = node, state
    return (most > high and not least / most >= fall) or (least < low and not most / least <= rise)


@njit(**OPTIONS)
def _extremes_of_values(v: NDArray[np.float64], i: int, end: int, state: _Extremes) -> _Extremes:
    """Go on with the values [i, end) from (greatest, least, fall, rise) of the points before them."""
    high, low, fall, rise = state
    for j in range(i, end):
        x = v[j]
        high = max(high, x)
        low = min(low, x)
        # 0 / 0, where nothing but 0 came before: there is no answer then, whatever is kept of it.
        fall = min(fall, x / high)
        rise = max(rise, x / low)
    return high, low, fall, rise


@njit(**OPTIONS)
def _extremes_of_chunk(
    base: int, table: NDArray[np.int64], i: int, end: int, state: _Extremes, place: tuple[int, int]
) -> _Extremes:
    """Go on with the values [i, end) of one chunk from (greatest, least, fall, rise) of the points before them.

    place: of `group_place`; where the group has the node, nothing below it is looked at.
    """
    address, covered = place
    v = carray(float64_pointer(base), (end,))
    top = table[TABLE_LEVELS]
    high, low, fall, rise = state
    level = 0
    while high >= 0.0 and level < top and i & ((FAN_OUT << (FAN_OUT_BITS * level)) - 1) == 0:
        level += 1  # but for the very first point, which is looked at by itself
    while i < end:
        size = 1 << (FAN_OUT_BITS * level)
        if level == 0:
            stop = min((i | (FAN_OUT - 1)) + 1, end)
            high, low, fall, rise = _extremes_of_values(v, i, stop, (high, low, fall, rise))
            i = stop
        elif i + size > end:
            level -= 1
            continue
        else:
            at = (i >> (FAN_OUT_BITS * level)) * NODE_FIELDS
            node = carray(float64_pointer(base + 8 * table[TABLE_LEVEL_OFFSETS + level]), (at + NODE_FIELDS,))
            least, most = node[at], node[at + 1]
            known = i + size <= covered
            if known:
                own = group_nodes(address, table, level, 2, i >> (FAN_OUT_BITS * level), 1)
                fall = min(fall, own[0])
                rise = max(rise, own[1])
            elif _may_hide((least, most), (high, low, fall, rise)):
                level -= 1
                continue
            if known or most <= high:
                fall = min(fall, least / high)
            if known or least >= low:
                rise = max(rise, most / low)
            high = max(high, most)
            low = min(low, least)
            i += size
        size = 1 << (FAN_OUT_BITS * level)
        while level < top and (i & ((size << FAN_OUT_BITS) - 1)) == 0:
            level += 1
            size <<= FAN_OUT_BITS
    return high, low, fall, rise


@njit(**OPTIONS)
def _merged_extremes(older: _Extremes, newer: _Extremes) -> _Extremes:
    """Merge the (greatest, least, fall, rise) of a run with those of the run right behind it."""
    if older[0] < 0.0:
        return newer
    return (
        max(older[0], newer[0]),
        min(older[1], newer[1]),
        min(older[2], newer[2], newer[1] / older[0]),
        max(older[3], newer[3], newer[0] / older[1]),
    )


@njit(**OPTIONS)
def _fold_extremes(
    table: NDArray[np.int64],
    roots: NDArray[np.float64],
    stored: NDArray[np.int64],
    known: NDArray[np.float64],
    lo: int,
    hi: int,
) -> tuple[float, float]:
    """Return the least p_j / (greatest p_i, i <= j) and the greatest p_j / (least p_i, i <= j) of the points [lo, hi).

    Where a price is 0, see `named.py` for what is left of them.
    """
    points = table[TABLE_CHUNK_POINTS]
    i = lo - table[TABLE_FIRST_POINT]
    end = hi - table[TABLE_FIRST_POINT]
    state = (-np.inf, np.inf, 1.0, 1.0)
    while i < end:
        chunk = i // points
        if whole_chunks(table, stored, OF_EXTREMES, i, end):
            least, most = roots[NODE_FIELDS * chunk], roots[NODE_FIELDS * chunk + 1]
            at = 8 * stored.shape[1] + 2 * chunk
            state = _merged_extremes(state, (most, least, known[at], known[at + 1]))
            i += points
            continue
        stop = min(points, end - chunk * points)
        place = group_place(stored, OF_EXTREMES, chunk, stop)
        state = _extremes_of_chunk(table[TABLE_ADDRESSES + chunk], table, i - chunk * points, stop, state, place)
        i = chunk * points + stop
    return state[2], state[3]


@njit(**OPTIONS)
def fold_path(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table: NDArray[np.int64],
    roots: NDArray[np.float64],
    stored: NDArray[np.int64],
    known: NDArray[np.float64],
    lo: int,
    hi: int,
    center: float,
    scale: float,
    wanted: int,
) -> _Eight:
    """Return rv, path, fall, rise, m2, m3, m4 and cross of the points [lo, hi), 0 of what is not wanted.

    wanted: RETURNS, EXTREMES, MOMENTS. Moments are those of (price - center) * scale: a centre near the mean, and a
    power of two that makes the range about 1. Table and roots are those of `fold_window`, and cover the range. `stored`
    says where the groups of the chunks lie (OF_ rows, a column a chunk), and `known` has their roots: O(log N) for what
    their nodes cover; of the other points every one is read.
    """
    rv = path = fall = rise = 0.0
    shape = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if wanted & RETURNS:
        rv, path = _fold_returns(table, stored, known, lo, hi)
    if wanted & EXTREMES:
        fall, rise = _fold_extremes(table, roots, stored, known, lo, hi)
    if wanted & MOMENTS:
        shape = fold_moments(table, roots, stored, known, lo, hi, center, scale)
    return rv, path, fall, rise, shape[2], shape[3], shape[4], shape[5]
