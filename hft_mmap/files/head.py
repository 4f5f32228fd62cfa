"""The head file of a series: 4,096 bytes that say what the series is and how far it goes.

=======  =====  ==========================================================================================
offset   bytes  what
=======  =====  ==========================================================================================
0        512    identity: magic, format version, fan-out, chunk size, series id, creation time, symbol, CRC
512      512    live words: total, start, boot id (2 words), boot clock, flags; one aligned 8-byte store each
1024     512    commit slot 0: sequence, total, start, source position, boot id, boot clock, flags, CRC
2048     512    commit slot 1
=======  =====  ==========================================================================================

Live words are stored through a shared mapping and are seen by every process at once; they survive the death of the
process. Commit slots are written in turn with pwrite and made durable by fdatasync; they survive the death of the
machine. Each block lies in a 512-byte sector of its own, so that a torn sector spoils one block only.
"""

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from isal import isal_zlib

from hft_mmap.errors import FormatError
from hft_mmap.files.boot import Boot
from hft_mmap.files.disk import write_fully
from hft_mmap.tree.words import BOOT_CLOCK, BOOT_ID, FLAGS, HEAD_BYTES, LIVE_OFFSET

HEAD_NAME = "head"
HEAD_MAGIC = b"HFTMMAP\0"
FORMAT_VERSION = 1

SLOT_OFFSETS = (1024, 2048)

MAX_TOTAL = 1 << 62
"""At a million points a second that takes 146,000 years; a larger number is a damaged one."""

FLAG_SYNC_FAILED = 1
"""Live flag: an fsync failed in this run of the machine, so pages may be clean in memory and not on the disk."""

FLAG_CLEAN = 2
"""Live flag: the newest slot is a clean one, so nothing may be published before one that is not is on the disk."""

_CRC = struct.Struct("<I")
_IDENTITY = struct.Struct("<8sIIQ16sqH64s")
_SLOT = struct.Struct("<Qqqq16sqQ")
_SLOT_CLEAN = 1
_WHOLE_LOCK = struct.Struct("hhqqi4x")
"""struct flock of x86-64: type, whence, start, length, pid; here always of the whole file."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a series is; written once at creation."""

    symbol: str
    chunk_points: int
    fan_out: int
    series_id: bytes
    created_ns: int


class Commit(NamedTuple):
    """What one commit slot holds: a state that is on the disk in full."""

    sequence: int
    total: int
    start: int
    source_position: int
    boot: Boot
    clean: bool


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
    return _with_crc(
        _IDENTITY.pack(
            HEAD_MAGIC, FORMAT_VERSION, identity.fan_out, identity.chunk_points, identity.series_id,
            identity.created_ns, len(symbol), symbol,
        )
    )  # fmt: skip


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
    if version != FORMAT_VERSION:
        message = f"head file has format version {version}, this release reads version {FORMAT_VERSION}"
        raise FormatError(message)
    _, _, fan_out, chunk_points, series_id, created_ns, size, symbol = _IDENTITY.unpack(block)
    try:
        text = symbol[:size].decode()
    except UnicodeDecodeError as error:
        message = "head file has a symbol that is not UTF-8"
        raise FormatError(message) from error
    return Identity(text, chunk_points, fan_out, series_id, created_ns)


def encode_commit(commit: Commit) -> bytes:
    """Return a commit slot, CRC included."""
    return _with_crc(
        _SLOT.pack(
            commit.sequence, commit.total, commit.start, commit.source_position,
            commit.boot.boot_id, commit.boot.clock_ns, _SLOT_CLEAN if commit.clean else 0,
        )
    )  # fmt: skip


def decode_commit(raw: bytes) -> Commit | None:
    """Return the commit in a slot's bytes, or None if the slot was never written or is torn."""
    block = _checked(raw, _SLOT.size)
    if block is None:
        return None
    sequence, total, start, source_position, boot_id, clock_ns, flags = _SLOT.unpack(block)
    if sequence == 0 or not 0 <= start <= total <= MAX_TOTAL:
        return None
    return Commit(sequence, total, start, source_position, Boot(boot_id, clock_ns), bool(flags & _SLOT_CLEAN))


class Head:
    """An open head file. Not locked: the series that owns it decides who may write, and when."""

    __slots__ = ("_array", "_commit_lock", "_lock_type", "address", "fd", "identity", "path", "words")

    def __init__(self, directory: Path, *, writable: bool) -> None:
        """Open and check the head in `directory`; FormatError if it is not a sound head file."""
        self.path = directory / HEAD_NAME
        self.fd = os.open(self.path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        self._lock_type = fcntl.F_WRLCK if writable else fcntl.F_RDLCK
        self._commit_lock = threading.Lock()
        try:
            self.identity = decode_identity(os.pread(self.fd, HEAD_BYTES + 1, 0))
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._array = np.frombuffer(mmap.mmap(self.fd, HEAD_BYTES, access=access), dtype=np.int64)
        except BaseException:
            os.close(self.fd)
            raise
        self.address: int = self._array.ctypes.data
        # PERF: reading a word through a memoryview takes 35 ns, through a numpy array 75 ns.
        self.words: memoryview = self._array.data.cast("B").cast("q")

    @staticmethod
    def create(directory: Path, identity: Identity, commit: Commit, *, live: Boot) -> None:
        """Write and sync a new head with one commit into `directory`; its live words count in the boot `live`."""
        raw = bytearray(HEAD_BYTES)
        block = encode_identity(identity)
        raw[: len(block)] = block
        slot = encode_commit(commit)
        offset = SLOT_OFFSETS[commit.sequence % 2]
        raw[offset : offset + len(slot)] = slot
        words = struct.pack("<qq16sq", commit.total, commit.start, live.boot_id, live.clock_ns)
        raw[LIVE_OFFSET : LIVE_OFFSET + len(words)] = words
        fd = os.open(directory / HEAD_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            write_fully(fd, raw, 0)
            os.fsync(fd)
        finally:
            os.close(fd)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Hold the commit slots and the flags against every other thread and process, until a slot is on the disk.

        Appends don't wait for it: it is another lock than the one that holds the series (flock), of the open file and
        not of the process (OFD). Who needs both takes that of the series first.
        """
        with self._commit_lock:
            fcntl.fcntl(self.fd, fcntl.F_OFD_SETLKW, _WHOLE_LOCK.pack(self._lock_type, os.SEEK_SET, 0, 0, 0))
            try:
                yield
            finally:
                fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, _WHOLE_LOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))

    def raise_flag(self, flag: int) -> None:
        """Set a live flag. The caller is `committing`."""
        self.store(FLAGS, self.words[FLAGS] | flag)

    def lower_flag(self, flag: int) -> None:
        """Clear a live flag. The caller is `committing`."""
        self.store(FLAGS, self.words[FLAGS] & ~flag)

    def store(self, word: int, value: int) -> None:
        """Store one live word. numpy writes an aligned int64 with one 8-byte store, which readers see whole."""
        self._array[word] = value

    def live_boot(self) -> Boot:
        """Return the run of the machine in which the live words were last written."""
        raw = bytes(self._array[BOOT_ID : BOOT_ID + 2].tobytes())
        return Boot(raw, self.words[BOOT_CLOCK])

    def store_live_boot(self, boot: Boot) -> None:
        """Declare the live words valid for this run of the machine.

        A crash between these stores leaves a boot id that is not ours: the next opening falls back to the commit
        slot, which then still equals the live words.
        """
        low, high = np.frombuffer(boot.boot_id, dtype=np.int64)
        self.store(BOOT_CLOCK, boot.clock_ns)
        self.store(BOOT_ID, int(low))
        self.store(BOOT_ID + 1, int(high))

    def commits(self) -> list[Commit]:
        """Return the valid commits, newest first."""
        found = [decode_commit(os.pread(self.fd, 512, offset)) for offset in SLOT_OFFSETS]
        return sorted((commit for commit in found if commit is not None), reverse=True)

    def write_commit(self, commit: Commit) -> Commit:
        """Write `commit` with the next sequence into the older slot and return it as written; not yet synced.

        A commit never goes back: where the newest slot already holds more points, or a later start, that stands.
        """
        newest = self.commits()[:1]
        sequence = newest[0].sequence + 1 if newest else 1
        if newest:
            commit = commit._replace(total=max(commit.total, newest[0].total), start=max(commit.start, newest[0].start))
        commit = commit._replace(sequence=sequence)
        write_fully(self.fd, encode_commit(commit), SLOT_OFFSETS[sequence % 2])
        return commit

    def write_newest_again(self) -> None:
        """Write the newest commit as it is, so that the next sync puts it on the disk. OSError."""
        for commit in self.commits()[:1]:
            write_fully(self.fd, encode_commit(commit), SLOT_OFFSETS[commit.sequence % 2])

    def close(self) -> None:
        """Close the file; the mapping goes when its last reader does."""
        os.close(self.fd)
