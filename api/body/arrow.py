"""Batches as Arrow IPC streams, read and written by pyarrow (extra `import`), which is loaded at the first one.

A stream is written by anybody, so it is looked through before pyarrow reads it: what would cost memory or time out of
all proportion to its size (buffers compressed inside the stream, dictionaries, endless metadata) is refused.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from api.body.raw import PRICE, SIZE, TIME, check_count
from api.http.problems import Refusal, shown
from api.operation.turns import Turns
from hft_mmap import InvalidSizes, InvalidTimes, InvalidValues, Span, Ticks, as_ticks

INSTALL = "it was installed without pyarrow, which its extra import brings"
MAX_METADATA_BYTES = 65_536
"""How much the schema or one record batch may say about itself."""

Arrow: TypeAlias = Any
"""Anything of pyarrow's, which has no types."""

# Where flatbuffers keep the fields of the tables Message and RecordBatch; both are part of Arrow's format.
_MESSAGE_HEADER, _BATCH_COMPRESSION = 2, 3
# What writers before Arrow 1.0 called it.
_OLD_COMPRESSION = b"ARROW:experimental_compression"
END = b"\xff\xff\xff\xff\0\0\0\0"


_modules: dict[str, Arrow] = {}


async def loaded() -> Arrow:
    """Return pyarrow, imported now if it was not yet; raise ModuleNotFoundError if it is not installed.

    The import takes a quarter of a second, and holds the event loop for most of it, thread or not; a start that did it
    would take as much longer for everybody.
    """
    arrow = _modules.get("pyarrow")
    if arrow is None:
        if find_spec("pyarrow") is None:
            raise ModuleNotFoundError("pyarrow is not installed", name="pyarrow")
        arrow = _modules["pyarrow"] = await asyncio.to_thread(import_module, "pyarrow")
    return arrow


async def loaded_to_write() -> Arrow:
    """Return pyarrow for an answer. Raises Refusal (406) if it is not installed."""
    try:
        return await loaded()
    except ModuleNotFoundError:
        raise Refusal(HTTPStatus.NOT_ACCEPTABLE, f"This service writes no Arrow: {INSTALL}") from None


class ArrowColumns(NamedTuple):
    """Which columns of a stream are meant; price None: its only column of numbers. time_unit: of integers."""

    price: str | None = None
    time: str | None = None
    size: str | None = None
    time_unit: str | None = None


async def arrow_rows(body: bytes, columns: ArrowColumns, max_values: int) -> NDArray[np.float64] | Ticks:
    """Return the points in the stream `body`: prices as float64, with times and sizes where `columns` names them.

    Raises Refusal: 400 if it is no sound stream, has no such column, a null in one or more than `max_values` rows,
    415 if pyarrow is not installed; InvalidTimes.
    """
    try:
        arrow = await loaded()
    except ModuleNotFoundError:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"This service reads no Arrow: {INSTALL}") from None
    turns = Turns()
    try:
        schema = await _looked_through(arrow, body, turns)
        names = {"values": _index(arrow, schema, columns.price, columns)}
        if columns.time is not None:
            names["times"] = _time_index(arrow, schema, columns.time, columns.time_unit)
        elif columns.time_unit is not None:
            raise _bad("time_unit stands beside time_column, which names the column of times")
        if columns.size is not None:
            names["sizes"] = _index(arrow, schema, columns.size)
        if len(set(names.values())) < len(names):
            raise _bad("One column is named twice: prices, times and sizes are columns of their own")
        return await _read(arrow, body, names, columns.time_unit or "ns", max_values, turns)
    except (InvalidTimes, InvalidSizes, InvalidValues):  # which are ValueErrors as well
        raise
    except (
        arrow.ArrowException,
        OSError,
        ValueError,
        struct.error,
    ) as error:  # a name that is no UTF-8 is a ValueError
        raise _bad(f"The body is no sound Arrow stream: {str(error)[:200]}") from None


async def arrow_integers(
    body: bytes, names: tuple[str, ...], max_rows: int, *, timed: bool = False
) -> list[NDArray[np.int64]]:
    """Return the columns `names` of the stream `body`, which are integers, as int64. Raises Refusal (400, 415).

    With `timed` they are times: nanoseconds since 1970, or timestamps with a time zone.
    """
    try:
        arrow = await loaded()
    except ModuleNotFoundError:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"This service reads no Arrow: {INSTALL}") from None
    turns = Turns()
    try:
        schema = await _looked_through(arrow, body, turns)
        places = [_integer_index(arrow, schema, name, timed=timed) for name in names]
        options = arrow.ipc.IpcReadOptions(use_threads=False, included_fields=sorted(places))
        parts: list[list[NDArray[np.int64]]] = [[np.empty(0, dtype=np.int64)] for _ in names]
        count = 0
        for batch in arrow.ipc.open_stream(arrow.py_buffer(body), options=options):
            batch.validate(full=True)
            count += batch.num_rows
            if count > max_rows:
                raise _bad(f"The stream has more than {max_rows:,} rows: send several")
            for name, part in zip(names, parts, strict=True):
                column = batch.column(name)
                if column.null_count:
                    raise _bad(f"The column {name} has a null: {'a time' if timed else 'an index'} is a whole number")
                if arrow.types.is_timestamp(column.type):
                    column = column.cast(arrow.timestamp("ns", tz="UTC"))
                part.append(column.cast(arrow.int64()).to_numpy())
            await turns.give_way()
    except (arrow.ArrowException, OSError, ValueError, struct.error) as error:
        raise _bad(f"The body is no sound Arrow stream: {str(error)[:200]}") from None
    return [np.concatenate(part) for part in parts]


async def _looked_through(arrow: Arrow, body: bytes, turns: Turns) -> Arrow:
    """Return the schema of the stream, once each of its messages is known to be harmless."""
    source = arrow.BufferReader(body)
    messages = arrow.ipc.MessageReader.open_stream(source)
    schema: Arrow = None
    for message in iter(lambda: _next(messages), None):
        if message.metadata.size > MAX_METADATA_BYTES:
            detail = f"A message of the stream has {message.metadata.size} bytes of metadata"
            raise _bad(f"{detail}; {MAX_METADATA_BYTES} are allowed")
        if schema is None:
            if message.type != "schema":
                raise _bad("The body is no sound Arrow stream: it does not begin with a schema")
            schema = arrow.ipc.read_schema(message)
        elif message.type != "record batch":
            raise _bad(f"The stream has a {message.type}: send the column of numbers only, as it is")
        elif _is_compressed(memoryview(message.metadata)):
            raise _bad("The stream is compressed inside: compress the whole body, and say so by Content-Encoding")
        await turns.give_way()
    if schema is None:
        raise _bad("The body is no sound Arrow stream: it is empty")
    if source.tell() != len(body):
        raise _bad("The body goes on behind the end of the Arrow stream")
    return schema


def _next(messages: Arrow) -> Arrow:
    try:
        return messages.read_next_message()
    except StopIteration:
        return None


def _is_compressed(metadata: memoryview) -> bool:
    """Say whether the buffers of a record batch are compressed; pyarrow knows, but tells nobody."""
    root = struct.unpack_from("<I", metadata)[0]
    header = root + _field(metadata, root, _MESSAGE_HEADER)
    header += struct.unpack_from("<I", metadata, header)[0]
    return _field(metadata, header, _BATCH_COMPRESSION) != 0 or _OLD_COMPRESSION in bytes(metadata)


def _field(buffer: memoryview, table: int, index: int) -> int:
    """Return where in the flatbuffers `table` its field lies, 0 if it has none."""
    vtable: int = table - struct.unpack_from("<i", buffer, table)[0]
    place = 4 + 2 * index
    return int(struct.unpack_from("<H", buffer, vtable + place)[0]) if place < _size(buffer, vtable) else 0


def _size(buffer: memoryview, vtable: int) -> int:
    return int(struct.unpack_from("<H", buffer, vtable)[0])


def _integer_index(arrow: Arrow, schema: Arrow, column: str, *, timed: bool) -> int:
    """Return which column of `schema` holds whole numbers, or times where it may."""
    found = _named(schema, column)
    kind = schema.field(found).type
    if timed and arrow.types.is_timestamp(kind):
        return _time_index(arrow, schema, column, None)
    if not arrow.types.is_integer(kind):
        allowed = "integers or timestamps" if timed else "integers"
        raise _bad(f"The column {column} must be of {allowed}, not of {shown(str(kind))}")
    return found


def _time_index(arrow: Arrow, schema: Arrow, column: str, unit: str | None) -> int:
    """Return which column of `schema` holds the times: timestamps with a zone, or integers of `unit`."""
    found = _named(schema, column)
    kind = schema.field(found).type
    if arrow.types.is_timestamp(kind):
        if kind.tz is None:
            raise _bad(f"The column {shown(column)} has timestamps without a time zone: send them with UTC")
        if unit is not None:
            raise _bad(f"The column {shown(column)} has timestamps, whose type says their unit: leave out time_unit")
    elif not arrow.types.is_integer(kind):
        raise _bad(f"The column {shown(column)} must be of timestamps or integers, not of {shown(str(kind))}")
    return found


def _named(schema: Arrow, column: str) -> int:
    """Return which column of `schema` has the name `column`."""
    found = [i for i, field in enumerate(schema) if field.name == column]
    if len(found) != 1:
        raise _bad(f"The stream has {len(found) or 'no'} columns of the name {shown(column)}")
    return found[0]


def _index(arrow: Arrow, schema: Arrow, column: str | None, others: ArrowColumns | None = None) -> int:
    """Return which column of `schema` holds numbers, where None is given the only one that is none of `others`."""

    def is_number(kind: Arrow) -> bool:
        return bool(arrow.types.is_integer(kind) or arrow.types.is_floating(kind))

    if column is None:
        taken = () if others is None else (others.time, others.size)
        numbers = [i for i, field in enumerate(schema) if is_number(field.type) and field.name not in taken]
        if len(numbers) != 1:
            names = ", ".join(shown(schema.field(i).name) for i in numbers[:10]) or "none"
            raise _bad(f"The stream must have one column of numbers, or column= must name one; those it has: {names}")
        return numbers[0]
    found = _named(schema, column)
    kind = schema.field(found).type
    if not is_number(kind):
        raise _bad(f"The column {shown(column)} must be of integers or floats, not of {shown(str(kind))}")
    return found


async def _read(
    arrow: Arrow, body: bytes, places: Mapping[str, int], unit: str, max_values: int, turns: Turns
) -> NDArray[np.float64] | Ticks:
    """Return the columns at `places`, which are called "values", "times" and "sizes"."""
    fields = sorted(places.values())
    options = arrow.ipc.IpcReadOptions(use_threads=False, included_fields=fields)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in places}
    count = 0
    for batch in arrow.ipc.open_stream(arrow.py_buffer(body), options=options):
        batch.validate(full=True)  # lengths and counts in the stream are claims, and nothing has checked them yet
        for name, place in places.items():
            column = batch.column(fields.index(place))
            if column.null_count:
                nulls = column.is_null().to_numpy(zero_copy_only=False)
                raise _bad(f"{name}[{count + int(nulls.argmax())}] must be a number, not null")
            numbers = column.to_numpy()
            parts[name].append(numbers if name == "times" else numbers.astype(np.float64, copy=False))
        count += batch.num_rows
        check_count(count, max_values)
        await turns.give_way()
    whole = {name: _whole(part, name) for name, part in parts.items()}
    if len(whole) == 1:
        return whole["values"]
    return as_ticks(whole["values"], whole.get("times"), whole.get("sizes"), unit)


def _whole(parts: list[NDArray[Any]], name: str) -> NDArray[Any]:
    if not parts:
        return np.empty(0, dtype=np.int64 if name == "times" else np.float64)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Written:
    """Columns of a span as an Arrow stream, in record batches over the mapped files.

    `price` and `size` are float64, `time` is a timestamp in nanoseconds with UTC.
    """

    def __init__(self, arrow: Arrow, span: Span, columns: tuple[str, ...]) -> None:
        self._arrow = arrow
        self._span = span
        self._columns = columns
        of = {TIME: arrow.timestamp("ns", tz="UTC"), PRICE: arrow.float64(), SIZE: arrow.float64()}
        self._schema = arrow.schema([arrow.field(name, of[name], nullable=False) for name in columns])
        # How long a message is follows from the number of points in it.
        lengths = Counter(end - begin for begin, end in span.cuts())
        bodies = sum(arrow.ipc.get_record_batch_size(self._empty(n)) * times for n, times in lengths.items())
        self.length = self._schema.serialize().size + bodies + len(END)

    def pieces(self) -> Iterator[memoryview]:
        """Yield the messages of the stream."""
        yield memoryview(self._schema.serialize())
        for rows in self._span.rows():
            yield memoryview(self._batch(rows).serialize())
        yield memoryview(END)

    def _empty(self, points: int) -> Arrow:
        return self._batch(Ticks(np.empty(points), np.empty(points, dtype=np.int64), np.empty(points)))

    def _batch(self, rows: Ticks) -> Arrow:
        of = {TIME: rows.times, PRICE: rows.prices, SIZE: rows.sizes}
        arrays = [
            self._arrow.array(of[name]).cast(field.type)
            for name, field in zip(self._columns, self._schema, strict=True)
        ]
        return self._arrow.record_batch(arrays, schema=self._schema)


def _bad(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, detail)
