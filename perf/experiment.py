"""Measurements that pyperf's runner cannot take: several processes at once, whole life spans, sizes, errors.

An experiment yields pyperf benchmarks like those of the suites, so that they print, archive and compare alike.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from perf.catalogue import matches
from perf.lab import Lab
from perf.record import Benchmark


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: so many rounds, and so many seconds for each measurement under load."""

    rounds: int
    seconds: float

    @staticmethod
    def of(*, fast: bool, rigorous: bool) -> "Effort":
        """Return the effort that pyperf's options of these names stand for."""
        return Effort(3, 1.0) if fast else Effort(15, 3.0) if rigorous else Effort(7, 2.0)


@dataclass(frozen=True, slots=True)
class Experiment:
    """One measurement, or several that share what they set up; `prefix` is how the names of all of them begin."""

    prefix: str
    run: Callable[[Lab, Effort], Iterator[Benchmark]]

    def is_asked(self, patterns: Sequence[str]) -> bool:
        """Say whether any of its benchmarks is asked for by these patterns (none: everything is)."""
        return matches(self.prefix, patterns) or any(pattern.startswith(self.prefix) for pattern in patterns)
