"""One message of an ingest stream, from bytes to a batch.

A stream with a symbol in its query takes one form: binary, float64 values, little-endian, nothing else. One without
takes two: binary, with int64 offset (-1: none), uint8 length of the symbol, the symbol in UTF-8, zeros up to a multiple
of 8 bytes, then the values, all little-endian; and text, the JSON body of POST /add_batch. Where the query names
columns, binary messages have those in place of the values, one behind the other.
"""

import struct
from http import HTTPStatus

import numpy as np
from numpy.typing import NDArray

from api.body.decode import Decoder, Rows
from api.body.raw import PRICES_ALONE, VALUE_BYTES, Columns, check_count, raw_rows
from api.http.problems import Refusal
from hft_mmap import Ticks

_HEADER = struct.Struct("<qB")
_MAX_REMEMBERED = 1024  # names of symbols


class FrameReader:
    """Reads the messages of one stream."""

    def __init__(self, max_values: int, columns: Columns = PRICES_ALONE) -> None:
        self._columns = columns
        self._max_values = max_values
        self._decoder = Decoder(max_values)
        self._names: dict[bytes, str] = {}

    def values(self, message: str | bytes) -> NDArray[np.float64] | Ticks:
        """Return the points of a message that has nothing else; raise Refusal (400, 415), InvalidTimes."""
        if type(message) is not bytes:
            detail = "A stream with a symbol takes binary messages (float64, little-endian), this one is text"
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
        return raw_rows(message, self._columns, self._max_values)

    async def batch(self, message: str | bytes) -> Rows:
        """Return symbol, points and offset of a message that says all three; raise Refusal (400, 422), InvalidTimes."""
        if isinstance(message, bytes):
            return self._binary(message)
        body = message.encode()
        return self._decoder.quick(body) or await self._decoder.decode_rows(body)

    def _binary(self, message: bytes) -> Rows:
        if len(message) < _HEADER.size:
            raise _bad(f"A message of {len(message)} bytes has no header: int64 offset, uint8 length, symbol")
        offset, length = _HEADER.unpack_from(message)
        begin = -(-(_HEADER.size + length) // VALUE_BYTES) * VALUE_BYTES
        count, rest = divmod(len(message) - begin, VALUE_BYTES)
        if rest or count < 1:
            raise _bad(
                f"A message of {len(message)} bytes with a symbol of {length} has its values from byte {begin} on: one "
                f"value or more, 8 bytes each"
            )
        if offset < -1:
            raise _bad(f"offset must be a whole number from 0, or -1 for none, not {offset}")
        check_count(count // len(self._columns.names), self._max_values)
        name = message[_HEADER.size - 1 : begin]
        symbol = self._names.get(name) or self._symbol(name)
        at = None if offset < 0 else offset
        if self._columns is PRICES_ALONE:
            return symbol, np.frombuffer(message, offset=begin), at
        return symbol, raw_rows(message, self._columns, self._max_values, begin), at

    def _symbol(self, name: bytes) -> str:
        """Return the symbol in `name`: its length, itself, and the zeros that fill it up."""
        end = 1 + name[0]
        if name[end:].strip(b"\0"):
            raise _bad("Between the symbol and the values there are zeros only, up to a multiple of 8 bytes")
        try:
            symbol = name[1:end].decode()
        except UnicodeDecodeError:
            raise _bad("The symbol is not UTF-8") from None
        if len(self._names) < _MAX_REMEMBERED:
            self._names[name] = symbol
        return symbol


def _bad(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, detail)
