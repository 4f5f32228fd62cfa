"""How far a run of benchmarks is, and how long it will take: from what each took the last time, or from an estimate."""

from collections.abc import Mapping
from time import monotonic

_SURE_AFTER_S = 60.0
_LEAST_PACE, _MOST_PACE = 0.5, 3.0


class Progress:
    """Tasks in the order they are run in, with the seconds that each is expected to take."""

    def __init__(self, expected_s: Mapping[str, float]) -> None:
        self._left = dict(expected_s)
        self._count = len(expected_s)
        self._done_expected_s = 0.0
        self._done_s = 0.0
        self._begin = 0.0

    def left_s(self) -> float:
        """Return the seconds that the rest will take, at the pace of what is done once that says something."""
        pace = self._done_s / self._done_expected_s if self._done_expected_s > _SURE_AFTER_S else 1.0
        return sum(self._left.values()) * max(_LEAST_PACE, min(pace, _MOST_PACE))

    def begin(self, task: str) -> str:
        """Note that a task begins; return the line that says so."""
        self._begin = monotonic()
        number = self._count - len(self._left) + 1
        return f"[{number}/{self._count}] {clock(self._done_s)} gone, about {clock(self.left_s())} left: {task}"

    def end(self, task: str) -> float:
        """Note that a task has ended; return the seconds it took."""
        spent = monotonic() - self._begin
        self._done_s += spent
        self._done_expected_s += self._left.pop(task)
        return spent


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds: "3:07"."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"
