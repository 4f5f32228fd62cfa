"""Which formats there are, and which one a file name, or the first bytes of a file, stand for.

=========  =====================================  ================================================
format     suffixes                               what it is
=========  =====================================  ================================================
csv        .csv .tsv .txt .asc .prn               text, a row a line, a header line or none
parquet    .parquet .pq                           Apache Parquet
arrow      .arrow .arrows .feather .ipc           Arrow IPC, as a file (Feather 2) or as a stream
ndjson     .ndjson .jsonl                         a JSON object a line
json       .json                                  one JSON array: of numbers, of objects or of arrays
xlsx       .xlsx .xlsm .xls .ods                  a workbook
npy        .npy                                   one NumPy array
npz        .npz                                   several of them
f64        .f64 .raw .bin                         float64, little-endian, nothing else
=========  =====================================  ================================================

A further suffix .gz, .bz2, .xz or .zst stands for compression, of those that are read from front to back; the first
bytes of a file say it without.
"""

import os
from pathlib import PurePath

from hft_mmap.transfer.errors import UnreadableFile

STANDARD_STREAM = "-"
FORMATS = ("csv", "parquet", "arrow", "ndjson", "json", "xlsx", "npy", "npz", "f64")
COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
ARCHIVE_SUFFIX = ".zip"
_COMPRESSION_MAGICS = {
    b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"
}  # fmt: skip
ZIP_MAGIC = b"PK\x03\x04"
_FORMAT_MAGICS = {
    b"PAR1": "parquet", b"ARROW1": "arrow", b"\x93NUMPY": "npy", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "xlsx"
}  # fmt: skip
MAGIC_BYTES = 8
_FORMAT_OF_SUFFIX = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".asc": "csv", ".prn": "csv",
    ".parquet": "parquet", ".pq": "parquet",
    ".arrow": "arrow", ".arrows": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".ndjson": "ndjson", ".jsonl": "ndjson",
    ".json": "json",
    ".xlsx": "xlsx", ".xlsm": "xlsx", ".xls": "xlsx", ".ods": "xlsx",
    ".npy": "npy", ".npz": "npz",
    ".f64": "f64", ".raw": "f64", ".bin": "f64",
}  # fmt: skip


def speakable(name: str) -> str:
    """Return the name of a file as text that can be printed and sent: bytes that are no UTF-8 are escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")


def compression_of(name: str) -> str | None:
    """Return what a name is compressed with, by its last suffix, else None."""
    return COMPRESSIONS.get(PurePath(name).suffix.lower())


def compression_by_magic(head: bytes) -> str | None:
    """Return what a file that begins with `head` is compressed with, None if with nothing that is known."""
    return next((name for magic, name in _COMPRESSION_MAGICS.items() if head.startswith(magic)), None)


def format_by_magic(head: bytes) -> str | None:
    """Return the format that the first bytes of a file show for sure, else None."""
    return next((name for magic, name in _FORMAT_MAGICS.items() if head.startswith(magic)), None)


def plain_suffix(name: str) -> str:
    """Return the suffix of a name, in lower case, that of a compression taken off."""
    path = PurePath(name)
    return (path.with_suffix("") if compression_of(name) else path).suffix.lower()


def is_known(name: str) -> bool:
    """Return whether a name tells a format, or is that of an archive."""
    return plain_suffix(name) in _FORMAT_OF_SUFFIX or plain_suffix(name) == ARCHIVE_SUFFIX


def format_of(name: str, given: str | None = None) -> str:
    """Return the format of the file `name`, `given` if there is one; UnreadableFile if the name says nothing."""
    if given is not None:
        return given
    found = _FORMAT_OF_SUFFIX.get(plain_suffix(name))
    if found is None:
        known = " ".join(_FORMAT_OF_SUFFIX)
        raise UnreadableFile(f"{name}: the name tells no format; give --format, or one of the suffixes {known}")
    return found
