"""Which formats there are, and which one a file name stands for.

=========  =====================================  ================================================
format     suffixes                               what it is
=========  =====================================  ================================================
csv        .csv .tsv .txt                         text, a row a line, a header line
parquet    .parquet .pq                           Apache Parquet
arrow      .arrow .arrows .feather .ipc           Arrow IPC, as a file (Feather 2) or as a stream
ndjson     .ndjson .jsonl                         a JSON object a line
npy        .npy                                   one NumPy array
f64        .f64 .raw .bin                         float64, little-endian, nothing else
=========  =====================================  ================================================

A further suffix .gz or .zst stands for compression, of those that are read from front to back.
"""

from pathlib import PurePath

from hft_mmap.transfer.errors import UnreadableFile

STANDARD_STREAM = "-"
FORMATS = ("csv", "parquet", "arrow", "ndjson", "npy", "f64")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_FORMAT_OF_SUFFIX = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".parquet": "parquet", ".pq": "parquet",
    ".arrow": "arrow", ".arrows": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".ndjson": "ndjson", ".jsonl": "ndjson",
    ".npy": "npy",
    ".f64": "f64", ".raw": "f64", ".bin": "f64",
}  # fmt: skip


def compression_of(name: str) -> str | None:
    """Return "gzip" or "zstd" for a name that ends in .gz or .zst, else None."""
    return COMPRESSIONS.get(PurePath(name).suffix.lower())


def plain_suffix(name: str) -> str:
    """Return the suffix of a name, in lower case, that of a compression taken off."""
    path = PurePath(name)
    return (path.with_suffix("") if compression_of(name) else path).suffix.lower()


def format_of(name: str, given: str | None = None) -> str:
    """Return the format of the file `name`, `given` if there is one; UnreadableFile if the name says nothing."""
    if given is not None:
        return given
    found = _FORMAT_OF_SUFFIX.get(plain_suffix(name))
    if found is None:
        known = " ".join(_FORMAT_OF_SUFFIX)
        raise UnreadableFile(f"{name}: the name tells no format; give --format, or one of the suffixes {known}")
    return found
