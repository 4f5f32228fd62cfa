"""Cut a range of points where the clock, what was traded or what it was worth says: the edges of windows and of bars.

Edges by time are found by bisection of the column of times. Those by volume and value are found by adding up sizes, one
point after the other and in twice the digits of a float64, so that a bar ends where the numbers say and not where
roundings do: two numbers a sum, after Dekker (1971), "A floating-point technique for extending the available
precision". 5 ns a point, with the GIL released.
"""

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.fold import TABLE_ADDRESSES, TABLE_CHUNK_POINTS, TABLE_FIRST_POINT
from hft_mmap.tree.kernels import OPTIONS
from hft_mmap.tree.pointers import float64_pointer, int64_pointer

TOO_MANY = -1
"""What `cut_by_sizes` returns where there are more bars than it may write."""

_HALVES = 134_217_729.0  # 2^27 + 1: splits a float64 into halves whose products are exact

_I8 = types.Array(int64, 1, "C")


@njit(**OPTIONS)
def _time_at(addresses: NDArray[np.int64], points: int, first: int, point: int) -> int:
    """Return the time of one point, or what else a column has of it."""
    chunk = (point - first) // points
    return carray(int64_pointer(addresses[chunk]), (points,))[point - first - chunk * points]


@njit(types.void(_I8, int64, int64, int64, int64, _I8, _I8), **OPTIONS)
def find_times(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    addresses: NDArray[np.int64], points: int, first: int, lo: int, hi: int, asked: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:  # fmt: skip
    """Write for each time of `asked` the first of the points [lo, hi) whose time is it or later, or `hi`.

    As `find_time`, but each begins where the one before it was found: times in order cost the log of their distance.
    """
    at = lo
    # PERF: most probes fall into the chunk of the one before them; to find that takes a division.
    begin, end, address = 0, 0, 0
    for k in range(asked.shape[0]):
        time = asked[k]
        # Between `below`, before which all are earlier, and `above`, from which on none is: steps that double.
        below, above, step, is_behind = lo, hi, 0, False
        probe = at if at < hi else hi - 1
        while below < above:
            if not begin <= probe < end:
                chunk = (probe - first) // points
                begin, end, address = first + chunk * points, first + (chunk + 1) * points, addresses[chunk]
            is_earlier = int64_pointer(address)[probe - begin] < time
            if is_earlier:
                below = probe + 1
            else:
                above = probe
            if step == 0:
                is_behind, step = is_earlier, 1
            elif step > 0 and is_earlier != is_behind:
                step = -1
            if step > 0:
                probe = min(below + step - 1, hi - 1) if is_behind else max(above - step, lo)
                step *= 2
            else:
                probe = below + (above - below) // 2
        out[k] = at = below


@njit(types.void(_I8, int64, int64, _I8, _I8), **OPTIONS)
def pick(
    addresses: NDArray[np.int64], points: int, first: int, index: NDArray[np.int64], out: NDArray[np.int64]
) -> None:  # fmt: skip
    """Write the 8 bytes of each of the points `index`, which all have some, of a column or of the prices."""
    for k in range(index.shape[0]):
        out[k] = _time_at(addresses, points, first, index[k])


@njit(**OPTIONS)
def _product(a: float, b: float) -> tuple[float, float]:
    """Return a b as the float64 next to it, and what it lacks."""
    p = a * b
    t = _HALVES * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = _HALVES * b
    b_high = t - (t - b)
    b_low = b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


@njit(**OPTIONS)
def _plus(total: tuple[float, float], x: float, rest: float) -> tuple[float, float]:
    """Add x + rest to a sum of two numbers, the first of which is the float64 next to both."""
    s = total[0] + x
    t = s - total[0]
    lost = (total[0] - (s - t)) + (x - t)
    lost += total[1] + rest
    high = s + lost
    return high, lost - (high - s)


@njit(int64(_I8, _I8, int64, int64, float64, int64, _I8), **OPTIONS)
def cut_by_sizes(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    table: NDArray[np.int64], sizes: NDArray[np.int64], lo: int, hi: int, limit: float, by_value: int,
    out: NDArray[np.int64],
) -> int:  # fmt: skip
    """Write where bars of the points [lo, hi) begin, and `hi`, into `out`; return how many bars, or TOO_MANY.

    A bar ends with the point with which its sum of |size|, or of |price size| if `by_value`, reaches `limit`,
    which is above 0; the last one may not. Table and sizes are those of `trades.fold_trades`.
    """
    points = table[TABLE_CHUNK_POINTS]
    i = lo - table[TABLE_FIRST_POINT]
    end = hi - table[TABLE_FIRST_POINT]
    bars = 0
    total = (0.0, 0.0)
    is_open = False
    while i < end:
        chunk = i // points
        stop = min(points, end - chunk * points)
        p = carray(float64_pointer(table[TABLE_ADDRESSES + chunk]), (stop,))
        s = carray(float64_pointer(sizes[chunk]), (stop,))
        for j in range(i - chunk * points, stop):
            if not is_open:
                if bars + 1 >= out.shape[0]:
                    return TOO_MANY
                out[bars] = table[TABLE_FIRST_POINT] + chunk * points + j
                bars += 1
                is_open = True
            x, rest = _product(abs(p[j]), abs(s[j])) if by_value else (abs(s[j]), 0.0)
            total = _plus(total, x, rest)
            if total[0] > limit or (total[0] == limit and total[1] >= 0.0):
                total = (0.0, 0.0)
                is_open = False
        i = chunk * points + stop
    out[bars] = hi
    return bars
