"""The process of one side of a duel: prepares a case, measures blocks of it when told to, one JSON line at a time."""

import json
import sys
import traceback
from pathlib import Path
from resource import RUSAGE_THREAD, getrusage
from time import perf_counter
from typing import TYPE_CHECKING, Any

from perf import catalogue
from perf.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from perf.case import TimeFunction

OURS = ("hft_mmap", "api", "perf")
SAMPLE_S = 100e-6
BLOCK_S = 15e-3
LONGEST_BLOCK_S = 0.5
LEAST_SAMPLES = 20
_WARM_UP_SAMPLES = 3


class Sparring:
    """The case that is measured at present."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._prepared: AbstractContextManager[TimeFunction] | None = None
        self._run: TimeFunction = float

    def hello(self) -> str:
        """Say that the process is up."""
        return "hello"

    def prepare(self, case: str) -> str:
        """Set up a case."""
        self._prepared = catalogue.find(case).prepare(Lab())
        self._run = self._prepared.__enter__()
        self._run(1)  # what this revision has not got shows here, not in the midst of measuring
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name.partition(".")[0] in OURS and file and not Path(file).is_relative_to(self._directory):
                # An editable installation steps in for a module that this revision does not have.
                raise ImportError(f"{name} would come from {file}, not from this revision")
        return case

    def calibrate(self) -> int:
        """Return how many operations make a sample."""
        loops = 1
        self._run(1)
        while self._run(loops) < SAMPLE_S:
            loops *= 2
        return loops

    def block(self, loops: int) -> list[float]:
        """Return the seconds an operation took, in as many samples as a block has time for, and at least a few.

        A sample during which the kernel gave the core to another process says nothing about this one and is left out,
        unless the machine is so busy that hardly any other is to be had.
        """
        for _ in range(_WARM_UP_SAMPLES):
            self._run(loops)
        clean: list[float] = []
        disturbed: list[float] = []
        begin = perf_counter()
        spent = 0.0
        while (spent < BLOCK_S or len(clean) < LEAST_SAMPLES) and perf_counter() - begin < LONGEST_BLOCK_S:
            switches = getrusage(RUSAGE_THREAD).ru_nivcsw
            seconds = self._run(loops)
            if getrusage(RUSAGE_THREAD).ru_nivcsw == switches:
                clean.append(seconds / loops)
                spent += seconds
            else:
                disturbed.append(seconds / loops)
        return clean if len(clean) >= LEAST_SAMPLES else clean + disturbed

    def finish(self) -> str:
        """Clear away the case."""
        if self._prepared is not None:
            self._prepared.__exit__(None, None, None)
        self._prepared = None
        return ""


def main(directory: str) -> int:
    """Answer questions until standard input ends."""
    sparring = Sparring(directory)
    # Whatever else prints, as the line of the log on a request that took long, is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        question: dict[str, Any] = json.loads(line)
        what = question.pop("do")
        do: Callable[..., object] = getattr(sparring, what)
        try:
            found: dict[str, object] = {"answer": do(**question)}
        except Exception as error:  # noqa: BLE001 - the gate decides what it means
            said = traceback.format_exc(limit=-1).strip().rpartition("\n")[2]
            # An interface that is new shows as a name that is not there, and before anything is measured.
            lacks = what == "prepare" and isinstance(error, ImportError | AttributeError)
            found = {"error": said, "lacks": lacks}
        print(json.dumps(found), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
