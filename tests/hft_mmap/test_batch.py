"""What append takes: arrays and sequences of real numbers, each batch checked as a whole."""

import array
import math
import sys
from collections import deque
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hft_mmap import InvalidValues
from hft_mmap.batch import as_row, check_prices
from hft_mmap.tree.kernels import MAX_PRICE


def prepared(values: object) -> list[float]:
    """Return the batch as it would be stored."""
    row = check_prices(as_row(values))
    assert row.dtype == np.float64
    assert row.flags.c_contiguous
    return [float(value) for value in row]


@given(st.lists(st.floats(0, MAX_PRICE), min_size=1))
def test_floats_are_stored_to_the_bit(values: list[float]) -> None:
    """A list and an array of the same prices give the same batch, bit for bit, but for -0.0, which becomes 0.0."""
    expected = [0.0 if value == 0 else value for value in values]
    for form in (values, tuple(values), np.array(values)):
        assert np.array(prepared(form)).tobytes() == np.array(expected).tobytes()


@given(st.lists(st.integers(0, 10**140), min_size=1))
def test_whole_numbers_of_any_size_are_prices(values: list[int]) -> None:
    """Integers are rounded to float64 as Python rounds them, also above 64 bits."""
    assert prepared(values) == [float(value) for value in values]


@given(npst.arrays(st.sampled_from(["f2", "f4", ">f8", "i2", "u1", "i8", "u8", ">i4"]), 7, elements={"min_value": 0}))
def test_arrays_of_every_real_type_are_taken(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """Arrays of other real types and byte orders are converted value by value."""
    if all(value <= MAX_PRICE for value in values.tolist()):
        assert prepared(values) == [float(value) + 0.0 for value in values.tolist()]


@pytest.mark.parametrize(
    "values",
    [
        np.arange(10.0)[::2],
        np.arange(10.0)[::-1][:5],
        np.frombuffer(b"\0" + np.arange(5.0).tobytes(), dtype=np.uint8)[1:].view(np.float64),
        array.array("d", range(5)),
        deque(range(5)),
        range(5),
        [np.float32(1), np.int64(2), 3, 4.0],
    ],
    ids=["strided", "reversed", "unaligned", "array.array", "deque", "range", "mixed"],
)
def test_any_row_of_real_numbers_is_taken(values: object) -> None:
    """Strided, reversed and unaligned arrays, and sequences that are no lists, hold the same numbers afterwards."""
    assert prepared(values) == [float(value) for value in values]  # type: ignore[attr-defined]


def test_the_callers_array_is_left_alone() -> None:
    """Turning -0.0 into 0.0 does not write to the array that was passed in."""
    values = np.array([-0.0, 1.0])
    assert [math.copysign(1, x) for x in prepared(values)] == [1.0, 1.0]
    assert math.copysign(1, values[0]) == -1.0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "empty"),
        (np.empty(0), "empty"),
        ([1.0, None], r"values\[1\] must be a number, not NoneType"),
        ([1.0, "2"], r"values\[1\] must be a number, not str"),
        ([True], r"values\[0\] must be a number, not bool"),
        ([np.True_], r"values\[0\] must be a number, not bool"),
        ([[1.0]], r"values\[0\] must be a number, not list"),
        ([Decimal(1)], "not Decimal"),
        ([Fraction(1)], "not Fraction"),
        ([1 + 0j], "not complex"),
        ("123", "not str"),
        (b"123", "not bytes"),
        (5.0, "not float"),
        (None, "not NoneType"),
        ({1.0}, "not set"),
        ({1: 2}, "not dict"),
        pytest.param((x for x in [1.0]), "not generator", id="generator"),
        (np.array(5.0), "one dimension"),
        (np.ones((2, 2)), "one dimension"),
        (np.array([True]), "array of bool"),
        (np.array(["1"]), "array of <U1"),
        (np.array([1.0], dtype=object), "array of object"),
        (np.array([1j]), "array of complex128"),
        (np.array([1], dtype="m8[s]"), "array of timedelta64"),
        ([1.0, math.nan], r"values\[1\] is nan"),
        ([math.inf], r"values\[0\] is inf"),
        ([1.0, 2.0, -1.0, math.nan], r"values\[2\] is -1.0"),
        ([1.1e140], r"values\[0\] is 1.1e\+140"),
        ([10**141], r"values\[0\] is 1e\+141"),
        ([10**400], "integer above the largest price"),
        (np.array([-1], dtype=np.int8), r"values\[0\] is -1.0"),
        (np.array([np.longdouble("1e4000")]), r"values\[0\] is inf"),
    ],
    ids=repr,
)
def test_what_is_no_batch_is_refused_with_the_reason(values: object, reason: str) -> None:
    """Nothing is guessed: text, booleans, null, nesting, and anything that is no price give InvalidValues."""
    with pytest.raises(InvalidValues, match=reason):
        prepared(values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ma.masked_array([1.0, 2.0], mask=[False, True]), "must not be a masked array"),
        (bytearray(b"12"), "not bytearray"),
        (memoryview(b"12345678"), "not a memoryview of bytes"),
    ],
)
def test_what_only_looks_like_a_row_is_refused(values: object, reason: str) -> None:
    """A mask would be lost and the masked points stored; bytes are no prices."""
    with pytest.raises(InvalidValues, match=reason):
        prepared(values)


def speaks(array: object, protocol: str) -> object:
    """Return an object that has only the protocol of `array`, as many libraries do."""
    method = getattr(array, protocol)
    return type("Foreign", (), {protocol: lambda _self, *args: method(*args)})()


def of_polars() -> list[object]:
    """Return what polars makes, where somebody has it (160 MB); `make test-versions` tries it always."""
    if find_spec("polars") is None:
        return []
    polars = import_module("polars")
    whole, first, rest = (polars.Series(values) for values in ([1.5, 2.5, 3.5], [1.5], [2.5, 3.5]))
    return [whole, whole.cast(polars.Float32), polars.concat([first, rest], rechunk=False)]


@pytest.mark.parametrize(
    "values",
    [
        *of_polars(),
        pd.Series([1.5, 2.5, 3.5]),
        pd.Series([1.5, 2.5, 3.5], dtype="Float64"),
        pd.Series([1.5, 2.5, 3.5], dtype="float64[pyarrow]"),
        pd.Series([1.5, 0, 2.5, 0, 3.5])[::2],
        pd.Index([1.5, 2.5, 3.5]),
        pa.array([1.5, 2.5, 3.5]),
        pa.array([1.5, 2.5, 3.5], pa.float32()),
        pa.array([0.0, 1.5, 2.5, 3.5, None])[1:4],
        pa.chunked_array([[1.5], [2.5, 3.5]]),
        pa.array([1.5, 2.5, 3.5]).dictionary_encode(),
        speaks(pa.array([1.5, 2.5, 3.5]), "__arrow_c_array__"),
        speaks(pa.chunked_array([[1.5], [2.5, 3.5]]), "__arrow_c_stream__"),
        speaks(np.array([1.5, 2.5, 3.5]), "__array__"),
    ],
    ids=lambda values: type(values).__name__,
)
def test_arrays_of_other_libraries_are_taken(values: object) -> None:
    """A Series, an array of Arrow, whatever has one of the protocols: no need to know how it is converted."""
    assert prepared(values) == [1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pa.array([1.0, None]), r"values\[1\] is null: a price must be a number"),
        (pa.chunked_array([[1], [2, None]]), r"values\[2\] is null"),
        (speaks(pa.array([None, 1.0]), "__arrow_c_array__"), r"values\[0\] is null"),
        (pd.Series([1, None], dtype="Int64"), r"values\[1\] is nan"),
        (pd.Series([1, None], dtype="float64[pyarrow]"), r"values\[1\] is nan"),
        (pd.Series([1.0, float("nan")]), r"values\[1\] is nan"),
        (pd.Series(["1", "2"]), r"values\[0\] must be a number, not str"),
        (pd.Series([True]), "must be real numbers, not an array of bool"),
        (pd.DataFrame({"a": [1.0]}), r"must have one dimension, not the shape \(1, 1\)"),
        (pa.array([Decimal("1.5")]), r"values\[0\] must be a number, not Decimal"),
        (pa.array([1], pa.timestamp("s")), "must be real numbers, not an array of datetime64"),
        ({1.0}, "must be an array or a sequence of numbers, not set"),
    ],
)  # fmt: skip
def test_what_is_no_price_in_another_library_is_refused_with_its_place(values: object, reason: str) -> None:
    """A null is no price, and never becomes one on the way."""
    with pytest.raises(InvalidValues, match=reason):
        prepared(values)


def test_what_another_library_raises_is_a_refusal() -> None:
    """A tensor on another device, say: its own words are passed on."""

    class Elsewhere:
        def __array__(self) -> None:
            raise RuntimeError("it lies on another device")

    with pytest.raises(InvalidValues, match=r"values, of type Elsewhere, .* it lies on another device"):
        prepared(Elsewhere())


def test_without_pyarrow_arrays_of_arrow_say_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only speaks Arrow needs a reader of it."""
    values = speaks(pa.array([1.0]), "__arrow_c_array__")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidValues, match="read by pyarrow: make venv EXTRAS=import"):
        prepared(values)
