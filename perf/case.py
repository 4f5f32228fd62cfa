"""What a benchmark case is: a name, the work of one operation, and how to prepare it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from time import perf_counter
from typing import TypeAlias

from perf.lab import Lab

TimeFunction: TypeAlias = Callable[[int], float]
"""Does the operation so many times and returns the seconds that took."""

Prepare: TypeAlias = Callable[[Lab], AbstractContextManager[TimeFunction]]
"""Sets everything up, yields the time function, and clears everything away."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one operation does: `amount` of `unit` ("points", "requests", "values"), for throughput."""

    amount: float
    unit: str

    def metadata(self) -> dict[str, str | int | float]:
        """Return it in the form that is stored with a result."""
        return {"work_amount": float(self.amount), "work_unit": self.unit}


@dataclass(frozen=True, slots=True)
class Case:
    """One benchmark. `guarded` cases are those that perf.gate holds against another revision."""

    name: str
    prepare: Prepare
    work: Work
    guarded: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    slow_s: float = 0.0
    """About how long one operation takes, where that is more than a tenth of a second; for estimates only."""

    @property
    def suite(self) -> str:
        """Return the suite, which is also the module in perf.suites."""
        return self.name.partition(".")[0]


def name(suite: str, case: str, **params: object) -> str:
    """Return `suite.case[params]`; numbers from 10,000 that are powers of ten are written 1e4, 1e8."""
    shown = ",".join(f"{key}={short(value)}" for key, value in params.items())
    return f"{suite}.{case}[{shown}]" if shown else f"{suite}.{case}"


def short(value: object) -> str:
    """Return a number as text, the large powers of ten as 1e8."""
    text = str(value)
    zeros = len(text) - 1
    return f"1e{zeros}" if isinstance(value, int) and zeros >= 4 and text == "1" + "0" * zeros else text


def timed(operation: Callable[[], object]) -> TimeFunction:
    """Return the time function of an operation without arguments; the loop adds 30 ns to each."""

    def run(loops: int) -> float:
        begin = perf_counter()
        for _ in repeat(None, loops):
            operation()
        return perf_counter() - begin

    return run


def simple(build: Callable[[], Callable[[], object]]) -> Prepare:
    """Return how to prepare a case that needs no files: `build` makes the operation."""

    @contextmanager
    def prepare(_lab: Lab) -> Iterator[TimeFunction]:
        yield timed(build())

    return prepare
