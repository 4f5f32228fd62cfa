"""Series into files: Parquet, CSV, Arrow, NumPy's .npz and .npy, and raw float64, piece by piece.

A file has its name only once it is complete and on the disk: until then it is `.NAME.<random>.part` beside it. What is
no file, a pipe or a device, is written into.
"""

import bz2
import gzip
import io
import lzma
import os
import secrets
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hft_mmap.files.disk import sync_directory
from hft_mmap.span import Span
from hft_mmap.ticks import ticks_of
from hft_mmap.transfer.errors import UnwritableFile
from hft_mmap.transfer.formats import STANDARD_STREAM, compression_of, format_of
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.survey import DEFAULT_COLUMN

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIECE_POINTS = 1 << 20
TIME, SIZE = "time", "size"
GZIP_LEVEL = 6


class _Points(NamedTuple):
    """What is written: points, and the names of their columns, in the order in which these stand in a table."""

    span: Span
    names: tuple[str, ...]

    def pieces(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the columns in pieces; chunks that were read to their end don't count as memory of this process."""
        span = self.span
        chunk_points = span.view.layout.points
        for begin, end in span.cuts(PIECE_POINTS):
            rows = ticks_of(span.view, begin, end)
            found = {TIME: rows.times, DEFAULT_COLUMN: rows.prices, SIZE: rows.sizes}
            yield {name: column for name in self.names if (column := found[name]) is not None}
            if end % chunk_points == 0:
                span.view.chunks[(begin - span.view.first) // chunk_points].forget_pages()

    def column(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield one column in pieces."""
        return (piece[name] for piece in self._replace(names=(name,)).pieces())


def _arrow_batches(points: _Points) -> tuple[Arrow, Iterator[Arrow]]:
    """Return the schema of a table and its record batches; the schema carries symbol and first point.

    Times are timestamps in nanoseconds, in UTC.
    """
    arrow = need("pyarrow", "this format")
    span = points.span
    notes = {"symbol": span.symbol, "first": str(span.first), "end": str(span.end)}
    kinds = {TIME: arrow.timestamp("ns", tz="UTC")}
    fields = [arrow.field(name, kinds.get(name, arrow.float64()), nullable=False) for name in points.names]
    schema = arrow.schema(fields, metadata=notes)
    batches = (
        arrow.RecordBatch.from_arrays(
            [arrow.array(piece[field.name]).cast(field.type) for field in fields], schema=schema
        )
        for piece in points.pieces()
    )  # fmt: skip
    return schema, batches


def _write_parquet(points: _Points, file: BinaryIO) -> None:
    schema, batches = _arrow_batches(points)
    parquet = need("pyarrow.parquet", "Parquet")
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_arrow_file(points: _Points, file: BinaryIO) -> None:
    schema, batches = _arrow_batches(points)
    with need("pyarrow.ipc", "Arrow").new_file(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_arrow_stream(points: _Points, file: BinaryIO) -> None:
    schema, batches = _arrow_batches(points)
    with need("pyarrow.ipc", "Arrow").new_stream(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_csv(points: _Points, file: BinaryIO) -> None:
    """Write each price with as many digits as it takes to read the same float64 back."""
    schema, batches = _arrow_batches(points)
    with need("pyarrow.csv", "CSV").CSVWriter(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_npy(points: _Points, file: BinaryIO) -> None:
    _write_array(points, DEFAULT_COLUMN, file)


def _write_array(points: _Points, name: str, file: IO[bytes]) -> None:
    """Write one column as NumPy does; times are datetime64[ns], which NumPy has in UTC."""
    header = {"descr": "<M8[ns]" if name == TIME else "<f8", "fortran_order": False, "shape": (len(points.span),)}
    npy.write_array_header_1_0(file, header)
    for piece in points.column(name):
        file.write(piece.data.cast("B"))


class _Forward(io.RawIOBase):
    """What is only written to, from front to back: a device says that it can be sought in, and forgets where it was."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        """Say so."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Write all of it."""
        return self._file.write(data)


def _write_npz(points: _Points, file: BinaryIO) -> None:
    """Write an array for each column, not compressed, as `numpy.savez` does."""
    with zipfile.ZipFile(_Forward(file), "w") as archive:
        for name in points.names:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _write_array(points, name, member)


def _write_f64(points: _Points, file: BinaryIO) -> None:
    file.writelines(np.ascontiguousarray(piece, dtype="<f8").data for piece in points.column(DEFAULT_COLUMN))


_WRITERS: dict[str, Callable[[_Points, BinaryIO], None]] = {
    "csv": _write_csv, "parquet": _write_parquet, "arrow": _write_arrow_file, "npy": _write_npy, "npz": _write_npz,
    "f64": _write_f64,
}  # fmt: skip
EXPORT_FORMATS = tuple(_WRITERS)


_ONE_COLUMN = frozenset({"npy", "f64"})
_OWN_COMPRESSION = frozenset({"parquet", "arrow", "npz"})


def _points(span: Span, target: str, kind: str, *, prices_only: bool) -> _Points:
    """Return what is written of a span; UnwritableFile where a format has no place for all of it."""
    beside = () if prices_only else span.columns
    names = tuple(name for name in (TIME, DEFAULT_COLUMN, SIZE) if name == DEFAULT_COLUMN or f"{name}s" in beside)
    if len(names) > 1 and kind in _ONE_COLUMN:
        raise UnwritableFile(
            f"{target}: {span.symbol} has {' and '.join(beside)}, and {kind} has a place for prices alone: "
            f"--prices-only writes them, csv, parquet, arrow and npz have all of it"
        )
    return _Points(span, names)


def export_span(span: Span, target: str, given_format: str | None = None, *, prices_only: bool = False) -> None:
    """Write the points of `span` to the file `target`, replaced if it exists, or to standard output ("-").

    Times and sizes are written with them, unless `prices_only`.

    A link stays, and the file that it leads to is replaced. What is no regular file, a pipe or /dev/null, is written
    into.

    The format follows from the name, or is `given_format`; .gz, .bz2, .xz and .zst compress csv, npy and f64. On
    return the file is complete and on the disk; until then nothing has its name. Memory is bounded by a piece of 2^20
    points.
    UnwritableFile, UnreadableFile (no such format), MissingPackage.
    """
    kind = format_of(target, given_format)
    write = _WRITERS.get(kind)
    compression = None if target == STANDARD_STREAM else compression_of(target)
    if write is None or (compression and kind in _OWN_COMPRESSION):
        what = f"{kind} is not written compressed as a whole" if write else f"{kind} is only read"
        raise UnwritableFile(f"{target}: {what}; formats are {', '.join(EXPORT_FORMATS)}")
    points = _points(span, target, kind, prices_only=prices_only)
    if target == STANDARD_STREAM:
        # What can't be sought in is a stream for Arrow too.
        (_write_arrow_stream if kind == "arrow" else write)(points, sys.stdout.buffer)
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
            write(points, file)
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
