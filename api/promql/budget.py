"""What one query may take: values that are held, and points that are read one by one."""

from collections.abc import Callable

from api.promql.refusals import NoAnswer

MOST_VALUES = 1_000_000
"""Series times steps, of all selectors of a query together."""
MOST_POINTS = 50_000_000
"""Points that are read one by one, of all windows of a query together; a second of a processor at most, or two."""
POINTS_A_WINDOW = 1_000
"""What a window counts for beside its points."""
_BYTES_A_VALUE = 64  # with its text in the answer


class Budget:
    """Counts what a query takes. `hold` is told of memory before it is used, and may refuse it."""

    def __init__(self, hold: Callable[[int], object]) -> None:
        self._hold = hold
        self._held: list[object] = []
        self._values = 0
        self._points = 0

    def hold(self, series: int, steps: int) -> None:
        """Make room for the values of `series` at `steps`. Raises NoAnswer beyond MOST_VALUES, and what `hold` does."""
        self._values += series * steps
        if self._values > MOST_VALUES:
            raise NoAnswer(
                f"the query has {self._values:,} values, series times steps, and at most {MOST_VALUES:,} are answered: "
                "give a longer step, a shorter time, or fewer symbols"
            )
        self._held.append(self._hold(_BYTES_A_VALUE * series * steps))

    def read(self, what: str, points: int, windows: int = 0) -> None:
        """Take the points of windows for `what`, which reads each of them. Raises NoAnswer beyond MOST_POINTS."""
        self._points += points + POINTS_A_WINDOW * windows
        if self._points > MOST_POINTS:
            raise NoAnswer(
                f"{what} reads every point of its windows, {self._points:,} together with {POINTS_A_WINDOW:,} for each "
                f"window, and one query reads at most {MOST_POINTS:,}: give a shorter range, a longer step, or fewer "
                "symbols"
            )
