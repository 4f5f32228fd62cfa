"""Two revisions measured in turn, A B A B, in fresh processes: what disturbs the machine disturbs both alike."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from perf.lab import DIRECTORY_VARIABLE
from perf.servers import on_cores

BLOCKS = 10
"""Times that each side has its turn with a case, in one round."""
PATIENCE_S = 180.0
"""The longest wait for one answer: compiling all kernels on a busy machine is the slowest thing that is asked for."""
_ENDING_S = 10.0


class DuelError(Exception):
    """A side could not do what was asked: it ended, a case failed in it, or it never answered.

    The text is what it said last. `lacks` where it has not got what the case needs: an import or an attribute.
    """

    def __init__(self, side: str, text: str, *, lacks: bool = False) -> None:
        super().__init__(f"{side}: {text}")
        self.side = side
        self.lacks = lacks


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
    """A process of one side that measures on request, until `deadline` (of time.monotonic) at the latest."""

    def __init__(self, side: Side, deadline: float = inf) -> None:
        self._side = side
        self._deadline = deadline
        self._received = b""
        self._errors = (side.directory / "worker.err").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perf.duel_worker", str(side.directory)],
            cwd=side.directory,
            env=side.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )

    def ask(self, **question: object) -> Any:  # noqa: ANN401 - what was asked for
        """Return the answer to one question; DuelError if it has none."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
        except BrokenPipeError:
            raise self._ended() from None
        found = json.loads(self._line())
        if "error" in found:
            raise DuelError(self._side.name, found["error"], lacks=found["lacks"])
        return found["answer"]

    def _line(self) -> bytes:
        """Return the next line it writes; DuelError if it ends before, or takes too long."""
        assert self.process.stdout is not None
        output = self.process.stdout.fileno()
        until = min(self._deadline, monotonic() + PATIENCE_S)
        while b"\n" not in self._received:
            if not select.select([output], [], [], max(until - monotonic(), 0.0))[0]:
                self.process.kill()
                if until == self._deadline:
                    raise DuelError(self._side.name, "the time was up while it was measuring")
                raise DuelError(self._side.name, f"no answer within {PATIENCE_S:g} s")
            part = os.read(output, 65_536)
            if not part:
                raise self._ended()
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _ended(self) -> DuelError:
        """Return what a process said that ended without being told to."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_ENDING_S)
        self._errors.seek(0)
        said = self._errors.read().strip().rpartition("\n")[2]
        return DuelError(self._side.name, said or f"its process ended with code {self.process.returncode}")

    def close(self) -> None:
        """End the process, in order if it will."""
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            if stream is not None:
                stream.close()
        try:
            self.process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def workers(sides: Sequence[Side], core: int | None, deadline: float = inf) -> Iterator[list[Worker]]:
    """Yield one fresh process for each side, all on the same core (None: wherever they like)."""
    with on_cores(None if core is None else [core]):
        started = [Worker(side, deadline) for side in sides]
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
