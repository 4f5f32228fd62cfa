"""Parquet and Arrow IPC: typed tables, read in record batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from hft_mmap.transfer.columns import check_types, clock_of_type, holds_integers, is_text, rows_of
from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.order import SAMPLE_ROWS
from hft_mmap.transfer.packages import Arrow, need
from hft_mmap.transfer.rows import Rows
from hft_mmap.transfer.source import Source
from hft_mmap.transfer.survey import Layout, Sample, survey
from hft_mmap.transfer.wanted import Wanted

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

            def first(place: int) -> list[object]:
                some = file.iter_batches(batch_size=SAMPLE_ROWS, columns=[schema.field(place).name])
                return _cells(next(some, None))

            layout = _layout(schema, first, wanted, source)
            yield Rows.none()
            names = [schema.field(place).name for place in layout.places]
            total, seen = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
                seen += batch.num_rows
                source.rows_done = seen / total
                yield _rows(batch, [batch.schema.get_field_index(name) for name in names], layout, wanted)


def _cells(batch: Arrow) -> list[object]:
    """Return the first rows of a batch with one column."""
    if batch is None:
        return []
    cells: list[object] = _comparable(batch.column(0).slice(0, SAMPLE_ROWS)).to_pylist()
    return cells


def _layout(
    schema: Arrow, first: Callable[[int], list[object]], wanted: Wanted, source: Source
) -> Layout:  # fmt: skip
    """Find out which columns are meant; UnreadableFile. first: returns the first cells of a column."""
    texts = frozenset(place for place in range(len(schema.names)) if is_text(schema, place))
    clocks = {place: clock for place, kind in enumerate(schema.types) if (clock := clock_of_type(kind)) is not None}
    layout = survey(Sample(schema.names, first, texts, clocks), wanted, source.look)
    check_types(schema, layout, wanted, source.name)
    source.look.settle()
    source.look.whole_numbers = holds_integers(schema, layout)
    return layout


def _rows(batch: Arrow, places: Sequence[int], layout: Layout, wanted: Wanted) -> Rows:
    """Return a batch as rows; places: where the columns of `layout.places` are in it."""
    table = {place: batch.column(here) for place, here in zip(layout.places, places, strict=True)}
    return rows_of(table, layout, wanted)


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
        if not source.is_stream and not source.compression and source.member is None:
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

        def first(place: int) -> list[object]:
            opened = arrow.ipc.open_file(mapped, options=arrow.ipc.IpcReadOptions(included_fields=[place]))
            return _cells(opened.get_batch(0) if opened.num_record_batches else None)

        layout = _layout(schema, first, wanted, source)
        yield Rows.none()
        fields = sorted(layout.places)
        file = arrow.ipc.open_file(mapped, options=arrow.ipc.IpcReadOptions(included_fields=fields))
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            source.rows_done = (number + 1) / file.num_record_batches
            yield from _in_pieces(batch, [fields.index(place) for place in layout.places], layout, wanted)


def _arrow_stream(arrow: Arrow, source: Source, wanted: Wanted, stream: object) -> Iterator[Rows]:
    with arrow.ipc.open_stream(stream) as reader:
        batches = iter(reader)
        ahead = next(batches, None)
        layout = _layout(
            reader.schema, lambda place: [] if ahead is None else _cells(ahead.select([place])), wanted, source
        )
        yield Rows.none()
        for batch in batches if ahead is None else chain([ahead], batches):
            yield from _in_pieces(batch, layout.places, layout, wanted)


def _in_pieces(batch: Arrow, places: Sequence[int], layout: Layout, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of a record batch, which may be of any size, in pieces of BATCH_ROWS."""
    for begin in range(0, batch.num_rows, BATCH_ROWS):
        yield _rows(batch.slice(begin, BATCH_ROWS), places, layout, wanted)
