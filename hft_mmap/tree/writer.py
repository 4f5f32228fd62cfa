"""The compiled write path: points and the nodes they complete, by libc's own pwrite; and the whole of a common append.

PERF: an append of ten points through Python's os.pwrite, fcntl.flock and one kernel call for each level costs 2.2 times
as much as the same system calls made from one compiled function. Nothing else is different: `Series` does by itself
what `append_short` leaves to it (rolling, retention, every refusal).

`plan` is an int64 array that says where things are; PLAN_ names its words.
"""

import numpy as np
from numba import carray, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.checksum import CHANGED, checksum
from hft_mmap.tree.kernels import (
    FAN_OUT,
    MAX_LEVELS,
    NODE_BYTES,
    NODE_FIELDS,
    OPTIONS,
    VALID,
    find_invalid,
    find_invalid_signed,
    summarise_nodes,
    summarise_values,
)
from hft_mmap.tree.pointers import float64_pointer, int64_pointer
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

PLAN_CHUNK_FD = 0
PLAN_CHUNK_ADDRESS = 1
PLAN_CHUNK_FIRST = 2
PLAN_CHUNK_POINTS = 3
PLAN_HEAD_FD = 4
PLAN_HEAD_ADDRESS = 5
PLAN_MAX_RETENTION = 6
PLAN_LEVELS = 7
PLAN_SEED = 8
PLAN_CHECKSUM = 9
PLAN_ERA = 10
PLAN_SIGNED = 11
"""Whether prices may be negative: 1, or 0."""
PLAN_LEVEL_OFFSETS = 12
PLAN_WORDS = PLAN_LEVEL_OFFSETS + MAX_LEVELS + 1

NOT_SHORT = -1
"""What `append_short` returns when it changed nothing, and the batch has to go the long way."""

_SLICE_POINTS = 8192
"""PERF: so many points are written, read back and summarised while they are in the nearest cache."""

LOCK_EX = 2
LOCK_NB = 4
LOCK_UN = 8
_EIO = 5

_pwrite = types.ExternalFunction("pwrite", types.intp(types.int32, types.uintp, types.uintp, types.int64))
flock = types.ExternalFunction("flock", types.int32(types.int32, types.int32))
_errno_location = types.ExternalFunction("__errno_location", types.CPointer(types.int32)())

_I8 = types.Array(int64, 1, "C")
_F8 = types.Array(types.float64, 1, "C")
_F8_READONLY = types.Array(types.float64, 1, "C", readonly=True)


@njit(**OPTIONS)
def write_fully(fd: int, address: int, size: int, offset: int) -> int:
    """Write `size` bytes from `address` at `offset`; return 0 or the errno of the write that failed."""
    done = 0
    while done < size:
        written = _pwrite(fd, address + done, size - done, offset + done)
        if written < 0:
            return int(carray(_errno_location(), (1,))[0])
        if written == 0:
            return _EIO
        done += written
    return 0


@njit(**OPTIONS)
def _write_nodes(plan: NDArray[np.int64], begin: int, end: int, nodes: NDArray[np.float64]) -> int:
    """Write `nodes`, those of level 1 that the points [begin, end) complete, and all above; return 0 or an errno."""
    fd = plan[PLAN_CHUNK_FD]
    base = plan[PLAN_CHUNK_ADDRESS]
    error = 0
    level = 1
    width = FAN_OUT
    while error == 0 and level <= plan[PLAN_LEVELS]:
        first = begin // width
        count = end // width - first
        if count == 0:
            break
        if level > 1:
            nodes = np.empty((count, NODE_FIELDS))
            summarise_nodes(base + plan[PLAN_LEVEL_OFFSETS + level - 1], width // FAN_OUT, FAN_OUT, first, nodes)
        place = plan[PLAN_LEVEL_OFFSETS + level] + NODE_BYTES * first
        error = write_fully(fd, nodes.ctypes.data, NODE_BYTES * count, place)
        level += 1
        width *= FAN_OUT
    return error


@njit(**OPTIONS)
def are_sound(plan: NDArray[np.int64], values: NDArray[np.float64]) -> bool:
    """Say whether all of `values` are prices as the plan takes them, and none is -0.0."""
    return find_invalid(values) == VALID or (plan[PLAN_SIGNED] != 0 and find_invalid_signed(values) == VALID)


@njit([int64(_I8, int64, _F8, int64), int64(_I8, int64, _F8_READONLY, int64)], **OPTIONS)
def write_points(plan: NDArray[np.int64], begin: int, values: NDArray[np.float64], is_signed: int) -> int:
    """Write `values` at place `begin` of the chunk, then every node they complete; return 0, an errno or CHANGED.

    is_signed: some of them may be negative.

    All points below `begin` must have been written. Nodes and checksum come from the mapping, which shows what was
    written at once and nobody else can change: where the caller's array changes meanwhile, what was checked is what is
    stored. The checksum of `values` is left in PLAN_CHECKSUM.
    """
    fd = plan[PLAN_CHUNK_FD]
    base = plan[PLAN_CHUNK_ADDRESS]
    end = begin + values.shape[0]
    first = begin // FAN_OUT
    nodes = np.empty((end // FAN_OUT - first, NODE_FIELDS))
    plan[PLAN_CHECKSUM] = 0
    place = begin
    while place < end:
        upto = min((place // _SLICE_POINTS + 1) * _SLICE_POINTS, end)
        error = write_fully(fd, values.ctypes.data + 8 * (place - begin), 8 * (upto - place), 8 * place)
        if error != 0:
            return error
        found, sound = checksum(base + 8 * place, upto - place, plan[PLAN_CHUNK_FIRST] + place, plan[PLAN_SEED])
        if not sound:
            # PERF: what is not negative, as nearly every price, is looked at once.
            stored = carray(float64_pointer(base + 8 * place), (upto - place,))
            if is_signed == 0 or find_invalid_signed(stored) != VALID:
                return CHANGED
        plan[PLAN_CHECKSUM] += found
        done = place // FAN_OUT
        if upto // FAN_OUT > done:
            summarise_values(base, done, nodes[done - first : upto // FAN_OUT - first])
        place = upto
    return _write_nodes(plan, begin, end, nodes)


@njit([int64(_I8, _F8, int64), int64(_I8, _F8_READONLY, int64)], **OPTIONS)
def append_short(plan: NDArray[np.int64], values: NDArray[np.float64], offset: int) -> int:
    """Append `values` if that is plain: sound prices that fit into the chunk and the retention. Return the new total.

    With an `offset` from 0 also only if the series ends there; give a negative one for anywhere.

    Returns NOT_SHORT, with nothing published, in every other case, also where another process holds the lock of the
    head file: it is taken and given back, never waited for. Nor is it plain where the newest publication has no
    checksum, as after an append of an old release, or where points were lost since the chunk was mapped. The caller
    holds the lock of the series against other threads.
    """
    n = values.shape[0]
    if n == 0 or not are_sound(plan, values) or flock(plan[PLAN_HEAD_FD], LOCK_EX | LOCK_NB) != 0:
        return NOT_SHORT
    words = carray(int64_pointer(plan[PLAN_HEAD_ADDRESS]), (HEAD_BYTES // 8,))
    total = words[TOTAL]
    newest = RING + 2 * (words[NEWEST] % RING_PLACES)
    tag = (plan[PLAN_ERA] & TAG_MASK) << TAG_BITS
    begin = total - plan[PLAN_CHUNK_FIRST]
    fits = (offset < 0 or offset == total) and 0 <= begin <= plan[PLAN_CHUNK_POINTS] - n
    result = NOT_SHORT
    if (
        fits
        and words[FLAGS] == 0
        and words[SALT] == plan[PLAN_ERA]
        and words[newest] == tag | total
        and words[EPOCH] & MIXED_KEYS != 0
        and total - words[START] + n <= plan[PLAN_MAX_RETENTION]
        and write_points(plan, begin, values, plan[PLAN_SIGNED]) == 0
    ):
        result = total + n
        following = (words[NEWEST] + 1) % RING_PLACES
        place = RING + 2 * following
        words[place] = tag | result
        words[place + 1] = words[newest + 1] + plan[PLAN_CHECKSUM]
        words[NEWEST] = following
        words[TOTAL] = result
    flock(plan[PLAN_HEAD_FD], LOCK_UN)
    return result
