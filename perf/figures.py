"""Measure every figure that is promised and write them into perf/README.md: `python -m perf.figures`.

    python -m perf.figures                  measure (about half an hour), keep the result, write the table
    python -m perf.figures --fast           the same with rough answers, in some minutes
    python -m perf.figures --from LABEL     write the table from a result that is kept
    python -m perf.figures --print          leave the README as it is
    python -m perf.figures --of questions   the same for the figures of any range, which have a table of their own
    python -m perf.figures --of ticks       and for those of times and sizes
    python -m perf.figures --of doors       and for line protocol, PromQL, WebSocket questions and the dashboard

No figure of that table is typed by hand.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from perf import door_targets, environment, history, question_targets, tick_targets
from perf.lab import ROOT
from perf.record import Benchmark, values_of
from perf.section import Section
from perf.target import Reading, Target
from perf.targets import TARGETS, asked

README = Section("figures", "python -m perf.figures")
QUESTIONS = Section("figures of questions", "python -m perf.figures --of questions")
TICKS = Section("figures of ticks", "python -m perf.figures --of ticks")
DOORS = Section("figures of doors", "python -m perf.figures --of doors")
SETS = {
    "promised": (README, TARGETS, "figures"),
    "questions": (QUESTIONS, question_targets.TARGETS, "questions"),
    "ticks": (TICKS, tick_targets.TARGETS, "ticks"),
    "doors": (DOORS, door_targets.TARGETS, "doors"),
}
"""The tables: where each is written, its figures, and the label of its results."""


def measure(label: str, targets: Sequence[Target], options: Sequence[str]) -> Path:
    """Run all benchmarks that figures need; return the file of the result, which replaces one of the same day."""
    file = history.dated(label)
    file.unlink(missing_ok=True)
    only = [part for pattern in sorted(asked(targets)) for part in ("--only", pattern)]
    subprocess.run([sys.executable, "-m", "perf", "-o", str(file), *only, *options], cwd=ROOT, check=True)
    return file


def read(target: Target, results: dict[str, Benchmark]) -> Reading:
    """Return what the results say of one target."""
    try:
        return target.read(results)
    except KeyError as missing:
        return Reading(f"not measured ({missing.args[0]})", met=False)


def table(results: dict[str, Benchmark], source: str, targets: Sequence[Target] = TARGETS) -> str:
    """Return the section of the README: the figures, and the machine they were taken on."""
    metadata = next(iter(results.values())).get_metadata()
    dates = sorted(str(run.get_metadata()["date"]) for bench in results.values() for run in bench.get_runs())
    values = sorted({len(values_of(bench)) for bench in results.values()})
    lines = ["| figure | limit | measured | | what bounds it, where it is missed |", "|---|---|---|---|---|"]
    for target in targets:
        found = read(target, results)
        met, bound = ("met", "") if found.met else ("**missed**", target.bound.text(results))
        lines.append(f"| {target.title} | {target.limit} | {found.text} | {met} | {bound} |")
    lines += ["", f"Taken on {dates[0][:10]} ({source}):", "", "| | |", "|---|---|"]
    lines += [*environment.rows(metadata), *loads(results), f"| values a case | {values[0]} to {values[-1]} |"]
    return "\n".join(lines)


def loads(results: dict[str, Benchmark]) -> list[str]:
    """Return the load average of the machine as a row of a table: before the first benchmark and after the last."""
    known = [metadata for bench in results.values() if "load_start" in (metadata := bench.get_metadata())]
    if not known:
        return []
    # Results are kept in the order they were taken in.
    return [f"| load average | {known[0]['load_start']:.2f} at the start, {known[-1]['load_end']:.2f} at the end |"]


def main() -> int:
    """Measure, or read what was measured; write the table."""
    parser = argparse.ArgumentParser(prog="python -m perf.figures", description="Measure every promised figure.")
    parser.add_argument("--from", dest="source", metavar="LABEL", help="a kept result, in place of measuring")
    parser.add_argument("--label", help="label of the result (default: figures, or the name of the table)")
    parser.add_argument("--of", choices=tuple(SETS), default="promised", help="which table (default: %(default)s)")
    parser.add_argument("--print", action="store_true", help="print the table, and leave the README as it is")
    args, options = parser.parse_known_args()
    place, targets, label = SETS[args.of]
    file = history.find(args.source) if args.source else measure(args.label or label, targets, options)
    section = table(history.load(file), file.name, targets)
    print(section)
    if not args.print:
        place.write(section)
    return 0


if __name__ == "__main__":
    sys.exit(main())
