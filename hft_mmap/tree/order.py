"""Exact order statistics: how many points lie below a value, and which stored value has a given rank.

A count takes whole the nodes that lie wholly below or above, and reads the values of the others. To find a rank, a
pivot is counted and the bracket narrowed to the *stored* values beside it, so that ties end the search at once. Where
prices wander (a random walk) few nodes straddle a pivot. Where many do (white noise, prices that come back again and
again), which some of them tell, a sample gives the bracket; what lies in it is gathered and sorted out by numpy.
"""

import struct
from typing import NamedTuple, Protocol

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
_LOOKED_AT = 512
"""So many blocks tell whether a pivot is cheap to count: 20 us."""
_MANY = _LOOKED_AT // 16
"""Where more of them straddle the pivot, some counts take longer than a sample and one look at all that lies around."""
_MOST_READ = 8
"""Where a count has read more than this part of the points, likewise."""
_HALVED = 3
"""Each such step takes the middle in place of a guess: where guesses are bad, they are not all there is."""
_SAMPLE = 65_536
_SPREAD = 512  # ranks of the sample on either side: four standard deviations of the median's, of which none has more

_FLOAT, _BITS = struct.Struct("<d"), struct.Struct("<q")
_SIGN_BIT = 2**63

_F8 = types.Array(float64, 1, "C")
_I8 = types.Array(int64, 1, "C")
_COUNT = types.Tuple((int64, float64, float64, int64))
_SPLIT = types.Tuple((int64, int64))
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


@njit(**OPTIONS)
def _split_values(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    v: NDArray[np.float64], i: int, end: int, low: float, high: float, out: NDArray[np.float64], n: int
) -> tuple[int, int]:
    """Split the values [i, end): return how many are < `low` and how many in [low, high], which go to `out[n:]`.

    PERF: written without a branch, and overwritten by the next where it does not belong there: 0.5 ns a value in place
    of 3 where about half belong.
    """
    below, begin = 0, n
    if n + (end - i) <= out.shape[0]:
        for j in range(i, end):
            x = v[j]
            out[n] = x
            below += x < low
            n += (x >= low) & (x <= high)
        return below, n - begin
    for j in range(i, end):
        x = v[j]
        below += x < low
        if low <= x <= high:
            if n < out.shape[0]:
                out[n] = x
            n += 1
    return below, n - begin


@njit(**OPTIONS)
def _split_chunk(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    base: int, table: NDArray[np.int64], i: int, end: int, low: float, high: float, out: NDArray[np.float64], n: int
) -> tuple[int, int]:
    """Split the values [i, end) of one chunk, with `n` that were found before; see `split`."""
    v = carray(float64_pointer(base), (end,))
    top = table[TABLE_LEVELS]
    below = level = 0
    begin = n
    while i < end:
        size = 1 << (FAN_OUT_BITS * level)
        if level == 0:
            stop = min((i | (FAN_OUT - 1)) + 1, end)
            found = _split_values(v, i, stop, low, high, out, n)
            below += found[0]
            n += found[1]
            i = stop
        elif i + size > end:
            level -= 1
            continue
        else:
            at = (i >> (FAN_OUT_BITS * level)) * NODE_FIELDS
            node = carray(float64_pointer(base + 8 * table[TABLE_LEVEL_OFFSETS + level]), (at + NODE_FIELDS,))
            if node[at + 1] < low:
                below += size
            elif low <= node[at] and node[at + 1] <= high and n >= out.shape[0]:
                n += size
            elif node[at] <= high:
                level -= 1
                continue
            i += size
        size = 1 << (FAN_OUT_BITS * level)
        while level < top and (i & ((size << FAN_OUT_BITS) - 1)) == 0:
            level += 1
            size <<= FAN_OUT_BITS
    return below, n - begin


@njit(_SPLIT(_I8, _F8, int64, int64, float64, float64, _F8), **OPTIONS)
def split(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table: NDArray[np.int64],
    roots: NDArray[np.float64],
    lo: int,
    hi: int,
    low: float,
    high: float,
    out: NDArray[np.float64],
) -> tuple[int, int]:
    """Return how many of the points [lo, hi) are < `low`, and how many lie in [low, high], low <= high.

    As many of the latter as `out` holds are written there, in their order.
    """
    points = table[TABLE_CHUNK_POINTS]
    i = lo - table[TABLE_FIRST_POINT]
    end = hi - table[TABLE_FIRST_POINT]
    below = inside = 0
    while i < end:
        chunk = i // points
        begin = chunk * points
        stop = min(points, end - begin)
        root = chunk * NODE_FIELDS
        is_whole = i == begin and stop == points and root + NODE_FIELDS <= roots.shape[0]
        if is_whole and roots[root + 1] < low:
            below += points
        elif not (is_whole and roots[root] > high):
            found = _split_chunk(table[TABLE_ADDRESSES + chunk], table, i - begin, stop, low, high, out, inside)
            below += found[0]
            inside += found[1]
        i = begin + stop
    return below, inside


@njit(int64(_I8, int64, int64, float64), **OPTIONS)
def _straddling(table: NDArray[np.int64], lo: int, hi: int, x: float) -> int:
    """Return how many of _LOOKED_AT blocks of FAN_OUT points, spread evenly over [lo, hi), have values on both sides.

    0 where the range does not hold as many blocks.
    """
    points = table[TABLE_CHUNK_POINTS]
    first = (lo - table[TABLE_FIRST_POINT] + FAN_OUT - 1) >> FAN_OUT_BITS
    blocks = ((hi - table[TABLE_FIRST_POINT]) >> FAN_OUT_BITS) - first
    found = 0
    if blocks < _LOOKED_AT:
        return 0
    for k in range(_LOOKED_AT):
        point = (first + blocks * k // _LOOKED_AT) << FAN_OUT_BITS
        chunk = point // points
        at = ((point - chunk * points) >> FAN_OUT_BITS) * NODE_FIELDS
        base = table[TABLE_ADDRESSES + chunk] + 8 * table[TABLE_LEVEL_OFFSETS + 1]
        node = carray(float64_pointer(base), (at + NODE_FIELDS,))
        found += node[at] < x <= node[at + 1]
    return found


@njit(types.void(_I8, _I8, _F8), **OPTIONS)
def _pick(table: NDArray[np.int64], indexes: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Write the points at `indexes` into `out`."""
    points = table[TABLE_CHUNK_POINTS]
    for k in range(out.shape[0]):
        place = indexes[k] - table[TABLE_FIRST_POINT]
        out[k] = carray(float64_pointer(table[TABLE_ADDRESSES + place // points]), (points,))[place % points]


class _Bracket(NamedTuple):
    """Two stored values that the one that is looked for lies between, with how many are < `low` and <= `high`."""

    low: float
    below: int
    high: float
    up_to: int


def select(view: Mapped, lo: int, hi: int, rank: int) -> float:
    """Return the value that has `rank` (0: the least) among the points [lo, hi) once they are sorted.

    It is a stored value. 1e8 points: milliseconds for a random walk, about one reading of all of them for white noise.
    """
    table, roots, n = view.table, view.roots, hi - lo
    low, high, *_ = fold_window(table, roots, lo, hi)
    found = _Bracket(low, 0, high, n)
    reads = step = 0
    is_sampled = n <= _MOST_GATHERED
    while found.low < found.high:
        left = found.up_to - found.below
        if left <= max(_FEW, min(2 * reads, _MOST_GATHERED)):
            inside = np.empty(left)
            split(table, roots, lo, hi, found.low, found.high, inside)
            return float(np.partition(inside, rank - found.below)[rank - found.below])
        share = (rank + 0.5 - found.below) / left
        pivot = _pivot(found.low, found.high, share, halve=step % _HALVED == _HALVED - 1)
        step += 1
        if not found.low < pivot <= found.high:
            continue
        # What was looked at may be unlike the rest, where prices repeat at even distances: so the last count tells too.
        if not is_sampled and (reads > n // _MOST_READ or _straddling(table, lo, hi, pivot) > _MANY):
            is_sampled = True
            found = _narrowed(view, lo, hi, rank, found)
            continue
        count, under, over, reads = count_below(table, roots, lo, hi, pivot)
        found = found._replace(high=under, up_to=count) if count > rank else found._replace(low=over, below=count)
    return found.low


def _narrowed(view: Mapped, lo: int, hi: int, rank: int, found: _Bracket) -> _Bracket:
    """Return a narrower bracket by a sample of the points [lo, hi): mostly two times the value that has the rank.

    The sample comes from a fixed seed, and decides how long the search takes, never what is found.
    """
    indexes = np.random.default_rng(rank).integers(lo, hi, _SAMPLE)
    sample = np.empty(_SAMPLE)
    _pick(view.table, indexes, sample)
    middle = rank * _SAMPLE // (hi - lo)
    ends = max(middle - _SPREAD, 0), min(middle + _SPREAD, _SAMPLE - 1)
    sample.partition(ends)
    low, high = (float(sample[end]) for end in ends)
    inside = np.empty(_MOST_GATHERED)
    below, n = split(view.table, view.roots, lo, hi, low, high, inside)
    if not below <= rank < below + n:
        return found
    if n <= len(inside):
        low = high = float(np.partition(inside[:n], rank - below)[rank - below])
    if low > found.low:
        found = found._replace(low=low, below=below)
    return found._replace(high=high, up_to=below + n) if high < found.high else found


def _pivot(low: float, high: float, share: float, *, halve: bool) -> float:
    """Return a value in (low, high]: guessed by rank, or the middle of the floats between, which 64 steps exhaust."""
    if halve:
        below, above = _place(low), _place(high)
        return _at_place(below + (above - below + 1) // 2)
    guess = low + (high - low) * min(max(share, 0.01), 0.99)
    return guess if guess > low else high


def _place(x: float) -> int:
    """Return the place of a number among all float64, in their order; 0 is that of 0.0."""
    (bits,) = _BITS.unpack(_FLOAT.pack(x))
    return int(bits) if bits >= 0 else -(int(bits) + _SIGN_BIT)


def _at_place(place: int) -> float:
    """Return the number at a place."""
    (x,) = _FLOAT.unpack(_BITS.pack(place if place >= 0 else -place - _SIGN_BIT))
    return float(x)
