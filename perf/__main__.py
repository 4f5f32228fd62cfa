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
from contextlib import redirect_stdout
from pathlib import Path

import pyperf

from perf import catalogue, environment, record
from perf.case import Case, TimeFunction
from perf.experiment import Effort
from perf.experiments import EXPERIMENTS
from perf.lab import DIRECTORY_VARIABLE, Lab


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    # Every measurement is taken in several processes: where code and data come to lie differs from one to the next.
    runner = pyperf.Runner(
        processes=6, values=5, program_args=("-m", "perf"), metadata=environment.describe(), add_cmdline_args=_forward
    )
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
    print(*environment.lines(environment.describe()), "", sep="\n")
    args.inherit_environ = [*(args.inherit_environ or []), *environment.inherited_variables()]
    for case in cases:
        args.case = case.name
        _manage(runner, case)
    effort = Effort.of(fast=args.fast, rigorous=args.rigorous)
    for experiment in chosen:
        for bench in experiment.run(Lab(), effort):
            _keep(bench, args.output or args.append)
    return 0


def _forward(command: list[str], args: argparse.Namespace) -> None:
    """Tell the worker process which case it is for; so it imports one suite, and pyperf's count of tasks is 0."""
    command.extend(["--case", args.case])


def _manage(runner: pyperf.Runner, case: Case) -> None:
    """Have pyperf measure one case in processes of its own, and print the result as one line."""
    with redirect_stdout(io.StringIO()) as said:
        try:
            bench = runner.bench_time_func(case.name, _refuse, metadata=_metadata(case))
        except BaseException:
            print(said.getvalue(), file=sys.stderr)
            raise
    print(record.summary(bench), flush=True)


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


def _keep(bench: record.Benchmark, file: str | None) -> None:
    print(record.summary(bench), flush=True)
    if file:
        bench.update_metadata(environment.describe())
        pyperf.add_runs(file, bench)


if __name__ == "__main__":
    sys.exit(main())
