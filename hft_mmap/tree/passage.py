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
    TABLE_CHUNKS,
    TABLE_ERA,
    TABLE_FIRST_POINT,
    TABLE_LEVEL_OFFSETS,
    TABLE_LEVELS,
    fold_window,
    newest_of,
    prefetch_edges,
    roots_of,
    table_at,
    value_of,
)
from hft_mmap.tree.kernels import FAN_OUT, FAN_OUT_BITS, NODE_BYTES, NODE_FIELDS, OPTIONS
from hft_mmap.tree.pointers import float64_pointer, load_word
from hft_mmap.tree.words import ERA_BEHIND_TOTAL, START_BEHIND_TOTAL

NOWHERE = -1
UNANSWERED = -2

_SIX = types.UniTuple(float64, 6)
_Six = tuple[float, float, float, float, float, float]
_F8 = types.Array(float64, 1, "C")
_I8 = types.Array(int64, 1, "C")
_ROWS = types.Array(float64, 2, "C")
_WORDS = types.Array(int64, 2, "C")


@njit(**OPTIONS)
def _met_value(address: int, n: int, above: float, below: float) -> int:
    """Return the first of the `n` values at `address` that meets a barrier, or `n`."""
    v = carray(float64_pointer(address), (n,))
    for j in range(n):
        if v[j] >= above or v[j] <= below:
            return j
    return n


@njit(**OPTIONS)
def _met_node(address: int, n: int, above: float, below: float) -> int:
    """Return the first of the `n` nodes at `address` in which something meets a barrier, or `n`."""
    v = carray(float64_pointer(address), (n * NODE_FIELDS,))
    for j in range(n):
        if v[NODE_FIELDS * j + 1] >= above or v[NODE_FIELDS * j] <= below:
            return j
    return n


@njit(**OPTIONS)
def _in_chunk(base: int, table: NDArray[np.int64], i: int, end: int, above: float, below: float) -> int:
    """Return the first of the values [i, end) of one chunk that meets a barrier, or NOWHERE.

    A run of nodes of one level at a time, up to where the level above begins.
    """
    top = table[TABLE_LEVELS]
    level = 0
    while i < end:
        bits = FAN_OUT_BITS * level
        first = i >> bits
        n = min((first | (FAN_OUT - 1)) + 1, end >> bits) - first
        if n == 0:
            level -= 1
            continue
        if level == 0:
            met = _met_value(base + 8 * i, n, above, below)
            if met < n:
                return i + met
        else:
            address = base + 8 * table[TABLE_LEVEL_OFFSETS + level] + NODE_BYTES * first
            met = _met_node(address, n, above, below)
            if met < n:
                i += met << bits
                level -= 1
                continue
        i += n << bits
        # Only after a miss: a node that was met is searched below, and never climbed out of before it is found.
        while level < top and (i & ((FAN_OUT << (FAN_OUT_BITS * level)) - 1)) == 0:
            level += 1
    return NOWHERE


@njit(**OPTIONS)
def _find(table: NDArray[np.int64], roots: NDArray[np.float64], lo: int, hi: int, above: float, below: float) -> int:
    """Find as `find_first` does."""
    points = table[TABLE_CHUNK_POINTS]
    first = table[TABLE_FIRST_POINT]
    end = hi - first
    chunk = (lo - first) // points
    begin = chunk * points
    i = lo - first - begin
    while begin < end:
        stop = min(points, end - begin)
        root = chunk * NODE_FIELDS
        is_whole = i == 0 and stop == points and root + NODE_FIELDS <= roots.shape[0]
        if not (is_whole and roots[root + 1] < above and roots[root] > below):
            found = _in_chunk(table[TABLE_ADDRESSES + chunk], table, i, stop, above, below)
            if found != NOWHERE:
                return first + begin + found
        chunk += 1
        begin += points
        i = 0
    return NOWHERE


@njit(int64(_I8, _F8, int64, int64, float64, float64), **OPTIONS)
def find_first(
    table: NDArray[np.int64], roots: NDArray[np.float64], lo: int, hi: int, above: float, below: float
) -> int:
    """Return the first of the points [lo, hi) that is >= `above` or <= `below`, or NOWHERE; O(log N + chunks).

    An infinite barrier is none. Table and roots are those of `fold_window`, which must cover the range.
    """
    return _find(table, roots, lo, hi, above, below)


@njit(types.Tuple((int64, float64))(int64, int64, int64, int64, float64, float64), **OPTIONS)
def find_between(
    table_address: int, total_address: int, lo: int, hi: int, above: float, below: float
) -> tuple[int, float]:
    """Return what `find_first` finds in [lo, hi) as far as there are points, and its value; UNANSWERED if it can't.

    As `fold_between`; there is no answer where points from `lo` on are no longer kept.
    """
    start_address = total_address + START_BEHIND_TOTAL
    start = load_word(start_address)
    total = load_word(total_address)
    table = table_at(table_address)
    first = table[TABLE_FIRST_POINT]
    points = table[TABLE_CHUNK_POINTS]
    if not (
        first <= start <= lo and total <= first + table[TABLE_CHUNKS] * points and load_word(start_address) == start
    ):
        return UNANSWERED, 0.0
    if load_word(total_address + ERA_BEHIND_TOTAL) != table[TABLE_ERA]:
        return UNANSWERED, 0.0
    end = min(hi, total)
    if lo >= end:
        return NOWHERE, 0.0
    prefetch_edges(table, lo, lo + 1)
    found = _find(table, roots_of(table), lo, end, above, below)
    if found == NOWHERE:
        return NOWHERE, 0.0
    chunk = (found - first) // points
    return found, carray(float64_pointer(table[TABLE_ADDRESSES + chunk]), (points,))[found - first - chunk * points]


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


@njit(**OPTIONS)
def _fold(table: NDArray[np.int64], roots: NDArray[np.float64], lo: int, hi: int) -> _Six:
    """Return (min, max, last, avg, var, first) of the points [lo, hi)."""
    low, high, last, avg, var = fold_window(table, roots, lo, hi)
    return low, high, last, avg, var, value_of(table, lo)


@njit(**OPTIONS)
def _store(found: _Six, out: NDArray[np.float64], k: int) -> None:
    for row in range(6):
        out[row, k] = found[row]


@njit(types.void(_WORDS, int64, _WORDS, _ROWS), **OPTIONS)
def fold_each(addresses: NDArray[np.int64], window: int, bounds: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Write the bounds of the newest `window` points of each series into `bounds[:, k]`, and what `fold_ranges` does.

    addresses: shape (2, n), where the table and the total of each series are. Both bounds are 0 where there is no
    answer, as from `fold_newest`. PERF: 0.4 us a series, which `fold_ranges`, called for each, takes to be called.
    """
    for k in range(addresses.shape[1]):
        table = table_at(addresses[0, k])
        begin, end = newest_of(table, addresses[1, k], window)
        bounds[0, k], bounds[1, k] = begin, end
        if begin < end:
            _store(_fold(table, roots_of(table), begin, end), out, k)


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
    for j in range(order.shape[0]):
        k = order[j]
        if j + 1 < order.shape[0]:
            prefetch_edges(table, starts[order[j + 1]], ends[order[j + 1]])
        _store(_fold(table, roots, starts[k], ends[k]), out, k)


@njit(int64(int64, int64, int64, float64, float64), **OPTIONS)
def find_in_range(table_address: int, lo: int, hi: int, above: float, below: float) -> int:
    """Return what `find_first` does, of a table at an address."""
    table = table_at(table_address)
    return _find(table, roots_of(table), lo, hi, above, below)
