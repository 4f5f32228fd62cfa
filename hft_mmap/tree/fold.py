"""Fold a window out of nodes: compiled, in a few hundred nanoseconds for ten points or a hundred million.

The kernels of queries. What they answer is stored nowhere, so they may add in another order than `kernels` does: nodes
are taken in four lanes here, which halves the time of a run of 63.

Two summaries are merged by eq. 2.1 of Chan, Golub, LeVeque (1983), "Algorithms for computing the sample variance:
analysis and recommendations".
"""

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.kernels import FAN_OUT, FAN_OUT_BITS, MAX_LEVELS, NODE_BYTES, NODE_FIELDS, OPTIONS, value_run
from hft_mmap.tree.pointers import float64_pointer, int64_pointer, load_word, prefetch
from hft_mmap.tree.words import ERA_BEHIND_TOTAL, START_BEHIND_TOTAL

# The chunks of a series are described by one int64 array: these are its words, then one address a chunk.
TABLE_CHUNK_POINTS = 0
TABLE_FIRST_POINT = 1
TABLE_LEVELS = 2
TABLE_ERA = 3
"""The salt of the head when the chunks were mapped (`tree.words`)."""
TABLE_CHUNKS = 4
TABLE_ROOTS = 5
"""Where the roots lie that go with the table; only what takes the table by its address looks."""
TABLE_TIMES = 6
TABLE_SIZES = 7
"""Where the addresses of these columns of each chunk lie, likewise; 0 where there are none."""
TABLE_LEVEL_OFFSETS = 8
TABLE_ADDRESSES = TABLE_LEVEL_OFFSETS + MAX_LEVELS

MIN, MAX, LAST, AVG, VAR, FIRST = range(6)  # rows of what `passage.fold_ranges` writes

_LINE_BYTES = 64
_PREFETCHED_LEVELS = 2
"""Those above are mostly in the cache."""

_F8 = types.Array(float64, 1, "C")
_NODES = types.Array(float64, 2, "C")
_I8 = types.Array(int64, 1, "C")
_Summary = tuple[float, float, float, float, float]
_SUMMARY = types.UniTuple(float64, 5)
_COUNTED = types.Tuple((float64, float64, float64, float64, float64, int64))


@njit(**OPTIONS)
def _node_run(v: NDArray[np.float64], k: int, node_points: int) -> tuple[float, float, float, float]:
    """Summarise the first `k` nodes of `v`, each over `node_points` values, in four lanes.

    All counts are equal, so the mean is the mean of means and no division is needed inside the loops.

    PERF: from 0, so that the compiler sees that no index is negative: 130 ns for 63 nodes in place of 208.
    """
    end = k * NODE_FIELDS
    rest = (k >> 2) * 4 * NODE_FIELDS
    lo0 = lo1 = lo2 = lo3 = v[0]
    hi0 = hi1 = hi2 = hi3 = v[1]
    for i in range(0, rest, 4 * NODE_FIELDS):
        lo0 = v[i] if v[i] < lo0 else lo0
        lo1 = v[i + 4] if v[i + 4] < lo1 else lo1
        lo2 = v[i + 8] if v[i + 8] < lo2 else lo2
        lo3 = v[i + 12] if v[i + 12] < lo3 else lo3
        hi0 = v[i + 1] if v[i + 1] > hi0 else hi0
        hi1 = v[i + 5] if v[i + 5] > hi1 else hi1
        hi2 = v[i + 9] if v[i + 9] > hi2 else hi2
        hi3 = v[i + 13] if v[i + 13] > hi3 else hi3
    for i in range(rest, end, NODE_FIELDS):
        lo0 = v[i] if v[i] < lo0 else lo0
        hi0 = v[i + 1] if v[i + 1] > hi0 else hi0
    lo = min(lo0, lo1, lo2, lo3)
    hi = max(hi0, hi1, hi2, hi3)
    s0 = s1 = s2 = s3 = 0.0
    for i in range(0, rest, 4 * NODE_FIELDS):
        s0 += (v[i] - lo) + v[i + 2]
        s1 += (v[i + 4] - lo) + v[i + 6]
        s2 += (v[i + 8] - lo) + v[i + 10]
        s3 += (v[i + 12] - lo) + v[i + 14]
    for i in range(rest, end, NODE_FIELDS):
        s0 += (v[i] - lo) + v[i + 2]
    mean = ((s0 + s2) + (s1 + s3)) / k
    s0 = s1 = s2 = s3 = between0 = between1 = between2 = between3 = within0 = within1 = within2 = within3 = 0.0
    for i in range(0, rest, 4 * NODE_FIELDS):
        d0, d1 = (v[i] - lo) + v[i + 2] - mean, (v[i + 4] - lo) + v[i + 6] - mean
        d2, d3 = (v[i + 8] - lo) + v[i + 10] - mean, (v[i + 12] - lo) + v[i + 14] - mean
        s0 += d0
        s1 += d1
        s2 += d2
        s3 += d3
        between0 += d0 * d0
        between1 += d1 * d1
        between2 += d2 * d2
        between3 += d3 * d3
        within0 += v[i + 3]
        within1 += v[i + 7]
        within2 += v[i + 11]
        within3 += v[i + 15]
    for i in range(rest, end, NODE_FIELDS):
        d = (v[i] - lo) + v[i + 2] - mean
        s0 += d
        between0 += d * d
        within0 += v[i + 3]
    s = (s0 + s2) + (s1 + s3)
    between = ((between0 + between2) + (between1 + between3)) - s * s / k
    return lo, hi, mean, ((within0 + within2) + (within1 + within3)) + node_points * max(between, 0.0)


@njit(**OPTIONS)
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


@njit(**OPTIONS)
def _fold_level(base: int, table: NDArray[np.int64], level: int, first: int, last: int) -> _Summary:
    """Summarise the nodes [first, last) of `level` (0: the values) in the chunk at address `base`."""
    n = last - first
    if level == 0:
        lo, hi, mean, m2 = value_run(carray(float64_pointer(base + 8 * first), (n,)), 0, n)
        return float(n), lo, hi, mean, m2
    node_points = 1 << (FAN_OUT_BITS * level)
    address = base + 8 * table[TABLE_LEVEL_OFFSETS + level] + NODE_BYTES * first
    lo, hi, mean, m2 = _node_run(carray(float64_pointer(address), (n * NODE_FIELDS,)), n, node_points)
    return float(n * node_points), lo, hi, mean, m2


@njit(**OPTIONS)
def _fold_chunk(base: int, table: NDArray[np.int64], first: int, last: int) -> _Summary:
    """Summarise the values [first, last) of one chunk from at most 2 x 63 nodes a level."""
    left = (0.0, 0.0, 0.0, 0.0, 0.0)
    right = (0.0, 0.0, 0.0, 0.0, 0.0)
    top = table[TABLE_LEVELS]
    level = 0
    while first < last:
        # Shifts, as none of the two is negative: a division of signed numbers that rounds down takes ten times as long.
        first_up = (first + FAN_OUT - 1) >> FAN_OUT_BITS
        last_up = last >> FAN_OUT_BITS
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


@njit(**OPTIONS)
def _prefetch_bytes(begin: int, end: int) -> None:
    """Ask for the cache lines of the addresses [begin, end)."""
    for address in range(begin & ~(_LINE_BYTES - 1), end, _LINE_BYTES):
        prefetch(address)


@njit(**OPTIONS)
def prefetch_edges(table: NDArray[np.int64], lo: int, hi: int) -> None:
    """Ask for what a fold of the points [lo, hi) reads in the chunks of its ends, which it would wait for line by line.

    PERF: at a random place of 1e8 points little of it is in the cache: 0.9 us a range in place of 1.3.
    """
    points = table[TABLE_CHUNK_POINTS]
    lo -= table[TABLE_FIRST_POINT]
    hi -= table[TABLE_FIRST_POINT]
    chunk = lo // points
    left = table[TABLE_ADDRESSES + chunk]
    lo -= chunk * points
    chunk = (hi - 1) // points
    right = table[TABLE_ADDRESSES + chunk]
    hi -= chunk * points
    size = 8
    for level in range(_PREFETCHED_LEVELS):
        first_up = (lo + FAN_OUT - 1) >> FAN_OUT_BITS
        last_up = hi >> FAN_OUT_BITS
        _prefetch_bytes(left + size * lo, left + size * (first_up << FAN_OUT_BITS))
        _prefetch_bytes(right + size * (last_up << FAN_OUT_BITS), right + size * hi)
        lo, hi = first_up, last_up
        left += 8 * (table[TABLE_LEVEL_OFFSETS + level + 1] - table[TABLE_LEVEL_OFFSETS + level])
        right += 8 * (table[TABLE_LEVEL_OFFSETS + level + 1] - table[TABLE_LEVEL_OFFSETS + level])
        size = NODE_BYTES


@njit(**OPTIONS)
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
            lo_, hi_, mean, m2 = _node_run(roots[whole * NODE_FIELDS :], last_chunk - whole, points)
            total = _merge((float((last_chunk - whole) * points), lo_, hi_, mean, m2), total)
        if lo > first_chunk * points:
            base = table[TABLE_ADDRESSES + first_chunk]
            total = _merge(_fold_chunk(base, table, lo - first_chunk * points, points), total)
    newest = carray(float64_pointer(last_base), (last_end,))[last_end - 1]
    avg = min(max(total[1] + total[3], total[1]), total[2])
    return total[1], total[2], newest, avg, total[4] / total[0]


@njit(_SUMMARY(_I8, _F8, int64, int64), **OPTIONS)
def fold_window(table: NDArray[np.int64], roots: NDArray[np.float64], lo: int, hi: int) -> _Summary:
    """Return (min, max, last, avg, var) of the points [lo, hi), lo < hi, in O(log N + chunks).

    `table` describes the chunks (TABLE_ words, then one address a chunk), `roots` holds one node for each of them but
    the last, flattened. Every chunk from the one of `lo` to the one of `hi - 1` must be mapped.
    """
    return _fold(table, roots, lo, hi)


@njit(types.void(_I8, _F8, int64, int64, _I8, _NODES), **OPTIONS)
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


@njit(**OPTIONS)
def table_at(address: int) -> NDArray[np.int64]:
    """Return the table at `address`."""
    chunks = carray(int64_pointer(address), (TABLE_ADDRESSES,))[TABLE_CHUNKS]
    return carray(int64_pointer(address), (TABLE_ADDRESSES + chunks,))


@njit(**OPTIONS)
def column_of(table: NDArray[np.int64], word: int) -> NDArray[np.int64]:
    """Return the addresses of a column that goes with a table, TABLE_TIMES or TABLE_SIZES; it has to be there."""
    return carray(int64_pointer(table[word]), (table[TABLE_CHUNKS],))


@njit(**OPTIONS)
def roots_of(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the roots that go with a table, as `fold_window` takes them."""
    return carray(float64_pointer(table[TABLE_ROOTS]), (NODE_FIELDS * (table[TABLE_CHUNKS] - 1),))


@njit(**OPTIONS)
def value_of(table: NDArray[np.int64], point: int) -> float:
    """Return one point."""
    points = table[TABLE_CHUNK_POINTS]
    place = point - table[TABLE_FIRST_POINT]
    return carray(float64_pointer(table[TABLE_ADDRESSES + place // points]), (points,))[place % points]


@njit(_COUNTED(int64, int64, int64, int64), **OPTIONS)
def fold_between(
    table_address: int, total_address: int, lo: int, hi: int
) -> tuple[float, float, float, float, float, int]:
    """Return (min, max, last, avg, var, points) of the points [lo, hi), points = 0 if there is no answer.

    As `fold_newest`; there is no answer either where the range is empty, or not all of it is kept.
    """
    start_address = total_address + START_BEHIND_TOTAL
    start = load_word(start_address)
    total = load_word(total_address)
    table = table_at(table_address)
    first = table[TABLE_FIRST_POINT]
    end = first + table[TABLE_CHUNKS] * table[TABLE_CHUNK_POINTS]
    if not (first <= start <= lo < hi <= total <= end and load_word(start_address) == start):
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0
    if load_word(total_address + ERA_BEHIND_TOTAL) != table[TABLE_ERA]:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0
    prefetch_edges(table, lo, hi)
    low, high, last, avg, var = _fold(table, roots_of(table), lo, hi)
    return low, high, last, avg, var, hi - lo


@njit(**OPTIONS)
def newest_of(table: NDArray[np.int64], total_address: int, window: int) -> tuple[int, int]:
    """Return the bounds of the newest `window` points, both 0 where there is no answer; see `fold_newest`."""
    start_address = total_address + START_BEHIND_TOTAL
    start = load_word(start_address)
    total = load_word(total_address)
    first = table[TABLE_FIRST_POINT]
    # Only if no cleanup came between the loads did the two stand side by side.
    if start == total or start < first or total > first + table[TABLE_CHUNKS] * table[TABLE_CHUNK_POINTS]:
        return 0, 0
    if load_word(start_address) != start or load_word(total_address + ERA_BEHIND_TOTAL) != table[TABLE_ERA]:
        return 0, 0
    return total - min(window, total - start), total


@njit(_COUNTED(int64, int64, int64), **OPTIONS)
def fold_newest(table_address: int, total_address: int, window: int) -> tuple[float, float, float, float, float, int]:
    """Return (min, max, last, avg, var, points) of the newest `window` points, points = 0 if there is no answer.

    The common query in one call: it loads the bounds from the live words, of which the total is at `total_address`, and
    folds. The table comes as an address, as taking an array apart costs 100 ns, and the words say where all else is, as
    each number that is passed costs 25. No answer means that nothing is stored, that the chunks do not cover the
    bounds, that a cleanup came in between, or that points were lost since the chunks were mapped.
    """
    table = table_at(table_address)
    begin, end = newest_of(table, total_address, window)
    if begin == end:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0
    lo, hi, last, avg, var = _fold(table, roots_of(table), begin, end)
    return lo, hi, last, avg, var, end - begin
