"""`python -m perf.peers --points 1e6`: measure, keep the figures, write the report and the plot."""

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from perf.environment import describe, lines
from perf.peers.catalogue import ENTRIES, NAMES, Entry
from perf.peers.conduct import ROOT, Exact, Plan, measure
from perf.peers.data import BATCH_POINTS
from perf.peers.report import HERE, summary, write_report
from perf.peers.results import PeerResult, Run

RESULTS = ROOT / "perf" / "results"
PLOT = HERE / "latency.png"
# On a disk, and open to PostgreSQL's account, as a home directory is not; each run makes a directory of its own in it.
DIRECTORY = Path("/var/tmp")  # noqa: S108 - mkdtemp


def _count(text: str) -> int:
    """Return a number of points from "100000", "1e5" or "100_000"."""
    number = float(text)
    if not number.is_integer() or number < BATCH_POINTS:
        raise argparse.ArgumentTypeError(f"a whole number from {BATCH_POINTS:,}, not {text}")
    return int(number)


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise argparse.ArgumentTypeError(f"no such peer: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return names


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m perf.peers", description="The same work on hft-mmap and on others."
    )
    parser.add_argument("--points", type=_count, default=1_000_000, help="prices to append (1e6)")
    parser.add_argument("--peers", type=_names, default=list(NAMES), help="only these, comma-separated")
    parser.add_argument(
        "--append-limit", type=float, default=240.0, metavar="S", help="seconds of appending a peer (240)"
    )
    parser.add_argument("--query-limit", type=float, default=15.0, metavar="S", help="seconds of queries a peer (15)")
    parser.add_argument(
        "--restart-limit", type=float, default=90.0, metavar="S", help="seconds until it answers again (90)"
    )
    parser.add_argument(
        "--total-limit", type=float, default=20.0, metavar="MIN", help="start no peer after (20 minutes)"
    )
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help=f"where the data goes; a disk ({DIRECTORY})")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv-peers/bin/python", help="interpreter of the peers")
    parser.add_argument("--label", default="peers", help="perf/results/DATE_LABEL.json (peers)")
    parser.add_argument("--no-report", action="store_true", help="keep the figures, leave REPORT.md and the plot alone")
    return parser.parse_args()


def main() -> int:
    """Run everything; return the exit code: 1 if hft-mmap itself could not be measured, 2 if nothing could."""
    options = _options()
    plan = Plan(
        options.points,
        options.append_limit,
        options.query_limit,
        options.restart_limit,
        options.directory,
        options.python.absolute(),
    )
    if (theirs := _version_of(plan.python)) != sys.version:
        print(f"peers: they run on {theirs}, hft-mmap on {sys.version}: remove .venv-peers, `make peers` makes it anew")
        return 2
    environment = {**describe(), "env_data": f"{options.directory} ({_file_system(options.directory)})"}
    print(*lines(environment), sep="\n", flush=True)
    began = time.monotonic()
    exact = Exact()
    found = []
    for entry in ENTRIES:
        if entry.name in options.peers:
            late = time.monotonic() - began > 60 * options.total_limit
            result = _not_started(entry, options.total_limit) if late else measure(entry, plan, exact)
            print(summary(result), flush=True)
            found.append(result)
    run = Run(
        datetime.now(UTC).isoformat(timespec="seconds"),
        plan.points,
        BATCH_POINTS,
        plan.append_limit_s,
        plan.query_limit_s,
        plan.restart_limit_s,
        time.monotonic() - began,
        environment,
        tuple(found),
    )
    kept = RESULTS / f"{run.date[:10]}_{options.label}.json"
    run.save(kept)
    print(f"kept {kept}")
    if not options.no_report:
        drawn = _draw(plan.python, kept)
        print(f"wrote {write_report(run, PLOT if drawn else None)}")
    return int(any(result.problems for result in found if result.name.startswith("hft-mmap")))


def _not_started(entry: Entry, limit_min: float) -> PeerResult:
    return PeerResult(
        entry.name,
        None,
        (f"not started: the run had taken {limit_min:g} minutes",),
        entry.most_points,
        most_points_why=entry.most_points_why,
    )


def _version_of(python: Path) -> str:
    """Return what the interpreter of the peers says of itself; it must be the one that hft-mmap runs on."""
    command = [str(python), "-c", "import sys; print(sys.version)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _file_system(directory: Path) -> str:
    """Return the type of the file system that holds `directory`."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mounted, found, *_ = line.split()
        if len(mounted) > len(best) and os.path.commonpath([mounted, directory.resolve()]) == mounted:
            best, kind = mounted, found
    return kind


def _draw(python: Path, kept: Path) -> bool:
    """Draw the plot with the matplotlib of .venv-peers; tell whether there is one."""
    command = [str(python), "-m", "perf.peers.plot", str(kept), str(PLOT)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
