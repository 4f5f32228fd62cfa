"""The blocks of a head that are written whole, each with a checksum: what a series is, and its commit slots.

On the disk: docs/on-disk-format.md. Here they are made from values and read back; nothing else is taken for one.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from hft_mmap.errors import FormatError
from hft_mmap.files.boot import Boot
from hft_mmap.files.layout import Kind, bits_of, kinds_of
from hft_mmap.files.marks import Mark
from hft_mmap.tree.words import EPOCH, FLAGS, HEAD_BYTES, HOME, SALT, START

HEAD_MAGIC = b"HFTMMAP\0"
FORMAT_VERSION = 1
VERSION_WITH_MORE = 2
"""Only where the series has columns, or prices may be negative: older releases, which know nothing of that, refuse it
by this number, or by the bits that they don't know."""

MAX_TOTAL = 1 << 62
"""At a million points a second that takes 146,000 years; a larger number is a damaged one."""

_CRC = struct.Struct("<I")
_IDENTITY = struct.Struct("<8sIIQ16sqH64s")
_SLOT = struct.Struct("<Qqqq16sqQ")
_SLOT_CLEAN = 1
_MARK = struct.Struct("<qq")
_MARK_OFFSET = 72
_MORE = struct.Struct("<Q")
_MORE_OFFSET = 120
_SIGNED = 1 << 32
SLOT_USED_BYTES = _MARK_OFFSET + _MARK.size + _CRC.size
"""What a commit takes of its sector."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a series is; written at creation, and anew by `Head.choose`."""

    symbol: str
    chunk_points: int
    fan_out: int
    series_id: bytes
    created_ns: int
    kinds: tuple[Kind, ...] = ()
    """The columns beside its prices; its first batch says which."""
    is_signed: bool = False
    """Whether a price may be negative, as one was to be appended."""


class Commit(NamedTuple):
    """What one commit slot holds: a state that is on the disk in full."""

    sequence: int
    total: int
    start: int
    source_position: int
    boot: Boot
    clean: bool
    mark: Mark | None = None
    """The running checksum of the points below total; releases that had none left it out."""


Decoded = dict[int, tuple[bytes, Commit | None]]
"""Slots by their place: the bytes, and the commit in them."""


def _with_crc(block: bytes) -> bytes:
    """Append the CRC-32 of `block` to it."""
    return block + _CRC.pack(isal_zlib.crc32(block))


def _checked(raw: bytes, size: int) -> bytes | None:
    """Return the first `size` bytes of `raw` if the CRC-32 that follows them fits, else None."""
    block = raw[:size]
    return block if raw[size : size + _CRC.size] == _CRC.pack(isal_zlib.crc32(block)) else None


def encode_identity(identity: Identity) -> bytes:
    """Return the identity block, CRC included."""
    symbol = identity.symbol.encode()
    block = _with_crc(
        _IDENTITY.pack(
            HEAD_MAGIC, VERSION_WITH_MORE if _more(identity) else FORMAT_VERSION, identity.fan_out,
            identity.chunk_points, identity.series_id, identity.created_ns, len(symbol), symbol,
        )
    )  # fmt: skip
    more = _more(identity)
    return _with_crc(block.ljust(_MORE_OFFSET, b"\0") + _MORE.pack(more)) if more else block


def _more(identity: Identity) -> int:
    """Return the bits of what a series has beyond prices from 0 on."""
    return bits_of(identity.kinds) | (_SIGNED if identity.is_signed else 0)


def decode_identity(raw: bytes) -> Identity:
    """Return the identity in a head file's bytes; FormatError says what is wrong with it."""
    if len(raw) != HEAD_BYTES:
        message = f"head file has {len(raw)} bytes instead of {HEAD_BYTES}"
        raise FormatError(message)
    if raw[: len(HEAD_MAGIC)] != HEAD_MAGIC:
        message = "head file does not start with the magic of a head file"
        raise FormatError(message)
    version = struct.unpack_from("<I", raw, len(HEAD_MAGIC))[0]
    block = _checked(raw, _IDENTITY.size)
    if block is None:
        message = "head file has a wrong identity checksum"
        raise FormatError(message)
    if version not in {FORMAT_VERSION, VERSION_WITH_MORE}:
        message = (
            f"head file has format version {version}, this release reads versions {FORMAT_VERSION} and "
            f"{VERSION_WITH_MORE}"
        )
        raise FormatError(message)
    kinds, is_signed = _more_in(raw) if version == VERSION_WITH_MORE else ((), False)
    _, _, fan_out, chunk_points, series_id, created_ns, size, symbol = _IDENTITY.unpack(block)
    try:
        text = symbol[:size].decode()
    except UnicodeDecodeError as error:
        message = "head file has a symbol that is not UTF-8"
        raise FormatError(message) from error
    return Identity(text, chunk_points, fan_out, series_id, created_ns, kinds, is_signed)


def _more_in(raw: bytes) -> tuple[tuple[Kind, ...], bool]:
    """Return the columns that a head of VERSION_WITH_MORE names, and whether prices may be negative; FormatError."""
    block = _checked(raw, _MORE_OFFSET + _MORE.size)
    if block is None:
        raise FormatError("head file has a wrong checksum of its columns")
    (more,) = _MORE.unpack_from(block, _MORE_OFFSET)
    try:
        kinds = kinds_of(more & ~_SIGNED)
    except ValueError as error:
        raise FormatError(f"head file: {error}") from error
    if not more:
        raise FormatError(f"head file has format version {VERSION_WITH_MORE}, and no columns")
    return kinds, bool(more & _SIGNED)


def encode_commit(commit: Commit) -> bytes:
    """Return a commit slot, CRC included."""
    slot = _with_crc(
        _SLOT.pack(
            commit.sequence, commit.total, commit.start, commit.source_position,
            commit.boot.boot_id, commit.boot.clock_ns, _SLOT_CLEAN if commit.clean else 0,
        )
    )  # fmt: skip
    # Under a checksum of both: a release that knows no mark leaves that of an older commit here.
    whole = slot.ljust(_MARK_OFFSET, b"\0") + _MARK.pack(*(commit.mark or (0, 0)))
    return _with_crc(whole)


def decode_commit(raw: bytes) -> Commit | None:
    """Return the commit in a slot's bytes, or None if the slot was never written or is torn."""
    block = _checked(raw, _SLOT.size)
    if block is None:
        return None
    sequence, total, start, source_position, boot_id, clock_ns, flags = _SLOT.unpack(block)
    if sequence == 0 or not 0 <= start <= total <= MAX_TOTAL:
        return None
    return Commit(
        sequence, total, start, source_position, Boot(boot_id, clock_ns), bool(flags & _SLOT_CLEAN), _mark_of(raw)
    )


def commit_in(head: bytes, offset: int, decoded: Decoded) -> Commit | None:
    """Return the commit in the slot at `offset` of a head's bytes; `decoded` has those that were decoded before."""
    raw = head[offset : offset + SLOT_USED_BYTES]
    known = decoded.get(offset)
    if known is None or known[0] != raw:
        # PERF: 12 us, and of two slots one is new in a commit.
        known = decoded[offset] = (raw, decode_commit(raw))
    return known[1]


def used_identity(identity: Identity) -> int:
    """Return how many bytes of its sector the identity takes, checksums included."""
    return len(encode_identity(identity))


def is_damaged_slot(raw: bytes) -> bool:
    """Say whether the 512 bytes of a slot that was written are not what some release has written there."""
    end = SLOT_USED_BYTES
    marked = _checked(raw, _MARK_OFFSET + _MARK.size) is not None
    return decode_commit(raw) is None or any(raw[end:]) or not (marked or not any(raw[_SLOT.size + _CRC.size :]))


def _mark_of(raw: bytes) -> Mark | None:
    """Return the mark in a slot's bytes, or None if a release that knows none wrote the slot."""
    block = _checked(raw, _MARK_OFFSET + _MARK.size)
    found = Mark(*_MARK.unpack_from(raw, _MARK_OFFSET)) if block else Mark(0, 0)
    return found if found.epoch else None


def settled_of(words: NDArray[np.int64]) -> int:
    """Return the checksum of the words of a head that appends leave alone; never 0."""
    block = words[START:FLAGS].tobytes() + words[EPOCH : HOME + 1].tobytes() + words[SALT : SALT + 1].tobytes()
    return int(isal_zlib.crc32(block)) | 1 << 32
