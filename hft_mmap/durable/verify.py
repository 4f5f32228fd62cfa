"""Check a series bit for bit: every value a price, every node what its children give, every seal what it covers."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hft_mmap.durable import recovery
from hft_mmap.durable.groups import group_faults
from hft_mmap.durable.trust import Proof, Trusted, prove
from hft_mmap.errors import FormatError
from hft_mmap.files.blocks import decode_identity, is_damaged_slot, used_identity
from hft_mmap.files.boot import Boot
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.column import Column
from hft_mmap.files.head import SLOT_OFFSETS, Head
from hft_mmap.files.layout import TIME, Layout
from hft_mmap.files.locks import attempts
from hft_mmap.files.marks import Mark
from hft_mmap.tree.kernels import (
    FAN_OUT,
    MAX_PRICE,
    NODE_FIELDS,
    VALID,
    find_invalid,
    find_invalid_signed,
    summarise_nodes,
    summarise_values,
)
from hft_mmap.tree.ticks import check_sizes, first_fall
from hft_mmap.tree.words import (
    FLAGS,
    FLAGS_CHECK,
    HEAD_BYTES,
    LIVE_OFFSET,
    RING_OFFSET,
    RING_PLACES,
    SETTLED,
    START,
    TOTAL,
    UNTOLD,
    UNTOLD_FROM,
)

_PATIENCE_S = 1.0
_SLOT_PATIENCE_S = 0.01
"""So long is looked again at a slot that seems damaged: who reads one while it is written may see a part of it."""
_NO_MARK = "head: the newest place of the ring is not that of the live total"
MOST_RUNS = 20
"""So many runs of values that are no prices are named for each chunk; of the others the number is."""


class VerifyReport(NamedTuple):
    """What was checked of a series, and every fault found; it is sound when `faults` is empty."""

    symbol: str
    points: int
    nodes: int
    faults: tuple[str, ...]


def expected_nodes(chunk: Chunk, level: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the first `count` nodes of `level` as their children give them."""
    out = np.empty((count, NODE_FIELDS))
    if level == 1:
        summarise_values(chunk.address, 0, out)
    else:
        below = chunk.address + chunk.layout.offsets[level - 1]
        summarise_nodes(below, FAN_OUT ** (level - 1), FAN_OUT, 0, out)
    return out


def _span(chunk: Chunk, level: int, index: int) -> str:
    """Return the points below node `index` of `level`, as text."""
    width = FAN_OUT**level
    first = chunk.first + index * width
    return f"points {first} to {first + width - 1}"


def has_no_prices(chunk: Chunk, end: int, *, signed: bool) -> bool:
    """Say whether one of the first `end` values is no price; signed: a price may be negative."""
    find = find_invalid_signed if signed else find_invalid
    return bool(find(chunk.values[:end]) != VALID)


def _no_prices(chunk: Chunk, end: int, *, signed: bool) -> list[str]:
    """Return a fault for each run of values among the first `end` that are no prices; the first MOST_RUNS of them."""
    name, values = chunk.path.name, chunk.values[:end]
    is_price = (values >= (-MAX_PRICE if signed else 0)) & (values <= MAX_PRICE)
    places = np.flatnonzero(~is_price | ((values == 0) & np.signbit(values)))
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    faults = []
    for run in runs[:MOST_RUNS]:
        first, last, value = chunk.first + int(run[0]), chunk.first + int(run[-1]), repr(values[run[0]])
        if first == last:
            faults.append(f"{name}: point {first} is {value}, which is no price")
        else:
            faults.append(f"{name}: points {first} to {last} are no prices, the first is {value}")
    if len(runs) > MOST_RUNS:
        left = sum(map(len, runs[MOST_RUNS:]))
        faults.append(f"{name}: {left} more values are no prices, the last is point {chunk.first + places[-1]}")
    return faults


def verify_chunk(chunk: Chunk, end: int, *, signed: bool) -> tuple[int, list[str]]:
    """Check the first `end` points of `chunk`; return the number of nodes checked, and the faults.

    signed: whether prices may be negative, as the head says.
    """
    faults: list[str] = []
    nodes = 0
    name = chunk.path.name
    if has_no_prices(chunk, end, signed=signed):
        faults += _no_prices(chunk, end, signed=signed)
    for level in range(1, chunk.layout.levels + 1):
        count = end // FAN_OUT**level
        if not count:
            break
        nodes += count
        stored = chunk.nodes(level)[:count].view(np.int64)
        differs = (stored != expected_nodes(chunk, level, count).view(np.int64)).any(axis=1)
        faults.extend(
            f"{name}: level {level} node {index} differs from its children ({_span(chunk, level, index)})"
            for index in np.flatnonzero(differs).tolist()
        )
    faults += chunk.footer_faults()
    try:
        seal = chunk.read_seal()
    except FormatError as error:
        faults.append(str(error))
        seal = None
    if seal is not None and end == chunk.layout.points:
        values_crc, nodes_crc = chunk.checksums()
        covered = f"points {chunk.first} to {chunk.first + end - 1}"
        if values_crc != seal.values_crc:
            faults.append(f"{name}: the checksum of the values is wrong ({covered})")
        if nodes_crc != seal.nodes_crc:
            faults.append(f"{name}: the checksum of the nodes is wrong ({covered})")
        if tuple(chunk.root().tolist()) != seal.root:
            faults.append(f"{name}: the sealed root node is wrong ({covered})")
    return nodes, faults + _faults_beside(chunk, end)


def _faults_beside(chunk: Chunk, end: int) -> list[str]:
    """Return what is wrong in the first `end` places of the columns of `chunk`, and in its groups."""
    of_columns = [fault for column in chunk.columns for fault in column_faults(column, end)]
    return of_columns + [fault for faults in group_faults(chunk, end).values() for fault in faults]


def column_faults(column: Column, end: int) -> list[str]:
    """Return what is wrong in the first `end` places of a column: the first number that can't be, seal and footer."""
    name, first = column.path.name, column.first
    faults = column.footer_faults()
    if column.kind is TIME:
        fall = first_fall(column.address, end)
        if fall != VALID:
            faults.append(f"{name}: the time of point {first + fall} is before that of point {first + fall - 1}")
    else:
        copy = np.empty(end)
        bad = check_sizes(np.ascontiguousarray(column.values[:end], dtype=np.float64), copy)
        if bad != VALID:
            faults.append(f"{name}: the size of point {first + bad} is {column.values[bad]!r}, which is none")
        elif not np.array_equal(copy.view(np.int64), column.values[:end].view(np.int64)):
            faults.append(f"{name}: sizes are -0.0, which is never stored")
    try:
        seal = column.read_seal()
    except FormatError as error:
        return [*faults, str(error)]
    if seal is not None and end == column.layout.points and column.values_crc() != seal:
        faults.append(f"{name}: the checksum of the {column.kind.name} is wrong (points {first} to {first + end - 1})")
    return faults


def head_faults(head: Head, boot: Boot) -> list[str]:
    """Return what is wrong in the head beside its identity: slots, live words, the ring, bytes that should be 0."""
    for _ in attempts(_SLOT_PATIENCE_S):  # a commit may be under way
        raw = os.pread(head.fd, HEAD_BYTES, 0)
        slots = {offset: raw[offset : offset + 512] for offset in SLOT_OFFSETS}
        damaged = [offset for offset, slot in slots.items() if any(slot) and is_damaged_slot(slot)]
        if not damaged:
            break
    newest = head.commits()[:1]
    faults = [f"head: the commit slot at byte {offset} is damaged" for offset in damaged]
    if head.live_boot().boot_id == boot.boot_id:
        # In another run of the machine they are what the disk had of them, and nobody believes them.
        for _ in attempts(_PATIENCE_S):  # a writer may be between two of its stores
            settled = head.words[SETTLED]
            ordered = head.is_in_order()
            flags = head.words[FLAGS] == ~head.words[FLAGS_CHECK]
            if not settled or (settled == head.settled() and ordered and flags):
                break
        else:
            faults.append("head: the live words do not fit their checksum" if ordered else _NO_MARK)
        if newest and newest[0].total > head.words[TOTAL]:
            faults.append("head: the live total lies below the newest commit")
    if any(raw[used_identity(decode_identity(raw)) : LIVE_OFFSET]) or any(raw[8 * (UNTOLD_FROM + 1) : SLOT_OFFSETS[0]]):
        faults.append("head: unused bytes are not 0")
    if any(raw[SLOT_OFFSETS[0] + 512 : SLOT_OFFSETS[1]]) or any(raw[SLOT_OFFSETS[1] + 512 : RING_OFFSET]):
        faults.append("head: unused bytes between the slots are not 0")
    if any(raw[RING_OFFSET + 16 * RING_PLACES :]):
        faults.append("head: unused bytes at the end are not 0")
    return faults + _untold_faults(head)


def _untold_faults(head: Head) -> list[str]:
    """Return that points were lost, and nobody was told, as long as that is noted."""
    for _ in attempts(_PATIENCE_S):  # who found that may be about to tell it
        begin, end = head.words[UNTOLD_FROM], head.words[UNTOLD]
        if not (begin or end):
            return []
    return [f"head: points {begin} to {end - 1} were lost, and nobody was told: a store opened for writing tells it"]


def proof_of(head: Head, found: Trusted, directory: Path, layout: Layout) -> Proof | None:
    """Hold every kept value against the running checksums of chunks, slots and publications; None if there are none.

    O(N). A flipped bit of any value shows here, in chunks that are not sealed too. Publications of another run of the
    machine are left out: the disk may have kept a part of them, and of others that were lost.
    """
    slots = {slot.total: slot.mark for slot in head.commits() if slot.mark is not None}
    marks = head.marks() if found.origin == "live" else {}
    if marks.get(found.total) != found.mark:
        marks = {}  # after a failure of the device, which may have kept one sector of the ring and lost another
    goals = {point: mark for point, mark in {**marks, **slots}.items() if point <= found.total}
    if found.mark is not None:
        goals[found.total] = found.mark
    start = found.start
    while True:
        proof = _proof_from(start, goals, head, found, directory, layout)
        moved = head.words[START] if found.origin == "live" else start
        if moved <= start or proof is None or not proof.why:
            return proof
        start = moved  # a cleanup of another process has removed what was to be read


def _proof_from(
    start: int, goals: dict[int, Mark], head: Head, found: Trusted, directory: Path, layout: Layout
) -> Proof | None:  # fmt: skip
    """Do the work of `proof_of` from the first chunk on that holds a point from `start` and has a base."""
    for first in range(start // layout.points * layout.points, found.total, layout.points):
        try:
            base = Chunk(directory, head.identity.series_id, first, layout).base()
        except (FormatError, OSError):
            continue
        if base is not None:
            same = {point: mark for point, mark in goals.items() if mark.epoch == base.epoch and point > first}
            return prove(head, directory, layout, (first, base), same)
    return None


def verify_directory(directory: Path, symbol: str, boot: Boot) -> VerifyReport:
    """Check the series in `directory`; nothing is written, and writers may go on. O(N), about 3 ns a point."""
    try:
        head = Head(directory, writable=False)
    except (FormatError, OSError) as error:
        return VerifyReport(symbol, 0, 0, (f"head: {error}",))
    try:
        recovered, layout = recovery.look(head, boot, directory)
        faults = head_faults(head, boot)
        proof = proof_of(head, recovered, directory, layout)
    except FormatError as error:
        return VerifyReport(symbol, 0, 0, (f"head: {error}",))
    finally:
        head.close()
    if head.identity.symbol != symbol:
        faults.append(f"head: belongs to the symbol {head.identity.symbol!r}")
    if recovered.lost:
        faults.append(f"{recovered.lost} points from {recovered.total} on are lost: {recovered.why}")
    nodes = 0
    for first, end, _ in recovery.kept_chunks(directory, recovered, layout.points):
        try:
            chunk = Chunk(directory, head.identity.series_id, first, layout)
        except (FormatError, OSError) as error:
            if recovered.origin == "live" and end <= head.words[START]:
                continue  # another process has cleaned it up since
            faults.append(f"points {first} to {end - 1}: {error}")
            continue
        checked, found = verify_chunk(chunk, end - first, signed=head.identity.is_signed)
        nodes += checked
        faults += found
    if proof is not None and proof.why and not faults:  # else a node, a seal or the value itself has told more
        faults.append(f"checksum: {proof.why}")
    return VerifyReport(symbol, recovered.total - recovered.start, nodes, tuple(faults))
