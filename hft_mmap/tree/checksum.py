"""The running checksum of a series: what shows that bytes are those that were appended, and were written at all.

The checksum of a run of points is a sum over them, modulo 2^64, of the product of both halves of the value's bits,
after these were mixed with a key of the series and the point's index (the multiply-and-add of NH: Black, Halevi,
Krawczyk, Krovetz, Rogaway 1999, "UMAC"). So checksums of runs that follow each other add up, an append needs only what
it appends, and a page of zeros that was never written gives another sum than the values that should be there, zeros
among them: what a node of zeros can't tell.

PERF: it takes 0.5 ns a point where the values are in the cache, the look at whether they are prices included.
"""

import numpy as np
from numba import carray, int64, njit, types

from hft_mmap.tree.kernels import MAX_BITS, OPTIONS
from hft_mmap.tree.pointers import int64_pointer

CHANGED = -1
"""What stands for an errno where the points that were written are no prices: somebody changed them meanwhile."""

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ZERO = np.uint64(0)


@njit(types.Tuple((int64, types.boolean))(int64, int64, int64, int64), **OPTIONS)
def checksum(address: int, n: int, index: int, seed: int) -> tuple[int, bool]:
    """Return the checksum of the `n` numbers at `address`, the first of which has `index`; and whether all are prices.

    A price has the bits of a float64 from 0.0 to MAX_PRICE here, so -0.0 is none, nor is what is negative: where that
    may be, it is looked at once more. The keys are mixed by two steps of SplitMix64 (Steele, Lea, Flood 2014); see
    `former_checksum` for why.
    """
    v = carray(int64_pointer(address), (n,))
    key = np.uint64(seed) + np.uint64(index + 1) * _STEP
    total = top = _ZERO
    for i in range(n):
        bits = np.uint64(v[i])
        top = max(top, bits)
        mixed = (key ^ (key >> _HALF)) * _MIX
        x = bits ^ mixed ^ (mixed >> _HALF)
        key += _STEP
        total += (x & _LOW) * (x >> _HALF)
    return np.int64(total), top <= MAX_BITS  # type: ignore[return-value] # numba makes them what they should be


@njit(int64(int64, int64, int64, int64), **OPTIONS)
def former_checksum(address: int, n: int, index: int, seed: int) -> int:
    """Return the checksum that earlier releases took of prices: with keys that are not mixed.

    Such keys go up in even steps, and cancel where the same bit is another one in all of a page: 64 prices of 2.0, of
    which one bit is set, gave the sum of a page that was never written for one series in eleven.
    """
    v = carray(int64_pointer(address), (n,))
    key = np.uint64(seed) + np.uint64(index + 1) * _STEP
    total = _ZERO
    for i in range(n):
        x = np.uint64(v[i]) ^ key
        key += _STEP
        total += (x & _LOW) * (x >> _HALF)
    return np.int64(total)  # type: ignore[return-value] # numba makes it an int
