"""The prices that all append, and the exact answers to all questions about them."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from perf.peers.peer import Answer, Prices
from perf.prices import price_blocks

BATCH_POINTS = 10_000
VARIANCE_POINTS = 1_000_000
_CENTS = 100
# A float64 between 2**29 and 2**30, where 1e9 lies, is a multiple of 2**-23.
_OFFSET = 10**9
_BITS = 23


def batches(points: int) -> Iterator[Prices]:
    """Yield `points` prices of two decimals in batches of BATCH_POINTS, the same in every run; the last may be less."""
    left = points
    for block in price_blocks():
        for start in range(0, len(block), BATCH_POINTS):
            if left <= 0:
                return
            batch = block[start : min(start + BATCH_POINTS, start + left)]
            left -= len(batch)
            yield batch


def cents(points: int) -> NDArray[np.int32]:
    """Return the first `points` prices in cents; 4 bytes a point."""
    found = np.empty(points, dtype=np.int32)
    filled = 0
    for batch in batches(points):
        found[filled : filled + len(batch)] = np.rint(batch * _CENTS)
        filled += len(batch)
    return found


def exact_answer(all_cents: NDArray[np.int32], window: int) -> Answer:
    """Return the statistics of the newest `window` prices, summed as integers and rounded once; O(window).

    The decimal prices are meant, not the float64 nearest to each; that changes the last digit at most.
    """
    newest = all_cents[-window:]
    total, squares = 0, 0
    for start in range(0, window, 1_000_000):
        part = newest[start : start + 1_000_000].astype(np.int64)
        total += int(part.sum())
        squares += int((part * part).sum())
    avg = Fraction(total, window * _CENTS)
    var = Fraction(window * squares - total * total, (window * _CENTS) ** 2)
    return Answer(
        int(newest.min()) / _CENTS, int(newest.max()) / _CENTS, int(newest[-1]) / _CENTS, float(avg), float(var)
    )


def near_a_billion(points: int = VARIANCE_POINTS) -> Prices:
    """Return values spread evenly at random over 1e9 - 1 to 1e9 + 1."""
    return np.random.default_rng(3).uniform(_OFFSET - 1.0, _OFFSET + 1.0, points)


def exact_variance(values: Prices) -> Fraction:
    """Return the exact population variance of values near 1e9."""
    scaled = ((values - _OFFSET) * 2**_BITS).astype(np.int64)  # both steps are exact
    count, total = len(values), int(scaled.sum())
    squares = sum(int((part * part).sum()) for part in np.array_split(scaled, count // 10_000 + 1))
    return Fraction(count * squares - total * total, count * count * 4**_BITS)
