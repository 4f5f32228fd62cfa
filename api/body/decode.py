"""The body of POST /add_batch, from bytes to a batch: {"symbol": "ABC-USD", "values": [150.1, …], "offset": 0}.

Three readers, because the event loop must never be held for longer than a few milliseconds, whatever is sent:

  quick     simdjson, straight into a buffer of float64. Takes a well-formed batch of the usual size and judges nothing:
            whatever it does not take goes to one of the others.
  strict    orjson, for bodies of up to PIECE_BYTES. Knows every rule, and says which one a body breaks.
  piecewise for everything larger: the array is cut out of the body and read in pieces at its commas, by quick or
            strict means; between two pieces other requests have their turn.
"""

import asyncio
import re
from http import HTTPStatus
from typing import Any, TypeAlias

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from api.http.problems import Refusal, shown

# A quick parse costs 15-25 ns a value, but 23 ns a byte for numbers made to be slow (49 digits, half-way between two
# float64): 4.5 ms for the largest body read in one go, 1.5 ms for a piece.
QUICK_BYTES = 196_608
PIECE_BYTES = 65_536
_SMALL_BYTES = 1024

_BOM = b"\xef\xbb\xbf"
_COMMA, _SPACE = ord(","), ord(" ")
_FIELDS = ("symbol", "values", "offset")
_LARGEST_OFFSET = 2**63 - 1
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_VALUES_KEY = re.compile(rb'"values"\s*:\s*\[')
_JSON_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


# PERF: a plain tuple; a NamedTuple costs 1.7 us more where it counts, between two other requests with cold caches.
Batch: TypeAlias = tuple[str, NDArray[np.float64], int | None]
"""What one body asks to append: symbol, values of shape (n,), and the point they must begin at, if that was given."""


class Decoder:
    """Reads bodies. Not thread-safe: it belongs to one event loop, and reuses one parser."""

    def __init__(self, max_values: int) -> None:
        self._max_values = max_values
        self._parse = simdjson.Parser().parse

    def quick(self, body: bytes) -> Batch | None:
        """Return the batch in `body` if it is one beyond doubt, else None: then ask `decode`, which says what is wrong.

        The values are numbers of type float64, at most `max_values`; whether they are prices is for the store to say.
        Costs 1.3 us and 15-25 ns a value.
        """
        # NOTE: as_buffer flattens nested lists, so a second "[" anywhere is for another reader. Two fields that are
        # both found leave no room for an unknown or a repeated one. The parser refuses to go on while a document of
        # its last run is alive: `document` must not leave this function, not even in a traceback.
        # PERF: one call where the body is small; counting all of 190 kB costs 180 us, as long as parsing it, while
        # find and rfind stop at the first hit.
        size = len(body)
        if size > QUICK_BYTES:
            return None
        if body.count(b"[") != 1 if size < _SMALL_BYTES else body.find(b"[") != body.rfind(b"["):
            return None
        try:
            document: Any = self._parse(body)
            fields = len(document)
            symbol = document["symbol"]
            values = np.frombuffer(document["values"].as_buffer(of_type="d"))
            offset = None if fields == 2 else document["offset"]  # noqa: PLR2004 - symbol and values
            del document
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
            return None
        if fields > len(_FIELDS) or type(symbol) is not str or len(values) > self._max_values:
            return None
        if fields == len(_FIELDS) and (type(offset) is not int or not 0 <= offset <= _LARGEST_OFFSET):
            return None
        return symbol, values, offset

    async def decode(self, body: bytes) -> Batch:
        """Return the batch in `body`, whatever its size; raise Refusal (400 or 422) that says what is wrong with it."""
        if len(body) <= PIECE_BYTES:
            return self._strict(body)
        await asyncio.sleep(0)
        return await self._piecewise(body)

    def _strict(self, body: bytes) -> Batch:
        """Return the batch in `body`, or say what is wrong with it; 120 ns a value."""
        document = _loads(body.removeprefix(_BOM))
        if type(document) is not dict:
            raise _wrong_type(f'The body must be an object {{"symbol": …, "values": […]}}, not {_name_of(document)}')
        if unknown := [key for key in document if key not in _FIELDS]:
            raise _wrong_type(f"Unknown field {shown(unknown[0])}; a batch has {', '.join(_FIELDS)}")
        if missing := [key for key in _FIELDS[:2] if key not in document]:
            raise _wrong_type(f"The field {missing[0]} is missing")
        symbol, values = document["symbol"], document["values"]
        if type(symbol) is not str:
            raise _wrong_type(f"symbol must be a string, not {_name_of(symbol)}")
        if type(values) is not list:
            raise _wrong_type(f"values must be a list of numbers, not {_name_of(values)}")
        if len(values) > self._max_values:
            raise self._too_many(len(values))
        array = _numbers(values, 0)
        offset = _offset(document["offset"]) if "offset" in document else None
        # Every field has a colon of its own. Nothing else has one here, once strings are out: the values are numbers.
        if _STRING.sub(b"", body).count(b":") != len(document):
            raise _bad("A field is given twice")
        return symbol, array, offset

    async def _piecewise(self, body: bytes) -> Batch:
        """Return the batch in a large `body`; as strict, but other requests have their turn every millisecond."""
        opening = _VALUES_KEY.search(body, 0, PIECE_BYTES)
        if opening is None:
            raise _wrong_type('A body of this size must have its numbers in "values": […], near its beginning')
        first, end = opening.end(), body.find(b"]", opening.end())
        if end < 0:
            raise _bad("Malformed JSON: the list of values is not closed")
        frame = body[:first] + body[end:]
        if len(frame) > PIECE_BYTES:
            raise _wrong_type(f"The body has {len(frame)} bytes beside its list of values; {PIECE_BYTES} are allowed")
        _check_flat(body, first, end)
        symbol, empty, offset = self._strict(frame)
        characters = np.frombuffer(body, np.uint8)
        numbers = 1 + int(np.count_nonzero(characters[first:end] == _COMMA))
        if numbers > self._max_values:
            raise self._too_many(numbers)
        if numbers == 1 and not np.count_nonzero(characters[first:end] > _SPACE):
            return symbol, empty, offset
        parts: list[NDArray[np.float64]] = []
        found = 0
        while first <= end:
            stop = body.find(b",", min(first + PIECE_BYTES, end), end)
            if stop < 0:
                stop = end
            if stop - first > 2 * PIECE_BYTES and np.count_nonzero(characters[first:stop] > _SPACE) > 2 * PIECE_BYTES:
                raise _bad(f"Malformed JSON: no number takes {PIECE_BYTES} characters")
            parts.append(self._piece(body[first:stop], found))
            found += len(parts[-1])
            first = stop + 1
            await asyncio.sleep(0)
        return symbol, np.concatenate(parts), offset

    def _piece(self, text: bytes, found: int) -> NDArray[np.float64]:
        """Return the numbers in a piece of the list, which has no bracket in it; `found` came before it."""
        piece = b"[" + text + b"]"
        try:
            numbers: Any = self._parse(piece)
            values = np.frombuffer(numbers.as_buffer(of_type="d"))
            del numbers
        except (ValueError, TypeError, AttributeError, RuntimeError):
            values = _numbers(_loads(piece), found)
        if not len(values):
            raise _bad("Malformed JSON: there is a comma with no number beside it")
        return values

    def _too_many(self, count: int) -> Refusal:
        return _bad(
            f"values has {count} numbers; a batch has at most {self._max_values} (server.max_batch_values): "
            f"send several batches"
        )


def _loads(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _bad(f"Malformed JSON: {error}") from None


def _numbers(values: list[Any], found: int) -> NDArray[np.float64]:
    """Return `values` as float64; raise Refusal (422) that names the first that is no number."""
    if set(map(type, values)) <= {float, int}:  # not isinstance: True is an int as well
        return np.array(values, dtype=np.float64)
    index, value = next((i, value) for i, value in enumerate(values) if type(value) not in (float, int))
    raise _wrong_type(f"values[{found + index}] must be a number, not {_name_of(value)}")


def _check_flat(body: bytes, first: int, end: int) -> None:
    """Raise Refusal (422) unless the list in `body` [first, end) can be cut at its commas: nothing in it has any."""
    if body.find(b"[", first, end) >= 0:
        raise _wrong_type("values must be a flat list of numbers; there is a list in it")
    for mark, name in ((b"{", "an object"), (b'"', "a string")):
        if (place := body.find(mark, first, end)) >= 0:
            raise _wrong_type(f"values[{body.count(b',', first, place)}] must be a number, not {name}")


def _offset(value: object) -> int:
    if type(value) is not int:  # a float, too, is what orjson makes of an integer above 64 bits
        raise _wrong_type(f"offset must be a whole number, not {value if type(value) is float else _name_of(value)}")
    if not 0 <= value <= _LARGEST_OFFSET:
        raise _bad(f"offset must be from 0 to {_LARGEST_OFFSET}, not {value}")
    return value


def _name_of(value: object) -> str:
    return _JSON_NAMES.get(type(value), "a number")


def _bad(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, detail)


def _wrong_type(detail: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
