"""The prices that benchmarks use: random walks of cents for most, and others for order statistics; always the same."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

BLOCK_POINTS = 1_000_000


def random_walk(points: int, seed: int = 1) -> NDArray[np.float64]:
    """Return `points` prices around 100 to 1,000 with two decimals, float64."""
    steps = np.random.default_rng(seed).normal(0.0, 0.05, points)
    walk = np.abs(400.0 + np.cumsum(steps)).astype(np.float64)
    return np.round(walk, 2)


def price_blocks() -> Iterator[NDArray[np.float64]]:
    """Yield blocks of BLOCK_POINTS prices without end: one walk, moved a little for each block."""
    walk = random_walk(BLOCK_POINTS)
    drift = np.random.default_rng(2)
    while True:
        yield np.round(walk + drift.uniform(-50.0, 50.0), 2)


def tick_blocks() -> Iterator[NDArray[np.float64]]:
    """Yield blocks of one random walk without end, from 1,000.00: each step is a cent down, none, or a cent up."""
    rng, cents = np.random.default_rng(3), 100_000
    while True:
        walk = cents + np.cumsum(rng.integers(-1, 2, BLOCK_POINTS))
        cents = int(walk[-1])
        yield np.abs(walk) / 100


def reverting_blocks() -> Iterator[NDArray[np.float64]]:
    """Yield blocks of prices of two decimals that are drawn back to 100 without end: x' = 0.999 x + 0.02 e."""
    rng, part, keep, x = np.random.default_rng(4), 1000, 0.999, 0.0
    powers = keep ** np.arange(1, part + 1)
    while True:
        steps = rng.normal(0.0, 0.02, (BLOCK_POINTS // part, part))
        # What each part is from 0; then the parts follow one another, each from where the one before it ended.
        found = powers * np.cumsum(steps / powers, axis=1)
        for k in range(len(found)):
            found[k] += powers * x
            x = found[k, -1]
        yield np.round(100.0 + found.ravel(), 2)


def noise_blocks() -> Iterator[NDArray[np.float64]]:
    """Yield blocks of white noise around 100 without end, not rounded: hardly two values are the same."""
    rng = np.random.default_rng(5)
    while True:
        yield rng.normal(100.0, 1.0, BLOCK_POINTS)


DAY_NS = 86_400 * 10**9
OPEN_NS = 1_767_225_600 * 10**9
"""2026-01-01T00:00:00Z, where the day of `day_blocks` begins."""


def day_blocks(points: int) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]]:
    """Yield prices, times and sizes of a day of `points` ticks, in blocks: one in each of as many parts of it."""
    prices, rng, step = price_blocks(), np.random.default_rng(6), DAY_NS / points
    for begin in range(0, points, BLOCK_POINTS):
        n = min(BLOCK_POINTS, points - begin)
        times = OPEN_NS + ((begin + np.arange(n) + rng.random(n)) * step).astype(np.int64)
        sizes = rng.integers(1, 100, n) * rng.choice([-1.0, 1.0], n)
        yield next(prices)[:n], times, sizes


BLOCKS: Mapping[str, Callable[[], Iterator[NDArray[np.float64]]]] = {
    "series": price_blocks,
    "ticks": tick_blocks,
    "reverting": reverting_blocks,
    "noise": noise_blocks,
}
"""The kinds of prices that a lab keeps."""
