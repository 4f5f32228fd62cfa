"""Roots of groups: one node for each full chunk, in memory, so that a window takes its whole chunks in one run.

`known` is one row of float64 for all chunks of a view: four numbers of moments for each, as their nodes have them, then
four of returns (those of their nodes, first and last price), then two of extremes, then seven of trades: those of
their nodes, and of the time from the chunk before, how long it was and that times the price that held.
"""

import numpy as np
from numba import carray, float64, int64, njit, types
from numpy.typing import NDArray

from hft_mmap.tree.fold import TABLE_CHUNK_POINTS, TABLE_CHUNKS
from hft_mmap.tree.groups import (
    EXTREMES,
    GROUP_ROWS,
    RETURNS,
    extremes_merged,
    log_square,
    moments_run,
    power_above,
    returns_run,
)
from hft_mmap.tree.kernels import FAN_OUT, FAN_OUT_BITS, NODE_FIELDS, OPTIONS
from hft_mmap.tree.pointers import float64_pointer, int64_pointer

TRADE_ROOT = 7
OF_BORDER = 5
"""Where, in a root of trades, that of the time from the chunk before stands: price times nanoseconds, nanoseconds."""
_OF_OTHERS = 10
ROOT_FIELDS = _OF_OTHERS + TRADE_ROOT

# What compiled code takes by one address: where the places of the groups lie, and their roots, and of how many chunks.
STORED_PLACES, STORED_ROOTS, STORED_CHUNKS, STORED_WORDS = range(4)

_I8 = types.Array(int64, 1, "C")
_F8 = types.Array(float64, 1, "C")


@njit(types.void(int64, int64, _I8, int64, int64, _F8, _F8), **OPTIONS)
def summarise_chunk(  # noqa: PLR0913, PLR0917 - compiled code takes them one by one
    group: int,
    chunk_address: int,
    offsets: NDArray[np.int64],
    nodes_address: int,
    k: int,
    root: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the root of a group of a full chunk into `out`: 4 numbers of RETURNS and MOMENTS, 2 of EXTREMES.

    nodes_address: where the `k` nodes of its highest level lie, at most FAN_OUT. root: that of the chunk.
    """
    top = offsets.shape[0] - 1
    n = carray(float64_pointer(chunk_address + offsets[top]), (k * NODE_FIELDS,))
    g = carray(float64_pointer(nodes_address), (k * out.shape[0] if group != RETURNS else 2 * k,))
    if group == RETURNS:
        v = carray(float64_pointer(chunk_address), (offsets[1] // 8,))
        out[0], out[1] = returns_run(g, k)
        out[2], out[3] = v[0], v[v.shape[0] - 1]
    elif group == EXTREMES:
        out[0], out[1] = extremes_merged(n, g, k)
    else:
        power = power_above(root[1] - root[0])
        scratch = np.empty((6, FAN_OUT))
        found = moments_run(n, g, k, 1 << (FAN_OUT_BITS * top), root[0] + root[2], 1.0 / power, scratch)
        out[0], out[1], out[2], out[3] = found[1] * power, found[3], found[4], found[5]


@njit(**OPTIONS)
def stored_at(address: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return where the groups of chunks are, and their roots, as the STORED_ words at this address say."""
    words = carray(int64_pointer(address), (STORED_WORDS,))
    chunks = words[STORED_CHUNKS]
    stored = carray(int64_pointer(words[STORED_PLACES]), (GROUP_ROWS, chunks))
    return stored, carray(float64_pointer(words[STORED_ROOTS]), (ROOT_FIELDS * chunks,))


@njit(**OPTIONS)
def place_of_trades(chunks: int, chunk: int) -> int:
    """Return where the root of the trades of a chunk begins, of so many `chunks`."""
    return _OF_OTHERS * chunks + TRADE_ROOT * chunk


@njit(**OPTIONS)
def whole_chunks(table: NDArray[np.int64], stored: NDArray[np.int64], row: int, i: int, end: int) -> int:
    """Return how many whole chunks follow each other from place `i` on, up to `end`, whose group has a root."""
    points = table[TABLE_CHUNK_POINTS]
    if i % points:
        return 0
    first = i // points
    last = min(end // points, table[TABLE_CHUNKS] - 1, stored.shape[1])
    chunk = first
    while chunk < last and stored[row + 2, chunk]:
        chunk += 1
    return max(chunk - first, 0)


@njit(**OPTIONS)
def returns_of_chunks(
    known: NDArray[np.float64], chunks: int, first: int, n: int
) -> tuple[float, float, float, float]:  # fmt: skip
    """Return the returns of `n` whole chunks, those between them included, and their first and last price."""
    at = 4 * (chunks + first)
    squares, path = known[at], known[at + 1]
    for k in range(at + 4, at + 4 * n, 4):
        squares += known[k] + log_square(known[k - 1], known[k + 2])
        path += known[k + 1] + abs(known[k + 2] - known[k - 1])
    return squares, path, known[at + 2], known[at + 4 * n - 1]
