"""Summaries of the path of the points below a node, and the compiled code that makes them: the groups of a chunk.

Each group has nodes as the tree of the chunk has them, of 64 points, 4,096, ..., and says of the same points what the
node there does not. Nodes are made of the points of one chunk only, so a group can always be made anew beside it.

========  ======  ====================================================================================================
group     fields  what
========  ======  ====================================================================================================
returns   2       sum of squared log returns, sum of absolute changes: of the returns that end within the node, all but
                  that from the chunk before
extremes  2       min of p_j / p_i and max of p_j / p_i over i <= j, each the rounded quotient
moments   4       the mean less the float64 next to it, in prices; then m3, m4 and the sum of (i - mean of i)(p - mean)
                  of prices in the unit of the node
========  ======  ====================================================================================================

The unit of a node is the power of two above max - min: so no power of a deviation leaves the float64 numbers, and none
of any size is lost. m2 and the float64 next to the mean, min + mean_minus_min, are those of the node of the chunk. The
rest of the mean is kept since a price far from all others would have m3, m4 and the slope lose digits without it.

Sums are added in one fixed order, in pairs of halves, without fused multiply-add or reassociation; so the same prices
give the same bits. Only ln of a price that moved by more than a tenth is that of the C library.
"""

import math

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.fold import TABLE_LEVEL_OFFSETS
from hft_mmap.tree.kernels import FAN_OUT, FAN_OUT_BITS, NODE_FIELDS, OPTIONS
from hft_mmap.tree.pointers import float64_bits, float64_of, float64_pointer

RETURNS, EXTREMES, MOMENTS, TRADES = 1, 2, 4, 8  # which groups, to be added up; the last is in `trade_nodes`

# Rows of what says where the groups of each chunk lie: for each group the address of its file, how many points of the
# chunk its nodes cover, and whether it has a root (`group_roots`). A chunk for which there is no column has none.
ROWS_OF_GROUP = 3
OF_RETURNS, OF_EXTREMES, OF_MOMENTS, OF_TRADES, GROUP_ROWS = 0, 3, 6, 9, 12

NEAR = 2.5e-3
"""Below this square of (b - a)/(b + a), which moves by up to a tenth have, six terms of the series give all digits."""

_EXPONENT_BITS = 52
_EXPONENTS = 0x7FF
_I8 = types.Array(int64, 1, "C")
_NODES = types.Array(float64, 2, "C")
_Moments = tuple[float, float, float, float, float, float]


@njit(**OPTIONS)
def log_square(a: float, b: float) -> float:
    """Return ln(b / a)^2 of two prices, whatever they are; infinite or NaN where one is 0."""
    low, high = min(a, b), max(a, b)
    z = (high - low) / (high + low)
    w = z * z
    if w < NEAR:
        y = 1.0 + w * (1 / 3 + w * (1 / 5 + w * (1 / 7 + w * (1 / 9 + w * (1 / 11)))))
        return 4.0 * w * (y * y)
    ratio = high / low
    r = math.log(ratio) if ratio < np.inf or low == 0.0 else math.log(high) - math.log(low)
    return r * r


@njit(**OPTIONS)
def halved(x: NDArray[np.float64]) -> float:
    """Sum the FAN_OUT numbers of `x`, which is changed: the two halves of a row, until one number is left."""
    for i in range(32):
        x[i] += x[i + 32]
    for i in range(16):
        x[i] += x[i + 16]
    for i in range(8):
        x[i] += x[i + 8]
    for i in range(4):
        x[i] += x[i + 4]
    return (x[0] + x[2]) + (x[1] + x[3])


# -- returns ----------------------------------------------------------------------------------------------------------


@njit(**OPTIONS)
def _returns_of_values(v: NDArray[np.float64], first: int, out: NDArray[np.float64]) -> None:
    squares, changes = np.empty(FAN_OUT), np.empty(FAN_OUT)
    for j in range(out.shape[0]):
        base = (first + j) * FAN_OUT
        far = 0
        before = v[max(base - 1, 0)]
        for i in range(FAN_OUT):
            a = v[base + i - 1] if i else before
            b = v[base + i]
            d = b - a
            z = d / (b + a)
            w = z * z
            y = 1.0 + w * (1 / 3 + w * (1 / 5 + w * (1 / 7 + w * (1 / 9 + w * (1 / 11)))))
            squares[i] = 4.0 * w * (y * y)
            changes[i] = abs(d)
            far += 0 if w < NEAR else 1  # 0 / 0 is NaN
        if far:
            for i in range(FAN_OUT):
                squares[i] = log_square(v[base + i - 1] if i else before, v[base + i])
        if base == 0:  # the first point of a chunk has no return in it
            squares[0] = changes[0] = 0.0
        out[j, 0], out[j, 1] = halved(squares), halved(changes)


@njit(**OPTIONS)
def returns_run(g: NDArray[np.float64], k: int) -> tuple[float, float]:
    """Add up the first `k` nodes of returns in `g`, in four lanes; what is left over goes into the first."""
    s0 = s1 = s2 = s3 = c0 = c1 = c2 = c3 = 0.0
    rest = (k >> 2) * 8
    for i in range(0, rest, 8):
        s0 += g[i]
        c0 += g[i + 1]
        s1 += g[i + 2]
        c1 += g[i + 3]
        s2 += g[i + 4]
        c2 += g[i + 5]
        s3 += g[i + 6]
        c3 += g[i + 7]
    for i in range(rest, 2 * k, 2):
        s0 += g[i]
        c0 += g[i + 1]
    return (s0 + s2) + (s1 + s3), (c0 + c2) + (c1 + c3)


# -- extremes ---------------------------------------------------------------------------------------------------------


@njit(**OPTIONS)
def _less(x: float, y: float) -> float:
    """Return `y` if it is less than `x`; 0 / 0, where nothing but 0 came before, is not."""
    return y if y < x else x  # noqa: FURB136 - `min` says nothing of NaN


@njit(**OPTIONS)
def _more(x: float, y: float) -> float:
    """Return `y` if it is greater than `x`, as `_less` does."""
    return y if y > x else x  # noqa: FURB136 - likewise


@njit(**OPTIONS)
def _extremes_of_values(v: NDArray[np.float64], first: int, out: NDArray[np.float64]) -> None:
    for j in range(out.shape[0]):
        base = (first + j) * FAN_OUT
        high = low = v[base]
        fall = rise = 1.0
        for i in range(1, FAN_OUT):
            x = v[base + i]
            high = max(high, x)
            low = min(low, x)
            fall = _less(fall, x / high)
            rise = _more(rise, x / low)
        out[j, 0], out[j, 1] = fall, rise


@njit(**OPTIONS)
def extremes_merged(n: NDArray[np.float64], g: NDArray[np.float64], k: int) -> tuple[float, float]:
    """Merge the first `k` nodes: `n` are those of the chunk, `g` those of the group."""
    low, high = n[0], n[1]
    fall, rise = g[0], g[1]
    for i in range(1, k):
        least, most = n[i * NODE_FIELDS], n[i * NODE_FIELDS + 1]
        fall = min(_less(fall, least / high), g[2 * i])
        rise = max(_more(rise, most / low), g[2 * i + 1])
        high = max(high, most)
        low = min(low, least)
    return fall, rise


# -- moments ----------------------------------------------------------------------------------------------------------


@njit(**OPTIONS)
def power_above(width: float) -> float:
    """Return the power of two above `width`, from 0 to 1e140; 2^-1022 for 0 and what is not normal."""
    exponent = (float64_bits(width) >> _EXPONENT_BITS) & _EXPONENTS
    return float64_of((exponent + 1) << _EXPONENT_BITS)


@njit(**OPTIONS)
def shifted(n: float, mean: float, e: float, sums: tuple[float, float, float, float]) -> _Moments:
    """Return count, mean, m2, m3, m4 and cross of powers summed about `mean`, which is off by `e`."""
    a, b, c, x = sums
    return (
        n,
        mean + e,
        max(a - n * e * e, 0.0),
        b - 3.0 * e * a + 2.0 * n * e * e * e,
        max(c - 4.0 * e * b + 6.0 * e * e * a - 3.0 * n * e * e * e * e, 0.0),
        x,
    )


@njit(**OPTIONS)
def _moments_of_run(v: NDArray[np.float64], center: float, scale: float, s: NDArray[np.float64]) -> _Moments:
    """Return the moments of FAN_OUT values, of (value - center) * scale; `s` is scratch of 6 rows of FAN_OUT."""
    d, t, a, b, c, x = s[0], s[1], s[2], s[3], s[4], s[5]
    for i in range(FAN_OUT):
        d[i] = (v[i] - center) * scale
        t[i] = d[i]
    mean = halved(t) / FAN_OUT
    for i in range(FAN_OUT):
        y = d[i] - mean
        square = y * y
        t[i] = y
        a[i] = square
        b[i] = square * y
        c[i] = square * square
        x[i] = (i - 0.5 * (FAN_OUT - 1)) * y
    return shifted(float(FAN_OUT), mean, halved(t) / FAN_OUT, (halved(a), halved(b), halved(c), halved(x)))


@njit(**OPTIONS)
def moments_run(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    n: NDArray[np.float64],
    g: NDArray[np.float64],
    k: int,
    points: int,
    center: float,
    scale: float,
    s: NDArray[np.float64],
) -> _Moments:
    """Merge the first `k` nodes, at most FAN_OUT, of `points` points each: count, mean, m2, m3, m4 and cross.

    n, g: the nodes of the chunk and those of the group. Of (price - center) * scale, `scale` a power of two by which
    the range of all of them becomes 1 at most; `s` is scratch of 6 rows of FAN_OUT.
    """
    d, t, a, b, c, x = s[0], s[1], s[2], s[3], s[4], s[5]
    s[:] = 0.0
    for i in range(k):
        at = i * NODE_FIELDS
        d[i] = (((n[at] + n[at + 2]) - center) + g[at]) * scale
        t[i] = d[i]
    mean = halved(t) / k
    middle = 0.5 * (k - 1)
    m = float(points)
    t[:] = 0.0
    for i in range(k):
        at = i * NODE_FIELDS
        unit = power_above(n[at + 1] - n[at]) * scale
        m2 = n[at + 3] * scale * scale
        m3 = g[at + 1] * unit * unit * unit
        m4 = g[at + 2] * (unit * unit) * (unit * unit)
        y = d[i] - mean
        square = y * y
        t[i] = y
        a[i] = m2 + m * square
        b[i] = m3 + y * (3.0 * m2 + m * square)
        c[i] = m4 + 4.0 * y * m3 + square * (6.0 * m2 + m * square)
        x[i] = g[at + 3] * unit + m * m * (i - middle) * y
    return shifted(m * k, mean, halved(t) / k, (halved(a), halved(b), halved(c), halved(x)))


@njit(**OPTIONS)
def _store_moments(found: _Moments, power: float, out: NDArray[np.float64]) -> None:
    out[0], out[1], out[2], out[3] = found[1] * power, found[3], found[4], found[5]


@njit(**OPTIONS)
def _moments_of_values(
    v: NDArray[np.float64], own: NDArray[np.float64], first: int, out: NDArray[np.float64]
) -> None:  # fmt: skip
    scratch = np.empty((6, FAN_OUT))
    for j in range(out.shape[0]):
        base, at = (first + j) * FAN_OUT, (first + j) * NODE_FIELDS
        power = power_above(own[at + 1] - own[at])
        found = _moments_of_run(v[base : base + FAN_OUT], own[at] + own[at + 2], 1.0 / power, scratch)
        _store_moments(found, power, out[j])


@njit(**OPTIONS)
def _moments_of_nodes(
    n: NDArray[np.float64],
    g: NDArray[np.float64],
    points: int,
    own: NDArray[np.float64],
    first: int,
    out: NDArray[np.float64],
) -> None:
    scratch = np.empty((6, FAN_OUT))
    for j in range(out.shape[0]):
        base, at = (first + j) * FAN_OUT * NODE_FIELDS, (first + j) * NODE_FIELDS
        power = power_above(own[at + 1] - own[at])
        found = moments_run(n[base:], g[base:], FAN_OUT, points, own[at] + own[at + 2], 1.0 / power, scratch)
        _store_moments(found, power, out[j])


# -- all of them ------------------------------------------------------------------------------------------------------


@njit(types.void(int64, int64, _I8, int64, int64, int64, _NODES), **OPTIONS)
def summarise_group(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    group: int,
    chunk_address: int,
    offsets: NDArray[np.int64],
    children_address: int,
    level: int,
    first: int,
    out: NDArray[np.float64],
) -> None:
    """Write the nodes `first` ... of `level` of a group into `out`, shape (n, fields).

    group: RETURNS, EXTREMES or MOMENTS. offsets: the bytes at which the levels of the chunk lie, 0 those of the values.
    children_address: where the nodes of the level below lie in the file of the group, of no meaning at level 1.
    """
    end = first + out.shape[0]
    own = carray(float64_pointer(chunk_address + offsets[level]), (end * NODE_FIELDS,))
    if level == 1:
        v = carray(float64_pointer(chunk_address), (end * FAN_OUT,))
        if group == RETURNS:
            _returns_of_values(v, first, out)
        elif group == EXTREMES:
            _extremes_of_values(v, first, out)
        else:
            _moments_of_values(v, own, first, out)
        return
    children = carray(float64_pointer(children_address), (end * FAN_OUT * out.shape[1],))
    n = carray(float64_pointer(chunk_address + offsets[level - 1]), (end * FAN_OUT * NODE_FIELDS,))
    if group == RETURNS:
        for j in range(out.shape[0]):
            out[j, 0], out[j, 1] = returns_run(children[2 * (first + j) * FAN_OUT :], FAN_OUT)
    elif group == EXTREMES:
        for j in range(out.shape[0]):
            at = (first + j) * FAN_OUT
            out[j, 0], out[j, 1] = extremes_merged(n[NODE_FIELDS * at :], children[2 * at :], FAN_OUT)
    else:
        _moments_of_nodes(n, children, 1 << (FAN_OUT_BITS * (level - 1)), own, first, out)


# -- where they lie ---------------------------------------------------------------------------------------------------


@njit(**OPTIONS)
def group_place(stored: NDArray[np.int64], row: int, chunk: int, stop: int) -> tuple[int, int]:
    """Return where the file of a group of a chunk lies, and how many of its first `stop` points the nodes cover."""
    if chunk < stored.shape[1]:
        return stored[row, chunk], min(stored[row + 1, chunk], stop)
    return 0, 0


@njit(**OPTIONS)
def nodes_from(i: int, end: int, top: int) -> tuple[int, int]:
    """Return the highest level of which a node begins at place `i` and ends by `end`, and how many follow each other.

    At most FAN_OUT, up to where one of the next level may begin; level 0 where not even the lowest has one.
    """
    level = 0
    while level < top and i & ((FAN_OUT << (FAN_OUT_BITS * level)) - 1) == 0 and (
        i + (FAN_OUT << (FAN_OUT_BITS * level)) <= end
    ):  # fmt: skip
        level += 1
    return level, min((end - i) >> (FAN_OUT_BITS * level), FAN_OUT - ((i >> (FAN_OUT_BITS * level)) & (FAN_OUT - 1)))


@njit(**OPTIONS)
def group_nodes(
    address: int, table: NDArray[np.int64], level: int, fields: int, first: int, k: int
) -> NDArray[np.float64]:  # fmt: skip
    """Return `k` nodes of a group from node `first` of `level` on; its levels lie as those of the chunk do."""
    above = (table[TABLE_LEVEL_OFFSETS + level] - table[TABLE_LEVEL_OFFSETS + 1]) // NODE_FIELDS
    return carray(float64_pointer(address + 8 * fields * (above + first)), (fields * k,))
