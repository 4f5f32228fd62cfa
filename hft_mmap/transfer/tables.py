"""Parquet and Arrow IPC: typed tables, read in record batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from hft_mmap.transfer.columns import check_types, choose, is_text, rows_of
from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.order import SAMPLE_ROWS, check_order, time_places
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.rows import Rows, Wanted
from hft_mmap.transfer.source import Source

BATCH_ROWS = 1 << 20
"""Measured with Parquet: 1.3 GB/s of float64; with batches of 64 Ki 0.6, and larger ones only cost memory."""
_PAGE_BUFFER_BYTES = 1 << 20
_ARROW_FILE_MAGIC = b"ARROW1"


@contextmanager
def _faults_of(file: str) -> Iterator[None]:
    """Call whatever Arrow finds wrong with a file by its name."""
    arrow = need("pyarrow", f"reading {file}")
    try:
        yield
    except (arrow.ArrowException, OSError) as error:
        text = " ".join(str(error).split())
        raise UnreadableFile(f"{file}: {text}") from error


def read_parquet(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of a Parquet file, only the wanted columns of it. UnreadableFile, MissingPackage.

    Pages are read through a buffer, so that memory does not grow with the row groups.
    """
    parquet = need("pyarrow.parquet", f"reading {source.name}")
    with _faults_of(source.name):
        path = source.path("Parquet")
        with parquet.ParquetFile(path, buffer_size=_PAGE_BUFFER_BYTES, pre_buffer=False) as file:
            schema = file.schema_arrow
            price, symbol = _chosen(schema, wanted, source)
            whens = time_places(schema.names)
            if whens:
                some = [*whens, *([] if symbol is None else [symbol])]
                first = file.iter_batches(batch_size=SAMPLE_ROWS, columns=[schema.field(place).name for place in some])
                for batch in islice(first, 1):
                    _check_order(batch, len(whens), wanted, source.name)
            names = [schema.field(place).name for place in (price, symbol) if place is not None]
            total, seen = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
                seen += batch.num_rows
                source.rows_done = seen / total
                yield rows_of(batch.column(names[0]), None if symbol is None else batch.column(names[1]))


def _chosen(schema: Arrow, wanted: Wanted, source: Source) -> tuple[int, int | None]:
    price, symbol = choose(schema.names, wanted, source.name)
    if symbol is not None and wanted.symbol_column is None and not is_text(schema, symbol):
        symbol = None  # nobody asked for it
    check_types(schema, price, symbol, source.name)
    return price, symbol


def _check_order(batch: Arrow, times: int, wanted: Wanted, file: str) -> None:
    """Make sure that rows go from old to new; UnreadableFile. `times` columns say when, one behind them the symbol."""
    columns = [_comparable(batch.column(place)).to_pylist() for place in range(times)]
    symbols = batch.column(times).to_pylist() if batch.num_columns > times else [None] * batch.num_rows
    check_order(wanted, file, zip(zip(*columns, strict=True), symbols, strict=True))


def _comparable(column: Arrow) -> Arrow:
    """Return times as integers: Python's have no nanoseconds."""
    arrow = need("pyarrow", "reading a table")
    kind = column.type
    if arrow.types.is_timestamp(kind) or arrow.types.is_date64(kind):
        return column.cast(arrow.int64())
    return column.cast(arrow.int32()) if arrow.types.is_date32(kind) else column


def read_arrow(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of an Arrow IPC file or stream. UnreadableFile, MissingPackage.

    Memory is bounded by one record batch of the file, as its writer cut them; an uncompressed file is only mapped.
    """
    arrow = need("pyarrow", f"reading {source.name}")
    with _faults_of(source.name):
        if not source.is_stream and not source.compression:
            with Path(source.given).open("rb") as file:
                magic = file.read(len(_ARROW_FILE_MAGIC))
            if magic == _ARROW_FILE_MAGIC:
                yield from _arrow_file(arrow, source, wanted)
                return
        with source.opened() as stream:
            yield from _arrow_stream(arrow, source, wanted, stream)


def _arrow_file(arrow: Arrow, source: Source, wanted: Wanted) -> Iterator[Rows]:
    with arrow.memory_map(source.given) as mapped:
        schema = arrow.ipc.open_file(mapped).schema
        price, symbol = _chosen(schema, wanted, source)
        _look_ahead(arrow, mapped, schema, symbol, wanted, source.name)
        fields = sorted(place for place in (price, symbol) if place is not None)
        file = arrow.ipc.open_file(mapped, options=arrow.ipc.IpcReadOptions(included_fields=fields))
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            source.rows_done = (number + 1) / file.num_record_batches
            yield from _in_pieces(batch, fields.index(price), None if symbol is None else fields.index(symbol))


def _look_ahead(
    arrow: Arrow, mapped: Arrow, schema: Arrow, symbol: int | None, wanted: Wanted, file: str
) -> None:  # fmt: skip
    """Make sure that the first rows of an Arrow file go from old to new; only those columns are read."""
    whens = time_places(schema.names)
    if not whens:
        return
    some = [*whens, *([] if symbol is None else [symbol])]
    fields = sorted(some)
    opened = arrow.ipc.open_file(mapped, options=arrow.ipc.IpcReadOptions(included_fields=fields))
    if opened.num_record_batches:
        batch = opened.get_batch(0).slice(0, SAMPLE_ROWS)
        _check_order(batch.select([fields.index(place) for place in some]), len(whens), wanted, file)


def _arrow_stream(arrow: Arrow, source: Source, wanted: Wanted, stream: object) -> Iterator[Rows]:
    with arrow.ipc.open_stream(stream) as reader:
        price, symbol = _chosen(reader.schema, wanted, source)
        whens = time_places(reader.schema.names)
        for number, batch in enumerate(reader):
            if number == 0 and whens:
                some = [*whens, *([] if symbol is None else [symbol])]
                _check_order(batch.slice(0, SAMPLE_ROWS).select(some), len(whens), wanted, source.name)
            yield from _in_pieces(batch, price, symbol)


def _in_pieces(batch: Arrow, price: int, symbol: int | None) -> Iterator[Rows]:
    """Yield the rows of a record batch, which may be of any size, in pieces of BATCH_ROWS."""
    for begin in range(0, batch.num_rows, BATCH_ROWS):
        piece = batch.slice(begin, BATCH_ROWS)
        yield rows_of(piece.column(price), None if symbol is None else piece.column(symbol))
