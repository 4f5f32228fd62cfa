"""Results that are kept: perf/results/YYYY-MM-DD_label.json, in git, each with its machine and its commit.

python -m perf.history save LABEL [options of python -m perf]
python -m perf.history compare A B [PATTERN ...]        a label, or a file
python -m perf.history list
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pyperf

from perf import catalogue, record
from perf.lab import ROOT
from perf.record import Benchmark
from perf.significance import p_differ

RESULTS = ROOT / "perf" / "results"
ALPHA = 0.05
_COMPARED = (
    "env_cpu",
    "env_cores",
    "env_ram",
    "env_kernel",
    "env_python",
    "env_libraries",
    "env_effort",
    "env_settings",
    "env_commit",
)


class HistoryError(Exception):
    """There is no such result, or it is there already."""


def today() -> str:
    """Return the day, as results are named by it."""
    return datetime.now(UTC).date().isoformat()


def dated(label: str, directory: Path = RESULTS) -> Path:
    """Return the file for a result of today; HistoryError if the label is no plain name. The directory is made."""
    if not label or not all(one.isalnum() or one in "-_." for one in label):
        raise HistoryError(f"a label is letters, digits, - _ and . only, not {label!r}")
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{today()}_{label}.json"


def find(named: str, directory: Path = RESULTS) -> Path:
    """Return the file of that name, or the newest result with that label."""
    if Path(named).is_file():
        return Path(named)
    found = sorted(directory.glob(f"????-??-??_{named}.json"))
    if not found:
        known = ", ".join(sorted(file.stem.partition("_")[2] for file in directory.glob("*.json")))
        raise HistoryError(f"there is no result {named}; known are: {known or 'none'}")
    return found[-1]


def previous(file: Path) -> Path | None:
    """Return the newest result with the label of `file` that is older than it, or None."""
    label = file.stem.partition("_")[2]
    older = [one for one in file.parent.glob(f"????-??-??_{label}.json") if one.name < file.name]
    return max(older, default=None)


def load(file: Path) -> dict[str, Benchmark]:
    """Return the benchmarks of a result by name."""
    return {bench.get_name(): bench for bench in pyperf.BenchmarkSuite.load(str(file)).get_benchmarks()}


def medians_of_runs(bench: Benchmark) -> list[float]:
    """Return one value for each process or round: those within one are not independent."""
    return [median(run.values) for run in bench.get_runs() if run.values]


def compare(a: dict[str, Benchmark], b: dict[str, Benchmark], patterns: Sequence[str]) -> list[str]:
    """Return a table of what both results hold: middle values, factor, and whether chance could explain it."""
    lines = [f"{'':<78}{'A':>12}{'B':>12}{'B / A':>9}"]
    for name, first in a.items():
        second = b.get(name)
        if second is not None and catalogue.matches(name, patterns):
            before, after = medians_of_runs(first), medians_of_runs(second)
            p = p_differ(before, after)
            sure = "" if p < ALPHA else f"  may be chance (p={p:.2f})"
            shown = [_shown(bench, median(values)) for bench, values in ((first, before), (second, after))]
            lines.append(f"{name:<78}{shown[0]:>12}{shown[1]:>12}{median(after) / median(before):>9.3f}{sure}")
    return lines


def _shown(bench: Benchmark, value: float) -> str:
    return record.durations(value) if bench.get_unit() == "second" else record.quantities(value)


def differences(a: Mapping[str, Benchmark], b: Mapping[str, Benchmark]) -> list[str]:
    """Return what differs between the environments of two results: most of all, whether they compare at all."""
    first, second = (next(iter(one.values())).get_metadata() for one in (a, b))
    return [
        f"{key.removeprefix('env_')}: {first.get(key)} | {second.get(key)}"
        for key in _COMPARED
        if first.get(key) != second.get(key)
    ]


def save(label: str, options: Sequence[str], directory: Path = RESULTS) -> int:
    """Run the benchmarks and keep the result; HistoryError if there is one of today with this label."""
    file = dated(label, directory)
    if file.exists():
        raise HistoryError(f"{file} exists: give another label, or remove it")
    code = subprocess.run([sys.executable, "-m", "perf", "-o", str(file), *options], cwd=ROOT, check=False).returncode
    print(f"\nkept in {file}" if file.exists() else "\nnothing was kept")
    return code


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; return the exit code."""
    match list(arguments):
        case ["save", label, *options]:
            return save(label, options)
        case ["compare", first, second, *patterns]:
            a, b = load(find(first)), load(find(second))
            print(*differences(a, b), "", *compare(a, b, patterns), sep="\n")
        case ["list"]:
            print(*(file.name for file in sorted(RESULTS.glob("*.json"))), sep="\n")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except HistoryError as error:
        sys.exit(f"perf: {error}")
