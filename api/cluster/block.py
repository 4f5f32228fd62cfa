r"""One record of the log: what was decided, and on which state. It is applied as it stands, or dropped whole.

==========  ==========================================================================================================
block       magic "HB1\0" | id 16 | prev u64 | parent 16 | count u32 | crc u32 of all the rest | 4 zero | entries
entry       kind u8 | symbol bytes u8 | columns u16 | n u32 | offset u64 | symbol, padded to 8 | prices, times, sizes
==========  ==========================================================================================================

id: random. prev: the last record that was read when the block was decided; parent: the id of the last one that counted.
columns: the bits of the columns, as in a head. Prices and sizes are float64, times int64, n of each, little-endian, as
they are stored: checked, late times moved, no -0.0. The entries LIMITS and MOVED have n int64 instead; those of SEAL,
LIMITS and MOVED name no points, and that of BEGIN has one.
"""

import os
import struct
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from isal import isal_zlib

from hft_mmap import InvalidSymbol, Ticks
from hft_mmap.files.layout import SIZE, TIME, bits_of, kinds_of
from hft_mmap.files.names import validate_symbol

MAGIC = b"HB1\0"
NO_PARENT = bytes(16)
"""The parent of the first block of a log."""
_HEAD = struct.Struct("<4s16sQ16sI")
_CRC = struct.Struct("<I4x")
HEAD_BYTES = _HEAD.size + _CRC.size
_ENTRY = struct.Struct("<BBHIQ")
MOST_ENTRY_BYTES = _ENTRY.size + 64
"""What an entry takes beside its numbers: a symbol has at most 64 bytes."""


class Kind(IntEnum):
    """What an entry says."""

    APPEND = 0
    """Points of a symbol."""
    SEAL = 1
    """The symbol takes no more points in this shard, for good."""
    LIMITS = 2
    """How many points a symbol keeps from now on: the most, and those that a cleanup keeps."""
    BEGIN = 3
    """The oldest point of a symbol that comes from another shard; its index is the offset."""
    MOVED = 4
    """The sealed symbol is in another shard, whose number follows; here it is removed."""


class BadBlock(Exception):
    """The bytes are no block that this release can read."""


class Entry(NamedTuple):
    """One decision; `offset` is the total of the symbol before it."""

    kind: Kind
    symbol: str
    offset: int
    batch: Ticks
    numbers: tuple[int, ...] = ()


class Block(NamedTuple):
    """A record as it is read."""

    ident: bytes
    prev: int
    parent: bytes
    entries: tuple[Entry, ...]


NO_POINTS = Ticks(np.empty(0))
_OF_NUMBERS = frozenset({Kind.LIMITS, Kind.MOVED})


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of one entry. Costs a copy."""
    name = entry.symbol.encode()
    if entry.kind in _OF_NUMBERS:
        n, columns, arrays = len(entry.numbers), 0, [np.array(entry.numbers, "<i8")]
    else:
        n, columns = len(entry.batch.prices), bits_of(entry.batch.kinds)
        arrays = [entry.batch.prices, *entry.batch.columns]
    head = _ENTRY.pack(entry.kind, len(name), columns, n, entry.offset)
    return b"".join((head, name, bytes(-len(name) % 8), *(array.tobytes() for array in arrays)))


def encode(prev: int, parent: bytes, entries: list[bytes]) -> tuple[bytes, bytes]:
    """Return the id of a new block and its bytes; `entries` are those of `encode_entry`."""
    ident, body = os.urandom(16), b"".join(entries)
    head = _HEAD.pack(MAGIC, ident, prev, parent, len(entries))
    return ident, b"".join((head, _CRC.pack(isal_zlib.crc32(body, isal_zlib.crc32(head))), body))


def decode(data: bytes) -> Block:
    """Return the block in `data`, whose arrays are read-only views of it; BadBlock says what is wrong with it."""
    if len(data) < HEAD_BYTES or not data.startswith(MAGIC):
        raise BadBlock(f"{len(data)} bytes that do not begin as a block does")
    head, body = data[: _HEAD.size], memoryview(data)[HEAD_BYTES:]
    if data[_HEAD.size : HEAD_BYTES] != _CRC.pack(isal_zlib.crc32(body, isal_zlib.crc32(head))):
        raise BadBlock("the checksum does not fit: the record was damaged")
    _, ident, prev, parent, count = _HEAD.unpack(head)
    entries, at = [], HEAD_BYTES
    try:
        for _ in range(count):
            entry, at = _decode_entry(data, at)
            entries.append(entry)
    except (struct.error, ValueError, InvalidSymbol) as error:
        raise BadBlock(f"an entry can't be read, which a later release may have written: {error}") from error
    if at != len(data):
        raise BadBlock(f"{len(data) - at} bytes lie behind the last entry")
    return Block(ident, prev, parent, tuple(entries))


def _decode_entry(data: bytes, at: int) -> tuple[Entry, int]:
    """Return the entry at `at` and where the next one begins. ValueError, struct.error, InvalidSymbol."""
    number, size, columns, n, offset = _ENTRY.unpack_from(data, at)
    kind, has = Kind(number), kinds_of(columns)
    at += _ENTRY.size
    symbol = data[at : at + size].decode()
    at += size + -size % 8
    if kind is not Kind.LIMITS:
        validate_symbol(symbol)
    if kind in _OF_NUMBERS:
        numbers = tuple(np.frombuffer(data, "<i8", n, at).tolist())
        return Entry(kind, symbol, offset, NO_POINTS, numbers), at + 8 * n
    prices = np.frombuffer(data, "<f8", n, at)
    at += 8 * n
    found = {}
    for column in has:
        found[column] = np.frombuffer(data, column.dtype, n, at)
        at += 8 * n
    return Entry(kind, symbol, offset, Ticks(prices, found.get(TIME), found.get(SIZE))), at
