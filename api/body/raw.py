"""Batches as raw numbers, 8 bytes each, little-endian, one after the other, with nothing around them.

Prices alone are float64. Where the query names columns, one follows the other: all of the first, then all of the next;
times are int64.
"""

from http import HTTPStatus
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from api.http.problems import Refusal, shown
from hft_mmap import Ticks, as_ticks
from hft_mmap.ticks import UNITS_NS

VALUE_BYTES = 8
PRICE, TIME, SIZE = "price", "time", "size"
COLUMNS = (TIME, PRICE, SIZE)


class Columns(NamedTuple):
    """Which columns a raw body has, in their order, and the unit of its times."""

    names: tuple[str, ...] = (PRICE,)
    time_unit: str = "ns"


PRICES_ALONE = Columns()


def parse_columns(text: str | None, unit: str | None) -> Columns:
    """Return the columns that the parameters `columns` and `time_unit` name; raise Refusal (400)."""
    names = PRICES_ALONE.names if text is None else tuple(text.split(","))
    if PRICE not in names or len(set(names)) < len(names) or not set(names) <= set(COLUMNS):
        detail = f"columns must be {PRICE}, with {TIME}, {SIZE} or both beside it, each once, as {','.join(COLUMNS)}"
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{detail}; not {shown(text or '')}")
    if unit is not None and (TIME not in names or unit not in UNITS_NS):
        detail = f"time_unit must be one of {', '.join(UNITS_NS)}, and stands beside a column of times"
        raise Refusal(HTTPStatus.BAD_REQUEST, detail)
    return Columns(names, unit or "ns")


def raw_rows(body: bytes, columns: Columns, max_values: int, begin: int = 0) -> NDArray[np.float64] | Ticks:
    """Return the points in `body` from the byte `begin` on, without a copy where that can be.

    Raises Refusal (400) unless each column has as many numbers, `max_values` at most; InvalidTimes.
    """
    if columns is PRICES_ALONE and not begin:
        return raw_values(body, max_values)
    size = len(body) - begin
    row = VALUE_BYTES * len(columns.names)
    count, rest = divmod(size, row)
    if rest:
        detail = (
            f"The body has {size} bytes of columns; a point with {', '.join(columns.names)} takes {row}, so {rest} are "
            "too many"
        )
        raise Refusal(HTTPStatus.BAD_REQUEST, detail)
    check_count(count, max_values)
    places = {name: begin + place * VALUE_BYTES * count for place, name in enumerate(columns.names)}
    prices = np.frombuffer(body, np.float64, count, places[PRICE])
    times = np.frombuffer(body, np.int64, count, places[TIME]) if TIME in places else None
    sizes = np.frombuffer(body, np.float64, count, places[SIZE]) if SIZE in places else None
    if times is None and sizes is None:
        return prices
    return as_ticks(prices, times, sizes, columns.time_unit)


def raw_values(body: bytes, max_values: int) -> NDArray[np.float64]:
    """Return the numbers in `body`, shape (n,), without a copy; whether they are prices is for the store to say.

    Raises Refusal (400) unless there are whole numbers in it, `max_values` at most.
    """
    count, rest = divmod(len(body), VALUE_BYTES)
    if rest:
        detail = f"The body has {len(body)} bytes; a float64 takes {VALUE_BYTES}, so {rest} are too many"
        raise Refusal(HTTPStatus.BAD_REQUEST, detail)
    check_count(count, max_values)
    return np.frombuffer(body, np.float64) if body else np.empty(0)


def check_count(count: int, max_values: int) -> None:
    """Raise Refusal (400) if a batch of `count` numbers is too long."""
    if count > max_values:
        detail = (
            f"The body has {count} numbers; a batch has at most {max_values} (server.max_batch_values): "
            "send several batches"
        )
        raise Refusal(HTTPStatus.BAD_REQUEST, detail)
