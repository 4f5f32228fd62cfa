"""A process that imports one file, as `hft-mmap import` does: `python -m perf.importer FILE DATA_DIR [ticks]`.

Prices alone, or, where that is said, what stands beside them too.

Prints, as JSON: rows, seconds until all were stored, seconds until they were on the disk, and the most memory that the
process held at once, mapped files included (VmHWM), with what it held before it did anything, and with its libraries.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from perf.servers import environment


@dataclass(frozen=True, slots=True)
class Imported:
    """What one import took."""

    rows: int
    seconds: float
    sync_seconds: float
    peak_bytes: int
    empty_bytes: int
    loaded_bytes: int


def import_in_process(file: Path, data: Path, *, ticks: bool = False) -> Imported:
    """Import `file` into a new store at `data`, in a process of its own; ticks: with its times and sizes."""
    command = [sys.executable, "-m", "perf.importer", str(file), str(data), *(["ticks"] if ticks else [])]
    done = subprocess.run(command, env=environment({}), capture_output=True, text=True, check=True)
    return Imported(**json.loads(done.stdout))


def _memory_bytes(field: str) -> int:
    """Return a field of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise AssertionError(f"no {field}")


def main(file: str, data: str, what: str = "prices") -> int:
    """Import, and tell."""
    beside = what == "ticks"
    empty = _memory_bytes("VmRSS")
    # Only now: what these take is part of what an import takes.
    from hft_mmap import Durability, Store  # noqa: PLC0415
    from hft_mmap.transfer import Plan, StoreSink, import_files  # noqa: PLC0415
    from hft_mmap.transfer.packages import need  # noqa: PLC0415
    from perf.lab import ROOMY, SYMBOL  # noqa: PLC0415

    for module in ("pyarrow", "pyarrow.csv", "pyarrow.parquet"):
        need(module, "the benchmark")  # loading it is no part of the rate
    loaded = _memory_bytes("VmRSS")
    with Store(data, limits=ROOMY, durability=Durability.PROCESS) as store:
        report = import_files(Plan([file], SYMBOL, time=beside, size=beside), StoreSink(store))
    told = Imported(
        report.progress.rows, report.seconds, report.sync_seconds, _memory_bytes("VmHWM"), empty, loaded
    )  # fmt: skip
    print(json.dumps({name: getattr(told, name) for name in Imported.__slots__}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
