"""Statistics of a window by reading all of it, with numpy; O(window)."""

import numpy as np
from numpy.typing import NDArray

from hft_mmap import WindowStats


def rescan(values: NDArray[np.float64], window: int) -> WindowStats:
    """Return the statistics of the newest `window` of `values`."""
    newest = values[-window:]
    return WindowStats(
        float(newest.min()),
        float(newest.max()),
        float(newest[-1]),
        float(newest.mean()),
        float(newest.var()),
        len(newest),
    )
