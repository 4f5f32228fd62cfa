"""What a promised figure is: its limit, and how it is read off results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from perf.bounds import Bound
from perf.record import Benchmark

Results = Mapping[str, Benchmark]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured, as text, and whether it is within the limit."""

    text: str
    met: bool


@dataclass(frozen=True, slots=True)
class Target:
    """One promise. `needs` are patterns of the benchmarks that `read` takes; KeyError if one is missing.

    `bound` says what would be left of a figure that is missed, if all of ours cost nothing.
    """

    title: str
    limit: str
    needs: tuple[str, ...]
    read: Callable[[Results], Reading]
    bound: Bound
