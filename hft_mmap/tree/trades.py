"""Fold what was traded, and when, out of the columns of a window: volume, prices weighted by size and by time, gaps.

What depends on times and sizes follows from no node of a chunk. Where its group has nodes (`tree.trade_nodes`) these
are folded, else the columns are read, with the GIL released: about 1 ns a point for sizes, 2 for times. A price counts
above the least of its window, so that all that is added up is positive, and a weighted mean can't leave [min, max].

A price holds from its time until that of the point behind it, so the last of a window holds for no time.

Errors: sums of what is positive within 1e-14 of themselves, the signed volume within 1e-14 of the volume. Runs of 64
are added in any order, and their sums with what each has lost (Neumaier 1974).
"""

import numpy as np
from numba import carray, njit
from numpy.typing import NDArray

from hft_mmap.tree.fold import (
    TABLE_ADDRESSES,
    TABLE_CHUNK_POINTS,
    TABLE_FIRST_POINT,
    TABLE_LEVELS,
)
from hft_mmap.tree.group_roots import OF_BORDER, TRADE_ROOT, place_of_trades, whole_chunks
from hft_mmap.tree.groups import OF_TRADES, group_nodes, group_place, nodes_from
from hft_mmap.tree.kernels import FAN_OUT, FAN_OUT_BITS, OPTIONS
from hft_mmap.tree.pointers import float64_pointer, int64_pointer
from hft_mmap.tree.trade_nodes import FEW, SUMS, TRADE_FIELDS, between, scale_of, scaled_sizes_run, sizes_run, times_run

SIZES, TIMES, SPAN = 16, 32, 64  # what of it is wanted, to be added up, beside the groups of `tree.groups`
_Six = tuple[float, float, float, float, float, float]


@njit(**SUMS)
def _size_run(p: NDArray[np.float64], s: NDArray[np.float64], n: int, low: float) -> tuple[float, float, float]:
    """Sum |size|, size, and (price - low) |size| of the first `n` points, in the lanes that the processor has.

    PERF: in one loop, without a scratch: 1.3 ns a point in place of 2. Sums alone are added in another order; what
    is subtracted here is so of two numbers, and stays so.
    """
    volume = signed = above = 0.0
    for i in range(n):
        weight = abs(s[i])
        volume += weight
        signed += s[i]
        above += (p[i] - low) * weight
    return volume, signed, above


@njit(**OPTIONS)
def _scaled_run(
    p: NDArray[np.float64], s: NDArray[np.float64], n: int, low: float, scale: float
) -> tuple[float, float, float]:
    """Sum as `_size_run`, of sizes times the square of `scale`: one number may not hold what they need."""
    volume = signed = above = 0.0
    for i in range(n):
        weight = abs(s[i]) * scale * scale
        volume += weight
        signed += s[i]
        above += (p[i] - low) * weight
    return volume, signed, above


@njit(**OPTIONS)
def _value_run(
    p: NDArray[np.float64], s: NDArray[np.float64], n: int, low: float, scale: float
) -> tuple[float, float, float]:  # fmt: skip
    """Return the sums of `n` points, sizes times the square of `scale` where it is not 1."""
    return _size_run(p, s, n, low) if scale == 1.0 else _scaled_run(p, s, n, low, scale)


@njit(**OPTIONS)
def _node_run(g: NDArray[np.float64], k: int, step: int, low: float, scale: float) -> tuple[float, float, float]:
    """Return the sums of `k` nodes, likewise."""
    return sizes_run(g, k, step, low) if scale == 1.0 else scaled_sizes_run(g, k, step, low, scale)


@njit(**OPTIONS)
def _added(total: tuple[float, float], x: float) -> tuple[float, float]:
    """Add `x` to a sum and what it has lost."""
    s = total[0] + x
    lost = (total[0] - s) + x if abs(total[0]) >= abs(x) else (x - s) + total[0]
    return s, total[1] + lost


@njit(**OPTIONS)
def _fold_sizes(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table: NDArray[np.int64],
    sizes: NDArray[np.int64],
    stored: NDArray[np.int64],
    known: NDArray[np.float64],
    lo: int,
    hi: int,
    low: float,
    scale: float,
) -> tuple[float, float, float]:
    """Return the sums of |size|, of size, and of (price - low) |size| of the points [lo, hi).

    In the first and in the last of them sizes are taken times the square of `scale`.
    """
    points = table[TABLE_CHUNK_POINTS]
    i = lo - table[TABLE_FIRST_POINT]
    end = hi - table[TABLE_FIRST_POINT]
    volume, signed, above = (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)
    while i < end:
        chunk = i // points
        whole = whole_chunks(table, stored, OF_TRADES, i, end)
        if whole:
            roots = known[place_of_trades(stored.shape[1], chunk) :]
            a, b, c = _node_run(roots, whole, TRADE_ROOT, low, scale)
            volume, signed, above = _added(volume, a), _added(signed, b), _added(above, c)
            i += whole * points
            continue
        stop = min(points, end - chunk * points)
        p = carray(float64_pointer(table[TABLE_ADDRESSES + chunk]), (stop,))
        s = carray(float64_pointer(sizes[chunk]), (stop,))
        j = i - chunk * points
        address, covered = group_place(stored, OF_TRADES, chunk, stop)
        while j < stop:
            level, n = nodes_from(j, covered, table[TABLE_LEVELS])
            if level:
                nodes = group_nodes(address, table, level, TRADE_FIELDS, j >> (FAN_OUT_BITS * level), n)
                a, b, c = _node_run(nodes, n, TRADE_FIELDS, low, scale)
                n <<= FAN_OUT_BITS * level
            else:
                n = min((j | (FAN_OUT - 1)) + 1, stop) - j
                a, b, c = _value_run(p[j : j + n], s[j : j + n], n, low, scale)
            volume, signed, above = _added(volume, a), _added(signed, b), _added(above, c)
            j += n
        i = chunk * points + stop
    return volume[0] + volume[1], signed[0] + signed[1], above[0] + above[1]


@njit(**OPTIONS)
def _weighted(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table: NDArray[np.int64],
    sizes: NDArray[np.int64],
    stored: NDArray[np.int64],
    known: NDArray[np.float64],
    lo: int,
    hi: int,
    low: float,
) -> tuple[float, float, float]:
    """Return volume, signed volume, and the mean of (price - low) weighted by |size|, 0 where there is no volume."""
    volume, signed, above = _fold_sizes(table, sizes, stored, known, lo, hi, low, 1.0)
    if above >= FEW:
        return volume, signed, above / volume
    if volume == 0.0:
        return volume, signed, 0.0
    scaled, _, above = _fold_sizes(table, sizes, stored, known, lo, hi, low, scale_of(volume))
    return volume, signed, above / scaled


@njit(**OPTIONS)
def _time_run(
    p: NDArray[np.float64], t: NDArray[np.int64], begin: int, end: int, low: float
) -> tuple[float, float]:  # fmt: skip
    """Return the sum of (price - low) times the nanoseconds it held until each of the points [begin, end), begin > 0.

    And the longest of these times.
    """
    held = longest = 0.0
    for j in range(begin, end):
        d = between(t[j - 1], t[j])
        held += (p[j - 1] - low) * d
        longest = max(longest, d)
    return held, longest


@njit(**OPTIONS)
def _times_of_chunks(
    known: NDArray[np.float64], chunks: int, first: int, n: int, crossed: int
) -> tuple[float, float]:  # fmt: skip
    """Return the sum of price times nanoseconds of `n` whole chunks, and the longest time that any price held.

    crossed: the first chunk of which the time from the chunk before counts as well.
    """
    held, longest = times_run(known[place_of_trades(chunks, first) :], n, TRADE_ROOT)
    for k in range(crossed, first + n):
        at = place_of_trades(chunks, k) + OF_BORDER
        held += known[at]
        longest = max(longest, known[at + 1])
    return held, longest


@njit(**OPTIONS)
def _fold_times(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table: NDArray[np.int64],
    times: NDArray[np.int64],
    stored: NDArray[np.int64],
    known: NDArray[np.float64],
    lo: int,
    hi: int,
    low: float,
) -> tuple[float, float]:
    """Return the sum of (price - low) times the nanoseconds it held, and the longest that any did, of [lo, hi).

    Of nodes it is the difference of what they have and low times their nanoseconds: as exact as a price can be.
    """
    points = table[TABLE_CHUNK_POINTS]
    begin = lo - table[TABLE_FIRST_POINT]
    end = hi - table[TABLE_FIRST_POINT]
    i = begin
    held = (0.0, 0.0)
    longest = 0.0
    price, before = 0.0, 0  # of the point before the chunk
    while i < end:
        chunk = i // points
        whole = whole_chunks(table, stored, OF_TRADES, i, end)
        if whole:
            s, d = _times_of_chunks(known, stored.shape[1], chunk, whole, chunk if i > begin else chunk + 1)
            since = before if i > begin else carray(int64_pointer(times[chunk]), (1,))[0]
            chunk += whole - 1
            price = carray(float64_pointer(table[TABLE_ADDRESSES + chunk]), (points,))[points - 1]
            before = carray(int64_pointer(times[chunk]), (points,))[points - 1]
            held, longest = _added(held, s - low * between(since, before)), max(longest, d)
            i += whole * points
            continue
        stop = min(points, end - chunk * points)
        p = carray(float64_pointer(table[TABLE_ADDRESSES + chunk]), (stop,))
        t = carray(int64_pointer(times[chunk]), (stop,))
        j = i - chunk * points
        if i > begin:  # the time that crosses from chunk to chunk
            d = between(before, t[j])
            held, longest = _added(held, (price - low) * d), max(longest, d)
        elif j > 0:
            j += 1  # what held until the first point is none of the window
        address, covered = group_place(stored, OF_TRADES, chunk, stop)
        while j < stop:
            level, n = nodes_from(j, covered, table[TABLE_LEVELS])
            since = max(j - 1, 0)
            if level:
                nodes = group_nodes(address, table, level, TRADE_FIELDS, j >> (FAN_OUT_BITS * level), n)
                s, d = times_run(nodes, n, TRADE_FIELDS)
                j += n << (FAN_OUT_BITS * level)
                s -= low * between(t[since], t[j - 1])
            else:
                k = min((j | (FAN_OUT - 1)) + 1, stop)
                s, d = _time_run(p, t, since + 1, k, low)
                j = k
            held, longest = _added(held, s), max(longest, d)
        price, before = p[stop - 1], t[stop - 1]
        i = chunk * points + stop
    return max(held[0] + held[1], 0.0), longest


@njit(**OPTIONS)
def _span(table: NDArray[np.int64], times: NDArray[np.int64], lo: int, hi: int) -> float:
    """Return the nanoseconds from the first of the points [lo, hi) to the last."""
    points = table[TABLE_CHUNK_POINTS]
    first = lo - table[TABLE_FIRST_POINT]
    last = hi - 1 - table[TABLE_FIRST_POINT]
    before = carray(int64_pointer(times[first // points]), (points,))[first % points]
    return between(before, carray(int64_pointer(times[last // points]), (points,))[last % points])


@njit(**OPTIONS)
def fold_trades(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table: NDArray[np.int64],
    times: NDArray[np.int64],
    sizes: NDArray[np.int64],
    stored: NDArray[np.int64],
    known: NDArray[np.float64],
    lo: int,
    hi: int,
    low: float,
    wanted: int,
) -> _Six:
    """Return volume, signed volume, means by size and by time, longest gap and span of the points [lo, hi).

    0 of what is not wanted of SIZES, TIMES and SPAN. The weighted means are those of the prices above `low`, the least
    of the range; 0 where the weights are. Gap and span are in nanoseconds. times, sizes: where these columns of each
    chunk lie; those that are wanted have to be there. The others are those of `path.fold_path`: O(log N) for what the
    group covers.
    """
    volume = signed = by_size = by_time = gap = span = 0.0
    if wanted & SIZES:
        volume, signed, by_size = _weighted(table, sizes, stored, known, lo, hi, low)
    if wanted & (TIMES | SPAN):
        span = _span(table, times, lo, hi)
        if wanted & TIMES:
            held, gap = _fold_times(table, times, stored, known, lo, hi, low)
            by_time = held / span if span > 0.0 else 0.0
    return volume, signed, by_size, by_time, gap, span
