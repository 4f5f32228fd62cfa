"""The prices that benchmarks use: random walks of cents, the same in every run."""

from collections.abc import Iterator

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
