"""The file of one column of a chunk: a number of 8 bytes for each point, then a footer.

==============================  ==============  ======================================================
offset                          bytes           what
==============================  ==============  ======================================================
0                               8 C             values, C = points of a chunk: int64 or float64
end - 4096                      512             identity: magic, version, series id, first point, C, kind, CRC
end - 3584                      512             seal: CRC-32 of the values, CRC
==============================  ==============  ======================================================

Like the chunk beside it, it has its full length from the start (sparse), is mapped read-only, written with pwrite only,
and never truncated. Values below the published total never change. `Chunk` has its columns, and treats them as a part
of itself: no row of it is more than the least of its files.
"""

import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from hft_mmap.errors import FormatError
from hft_mmap.files.disk import write_fully
from hft_mmap.files.layout import FOOTER_BYTES, Kind, Layout
from hft_mmap.files.marks import seed_of
from hft_mmap.files.memory import forget_pages, identity_of, keep_in_memory, mapped, open_again
from hft_mmap.files.names import chunk_name
from hft_mmap.tree.checksum import checksum
from hft_mmap.tree.ticks import FILE_ADDRESS, FILE_FD, FILE_SEED, write_column

COLUMN_MAGIC = b"HFTCOLM\0"
COLUMN_VERSION = 1
SEAL_OFFSET = 512
SEAL_BYTES = 512

_IDENTITY = struct.Struct("<8sI16sqQI")
_CRC = struct.Struct("<I")


def _with_crc(block: bytes) -> bytes:
    return block + _CRC.pack(isal_zlib.crc32(block))


def _identity_block(series_id: bytes, first: int, points: int, kind: Kind) -> bytes:
    """Return the identity of a column, CRC included."""
    return _with_crc(_IDENTITY.pack(COLUMN_MAGIC, COLUMN_VERSION, series_id, first, points, kind.number))


def _difference(raw: bytes, expected: bytes) -> str:
    """Say in what the identity of a column differs from the one that it has to have."""
    block = raw[: _IDENTITY.size]
    if not block.startswith(COLUMN_MAGIC) or raw[_IDENTITY.size :] != _CRC.pack(isal_zlib.crc32(block)):
        return "is damaged: its identity is not sound"
    found, wanted = _IDENTITY.unpack(block), _IDENTITY.unpack(expected[: _IDENTITY.size])
    if found[1] != wanted[1]:
        return f"has format version {found[1]}, this release reads version {wanted[1]}"
    if found[2] != wanted[2]:
        return "belongs to another series"
    if found[5] != wanted[5]:
        return f"is of kind {found[5]}, not {wanted[5]}"
    return f"holds {found[4]} points from {found[3]}, not {wanted[4]} from {wanted[3]}"


class Column:
    """An open file of a column. Made by the chunk that it belongs to."""

    __slots__ = ("_fd", "_file", "_mapping", "address", "first", "kind", "layout", "path", "plan", "values")

    def __init__(
        self, directory: Path, series_id: bytes, first: int, layout: Layout, kind: Kind, plan: NDArray[np.int64]
    ) -> None:  # fmt: skip
        """Map the file read-only. FileNotFoundError if there is none, FormatError if it is not this column.

        plan: where compiled code finds the file; it belongs to the chunk.
        """
        self.path = directory / chunk_name(first, kind.suffix)
        self.first, self.layout, self.kind = first, layout, kind
        self._fd = -1
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found, size = os.fstat(fd), layout.column_footer + FOOTER_BYTES
            self._file = identity_of(found)
            if found.st_size != size:
                message = f"column {self.path.name} has {found.st_size} bytes instead of {size}"
                raise FormatError(message)
            expected = _identity_block(series_id, first, layout.points, kind)
            raw = os.pread(fd, len(expected), layout.column_footer)
            if raw != expected:
                raise FormatError(f"column {self.path.name} {_difference(raw, expected)}")
            self._mapping = np.frombuffer(mapped(fd, size), dtype=np.uint8)
        finally:
            os.close(fd)
        self.values = self._mapping[: 8 * layout.points].view(kind.dtype)
        self.address: int = self._mapping.ctypes.data
        self.plan = plan
        plan[FILE_FD], plan[FILE_ADDRESS], plan[FILE_SEED] = -1, self.address, seed_of(series_id, kind.number)

    @staticmethod
    def create(
        directory: Path, series_id: bytes, first: int, layout: Layout, kind: Kind, allocated_points: int
    ) -> None:  # fmt: skip
        """Create the file at its full length, with space for the first `allocated_points`. OSError; see `Chunk.create`.

        A file of that name is left from an append that was never published: it is replaced.
        """
        path = directory / chunk_name(first, kind.suffix)
        with suppress(FileNotFoundError):
            path.unlink()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, layout.column_footer + FOOTER_BYTES)
            Column.allocate(fd, layout, allocated_points)
            write_fully(fd, _identity_block(series_id, first, layout.points, kind), layout.column_footer)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(fd)

    @staticmethod
    def allocate(fd: int, layout: Layout, points: int) -> None:
        """Take space on the disk for the first `points` points of a column. OSError."""
        if points := min(points, layout.points):
            os.posix_fallocate(fd, 0, 8 * points)

    def writer(self) -> int:
        """Return the descriptor for writing, opened at first use and kept, as `Chunk.writer` does."""
        if self._fd < 0:
            size = self.layout.column_footer + FOOTER_BYTES
            self._fd = open_again(self.path, os.O_WRONLY, self._file, self.address, size)
            self.plan[FILE_FD] = self._fd
        return self._fd

    def close_writer(self) -> None:
        """Close the descriptor for writing, if any; reads go on."""
        if self._fd >= 0:
            self.plan[FILE_FD] = -1
            fd, self._fd = self._fd, -1  # before it is closed: see `Chunk.close_writer`
            os.close(fd)

    def write(self, begin: int, values: NDArray[np.int64] | NDArray[np.float64]) -> int:
        """Write `values`, an array of the caller's own, at place `begin`; return their checksum. OSError."""
        self.writer()
        error, found = write_column(self.plan, self.first, begin, values.view(np.int64))
        if error:
            raise OSError(error, os.strerror(error), str(self.path))
        return int(found)

    def checksum(self, begin: int, end: int) -> int:
        """Return the running checksum of the places [begin, end); O(n), 0.5 ns a point."""
        seed = int(self.plan[FILE_SEED])
        return int(checksum(self.address + 8 * begin, end - begin, self.first + begin, seed)[0])

    def keep_in_memory(self, begin: int, end: int) -> None:
        """Keep the points [begin, end) and the footer in memory, as far as the system allows that."""
        keep_in_memory(self.address + 8 * begin, 8 * (end - begin))
        keep_in_memory(self.address + self.layout.column_footer, FOOTER_BYTES)

    def forget_pages(self) -> None:
        """Take the pages out of the memory of this process; see `Chunk.forget_pages`."""
        forget_pages(self.address, self.layout.column_footer + FOOTER_BYTES)

    # -- the footer ---------------------------------------------------------------------------------------------------

    def _footer(self) -> bytes:
        return self._mapping[self.layout.column_footer :].tobytes()

    def write_footer_again(self) -> None:
        """Write identity and seal as they are, so that the next sync puts them on the disk. OSError."""
        write_fully(self.writer(), self._footer(), self.layout.column_footer)

    def values_crc(self) -> int:
        """Return the CRC-32 of all values; O(C), with the GIL released."""
        return int(isal_zlib.crc32(self.values.data))

    def read_seal(self) -> int | None:
        """Return the CRC-32 that the seal has of the values, or None without one; FormatError if it is damaged."""
        raw = self._footer()[SEAL_OFFSET : SEAL_OFFSET + 2 * _CRC.size]
        if raw == _with_crc(raw[: _CRC.size]):
            return int(_CRC.unpack_from(raw)[0])
        if any(raw):
            raise FormatError(f"{self.path.name}: the seal is damaged")
        return None

    def seal(self) -> None:
        """Write the seal of a full column; it is there after the next sync. O(C)."""
        write_fully(self.writer(), _with_crc(_CRC.pack(self.values_crc())), self.layout.column_footer + SEAL_OFFSET)

    def unseal(self) -> None:
        """Remove the seal of a column that is not full any more."""
        if any(self._footer()[SEAL_OFFSET : SEAL_OFFSET + SEAL_BYTES]):
            write_fully(self.writer(), bytes(SEAL_BYTES), self.layout.column_footer + SEAL_OFFSET)

    def footer_faults(self) -> list[str]:
        """Return what is wrong in the footer beside identity and seal: bytes that should be 0."""
        footer, used = self._footer(), _IDENTITY.size + _CRC.size
        unused = footer[used:SEAL_OFFSET] + footer[SEAL_OFFSET + 2 * _CRC.size :]
        return [f"{self.path.name}: unused bytes of the footer are not 0"] if any(unused) else []

    def __del__(self) -> None:
        """Close the descriptor of a column that nobody holds any more (`_fd` is missing if it was never opened)."""
        if getattr(self, "_fd", -1) >= 0:
            self.close_writer()
