"""Measurements that pyperf's runner cannot take: several processes at once, whole life spans, sizes, errors.

An experiment yields pyperf benchmarks like those of the suites, so that they print, archive and compare alike.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from perf.catalogue import matches
from perf.lab import Lab
from perf.record import Benchmark


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: so many rounds, and so many seconds for each measurement under load."""

    rounds: int
    seconds: float
    name: str = "normal"

    @staticmethod
    def of(*, fast: bool, rigorous: bool) -> "Effort":
        """Return the effort that pyperf's options of these names stand for."""
        return Effort(3, 1.0, "fast") if fast else Effort(15, 3.0, "rigorous") if rigorous else Effort(4, 2.0)


@dataclass(frozen=True, slots=True)
class Experiment:
    """One measurement, or several that share what they set up; `prefix` is how the names of all of them begin.

    `durability` is the tier of what it appends, None where it appends nothing or each benchmark says its own. More
    rounds than `most_rounds` would show nothing new. The rest is for estimates: seconds to set it up, seconds of each
    round, and measurements under load in a round.
    """

    prefix: str
    run: Callable[[Lab, Effort], Iterator[Benchmark]]
    durability: str | None = None
    setup_s: float = 5.0
    round_s: float = 0.0
    loads: int = 0
    most_rounds: int = 1000

    def expected_s(self, effort: Effort) -> float:
        """Return about how long it takes on two quiet cores."""
        return self.setup_s + self._useful(effort).rounds * (self.round_s + self.loads * effort.seconds)

    def measure(self, lab: Lab, effort: Effort) -> Iterator[Benchmark]:
        """Yield its benchmarks, each with the durability tier of what was appended."""
        for bench in self.run(lab, self._useful(effort)):
            if self.durability and "durability" not in bench.get_metadata():
                bench.update_metadata({"durability": self.durability})
            yield bench

    def _useful(self, effort: Effort) -> Effort:
        return replace(effort, rounds=min(effort.rounds, self.most_rounds))

    def is_asked(self, patterns: Sequence[str]) -> bool:
        """Say whether any of its benchmarks is asked for by these patterns (none: everything is)."""
        return matches(self.prefix, patterns) or any(pattern.startswith(self.prefix) for pattern in patterns)
