"""Fold the moments of a window: count, mean, m2, m3, m4 and the sum of (i - mean of i)(p - mean); see `tree.path`."""

from typing import Any

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
from hft_mmap.tree.group_roots import whole_chunks
from hft_mmap.tree.groups import OF_MOMENTS, group_nodes, group_place, nodes_from, power_above, shifted
from hft_mmap.tree.kernels import FAN_OUT, FAN_OUT_BITS, NODE_FIELDS, OPTIONS
from hft_mmap.tree.pointers import float64_pointer

_LARGEST_SCALE = 2.0**400
"""Up to this unit, of a range of 1e-120, m2 of the nodes of the chunk has all its digits."""
_PAIRS = 48  # merges of runs of 64, each of twice the count: more than there can be points

SUMS: dict[str, Any] = {**OPTIONS, "fastmath": {"reassoc"}}
"""Sums of what lies in memory, in any order: nothing that has to cancel may be compiled with it."""

_Moments = tuple[float, float, float, float, float, float]


@njit(**SUMS)
def sum_of(x: NDArray[np.float64], n: int) -> float:
    """Sum the first `n` of `x`, in the lanes that the processor has."""
    s = 0.0
    for i in range(n):
        s += x[i]
    return s


@njit(**SUMS)
def _powers(d: NDArray[np.float64], places: NDArray[np.float64], n: int) -> tuple[float, float, float, float, float]:
    """Sum the first `n` of `d`, their 2nd, 3rd and 4th powers, and their products with the distance to the middle."""
    s = a = b = c = x = 0.0
    middle = 0.5 * (n - 1)
    for i in range(n):
        square = d[i] * d[i]
        s += d[i]
        a += square
        b += square * d[i]
        c += square * square
        x += (places[i] - middle) * d[i]
    return s, a, b, c, x


@njit(**OPTIONS)
def _moment_run(v: NDArray[np.float64], center: float, scale: float, scratch: NDArray[np.float64]) -> _Moments:
    """Return count, mean, m2, m3, m4 and cross of the values `v`, from one to FAN_OUT; `scratch` has 0, 1 ... in row 0.

    PERF: deviations first, then their sums: 1.7 ns a point in place of 4.
    """
    n = v.shape[0]
    places, d = scratch[0], scratch[1]
    for i in range(n):
        d[i] = (v[i] - center) * scale
    mean = sum_of(d, n) / n
    for i in range(n):
        d[i] -= mean
    s, a, b, c, x = _powers(d, places, n)
    return shifted(float(n), mean, s / n, (a, b, c, x))


@njit(**SUMS)
def _node_powers(s: NDArray[np.float64], k: int, m: float) -> tuple[float, float, float, float, float]:
    """Sum what the first `k` rows of `_node_run` have, each of `m` points, about the mean of all, as `_powers` does."""
    places, d, m2, m3, m4, cross = s[0], s[1], s[2], s[3], s[4], s[5]
    total = a = b = c = x = 0.0
    middle = 0.5 * (k - 1)
    for i in range(k):
        y = d[i]
        square = y * y
        total += y
        a += m2[i] + m * square
        b += m3[i] + y * (3.0 * m2[i] + m * square)
        c += m4[i] + 4.0 * y * m3[i] + square * (6.0 * m2[i] + m * square)
        x += cross[i] + m * m * (places[i] - middle) * y
    return total, a, b, c, x


@njit(**OPTIONS)
def _node_run(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    n: NDArray[np.float64], g: NDArray[np.float64], k: int, points: int, center: float, scale: float,
    s: NDArray[np.float64],
) -> _Moments:  # fmt: skip
    """Merge the first `k` nodes as `groups.moments_run` does, in another order; `s` has 0, 1 ... in row 0 of 6.

    PERF: what is stored nowhere may be added in the lanes of the processor: 0.25 us for 63 nodes in place of 0.41.
    """
    d, m2, m3, m4, cross = s[1], s[2], s[3], s[4], s[5]
    for i in range(k):
        at = i * NODE_FIELDS
        unit = power_above(n[at + 1] - n[at]) * scale
        d[i] = (((n[at] + n[at + 2]) - center) + g[at]) * scale
        m2[i] = n[at + 3] * scale * scale
        m3[i] = g[at + 1] * unit * unit * unit
        m4[i] = g[at + 2] * (unit * unit) * (unit * unit)
        cross[i] = g[at + 3] * unit
    mean = sum_of(d, k) / k
    for i in range(k):
        d[i] -= mean
    m = float(points)
    total, a, b, c, x = _node_powers(s, k, m)
    return shifted(m * k, mean, total / k, (a, b, c, x))


@njit(**OPTIONS)
def _merged(a: _Moments, b: _Moments) -> _Moments:
    """Merge the moments of a run with those of the run right behind it."""
    n = a[0] + b[0]
    of_a, of_b = a[0] / n, b[0] / n
    d = b[1] - a[1]
    between = a[0] * of_b * d * d
    return (
        n,
        a[1] + d * of_b,
        a[2] + b[2] + between,
        a[3] + b[3] + between * d * (of_a - of_b) + 3.0 * d * (of_a * b[2] - of_b * a[2]),
        a[4]
        + b[4]
        + between * d * d * (of_a * of_a - of_a * of_b + of_b * of_b)
        + 6.0 * d * d * (of_a * of_a * b[2] + of_b * of_b * a[2])
        + 4.0 * d * (of_a * b[3] - of_b * a[3]),
        a[5] + b[5] + 0.5 * a[0] * b[0] * d,  # the means of the two rows of indexes lie n / 2 apart
    )


@njit(**OPTIONS)
def _paired(pairs: NDArray[np.float64], runs: int, state: _Moments) -> int:
    """Merge the next of so many `runs` with those before it, as an odometer counts; return how many runs there are."""
    level = 0
    while (runs >> level) & 1:
        p = pairs[level]
        state = _merged((p[0], p[1], p[2], p[3], p[4], p[5]), state)
        level += 1
    for field in range(6):
        pairs[level, field] = state[field]
    return runs + 1


@njit(**OPTIONS)
def fold_moments(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table: NDArray[np.int64],
    roots: NDArray[np.float64],
    stored: NDArray[np.int64],
    known: NDArray[np.float64],
    lo: int,
    hi: int,
    center: float,
    scale: float,
) -> _Moments:
    """Return the moments of the points [lo, hi), of (price - center) * scale."""
    points = table[TABLE_CHUNK_POINTS]
    i = lo - table[TABLE_FIRST_POINT]
    end = hi - table[TABLE_FIRST_POINT]
    scratch = np.empty((6, FAN_OUT))
    for k in range(FAN_OUT):
        scratch[0, k] = k
    pairs = np.empty((_PAIRS, 6))
    runs = 0
    while i < end:
        chunk = i // points
        whole = whole_chunks(table, stored, OF_MOMENTS, i, end) if scale <= _LARGEST_SCALE else 0
        if whole:
            n = min(whole, FAN_OUT)
            nodes, own = roots[NODE_FIELDS * chunk :], known[NODE_FIELDS * chunk :]
            runs = _paired(pairs, runs, _node_run(nodes, own, n, points, center, scale, scratch))
            i += n * points
            continue
        stop = min(points, end - chunk * points)
        v = carray(float64_pointer(table[TABLE_ADDRESSES + chunk]), (stop,))
        j = i - chunk * points
        address, covered = group_place(stored, OF_MOMENTS, chunk, stop if scale <= _LARGEST_SCALE else 0)
        while j < stop:
            level, n = nodes_from(j, covered, table[TABLE_LEVELS])
            if level:
                first, width = j >> (FAN_OUT_BITS * level), 1 << (FAN_OUT_BITS * level)
                of_chunk = table[TABLE_ADDRESSES + chunk] + 8 * table[TABLE_LEVEL_OFFSETS + level]
                nodes = carray(float64_pointer(of_chunk + 8 * NODE_FIELDS * first), (NODE_FIELDS * n,))
                own = group_nodes(address, table, level, NODE_FIELDS, first, n)
                state = _node_run(nodes, own, n, width, center, scale, scratch)
                k = j + n * width
            else:
                k = min((j | (FAN_OUT - 1)) + 1, stop)
                state = _moment_run(v[j:k], center, scale, scratch)
            runs = _paired(pairs, runs, state)
            j = k
        i = chunk * points + stop
    state = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for level in range(_PAIRS):
        if (runs >> level) & 1:
            p = pairs[level]
            older = (p[0], p[1], p[2], p[3], p[4], p[5])
            state = _merged(older, state) if state[0] > 0.0 else older
    return state
