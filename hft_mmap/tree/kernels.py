"""Compiled kernels: validate prices, and summarise them into nodes; `fold` makes a window out of those.

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
the sample variance: analysis and recommendations", eq. 1.7.

Sums that are stored are added in one fixed order (those of values in four lanes), without fused multiply-add or
reassociation: the same values give the same bits on every machine, which is what lets `verify` compare nodes bit for
bit.
"""

from typing import Any

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.compiled import numba_keeps
from hft_mmap.tree.pointers import float64_pointer

FAN_OUT = 64
FAN_OUT_BITS = 6
NODE_FIELDS = 4
NODE_BYTES = 8 * NODE_FIELDS
MAX_LEVELS = 8
MAX_PRICE = 1e140
"""Largest price: the squared deviations of 1e9 such prices still add up below the float64 limit."""

MAX_BITS = np.uint64(np.float64(MAX_PRICE).view(np.uint64))
"""The bits of MAX_PRICE. Those of every other price from 0 on are less, those of NaN, infinity and all that is negative
more; without the sign, those of NaN and infinity are more, and of what lies beyond -MAX_PRICE."""

SIGN = np.uint64(1 << 63)
"""The bits of -0.0, and of every negative number the one that no price from 0 on has."""

VALID = -1
VALID_WITH_NEGATIVE_ZERO = -2

_F8 = types.Array(float64, 1, "C")
_F8_READONLY = types.Array(float64, 1, "C", readonly=True)
_NODES = types.Array(float64, 2, "C")
OPTIONS: dict[str, Any] = {"cache": numba_keeps(), "nogil": True, "error_model": "numpy"}


@njit([int64(_F8), int64(_F8_READONLY)], **OPTIONS)
def find_invalid(values: NDArray[np.float64]) -> int:
    """Return the index of the first value that is no price, `VALID`, or `VALID_WITH_NEGATIVE_ZERO`.

    A price is finite and 0 <= x <= MAX_PRICE (NaN fails both comparisons).
    """
    top = np.uint64(0)
    for bits in values.view(np.uint64):
        top = max(top, bits)
    if top <= MAX_BITS:
        return VALID
    for i in range(values.shape[0]):
        if not (0.0 <= values[i] <= MAX_PRICE):
            return i
    return VALID_WITH_NEGATIVE_ZERO


@njit([int64(_F8), int64(_F8_READONLY)], **OPTIONS)
def find_invalid_signed(values: NDArray[np.float64]) -> int:
    """Return what `find_invalid` does of prices that may be negative, from -MAX_PRICE on."""
    top = np.uint64(0)
    is_zero = False
    for bits in values.view(np.uint64):
        top = max(top, bits & ~SIGN)
        is_zero |= bits == SIGN
    if top <= MAX_BITS:
        return VALID_WITH_NEGATIVE_ZERO if is_zero else VALID
    for i in range(values.shape[0]):
        if not (-MAX_PRICE <= values[i] <= MAX_PRICE):
            return i
    return VALID_WITH_NEGATIVE_ZERO


@njit(**OPTIONS)
def value_run(v: NDArray[np.float64], first: int, last: int) -> tuple[float, float, float, float]:
    """Summarise the values [first, last), at least one: min and max, then the mean above min, then m2.

    In four lanes; what is left over goes into the first. For a constant count of 64 the compiler unrolls all of it.
    """
    lo0 = lo1 = lo2 = lo3 = hi0 = hi1 = hi2 = hi3 = v[first]
    rest = first + (last - first) // 4 * 4
    for i in range(first, rest, 4):
        x0, x1, x2, x3 = v[i], v[i + 1], v[i + 2], v[i + 3]
        lo0 = x0 if x0 < lo0 else lo0
        lo1 = x1 if x1 < lo1 else lo1
        lo2 = x2 if x2 < lo2 else lo2
        lo3 = x3 if x3 < lo3 else lo3
        hi0 = x0 if x0 > hi0 else hi0
        hi1 = x1 if x1 > hi1 else hi1
        hi2 = x2 if x2 > hi2 else hi2
        hi3 = x3 if x3 > hi3 else hi3
    for i in range(rest, last):
        lo0 = v[i] if v[i] < lo0 else lo0
        hi0 = v[i] if v[i] > hi0 else hi0
    lo = min(lo0, lo1, lo2, lo3)
    hi = max(hi0, hi1, hi2, hi3)
    n = last - first
    s0 = s1 = s2 = s3 = 0.0
    for i in range(first, rest, 4):
        s0 += v[i] - lo
        s1 += v[i + 1] - lo
        s2 += v[i + 2] - lo
        s3 += v[i + 3] - lo
    for i in range(rest, last):
        s0 += v[i] - lo
    mean = ((s0 + s2) + (s1 + s3)) / n
    s0 = s1 = s2 = s3 = q0 = q1 = q2 = q3 = 0.0
    for i in range(first, rest, 4):
        d0, d1, d2, d3 = v[i] - lo - mean, v[i + 1] - lo - mean, v[i + 2] - lo - mean, v[i + 3] - lo - mean
        s0 += d0
        s1 += d1
        s2 += d2
        s3 += d3
        q0 += d0 * d0
        q1 += d1 * d1
        q2 += d2 * d2
        q3 += d3 * d3
    for i in range(rest, last):
        d = v[i] - lo - mean
        s0 += d
        q0 += d * d
    s = (s0 + s2) + (s1 + s3)
    m2 = ((q0 + q2) + (q1 + q3)) - s * s / n
    return lo, hi, mean, max(m2, 0.0)


@njit(**OPTIONS)
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


@njit(types.void(int64, int64, _NODES), **OPTIONS)
def summarise_values(values_address: int, first_node: int, out: NDArray[np.float64]) -> None:
    """Write the level 1 nodes `first_node` … of the values at `values_address` into `out`, shape (n, 4)."""
    v = carray(float64_pointer(values_address), ((first_node + out.shape[0]) * FAN_OUT,))
    for j in range(out.shape[0]):
        base = (first_node + j) * FAN_OUT
        out[j, 0], out[j, 1], out[j, 2], out[j, 3] = value_run(v[base : base + FAN_OUT], 0, FAN_OUT)


@njit(types.void(int64, int64, int64, int64, _NODES), **OPTIONS)
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
