"""Series into files: Parquet, CSV, Arrow, NumPy's .npy and raw float64, piece by piece.

A file has its name only once it is complete and on the disk: until then it is `.NAME.<random>.part` beside it. What is
no file, a pipe or a device, is written into.
"""

import bz2
import gzip
import lzma
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hft_mmap.files.disk import sync_directory
from hft_mmap.span import Span
from hft_mmap.transfer.errors import UnwritableFile
from hft_mmap.transfer.formats import STANDARD_STREAM, compression_of, format_of
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.survey import DEFAULT_COLUMN

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_POINTS = 1 << 20
GZIP_LEVEL = 6


def _pieces(span: Span) -> Iterator[NDArray[np.float64]]:
    """Yield the points in pieces; chunks that were read to their end no longer count as memory of this process."""
    chunk_points = span.view.layout.points
    for begin, end in span.cuts(PIECE_POINTS):
        yield span.view.read(begin, end)
        if end % chunk_points == 0:
            span.view.chunks[(begin - span.view.first) // chunk_points].forget_pages()


def _arrow_batches(span: Span) -> tuple[Arrow, Iterator[Arrow]]:
    """Return the schema of a table of one column, and its record batches; the schema carries symbol and first point."""
    arrow = need("pyarrow", "this format")
    notes = {"symbol": span.symbol, "first": str(span.first), "end": str(span.end)}
    schema = arrow.schema([arrow.field(DEFAULT_COLUMN, arrow.float64(), nullable=False)], metadata=notes)
    batches = (
        arrow.RecordBatch.from_arrays([arrow.array(piece)], schema=schema) for piece in _pieces(span)
    )  # fmt: skip
    return schema, batches


def _write_parquet(span: Span, file: BinaryIO) -> None:
    schema, batches = _arrow_batches(span)
    parquet = need("pyarrow.parquet", "Parquet")
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_arrow_file(span: Span, file: BinaryIO) -> None:
    schema, batches = _arrow_batches(span)
    with need("pyarrow.ipc", "Arrow").new_file(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_arrow_stream(span: Span, file: BinaryIO) -> None:
    schema, batches = _arrow_batches(span)
    with need("pyarrow.ipc", "Arrow").new_stream(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_csv(span: Span, file: BinaryIO) -> None:
    """Write each price with as many digits as it takes to read the same float64 back."""
    schema, batches = _arrow_batches(span)
    with need("pyarrow.csv", "CSV").CSVWriter(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_npy(span: Span, file: BinaryIO) -> None:
    header = {"descr": "<f8", "fortran_order": False, "shape": (len(span),)}
    npy.write_array_header_1_0(file, header)
    _write_f64(span, file)


def _write_f64(span: Span, file: BinaryIO) -> None:
    file.writelines(np.ascontiguousarray(piece, dtype="<f8").data for piece in _pieces(span))


_WRITERS: dict[str, Callable[[Span, BinaryIO], None]] = {
    "csv": _write_csv, "parquet": _write_parquet, "arrow": _write_arrow_file, "npy": _write_npy, "f64": _write_f64,
}  # fmt: skip
EXPORT_FORMATS = tuple(_WRITERS)


def _check_columns(span: Span, target: str) -> None:
    """Refuse points with times or sizes: no format has a place for them yet, and none is left out unsaid."""
    if span.columns:
        what = " and ".join(span.columns)
        raise UnwritableFile(
            f"{target}: {span.symbol} has {what}, which export does not write yet; GET /values has them"
        )


def export_span(span: Span, target: str, given_format: str | None = None) -> None:
    """Write the points of `span` to the file `target`, replaced if it exists, or to standard output ("-").

    A link stays, and the file that it leads to is replaced. What is no regular file, a pipe or /dev/null, is written
    into.

    The format follows from the name, or is `given_format`; .gz, .bz2, .xz and .zst compress csv, npy and f64. On
    return the file is complete and on the disk; until then nothing has its name. Memory is bounded by a piece of 2^20
    points.
    UnwritableFile, UnreadableFile (no such format), MissingPackage.
    """
    _check_columns(span, target)
    kind = format_of(target, given_format)
    write = _WRITERS.get(kind)
    compression = None if target == STANDARD_STREAM else compression_of(target)
    if write is None or (compression and kind in {"parquet", "arrow"}):
        what = f"{kind} is not written compressed as a whole" if write else f"{kind} is only read"
        raise UnwritableFile(f"{target}: {what}; formats are {', '.join(EXPORT_FORMATS)}")
    if target == STANDARD_STREAM:
        # What can't be sought in is a stream for Arrow too.
        (_write_arrow_stream if kind == "arrow" else write)(span, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    if target.endswith(os.sep):
        raise UnwritableFile(f"{target}: names a folder: give the name of the file in it")
    try:
        path = Path(os.path.realpath(target))
        in_place = _is_written_into(Path(target))
        with _written_into(Path(target)) if in_place else _complete_or_absent(path) as raw, ExitStack() as stack:
            if kind == "arrow" and not raw.seekable():
                write = _write_arrow_stream
            file = raw
            if compression == "gzip":
                file = cast(
                    "BinaryIO",
                    stack.enter_context(gzip.GzipFile("", "wb", compresslevel=GZIP_LEVEL, fileobj=raw, mtime=0)),
                )
            elif compression == "bzip2":
                file = cast("BinaryIO", stack.enter_context(bz2.BZ2File(raw, "wb")))
            elif compression == "xz":
                file = cast("BinaryIO", stack.enter_context(lzma.LZMAFile(raw, "wb")))
            elif compression == "zstd":
                file = cast("BinaryIO", stack.enter_context(zstd.ZstdFile(raw, "wb")))
            write(span, file)
    except OSError as error:
        raise UnwritableFile(f"{target}: {error.strerror or error}") from error


def _is_written_into(path: Path) -> bool:
    """Return whether there is something that has to stay what it is.

    /dev/stdout and its like may lead to a regular file, which whoever opened it goes on to write.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(status.st_mode) or _is_of_a_descriptor(path)


def _is_of_a_descriptor(path: Path) -> bool:
    """Return whether a path is, or is a link to, a descriptor that some process has open."""
    place = path.parent.resolve()
    if place.is_relative_to("/proc"):
        return True
    return path.is_symlink() and _is_of_a_descriptor(place / path.readlink())


@contextmanager
def _written_into(path: Path) -> Iterator[BinaryIO]:
    """Yield what is there, opened to be written; a regular file behind a descriptor gets more at its end."""
    with path.open("ab" if path.is_file() else "wb") as file:
        yield file
        file.flush()
        with suppress(OSError):  # a pipe has nothing to sync
            os.fsync(file.fileno())


@contextmanager
def _complete_or_absent(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file, which gets the name `path` once the context is left in order; otherwise it is removed."""
    making = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with making.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        making.replace(path)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
