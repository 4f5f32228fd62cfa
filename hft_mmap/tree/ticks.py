"""The compiled write path of points with columns: times and sizes beside prices, and the whole of a common append.

`files` is an int64 array of a row for each kind of column, in the order of their numbers, that says where it is; FILE_
names its words. A row whose address is 0 is of a column that the series does not have.

PERF: times and sizes are copied by slices that stay in the nearest cache, where they are checked, clamped and summed up
on the way; so nobody who changes the caller's arrays meanwhile can change what is stored.
"""

import numpy as np
from numba import boolean, carray, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.checksum import checksum
from hft_mmap.tree.kernels import MAX_BITS, OPTIONS, SIGN, VALID
from hft_mmap.tree.pointers import int64_pointer
from hft_mmap.tree.words import (
    EPOCH,
    FLAGS,
    HEAD_BYTES,
    MIXED_KEYS,
    NEWEST,
    RING,
    RING_PLACES,
    SALT,
    START,
    TAG_BITS,
    TAG_MASK,
    TOTAL,
)
from hft_mmap.tree.writer import (
    LOCK_EX,
    LOCK_NB,
    LOCK_UN,
    NOT_SHORT,
    PLAN_CHECKSUM,
    PLAN_CHUNK_FIRST,
    PLAN_CHUNK_POINTS,
    PLAN_ERA,
    PLAN_HEAD_ADDRESS,
    PLAN_HEAD_FD,
    PLAN_MAX_RETENTION,
    PLAN_SIGNED,
    are_sound,
    flock,
    write_fully,
    write_points,
)

FILE_FD = 0
FILE_ADDRESS = 1
FILE_SEED = 2
FILE_WORDS = 3

TIME_ROW = 0
SIZE_ROW = 1
FILE_ROWS = 2

UNKNOWN_TIME = -(2**63)
"""Before every time: what stands for the time of the point before, where there is none."""
MOST_LATE = 2**63 - 1

_SLICE_POINTS = 8192
_UNSOUND = -2

_I8 = types.Array(int64, 1, "C")
_I8_READONLY = types.Array(int64, 1, "C", readonly=True)
_FILES = types.Array(int64, 2, "C")
_F8 = types.Array(types.float64, 1, "C")
_F8_READONLY = types.Array(types.float64, 1, "C", readonly=True)


@njit([types.Tuple((int64, int64))(_I8, int64, int64, raw) for raw in (_I8, _I8_READONLY)], **OPTIONS)
def write_column(file: NDArray[np.int64], first: int, begin: int, raw: NDArray[np.int64]) -> tuple[int, int]:
    """Write the bits `raw` at place `begin` of a column; return 0 or an errno, and their checksum."""
    n = raw.shape[0]
    error = write_fully(file[FILE_FD], raw.ctypes.data, 8 * n, 8 * begin)
    return error, checksum(raw.ctypes.data, n, first + begin, file[FILE_SEED])[0]


@njit([boolean(_I8), boolean(_I8_READONLY)], **OPTIONS)
def has_unknown(times: NDArray[np.int64]) -> bool:
    """Return whether UNKNOWN_TIME is among `times`."""
    least = MOST_LATE
    for i in range(times.shape[0]):
        least = min(least, times[i])
    return least == UNKNOWN_TIME


@njit([types.Tuple((int64, int64))(kind, int64, _I8) for kind in (_I8, _I8_READONLY)], **OPTIONS)
def clamp_times(times: NDArray[np.int64], before: int, out: NDArray[np.int64]) -> tuple[int, int]:
    """Write into `out` each of `times`, or the greatest time before it if that is greater; `before` is what came first.

    Returns how many were late, and by how much the latest of them was, at most MOST_LATE.
    """
    late = 0
    most = np.uint64(0)
    top = before
    for i in range(times.shape[0]):
        t = times[i]
        if t < top:
            late += 1
            most = max(most, np.uint64(top) - np.uint64(t))
            t = top
        top = t
        out[i] = t
    return late, np.int64(min(most, np.uint64(MOST_LATE)))  # type: ignore[return-value] # numba makes it an int


@njit([int64(_F8, _F8), int64(_F8_READONLY, _F8)], **OPTIONS)
def check_sizes(sizes: NDArray[np.float64], out: NDArray[np.float64]) -> int:
    """Copy `sizes` into `out`, -0.0 as 0.0; return VALID, or the place of one that is no size."""
    top = np.uint64(0)
    for i in range(sizes.shape[0]):
        x = sizes[i] + 0.0
        out[i] = x
    bits = out.view(np.uint64)
    for i in range(sizes.shape[0]):
        top = max(top, bits[i] & ~SIGN)
    if top <= MAX_BITS:
        return VALID
    for i in range(sizes.shape[0]):
        if bits[i] & ~SIGN > MAX_BITS:
            return i
    return VALID


@njit(**OPTIONS)
def _write_times(
    file: NDArray[np.int64], first: int, begin: int, times: NDArray[np.int64]
) -> tuple[int, int, int, int]:  # fmt: skip
    """Write `times`, clamped, at place `begin`, which is not 0.

    Return 0, an errno or _UNSOUND, their checksum, how many were late, and the largest lateness.
    """
    n = times.shape[0]
    buffer = np.empty(min(n, _SLICE_POINTS), dtype=np.int64)
    before = carray(int64_pointer(file[FILE_ADDRESS]), (begin,))[begin - 1]
    found = done = late = latest = 0
    while done < n:
        m = min(n - done, _SLICE_POINTS)
        more, most = clamp_times(times[done : done + m], before, buffer[:m])
        if more != 0 and has_unknown(times[done : done + m]):  # which is before every other
            return _UNSOUND, 0, 0, 0
        late += more
        latest = max(latest, most)
        before = buffer[m - 1]
        error, part = write_column(file, first, begin + done, buffer[:m])
        if error != 0:
            return error, 0, 0, 0
        found += part
        done += m
    return 0, found, late, latest


@njit(**OPTIONS)
def _write_sizes(file: NDArray[np.int64], first: int, begin: int, sizes: NDArray[np.float64]) -> tuple[int, int]:
    """Write `sizes` at place `begin`; return 0, an errno or _UNSOUND, and their checksum."""
    n = sizes.shape[0]
    buffer = np.empty(min(n, _SLICE_POINTS))
    found = 0
    done = 0
    while done < n:
        m = min(n - done, _SLICE_POINTS)
        if check_sizes(sizes[done : done + m], buffer[:m]) != VALID:
            return _UNSOUND, 0
        error, part = write_column(file, first, begin + done, buffer[:m].view(np.int64))
        if error != 0:
            return error, 0
        found += part
        done += m
    return 0, found


@njit(
    [
        types.UniTuple(int64, 3)(_I8, _FILES, prices, times, sizes, int64, int64)
        for prices, times, sizes in ((_F8, _I8, _F8), (_F8_READONLY, _I8_READONLY, _F8_READONLY))
    ],
    **OPTIONS,
)
def append_ticks(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    plan: NDArray[np.int64], files: NDArray[np.int64], values: NDArray[np.float64], times: NDArray[np.int64],
    sizes: NDArray[np.float64], offset: int, is_refusing: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Append points with their columns if that is plain, as `append_short` does those without.

    times, sizes: empty for no such column. is_refusing: late points are not plain. Returns the new total, how many were
    late and the largest lateness; NOT_SHORT and 0 where it changed nothing.

    Nor is a batch plain that has other columns than the series, or before which no point is kept in the newest chunk:
    the time before it lies elsewhere.
    """
    n = values.shape[0]
    has_times, has_sizes = files[TIME_ROW, FILE_ADDRESS] != 0, files[SIZE_ROW, FILE_ADDRESS] != 0
    other = times.shape[0] != (n if has_times else 0) or sizes.shape[0] != (n if has_sizes else 0)
    if n == 0 or other or not are_sound(plan, values) or flock(plan[PLAN_HEAD_FD], LOCK_EX | LOCK_NB) != 0:
        return NOT_SHORT, 0, 0
    words = carray(int64_pointer(plan[PLAN_HEAD_ADDRESS]), (HEAD_BYTES // 8,))
    total = words[TOTAL]
    newest = RING + 2 * (words[NEWEST] % RING_PLACES)
    tag = (plan[PLAN_ERA] & TAG_MASK) << TAG_BITS
    first = plan[PLAN_CHUNK_FIRST]
    begin = total - first
    result = NOT_SHORT
    late = latest = 0
    if (
        (offset < 0 or offset == total)
        and 0 < begin <= plan[PLAN_CHUNK_POINTS] - n
        and words[START] < total
        and words[FLAGS] == 0
        and words[SALT] == plan[PLAN_ERA]
        and words[newest] == tag | total
        and words[EPOCH] & MIXED_KEYS != 0
        and total - words[START] + n <= plan[PLAN_MAX_RETENTION]
    ):
        error = of_times = of_sizes = 0
        if has_times:
            error, of_times, late, latest = _write_times(files[TIME_ROW], first, begin, times)
        if error == 0 and has_sizes:
            error, of_sizes = _write_sizes(files[SIZE_ROW], first, begin, sizes)
        if error == 0 and (late == 0 or is_refusing == 0) and write_points(plan, begin, values, plan[PLAN_SIGNED]) == 0:
            result = total + n
            following = (words[NEWEST] + 1) % RING_PLACES
            place = RING + 2 * following
            words[place] = tag | result
            words[place + 1] = words[newest + 1] + plan[PLAN_CHECKSUM] + of_times + of_sizes
            words[NEWEST] = following
            words[TOTAL] = result
    flock(plan[PLAN_HEAD_FD], LOCK_UN)
    return (result, late, latest) if result != NOT_SHORT else (NOT_SHORT, 0, 0)


@njit(int64(int64, int64), **OPTIONS)
def first_fall(address: int, n: int) -> int:
    """Return the first of the `n` times at `address` that is less than the one before it, or VALID."""
    v = carray(int64_pointer(address), (n,))
    for i in range(1, n):
        if v[i] < v[i - 1]:
            return i
    return VALID
