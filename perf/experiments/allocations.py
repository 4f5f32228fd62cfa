"""How many allocations a request makes, and how much memory at most, as memray counts them."""

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from perf import catalogue
from perf.case import name
from perf.experiment import Effort, Experiment
from perf.lab import Lab
from perf.record import Benchmark, benchmark

CASES: Mapping[str, str] = {
    "stats": "protocol.stats[exponent=5,server=ours]",
    "stats_on_uvicorn": "protocol.stats[exponent=5,server=uvicorn]",
    "add_batch": "protocol.add_batch[values=10,server=ours]",
    "add_batch_on_uvicorn": "protocol.add_batch[values=10,server=uvicorn]",
    "append": "store.append[points=10]",
    "window": "reading.window[stored=1e6,window=1e5]",
}
_LOOPS = 2_000


def _count(run: Callable[[int], float], file: Path) -> int:
    import memray  # noqa: PLC0415 - a profiler, which `make report` and `make memprofile` install

    with memray.Tracker(file, trace_python_allocators=True):
        run(_LOOPS)
    reader: Any = memray.FileReader(file)
    return int(reader.metadata.total_allocations)


def _measure(lab: Lab, _effort: Effort) -> Iterator[Benchmark]:
    if find_spec("memray") is None:
        print("allocations: memray is not installed; `make report` installs it")
        return
    for what, case in CASES.items():
        with catalogue.find(case).prepare(lab) as run, lab.scratch() as scratch:
            run(_LOOPS)
            made = _count(run, scratch / "memray.bin") / _LOOPS
        yield benchmark(name("allocations", what), [[made]], unit="integer", metadata={"case": case})


EXPERIMENTS = (Experiment("allocations", _measure, "process", setup_s=15.0),)
