"""Import of files of 1e8 rows, a time and a price each, prices alone: rows a second, and the most memory it takes.

Two rates: until every point is stored and visible with its nodes (`what=stored`), and until it is on the disk as well
(`what=on_disk`), which is the speed of the disk where that is slower. Beside them, what bounds them: reading the file
with pyarrow and nothing else (`what=read_alone`), and putting as many bytes on the disk (`import.disk_alone`). Files of
time, price and size are stored with all of it (`import.ticks`).
"""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.importer import import_in_process
from perf.lab import Lab
from perf.memory import touch
from perf.prices import BLOCK_POINTS, price_blocks, random_walk
from perf.record import Benchmark, benchmark

ROWS = 100_000_000
TICK_ROWS = 20_000_000
SAMPLE_BLOCKS = 4
_WARM_BYTES = 3_000_000_000


def write_csv(path: Path) -> None:
    """Write ROWS rows as pyarrow writes them: a time in milliseconds, a price with two decimals."""
    import pyarrow as pa  # noqa: PLC0415 - loaded where it is needed
    from pyarrow import csv  # noqa: PLC0415

    blocks = []
    for seed in range(SAMPLE_BLOCKS):
        sink = pa.BufferOutputStream()
        time = 1_700_000_000_000 + np.arange(BLOCK_POINTS)
        csv.write_csv(
            pa.table({"time": time, "price": random_walk(BLOCK_POINTS, seed)}), sink,
            csv.WriteOptions(include_header=False),
        )  # fmt: skip
        blocks.append(sink.getvalue())
    with path.open("wb") as file:
        file.write(b'"time","price"\n')
        for i in range(ROWS // BLOCK_POINTS):
            file.write(blocks[i % SAMPLE_BLOCKS])


def write_parquet(path: Path) -> None:
    """Write ROWS rows with pyarrow's defaults: snappy, dictionaries, row groups of a million rows."""
    import pyarrow as pa  # noqa: PLC0415 - loaded where it is needed
    from pyarrow import parquet  # noqa: PLC0415

    time = 1_700_000_000_000 + np.arange(BLOCK_POINTS)
    tables = [pa.table({"time": time, "price": random_walk(BLOCK_POINTS, seed)}) for seed in range(SAMPLE_BLOCKS)]
    with parquet.ParquetWriter(path, tables[0].schema) as writer:
        for i in range(ROWS // BLOCK_POINTS):
            writer.write_table(tables[i % SAMPLE_BLOCKS])


def write_ticks(path: Path) -> None:
    """Write TICK_ROWS rows: a time in nanoseconds, a price with two decimals, a size."""
    import pyarrow as pa  # noqa: PLC0415 - loaded where it is needed
    from pyarrow import csv  # noqa: PLC0415

    begin = 1_767_225_600_000_000_000
    with path.open("wb") as file:
        file.write(b'"time","price","size"\n')
        for block in range(TICK_ROWS // BLOCK_POINTS):
            time = begin + 1_000 * (block * BLOCK_POINTS + np.arange(BLOCK_POINTS))
            size = np.random.default_rng(block).integers(1, 500, BLOCK_POINTS).astype(np.float64)
            table = pa.table({"time": time, "price": random_walk(BLOCK_POINTS, block), "size": size})
            csv.write_csv(table, file, csv.WriteOptions(include_header=False))


def _measure_ticks(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    file = lab.directory / f"ticks-{TICK_ROWS}.csv"
    if not file.exists():
        with lab.scratch() as scratch:
            write_ticks(scratch / file.name)
            (scratch / file.name).rename(file)
    taken = []
    for _ in range(effort.rounds):
        with lab.scratch() as scratch:
            touch(_WARM_BYTES)
            shutil.copyfile(file, "/dev/null")
            taken.append(import_in_process(file, scratch / "data", ticks=True))
    rows = Work(taken[0].rows, "rows")
    yield benchmark(name("import", "ticks", what="stored"), [[one.seconds] for one in taken], work=rows)
    on_disk = [[one.seconds + one.sync_seconds] for one in taken]
    yield benchmark(name("import", "ticks", what="on_disk"), on_disk, work=rows)


def _made(lab: Lab, file_name: str, write: Callable[[Path], None]) -> Path:
    """Return a file of the lab, written at first use."""
    path = lab.directory / file_name
    if not path.exists():
        with lab.scratch() as scratch:
            write(scratch / file_name)
            (scratch / file_name).rename(path)
    if path.stat().st_size < ROWS // 10:
        message = f"{path} is too small to have {ROWS:,} rows: remove it, and it is written anew"
        raise ValueError(message)
    return path


def _measure(lab: Lab, effort: Effort, kind: str, write: Callable[[Path], None]) -> Iterator[Benchmark]:
    file = _made(lab, f"import-{ROWS}.{kind}", write)
    taken = []
    for _ in range(effort.rounds):
        with lab.scratch() as scratch:
            touch(_WARM_BYTES)
            shutil.copyfile(file, "/dev/null")  # into the page cache, if it is not there
            taken.append(import_in_process(file, scratch / "data"))
    assert all(one.rows == ROWS for one in taken)
    rows = Work(ROWS, "rows")
    read = [[_read_alone(kind, file)] for _ in range(effort.rounds)]
    loaded = [[one.loaded_bytes - one.empty_bytes] for one in taken]

    def named(what: str) -> str:
        return name("import", kind, rows=ROWS, what=what)

    yield benchmark(named("stored"), [[one.seconds] for one in taken], work=rows)
    yield benchmark(named("on_disk"), [[one.seconds + one.sync_seconds] for one in taken], work=rows)
    above = [[one.peak_bytes - one.empty_bytes] for one in taken]
    yield benchmark(named("memory_above_empty"), above, unit="byte")
    yield benchmark(named("memory_of_libraries"), loaded, unit="byte")
    yield benchmark(named("read_alone"), read, work=rows)


def _read_alone(kind: str, file: Path) -> float:
    """Return the seconds that pyarrow takes to read both columns, in blocks of 2 MiB or batches of a million rows."""
    import pyarrow as pa  # noqa: PLC0415 - loaded where it is needed
    from pyarrow import csv, parquet  # noqa: PLC0415

    shutil.copyfile(file, "/dev/null")
    begin = perf_counter()
    if kind == "csv":
        types = {"time": pa.int64(), "price": pa.float64()}
        with csv.open_csv(
            file, csv.ReadOptions(block_size=2 << 20), convert_options=csv.ConvertOptions(column_types=types)
        ) as reader:
            rows = sum(len(batch) for batch in reader)
    else:
        with parquet.ParquetFile(file) as table:
            rows = sum(len(batch) for batch in table.iter_batches(batch_size=1_000_000))
    assert rows == ROWS
    return perf_counter() - begin


def _measure_disk(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    """Yield what it takes to put ROWS float64 on the disk, written in pieces of a megabyte and synced once."""
    piece = next(price_blocks())[: 1 << 17].tobytes()
    taken = []
    for _ in range(effort.rounds):
        touch(_WARM_BYTES)
        with lab.scratch() as scratch, (scratch / "bytes").open("wb", buffering=0) as file:
            begin = perf_counter()
            for _ in range(-(-8 * ROWS // len(piece))):
                file.write(piece)
            os.fdatasync(file.fileno())
            taken.append([perf_counter() - begin])
    yield benchmark(name("import", "disk_alone", rows=ROWS), taken, work=Work(8 * ROWS, "bytes"))


EXPERIMENTS = (
    *(
        Experiment(
            f"import.{kind}",
            partial(_measure, kind=kind, write=write),
            "process",
            setup_s=30.0,
            round_s=15.0,
            most_rounds=2,
        )
        for kind, write in (("csv", write_csv), ("parquet", write_parquet))
    ),
    Experiment("import.ticks", _measure_ticks, "process", setup_s=30.0, round_s=15.0, most_rounds=2),
    Experiment("import.disk_alone", _measure_disk, "sync", round_s=4.0, most_rounds=2),
)
