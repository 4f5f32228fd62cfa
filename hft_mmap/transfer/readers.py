"""The reader of each format."""

from collections.abc import Callable, Iterator

from hft_mmap.transfer.arrays import read_f64, read_npy
from hft_mmap.transfer.csv_text import read_csv
from hft_mmap.transfer.formats import format_of
from hft_mmap.transfer.ndjson_text import read_ndjson
from hft_mmap.transfer.rows import Rows, Wanted
from hft_mmap.transfer.source import Source
from hft_mmap.transfer.tables import read_arrow, read_parquet

READERS: dict[str, Callable[[Source, Wanted], Iterator[Rows]]] = {
    "csv": read_csv, "parquet": read_parquet, "arrow": read_arrow, "ndjson": read_ndjson, "npy": read_npy,
    "f64": read_f64,
}  # fmt: skip


def read(source: Source, wanted: Wanted, given_format: str | None) -> Iterator[Rows]:
    """Yield the rows of a source in bounded pieces; UnreadableFile, MissingPackage."""
    return READERS[format_of(source.given, given_format)](source, wanted)
