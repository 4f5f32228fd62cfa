"""Any range of a series as a chart needs it: cut into buckets, each with first, last, min, max and mean.

A bucket is folded from the same nodes as a window, so a range of a hundred million points costs what its number of
buckets costs, and no spike is lost: min and max are those of every point.

Only sums above a minimum are added up, all of them positive: nothing cancels, and the mean is right to a few units in
the last place wherever the prices lie.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.errors import InvalidRange
from hft_mmap.tree.fold import TABLE_ADDRESSES, TABLE_CHUNK_POINTS, TABLE_FIRST_POINT, TABLE_LEVEL_OFFSETS, TABLE_LEVELS
from hft_mmap.tree.kernels import FAN_OUT, NODE_FIELDS, OPTIONS
from hft_mmap.tree.pointers import float64_pointer

FIRST, LAST, MIN, MAX, MEAN = range(5)  # rows of what the kernel writes

_F8 = types.Array(float64, 1, "C")
_COLUMNS = types.Array(float64, 2, "C")
_I8 = types.Array(int64, 1, "C")
Range = tuple[int, int]
"""The points from the first index to before the second."""
_Part = tuple[float, float, float, float]
"""Count, min, max, and the sum of the distances to min. A count of 0 is nothing at all."""


class Mapped(Protocol):
    """What is folded: the table and the roots of the chunks that are mapped (`files.view.View`)."""

    table: NDArray[np.int64]
    roots: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Buckets:
    """A range of points in consecutive buckets, oldest first; all arrays have one entry a bucket.

    index (int64) is the index of the first point of each bucket, and `end` the index after the last point of all.
    first, last, min and max (float64) are values that were appended, bit for bit; mean (float64) is their mean.
    """

    index: NDArray[np.int64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    mean: NDArray[np.float64]
    end: int


@njit(**OPTIONS)
def _join(a: _Part, b: _Part) -> _Part:
    """Return both as one."""
    if a[0] == 0.0:
        return b
    if b[0] == 0.0:
        return a
    lo = min(a[1], b[1])
    return a[0] + b[0], lo, max(a[2], b[2]), (a[3] + a[0] * (a[1] - lo)) + (b[3] + b[0] * (b[1] - lo))


@njit(**OPTIONS)
def _values(base: int, first: int, last: int) -> _Part:
    """Return the values [first, last) of the chunk at address `base`, at least one."""
    v = carray(float64_pointer(base), (last,))
    lo = hi = v[first]
    for i in range(first + 1, last):
        lo = v[i] if v[i] < lo else lo
        hi = v[i] if v[i] > hi else hi
    above = 0.0
    for i in range(first, last):
        above += v[i] - lo
    return float(last - first), lo, hi, above


@njit(**OPTIONS)
def _nodes(v: NDArray[np.float64], first: int, last: int, node_points: int) -> _Part:
    """Return the nodes [first, last), at least one, each over `node_points` values."""
    lo = v[first * NODE_FIELDS]
    hi = v[first * NODE_FIELDS + 1]
    for i in range((first + 1) * NODE_FIELDS, last * NODE_FIELDS, NODE_FIELDS):
        lo = v[i] if v[i] < lo else lo
        hi = v[i + 1] if v[i + 1] > hi else hi
    above = 0.0
    for i in range(first * NODE_FIELDS, last * NODE_FIELDS, NODE_FIELDS):
        above += (v[i] - lo) + v[i + 2]
    return float((last - first) * node_points), lo, hi, above * node_points


@njit(**OPTIONS)
def _level(base: int, table: NDArray[np.int64], level: int, first: int, last: int) -> _Part:
    """Return the nodes [first, last) of `level` (0: the values) in the chunk at address `base`."""
    if level == 0:
        return _values(base, first, last)
    v = carray(float64_pointer(base + 8 * table[TABLE_LEVEL_OFFSETS + level]), (last * NODE_FIELDS,))
    return _nodes(v, first, last, FAN_OUT**level)


@njit(**OPTIONS)
def _chunk(base: int, table: NDArray[np.int64], first: int, last: int) -> _Part:
    """Return the values [first, last) of one chunk, from at most 2 x 63 nodes a level."""
    found = (0.0, 0.0, 0.0, 0.0)
    top = table[TABLE_LEVELS]
    level = 0
    while first < last:
        first_up = (first + FAN_OUT - 1) // FAN_OUT
        last_up = last // FAN_OUT
        if level == top or first_up >= last_up:
            found = _join(found, _level(base, table, level, first, last))
            break
        if first < first_up * FAN_OUT:
            found = _join(found, _level(base, table, level, first, first_up * FAN_OUT))
        if last_up * FAN_OUT < last:
            found = _join(found, _level(base, table, level, last_up * FAN_OUT, last))
        first = first_up
        last = last_up
        level += 1
    return found


@njit(**OPTIONS)
def _range(table: NDArray[np.int64], roots: NDArray[np.float64], lo: int, hi: int) -> _Part:
    """Return the points [lo, hi), lo < hi, both counted from the first point of the table."""
    points = table[TABLE_CHUNK_POINTS]
    first_chunk = lo // points
    last_chunk = (hi - 1) // points
    found = (0.0, 0.0, 0.0, 0.0)
    whole = first_chunk
    if first_chunk < last_chunk and lo > first_chunk * points:
        found = _chunk(table[TABLE_ADDRESSES + first_chunk], table, lo - first_chunk * points, points)
        whole += 1
    if whole < last_chunk:
        found = _join(found, _nodes(roots, whole, last_chunk, points))
    begin = max(lo - last_chunk * points, 0)
    return _join(found, _chunk(table[TABLE_ADDRESSES + last_chunk], table, begin, hi - last_chunk * points))


@njit(**OPTIONS)
def _value(table: NDArray[np.int64], point: int) -> float:
    """Return one point, counted from the first point of the table."""
    points = table[TABLE_CHUNK_POINTS]
    place = point % points
    return carray(float64_pointer(table[TABLE_ADDRESSES + point // points]), (place + 1,))[place]


@njit(types.void(_I8, _F8, _I8, _COLUMNS), **OPTIONS)
def fold_buckets(
    table: NDArray[np.int64], roots: NDArray[np.float64], edges: NDArray[np.int64], out: NDArray[np.float64]
) -> None:
    """Write first, last, min, max and mean of the points [edges[i], edges[i + 1]) into column i of `out`, shape (5, n).

    `edges` ascend strictly, shape (n + 1,), and every chunk from the first to the last of them is mapped; table and
    roots are those of `kernels.fold_window`. O(n log N).
    """
    for i in range(out.shape[1]):
        lo = edges[i] - table[TABLE_FIRST_POINT]
        hi = edges[i + 1] - table[TABLE_FIRST_POINT]
        out[FIRST, i] = _value(table, lo)
        if hi == lo + 1:
            out[LAST, i] = out[MIN, i] = out[MAX, i] = out[MEAN, i] = out[FIRST, i]
        else:
            out[LAST, i] = _value(table, hi - 1)
            count, low, high, above = _range(table, roots, lo, hi)
            out[MIN, i] = low
            out[MAX, i] = high
            out[MEAN, i] = min(max(low + above / count, low), high)


def in_buckets(view: Mapped, kept: Range, asked: Range, n: int) -> Buckets:
    """Return what is kept of the range `asked` in `n` buckets of nearly the same size; see `Series.buckets`."""
    start, end = _cut(kept, asked, n, "n")
    n = min(n, end - start)
    size, longer = divmod(end - start, n) if n else (0, 0)
    places = np.arange(n + 1, dtype=np.int64)
    # The buckets with one point more are spread evenly among the others.
    return _fold(view, start + places * size + places * longer // max(n, 1))


def in_bars(view: Mapped, kept: Range, asked: Range, size: int) -> Buckets:
    """Return what is kept of the range `asked` in bars of `size` points; see `Series.bars`."""
    return _fold(view, bar_edges(kept, asked, size))


def bar_edges(kept: Range, asked: Range, size: int) -> NDArray[np.int64]:
    """Return where bars of `size` points begin in what is kept of the range `asked`, and where the last one ends."""
    start, end = _cut(kept, asked, size, "size")
    size = min(size, max(end, 1))
    borders = np.arange(start // size + 1, max(end - 1, 0) // size + 1, dtype=np.int64) * size
    return np.concatenate([[start], borders, [end] if end > start else []]).astype(np.int64)


def _cut(kept: Range, asked: Range, size: object, name: str) -> Range:
    """Return the part of `asked` that is `kept`; InvalidRange unless that is a range, and `size` (or `n`) a size."""
    start, end = asked
    if not all(isinstance(number, int | np.integer) for number in (start, end, size)):
        raise InvalidRange(f"start, end and {name} must be whole numbers, not {start!r}, {end!r} and {size!r}")
    if not 0 <= start <= end:
        raise InvalidRange(f"start and end must be 0 <= start <= end, not {start!r} and {end!r}")
    if size < 1:  # type: ignore[operator]
        raise InvalidRange(f"{name} must be a whole number from 1, not {size!r}")
    first = min(max(int(start), kept[0]), kept[1])
    return first, max(first, min(int(end), kept[1]))


def _fold(view: Mapped, edges: NDArray[np.int64]) -> Buckets:
    """Return the buckets between `edges`, which `view` covers; one edge alone is no bucket."""
    out = np.empty((5, len(edges) - 1))
    fold_buckets(view.table, view.roots, edges, out)
    out.flags.writeable = False
    return Buckets(edges[:-1], out[FIRST], out[LAST], out[MIN], out[MAX], out[MEAN], int(edges[-1]))
