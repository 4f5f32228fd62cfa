"""Files as others write them, and imports of them in one line."""

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd
from hypothesis import strategies as st

from hft_mmap import Limits, Store
from hft_mmap.testing import MEMORY
from hft_mmap.transfer import ImportReport, Plan, StoreSink, import_files
from hft_mmap.transfer.rows import SENTINELS

LIMITS = Limits(starting_capacity=0, chunk_points=320, max_symbols=100)
BEGIN_S = 1_767_225_600
"""The time of the first row, in seconds since 1970; each row is a second later."""
PRICES = st.floats(0.0, 1e140).filter(lambda price: price not in SENTINELS) | st.sampled_from(
    [0.0, 5e-324, 150.1, 1e140, 1 / 3]
)


def write_csv(path: Path, values: Sequence[float]) -> None:
    """As Python writes it, a time beside each price; CRLF, as RFC 4180 wants it."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "price"])
        writer.writerows(enumerate(values, BEGIN_S))


def write_csv_gz(path: Path, values: Sequence[float]) -> None:
    """Compress every two lines on their own, as `cat a.gz b.gz` has them."""
    plain = path.with_suffix(".plain")
    write_csv(plain, values)
    lines = plain.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(gzip.compress(b"".join(lines[i : i + 2])) for i in range(0, len(lines), 2)))


def write_csv_zst(path: Path, values: Sequence[float]) -> None:
    """Two frames."""
    plain = path.with_suffix(".plain")
    write_csv(plain, values)
    text = plain.read_bytes()
    path.write_bytes(zstd.compress(text[: len(text) // 2]) + zstd.compress(text[len(text) // 2 :]))


def table(values: Sequence[float]) -> Any:
    """Return a table with the prices in the second column."""
    return pa.table(
        {"time": pa.array(range(BEGIN_S, BEGIN_S + len(values)), pa.int64()), "price": pa.array(values, pa.float64())}
    )


def write_parquet(path: Path, values: Sequence[float]) -> None:
    """In row groups of three rows."""
    pq.write_table(table(values), path, row_group_size=3)


def write_arrow(path: Path, values: Sequence[float]) -> None:
    """As a file with compressed buffers, which is what Feather 2 is."""
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(path, table(values).schema, options=options) as writer:
        writer.write_table(table(values), max_chunksize=5)


def write_arrows(path: Path, values: Sequence[float]) -> None:
    """As a stream."""
    with pa.ipc.new_stream(path, table(values).schema) as writer:
        writer.write_table(table(values), max_chunksize=5)


def write_ndjson(path: Path, values: Sequence[float]) -> None:
    """As Python writes it."""
    path.write_text("".join(json.dumps({"time": i, "price": value}) + "\n" for i, value in enumerate(values, BEGIN_S)))


def write_npy(path: Path, values: Sequence[float]) -> None:
    """As NumPy writes it."""
    np.save(path, np.array(values, dtype=np.float64))


def write_f64(path: Path, values: Sequence[float]) -> None:
    """As it lies in memory."""
    path.write_bytes(np.array(values, dtype="<f8").tobytes())


WRITERS: dict[str, Callable[[Path, Sequence[float]], None]] = {
    "a.csv": write_csv, "a.csv.gz": write_csv_gz, "a.csv.zst": write_csv_zst, "a.parquet": write_parquet,
    "a.arrow": write_arrow, "a.arrows": write_arrows, "a.ndjson": write_ndjson, "a.npy": write_npy, "a.f64": write_f64,
}  # fmt: skip


def bring(
    store: Store, *files: Path | str, symbol: str | None = "A", resume: bool = False, **options: Any
) -> ImportReport:
    """Import files into a store."""
    return import_files(Plan([str(file) for file in files], symbol, **options), StoreSink(store), resume=resume)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a directory in memory, for what syncs often; a context that removes it."""
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)


def text_file(path: Path, text: str | bytes) -> Path:
    """Write a file as it is given, line ends included, and return its path."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def bits(values: Any) -> bytes:
    """Return float64 values as their bits."""
    return np.asarray(values, dtype="<f8").tobytes()


def rows_as_csv(rows: Sequence[Sequence[object]]) -> str:
    """Return rows as Python's csv module writes them."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
