"""Bytes a point: on the disk, and in the page cache once everything was read; and of ticks with their groups."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from perf.case import name
from perf.experiment import Effort, Experiment
from perf.lab import DAY, Lab
from perf.record import Benchmark, benchmark

STORED = 10**8


def disk_bytes(directory: Path) -> int:
    """Return the bytes that the files below `directory` take on the disk."""
    return sum(512 * file.stat().st_blocks for file in directory.rglob("*") if file.is_file())


def cached_bytes(directory: Path) -> int | None:
    """Return the bytes of these files that are in the page cache, or None where util-linux has no fincore."""
    program = shutil.which("fincore")
    if program is None:
        return None
    files = [str(file) for file in directory.rglob("*") if file.is_file()]
    command = [program, "--bytes", "--noheadings", "--output", "RES", *files]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(int(line) for line in said.split())


def _read_all(directory: Path) -> None:
    """Have the page cache hold everything that has a place on the disk."""
    for file in directory.rglob("*.chunk"):
        left = 512 * file.stat().st_blocks
        with file.open("rb") as stream:
            while left > 0 and (read := len(stream.read(1 << 20))):
                left -= read


def _measure(lab: Lab, _effort: Effort) -> Iterator[Benchmark]:
    data = lab.stored(STORED)
    yield benchmark(name("space", "disk_bytes_a_point", stored=STORED), [[disk_bytes(data) / STORED]], unit="integer")
    _read_all(data)
    cached = cached_bytes(data)
    if cached:
        yield benchmark(name("space", "cached_bytes_a_point", stored=STORED), [[cached / STORED]], unit="integer")


def _measure_ticks(lab: Lab, _effort: Effort) -> Iterator[Benchmark]:
    data = lab.stored(STORED, DAY)
    yield benchmark(name("tick_bytes", "disk", stored=STORED), [[disk_bytes(data) / STORED]], unit="integer")


EXPERIMENTS = (Experiment("space", _measure, "process"), Experiment("tick_bytes", _measure_ticks, "process"))
