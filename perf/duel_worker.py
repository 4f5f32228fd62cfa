"""The process of one side of a duel: prepares a case, measures blocks of it when told to, one JSON line at a time."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import api
import hft_mmap
from perf import catalogue
from perf.lab import Lab

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from perf.case import TimeFunction

SAMPLE_S = 200e-6
BLOCK_S = 20e-3
_WARM_UP_SAMPLES = 3


class Sparring:
    """The case that is measured at present."""

    def __init__(self) -> None:
        self._prepared: AbstractContextManager[TimeFunction] | None = None
        self._run: TimeFunction = float

    def hello(self) -> str:
        """Say that the process is up."""
        return "hello"

    def prepare(self, case: str) -> str:
        """Set up a case."""
        self._prepared = catalogue.find(case).prepare(Lab())
        self._run = self._prepared.__enter__()
        return case

    def calibrate(self) -> int:
        """Return how many operations make a sample."""
        loops = 1
        self._run(1)
        while self._run(loops) < SAMPLE_S:
            loops *= 2
        return loops

    def block(self, loops: int) -> list[float]:
        """Return the seconds an operation took, in as many samples as a block has time for; at least 10."""
        for _ in range(_WARM_UP_SAMPLES):
            self._run(loops)
        return list(self._samples(loops))

    def _samples(self, loops: int) -> Iterator[float]:
        spent = 0.0
        taken = 0
        while spent < BLOCK_S or taken < 10:
            seconds = self._run(loops)
            spent += seconds
            taken += 1
            yield seconds / loops

    def finish(self) -> str:
        """Clear away the case."""
        if self._prepared is not None:
            self._prepared.__exit__(None, None, None)
        self._prepared = None
        return ""


def main(directory: str) -> int:
    """Answer questions until standard input ends."""
    for package in (hft_mmap, api):
        if not Path(str(package.__file__)).is_relative_to(directory):
            print(f"{package.__name__} was imported from {package.__file__}, not from {directory}", file=sys.stderr)
            return 2
    sparring = Sparring()
    for line in sys.stdin:
        question: dict[str, Any] = json.loads(line)
        do: Callable[..., object] = getattr(sparring, question.pop("do"))
        try:
            found: dict[str, object] = {"answer": do(**question)}
        except Exception:  # noqa: BLE001 - whatever an older revision lacks is told to the gate
            found = {"error": traceback.format_exc(limit=-1).strip().rpartition("\n")[2]}
        print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
