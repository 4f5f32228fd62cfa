"""Measure every figure that is promised and write them into perf/README.md: `python -m perf.figures`.

    python -m perf.figures                  measure (about half an hour), keep the result, write the table
    python -m perf.figures --fast           the same with rough answers, in some minutes
    python -m perf.figures --from LABEL     write the table from a result that is kept
    python -m perf.figures --print          leave the README as it is

No figure of that table is typed by hand.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from perf import environment, history
from perf.lab import ROOT
from perf.record import Benchmark
from perf.section import Section
from perf.targets import TARGETS, Reading, Target

README = Section("figures", "python -m perf.figures")
LABEL = "figures"


def measure(label: str, options: Sequence[str]) -> Path:
    """Run all benchmarks that a figure needs; return the file of the result, which replaces one of the same day."""
    file = history.dated(label)
    file.unlink(missing_ok=True)
    asked = sorted({pattern for target in TARGETS for pattern in target.needs})
    only = [part for pattern in asked for part in ("--only", pattern)]
    subprocess.run([sys.executable, "-m", "perf", "-o", str(file), *only, *options], cwd=ROOT, check=True)
    return file


def read(target: Target, results: dict[str, Benchmark]) -> Reading:
    """Return what the results say of one target."""
    try:
        return target.read(results)
    except KeyError as missing:
        return Reading(f"not measured ({missing.args[0]})", met=False)


def table(results: dict[str, Benchmark], source: str) -> str:
    """Return the section of the README: the figures, and the machine they were taken on."""
    metadata = next(iter(results.values())).get_metadata()
    dates = sorted(str(run.get_metadata()["date"]) for bench in results.values() for run in bench.get_runs())
    lines = ["| figure | limit | measured | |", "|---|---|---|---|"]
    for target in TARGETS:
        found = read(target, results)
        lines.append(f"| {target.title} | {target.limit} | {found.text} | {'met' if found.met else '**missed**'} |")
    lines += ["", f"Taken on {dates[0][:10]} ({source}):", "", "| | |", "|---|---|", *environment.rows(metadata)]
    return "\n".join(lines)


def main() -> int:
    """Measure, or read what was measured; write the table."""
    parser = argparse.ArgumentParser(prog="python -m perf.figures", description="Measure every promised figure.")
    parser.add_argument("--from", dest="source", metavar="LABEL", help="a kept result, in place of measuring")
    parser.add_argument("--label", default=LABEL, help="label of the result (default: %(default)s)")
    parser.add_argument("--print", action="store_true", help="print the table, and leave the README as it is")
    args, options = parser.parse_known_args()
    file = history.find(args.source) if args.source else measure(args.label, options)
    section = table(history.load(file), file.name)
    print(section)
    if not args.print:
        README.write(section)
    return 0


if __name__ == "__main__":
    sys.exit(main())
