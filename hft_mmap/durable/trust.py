"""How far a series may be believed: of each point whether it is certain, doubtful or lost.

Everybody who has to know asks here: opening, the start after a failed sync, `verify`, `repair` and `snapshot`.

A point is *certain* in two ways. A commit slot vouches for it: slots are written after the disk has confirmed every
point below their total. Or the bytes prove themselves: the ring of the newest publications (`files.head`) has the
running checksum of each, and the points above the slot, as they are read now, give the very same. Nothing else is
believed: not that the page cache survived, since a device may have failed, gone and come back within one run of the
machine; and not the total that is published, which reaches the disk ahead of the points below it.

What is above the last point that is certain is *lost*. It is told, with the reason, and never served. The series then
ends at the newest publication that is proved, so that no batch is cut in two. It begins where the newest commit has it
begin, as after a restart of the machine: a cleanup since then has made room for points that may be lost, and what it
let go of is there until a slot speaks of it.

A head that lies in another file than it was written in (its inode is another one) is a *copy* of a series that was in
use. Its files were read one after the other, so no slot in it vouches for any point; all of it has to prove itself.

Only what no slot vouches for is read, so the cost does not grow with the data, except for the first opening of a copy.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hft_mmap.errors import FormatError
from hft_mmap.files.blocks import MAX_TOTAL, Commit
from hft_mmap.files.boot import Boot, is_same_boot
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.head import Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.files.locks import attempts
from hft_mmap.files.marks import Mark, wrapped
from hft_mmap.files.names import chunk_name
from hft_mmap.tree.words import FLAGS, HOME, SALT, START, TOTAL

_SETTLED_AFTER_S = 0.002

Origin = Literal["live", "clean", "rolled_back", "copy"]


@dataclass(frozen=True, slots=True)
class Trusted:
    """Where a series stands: its bounds, where they come from, and the total that is on the disk for certain.

    origin: "live", what was published is there; "clean", the service was stopped in order before the machine went
    down; "rolled_back", the machine went down, and the newest commit counts; "copy", the files are a copy of a series
    in use, and have proved themselves. sync_failed: a sync has failed, so what lies above `committed_total` may be in
    memory alone. orderly: whoever wrote last has closed the series. mark: that of `total`. slot_start: where the newest
    commit has the series begin, on the disk or not; `start` if there is none. What lies above was never unlinked.
    proved: the points above the newest commit have given their checksums. lost: how many points were published and are
    not there any more; why: how that shows.
    """

    total: int
    start: int
    origin: Origin
    committed_total: int
    committed_start: int
    sync_failed: bool
    orderly: bool
    mark: Mark | None = None
    slot_start: int = 0
    proved: bool = False
    lost: int = 0
    why: str = ""


def trust(head: Head, boot: Boot, directory: Path, layout: Layout) -> Trusted:
    """Decide how far the series in `directory` may be believed; FormatError if not at all. Changes nothing.

    The caller holds the series, or is ready for points to be published meanwhile: those are left out. Where a cleanup
    of another process has removed what was to be read, or it has begun the ring anew meanwhile, it is looked at again;
    and once more after a moment, before points are called lost: it may be between two stores of that.
    """
    for _ in attempts(_SETTLED_AFTER_S):
        while True:
            before = (head.commits(), head.words[SALT])
            found = _trust(head, boot, directory, layout, before[0])
            if not found.lost or (head.commits(), head.words[SALT]) == before:
                break
        if not found.lost:
            break
    return found


def _trust(head: Head, boot: Boot, directory: Path, layout: Layout, commits: list[Commit]) -> Trusted:
    """Do the work of `trust`, with what the slots hold now."""
    newest = commits[0] if commits else None
    home = head.words[HOME]
    if home and home != head.inode:
        return _of_copy(head, directory, layout, commits)
    if head.live_boot().boot_id == boot.boot_id:
        return _of_this_boot(head, boot, directory, layout, commits)
    if newest is None:
        message = "neither commit slot is valid, and the machine was restarted since the last write"
        raise FormatError(message)
    return _by_slot(newest)


def _by_slot(slot: Commit) -> Trusted:
    """Return what `slot` vouches for, after the machine went down."""
    origin: Origin = "clean" if slot.clean else "rolled_back"
    return Trusted(slot.total, slot.start, origin, slot.total, slot.start, sync_failed=False, orderly=slot.clean,
                   mark=slot.mark)  # fmt: skip


def _live_bounds(head: Head) -> tuple[int, int]:
    """Return the (start, total) that is published; FormatError if those can't be right."""
    while True:
        # In this order: as long as nothing is lost both only grow, so whatever comes between the loads, start <= total.
        start, total = head.words[START], head.words[TOTAL]
        if 0 <= start <= total <= MAX_TOTAL:
            return start, total
        if (head.words[START], head.words[TOTAL]) == (start, total):
            message = f"live words are not in order: start {start}, total {total}"
            raise FormatError(message)


def _of_this_boot(head: Head, boot: Boot, directory: Path, layout: Layout, commits: list[Commit]) -> Trusted:
    """Return how far the words count that were stored in this run of the machine."""
    start, total = _live_bounds(head)
    newest = commits[0] if commits else None
    failed = bool(head.words[FLAGS] & FLAG_SYNC_FAILED)
    # The newest slot may be what a failed sync has left in memory only; the one before it was there first.
    certain = commits[-1] if failed and commits else newest
    found = Trusted(
        total, start, "live", min(certain.total, total) if certain else 0, min(certain.start, start) if certain else 0,
        failed, newest is not None and newest.clean and (newest.total, newest.start) == (total, start),
        head.mark(total), min(newest.start, start) if newest else start,
    )  # fmt: skip
    if newest is not None and newest.total > total:
        return replace(_by_slot(newest), origin="rolled_back", orderly=False)  # words that no release leaves
    if newest is not None and newest.total == total:
        return replace(found, mark=newest.mark or found.mark)
    # Also where the ring does not reach the total: a device that went has kept one sector of the head, and not another.
    base = _base(newest, directory, head, layout, start)
    if base is not None:
        marks = {point: mark for point, mark in head.marks().items() if point <= total}
        if total not in marks and head.words[TOTAL] != total:
            # The ring went round between the two looks: another process publishes while this one was held up.
            return _of_this_boot(head, boot, directory, layout, head.commits())
        same = {point: mark for point, mark in marks.items() if mark.epoch == base[1].epoch}
        return _proved(found, head, directory, layout, base, same)
    # A release that knows no checksums wrote the newest slot, or there has been no commit since it published points.
    if not failed and is_same_boot(head.live_boot(), boot):
        return found
    if newest is None:
        raise FormatError("no commit slot is valid, and what was published can't be proved")
    return ending(
        found, newest.total, newest.mark, "a sync failed, and nothing proves the points after the last commit"
    )


def _base(
    slot: Commit | None, directory: Path, head: Head, layout: Layout, start: int
) -> tuple[int, Mark] | None:  # fmt: skip
    """Return a point, and its mark, that a proof can begin with: the end of the slot, or the first kept chunk."""
    if slot is not None:
        return (slot.total, slot.mark) if slot.mark is not None else None
    first = start // layout.points * layout.points
    chunk = _opened(directory, head, layout, first)
    mark = chunk.base() if chunk is not None else None
    return (first, mark) if mark is not None else None


def _opened(directory: Path, head: Head, layout: Layout, first: int) -> Chunk | None:
    """Return the chunk that begins at `first`, or None where there is no sound file of it."""
    try:
        return Chunk(directory, head.identity.series_id, first, layout)
    except (FormatError, FileNotFoundError):
        return None


def _proved(
    found: Trusted, head: Head, directory: Path, layout: Layout, base: tuple[int, Mark], marks: dict[int, Mark]
) -> Trusted:  # fmt: skip
    """Return `found` as far as its points above `base` prove themselves."""
    proof = prove(head, directory, layout, base, marks)
    if proof.point == found.total:
        return replace(found, proved=True)
    why = proof.why or f"no checksum was published of the points {proof.point} to {found.total - 1}"
    return replace(ending(found, proof.point, proof.mark, why), proved=True)


def ending(found: Trusted, total: int, mark: Mark | None, why: str) -> Trusted:
    """Return `found` less the points from `total` on, which are lost; it begins where its newest slot says."""
    return replace(
        found, total=total, start=min(found.slot_start, total), mark=mark, lost=found.total - total, why=why,
        orderly=False,
        committed_total=min(found.committed_total, total), committed_start=min(found.committed_start, total),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Proof:
    """Up to which point the checksums that were noted are given, the mark of that point, and why no further."""

    point: int
    mark: Mark
    why: str = ""


def prove(
    head: Head, directory: Path, layout: Layout, base: tuple[int, Mark], marks: dict[int, Mark]
) -> Proof:  # fmt: skip
    """Read the points from `base` on, and return the last of `marks` that they give.

    The bases that chunks carry are held against the sum as well. O(n), 0.5 ns a point.
    """
    point, mark = base
    running = mark.checksum
    proved = Proof(point, mark)
    for goal in sorted(target for target in marks if target > point):
        while point < goal:
            first = point // layout.points * layout.points
            chunk = _opened(directory, head, layout, first)
            if chunk is None:
                what = chunk_name(first) + (", or a column of it," if layout.kinds else "")
                return replace(proved, why=f"{what} is not there, or not sound")
            known = chunk.base() if point == first else None
            if known is not None and known.epoch == mark.epoch and known.checksum != running:
                return replace(proved, why=f"the points before {first} are not those that were appended")
            upto = min(goal, first + layout.points)
            running = wrapped(running + chunk.checksum(point - first, upto - first, mark))
            point = upto
        if marks[goal] != Mark(mark.epoch, running):
            return replace(proved, why=f"the points {proved.point} to {goal - 1} are not those that were appended")
        proved = Proof(goal, marks[goal])
    return proved


_UNPROVED = "this is a copy of a series in use, and nothing proves its points; `hft-mmap snapshot` makes one that opens"


def _of_copy(head: Head, directory: Path, layout: Layout, commits: list[Commit]) -> Trusted:
    """Return what a copy holds that proves itself in full; FormatError if it does not reach its newest commit."""
    if not commits:
        raise FormatError("neither commit slot is valid, and this is a copy of a series in use")
    newest = commits[0]
    first = newest.start // layout.points * layout.points
    chunk = _opened(directory, head, layout, first)
    base = chunk.base() if chunk is not None else None
    if base is None and newest.start == newest.total:
        base, first = newest.mark, newest.total
    if base is None or newest.mark is None or base.epoch != newest.mark.epoch:
        # An older release wrote the first of its chunks. At rest the files fitted each other, whenever they were read.
        if newest.clean:
            return _by_slot(newest)
        raise FormatError(_UNPROVED)
    # What the ring has of points that a slot speaks of may be older than the slot, and of points that were lost.
    published = {point: mark for point, mark in head.marks().items() if newest.total < point <= head.words[TOTAL]}
    marks = {**published, **{slot.total: slot.mark for slot in commits if slot.mark is not None}}
    same = {point: mark for point, mark in marks.items() if mark.epoch == base.epoch and newest.start <= point}
    proof = prove(head, directory, layout, (first, base), same)
    if proof.point < newest.total:
        raise FormatError(f"this is no whole copy of a series in use: {proof.why}; `hft-mmap snapshot` makes one")
    return Trusted(
        proof.point, newest.start, "copy", newest.total, newest.start, sync_failed=True,
        orderly=newest.clean and proof.point == newest.total, mark=proof.mark, proved=True,
    )  # fmt: skip
