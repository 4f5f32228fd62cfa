"""Where the time, the memory and the system calls go: the service under load, with a profiler attached.

python -m perf.profiling flamegraph add_batch      py-spy: perf/profiles/add_batch.svg
python -m perf.profiling memprofile add_batch      memray: perf/profiles/add_batch-memory.html
python -m perf.profiling syscalls add_batch        strace -c, printed and kept in perf/profiles
"""

import argparse
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from perf import load, servers
from perf.lab import ROOT, SYMBOL, Lab
from perf.load import Stream
from perf.requests import add_batch, get
from perf.suites.decode import body

PROFILES = ROOT / "perf" / "profiles"
LOADS = {
    "bare": [get("/")],
    "stats": [get(f"/stats/?symbol={SYMBOL}&exponent=5")],
    "stats_all": [get(f"/stats/?symbol={SYMBOL}")],
    "add_batch": add_batch([body(10, seed) for seed in range(4)]),
    "add_batch_10000": add_batch([body(10_000, seed) for seed in range(4)]),
}
CONNECTIONS = 32
STORED = 10**6
MOST_FRAMES = 12


class ProfilerMissing(Exception):
    """The profiler is not installed."""


class ProfilerFailed(Exception):
    """The profiler could not attach, or broke off."""


def _program(name: str) -> str:
    """Return the path of a program: of this environment, or of the system."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ProfilerMissing(f"{name} is not installed")
    return found


def _attached(
    command: Sequence[str], server: servers.Server, kind: str, seconds: float, *, limits_itself: bool
) -> None:
    """Run a profiler that attaches to the server, while the load lasts; it ends by itself, or is told to.

    ProfilerFailed if it ends with an error, or before it was told to.
    """
    with subprocess.Popen([*command, str(server.process.pid)]) as profiler:
        load.run(server.port, [Stream(kind, LOADS[kind], CONNECTIONS)], seconds)
        early = not limits_itself and profiler.poll() is not None
        if not limits_itself:
            profiler.send_signal(signal.SIGINT)
        code = profiler.wait()
    # strace passes on the signal that ended it.
    if early or code not in ({0} if limits_itself else {0, -signal.SIGINT, 128 + signal.SIGINT}):
        raise ProfilerFailed(f"{Path(command[0]).name} ended with code {code}; what it has written says nothing")


def flamegraph(kind: str, seconds: float) -> Path:
    """Write where the processor time goes, native code included."""
    target = PROFILES / f"{kind}.svg"
    command = [
        _program("py-spy"), "record", "--native", "--rate", "500", "--duration", str(max(int(seconds) - 1, 1)),
        "--output", str(target), "--pid",
    ]  # fmt: skip
    with Lab().borrowed(STORED) as data, servers.service(data.parent, data) as server:
        _attached(command, server, kind, seconds, limits_itself=True)
    return target


def top_frames(kind: str, seconds: float) -> dict[str, object]:
    """Return which functions py-spy met at the top of the stack, and in what share of the samples each."""
    with Lab().borrowed(STORED) as data, servers.service(data.parent, data) as server:
        raw = data.parent / "stacks.txt"
        command = [
            _program("py-spy"), "record", "--native", "--rate", "500", "--duration", str(max(int(seconds) - 1, 1)),
            "--format", "raw", "--output", str(raw), "--pid",
        ]  # fmt: skip
        _attached(command, server, kind, seconds, limits_itself=True)
        counts = count_tops(raw.read_text(encoding="utf-8"))
    total = counts.total()
    top = [{"frame": frame, "share": count / total} for frame, count in counts.most_common(MOST_FRAMES)]
    return {"samples": total, "top": top}


def count_tops(stacks: str) -> Counter[str]:
    """Return how often each function was at the top, from lines of "outer;inner;top COUNT"."""
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        function, _, place = stack.rpartition(";")[2].partition(" (")
        file = place.rstrip(")").rpartition("/")[2].partition(":")[0]
        counts[f"{function} ({file})" if file else function] += int(count)
    return counts


def syscalls(kind: str, seconds: float) -> Path:
    """Write how many system calls of which kind the server makes, and the time in them."""
    target = PROFILES / f"{kind}-syscalls.txt"
    command = [_program("strace"), "-c", "-f", "-o", str(target), "-p"]
    with Lab().borrowed(STORED) as data, servers.service(data.parent, data) as server:
        _attached(command, server, kind, seconds, limits_itself=False)
    print(target.read_text(encoding="utf-8"))
    return target


def memprofile(kind: str, seconds: float) -> Path:
    """Write what allocates memory, and what holds it at the peak."""
    target = PROFILES / f"{kind}-memory.html"
    memray = _program("memray")
    with Lab().borrowed(STORED) as data:
        trace = data.parent / "memory.bin"
        command = [memray, "run", "--force", "--output", str(trace), "-m", *servers.SERVICE[2:]]
        settings = {"server.port": 0, "store.data_dir": data, "store.max_symbols": 100}
        with servers.running(command, data.parent, settings) as server:
            load.run(server.port, [Stream(kind, LOADS[kind], CONNECTIONS)], seconds)
        subprocess.run([memray, "flamegraph", "--force", "--output", str(target), str(trace)], check=True)
        subprocess.run([memray, "summary", str(trace)], check=True)
    return target


TOOLS = {"flamegraph": flamegraph, "memprofile": memprofile, "syscalls": syscalls}


def main() -> int:
    """Profile what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.profiling", description="Profile the service under load.")
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("load", choices=LOADS)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of the load (default: %(default)s)")
    args = parser.parse_args()
    PROFILES.mkdir(exist_ok=True)
    try:
        target = TOOLS[args.tool](args.load, args.seconds)
    except (ProfilerMissing, ProfilerFailed) as failure:
        print(f"perf: {failure}", file=sys.stderr)
        return 1
    print(f"written: {target.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
