"""Find points in a range by climbing over the nodes whose min and max say that nothing in them is wanted.

The first point at or above one barrier, or at or below another: nodes that touch neither are passed whole, so a barrier
a hundred million points away costs as much as a few hundred comparisons. The place of a minimum is the first point at
or below it, so the same kernel tells where the extremes of a window are.
"""

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.fold import (
    TABLE_ADDRESSES,
    TABLE_CHUNK_POINTS,
    TABLE_FIRST_POINT,
    TABLE_LEVEL_OFFSETS,
    TABLE_LEVELS,
    fold_window,
    prefetch_edges,
)
from hft_mmap.tree.kernels import FAN_OUT_BITS, NODE_FIELDS, OPTIONS
from hft_mmap.tree.pointers import float64_pointer

NOWHERE = -1
MIN, MAX, LAST, AVG, VAR, FIRST = range(6)  # columns of what `fold_ranges` writes

_F8 = types.Array(float64, 1, "C")
_I8 = types.Array(int64, 1, "C")
_ROWS = types.Array(float64, 2, "C")


@njit(**OPTIONS)
def _in_chunk(base: int, table: NDArray[np.int64], i: int, end: int, above: float, below: float) -> int:
    """Return the first of the values [i, end) of one chunk that meets a barrier, or NOWHERE."""
    v = carray(float64_pointer(base), (end,))
    top = table[TABLE_LEVELS]
    level = 0
    while i < end:
        size = 1 << (FAN_OUT_BITS * level)
        if i + size > end:
            level -= 1
            continue
        if level == 0:
            met = v[i] >= above or v[i] <= below
        else:
            at = (i >> (FAN_OUT_BITS * level)) * NODE_FIELDS
            node = carray(float64_pointer(base + 8 * table[TABLE_LEVEL_OFFSETS + level]), (at + NODE_FIELDS,))
            met = node[at + 1] >= above or node[at] <= below
        if met:
            if level == 0:
                return i
            level -= 1
            continue
        i += size
        # Only after a miss: a node that was met is searched below, and never climbed out of before it is found.
        while level < top and (i & ((size << FAN_OUT_BITS) - 1)) == 0:
            level += 1
            size <<= FAN_OUT_BITS
    return NOWHERE


@njit(int64(_I8, _F8, int64, int64, float64, float64), **OPTIONS)
def find_first(
    table: NDArray[np.int64], roots: NDArray[np.float64], lo: int, hi: int, above: float, below: float
) -> int:
    """Return the first of the points [lo, hi) that is >= `above` or <= `below`, or NOWHERE; O(log N + chunks).

    An infinite barrier is none. Table and roots are those of `fold_window`, which must cover the range.
    """
    points = table[TABLE_CHUNK_POINTS]
    first = table[TABLE_FIRST_POINT]
    i = lo - first
    end = hi - first
    while i < end:
        chunk = i // points
        begin = chunk * points
        if i == begin and begin + points <= end and (chunk + 1) * NODE_FIELDS <= roots.shape[0]:
            root = chunk * NODE_FIELDS
            if roots[root + 1] < above and roots[root] > below:
                i += points
                continue
        stop = min(points, end - begin)
        found = _in_chunk(table[TABLE_ADDRESSES + chunk], table, i - begin, stop, above, below)
        if found != NOWHERE:
            return first + begin + found
        i = begin + stop
    return NOWHERE


@njit(types.void(_I8, _F8, _I8, _I8, _I8, _ROWS, _I8), **OPTIONS)
def find_firsts(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table: NDArray[np.int64],
    roots: NDArray[np.float64],
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    barriers: NDArray[np.float64],
    out: NDArray[np.int64],
) -> None:
    """Write what `find_first` finds in each range into `out`, shape (n,); `barriers` has rows above and below.

    `order` has the numbers of the ranges as they are to be taken.
    """
    for k in order:
        out[k] = find_first(table, roots, starts[k], ends[k], barriers[0, k], barriers[1, k])


@njit(types.void(_I8, _F8, _I8, _I8, _I8, _ROWS), **OPTIONS)
def fold_ranges(
    table: NDArray[np.int64],
    roots: NDArray[np.float64],
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Write (min, max, last, avg, var, first) of the points [starts[k], ends[k]) into `out[:, k]`, shape (6, n).

    Each range holds a point, and table and roots, those of `fold_window`, cover all of them. O(n (log N + chunks)).
    `order` has the numbers of the ranges as they are to be taken.
    """
    points = table[TABLE_CHUNK_POINTS]
    for j in range(order.shape[0]):
        k = order[j]
        if j + 1 < order.shape[0]:
            prefetch_edges(table, starts[order[j + 1]], ends[order[j + 1]])
        low, high, last, avg, var = fold_window(table, roots, starts[k], ends[k])
        place = starts[k] - table[TABLE_FIRST_POINT]
        base = table[TABLE_ADDRESSES + place // points]
        out[MIN, k], out[MAX, k], out[LAST, k], out[AVG, k], out[VAR, k] = low, high, last, avg, var
        out[FIRST, k] = carray(float64_pointer(base), (points,))[place % points]
