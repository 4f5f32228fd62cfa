"""The body of POST /add_batch: the quick reader (simdjson) and the careful one (orjson) agree, or both refuse.

And whatever is taken must be what Python's own JSON reader finds in it: no value is invented, lost or changed.
"""

import json
from typing import Any

import numpy as np

from api.body.decode import PIECE_BYTES, Batch, Decoder, Rows
from api.http.problems import Refusal
from hft_mmap import InvalidSizes, InvalidTimes, Ticks

MAX_VALUES = 1000
_FIELDS = frozenset({"symbol", "values", "offset"})
_decoder = Decoder(MAX_VALUES)


def check(data: bytes) -> None:
    """Read `data` in every way there is."""
    quick = _decoder.quick(data)
    careful = _carefully(data)
    if quick is not None:
        assert careful is not None, "the quick reader takes what the careful one refuses"
        _same(quick, careful)
    # The reader of large bodies, on the same batch made large by white space.
    # It finds the list by its name, which must be written without escapes.
    if careful is not None and data.count(b"]") == 1 and b'"values"' in data:
        head, bracket, tail = data.partition(b"]")
        _same(_taken(head + b" " * PIECE_BYTES + bracket + tail), careful)
    if careful is not None:
        _same(_taken_by_python(data), careful)


def _carefully(data: bytes) -> Batch | None:
    reading = _decoder.decode_rows(data)
    try:
        while True:
            reading.send(None)  # it only ever gives others their turn
    except StopIteration as end:
        found: Rows = end.value
        symbol, values, offset = found
        return (
            None if isinstance(values, Ticks) else (symbol, values, offset)
        )  # which the quick reader leaves to this one
    except (InvalidTimes, InvalidSizes):
        return None
    except Refusal as refusal:
        if refusal.status not in {400, 422} or not refusal.detail:
            raise AssertionError(f"an odd refusal: {refusal.status} {refusal.detail}") from refusal
        return None


def _taken(data: bytes) -> Batch:
    batch = _carefully(data)
    assert batch is not None, "refused once it is large"
    return batch


def _taken_by_python(data: bytes) -> Batch:
    pairs: list[tuple[str, Any]] = json.loads(data.decode("utf-8-sig"), object_pairs_hook=lambda found: found)
    fields = dict(pairs)
    assert len(pairs) == len(fields), "a field was given twice"
    assert fields.keys() <= _FIELDS, "an unknown field"
    assert {type(value) for value in fields["values"]} <= {int, float}
    return fields["symbol"], np.array([_price(value) for value in fields["values"]]), fields.get("offset")


def _price(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer above 1e308
        return float("inf")


def _same(one: Batch, other: Batch) -> None:
    assert one[0] == other[0], "another symbol"
    assert one[1].tobytes() == other[1].tobytes(), "other values"
    assert one[2] == other[2], "another offset"
