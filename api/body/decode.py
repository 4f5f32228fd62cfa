"""The body of POST /add_batch, from bytes to a batch: {"symbol": "ABC-USD", "values": [150.1, …], "offset": 0}.

Beside the values there may be "times" (whole numbers of "time_unit") and "sizes".

Three readers, because the event loop must never be held for longer than a few milliseconds, whatever is sent:

  quick     simdjson, straight into a buffer of float64. Takes a well-formed batch of the usual size and judges nothing:
            whatever it does not take, times and sizes among it, goes to one of the others.
  strict    orjson, for bodies of up to PIECE_BYTES. Knows every rule, and says which one a body breaks.
  piecewise for everything larger: the arrays are cut out of the body and read in pieces at their commas, by quick or
            strict means; between two pieces other requests have their turn.
"""

import asyncio
import re
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from api.http.problems import Refusal, shown
from hft_mmap import Ticks, as_ticks
from hft_mmap.ticks import UNITS_NS

# A quick parse costs 15-25 ns a value, but 23 ns a byte for numbers made to be slow (49 digits, half-way between two
# float64): 4.5 ms for the largest body read in one go, 1.5 ms for a piece.
QUICK_BYTES = 196_608
PIECE_BYTES = 65_536
_SMALL_BYTES = 1024

_BOM = b"\xef\xbb\xbf"
_COMMA, _SPACE = ord(","), ord(" ")
_FIELDS = ("symbol", "values", "offset")
_COLUMN_FIELDS = ("times", "sizes", "time_unit")
_LARGEST_OFFSET = 2**63 - 1
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LIST_KEY = re.compile(rb'"(values|times|sizes)"\s*:\s*\[')
_JSON_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


# PERF: a plain tuple; a NamedTuple costs 1.7 us more where it counts, between two other requests with cold caches.
Batch: TypeAlias = tuple[str, NDArray[np.float64], int | None]
"""What one body asks to append: symbol, values of shape (n,), and the point they must begin at, if that was given."""


Rows: TypeAlias = tuple[str, NDArray[np.float64] | Ticks, int | None]
"""The same where there may be times or sizes: then its values are `Ticks`."""


class _Parts(NamedTuple):
    """What a body has; its lists are empty where they were cut out of it."""

    symbol: str
    lists: dict[str, NDArray[Any]]
    time_unit: str
    offset: int | None

    def rows(self) -> Rows:
        """Return the batch. Raises InvalidTimes, InvalidSizes for columns that don't fit."""
        values, times, sizes = (self.lists.get(name) for name in ("values", "times", "sizes"))
        if values is None or (times is None and sizes is None):
            return self.symbol, self.lists["values"], self.offset
        return self.symbol, as_ticks(values, times, sizes, self.time_unit), self.offset


class Decoder:
    """Reads bodies. Not thread-safe: it belongs to one event loop, and reuses one parser."""

    def __init__(self, max_values: int) -> None:
        self._max_values = max_values
        self._parse = simdjson.Parser().parse

    def quick(self, body: bytes) -> Batch | None:
        """Return the batch in `body` if it is one beyond doubt, else None: `decode_rows` says what is wrong with it.

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

    async def decode_rows(self, body: bytes) -> Rows:
        """Return the batch in `body`, whatever its size, with times and sizes if it has them.

        Raises Refusal (400 or 422) that says what is wrong with it; InvalidTimes, InvalidSizes.
        """
        if len(body) <= PIECE_BYTES:
            return self._strict(body).rows()
        await asyncio.sleep(0)
        return (await self._piecewise(body)).rows()

    def _strict(self, body: bytes) -> _Parts:
        """Return what is in `body`, or say what is wrong with it; 120 ns a value."""
        document = _loads(body.removeprefix(_BOM))
        if type(document) is not dict:
            raise _wrong_type(f'The body must be an object {{"symbol": …, "values": […]}}, not {_name_of(document)}')
        if unknown := [key for key in document if key not in _FIELDS + _COLUMN_FIELDS]:
            raise _wrong_type(f"Unknown field {shown(unknown[0])}; a batch has {', '.join(_FIELDS + _COLUMN_FIELDS)}")
        if missing := [key for key in _FIELDS[:2] if key not in document]:
            raise _wrong_type(f"The field {missing[0]} is missing")
        symbol, values = document["symbol"], document["values"]
        if type(symbol) is not str:
            raise _wrong_type(f"symbol must be a string, not {_name_of(symbol)}")
        if type(values) is not list:
            raise _wrong_type(f"values must be a list of numbers, not {_name_of(values)}")
        lists = {"values": self._list("values", values)}
        lists |= {name: self._list(name, document[name]) for name in ("times", "sizes") if name in document}
        unit = document.get("time_unit", "ns")
        if type(unit) is not str or unit not in UNITS_NS or ("time_unit" in document and "times" not in document):
            raise _wrong_type(f"time_unit must be one of {', '.join(UNITS_NS)}, and stands beside times")
        offset = _offset(document["offset"]) if "offset" in document else None
        # Every field has a colon of its own. Nothing else has one here, once strings are out: the values are numbers.
        if _STRING.sub(b"", body).count(b":") != len(document):
            raise _bad("A field is given twice")
        return _Parts(symbol, lists, unit, offset)

    def _list(self, name: str, values: object) -> NDArray[Any]:
        """Return one list of a body as an array; Refusal (400, 422)."""
        if type(values) is not list:
            raise _wrong_type(f"{name} must be a list of numbers, not {_name_of(values)}")
        if len(values) > self._max_values:
            raise self._too_many(name, len(values))
        return _wholes(values, 0) if name == "times" else _numbers(values, 0, name)

    async def _piecewise(self, body: bytes) -> _Parts:
        """Return what is in a large `body`; as strict, but other requests have their turn every millisecond."""
        cuts, frame, begin = [], b"", 0
        while (opening := _LIST_KEY.search(body, begin, begin + PIECE_BYTES)) is not None:
            name, first, end = opening[1].decode(), opening.end(), body.find(b"]", opening.end())
            if end < 0:
                raise _bad(f"Malformed JSON: the list of {name} is not closed")
            frame += body[begin:first]
            cuts.append((name, first, end))
            begin = end
        if not any(name == "values" for name, _, _ in cuts):
            raise _wrong_type('A body of this size must have its numbers in "values": […], near its beginning')
        if len(frame) + len(body) - begin > PIECE_BYTES:
            size = len(frame) + len(body) - begin
            raise _wrong_type(f"The body has {size} bytes beside its lists of numbers; {PIECE_BYTES} are allowed")
        for name, first, end in cuts:
            _check_flat(body, first, end, name)
        parts = self._strict(frame + body[begin:])
        lists = {name: await self._cut_list(body, first, end, parts.lists[name], name) for name, first, end in cuts}
        return parts._replace(lists=parts.lists | lists)  # an escaped name, as "\u0074imes", stands in the frame

    async def _cut_list(self, body: bytes, first: int, end: int, empty: NDArray[Any], name: str) -> NDArray[Any]:
        """Return the list `name` that lies in `body` [first, end), read in pieces."""
        characters = np.frombuffer(body, np.uint8)
        numbers = 1 + int(np.count_nonzero(characters[first:end] == _COMMA))
        if numbers > self._max_values:
            raise self._too_many(name, numbers)
        if numbers == 1 and not np.count_nonzero(characters[first:end] > _SPACE):
            return empty
        parts: list[NDArray[Any]] = []
        found = 0
        while first <= end:
            stop = body.find(b",", min(first + PIECE_BYTES, end), end)
            if stop < 0:
                stop = end
            if stop - first > 2 * PIECE_BYTES and np.count_nonzero(characters[first:stop] > _SPACE) > 2 * PIECE_BYTES:
                raise _bad(f"Malformed JSON: no number takes {PIECE_BYTES} characters")
            parts.append(self._piece(body[first:stop], found, name))
            found += len(parts[-1])
            first = stop + 1
            await asyncio.sleep(0)
        return np.concatenate(parts)

    def _piece(self, text: bytes, found: int, name: str) -> NDArray[Any]:
        """Return the numbers in a piece of the list, which has no bracket in it; `found` came before it."""
        piece = b"[" + text + b"]"
        try:
            numbers: Any = self._parse(piece)
            kind = "i" if name == "times" else "d"
            values = np.frombuffer(numbers.as_buffer(of_type=kind), dtype=f"{kind}8".replace("d", "f"))
            del numbers
        except (ValueError, TypeError, AttributeError, RuntimeError):
            values = _wholes(_loads(piece), found) if name == "times" else _numbers(_loads(piece), found, name)
        if not len(values):
            raise _bad("Malformed JSON: there is a comma with no number beside it")
        return values

    def _too_many(self, name: str, count: int) -> Refusal:
        return _bad(
            f"{name} has {count} numbers; a batch has at most {self._max_values} (server.max_batch_values): "
            f"send several batches"
        )


def _loads(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _bad(f"Malformed JSON: {error}") from None


def _wholes(values: list[Any], found: int) -> NDArray[np.int64]:
    """Return `values` as int64; raise Refusal that names the first that is none (422), or too large (400)."""
    for i, value in enumerate(values):
        if type(value) is not int:
            what = repr(value) if type(value) is float else _name_of(value)
            raise _wrong_type(f"times[{found + i}] must be a whole number, not {what}")
        if not -_LARGEST_OFFSET <= value <= _LARGEST_OFFSET:
            raise _bad(f"times[{found + i}] is {value}, and times are from 1677 to 2262: 64 bits of nanoseconds")
    return np.array(values, dtype=np.int64)


def _numbers(values: list[Any], found: int, name: str = "values") -> NDArray[np.float64]:
    """Return `values` as float64; raise Refusal (422) that names the first that is no number."""
    if set(map(type, values)) <= {float, int}:  # not isinstance: True is an int as well
        return np.array(values, dtype=np.float64)
    index, value = next((i, value) for i, value in enumerate(values) if type(value) not in (float, int))
    raise _wrong_type(f"{name}[{found + index}] must be a number, not {_name_of(value)}")


def _check_flat(body: bytes, first: int, end: int, name: str) -> None:
    """Raise Refusal (422) unless the list in `body` [first, end) can be cut at its commas: nothing in it has any."""
    if body.find(b"[", first, end) >= 0:
        raise _wrong_type(f"{name} must be a flat list of numbers; there is a list in it")
    for mark, what in ((b"{", "an object"), (b'"', "a string")):
        if (place := body.find(mark, first, end)) >= 0:
            raise _wrong_type(f"{name}[{body.count(b',', first, place)}] must be a number, not {what}")


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
