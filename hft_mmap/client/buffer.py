"""The points that a producer has not sent yet."""

from time import monotonic

import numpy as np
from numpy.typing import NDArray

from hft_mmap.batch import Prices, as_row, check_prices


class Buffer:
    """Points in the order in which they came, and when the oldest of them did; it grows if it must."""

    def __init__(self, max_points: int, max_age_s: float) -> None:
        """Make room for a batch of `max_points`. ValueError unless both are above 0."""
        if max_points < 1 or max_age_s <= 0:
            message = f"max_points must be from 1 and max_age_s above 0, not {max_points} and {max_age_s}"
            raise ValueError(message)
        self._room = np.empty(max_points)
        self._filled = 0
        self._batch = 0
        self._max_points = max_points
        self._max_age_s = max_age_s
        self._oldest = 0.0

    def __len__(self) -> int:
        """Return how many points wait."""
        return self._filled

    @property
    def has_batch(self) -> bool:
        """Say whether as many points wait as a batch may have."""
        return self._filled >= self._max_points

    def put(self, values: NDArray[np.float64]) -> None:
        """Take points."""
        if not self._filled:
            self._oldest = monotonic()
        needed = self._filled + values.size
        if needed > self._room.size:
            self._room = np.concatenate([self._room[: self._filled], np.empty(2 * needed - self._filled)])
        self._room[self._filled : needed] = values
        self._filled = needed

    def batch(self) -> NDArray[np.float64]:
        """Return the next batch, always the same one until `sent` is called.

        It may have been stored though no answer came. With one point more or less it would overlap itself.
        """
        self._batch = self._batch or min(self._filled, self._max_points)
        return self._room[: self._batch]

    def sent(self) -> None:
        """Forget the points that `batch` gave."""
        left = self._filled - self._batch
        self._room[:left] = self._room[self._batch : self._filled].copy()
        self._filled, self._batch = left, 0
        self._oldest = monotonic()

    def due_in_s(self) -> float | None:
        """Return how long the oldest point may still wait; None if there is no point."""
        return max(self._oldest + self._max_age_s - monotonic(), 0.0) if self._filled else None


def checked(values: Prices) -> NDArray[np.float64]:
    """Return `values` as float64 once each of them is known to be a price; InvalidValues otherwise.

    A wrong price is refused where it is given: in a batch it would take its neighbours down with it, much later.
    """
    row = as_row(values)
    return check_prices(row) if row.size else row
