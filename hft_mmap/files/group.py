"""The file of a group of a chunk: nodes that say of its points what the chunk does not, and how far they are proved.

==============================  ==============  ======================================================
offset                          bytes           what
==============================  ==============  ======================================================
0                               8 F C / 64      level 1 nodes of F float64, one for each 64 points
...                             8 F C / 64^k    level k nodes, as the chunk has them
end - 4096                      512             identity: magic, version, series id, first point, C, group, CRC
end - 3584                      512             record: points covered, what proves points and nodes, CRC
==============================  ==============  ======================================================

A group is derived from the values, and no point depends on it: it has no part in what makes a series trusted, in its
commits, or in its head. It proves itself, once in each process that asks: the record has the running checksum of the
values that its nodes were made of, or the seal of the full chunk, and that of the nodes. Whatever does not fit is as if
it were not there, and is made anew by whoever makes groups (`durable.groups`).

Nodes are on the disk before the record names them, so a page that memory drops comes back as it was.
"""

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from hft_mmap.errors import FormatError
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.disk import write_fully
from hft_mmap.files.layout import FOOTER_BYTES, GROUPS, Group, Layout
from hft_mmap.files.marks import seed_of, wrapped
from hft_mmap.files.memory import forget_pages, identity_of, mapped
from hft_mmap.files.names import chunk_name
from hft_mmap.files.view import View
from hft_mmap.tree.checksum import checksum
from hft_mmap.tree.group_roots import ROOT_FIELDS, summarise_chunk
from hft_mmap.tree.groups import EXTREMES, GROUP_ROWS, MOMENTS, RETURNS, ROWS_OF_GROUP, summarise_group
from hft_mmap.tree.kernels import FAN_OUT, NODE_FIELDS
from hft_mmap.tree.writer import PLAN_SEED

GROUP_MAGIC = b"HFTGRUP\0"
GROUP_VERSION = 1
RECORD_OFFSET = 512
FEW_POINTS = 1024
"""So many are read one by one before anybody looks whether a group covers them by now."""
_LOOK_S = 0.02
_FOLDED_FROM = (
    (RETURNS, {"rv", "volatility", "path"}),
    (EXTREMES, {"drawdown", "runup"}),
    (MOMENTS, {"skew", "kurtosis", "slope", "r2"}),
)
_SEED = 16  # checksums of groups begin where those of no column do: at so many more kinds

_IDENTITY = struct.Struct("<8sI16sqQI")
_RECORD = struct.Struct("<qqqQ")
_CRC = struct.Struct("<I")


class Record(NamedTuple):
    """How many points of the chunk the nodes cover, the checksums of both, and the seal of a full chunk, else 0."""

    covered: int
    values: int
    nodes: int
    seal: int


NOTHING = Record(0, 0, 0, 0)


def _with_crc(block: bytes) -> bytes:
    return block + _CRC.pack(isal_zlib.crc32(block))


def seal_of(chunk: Chunk) -> int:
    """Return the checksums of values and nodes in the seal of `chunk` as one number, 0 without a sound seal."""
    try:
        seal = chunk.read_seal()
    except FormatError:
        return 0
    return 0 if seal is None else seal.values_crc | seal.nodes_crc << 32


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
        itself stays so: neither values nor nodes change. 0.5 ns a point that is new, of a sealed chunk 0.02 ns.
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
        sealed = found.seal and found.covered == self.layout.points and found.seal == seal_of(chunk)
        if not sealed:
            values = values_checksum(chunk, before.covered, found.covered)
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
        values = wrapped(before.values + values_checksum(chunk, before.covered, end))
        seal = seal_of(chunk) if end == self.layout.points else 0
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


def values_checksum(chunk: Chunk, begin: int, end: int) -> int:
    """Return the running checksum of the values, without columns, at the places [begin, end) of `chunk`."""
    seed = int(chunk.plan[PLAN_SEED])
    return int(checksum(chunk.address + 8 * begin, end - begin, chunk.first + begin, seed)[0])


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


# -- what a question finds --------------------------------------------------------------------------------------------


class Known:
    """What a process knows of one group of a chunk: its file, if one has proved itself, and when it looked last."""

    __slots__ = ("file", "looked_s")

    def __init__(self) -> None:
        """Know nothing."""
        self.file: GroupFile | None = None
        self.looked_s = -1.0


def known_of(chunk: Chunk, group: Group) -> Known:
    """Return what this process knows of a group of `chunk`."""
    found: Known = chunk.groups.setdefault(group.bit, Known())
    return found


def proved(chunk: Chunk, group: Group, end: int) -> GroupFile | None:
    """Return the group of `chunk`, proved as far as it goes now, None if there is none that has proved itself.

    end: how many points of the chunk are published. Looks at the disk at most every 20 ms.
    """
    known, now = known_of(chunk, group), monotonic()
    if now - known.looked_s < _LOOK_S:
        return known.file
    known.looked_s = now
    # What is missing, or not of this chunk, or has another name by now, leaves what was proved before as it is.
    with suppress(OSError, FormatError):
        file = known.file
        if file is None or identity_of(os.stat(file.path)) != file.file:
            file = GroupFile(chunk, group)
        if file.look(chunk, end) and file.proved.covered:
            known.file = file
    return known.file


class Stored:
    """Where the groups of the chunks of a view lie, as `fold_paths` takes it; it keeps the files mapped."""

    __slots__ = ("covered", "files", "looked_s", "places", "roots")

    def __init__(self, view: View) -> None:
        """Know of none."""
        self.places = np.zeros((GROUP_ROWS, len(view.chunks)), dtype=np.int64)
        self.roots = np.zeros(ROOT_FIELDS * len(view.chunks))  # of full chunks, as `tree.group_roots` has them
        self.files: dict[tuple[int, int], GroupFile] = {}
        self.covered: dict[int, int] = {group.bit: view.first for group in GROUPS}
        """Up to which point, from the first of the view on, all are covered."""
        self.looked_s: dict[int, float] = {}  # when was looked last for more of each group

    def with_files(self, view: View, found: dict[tuple[int, int], GroupFile]) -> "Stored":
        """Return another that knows of the same, and of the files that were `found`, by row and chunk."""
        fresh = Stored(view)
        fresh.places[:], fresh.roots[:], fresh.files = self.places, self.roots, self.files | found
        fresh.looked_s = self.looked_s
        for (row, k), file in found.items():
            fresh.places[row : row + 2, k] = file.address, file.proved.covered
            fresh.places[row + 2, k] = _has_root(view, k, file, fresh.roots)
        for group in GROUPS:
            covered = fresh.places[_row_of(group) + 1]
            partly = np.flatnonzero(covered < view.layout.points)
            first = int(partly[0]) if len(partly) else len(covered) - 1
            fresh.covered[group.bit] = view.first + first * view.layout.points + int(covered[first])
        return fresh


_NONE = Stored(View.empty(Layout.of(FAN_OUT), 0))
"""What is known of the groups of a view that nobody has asked for them."""


def _row_of(group: Group) -> int:
    """Return the row of the addresses of a group."""
    return ROWS_OF_GROUP * (group.number - 1)


def _has_root(view: View, k: int, file: GroupFile, roots: NDArray[np.float64]) -> bool:
    """Write the root of a group into `roots`, if it covers all of chunk `k` and that is not the last; say whether."""
    layout, chunks, bit = view.layout, len(view.chunks), file.group.bit
    nodes = layout.nodes(layout.levels)
    if k + 1 >= chunks or file.proved.covered != layout.points or nodes > FAN_OUT:
        return False
    begin = {MOMENTS: 4 * k, RETURNS: 4 * (chunks + k), EXTREMES: 8 * chunks + 2 * k}[bit]
    out = roots[begin : begin + (2 if bit == EXTREMES else 4)]
    of_chunk, top = view.roots[NODE_FIELDS * k : NODE_FIELDS * (k + 1)], file.nodes(layout.levels).ctypes.data
    summarise_chunk(bit, view.chunks[k].address, np.array(layout.offsets), top, nodes, of_chunk, out)
    return True


def stored_groups(view: View, lo: int, hi: int, total: int, wanted: int) -> Stored:
    """Return where the groups lie that help to fold `wanted` of ranges within [lo, hi), proved.

    total: how many points are published; no group that covers more is believed, as it may be of others that were lost.
    Whoever folds holds what is returned for as long. The first look at a group costs some 0.05 ns a point of a sealed
    chunk, and 0.5 ns of the newest one.
    """
    if not isinstance(view.groups, Stored):
        if hi - lo < FEW_POINTS:
            return _NONE
        view.groups = Stored(view)
    stored: Stored = view.groups
    found: dict[tuple[int, int], GroupFile] = {}
    for group in GROUPS:
        if wanted & group.bit and hi - max(lo, stored.covered[group.bit]) >= FEW_POINTS:
            # PERF: where there is no group, or none of older chunks, a look at each takes longer than some answers.
            now = monotonic()
            if now - stored.looked_s.get(group.bit, -1.0) >= _LOOK_S:
                stored.looked_s[group.bit] = now
                _look(view, group, (lo, hi, total), stored, found)
    if found:
        stored = stored.with_files(view, found)
        view.groups = stored
    return stored


def groups_of(names: Iterable[str]) -> int:
    """Return the groups of `tree.groups` that the statistics `names` follow from, added up; 0 for those of no path."""
    wanted = set(names)
    return sum(bit for bit, members in _FOLDED_FROM if not members.isdisjoint(wanted))


def points_read(view: View, lo: int, hi: int, wanted: int) -> int:
    """Return how many points of [lo, hi) are read one by one to fold what is `wanted`, as far as groups are known.

    Looks at no file: a question that reads too many finds the groups that there are, for those that follow.
    """
    known = view.groups if isinstance(view.groups, Stored) else None
    covered = [view.first if known is None else known.covered[group.bit] for group in GROUPS if wanted & group.bit]
    return hi - max(lo, min(covered, default=hi)) if covered and min(covered) < hi else 0


def _look(
    view: View, group: Group, bounds: tuple[int, int, int], stored: Stored, found: dict[tuple[int, int], GroupFile]
) -> None:
    """Find the group of each chunk that holds enough of [lo, hi) which nobody knows to be covered."""
    (lo, hi, total), points, row = bounds, view.layout.points, _row_of(group)
    for k in range((lo - view.first) // points, (hi - 1 - view.first) // points + 1):
        chunk, covered = view.chunks[k], int(stored.places[row + 1, k])
        if min(hi - chunk.first, points) - max(lo - chunk.first, covered) >= FEW_POINTS:
            file = proved(chunk, group, min(total - chunk.first, points))
            if file is not None and file.proved.covered > covered:
                found[row, k] = file
