"""The first answers of a fresh process when nothing of the series is in memory, and the same once it is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from perf.case import name
from perf.experiment import Effort, Experiment
from perf.lab import SYMBOL, Lab
from perf.record import Benchmark, benchmark

STORED = 10**8
_ASKS = """
import json, sys
from time import perf_counter
from hft_mmap import Store
begin = perf_counter()
store = Store(sys.argv[1], mode="r")
opened = perf_counter()
store.windows(sys.argv[2])
first = perf_counter()
store.windows(sys.argv[2])
print(json.dumps({"open": opened - begin, "first_windows": first - opened, "next_windows": perf_counter() - first}))
"""


def evict(directory: Path) -> None:
    """Have the kernel drop what it holds of the files below `directory`; it may, once they are synced and unmapped."""
    for file in directory.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _ask(data: Path) -> dict[str, float]:
    command = [sys.executable, "-c", _ASKS, str(data), SYMBOL]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def _measure(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    data = lab.stored(STORED)
    taken: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(effort.rounds):
        evict(data)
        for state in ("cold", "warm"):
            for what, seconds in _ask(data).items():
                taken.setdefault((what, state), []).append([seconds])
    for (what, state), runs in taken.items():
        yield benchmark(name("cold", what, stored=STORED, memory=state), runs)


EXPERIMENTS = (Experiment("cold", _measure, round_s=3.0),)
