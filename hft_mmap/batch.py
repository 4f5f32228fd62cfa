"""What one append takes: a batch of prices, checked as a whole and brought into the form that is stored."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hft_mmap.errors import InvalidValues
from hft_mmap.extras import how_to_install
from hft_mmap.tree.kernels import MAX_PRICE, VALID, VALID_WITH_NEGATIVE_ZERO, find_invalid, find_invalid_signed


class HasArray(Protocol):
    """What numpy makes an array of: a Series of pandas or polars, an array of pyarrow, a tensor."""

    def __array__(self) -> NDArray[Any]: ...


class HasArrowArray(Protocol):
    """What any reader of Arrow takes as one array."""

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...


class HasArrowStream(Protocol):
    """What any reader of Arrow takes as the pieces of an array."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


Prices: TypeAlias = (
    NDArray[np.float64] | NDArray[np.floating] | NDArray[np.integer] | Sequence[float] | HasArray | HasArrowArray
    | HasArrowStream
)  # fmt: skip
"""What `append` takes: one row of real numbers, as an array of any library, or a sequence of int and float."""

FLOAT64 = np.dtype(np.float64)


def _convert(values: object) -> NDArray[np.float64]:
    """Return `values` as a contiguous float64 array; InvalidValues unless they are one row of real numbers."""
    if isinstance(values, np.ndarray):
        return _from_array(values)
    if isinstance(values, memoryview) and values.format in {"B", "b", "c"}:
        message = "values must be numbers, not a memoryview of bytes: np.frombuffer(values) reads float64 from it"
        raise InvalidValues(message)
    if isinstance(values, (str, bytes, bytearray)):
        message = f"values must be an array or a sequence of numbers, not {type(values).__name__}"
        raise InvalidValues(message)
    if isinstance(values, Sequence):
        return _from_sequence(values)
    return _from_another_library(values)


def _from_array(values: NDArray[Any]) -> NDArray[np.float64]:
    if isinstance(values, np.ma.MaskedArray):
        message = "values must not be a masked array: take the points that count, values.compressed()"
        raise InvalidValues(message)
    if values.dtype.kind not in "fiu":
        message = f"values must be real numbers, not an array of {values.dtype}"
        raise InvalidValues(message)
    if values.ndim != 1:
        message = f"values must have one dimension, not the shape {values.shape}"
        raise InvalidValues(message)
    with np.errstate(over="ignore"):
        return np.require(values, dtype=FLOAT64, requirements=["C", "A"])


def _from_sequence(values: Sequence[object]) -> NDArray[np.float64]:
    for i, value in enumerate(values):
        # bool is an int to isinstance, and numpy would take None for NaN and "2" for 2.0.
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            message = f"values[{i}] must be a number, not {type(value).__name__}"
            raise InvalidValues(message)
    try:
        return np.array(values, dtype=FLOAT64)
    except OverflowError as error:
        message = f"values holds an integer above the largest price, {MAX_PRICE:g}"
        raise InvalidValues(message) from error


def _from_another_library(values: Any) -> NDArray[np.float64]:  # noqa: ANN401 - whatever a caller has
    """Return what numpy, or a reader of Arrow, makes of `values`; InvalidValues also where they have a null.

    numpy would take a null for a NaN, which is refused as well, but as what it is not.
    """
    kind = type(values)
    if not (hasattr(kind, "__array__") or is_arrow_only(values)):
        message = f"values must be an array or a sequence of numbers, not {kind.__name__}"
        raise InvalidValues(message)
    try:
        if is_arrow_only(values):
            values = arrow_array(values)
        nulls = nulls_of(values)
        found = np.asarray(values)
    except InvalidValues:
        raise
    except Exception as error:  # whatever a library raises that is not ours
        message = f"values, of type {kind.__name__}, can't be read as an array: {error}"
        raise InvalidValues(message) from error
    if nulls.any():
        message = f"values[{int(nulls.argmax())}] is null: a price must be a number"
        raise InvalidValues(message)
    if found.dtype == object and found.ndim == 1:  # of pandas, for texts and where there are nulls: it says which
        return _from_sequence(found.tolist())
    return _from_array(found)


def is_arrow_only(values: object) -> bool:
    """Say whether only a reader of Arrow takes `values`."""
    kind = type(values)
    return not hasattr(kind, "__array__") and any(
        hasattr(kind, name) for name in ("__arrow_c_array__", "__arrow_c_stream__")
    )


def nulls_of(values: object, names: Sequence[str] = ("is_null",)) -> NDArray[np.bool_]:
    """Return which of `values` are null, as far as their library says; nothing where it knows of no nulls.

    names: the methods that say so: is_null of polars and pyarrow; isna of pandas calls a NaN null as well.
    """
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.getmaskarray(values)
    for name in names:
        ask = getattr(values, name, None)
        if callable(ask):
            return np.asarray(ask(), dtype=bool)
    return np.zeros(0, dtype=bool)


def arrow_array(values: object) -> object:
    """Return what only speaks Arrow as an array of pyarrow; InvalidValues without pyarrow."""
    try:
        arrow: Any = import_module("pyarrow")
    except ModuleNotFoundError as error:
        message = f"values of type {type(values).__name__} are read by pyarrow: {how_to_install('pyarrow', 'import')}"
        raise InvalidValues(message) from error
    return arrow.array(values) if hasattr(values, "__arrow_c_array__") else arrow.chunked_array(values)


def as_row(values: object) -> NDArray[np.float64]:
    """Return `values` as a contiguous float64 array, shape (n,); the prices are not looked at yet.

    InvalidValues unless they are one row of real numbers. A float64 array is returned as it is.
    """
    # PERF: the identity of numpy's own float64 dtype object saves 60 ns against a comparison.
    if (
        type(values) is np.ndarray
        and values.dtype is FLOAT64
        and values.ndim == 1
        and (flags := values.flags).c_contiguous
        and flags.aligned
    ):
        return values
    return _convert(values)


NEGATIVE = "negative ones need store.negative_prices (in Python negative_prices=True of Limits, and of Client)"
"""What a refusal of a negative price ends with."""


def check_prices(row: NDArray[np.float64], *, signed: bool = False) -> NDArray[np.float64]:
    """Return `row` if it is a batch of prices, a copy where -0.0 has to become 0.0; the input is never changed.

    InvalidValues names the first value that is no price: NaN, infinite, above MAX_PRICE, or negative unless `signed`.
    About 0.4 ns a value.
    """
    if not row.shape[0]:
        message = "values is empty: a batch holds at least one price"
        raise InvalidValues(message)
    found = find_invalid_signed(row) if signed else find_invalid(row)
    if found == VALID:
        return row
    if found == VALID_WITH_NEGATIVE_ZERO:
        return row + 0.0
    message = f"values[{found}] is {no_price(float(row[found]), signed=signed)}"
    raise InvalidValues(message)


def no_price(value: float, *, signed: bool, most: float = MAX_PRICE) -> str:
    """Return the number `value`, and why it is no price."""
    if signed:
        return f"{value!r}: a price must be finite, and from {-MAX_PRICE:g} to {most:g}"
    why = f"{value!r}: a price must be finite, at least 0 and at most {most:g}"
    return f"{why}; {NEGATIVE}" if -MAX_PRICE <= value < 0 else why
