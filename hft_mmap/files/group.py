"""The file of a group of a chunk: nodes that say of its points what the chunk does not, and how far they are proved.

==============================  ==============  ======================================================
offset                          bytes           what
==============================  ==============  ======================================================
0                               8 F C / 64      level 1 nodes of F float64, one for each 64 points
...                             8 F C / 64^k    level k nodes, as the chunk has them
end - 4096                      512             identity: magic, version, series id, first point, C, group, CRC
end - 3584                      512             record: points covered, what proves points and nodes, CRC
==============================  ==============  ======================================================

A group is derived from the values, and from columns where it has some, and no point depends on it: it has no part in
what makes a series trusted, in its commits, or in its head. It proves itself, once in each process that asks: the
record has the running checksum of all that its nodes were made of, or the seals of the full chunk, and that of the
nodes. Whatever does not fit is as if it were not there, and is made anew by whoever makes groups (`durable.groups`).

Nodes are on the disk before the record names them, so a page that memory drops comes back as it was.
"""

import os
import struct
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from hft_mmap.errors import FormatError
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.column import Column
from hft_mmap.files.disk import write_fully
from hft_mmap.files.layout import FOOTER_BYTES, SIZE, TIME, Group
from hft_mmap.files.marks import seed_of, wrapped
from hft_mmap.files.memory import forget_pages, identity_of, mapped
from hft_mmap.files.names import chunk_name
from hft_mmap.tree.checksum import checksum
from hft_mmap.tree.groups import summarise_group
from hft_mmap.tree.kernels import FAN_OUT
from hft_mmap.tree.trade_nodes import summarise_trades
from hft_mmap.tree.writer import PLAN_SEED

GROUP_MAGIC = b"HFTGRUP\0"
GROUP_VERSION = 1
RECORD_OFFSET = 512
_SEED = 16  # checksums of groups begin where those of no column do: at so many more kinds

_IDENTITY = struct.Struct("<8sI16sqQI")
_RECORD = struct.Struct("<qqqQ")
_CRC = struct.Struct("<I")


class Record(NamedTuple):
    """How many points of the chunk the nodes cover, the checksums of both, and the seals of a full chunk, else 0."""

    covered: int
    values: int
    nodes: int
    seal: int


NOTHING = Record(0, 0, 0, 0)


def _with_crc(block: bytes) -> bytes:
    return block + _CRC.pack(isal_zlib.crc32(block))


def seal_of(chunk: Chunk, group: Group) -> int:
    """Return what the seals say of all that `group` is made of, as one number; 0 where one of them is missing.

    It is the checksums of values and nodes in the seal of the chunk; of a group with columns that of the values, and
    that of what the seals of the columns have.
    """
    try:
        seal, others = chunk.read_seal(), [column.read_seal() for column in columns_of(chunk, group)]
    except FormatError:
        return 0
    known = [other for other in others if other is not None]
    if seal is None or len(known) < len(others):
        return 0
    upper = isal_zlib.crc32(struct.pack(f"<{len(known)}I", *known)) if known else seal.nodes_crc
    return seal.values_crc | upper << 32


def columns_of(chunk: Chunk, group: Group) -> tuple[Column, ...]:
    """Return the columns of `chunk` that a group is made of, as far as the series has them."""
    return tuple(column for column in chunk.columns if column.kind in group.kinds)


class GroupFile:
    """The file of one group of a chunk, mapped read-only. For any number of threads; one may write at a time."""

    __slots__ = ("_mapping", "_seed", "address", "file", "group", "layout", "path", "proved", "size")

    def __init__(self, chunk: Chunk, group: Group) -> None:
        """Map the file; FileNotFoundError if there is none, FormatError if it is not that group of this chunk."""
        # Not the chunk, which knows this file: the one that is dropped first would wait for the other.
        self.layout, self.group = chunk.layout, group
        self.path = chunk.path.with_name(chunk_name(chunk.first, group.suffix))
        self._seed = seed_of(chunk.series_id, _SEED + group.number)
        self.size = chunk.layout.group_footer(group) + FOOTER_BYTES
        self.proved = NOTHING
        """The record as far as it has proved itself."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            self.file = identity_of(found)
            if found.st_size != self.size:
                raise FormatError(f"{self.path.name} has {found.st_size} bytes instead of {self.size}")
            expected = identity_block(chunk, group)
            if os.pread(fd, len(expected), self.size - FOOTER_BYTES) != expected:
                raise FormatError(f"{self.path.name}: its identity is not that of {group.name} of its chunk")
            self._mapping = np.frombuffer(mapped(fd, self.size), dtype=np.uint8)
        finally:
            os.close(fd)
        self.address: int = self._mapping.ctypes.data

    def record(self) -> Record | None:
        """Return what the file says of itself, None where that is not sound: it is damaged, or written right now."""
        begin = self.size - FOOTER_BYTES + RECORD_OFFSET
        raw = self._mapping[begin : begin + _RECORD.size + _CRC.size].tobytes()
        if not any(raw):
            return NOTHING
        found = Record(*_RECORD.unpack_from(raw))
        bounds = 0 <= found.covered <= self.layout.points and not found.covered % FAN_OUT
        sound = bounds and raw == _with_crc(raw[: _RECORD.size])
        return found if sound else None

    def look(self, chunk: Chunk, end: int) -> bool:
        """Have what the record says proved, as far as it has come since; return False where it does not prove itself.

        end: how many points of the chunk are published; a group that covers more is none of theirs. What has proved
        itself stays so: neither values nor nodes change. 0.5 ns a point that is new, and as much for each
        column; of a sealed chunk 0.02 ns.
        """
        found, before = self.record(), self.proved
        if found is None:
            return False
        if found.covered == before.covered:
            return found == before or self._is_same(found, before)
        if not before.covered < found.covered <= end:
            return False
        if wrapped(before.nodes + self.nodes_checksum(before.covered, found.covered)) != found.nodes:
            return False
        sealed = found.seal and found.covered == self.layout.points and found.seal == seal_of(chunk, self.group)
        if not sealed:
            values = values_checksum(chunk, self.group, before.covered, found.covered)
            if wrapped(before.values + values) != found.values:
                return False
        self.proved = found
        if found.covered == self.layout.points:
            forget_pages(self.address, self.size)  # all were read, and few are again; see `Chunk.forget_pages`
        return True

    def _is_same(self, found: Record, before: Record) -> bool:
        """Note a seal that came to a record which was proved without."""
        if found._replace(seal=0) != before._replace(seal=0):
            return False
        self.proved = found
        return True

    def nodes_checksum(self, begin: int, end: int) -> int:
        """Return the checksum of the nodes that the places [begin, end) of the chunk complete, as they are mapped."""
        total = 0
        for level, first, last in self._levels(begin, end):
            total += self._checksum(self.address + self._place(level, first), level, first, last)
        return wrapped(total)

    def _levels(self, begin: int, end: int) -> list[tuple[int, int, int]]:
        """Return level, first and last of the nodes that the places [begin, end) complete."""
        levels = range(1, self.layout.levels + 1)
        found = [(level, begin // FAN_OUT**level, end // FAN_OUT**level) for level in levels]
        return [(level, first, last) for level, first, last in found if first < last]

    def _place(self, level: int, node: int) -> int:
        """Return the byte at which a node begins."""
        return self.layout.group_offset(self.group, level) + 8 * self.group.fields * node

    def _checksum(self, address: int, level: int, first: int, last: int) -> int:
        """Return the checksum of the nodes [first, last) of `level`, which lie at `address`."""
        words = self.group.fields * (last - first)
        return int(checksum(address, words, self._place(level, first) // 8, self._seed)[0])

    def nodes(self, level: int) -> NDArray[np.float64]:
        """Return all nodes of `level`, from 1, as an array of shape (n, fields); those not made are undefined."""
        begin, end = self._place(level, 0), self._place(level + 1, 0)
        return self._mapping[begin:end].view(np.float64).reshape(-1, self.group.fields)

    def expected(self, chunk: Chunk, level: int, first: int, last: int) -> NDArray[np.float64]:
        """Return the nodes [first, last) of `level` as the points, and the nodes of the level below, give them."""
        out = np.empty((last - first, self.group.fields))
        offsets = np.array(self.layout.offsets, dtype=np.int64)
        below = self.address + self._place(level - 1, 0) if level > 1 else 0
        if self.group.kinds:
            columns = {column.kind: column.address for column in columns_of(chunk, self.group)}
            of_columns = columns.get(TIME, 0), columns.get(SIZE, 0)
            summarise_trades(chunk.address, offsets, *of_columns, below, level, first, out)
        else:
            summarise_group(self.group.bit, chunk.address, offsets, below, level, first, out)
        return out

    # -- writing ------------------------------------------------------------------------------------------------------

    def extend(self, chunk: Chunk, fd: int, end: int) -> None:
        """Write the nodes that the first `end` points of the chunk complete beyond what is proved, and then say so.

        fd: the file, opened for writing and locked by the caller, who has it proved. The points are published. OSError.
        """
        before, end = self.proved, end // FAN_OUT * FAN_OUT
        total = before.nodes
        for level, first, last in self._levels(before.covered, end):
            nodes = self.expected(chunk, level, first, last)
            write_fully(fd, nodes.data, self._place(level, first))
            total += self._checksum(nodes.ctypes.data, level, first, last)
        if before.covered < end:
            os.fdatasync(fd)
        values = wrapped(before.values + values_checksum(chunk, self.group, before.covered, end))
        seal = seal_of(chunk, self.group) if end == self.layout.points else 0
        record = Record(end, values, wrapped(total), seal)
        # Memory may have dropped a page that the disk did not take: then there is nothing to speak of.
        if record != before and self.nodes_checksum(before.covered, end) == wrapped(record.nodes - before.nodes):
            write_fully(fd, _with_crc(_RECORD.pack(*record)), self.size - FOOTER_BYTES + RECORD_OFFSET)
            self.proved = record

    def footer_faults(self) -> list[str]:
        """Return what is wrong in the footer beside identity and record: bytes that should be 0."""
        footer = self._mapping[self.size - FOOTER_BYTES :].tobytes()
        begin, end = RECORD_OFFSET, RECORD_OFFSET + _RECORD.size + _CRC.size
        unused = footer[_IDENTITY.size + _CRC.size : begin] + footer[end:]
        return [f"{self.path.name}: unused bytes of the footer are not 0"] if any(unused) else []


def values_checksum(chunk: Chunk, group: Group, begin: int, end: int) -> int:
    """Return the running checksum of the values, and of the columns of `group`, at the places [begin, end) of `chunk`.

    O(n), 0.5 ns for each number.
    """
    seed = int(chunk.plan[PLAN_SEED])
    found = int(checksum(chunk.address + 8 * begin, end - begin, chunk.first + begin, seed)[0])
    return wrapped(found + sum(column.checksum(begin, end) for column in columns_of(chunk, group)))


def identity_block(chunk: Chunk, group: Group) -> bytes:
    """Return the identity of a group of `chunk`, CRC included."""
    points = chunk.layout.points
    return _with_crc(_IDENTITY.pack(GROUP_MAGIC, GROUP_VERSION, chunk.series_id, chunk.first, points, group.number))


def create(chunk: Chunk, group: Group) -> None:
    """Create the file of a group of `chunk` at its full length, with no node, in place of one that is there. OSError.

    Who has the one before mapped keeps that.
    """
    path = chunk.path.with_name(chunk_name(chunk.first, group.suffix))
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        footer = chunk.layout.group_footer(group)
        os.ftruncate(fd, footer + FOOTER_BYTES)
        write_fully(fd, identity_block(chunk, group), footer)
    except BaseException:
        with suppress(FileNotFoundError):
            path.unlink()
        raise
    finally:
        os.close(fd)
