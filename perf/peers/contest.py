"""The same questions to hft-mmap and to others, each in a process of its own, and a table of who takes how long."""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Generic, TypeVar

from perf.peers.peer import Unavailable

ROOT = Path(__file__).resolve().parents[2]
OURS, REFERENCE = "hft-mmap", "numpy"
Answer = tuple[float, ...]
Ask = Callable[[], Answer]
Results = Mapping[str, Mapping[str, tuple[float, Answer]]]
_ENOUGH_S = 1.0
_MOST_TIMES = 7
_ERROR = 1e-6  # of what numpy finds; running sums are off by more than float64 allows

_A = TypeVar("_A")


@dataclass(frozen=True)
class Contest(Generic[_A]):
    """What is asked, of what, and how each is asked.

    asked: makes the data, of so many points and of a kind. each: how often a question is asked in one go, where that is
    not once. asking: for each, what takes the data into a directory of its own and returns how it is asked.
    """

    module: str
    questions: Mapping[str, str]
    each: Mapping[str, int]
    asking: Mapping[str, Callable[[_A, Path], dict[str, Ask]]]
    asked: Callable[[int, str], _A]
    kinds: tuple[str, ...] = field(default=("day",))

    def measure(self, who: str, points: int, kind: str, enough_s: float = _ENOUGH_S) -> dict[str, tuple[float, Answer]]:
        """Return the least seconds of each question, and its answer. Unavailable where there is none to ask."""
        asked = self.asked(points, kind)
        found = {}
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="hft-questions-") as directory:
            for question, ask in self.asking[who](asked, Path(directory)).items():
                answer, times = ask() if who == OURS else (), list[float]()  # what is compiled or mapped is so before
                while sum(times) < enough_s and len(times) < _MOST_TIMES:
                    begin = perf_counter()
                    answer = ask()
                    times.append(perf_counter() - begin)
                found[question] = min(times) / self.each.get(question, 1), tuple(map(float, answer))
        return found

    def table(self, results: Results) -> Iterator[str]:
        """Yield the lines of a table: a question a row, a column for each that was asked; marked where it is wrong."""
        others = [who for who in results if who != OURS]
        yield "| question | " + " | ".join((OURS, *others)) + " |"
        yield "|---|" + "--:|" * (1 + len(others))
        for question, text in self.questions.items():
            mine = results[OURS][question][0]
            cells = []
            for who in (OURS, *others):
                seconds, answer = results[who][question]
                wrong = "" if is_right(answer, results[REFERENCE][question][1]) else ", wrong"
                cells.append(_shown(seconds) + ("" if who == OURS else f" ({seconds / mine:,.3g}x{wrong})"))
            yield f"| {text} | " + " | ".join(cells) + " |"

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Print the table, or with --who what one of them measures, as JSON."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description="Questions beside others.")
        parser.add_argument("--points", type=lambda text: int(float(text)), default=10_000_000, help="prices (1e7)")
        parser.add_argument("--kind", choices=self.kinds, default=self.kinds[0], help="of prices (%(default)s)")
        parser.add_argument("--who", choices=tuple(self.asking), help="measure this one, here, and print JSON")
        parser.add_argument("--python", type=Path, default=ROOT / ".venv-peers/bin/python", help="that of the peers")
        options = parser.parse_args(arguments)
        if options.who:
            try:
                print(json.dumps(self.measure(options.who, options.points, options.kind)))
            except Unavailable as reason:
                print(json.dumps({"unavailable": str(reason)}))
            return 0
        results = {}
        for who in self.asking:
            found = self._elsewhere(who, sys.executable if who == OURS else str(options.python.absolute()), options)
            if "unavailable" in found:
                print(f"{who} was not measured: {found['unavailable']}", file=sys.stderr)
            else:
                results[who] = {name: (seconds, tuple(answer)) for name, (seconds, answer) in found.items()}
        print(*self.table(results), sep="\n")
        return 0

    def _elsewhere(self, who: str, python: str, options: argparse.Namespace) -> dict[str, tuple[float, Answer]]:
        """Return what `measure` does in a process of its own."""
        command = [python, "-m", self.module, "--who", who, "--points", str(options.points), "--kind", options.kind]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
        found: dict[str, tuple[float, Answer]] = json.loads(done.stdout)
        return found


def is_right(found: Answer, expected: Answer) -> bool:
    """Say whether an answer is that of the reference."""
    return len(found) == len(expected) and all(
        math.isclose(a, b, rel_tol=_ERROR) for a, b in zip(found, expected, strict=True)
    )


def _shown(seconds: float) -> str:
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"
