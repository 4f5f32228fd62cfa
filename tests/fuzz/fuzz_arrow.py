"""The body of POST /add_batch as an Arrow stream: what is taken is what pyarrow itself reads, or it is refused."""

import numpy as np
import pyarrow as pa

from api.body.arrow import ArrowColumns, arrow_rows
from api.http.problems import Refusal
from hft_mmap import Ticks
from tests.fuzz.harness import run

MAX_VALUES = 1000


def check(data: bytes) -> None:
    """Read `data`, whose only column of numbers is wanted, and again by that column's name."""
    try:
        found = run(arrow_rows(data, ArrowColumns(), MAX_VALUES))
    except Refusal as refusal:
        if refusal.status != 400 or not refusal.detail:
            raise AssertionError(f"an odd refusal: {refusal.status} {refusal.detail}") from refusal
        return
    assert not isinstance(found, Ticks)
    assert found.dtype == np.float64
    assert len(found) <= MAX_VALUES, "more than the bound"
    try:
        with pa.ipc.open_stream(data) as stream:
            columns = stream.read_all().columns
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return  # another column is damaged, which nobody asked for, or the name of this one is no text
    (column,) = (one for one in columns if pa.types.is_integer(one.type) or pa.types.is_floating(one.type))
    expected = np.array([float(value) for value in column.to_pylist()])
    assert np.array_equal(found, expected, equal_nan=True), "other values"
