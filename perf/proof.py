"""Does the gate do what it says? `python -m perf.proof`: 25 minutes, on the machine whose verdict is to be trusted.

Runs the whole gate on two copies of the same code, which must raise no alarm, and on a copy in which one guarded case
was made a fifth slower, which must be caught. What the gate said is kept in perf/results and written into
perf/README.md. Exit code 0 if all of that holds.

The slow-down is honest: a call in the case is made to wait for a set time, and that time is measured out, in fresh
processes, until the case as a whole takes a fifth longer (medians), the cost of waiting included.

The rule of the gate is never shortened to fit the time (--budget): its rounds, its second look, its thresholds. Where
all guarded cases would take too long, a run of identical code takes as many as fit, and the next run goes on behind
them, so that all have their turns; the table says how many each took.

    python -m perf.proof --runs 1 --only store.append     one run of identical code, one case made slower
    python -m perf.proof --from FILE                      write the README from what was kept
"""

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from perf import catalogue, environment, gate, history, revision
from perf.duel import Side, Worker, workers
from perf.gate import Plan
from perf.lab import Lab
from perf.progress import clock
from perf.section import Section

SHARE = 0.20
LABEL = "gate-proof"
README = Section("gate proof", "python -m perf.proof")
PAIRS = 5
_BLOCKS = 10
_TRIES = 6
_CLOSE_ENOUGH = 0.01
# Until a run has shown how long a case takes, and for finding out how long a call must wait and for the run after it.
_CASE_S = 7.0
_INJECTION_S = 200.0

# What is appended to a module: the method takes longer than it did, by a time that is read when it is imported.
_SLOWER = """

from functools import wraps as _wraps
from pathlib import Path as _Path
from time import perf_counter as _clock

_PAUSE_S = float(_Path({pause!r}).read_text())


def _slowed(call):
    @_wraps(call)
    def slow(*args, **kwargs):
        end = _clock() + _PAUSE_S
        while _clock() < end:
            pass
        return call(*args, **kwargs)

    return slow


{name} = _slowed({name})
"""


@dataclass(frozen=True, slots=True)
class Injection:
    """A call to slow down, which a case makes once an operation: the module it is in, and its name there."""

    module: str
    name: str


INJECTIONS = {
    "store.append[points=1e4]": Injection("hft_mmap/appender.py", "Appender.append_nowait"),
    "decode.batch[values=1e4]": Injection("api/body/decode.py", "Decoder.quick"),
    "store.open[stored=10]": Injection("hft_mmap/store.py", "Store.__init__"),
}
"""Guarded cases, and a call that each makes once an operation."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of the gate: which case was slowed (None: none), by how much, what the gate said, its exit code."""

    slowed: str | None
    slower_by: float
    exit_code: int
    seconds: float
    cases: int
    said: list[str]

    @property
    def is_right(self) -> bool:
        """Say whether the gate said what it should."""
        if self.slowed is None:
            return self.exit_code == gate.OK
        named = any(line.startswith("SLOWER") and self.slowed in line for line in self.said)
        return self.exit_code == gate.SLOWER and named


def inject(directory: Path, injection: Injection, pause_s: float) -> Path:
    """Make one call in a copy of the packages wait for `pause_s`; return the file that says how long."""
    pause = directory / "pause"
    pause.write_text(repr(pause_s))
    with (directory / injection.module).open("a", encoding="utf-8") as source:
        source.write(_SLOWER.format(pause=str(pause), name=injection.name))
    return pause


def slow_down(sides: Sequence[Side], case: str, injection: Injection, share: float) -> float:
    """Make `case` slower by `share` in the second side, and return by what share it was measured to be slower."""
    pause = inject(sides[1].directory, injection, 0.0)
    gate.warm(sides)
    pause_s, slower_by = 0.0, 0.0
    for _ in range(_TRIES):
        before_s, ratio = _ratio(sides, case)
        slower_by = ratio - 1
        if abs(slower_by - share) < _CLOSE_ENOUGH:
            break
        pause_s = max(pause_s + (share - slower_by) * before_s, 0.0)
        pause.write_text(repr(pause_s))
    return slower_by


def _ratio(sides: Sequence[Side], case: str) -> tuple[float, float]:
    """Return the seconds an operation takes on the first side, and the second's share of that; medians."""
    cores = sorted(os.sched_getaffinity(0))
    taken: list[tuple[float, float]] = []
    for number in range(PAIRS):
        with workers(sides, core=cores[number % len(cores)]) as pair:
            for worker in pair:
                worker.ask(do="prepare", case=case)
            loops = max(worker.ask(do="calibrate") for worker in pair)
            taken += [(_middle(pair[0], loops), _middle(pair[1], loops)) for _ in range(_BLOCKS)]
            for worker in pair:
                worker.ask(do="finish")
    return median(before for before, _ in taken), median(after / before for before, after in taken)


def _middle(worker: Worker, loops: int) -> float:
    return float(median(worker.ask(do="block", loops=loops)))


def attempt(lab: Lab, slowed: str | None, names: Sequence[str], plan: Plan, *, share: float = SHARE) -> Trial:
    """Run the gate between two copies of the present code; `slowed` is made slower in one of them."""
    with copies(lab) as sides:
        slower_by = slow_down(sides, slowed, INJECTIONS[slowed], share) if slowed else 0.0
        return judge(sides, names, plan, slowed, slower_by)


@contextmanager
def copies(lab: Lab) -> Iterator[list[Side]]:
    """Yield two copies of the present code, each with compiled kernels of its own."""
    with lab.scratch() as scratch:
        yield [Side(name, revision.lay_out_present(scratch / name)) for name in (gate.BEFORE, gate.AFTER)]


def judge(
    sides: Sequence[Side], names: Sequence[str], plan: Plan, slowed: str | None = None, slower_by: float = 0.0
) -> Trial:
    """Run the gate on two sides, in fresh processes as always."""
    begin = monotonic()
    with redirect_stdout(StringIO()) as said:
        code = gate.run(sides, names, plan)
    return Trial(slowed, slower_by, code, monotonic() - begin, len(names), said.getvalue().splitlines())


def fitting(cases: int, each_s: float, left_s: float, runs: int) -> int:
    """Return how many of the cases each of so many runs can take in the time that is left; one at least."""
    return max(1, min(cases, int(left_s / max(runs, 1) / each_s)))


def turn(cases: Sequence[str], first: int, count: int) -> list[str]:
    """Return `count` of the cases from number `first` on, around the end."""
    return [cases[(first + i) % len(cases)] for i in range(count)]


def identical(lab: Lab, runs: int, guarded: Sequence[str], plan: Plan, budget_s: float) -> Iterator[Trial]:
    """Run the gate so often on two copies of the same code; they are compiled once, each run has fresh processes."""
    begin, first, taken_s, taken_cases = monotonic(), 0, 0.0, 0
    with copies(lab) as sides:
        gate.warm(sides)
        for number in range(runs):
            each_s = taken_s / taken_cases if taken_cases else _CASE_S
            count = fitting(len(guarded), each_s, budget_s - (monotonic() - begin), runs - number)
            trial = judge(sides, turn(guarded, first, count), plan)
            first, taken_s, taken_cases = first + count, taken_s + trial.seconds, taken_cases + count
            yield trial


def everything(
    lab: Lab, runs: int, chosen: Sequence[str], guarded: Sequence[str], plan: Plan, budget_s: float
) -> Iterator[Trial]:
    """Run the gate on identical code, then on each of the chosen cases made slower."""
    yield from identical(lab, runs, guarded, plan, budget_s - len(chosen) * _INJECTION_S)
    for slowed in chosen:
        yield attempt(lab, slowed, list(INJECTIONS), plan)


def line(trial: Trial, number: int) -> str:
    """Return a trial as a line of the table."""
    what = f"`{trial.slowed}` made {trial.slower_by:.1%} slower" if trial.slowed else f"identical code, run {number}"
    named = [one.split()[1] for one in trial.said if one.startswith("SLOWER")]
    said = f"slower: {', '.join(f'`{one}`' for one in named)}" if named else "no alarm"
    if trial.exit_code == gate.NOT_MEASURED:
        said = "could not measure"
    right = "right" if trial.is_right else "**WRONG**"
    return f"| {what} | {trial.cases} | {trial.exit_code} | {said} | {trial.seconds:.0f} s | {right} |"


def section(found: Mapping[str, Any]) -> str:
    """Return the section of the README out of what was kept."""
    trials = [Trial(**one) for one in found["trials"]]
    faults = sum(not trial.is_right for trial in trials)
    took = sum(trial.seconds for trial in trials) / 60
    said = f"{faults} wrong answers in {len(trials)} runs of the gate on {found['date']}, {took:.0f} minutes of them"
    loads = found["load"]
    said += f" (load average {loads[0]:.2f} at the start, {loads[1]:.2f} at the end):"
    lines = [*textwrap.wrap(said, 118), ""]
    lines += ["| the two sides | cases | exit code | the gate said | took | |", "|---|--:|--:|---|--:|---|"]
    lines += [line(trial, number) for number, trial in enumerate(trials, 1)]
    lines += ["", "| | |", "|---|---|", *environment.rows(found["environment"])]
    return "\n".join(lines)


def main() -> int:
    """Run the proof; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.proof", description="Try the gate on itself.")
    parser.add_argument("--runs", type=int, default=10, help="runs of identical code (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=gate.ROUNDS)
    parser.add_argument(
        "--budget", type=float, default=25.0, metavar="MIN", help="minutes for all of it (default: %(default)g)"
    )
    parser.add_argument("--threshold", type=float, default=0.10)
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="cases to make slower")
    parser.add_argument("--label", default=LABEL, help="perf/results/DATE_LABEL.json (default: %(default)s)")
    parser.add_argument("--from", dest="source", metavar="LABEL", help="what was kept, in place of running")
    parser.add_argument("--print", action="store_true", help="keep nothing, and leave the README as it is")
    args = parser.parse_args()
    if args.source:
        README.write(section(json.loads(history.find(args.source).read_text(encoding="utf-8"))))
        return 0
    trials: list[dict[str, object]] = []
    load = environment.load_average()
    found = {
        "date": history.today(), "environment": environment.stamp(f"budget of {args.budget:g} minutes"),
        "load": [load, load], "trials": trials,
    }  # fmt: skip
    plan = Plan(args.threshold, args.rounds)
    guarded = [one.name for one in catalogue.everything() if one.guarded]
    chosen = [case for case in INJECTIONS if catalogue.matches(case, args.only)]
    begin, faults, count = monotonic(), 0, args.runs + len(chosen)
    print(f"proof: {count} runs of the gate, about {args.budget:g} minutes", flush=True)
    trials_taken = everything(Lab(), args.runs, chosen, guarded, plan, 60 * args.budget)
    for number, trial in enumerate(trials_taken, 1):
        faults += not trial.is_right
        trials.append({name: getattr(trial, name) for name in Trial.__slots__})
        found["load"] = [load, environment.load_average()]
        print(f"[{number}/{count}] {clock(monotonic() - begin)} gone")
        print(line(trial, number), *trial.said, sep="\n    ", flush=True)
        if not args.print:
            history.dated(args.label).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not args.print:
        README.write(section(found))
    print(f"proof: {faults} faults in {len(trials)} runs")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
