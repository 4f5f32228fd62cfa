"""Rebuild nodes and groups of a series from its values. These are never touched: nothing else can give them back."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hft_mmap.durable import recovery
from hft_mmap.durable.groups import group_faults, make_anew
from hft_mmap.durable.trust import Proof, trust
from hft_mmap.durable.verify import expected_nodes, has_no_prices, proof_of, verify_chunk
from hft_mmap.errors import FormatError
from hft_mmap.files.boot import Boot
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.column import Column
from hft_mmap.files.group import columns_of
from hft_mmap.files.head import Head
from hft_mmap.files.locks import attempts, try_lock
from hft_mmap.tree.kernels import FAN_OUT


class RepairReport(NamedTuple):
    """What was repaired in a series, and what could not be; nothing was wrong when both are empty."""

    symbol: str
    repaired: tuple[str, ...]
    remaining: tuple[str, ...]


def _repair_chunk(chunk: Chunk, end: int, proof: Proof | None, *, signed: bool) -> tuple[list[str], list[str]]:
    """Rebuild what is wrong in the first `end` points of `chunk`; return what was repaired, and what remains.

    signed: whether prices may be negative.

    Only where the values prove themselves, by the seal or by the running checksum of the series: else it can't be told
    whether a value is wrong or its node, and a node made anew would make a wrong value look right.
    """
    _, faults = verify_chunk(chunk, end, signed=signed)
    if not faults:
        return [], []
    full = end == chunk.layout.points
    try:
        seal = chunk.read_seal() if full else None
    except FormatError:
        seal = None
    damaged = has_no_prices(chunk, end, signed=signed)
    all_proved = proof is not None and proof.point >= chunk.first + end
    proved = all_proved or (seal is not None and chunk.checksums()[0] == seal.values_crc)
    if damaged or not proved:
        # A seal would vouch for values that were never appended. And the nodes may be the only trace of what the
        # values were: leave both for whoever has a backup.
        return [], faults
    for level in range(1, chunk.layout.levels + 1):
        count = end // FAN_OUT**level
        if count and not np.array_equal(
            chunk.nodes(level)[:count].view(np.int64), (nodes := expected_nodes(chunk, level, count)).view(np.int64)
        ):
            chunk.write_nodes(level, nodes)
    if full:
        chunk.seal()
        if all_proved:  # the columns among them, of which no seal of prices knows
            for column in chunk.columns:
                column.seal()
    chunk.sync()
    chunk.close_writer()
    _repair_groups(chunk, end, all_proved=all_proved)
    _, remaining = verify_chunk(chunk, end, signed=signed)
    return [fault for fault in faults if fault not in remaining], remaining


def _repair_groups(chunk: Chunk, end: int, *, all_proved: bool) -> None:
    """Make the groups anew that differ from the points, but for those of a column that does not prove itself.

    What is made of a column that is wrong would make it look right.
    """
    for group in group_faults(chunk, end):
        if all_proved or all(map(_is_as_sealed, columns_of(chunk, group))):
            make_anew(chunk, group, end)


def _is_as_sealed(column: Column) -> bool:
    """Say whether the numbers of a full column are those of its seal."""
    try:
        seal = column.read_seal()
    except FormatError:
        return False
    return seal is not None and seal == column.values_crc()


def repair_directory(directory: Path, symbol: str, boot: Boot) -> RepairReport:
    """Rebuild nodes and seals of the series in `directory`, from the first level up; O(N).

    Writers in any process wait while it is at the newest chunk: O(C). A process that has the series open keeps the root
    nodes it has read: restart it after a repair. Head files, missing chunks, values that are no prices and those with a
    wrong checksum are not repaired, only reported.
    """
    repaired: list[str] = []
    remaining: list[str] = []
    try:
        head = Head(directory, writable=True)
    except (FormatError, OSError) as error:
        return RepairReport(symbol, (), (f"head: {error}",))
    try:
        recovered, layout = recovery.look(head, boot, directory)
        proof = proof_of(head, recovered, directory, layout)
        for first, end, _ in recovery.kept_chunks(directory, recovered, layout.points):
            try:
                chunk = Chunk(directory, head.identity.series_id, first, layout)
            except (FormatError, OSError) as error:
                remaining.append(f"points {first} to {end - 1}: {error}")
                continue
            if end - first == layout.points:  # full chunks never change
                done, left = _repair_chunk(chunk, layout.points, proof, signed=head.identity.is_signed)
            else:
                any(try_lock(head.fd) for _ in attempts(None))  # until the head is closed, which comes next
                newest = trust(head, boot, directory, layout).total
                signed = head.look_at_identity().is_signed
                done, left = _repair_chunk(chunk, min(newest - first, layout.points), proof, signed=signed)
            repaired += done
            remaining += left
    except FormatError as error:
        remaining.append(f"head: {error}")
    finally:
        head.close()
    return RepairReport(symbol, tuple(repaired), tuple(remaining))
