"""How far a series goes when it is opened. The steps are those of docs/architecture.md, "Opening", by name.

Costs a read of the head and one look at the directory, whatever the number of points.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from hft_mmap.durable.trust import Trusted, trust
from hft_mmap.errors import FormatError
from hft_mmap.files.blocks import Identity
from hft_mmap.files.boot import Boot
from hft_mmap.files.head import Head, belongs_to, identity_in
from hft_mmap.files.layout import Layout
from hft_mmap.files.live import FLAG_CLEAN, FLAG_SYNC_FAILED
from hft_mmap.files.marks import Mark
from hft_mmap.files.names import CHUNK_SUFFIX, chunk_name, directory_name, list_chunks, list_files
from hft_mmap.tree.kernels import FAN_OUT
from hft_mmap.tree.words import FLAGS, HOME, START, TOTAL


def check_owner(directory: Path, identity: Identity) -> None:
    """Make sure that the head in `directory` is its own, not one that was copied there; FormatError if not."""
    if not belongs_to(identity, directory):
        raise FormatError(f"head file belongs to the symbol {identity.symbol!r}")


def copied_from(directory: Path) -> str | None:
    """Return the symbol of which `directory` has a copy of the files, beside themselves; None if it has anything else.

    Nothing is lost with such a copy. Where the series is gone, or another one has its name, it is more than that.
    """
    try:
        identity = identity_in(directory)
        home = directory.parent / directory_name(identity.symbol)
        same = home != directory and identity_in(home).series_id == identity.series_id
    except (FormatError, OSError):
        return None
    return identity.symbol if same else None


def layout_of(identity: Identity) -> Layout:
    """Return the layout of the chunks of a series; FormatError if this release can't read such chunks."""
    if identity.fan_out != FAN_OUT:
        message = f"head file has nodes of {identity.fan_out} children, this release reads nodes of {FAN_OUT}"
        raise FormatError(message)
    try:
        return Layout.of(identity.chunk_points, identity.kinds)
    except ValueError as error:
        raise FormatError(f"head file: {error}") from error


def look(head: Head, boot: Boot, directory: Path) -> tuple[Trusted, Layout]:
    """Return how far a series may be believed, as `trust` does, and the layout of its chunks. FormatError.

    Its first batch chooses the columns, maybe at this very moment: what was found is looked at with those that it had.
    """
    while True:
        layout = layout_of(head.look_at_identity())
        found = trust(head, boot, directory, layout)
        if layout_of(head.look_at_identity()).kinds == layout.kinds:
            return found, layout


def kept_chunks(directory: Path, found: Trusted, points: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (first point, end, whether there is a file) for the chunks that hold kept points, in order.

    Missing chunks that follow each other come as one, so a total that is far off costs nothing.
    """
    first = found.start // points * points
    for present in (*(chunk for chunk in list_chunks(directory) if first <= chunk < found.total), found.total):
        if first < present:
            yield first, present, False
        if present < found.total:
            first = present + points
            yield present, min(first, found.total), True


def check_chunks(directory: Path, found: Trusted, layout: Layout) -> None:
    """Make sure that all files exist of every chunk that holds a kept point (step 5); FormatError names the first."""
    names = {name for _, name in list_files(directory)} if layout.kinds else set()
    for first, end, exists in kept_chunks(directory, found, layout.points):
        last = min(end, first + layout.points) - 1
        if not exists:
            raise FormatError(f"chunk {chunk_name(first)} is missing: it held the points {first} to {last}")
        for kind in layout.kinds:
            if (name := chunk_name(first, kind.suffix)) not in names:
                raise FormatError(f"column {name} is missing: it held the {kind.name} of the points {first} to {last}")


def describe(error: OSError | FormatError) -> str:
    """Return what is wrong with a chunk, or a column, that could not be mapped, with its name."""
    if not isinstance(error, FileNotFoundError):
        return str(error)
    name = Path(error.filename).name
    return f"{'chunk' if name.endswith(CHUNK_SUFFIX) else 'column'} {name} is missing"


def publish(head: Head, found: Trusted, boot: Boot) -> None:
    """Make the decision visible to every process (step 6): live words first, then the boot they are valid in.

    What was published and proves itself stays as it is. Else the ring begins anew, so that no mark of points that are
    lost can ever stand for others.
    """
    known = head.mark(found.total)
    if found.origin != "live":
        head.loss_told()  # what another run of the machine has left there says nothing, and this is told as a recovery
    if found.lost:
        head.note_loss(found.total, found.total + found.lost)
    if found.origin != "live" or found.lost:
        head.store(START, found.start)
        head.store(TOTAL, found.total)
        head.begin_ring(found.total, found.mark or Mark.begin())
        if found.origin != "live":
            head.store_flags(FLAG_SYNC_FAILED if found.sync_failed else FLAG_CLEAN if found.orderly else 0)
            head.store_live_boot(boot)
    elif known is None or known != (found.mark or known) or not head.is_in_order() or head.is_ahead(found.total):
        head.begin_ring(found.total, found.mark or Mark.begin())
    if found.orderly and not found.sync_failed and not head.words[FLAGS] & FLAG_CLEAN:
        head.raise_flag(FLAG_CLEAN)
    if found.origin != "copy":  # which is at home once its own slots vouch for it
        head.store(HOME, head.inode)
    head.store_flags(head.words[FLAGS])
    head.settle_words()


def settle(head: Head, found: Trusted, again: Callable[[], Trusted]) -> Trusted:
    """Put the slots that were read on the disk (step 4): whoever wrote them may have died before that.

    In the boot in which they were written they come from the page cache, and say nothing of the disk. No chunk may be
    unlinked and no point called durable by them before this; one that speaks of none may wait. If the disk fails, it is
    as after any failed sync. The caller is `committing`.
    """
    if found.origin not in {"live", "copy"} or found.sync_failed:
        return found
    if not (found.committed_total or found.orderly):
        return found
    try:
        os.fdatasync(head.fd)
    except OSError:
        head.raise_flag(FLAG_SYNC_FAILED)
        return again()
    return found


def remove_leftovers(directory: Path, found: Trusted, points: int, gone: list[str]) -> None:
    """Unlink chunks that hold no kept point (step 7): of a cleanup, or never committed; add their names to `gone`.

    In the boot they were written in, chunks above the total may belong to an append under way in another process:
    those are left for the next append to replace.
    """
    if found.origin == "live" and found.committed_start < points:
        return
    for first, name in list_files(directory):
        below = first + points <= found.committed_start
        above = first >= found.total and first > 0 and found.origin != "live"
        if below or above:
            (directory / name).unlink(missing_ok=True)
            gone.append(name)
