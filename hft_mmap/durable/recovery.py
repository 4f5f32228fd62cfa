"""How far a series goes when it is opened. The steps are those of docs/architecture.md, "Opening", by name.

Costs a read of the head and one look at the directory, whatever the number of points.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hft_mmap.errors import FormatError
from hft_mmap.files.boot import Boot, is_same_boot
from hft_mmap.files.chunk import Layout, chunk_name, list_chunks
from hft_mmap.files.head import FLAG_CLEAN, FLAG_SYNC_FAILED, MAX_TOTAL, Head, Identity
from hft_mmap.files.names import directory_name
from hft_mmap.tree.kernels import FAN_OUT
from hft_mmap.tree.words import FLAGS, START, TOTAL

Origin = Literal["live", "clean", "rolled_back"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a series stands: its bounds, where they come from, and the total that is on the disk for certain.

    origin: "live", the machine ran on, so the page cache holds all that was published; "clean", the service was
    stopped in order before the machine went down; "rolled_back", power was lost, and the newest commit counts.
    sync_failed: an fsync failed in this boot. orderly: whoever wrote last has closed the series, nothing is in doubt.
    """

    total: int
    start: int
    origin: Origin
    committed_total: int
    committed_start: int
    sync_failed: bool
    orderly: bool


def check_owner(directory: Path, identity: Identity) -> None:
    """Make sure that the head in `directory` is its own, not one that was copied there; FormatError if not."""
    if directory_name(identity.symbol) != directory.name:
        raise FormatError(f"head file belongs to the symbol {identity.symbol!r}")


def layout_of(identity: Identity) -> Layout:
    """Return the layout of the chunks of a series; FormatError if this release can't read such chunks."""
    if identity.fan_out != FAN_OUT:
        message = f"head file has nodes of {identity.fan_out} children, this release reads nodes of {FAN_OUT}"
        raise FormatError(message)
    try:
        return Layout.of(identity.chunk_points)
    except ValueError as error:
        raise FormatError(f"head file: {error}") from error


def trust(head: Head, boot: Boot) -> Recovered:
    """Decide which words of the head count (steps 1 to 3); FormatError if none can be trusted. Changes nothing."""
    commits = head.commits()
    newest = commits[0] if commits else None
    if is_same_boot(head.live_boot(), boot):
        # In this order: both only grow, so whatever another process does between the two loads, start <= total.
        start = head.words[START]
        total = head.words[TOTAL]
        if not 0 <= start <= total <= MAX_TOTAL:
            message = f"live words are not in order: start {start}, total {total}"
            raise FormatError(message)
        failed = bool(head.words[FLAGS] & FLAG_SYNC_FAILED)
        orderly = newest is not None and newest.clean and (newest.total, newest.start) == (total, start)
        # The newest slot may be what a failed sync has left in memory only; the one before it was there first.
        certain = commits[-1] if failed and commits else newest
        on_disk = (certain.total, certain.start) if certain else (0, 0)
        return Recovered(total, start, "live", min(on_disk[0], total), min(on_disk[1], start), failed, orderly)
    if newest is None:
        message = "neither commit slot is valid, and the machine was restarted since the last write"
        raise FormatError(message)
    origin: Origin = "clean" if newest.clean else "rolled_back"
    return Recovered(
        newest.total, newest.start, origin, newest.total, newest.start, sync_failed=False, orderly=newest.clean
    )


def kept_chunks(directory: Path, recovered: Recovered, points: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (first point, end, whether there is a file) for the chunks that hold kept points, in order.

    Missing chunks that follow each other come as one, so a total that is far off costs nothing.
    """
    first = recovered.start // points * points
    for present in (*(chunk for chunk in list_chunks(directory) if first <= chunk < recovered.total), recovered.total):
        if first < present:
            yield first, present, False
        if present < recovered.total:
            first = present + points
            yield present, min(first, recovered.total), True


def check_chunks(directory: Path, recovered: Recovered, points: int) -> None:
    """Make sure that a file exists for every chunk that holds a kept point (step 5); FormatError names the first."""
    for first, end, exists in kept_chunks(directory, recovered, points):
        if not exists:
            last = min(end, first + points) - 1
            raise FormatError(f"chunk {chunk_name(first)} is missing: it held the points {first} to {last}")


def describe(error: OSError | FormatError) -> str:
    """Return what is wrong with a chunk that could not be mapped, with its name."""
    return f"chunk {Path(error.filename).name} is missing" if isinstance(error, FileNotFoundError) else str(error)


def publish(head: Head, recovered: Recovered, boot: Boot) -> None:
    """Make the decision visible to every process (step 6): live words first, then the boot they are valid in."""
    if recovered.origin == "live":
        if recovered.orderly:
            head.raise_flag(FLAG_CLEAN)
        return
    head.store(START, recovered.start)
    head.store(TOTAL, recovered.total)
    head.store(FLAGS, FLAG_CLEAN if recovered.orderly else 0)
    head.store_live_boot(boot)


def settle(head: Head, recovered: Recovered, boot: Boot) -> Recovered:
    """Put the slots that `trust` has read on the disk (step 4): whoever wrote them may have died before that.

    In the boot in which they were written they come from the page cache, and say nothing of the disk. No chunk may be
    unlinked and no point called durable by them before this. If the disk fails, it is as after any failed sync. The
    caller is `committing`.
    """
    if recovered.origin != "live" or recovered.sync_failed:
        return recovered
    try:
        os.fdatasync(head.fd)
    except OSError:
        head.raise_flag(FLAG_SYNC_FAILED)
        return trust(head, boot)
    return recovered


def remove_leftovers(directory: Path, recovered: Recovered, points: int) -> list[str]:
    """Unlink chunks that hold no kept point (step 7) and return their names: of a cleanup, or never committed.

    In the boot they were written in, chunks above the total may belong to an append under way in another process:
    those are left for the next append to replace.
    """
    gone = []
    for first in list_chunks(directory):
        below = first + points <= recovered.committed_start
        above = first >= recovered.total and first > 0 and recovered.origin != "live"
        if below or above:
            (directory / chunk_name(first)).unlink(missing_ok=True)
            gone.append(chunk_name(first))
    return gone
