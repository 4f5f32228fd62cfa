"""Compiled kernels: validate prices, summarise them into nodes, fold a window out of nodes.

Pure functions on arrays and addresses: no I/O, no state, no locks; the GIL is released while they run. A node is four
float64:

====  ================  ===================================================================
0     min               least value below the node
1     max               greatest value below the node
2     mean_minus_min    mean minus min: the mean, relative to a value that is exact
3     m2                sum of squared deviations from the mean
====  ================  ===================================================================

The mean is kept relative to the node's own minimum because a float64 mean of prices near 1e9 is rounded to 1.2e-7, and
that error enters the variance of every larger node at first order. The distance to the minimum is rounded relative to
the spread of the values instead, so the variance stays accurate to a few units in the last place wherever the prices
lie (docs/design/0001-node-summary.md has the figures).

Formulas: mean and m2 in two passes with the correction term of Chan, Golub, LeVeque (1983), "Algorithms for computing
the sample variance: analysis and recommendations", eq. 1.7; two summaries are merged by their eq. 2.1.

Sums that are stored run in four fixed lanes, always in the same order, without fused multiply-add or reassociation: the
same values give the same bits on every machine, which is what lets `verify` compare nodes bit for bit.
"""

from typing import Any

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.pointers import float64_pointer

FAN_OUT = 64
NODE_FIELDS = 4
NODE_BYTES = 8 * NODE_FIELDS
MAX_LEVELS = 8
MAX_PRICE = 1e140
"""Largest price: the squared deviations of 1e9 such prices still add up below the float64 limit."""

VALID = -1
VALID_WITH_NEGATIVE_ZERO = -2

# The fold kernels take one int64 array that describes the chunks: these are its words, then one address a chunk.
TABLE_CHUNK_POINTS = 0
TABLE_FIRST_POINT = 1
TABLE_LEVELS = 2
TABLE_LEVEL_OFFSETS = 3
TABLE_ADDRESSES = TABLE_LEVEL_OFFSETS + MAX_LEVELS

_F8 = types.Array(float64, 1, "C")
_F8_READONLY = types.Array(float64, 1, "C", readonly=True)
_NODES = types.Array(float64, 2, "C")
_I8 = types.Array(int64, 1, "C")
_Summary = tuple[float, float, float, float, float]
_SUMMARY = types.UniTuple(float64, 5)
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit([int64(_F8), int64(_F8_READONLY)], **_OPTIONS)
def find_invalid(values: NDArray[np.float64]) -> int:
    """Return the index of the first value that is no price, `VALID`, or `VALID_WITH_NEGATIVE_ZERO`.

    A price is finite and 0 <= x <= MAX_PRICE (NaN fails both comparisons).
    """
    bad = 0
    signed = 0
    for x in values:
        bad |= not (0.0 <= x <= MAX_PRICE)
        signed |= np.signbit(x)
    if bad:
        for i in range(values.shape[0]):
            if not (0.0 <= values[i] <= MAX_PRICE):
                return i
    return VALID_WITH_NEGATIVE_ZERO if signed else VALID


@njit(**_OPTIONS)
def _leaf(v: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Summarise 64 values: min and max, then the mean above min, then m2."""
    lo0 = lo1 = lo2 = lo3 = hi0 = hi1 = hi2 = hi3 = v[0]
    for i in range(0, FAN_OUT, 4):
        x0, x1, x2, x3 = v[i], v[i + 1], v[i + 2], v[i + 3]
        lo0 = x0 if x0 < lo0 else lo0
        lo1 = x1 if x1 < lo1 else lo1
        lo2 = x2 if x2 < lo2 else lo2
        lo3 = x3 if x3 < lo3 else lo3
        hi0 = x0 if x0 > hi0 else hi0
        hi1 = x1 if x1 > hi1 else hi1
        hi2 = x2 if x2 > hi2 else hi2
        hi3 = x3 if x3 > hi3 else hi3
    lo = min(lo0, lo1, lo2, lo3)
    hi = max(hi0, hi1, hi2, hi3)
    s0 = s1 = s2 = s3 = 0.0
    for i in range(0, FAN_OUT, 4):
        s0 += v[i] - lo
        s1 += v[i + 1] - lo
        s2 += v[i + 2] - lo
        s3 += v[i + 3] - lo
    mean = ((s0 + s2) + (s1 + s3)) / FAN_OUT
    s0 = s1 = s2 = s3 = q0 = q1 = q2 = q3 = 0.0
    for i in range(0, FAN_OUT, 4):
        d0, d1, d2, d3 = v[i] - lo - mean, v[i + 1] - lo - mean, v[i + 2] - lo - mean, v[i + 3] - lo - mean
        s0 += d0
        s1 += d1
        s2 += d2
        s3 += d3
        q0 += d0 * d0
        q1 += d1 * d1
        q2 += d2 * d2
        q3 += d3 * d3
    s = (s0 + s2) + (s1 + s3)
    m2 = ((q0 + q2) + (q1 + q3)) - s * s / FAN_OUT
    return lo, hi, mean, max(m2, 0.0)


@njit(**_OPTIONS)
def _value_run(v: NDArray[np.float64], first: int, last: int) -> tuple[float, float, float, float]:
    """Summarise the values [first, last), in the manner of `_leaf`, for any count from 1."""
    lo = hi = v[first]
    for i in range(first + 1, last):
        lo = v[i] if v[i] < lo else lo
        hi = v[i] if v[i] > hi else hi
    n = last - first
    s = 0.0
    for i in range(first, last):
        s += v[i] - lo
    mean = s / n
    s = q = 0.0
    for i in range(first, last):
        d = v[i] - lo - mean
        s += d
        q += d * d
    return lo, hi, mean, max(q - s * s / n, 0.0)


@njit(**_OPTIONS)
def _node_run(v: NDArray[np.float64], first: int, last: int, node_points: int) -> tuple[float, float, float, float]:
    """Summarise the nodes [first, last) of one level, each over `node_points` values.

    All counts are equal, so the mean is the mean of means and no division is needed inside the loops.
    """
    lo = v[first * NODE_FIELDS]
    hi = v[first * NODE_FIELDS + 1]
    for i in range((first + 1) * NODE_FIELDS, last * NODE_FIELDS, NODE_FIELDS):
        lo = v[i] if v[i] < lo else lo
        hi = v[i + 1] if v[i + 1] > hi else hi
    k = last - first
    s = 0.0
    for i in range(first * NODE_FIELDS, last * NODE_FIELDS, NODE_FIELDS):
        s += (v[i] - lo) + v[i + 2]
    mean = s / k
    s = between = within = 0.0
    for i in range(first * NODE_FIELDS, last * NODE_FIELDS, NODE_FIELDS):
        d = (v[i] - lo) + v[i + 2] - mean
        s += d
        between += d * d
        within += v[i + 3]
    return lo, hi, mean, within + node_points * max(between - s * s / k, 0.0)


@njit(types.void(int64, int64, _NODES), **_OPTIONS)
def summarise_values(values_address: int, first_node: int, out: NDArray[np.float64]) -> None:
    """Write the level 1 nodes `first_node` … of the values at `values_address` into `out`, shape (n, 4)."""
    v = carray(float64_pointer(values_address), ((first_node + out.shape[0]) * FAN_OUT,))
    for j in range(out.shape[0]):
        base = (first_node + j) * FAN_OUT
        out[j, 0], out[j, 1], out[j, 2], out[j, 3] = _leaf(v[base : base + FAN_OUT])


@njit(types.void(int64, int64, int64, int64, _NODES), **_OPTIONS)
def summarise_nodes(
    children_address: int, child_points: int, fan_in: int, first_node: int, out: NDArray[np.float64]
) -> None:
    """Write the nodes `first_node` … of the level above the one at `children_address` into `out`, shape (n, 4).

    Each takes `fan_in` children of `child_points` values.
    """
    v = carray(float64_pointer(children_address), ((first_node + out.shape[0]) * fan_in * NODE_FIELDS,))
    for j in range(out.shape[0]):
        base = (first_node + j) * fan_in
        out[j, 0], out[j, 1], out[j, 2], out[j, 3] = _node_run(v, base, base + fan_in, child_points)


@njit(**_OPTIONS)
def _merge(a: _Summary, b: _Summary) -> _Summary:
    """Merge two summaries (count, min, max, mean_minus_min, m2); an empty one is neutral."""
    if a[0] == 0.0:
        return b
    if b[0] == 0.0:
        return a
    n = a[0] + b[0]
    lo = min(a[1], b[1])
    mean_a = (a[1] - lo) + a[3]
    mean_b = (b[1] - lo) + b[3]
    d = mean_b - mean_a
    return n, lo, max(a[2], b[2]), mean_a + d * (b[0] / n), a[4] + b[4] + d * d * (a[0] * (b[0] / n))


@njit(**_OPTIONS)
def _fold_level(base: int, table: NDArray[np.int64], level: int, first: int, last: int) -> _Summary:
    """Summarise the nodes [first, last) of `level` (0: the values) in the chunk at address `base`."""
    if level == 0:
        v = carray(float64_pointer(base), (last,))
        lo, hi, mean, m2 = _value_run(v, first, last)
        return float(last - first), lo, hi, mean, m2
    node_points = FAN_OUT**level
    v = carray(float64_pointer(base + 8 * table[TABLE_LEVEL_OFFSETS + level]), (last * NODE_FIELDS,))
    lo, hi, mean, m2 = _node_run(v, first, last, node_points)
    return float((last - first) * node_points), lo, hi, mean, m2


@njit(**_OPTIONS)
def _fold_chunk(base: int, table: NDArray[np.int64], first: int, last: int) -> _Summary:
    """Summarise the values [first, last) of one chunk from at most 2 x 63 nodes a level."""
    left = (0.0, 0.0, 0.0, 0.0, 0.0)
    right = (0.0, 0.0, 0.0, 0.0, 0.0)
    top = table[TABLE_LEVELS]
    level = 0
    while first < last:
        first_up = (first + FAN_OUT - 1) // FAN_OUT
        last_up = last // FAN_OUT
        if level == top or first_up >= last_up:
            left = _merge(left, _fold_level(base, table, level, first, last))
            break
        if first < first_up * FAN_OUT:
            left = _merge(left, _fold_level(base, table, level, first, first_up * FAN_OUT))
        if last_up * FAN_OUT < last:
            right = _merge(_fold_level(base, table, level, last_up * FAN_OUT, last), right)
        first = first_up
        last = last_up
        level += 1
    return _merge(left, right)


@njit(**_OPTIONS)
def _fold(table: NDArray[np.int64], roots: NDArray[np.float64], lo: int, hi: int) -> _Summary:
    """Return (min, max, last, avg, var) of the points [lo, hi), lo < hi."""
    points = table[TABLE_CHUNK_POINTS]
    lo -= table[TABLE_FIRST_POINT]
    hi -= table[TABLE_FIRST_POINT]
    first_chunk = lo // points
    last_chunk = (hi - 1) // points
    last_base = table[TABLE_ADDRESSES + last_chunk]
    last_end = hi - last_chunk * points
    if first_chunk == last_chunk:
        total = _fold_chunk(last_base, table, lo - first_chunk * points, last_end)
    else:
        total = _fold_chunk(last_base, table, 0, last_end)
        whole = first_chunk
        if lo > first_chunk * points:
            whole += 1
        if whole < last_chunk:
            lo_, hi_, mean, m2 = _node_run(roots, whole, last_chunk, points)
            total = _merge((float((last_chunk - whole) * points), lo_, hi_, mean, m2), total)
        if lo > first_chunk * points:
            base = table[TABLE_ADDRESSES + first_chunk]
            total = _merge(_fold_chunk(base, table, lo - first_chunk * points, points), total)
    newest = carray(float64_pointer(last_base), (last_end,))[last_end - 1]
    avg = min(max(total[1] + total[3], total[1]), total[2])
    return total[1], total[2], newest, avg, total[4] / total[0]


@njit(_SUMMARY(_I8, _F8, int64, int64), **_OPTIONS)
def fold_window(table: NDArray[np.int64], roots: NDArray[np.float64], lo: int, hi: int) -> _Summary:
    """Return (min, max, last, avg, var) of the points [lo, hi), lo < hi, in O(log N + chunks).

    `table` describes the chunks (TABLE_ words, then one address a chunk), `roots` holds one node for each of them but
    the last, flattened. Every chunk from the one of `lo` to the one of `hi - 1` must be mapped.
    """
    return _fold(table, roots, lo, hi)


@njit(types.void(_I8, _F8, int64, int64, _I8, _NODES), **_OPTIONS)
def fold_windows(
    table: NDArray[np.int64],
    roots: NDArray[np.float64],
    start: int,
    total: int,
    windows: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Write (min, max, last, avg, var) of each of the newest `windows` points into `out`, shape (n, 5).

    `windows` ascends, and a window larger than what is kept gives all of it, so equal ranges are folded once.
    """
    before = 0
    for k in range(windows.shape[0]):
        n = min(windows[k], total - start)
        if n == before:
            out[k] = out[k - 1]
        else:
            out[k, 0], out[k, 1], out[k, 2], out[k, 3], out[k, 4] = _fold(table, roots, total - n, total)
            before = n
