"""Where the points that a series has end in files that have grown since: by its newest points.

What is stored is found again by what it is: a run of the newest points, with their times and sizes, in the rows of the
files. Found once, it says which values are new; found nowhere, or in several places, it says nothing, and nothing
is appended.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hft_mmap.ticks import Ticks, clamped
from hft_mmap.transfer.errors import ImportConflict

TAIL_POINTS = 256
"""Newest points that are looked for: more would not make it more certain, and cost time."""
_MIN_POINTS = 8
_MIN_CHANGES = 4
"""A run of points is told from another one by its changes: a price that stands still says nothing."""
_MUCH_LONGER = 4
"""A run of points counts if no other that fits is longer than a fourth of it: prices repeat, but not for so long."""


def _records(rows: Ticks) -> NDArray[Any]:
    """Return points with all that they have as an array of records, which are compared as a whole."""
    columns = (rows.prices + 0.0, *rows.columns)
    found = np.empty(len(rows.prices), dtype=[(f"c{place}", column.dtype) for place, column in enumerate(columns)])
    for place, column in enumerate(columns):
        found[f"c{place}"] = column
    return found


class Overlap:
    """The search for the newest points of one series, through all rows that the files have for it, in order."""

    def __init__(self, symbol: str, tail: Ticks) -> None:
        """Look for `tail`, the newest points."""
        self._symbol = symbol
        self._tail = _records(tail)
        self._head = self._tail[:0]
        self._rest = self._tail[:0]
        self._time: int | None = None
        self._seen = 0
        self._ends: list[int] = []

    def feed(self, rows: Ticks) -> None:
        """Take the next rows of the files, which have the columns of the series."""
        rows, _, _ = clamped(rows, self._time)  # as they are stored
        if rows.times is not None and len(rows.times):
            self._time = int(rows.times[-1])
        tail, values = self._tail, _records(rows)
        if len(self._head) < len(tail):
            self._head = np.concatenate([self._head, values[: len(tail) - len(self._head)]])
        joined = np.concatenate([self._rest, values])
        before = self._seen - len(self._rest)
        places = np.flatnonzero(joined[len(tail) - 1 :] == tail[-1]) + len(tail) - 1
        for back in range(2, len(tail) + 1):
            if not len(places):
                break
            places = places[joined[places - back + 1] == tail[-back]]
        # Two are as good as thousands: both say that nobody knows.
        self._ends = [*self._ends, *(before + 1 + places[:2]).tolist()][:2]
        self._seen += len(values)
        self._rest = joined[len(joined) - min(len(joined), len(tail) - 1) :].copy()

    def new_from(self) -> int:
        """Return how many values of the files the series has already; ImportConflict where that is not certain."""
        tail, head = self._tail, self._head
        partial = [
            length
            for length in range(min(len(tail) - 1, len(head)), 0, -1)
            if np.array_equal(head[:length], tail[-length:])
        ]
        lengths = [len(tail)] * len(self._ends) + partial
        points = f"the {len(tail)} newest points of {self._symbol}"
        if not lengths:
            raise ImportConflict(
                f"{points} are nowhere in the files: they are of something else, or begin behind a gap; nothing was "
                f"appended. Without --append-new all of them is appended"
            )
        longest, second = lengths[0], lengths[1] if len(lengths) > 1 else 0
        changes = int(np.count_nonzero(tail[-longest:][1:] != tail[-longest:][:-1]))
        if longest < _MIN_POINTS or changes < _MIN_CHANGES or second * _MUCH_LONGER > longest:
            raise ImportConflict(
                f"{points} do not say for certain where they end in the files: {len(lengths)} places fit, the best "
                f"with {longest} equal points; nothing was appended. Give --append-new files that reach further back"
            )
        return self._ends[0] if self._ends else longest
