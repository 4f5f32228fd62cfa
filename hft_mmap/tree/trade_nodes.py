"""Summaries of what was traded, and when, below a node: the group `trades` of a chunk (see `tree.groups`).

A node has five float64: the sum of absolute sizes, that of sizes, the mean of the prices weighted by absolute size, the
sum of each price times the nanoseconds it held, and the longest of these times. A price holds until the next point
comes, and that time belongs to the point at which it ends, as a return does: the first point of a chunk has none in its
nodes. What is made of a column that the series does not have is 0, and so is the mean where nothing was traded.

The mean is a price, so that it neither overflows nor underflows, whatever the sizes; above the least price of the node
all that is added up for it is positive. The sum of prices times nanoseconds is at most 2^529, and at least the price
itself. Sums are added as `tree.groups` says, so the same points give the same bits.
"""

import math
from typing import Any

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.groups import halved
from hft_mmap.tree.kernels import FAN_OUT, NODE_FIELDS, OPTIONS
from hft_mmap.tree.pointers import float64_pointer, int64_pointer

TRADE_FIELDS = 5
VOLUME, SIGNED, PRICE, HELD, GAP = range(TRADE_FIELDS)

FEW = 2.0**-400
"""Below this sum of products some of them may have left the normal float64 numbers: sizes are scaled up first then."""
_TWO_TO_64 = 2.0**64

SUMS: dict[str, Any] = {**OPTIONS, "fastmath": {"reassoc"}}
"""Sums of what lies in memory, in any order: nothing that has to cancel may be compiled with it."""

_I8 = types.Array(int64, 1, "C")
_F8 = types.Array(float64, 1, "C")
_NODES = types.Array(float64, 2, "C")


@njit(**OPTIONS)
def scale_of(volume: float) -> float:
    """Return the power of two whose square makes a volume, which is not 0, about 2^500."""
    return math.ldexp(1.0, (500 - math.frexp(volume)[1]) // 2)


@njit(**OPTIONS)
def between(before: int, after: int) -> float:
    """Return the nanoseconds from one time to a later one, which may be more than an int64 holds."""
    d = after - before
    return float(d) if d >= 0 else float(d) + _TWO_TO_64


@njit(**OPTIONS)
def _mean(w: NDArray[np.float64], above: NDArray[np.float64], bounds: tuple[float, float], volume: float) -> float:
    """Return the mean of prices `above` the least, weighted by `w`, as a price within `bounds`; `w` is changed."""
    x = np.empty(FAN_OUT)
    for i in range(FAN_OUT):
        x[i] = above[i] * w[i]
    total = halved(x)
    if total < FEW:
        scale = scale_of(volume)
        for i in range(FAN_OUT):
            w[i] = w[i] * scale * scale  # one after the other: the square of it may be too great
            x[i] = above[i] * w[i]
        total, volume = halved(x), halved(w)
    return min(bounds[0] + total / volume, bounds[1])


@njit(**OPTIONS)
def _store_sizes(
    w: NDArray[np.float64],
    signed: NDArray[np.float64],
    above: NDArray[np.float64],
    bounds: tuple[float, float],
    out: NDArray[np.float64],
) -> None:
    """Write VOLUME, SIGNED and PRICE of FAN_OUT weights and what lies beside them; all of them are changed."""
    x = np.empty(FAN_OUT)
    for i in range(FAN_OUT):
        x[i] = w[i]
    out[VOLUME], out[SIGNED] = halved(x), halved(signed)
    out[PRICE] = _mean(w, above, bounds, out[VOLUME]) if out[VOLUME] > 0.0 else 0.0


@njit(**OPTIONS)
def _sizes_of_values(
    p: NDArray[np.float64], s: NDArray[np.float64], own: NDArray[np.float64], first: int, out: NDArray[np.float64]
) -> None:  # fmt: skip
    w, signed, above = np.empty(FAN_OUT), np.empty(FAN_OUT), np.empty(FAN_OUT)
    for j in range(out.shape[0]):
        base, at = (first + j) * FAN_OUT, (first + j) * NODE_FIELDS
        for i in range(FAN_OUT):
            signed[i] = s[base + i]
            w[i] = abs(s[base + i])
            above[i] = p[base + i] - own[at]
        _store_sizes(w, signed, above, (own[at], own[at + 1]), out[j])


@njit(**OPTIONS)
def _times_of_values(p: NDArray[np.float64], t: NDArray[np.int64], first: int, out: NDArray[np.float64]) -> None:
    held = np.empty(FAN_OUT)
    for j in range(out.shape[0]):
        base = (first + j) * FAN_OUT
        longest = held[0] = 0.0
        for i in range(0 if base else 1, FAN_OUT):
            wait = between(t[base + i - 1], t[base + i])
            held[i] = p[base + i - 1] * wait
            longest = max(longest, wait)
        out[j, HELD], out[j, GAP] = halved(held), longest


@njit(**OPTIONS)
def _merge_nodes(g: NDArray[np.float64], k: int, bounds: tuple[float, float], out: NDArray[np.float64]) -> None:
    """Write the node of the first `k` nodes in `g`, at most FAN_OUT; `bounds` are the least and greatest price."""
    rows = np.zeros((4, FAN_OUT))
    w, signed, above, held = rows[0], rows[1], rows[2], rows[3]
    longest = 0.0
    for i in range(k):
        at = TRADE_FIELDS * i
        w[i], signed[i], held[i] = g[at + VOLUME], g[at + SIGNED], g[at + HELD]
        above[i] = g[at + PRICE] - bounds[0] if w[i] > 0.0 else 0.0
        longest = max(longest, g[at + GAP])
    _store_sizes(w, signed, above, bounds, out)
    out[HELD], out[GAP] = halved(held), longest


@njit(types.void(int64, _I8, int64, int64, int64, int64, int64, _NODES), **OPTIONS)
def summarise_trades(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    chunk_address: int,
    offsets: NDArray[np.int64],
    times_address: int,
    sizes_address: int,
    children_address: int,
    level: int,
    first: int,
    out: NDArray[np.float64],
) -> None:
    """Write the nodes `first` ... of `level` of the group into `out`, shape (n, TRADE_FIELDS), as `summarise_group`.

    times_address, sizes_address: where the columns of the chunk lie, 0 where there is none.
    """
    end = first + out.shape[0]
    own = carray(float64_pointer(chunk_address + offsets[level]), (end * NODE_FIELDS,))
    if level == 1:
        out[:] = 0.0
        p = carray(float64_pointer(chunk_address), (end * FAN_OUT,))
        if sizes_address:
            _sizes_of_values(p, carray(float64_pointer(sizes_address), (end * FAN_OUT,)), own, first, out)
        if times_address:
            _times_of_values(p, carray(int64_pointer(times_address), (end * FAN_OUT,)), first, out)
        return
    children = carray(float64_pointer(children_address), (end * FAN_OUT * TRADE_FIELDS,))
    for j in range(out.shape[0]):
        at = (first + j) * NODE_FIELDS
        _merge_nodes(children[TRADE_FIELDS * (first + j) * FAN_OUT :], FAN_OUT, (own[at], own[at + 1]), out[j])


@njit(types.void(int64, int64, _F8, _F8), **OPTIONS)
def summarise_chunk_of_trades(
    nodes_address: int, k: int, root: NDArray[np.float64], out: NDArray[np.float64]
) -> None:  # fmt: skip
    """Write what the `k` nodes of the highest level, at most FAN_OUT, have of all of a chunk; `root` is its own."""
    nodes = carray(float64_pointer(nodes_address), (TRADE_FIELDS * k,))
    _merge_nodes(nodes, k, (root[0], root[1]), out)


# -- runs of nodes, in a question -------------------------------------------------------------------------------------


@njit(**SUMS)
def sizes_run(g: NDArray[np.float64], k: int, step: int, low: float) -> tuple[float, float, float]:
    """Sum |size|, size, and (price - low) |size| of `k` nodes, each `step` behind the one before."""
    volume = signed = above = 0.0
    for i in range(0, step * k, step):
        volume += g[i + VOLUME]
        signed += g[i + SIGNED]
        above += (g[i + PRICE] - low) * g[i + VOLUME]
    return volume, signed, above


@njit(**OPTIONS)
def scaled_sizes_run(
    g: NDArray[np.float64], k: int, step: int, low: float, scale: float
) -> tuple[float, float, float]:  # fmt: skip
    """Sum as `sizes_run`, of sizes times the square of `scale`: one number may not hold what they need."""
    volume = signed = above = 0.0
    for i in range(0, step * k, step):
        weight = g[i + VOLUME] * scale * scale
        volume += weight
        signed += g[i + SIGNED]
        above += (g[i + PRICE] - low) * weight
    return volume, signed, above


@njit(**SUMS)
def times_run(g: NDArray[np.float64], k: int, step: int) -> tuple[float, float]:
    """Sum price times nanoseconds of `k` nodes, and return the longest time that any price held."""
    held = longest = 0.0
    for i in range(0, step * k, step):
        held += g[i + HELD]
        longest = max(longest, g[i + GAP])
    return held, longest
