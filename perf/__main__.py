"""`python -m perf`: run the benchmarks, print them, keep them if asked.

    python -m perf --fast                      rough answers in a few minutes
    python -m perf --only store.append         cases whose name begins so, or matches a shell pattern
    python -m perf --list                      their names
    python -m perf -o result.json              keep the result (make bench-save does that, in perf/results)

Everything else (-p, -n, -w, --rigorous, --affinity, ...) is pyperf's.
"""

import argparse
import atexit
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pyperf

from perf import catalogue, environment, record
from perf.case import Case, TimeFunction
from perf.experiment import Effort, Experiment
from perf.experiments import EXPERIMENTS
from perf.lab import DIRECTORY_VARIABLE, Lab
from perf.progress import Progress

_START_S = 1.5
_VALUE_S = 0.15


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    # Every measurement is taken in several processes: where code and data come to lie differs from one to the next.
    runner = pyperf.Runner(
        processes=6, values=5, program_args=("-m", "perf"), add_cmdline_args=_forward
    )  # fmt: skip
    parser = runner.argparser
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="names to run (may be repeated)")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--data-dir", metavar="DIR", help=f"where the data is kept (${DIRECTORY_VARIABLE})")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = runner.parse_args()
    if args.data_dir:
        os.environ[DIRECTORY_VARIABLE] = str(Path(args.data_dir).resolve())
    if args.worker:
        _work(runner, catalogue.find(args.case))
        return 0
    cases = [case for case in catalogue.everything() if catalogue.matches(case.name, args.only)]
    chosen = [one for one in EXPERIMENTS if one.is_asked(args.only)]
    if args.list:
        print(*(case.name for case in cases), *(one.prefix + "…" for one in chosen), sep="\n")
        return 0
    if not cases and not chosen:
        print(f"perf: nothing is called {' or '.join(args.only)}; see --list", file=sys.stderr)
        return 2
    effort = Effort.of(fast=args.fast, rigorous=args.rigorous)
    session = Session(environment.stamp(effort.name), args.output or args.append)
    # What is kept carries more than pyperf would write of itself.
    args.output = args.append = None
    print(*environment.lines(session.stamp), "", sep="\n")
    args.inherit_environ = [*(args.inherit_environ or []), *environment.inherited_variables()]
    failures = _run(runner, cases, chosen, effort, session)
    print(*(f"perf: FAILED: {one}" for one in failures), sep="\n", end="\n" if failures else "", file=sys.stderr)
    return int(bool(failures))


@dataclass(frozen=True, slots=True)
class Session:
    """One run: what each of its results carries, and the file they go to (None: they are only printed)."""

    stamp: Mapping[str, str]
    file: str | None

    def keep(self, bench: record.Benchmark, load_start: float) -> None:
        """Print a result, and keep it with the circumstances it was taken in."""
        loads = {"load_start": load_start, "load_end": environment.load_average()}
        bench.update_metadata({**self.stamp, **loads})
        print(record.summary(bench), flush=True)
        if self.file:
            pyperf.add_runs(self.file, bench)


def _run(
    runner: pyperf.Runner, cases: Sequence[Case], experiments: Sequence[Experiment], effort: Effort, session: Session
) -> list[str]:
    """Measure everything in turn, and say how far it is on standard error; return what failed, and why.

    An experiment that fails gives no figure, and takes none from those that come after it.
    """
    failures = []
    each_s = {case.name: _expected_s(case, runner.args) for case in cases}
    progress = Progress(each_s | {one.prefix: one.expected_s(effort) for one in experiments})
    for case in cases:
        print(progress.begin(case.name), file=sys.stderr, flush=True)
        load_start = environment.load_average()
        runner.args.case = case.name
        session.keep(_manage(runner, case), load_start)
        progress.end(case.name)
    for experiment in experiments:
        print(progress.begin(experiment.prefix), file=sys.stderr, flush=True)
        load_start = environment.load_average()
        try:
            for bench in experiment.measure(Lab(), effort):
                session.keep(bench, load_start)
        except Exception as error:  # noqa: BLE001 - it is told, and the exit code says it
            traceback.print_exc()
            failures.append(f"{experiment.prefix}: {type(error).__name__}: {error}")
        progress.end(experiment.prefix)
    return failures


def _expected_s(case: Case, args: argparse.Namespace) -> float:
    """Return about how long pyperf takes for a case: one process more, which finds out how often to loop."""
    values = args.values + (args.warmups or 1)
    return float((args.processes + 1) * (_START_S + values * max(_VALUE_S, case.slow_s)))


def _forward(command: list[str], args: argparse.Namespace) -> None:
    """Tell the worker process which case it is for; so it imports one suite, and pyperf's count of tasks is 0."""
    command.extend(["--case", args.case])


def _manage(runner: pyperf.Runner, case: Case) -> record.Benchmark:
    """Have pyperf measure one case in processes of its own; return the result."""
    with redirect_stdout(io.StringIO()) as said:
        try:
            bench = runner.bench_time_func(case.name, _refuse, metadata=_metadata(case))
        except BaseException:
            print(said.getvalue(), file=sys.stderr)
            raise
    return bench


def _refuse(_loops: int) -> float:
    raise AssertionError("only worker processes measure")


def _work(runner: pyperf.Runner, case: Case) -> None:
    """Measure one case in this process."""
    opened: list[TimeFunction] = []

    def run(loops: int) -> float:
        if not opened:
            prepared = case.prepare(Lab())
            opened.append(prepared.__enter__())
            atexit.register(prepared.__exit__, None, None, None)
        return opened[0](loops)

    runner.args.worker_task = None  # this process has one task, whatever its number was where it was started
    runner.bench_time_func(case.name, run, metadata=_metadata(case))


def _metadata(case: Case) -> dict[str, str | int | float]:
    return {**case.work.metadata(), **case.metadata}


if __name__ == "__main__":
    sys.exit(main())
