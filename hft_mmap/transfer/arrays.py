"""Numbers and nothing else: raw float64, and NumPy's .npy and .npz."""

import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hft_mmap.errors import InvalidTimes
from hft_mmap.ticks import as_times
from hft_mmap.transfer.beside import NO_TIME, signed, size_place
from hft_mmap.transfer.clock import EPOCH, UNITS, Clock
from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.look import Choice
from hft_mmap.transfer.order import time_places
from hft_mmap.transfer.rows import Rows, coded
from hft_mmap.transfer.source import Source, Stream
from hft_mmap.transfer.survey import DEFAULT_COLUMN, listed, place_of, plain, symbol_place
from hft_mmap.transfer.wanted import Beside, Wanted

BATCH_ROWS = 1 << 20
_TEXT_KINDS = "US"
_LITTLE_FLOAT64 = np.dtype("<f8")


def read_f64(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the values of a file of little-endian float64. UnreadableFile if it ends in the middle of one."""
    _refuse_columns(source, wanted, "f64")
    with source.opened() as stream:
        yield Rows.none()
        for values in _items(source, stream, _LITTLE_FLOAT64, None):
            yield Rows(len(values), values)


def read_npy(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the values of a .npy file: one dimension, of any real type, or of records with fields of prices.

    UnreadableFile for anything else, also for arrays of Python objects.
    """
    with source.opened() as stream:
        yield from _rows_of_array(source, stream, wanted)


def read_npz(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the values of one array of a .npz file, the one that `wanted` names as column; UnreadableFile."""
    path = source.path("a .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if wanted.targets:
                raise UnreadableFile(f"{source.name}: an array of .npz goes to one series: import one after the other")
            beside = _beside_in_archive(source, names, wanted)
            if wanted.columns or len(names) > 1:
                if not wanted.columns and DEFAULT_COLUMN in names:
                    wanted = wanted._replace(columns=(DEFAULT_COLUMN,))
                if not wanted.columns:
                    source.look.doubt(
                        f"has {len(names)} arrays, {listed(names)}: --column names the one that has the prices",
                        *(Choice(f"--column {name!r}", "", "column", name) for name in names),
                    )
                    source.look.settle()
                place = place_of(names, wanted.columns[0], source.name)
            else:
                place = 0
            if (beside.time or beside.size) and names[place] not in beside:
                yield from _rows_of_archive(source, archive, names[place], beside)
                return
            with archive.open(archive.namelist()[place]) as stream:
                yield from _rows_of_array(source, stream, wanted._replace(columns=()))
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, IndexError) as error:
        raise UnreadableFile(f"{source.name}: is no .npz file, or a damaged one: {error}") from error


def _beside_in_archive(source: Source, names: Sequence[str], wanted: Wanted) -> "_Fields":
    """Return the arrays of an archive that have times and sizes, by their names."""
    beside = wanted.beside
    if beside.sides is not None or len(beside.times) > 1:
        raise UnreadableFile(f"{source.name}: an .npz file has one array of times, and sizes with their sign")
    time = names[place_of(names, beside.times[0], source.name)] if beside.times else None
    if time is None and beside.time and (places := time_places(names)):
        time = names[places[0]]
    size = names[place_of(names, beside.sizes, source.name)] if beside.sizes else None
    if size is None and (place := size_place([plain(name) for name in names], beside)) is not None:
        size = names[place]
    return _Fields(time, Clock(EPOCH), size, beside.unit)


def _rows_of_archive(source: Source, archive: zipfile.ZipFile, price: str, beside: "_Fields") -> Iterator[Rows]:
    """Yield the rows of several arrays of one length, side by side; UnreadableFile, Doubtful."""
    look = source.look
    with ExitStack() as stack:
        names = [name for name in (price, beside.time, beside.size) if name is not None]
        streams = {name: stack.enter_context(archive.open(f"{name}.npy")) for name in names}
        heads = {name: _head(source, stream) for name, stream in streams.items()}
        if len({shape for shape, _ in heads.values()}) > 1 or len(heads[price][0]) != 1:
            shapes = ", ".join(f"{name} {shape}" for name, (shape, _) in heads.items())
            raise UnreadableFile(f"{source.name}: arrays that belong together have one dimension and length: {shapes}")
        look.prices = [price]
        if beside.time is not None:
            look.times = [beside.time]
            kind = heads[beside.time][1]
            if kind.kind != "M":
                beside = beside._replace(clock=_clock_of_field(source, kind, Beside(unit=beside.asked_unit)))
            look.clock = str(beside.clock)
        for name in (price, beside.size):
            if name is not None and heads[name][1].kind not in "fiu":
                raise UnreadableFile(f"{source.name}: {name} must be of real numbers, not {heads[name][1]}")
        look.size = beside.size
        yield Rows.none()
        count = heads[price][0][0]
        parts = [_items(source, streams[name], heads[name][1], count) for name in names]
        for items in zip(*parts, strict=True):
            of = dict(zip(names, items, strict=True))
            rows = _as_rows(of[price])
            rows.attach(*beside.of_items(of))
            yield rows


def _head(source: Source, stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:  # noqa: ANN401 - it only reads
    """Return shape and type of an array as NumPy writes it; UnreadableFile."""
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
    except ValueError as error:
        raise UnreadableFile(f"{source.name}: is no .npy file: {error}") from error
    return shape, dtype


def _rows_of_array(source: Source, stream: Stream, wanted: Wanted) -> Iterator[Rows]:
    """Yield the values of one array as NumPy writes it."""
    shape, dtype = _head(source, stream)
    if len(shape) != 1:
        raise UnreadableFile(f"{source.name}: has the shape {shape}; prices have one dimension")
    fields: tuple[str, ...] = ()
    symbol: str | None = None
    if dtype.names is not None:
        source.look.names = list(dtype.names)
        fields = wanted.columns or ("price",)
        for field in fields:
            if field not in dtype.names:
                hint = "" if wanted.columns else "; --column names the one that has the prices"
                raise UnreadableFile(
                    f"{source.name}: no field is called {field!r}; there are: {listed(dtype.names)}{hint}"
                )
        symbol = source.look.symbol = _field_of_symbols(source, dtype, wanted)
    else:
        _refuse_columns(source, wanted, "an array without fields")
    for kind in [dtype[field] for field in fields] or [dtype]:
        if kind.kind not in "fiu" or kind.shape:
            raise UnreadableFile(f"{source.name}: prices must be real numbers, not {kind}")
    source.look.prices = list(fields)
    extra = _Fields.of(source, dtype, {*fields, symbol}, wanted) if dtype.names is not None else _Fields()
    yield Rows.none()
    for items in _items(source, stream, dtype, shape[0]):
        columns = [_as_rows(items[field]) for field in fields] or [_as_rows(items)]
        rows = Rows.beside(columns, wanted.targets) if wanted.targets else columns[0]
        if symbol is not None:
            names, codes = np.unique(items[symbol], return_inverse=True)
            of_name, symbols = coded(map(_symbol, names.tolist()))
            rows.name(of_name[codes], symbols)
        if extra.time or extra.size:
            rows.attach(*extra.of_items(items))
        yield rows


class _Fields(NamedTuple):
    """The fields of records that stand beside their prices: times as integers or datetime64, and sizes."""

    time: str | None = None
    clock: Clock = Clock(EPOCH)
    size: str | None = None
    asked_unit: str | None = None

    @classmethod
    def of(cls, source: Source, dtype: np.dtype[Any], taken: Collection[str | None], wanted: Wanted) -> "_Fields":
        """Return those of an array; UnreadableFile, Doubtful."""
        names, look, beside = list(dtype.names or ()), source.look, wanted.beside
        if beside.sides is not None or len(beside.times) > 1:
            raise UnreadableFile(f"{source.name}: records of NumPy have one field of times, and sizes with their sign")
        left = [name if name not in taken else "" for name in names]
        time = names[place_of(names, beside.times[0], source.name)] if beside.times else None
        if time is None and beside.time and (places := time_places(left)):
            time = names[places[0]]
        size = names[place_of(names, beside.sizes, source.name)] if beside.sizes else None
        if size is None and (place := size_place([plain(name) for name in left], beside)) is not None:
            size = names[place]
        clock = Clock(EPOCH)
        if time is not None:
            look.times = [time]
            clock = _clock_of_field(source, dtype[time], beside)
        if size is not None and (dtype[size].kind not in "fiu" or dtype[size].shape):
            raise UnreadableFile(f"{source.name}: sizes must be real numbers, not {dtype[size]}")
        look.clock, look.size = (None if time is None else str(clock)), size
        return cls(time, clock, size)

    def of_items(
        self, items: NDArray[Any] | Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None, dict[int, str]]:
        """Return times, sizes, and what is wrong with them, by place."""
        times, sizes, faults = None, None, dict[int, str]()
        if self.time is not None:
            times, faults = _times_of_field(items[self.time], self.clock)
        if self.size is not None:
            sizes, wrong = signed(np.ascontiguousarray(items[self.size], dtype=np.float64), {}, None, ())
            faults = {**wrong, **faults}
        return times, sizes, faults


def _clock_of_field(source: Source, kind: np.dtype[Any], beside: Beside) -> Clock:
    """Return how a field of times is read: datetime64 in UTC, as NumPy has it, or integers of a unit that is said."""
    if beside.day is not None:
        raise UnreadableFile(f"{source.name}: --date is of text and tables; records of NumPy have datetime64 for it")
    if kind.kind == "M" or (kind.kind in "iu" and beside.unit is not None):
        return Clock(EPOCH, beside.unit or "ns")
    source.look.doubt(
        f"the times in {source.look.times[0]} are of type {kind}: --time-unit says the unit of whole numbers since "
        f"1970, --no-time takes the prices alone",
        *(Choice(f"--time-unit {unit}", "", "time_unit", unit) for unit in UNITS),
        NO_TIME,
    )
    source.look.settle()
    raise AssertionError  # it was not certain


def _times_of_field(found: NDArray[Any], clock: Clock) -> tuple[NDArray[np.int64], dict[int, str]]:
    try:
        return as_times(found, clock.unit), {}
    except InvalidTimes:
        times, faults = np.zeros(len(found), dtype=np.int64), {}
        for index in range(len(found)):
            try:
                times[index] = as_times(found[index : index + 1], clock.unit)[0]
            except InvalidTimes as error:
                faults[index] = str(error).replace("times[0]", str(found[index]), 1)
        return times, faults


def _as_rows(values: NDArray[Any]) -> Rows:
    with np.errstate(over="ignore"):
        return Rows(len(values), np.ascontiguousarray(values, dtype=np.float64))


def _field_of_symbols(source: Source, dtype: np.dtype[Any], wanted: Wanted) -> str | None:
    """Return the field of records that has their symbols, None if there is none; UnreadableFile if it is no text.

    Where nobody asks for it, its name has to say it, as in a table.
    """
    names = list(dtype.names or ())
    if wanted.symbol_column is not None:
        field = names[place_of(names, wanted.symbol_column, source.name)]
        if dtype[field].kind not in _TEXT_KINDS:
            raise UnreadableFile(f"{source.name}: symbols must be text, the field {field!r} is of type {dtype[field]}")
        return field
    place = symbol_place(names) if wanted.watches else None
    return None if place is None or dtype[names[place]].kind not in _TEXT_KINDS else names[place]


def _symbol(name: str | bytes) -> str:
    """Return a symbol without the space around it, and the zeros behind it that fill a field."""
    return (name.decode(errors="backslashreplace") if isinstance(name, bytes) else name).strip()


def _refuse_columns(source: Source, wanted: Wanted, what: str) -> None:
    """Refuse a column that the format can't have."""
    for column in (*([] if wanted.symbol_column is None else [wanted.symbol_column]), *wanted.columns):
        raise UnreadableFile(f"{source.name}: {what} has no columns, so none is called {column!r}")


def _items(source: Source, stream: Stream, dtype: np.dtype[Any], count: int | None) -> Iterator[NDArray[Any]]:
    """Yield `count` items of `dtype` (None: up to the end) in batches; UnreadableFile if they end too early."""
    left = count
    rest = b""
    while left is None or left > 0:
        size = dtype.itemsize * (BATCH_ROWS if left is None else min(BATCH_ROWS, left))
        piece = stream.read(size - len(rest))
        if not piece:
            break
        block = rest + piece if rest else piece
        whole = len(block) // dtype.itemsize
        rest = block[whole * dtype.itemsize :]
        if whole:
            yield np.frombuffer(block, dtype=dtype, count=whole)
            left = None if left is None else left - whole
    if left:
        raise UnreadableFile(f"{source.name}: ends {left} values before the {count} that its header tells of")
    if rest:
        raise UnreadableFile(f"{source.name}: ends in the middle of a value: {len(rest)} bytes too many")
