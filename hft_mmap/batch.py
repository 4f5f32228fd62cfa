"""What one append takes: a batch of prices, checked as a whole and brought into the form that is stored."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hft_mmap.errors import InvalidValues
from hft_mmap.tree.kernels import MAX_PRICE, VALID, VALID_WITH_NEGATIVE_ZERO, find_invalid

Prices: TypeAlias = NDArray[np.float64] | NDArray[np.floating] | NDArray[np.integer] | Sequence[float]
"""What `append` takes: a one-dimensional array of real numbers, or a sequence of int and float."""

FLOAT64 = np.dtype(np.float64)


def _convert(values: object) -> NDArray[np.float64]:
    """Return `values` as a contiguous float64 array; InvalidValues unless they are one row of real numbers."""
    if isinstance(values, np.ndarray):
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
    if isinstance(values, memoryview) and values.format in {"B", "b", "c"}:
        message = "values must be numbers, not a memoryview of bytes: np.frombuffer(values) reads float64 from it"
        raise InvalidValues(message)
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Sequence):
        message = f"values must be an array or a sequence of numbers, not {type(values).__name__}"
        raise InvalidValues(message)
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


def check_prices(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `row` if it is a batch of prices, a copy where -0.0 has to become 0.0; the input is never changed.

    InvalidValues names the first value that is no price: NaN, infinite, negative or above MAX_PRICE. About 0.4 ns a
    value.
    """
    if not row.shape[0]:
        message = "values is empty: a batch holds at least one price"
        raise InvalidValues(message)
    found = find_invalid(row)
    if found == VALID:
        return row
    if found == VALID_WITH_NEGATIVE_ZERO:
        return row + 0.0
    message = f"values[{found}] is {float(row[found])!r}: a price must be finite, at least 0 and at most {MAX_PRICE:g}"
    raise InvalidValues(message)
