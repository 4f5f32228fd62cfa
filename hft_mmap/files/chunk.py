"""One data file of a series: prices, then the node levels above them, then a footer.

==============================  ==============  ======================================================
offset                          bytes           what
==============================  ==============  ======================================================
0                               8 C             values, float64 little-endian, C = points of a chunk
8 C                             32 C / 64       level 1 nodes, one for each 64 values
…                               32 C / 64^k     level k nodes, while 64^k divides C
end - 4096                      512             identity: magic, version, series id, first point, C, CRC
end - 3584                      512             seal: root node, CRC-32 of values and of nodes, CRC
end - 3072                      512             base: epoch, running checksum before the first point, CRC
==============================  ==============  ======================================================

Its columns (`files.column`) are files of their own beside it; a chunk is opened, written, synced and sealed with all of
them. The file has its full length from the start (sparse), is mapped once, read-only, written with pwrite only, and
never truncated. Values and nodes below the published total never change.
"""

import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from hft_mmap.errors import FormatError, InvalidValues
from hft_mmap.files.column import Column
from hft_mmap.files.disk import write_fully
from hft_mmap.files.layout import FOOTER_BYTES, GROUPS, Layout
from hft_mmap.files.marks import Mark, seed_of, wrapped
from hft_mmap.files.memory import forget_pages, identity_of, keep_in_memory, mapped, open_again
from hft_mmap.files.names import chunk_name
from hft_mmap.tree.checksum import CHANGED, checksum, former_checksum
from hft_mmap.tree.kernels import FAN_OUT, NODE_BYTES, NODE_FIELDS, summarise_nodes, summarise_values
from hft_mmap.tree.ticks import FILE_ROWS, FILE_WORDS
from hft_mmap.tree.writer import (
    PLAN_CHECKSUM,
    PLAN_CHUNK_ADDRESS,
    PLAN_CHUNK_FD,
    PLAN_CHUNK_FIRST,
    PLAN_CHUNK_POINTS,
    PLAN_LEVEL_OFFSETS,
    PLAN_LEVELS,
    PLAN_SEED,
    PLAN_WORDS,
    write_points,
)

CHUNK_MAGIC = b"HFTCHNK\0"
CHUNK_VERSION = 1
SEAL_OFFSET = 512
SEAL_BYTES = 512
BASE_OFFSET = 1024

_IDENTITY = struct.Struct("<8sI16sqQ")
_SEAL = struct.Struct("<4dII")
_BASE = struct.Struct("<qq")
_CRC = struct.Struct("<I")


def _difference(raw: bytes, expected: bytes) -> str:
    """Say in what the identity of a chunk differs from the one that it has to have."""
    block = raw[: _IDENTITY.size]
    if not block.startswith(CHUNK_MAGIC) or raw[_IDENTITY.size :] != _CRC.pack(isal_zlib.crc32(block)):
        return "is damaged: its identity is not sound"
    found, wanted = _IDENTITY.unpack(block), _IDENTITY.unpack(expected[: _IDENTITY.size])
    if found[1] != wanted[1]:
        return f"has format version {found[1]}, this release reads version {wanted[1]}"
    if found[2] != wanted[2]:
        return "belongs to another series"
    return f"holds {found[4]} points from {found[3]}, not {wanted[4]} from {wanted[3]}"


class Seal(NamedTuple):
    """What is known of a full chunk: its root node and the checksums of its values and its nodes."""

    root: tuple[float, float, float, float]
    values_crc: int
    nodes_crc: int


def _identity_block(series_id: bytes, first: int, points: int) -> bytes:
    """Return the identity of a chunk, CRC included."""
    block = _IDENTITY.pack(CHUNK_MAGIC, CHUNK_VERSION, series_id, first, points)
    return block + _CRC.pack(isal_zlib.crc32(block))


def _allocate(fd: int, layout: Layout, points: int) -> None:
    """Take space on the disk for the first `points` points of a file, and their nodes. OSError."""
    points = min(points, layout.points)
    if points:
        os.posix_fallocate(fd, 0, 8 * points)
    for level in range(1, layout.levels + 1):
        if nodes := points // FAN_OUT**level:
            os.posix_fallocate(fd, layout.offsets[level], NODE_BYTES * nodes)


class Chunk:
    """An open chunk file, with its columns. Reads need no lock; the series that owns it has one writer at a time."""

    __slots__ = (
        "_fd", "_file", "_mapping", "address", "columns", "files", "first", "groups", "layout", "path", "plan",
        "sealed", "series_id", "values",
    )  # fmt: skip

    def __init__(self, directory: Path, series_id: bytes, first: int, layout: Layout) -> None:
        """Map its files read-only. FileNotFoundError if one is missing, FormatError if one is not of this chunk."""
        self.path = directory / chunk_name(first)
        self.first = first
        self.series_id = series_id
        self.layout = layout
        self.groups: dict[int, Any] = {}
        """What is known of its groups; see `files.proved`."""
        self.sealed = False
        self._fd = -1
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            self._file, size = identity_of(found), found.st_size
            if size != layout.size:
                message = f"chunk {self.path.name} has {size} bytes instead of {layout.size}"
                raise FormatError(message)
            expected = _identity_block(series_id, first, layout.points)
            raw = os.pread(fd, len(expected), layout.footer)
            if raw != expected:
                raise FormatError(f"chunk {self.path.name} {_difference(raw, expected)}")
            # PERF: np.memmap opens the file again and resolves its path, which takes half of the opening of a series.
            self._mapping = np.frombuffer(mapped(fd, layout.size), dtype=np.float64)
        finally:
            os.close(fd)
        self.values: NDArray[np.float64] = self._mapping[: layout.points]
        self.address: int = self._mapping.ctypes.data
        self.plan = np.zeros(PLAN_WORDS, dtype=np.int64)
        self.plan[PLAN_CHUNK_FD] = -1
        self.plan[PLAN_CHUNK_ADDRESS] = self.address
        self.plan[PLAN_CHUNK_FIRST] = first
        self.plan[PLAN_CHUNK_POINTS] = layout.points
        self.plan[PLAN_LEVELS] = layout.levels
        self.plan[PLAN_SEED] = seed_of(series_id)
        self.plan[PLAN_LEVEL_OFFSETS : PLAN_LEVEL_OFFSETS + len(layout.offsets)] = layout.offsets
        self.files = np.zeros((FILE_ROWS if layout.kinds else 0, FILE_WORDS), dtype=np.int64)
        """Where compiled code finds the columns; see `tree.ticks`."""
        self.columns: tuple[Column, ...] = tuple(
            Column(directory, series_id, first, layout, kind, self.files[kind.number - 1]) for kind in layout.kinds
        )

    @staticmethod
    def create(
        directory: Path, series_id: bytes, first: int, layout: Layout, allocated_points: int = 0,
        base: Mark | None = None,
    ) -> None:  # fmt: skip
        """Create its files at their full length, with space on the disk for the first `allocated_points`, nodes too.

        base: the mark of the points before the first, if it is known. A file of that name is left from an append that
        was never published, or from before a power loss: nothing reads it, and it is replaced. The caller syncs the
        directory before it relies on the file after a power loss.
        """
        try:
            for kind in layout.kinds:
                Column.create(directory, series_id, first, layout, kind, allocated_points)
            Chunk._create(directory, series_id, first, layout, allocated_points, base)
        except BaseException:
            for kind in layout.kinds:
                (directory / chunk_name(first, kind.suffix)).unlink(missing_ok=True)
            raise

    @staticmethod
    def _create(
        directory: Path, series_id: bytes, first: int, layout: Layout, allocated_points: int, base: Mark | None
    ) -> None:  # fmt: skip
        """Create the file of the chunk itself. OSError."""
        path = directory / chunk_name(first)
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, layout.size)
            _allocate(fd, layout, allocated_points)
            footer = _identity_block(series_id, first, layout.points)
            if base is not None:
                block = _BASE.pack(*base)
                footer = footer.ljust(BASE_OFFSET, b"\0") + block + _CRC.pack(isal_zlib.crc32(block))
            write_fully(fd, footer, layout.footer)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(fd)

    def nodes(self, level: int) -> NDArray[np.float64]:
        """Return all nodes of `level` (1 …) as a read-only array, shape (n, 4); those not complete are undefined."""
        begin = self.layout.offsets[level] // 8
        count = self.layout.nodes(level)
        flat = self._mapping[begin : begin + NODE_FIELDS * count]
        return flat.reshape(count, NODE_FIELDS)

    def root(self) -> NDArray[np.float64]:
        """Return the node of the whole chunk, shape (4,); the chunk must be full."""
        out = np.empty((1, NODE_FIELDS))
        top = self.layout.levels
        summarise_nodes(self.address + self.layout.offsets[top], FAN_OUT**top, self.layout.nodes(top), 0, out)
        root: NDArray[np.float64] = out[0]
        return root

    def writer(self) -> int:
        """Return the descriptor for writing, opened at first use and kept, so that it sees every failed writeback.

        OSError; FileNotFoundError where the file that is mapped has lost its name.
        """
        if self._fd < 0:
            self._fd = open_again(self.path, os.O_WRONLY, self._file, self.address, self.layout.size)
            self.plan[PLAN_CHUNK_FD] = self._fd
        return self._fd

    def write(self, begin: int, values: NDArray[np.float64], columns: Sequence[NDArray[Any]] = ()) -> int:
        """Write `values`, all of them prices, at place `begin`, and every node they complete; return their checksum.

        columns: what goes into each column, sound, arrays that nobody else changes. The checksum is that of all.

        All points below `begin` must have been written. OSError as the system says (ENOSPC, EIO); what was written
        until then lies above the published total and is written again by the next append.
        """
        of_columns = sum(column.write(begin, each) for column, each in zip(self.columns, columns, strict=True))
        self.writer()
        error = write_points(self.plan, begin, values, 1)  # whoever calls knows whether any may be negative
        if error:
            if error == CHANGED:
                raise InvalidValues("the values changed while they were written; nothing was stored")
            raise OSError(error, os.strerror(error), str(self.path))
        return wrapped(int(self.plan[PLAN_CHECKSUM]) + of_columns)

    def checksum(self, begin: int, end: int, mark: Mark) -> int:
        """Return what the places [begin, end), columns included, add to the checksum of `mark`; O(n), 0.5 ns each."""
        place = self.address + 8 * begin, end - begin, self.first + begin, int(self.plan[PLAN_SEED])
        found = int(checksum(*place)[0] if mark.has_mixed_keys else former_checksum(*place))
        return found + sum(column.checksum(begin, end) for column in self.columns)

    def base(self) -> Mark | None:
        """Return the mark of the points before the first one; None if it was never written, or is damaged."""
        return self._base(self._mapping[(self.layout.footer + BASE_OFFSET) // 8 :][:3].tobytes())

    @staticmethod
    def _base(raw: bytes) -> Mark | None:
        block = raw[: _BASE.size]
        found = Mark(*_BASE.unpack(block))
        sound = raw[_BASE.size : _BASE.size + _CRC.size] == _CRC.pack(isal_zlib.crc32(block))
        return found if sound and found.epoch else None

    def footer_faults(self) -> list[str]:
        """Return what is wrong in the footer beside identity and seal: a damaged base, and bytes that should be 0."""
        begin = self.layout.footer // 8
        footer = self._mapping[begin : begin + FOOTER_BYTES // 8].tobytes()
        raw = footer[BASE_OFFSET : BASE_OFFSET + _BASE.size + _CRC.size]
        faults = [f"{self.path.name}: the base is damaged"] if any(raw) and self._base(raw) is None else []
        identity, seal = _IDENTITY.size + _CRC.size, _SEAL.size + _CRC.size
        unused = (
            footer[identity:SEAL_OFFSET] + footer[SEAL_OFFSET + seal : BASE_OFFSET] + footer[BASE_OFFSET + len(raw) :]
        )
        return [*faults, f"{self.path.name}: unused bytes of the footer are not 0"] if any(unused) else faults

    def has_nodes(self, begin: int, end: int) -> bool:
        """Say whether the nodes that end with the places [begin, end) are those of the values. O(end - begin)."""
        width = FAN_OUT
        for level in range(1, self.layout.levels + 1):
            first, last = begin // width, end // width
            if first == last:
                break
            right = np.empty((last - first, NODE_FIELDS))
            if level == 1:
                summarise_values(self.address, first, right)
            else:
                below = self.address + self.layout.offsets[level - 1]
                summarise_nodes(below, width // FAN_OUT, FAN_OUT, first, right)
            if not np.array_equal(self.nodes(level)[first:last].view(np.int64), right.view(np.int64)):
                return False
            width *= FAN_OUT
        return True

    def write_nodes(self, level: int, nodes: NDArray[np.float64]) -> None:
        """Write `nodes`, shape (n, 4), over the first nodes of `level`. OSError as the system says."""
        write_fully(self.writer(), nodes.data, self.layout.offsets[level])

    def keep_in_memory(self, begin: int, end: int) -> None:
        """Keep the points [begin, end), their nodes and the footer in memory, as far as the system allows that."""
        keep_in_memory(self.address + 8 * begin, 8 * (end - begin))
        for level in range(1, self.layout.levels + 1):
            first, last = begin // FAN_OUT**level, end // FAN_OUT**level
            keep_in_memory(self.address + self.layout.offsets[level] + NODE_BYTES * first, NODE_BYTES * (last - first))
        keep_in_memory(self.address + self.layout.footer, FOOTER_BYTES)
        for column in self.columns:
            column.keep_in_memory(begin, end)

    def write_footer_again(self) -> None:
        """Write identities, seals and base as they are, so that the next sync puts them on the disk. OSError."""
        for column in self.columns:
            column.write_footer_again()
        begin = self.layout.footer // 8
        footer = self._mapping[begin : begin + FOOTER_BYTES // 8].tobytes()
        write_fully(self.writer(), footer, self.layout.footer)

    def writers(self) -> tuple[int, ...]:
        """Return the descriptors for writing of all files; each is opened at first use, and kept. As `writer`."""
        return *(column.writer() for column in self.columns), self.writer()

    def sync(self) -> None:
        """Put what was written to the files on the disk (fdatasync); OSError if the disk fails."""
        for fd in self.writers():
            os.fdatasync(fd)

    def checksums(self) -> tuple[int, int]:
        """Return the CRC-32 of all values and of all nodes; O(C), with the GIL released."""
        values = isal_zlib.crc32(self.values.data)
        nodes = self._mapping[self.layout.offsets[1] // 8 : self.layout.footer // 8]
        return values, isal_zlib.crc32(nodes.data)

    def read_seal(self) -> Seal | None:
        """Return the seal, or None if the chunk was not sealed yet; FormatError if the seal is damaged."""
        begin = (self.layout.footer + SEAL_OFFSET) // 8
        raw = self._mapping[begin : begin + 64].tobytes()
        block = raw[: _SEAL.size]
        if raw[_SEAL.size : _SEAL.size + _CRC.size] != _CRC.pack(isal_zlib.crc32(block)):
            if not any(raw):
                return None
            raise FormatError(f"{self.path.name}: the seal is damaged")
        fields = _SEAL.unpack(block)
        return Seal(fields[:4], fields[4], fields[5])

    def seal(self) -> None:
        """Write the seal of a full chunk: root and checksums. It is there after the next `sync`.

        O(C); no lock is needed, the chunk is immutable.
        """
        values_crc, nodes_crc = self.checksums()
        low, high, mean, m2 = self.root().tolist()
        block = _SEAL.pack(low, high, mean, m2, values_crc, nodes_crc)
        write_fully(self.writer(), block + _CRC.pack(isal_zlib.crc32(block)), self.layout.footer + SEAL_OFFSET)

    def unseal(self) -> None:
        """Remove the seals of a chunk that is not full any more, since its newest points were never committed."""
        for column in self.columns:
            column.unseal()
        begin = (self.layout.footer + SEAL_OFFSET) // 8
        if self._mapping[begin : begin + 64].any():
            write_fully(self.writer(), bytes(SEAL_BYTES), self.layout.footer + SEAL_OFFSET)

    def allocated_bytes(self) -> int:
        """Return how much of the disk its files take, groups included; 0 once unlinked, or where the disk is silent."""
        try:
            used = sum(os.stat(path).st_blocks for path in self.paths)
        except OSError:
            return 0
        for group in GROUPS:
            with suppress(OSError):
                used += os.stat(self.path.with_suffix(group.suffix)).st_blocks
        return 512 * used

    @property
    def parts(self) -> "tuple[Column | Chunk, ...]":
        """What is sealed, each by itself: the columns, and the chunk."""
        return *self.columns, self

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the columns, and that of the chunk."""
        return *(column.path for column in self.columns), self.path

    def written_at(self) -> float | None:
        """Return when the file was last written to, in Unix seconds; None where `allocated_bytes` is 0."""
        try:
            return os.stat(self.path).st_mtime
        except OSError:
            return None

    def forget_pages(self) -> None:
        """Take the pages out of the memory of this process; they stay in the page cache, and come back when read.

        Else a process that has written 1e8 points counts as one of a gigabyte, for nodes it will hardly read again.
        """
        forget_pages(self.address, self.layout.size)
        for column in self.columns:
            column.forget_pages()

    def close_writer(self) -> None:
        """Close the descriptors for writing, if any; reads go on."""
        for column in self.columns:
            column.close_writer()
        if self._fd >= 0:
            self.plan[PLAN_CHUNK_FD] = -1
            # First forgotten, then closed: an interrupt between must not leave the number, which others get next.
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        """Close the descriptor of a chunk that nobody holds any more (`_fd` is missing if it was never opened)."""
        if getattr(self, "_fd", -1) >= 0:
            self.close_writer()
