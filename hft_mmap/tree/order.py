"""Exact order statistics: how many points lie below a value, and which stored value has a given rank.

A count takes whole the nodes that lie wholly below or above, and reads the values of the others. To find a rank, a
pivot is counted and the bracket narrowed to the *stored* values beside it, so that ties end the search at once. Where
prices wander (a random walk) few nodes straddle a pivot. Where every node does (white noise), a sample gives the
bracket, and what is left in it is gathered and sorted out by numpy.
"""

from typing import Protocol

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
)
from hft_mmap.tree.kernels import FAN_OUT, FAN_OUT_BITS, NODE_FIELDS, OPTIONS
from hft_mmap.tree.pointers import float64_pointer

_FEW = 4096
"""So many points are gathered and sorted out at once: that takes less than counting them twice."""
_MOST_GATHERED = 4_000_000
"""What a search holds in memory at most: 32 MB."""
_SAMPLE = 65_536
_SPREAD = 1_024  # ranks of the sample on either side: four standard deviations of sqrt(65,536), and never less

_F8 = types.Array(float64, 1, "C")
_I8 = types.Array(int64, 1, "C")
_COUNT = types.Tuple((int64, float64, float64, int64))
_Count = tuple[int, float, float, int]


class Mapped(Protocol):
    """What is searched: the table and the roots of the chunks that are mapped (`files.view.View`)."""

    table: NDArray[np.int64]
    roots: NDArray[np.float64]


@njit(**OPTIONS)
def _count_chunk(base: int, table: NDArray[np.int64], i: int, end: int, x: float) -> _Count:
    """Count the values [i, end) of one chunk that are below `x`; see `count_below`."""
    v = carray(float64_pointer(base), (end,))
    top = table[TABLE_LEVELS]
    count = reads = level = 0
    under, over = -np.inf, np.inf
    while i < end:
        size = 1 << (FAN_OUT_BITS * level)
        if level == 0:
            stop = min((i | (FAN_OUT - 1)) + 1, end)
            reads += stop - i
            for j in range(i, stop):
                is_below = v[j] < x
                count += is_below
                under = max(under, v[j] if is_below else -np.inf)
                over = min(over, np.inf if is_below else v[j])
            i = stop
        elif i + size > end:
            level -= 1
            continue
        else:
            at = (i >> (FAN_OUT_BITS * level)) * NODE_FIELDS
            node = carray(float64_pointer(base + 8 * table[TABLE_LEVEL_OFFSETS + level]), (at + NODE_FIELDS,))
            if node[at + 1] < x:
                count += size
                under = max(under, node[at + 1])
            elif node[at] >= x:
                over = min(over, node[at])
            else:
                level -= 1
                continue
            i += size
        size = 1 << (FAN_OUT_BITS * level)
        while level < top and (i & ((size << FAN_OUT_BITS) - 1)) == 0:
            level += 1
            size <<= FAN_OUT_BITS
    return count, under, over, reads


@njit(_COUNT(_I8, _F8, int64, int64, float64), **OPTIONS)
def count_below(table: NDArray[np.int64], roots: NDArray[np.float64], lo: int, hi: int, x: float) -> _Count:
    """Return how many of the points [lo, hi) are below `x`, the values next to it, and how many were read.

    The values are the greatest below `x` and the least at or above it, infinite where there is none.
    """
    points = table[TABLE_CHUNK_POINTS]
    i = lo - table[TABLE_FIRST_POINT]
    end = hi - table[TABLE_FIRST_POINT]
    count = reads = 0
    under, over = -np.inf, np.inf
    while i < end:
        chunk = i // points
        begin = chunk * points
        stop = min(points, end - begin)
        root = chunk * NODE_FIELDS
        if i == begin and stop == points and root + NODE_FIELDS <= roots.shape[0] and roots[root + 1] < x:
            count += points
            under = max(under, roots[root + 1])
        elif i == begin and stop == points and root + NODE_FIELDS <= roots.shape[0] and roots[root] >= x:
            over = min(over, roots[root])
        else:
            found = _count_chunk(table[TABLE_ADDRESSES + chunk], table, i - begin, stop, x)
            count += found[0]
            under = max(under, found[1])
            over = min(over, found[2])
            reads += found[3]
        i = begin + stop
    return count, under, over, reads


@njit(int64(_I8, int64, int64, float64, float64, _F8), **OPTIONS)
def _gather(table: NDArray[np.int64], lo: int, hi: int, low: float, high: float, out: NDArray[np.float64]) -> int:
    """Write those of the points [lo, hi) that lie in [low, high] into `out`, which holds them; return their number."""
    points = table[TABLE_CHUNK_POINTS]
    i = lo - table[TABLE_FIRST_POINT]
    end = hi - table[TABLE_FIRST_POINT]
    n = 0
    while i < end:
        chunk = i // points
        stop = min(points, end - chunk * points)
        base = table[TABLE_ADDRESSES + chunk]
        v = carray(float64_pointer(base), (stop,))
        nodes = carray(float64_pointer(base + 8 * table[TABLE_LEVEL_OFFSETS + 1]), (points // FAN_OUT * NODE_FIELDS,))
        i -= chunk * points
        while i < stop:
            last = (i | (FAN_OUT - 1)) + 1
            at = (i >> FAN_OUT_BITS) * NODE_FIELDS
            # The node of a block that is not full yet says nothing.
            if last > stop or (nodes[at] <= high and nodes[at + 1] >= low):
                for j in range(i, min(last, stop)):
                    if low <= v[j] <= high:
                        out[n] = v[j]
                        n += 1
            i = last
        i = chunk * points + stop
    return n


@njit(types.void(_I8, _I8, _F8), **OPTIONS)
def _pick(table: NDArray[np.int64], indexes: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Write the points at `indexes` into `out`."""
    points = table[TABLE_CHUNK_POINTS]
    for k in range(out.shape[0]):
        place = indexes[k] - table[TABLE_FIRST_POINT]
        out[k] = carray(float64_pointer(table[TABLE_ADDRESSES + place // points]), (points,))[place % points]


def select(view: Mapped, lo: int, hi: int, rank: int) -> float:
    """Return the value that has `rank` (0: the least) among the points [lo, hi) once they are sorted.

    It is a stored value. 1e8 points: milliseconds for a random walk, up to a few scans of all of them for white noise.
    """
    table, roots, n = view.table, view.roots, hi - lo
    low, high, *_ = fold_window(table, roots, lo, hi)
    below, up_to = 0, n  # so many points are < low, and <= high
    reads = step = 0
    bracket: list[float] = []
    is_sampled = False
    while low < high:
        left = up_to - below
        if left <= max(_FEW, min(2 * reads, _MOST_GATHERED)):
            found = np.empty(left)
            _gather(table, lo, hi, low, high, found)
            return float(np.partition(found, rank - below)[rank - below])
        if not is_sampled and reads > n // 4 and n > _MOST_GATHERED:
            is_sampled = True
            bracket = _bracket(view, lo, hi, rank)
        pivot = bracket.pop() if bracket else _pivot(low, high, (rank + 0.5 - below) / left, halve=step % 2 == 1)
        step += 1
        if not low < pivot <= high:
            continue
        count, under, over, reads = count_below(table, roots, lo, hi, pivot)
        if count > rank:
            high, up_to = under, count
        else:
            low, below = over, count
    return float(low)


def _pivot(low: float, high: float, share: float, *, halve: bool) -> float:
    """Return a value in (low, high]: guessed by rank, or the middle of the floats between, which 64 steps exhaust."""
    if halve:
        bits = np.array([low, high]).view(np.int64)
        return float((bits[:1] + (bits[1] - bits[0] + 1) // 2).view(np.float64)[0])
    guess = low + (high - low) * min(max(share, 0.01), 0.99)
    return guess if guess > low else high


def _bracket(view: Mapped, lo: int, hi: int, rank: int) -> list[float]:
    """Return two values that the one of `rank` most likely lies between, from a sample of the points [lo, hi)."""
    indexes = np.random.default_rng(rank).integers(lo, hi, _SAMPLE)
    sample = np.empty(_SAMPLE)
    _pick(view.table, indexes, sample)
    sample.sort()
    middle = rank * _SAMPLE // (hi - lo)
    return [float(sample[max(middle - _SPREAD, 0)]), float(sample[min(middle + _SPREAD, _SAMPLE - 1)])]
