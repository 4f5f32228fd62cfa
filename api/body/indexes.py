"""Windows as bodies: pairs of indexes, or the indexes of points, as JSON, Arrow or raw int64.

JSON    {"start": [0, 5], "end": [10, 20]} or {"index": [7, 9]}
Arrow   a stream with the columns start and end, or index
raw     int64, little-endian: start, end, start, end, …; or the indexes, one after the other

Or by times, in nanoseconds since 1970: start and end, or time; in Arrow they may be timestamps with a time zone.
"""

from http import HTTPStatus
from typing import Any, TypeAlias

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from api.body.arrow import arrow_integers
from api.body.media import ARROW, JSON, RAW
from api.http.problems import Refusal

MAX_WINDOWS = 1_000_000
MAX_JSON_BYTES = 4 * 2**20
"""Of a body of JSON, which is parsed in one go on the event loop: 1.2 ns a byte."""

Indexes: TypeAlias = NDArray[np.int64]
_INDEX_BYTES = 8


async def read_indexes(body: bytes, kind: str, names: tuple[str, ...], *, timed: bool) -> list[Indexes]:
    """Return a column of indexes for each of `names`, all of one length; of times where they are `timed`.

    Raises Refusal (400, 413, 415, 422).
    """
    if kind == JSON:
        columns = _json(body, names)
    elif kind == ARROW:
        columns = await arrow_integers(body, names, MAX_WINDOWS, timed=timed)
    elif kind == RAW:
        columns = _raw(body, names)
    else:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Windows come as {JSON}, {ARROW} or {RAW}, not as {kind}")
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise _wrong(f"{' and '.join(names)} must be of one length, not {' and '.join(map(str, lengths))}")
    if lengths[0] > MAX_WINDOWS:
        raise _bad(f"{lengths[0]:,} windows; one request has at most {MAX_WINDOWS:,}: send several")
    return columns


def _json(body: bytes, names: tuple[str, ...]) -> list[Indexes]:
    if len(body) > MAX_JSON_BYTES:
        detail = f"A body of JSON has at most {MAX_JSON_BYTES} bytes here, not {len(body)}: send Arrow, or raw int64"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    # NOTE: as_buffer flattens nested lists, so there may be as many brackets as columns; what is not plainly the one
    # document is told what it should be.
    if body.count(b"[") == len(names):
        try:
            document: Any = simdjson.Parser().parse(body)
            if len(document) == len(names):
                return [np.frombuffer(document[name].as_buffer(of_type="i"), np.int64) for name in names]
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
            pass
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad(f"Malformed JSON: {error}") from None
    form = ", ".join(f'"{name}": […]' for name in names)
    raise _wrong(f"The body must be an object {{{form}}} with lists of whole numbers below 2^63, and nothing else")


def _raw(body: bytes, names: tuple[str, ...]) -> list[Indexes]:
    if len(body) % (_INDEX_BYTES * len(names)):
        what = f"int64 numbers for {' and '.join(names)} of each window, {_INDEX_BYTES * len(names)} bytes"
        raise _bad(f"The body has {len(body)} bytes; it holds {what}")
    numbers = np.frombuffer(body, "<i8") if body else np.empty(0, dtype=np.int64)
    return list(numbers.reshape(-1, len(names)).T)


def _bad(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, detail)


def _wrong(detail: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
