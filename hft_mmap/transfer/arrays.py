"""Numbers and nothing else: raw float64, and NumPy's .npy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.rows import Rows, Wanted
from hft_mmap.transfer.source import Source, Stream

BATCH_ROWS = 1 << 20
_LITTLE_FLOAT64 = np.dtype("<f8")


def read_f64(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the values of a file of little-endian float64. UnreadableFile if it ends in the middle of one."""
    _refuse_columns(source, wanted, "f64")
    with source.opened() as stream:
        for values in _items(source, stream, _LITTLE_FLOAT64, None):
            yield Rows(len(values), values)


def read_npy(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the values of a .npy file: one dimension, of any real type, or of records with a field of prices.

    UnreadableFile for anything else, also for arrays of Python objects.
    """
    with source.opened() as stream:
        try:
            version = npy.read_magic(stream)  # type: ignore[arg-type] # it only reads
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(stream)  # type: ignore[arg-type]
        except ValueError as error:
            raise UnreadableFile(f"{source.name}: is no .npy file: {error}") from error
        if len(shape) != 1:
            raise UnreadableFile(f"{source.name}: has the shape {shape}; prices have one dimension")
        column: str | None = None
        if dtype.names is not None:
            column = wanted.column or "price"
            if column not in dtype.names:
                listed = ", ".join(dtype.names)
                raise UnreadableFile(f"{source.name}: no field is called {column!r}; there are: {listed}")
        else:
            _refuse_columns(source, wanted, "an array without fields")
        kind = dtype if column is None else dtype[column]
        if kind.kind not in "fiu" or kind.shape:
            raise UnreadableFile(f"{source.name}: prices must be real numbers, not {kind}")
        for items in _items(source, stream, dtype, shape[0]):
            values = items if column is None else items[column]
            with np.errstate(over="ignore"):
                yield Rows(len(values), np.ascontiguousarray(values, dtype=np.float64))


def _refuse_columns(source: Source, wanted: Wanted, what: str) -> None:
    """Refuse a column that the format can't have."""
    for column in (wanted.symbol_column, wanted.column):
        if column is not None:
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
