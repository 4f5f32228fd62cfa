"""Two revisions measured in turn, A B A B, in fresh processes: what disturbs the machine disturbs both alike."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from perf.lab import DIRECTORY_VARIABLE
from perf.servers import on_cores

BLOCKS = 10
"""Times that each side has its turn with a case, in one round."""


class DuelError(Exception):
    """A side could not do what was asked: it ended, or a case failed in it. The text is what it said last."""

    def __init__(self, side: str, text: str) -> None:
        super().__init__(f"{side}: {text}")
        self.side = side


@dataclass(frozen=True, slots=True)
class Side:
    """One revision, laid out in a directory of its own."""

    name: str
    directory: Path

    def environment(self) -> dict[str, str]:
        """Return the environment in which its packages are what is imported, and compiled into a cache of its own."""
        own = {
            "PYTHONPATH": str(self.directory),
            "NUMBA_CACHE_DIR": str(self.directory / "numba"),
            DIRECTORY_VARIABLE: str(self.directory / "lab"),
            "PYTHONHASHSEED": "random",
        }
        return {name: value for name, value in os.environ.items() if not name.startswith("APP_")} | own


class Worker:
    """A process of one side that measures on request."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._errors = (side.directory / "worker.err").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perf.duel_worker", str(side.directory)],
            cwd=side.directory,
            env=side.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, **question: object) -> Any:  # noqa: ANN401 - what was asked for
        """Return the answer to one question; DuelError if it has none."""
        self.tell(**question)
        return self.answer()

    def tell(self, **question: object) -> None:
        """Send a question; its answer must be taken before the next."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:  # noqa: ANN401 - what was asked for
        """Return the answer to what was asked last."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self._errors.seek(0)
            raise DuelError(self._side.name, self._errors.read().strip().rpartition("\n")[2])
        found = json.loads(line)
        if "error" in found:
            raise DuelError(self._side.name, found["error"])
        return found["answer"]

    def close(self) -> None:
        """End the process."""
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            if stream is not None:
                stream.close()
        self.process.wait(60)


@contextmanager
def workers(sides: Sequence[Side], core: int | None) -> Iterator[list[Worker]]:
    """Yield one fresh process for each side, all on the same core (None: wherever they like)."""
    with on_cores(None if core is None else [core]):
        started = [Worker(side) for side in sides]
    try:
        for worker in started:
            worker.ask(do="hello")
        yield started
    finally:
        for worker in started:
            worker.close()


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a case: the p95 of each side in seconds (middle of the blocks), and the second's share of the first.

    `ratio` is the middle of the ratios of blocks that follow each other: whatever disturbs less than half of them
    does not move it.
    """

    before_s: float
    after_s: float
    ratio: float


def fight(pair: Sequence[Worker], case: str, *, first: int) -> Round:
    """Measure a case on both sides in turn, beginning with side `first`."""
    for worker in pair:
        worker.ask(do="prepare", case=case)
    # One number of operations a sample for both, or the p95 of one would be smoothed more than that of the other.
    loops = max(worker.ask(do="calibrate") for worker in pair)
    p95s: list[list[float]] = [[], []]
    for block in range(2 * BLOCKS):
        # ABBA, so that a drift favours neither.
        turn = (block + block // 2 + first) % 2
        p95s[turn].append(p95(pair[turn].ask(do="block", loops=loops)))
    for worker in pair:
        worker.ask(do="finish")
    before, after = p95s
    return Round(median(before), median(after), median(b / a for a, b in zip(before, after, strict=True)))


def p95(samples: Sequence[float]) -> float:
    """Return the least sample that 95 % of them do not exceed."""
    return sorted(samples)[ceil(0.95 * len(samples)) - 1]
