"""Each step in the life of a symbol, killed at each of its system calls: the old state or the new, never between."""

import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hft_mmap import Store
from hft_mmap.testing import lose_power
from tests.torture.kills import scratch
from tests.torture.nursery import Nursery
from tests.torture.tasks import LIFE_LIMITS
from tests.torture.tracing import needs_strace, traced

pytestmark = needs_strace

CALLS = (
    "openat", "pwrite64", "pread64", "fdatasync", "fsync", "rename", "unlink", "unlinkat", "rmdir", "mkdir", "link",
    "ftruncate", "fallocate", "flock", "fcntl", "mmap",
)  # fmt: skip
POINTS = [float(value) for value in range(1, 201)]
OLD = {"A": (0, 200), "B": (0, 200)}
NEW = {
    "remove": {"B": (0, 200)},
    "rename": {"B": (0, 200), "C/D": (0, 200)},
    "truncate": {"A": (180, 200), "B": (0, 200)},
    "restore": {**OLD, "D": (0, 200)},
    "create": {**OLD, "E": (0, 0)},
}
_CALL = re.compile(r"(\d+) +(\w+)\(")


def prepare(place: Path) -> Path:
    """Make a store of two symbols that was closed in order, and beside it a snapshot with a third."""
    data = place / "data"
    with Store(data, limits=LIFE_LIMITS, durability="process") as store:
        for symbol in ("A", "B", "D"):
            store.append(symbol, POINTS)
        store.snapshot(f"{data}-snapshot")
        store.remove("D")
    return data


def state(data: Path, mode: str) -> dict[str, tuple[int, int]]:
    """Return start and total of each symbol, with every value of it, every node and every fault looked at."""
    found = {}
    with Store(data, mode=mode, limits=LIFE_LIMITS) as store:  # type: ignore[arg-type]
        assert (store.reasons(), store.losses()) == ([], [])
        for info in store.symbols():
            found[info.symbol] = info.start, info.total
            kept = store.window(info.symbol, 1000).tolist() if info.count else []
            assert kept == POINTS[info.start : info.total]
            if info.count:
                assert store.stats(info.symbol, 1000).avg == pytest.approx(sum(kept) / len(kept))
        assert [report.faults for report in store.verify() if report.faults] == []
    return found


def run(nursery: Nursery, place: Path, step: str, *options: str) -> tuple[int, list[str]]:
    """Take the step under strace; return the exit code, and what strace recorded."""
    child, log = nursery.spawn("life", path=str(place / "data"), step=step), place / "trace"
    with traced(child, log, *options):
        code = child.wait()
    return code, log.read_text().splitlines()


def numbers(nursery: Nursery, step: str) -> list[tuple[str, int]]:
    """Return the calls that the step makes, from its beginning on, each with its number within its thread."""
    with scratch() as place:
        prepare(place)
        code, lines = run(nursery, place, step, "-e", f"trace={','.join((*CALLS, 'write'))}")
        assert (code, state(place / "data", "r")) == (0, NEW[step])
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, int], None] = {}
    begun = False
    for line in lines:
        if match := _CALL.match(line):
            thread, call = match.groups()
            counts[thread, call] += 1
            begun |= "begins" in line
            if "done" in line:
                break
            if begun and call != "write":
                found[call, counts[thread, call]] = None
    return list(found)


@pytest.mark.parametrize("step", NEW)
def test_a_step_that_is_killed_leaves_the_old_state_or_the_new(nursery: Nursery, step: str) -> None:
    """At whichever system call: for who reads at once, for the next writer, and after a power loss on top of it."""
    where = numbers(nursery, step)

    def kill(call: str, number: int) -> dict[str, tuple[int, int]] | None:
        with scratch() as place:
            data = prepare(place)
            inject = f"inject={call}:signal=SIGKILL:when={number}"
            code, _ = run(nursery, place, step, "-e", f"trace={call}", "-e", inject)
            if code != -9:  # the flusher's thread may make a call more or less
                return None
            crashed = place / "crashed"
            shutil.copytree(data, crashed)
            found = state(data, "r")
            assert found in (OLD, NEW[step]), (call, number, found)
            assert state(data, "a") == found, (call, number)
            left = [name for name in os.listdir(data) if name.startswith(".") and name != ".lock"]
            assert left + [str(path) for path in data.glob("*/head.renamed")] == [], (call, number)
            lose_power(crashed)
            after = state(crashed, "a")
            assert after in (OLD, NEW[step]), (call, number, after)
            return found

    with ThreadPoolExecutor(2) as both_cores:
        states = list(both_cores.map(lambda one: kill(*one), where))
    assert OLD in states
    assert NEW[step] in states
