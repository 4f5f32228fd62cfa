"""Make the groups of a series, keep them up, and hold them against the points: what nobody's trust depends on.

A group is made of points that are published, in whichever process; one at a time is at a file, by a lock of it. What
does not prove itself is made anew in another file, and never changed: a reader may have proved a part of it.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hft_mmap.errors import FormatError
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.group import NOTHING, GroupFile, create, values_checksum
from hft_mmap.files.layout import FOOTER_BYTES, GROUPS, Group
from hft_mmap.files.locks import attempts, try_lock
from hft_mmap.files.memory import identity_of
from hft_mmap.files.names import chunk_name
from hft_mmap.files.proved import known_of
from hft_mmap.files.view import View
from hft_mmap.tree.groups import RETURNS
from hft_mmap.tree.kernels import FAN_OUT

LAG_POINTS = 1024
"""So far groups stay behind before a commit makes them go on: what a query reads one by one in a few microseconds."""
_PATIENCE_S = 0.01
_WAIT_S = 5.0
"""So long is waited for another process that is at the same file."""
_LOGARITHMS = 1e-13
"""So much may squared log returns differ, relative to themselves, where two libraries have taken the logarithms."""


class GroupsReport(NamedTuple):
    """Which groups of a series were made or brought up, how many of its kept points they cover, and what was not done.

    left: a reason for each file that another process was at, or that could not be written; empty when all is done.
    lacking: which of the groups that were wanted a series can't have, as its points have no column that they are of.
    """

    symbol: str
    groups: tuple[str, ...]
    points: int
    left: tuple[str, ...]
    lacking: tuple[str, ...] = ()


def keep_up(view: View, begin: int, total: int, groups: tuple[Group, ...]) -> None:
    """Have the groups of the chunks that hold points from `begin` on cover what is published, up to `total`. OSError.

    Costs some 6 ns a point and a sync of each file. One that another process is at is left to it, and so is a lag of
    less than LAG_POINTS. Groups of columns that the series does not have are left out.
    """
    groups = _possible(view, groups)
    for chunk in view.chunks:
        end = min(total - chunk.first, view.layout.points)
        if chunk.first + view.layout.points > begin and end > 0:
            for group in groups:
                file = known_of(chunk, group).file
                done = NOTHING if file is None else file.proved
                full = end == view.layout.points
                if end - done.covered >= LAG_POINTS or (full and not (done.covered == end and done.seal)):
                    bring_up(chunk, group, end)


def summarise(
    symbol: str, part: tuple[View, int, int], groups: tuple[Group, ...], start_now: Callable[[], int]
) -> GroupsReport:  # fmt: skip
    """Make the groups of the points of a series, or bring up those there are; O(N), 3 ns a point and group.

    part: a view of the series and the bounds of its points, at one moment. start_now: returns the oldest that is kept
    by now. What is there already costs next to nothing, so whoever was interrupted does it again.
    """
    view, start, total = part
    lacking = tuple(group.name for group in groups if group not in view.layout.groups)
    groups = _possible(view, groups)
    left, points = [], view.layout.points
    covered = dict.fromkeys(groups, 0)
    for chunk in view.chunks:
        end = min(total - chunk.first, points)
        for group in groups:
            name = path_of(chunk, group).name
            try:
                if not any(bring_up(chunk, group, end) for _ in attempts(_WAIT_S)):
                    left.append(f"{name}: another process makes it")
            except OSError as error:
                left.append(f"{name}: {error.strerror}")
            if chunk.first + points <= start_now():  # and what a cleanup has unlinked is made again here
                path_of(chunk, group).unlink(missing_ok=True)
            elif (file := known_of(chunk, group).file) is not None:
                below = max(start - chunk.first, 0)
                covered[group] += max(min(file.proved.covered, end) - below, 0)
        if end == points:
            chunk.forget_pages()
    names = tuple(group.name for group in groups)
    return GroupsReport(symbol, names, min(covered.values(), default=0), tuple(left), lacking)


def _possible(view: View, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Return those of `groups` that can be made of the points of a series."""
    return tuple(group for group in groups if group in view.layout.groups)


def bring_up(chunk: Chunk, group: Group, end: int) -> bool:
    """Have a group of `chunk` cover its first `end` points, which are published; return False where another is at it.

    Whatever is there and does not prove itself is made anew. OSError.
    """
    for _ in range(2):
        fd = _opened(chunk, group)
        try:
            if not try_lock(fd):
                return False
            file = _file_of(chunk, group, fd)
            record = None if file is None else file.record()
            if record is not None and record.covered > end:
                return True  # by a process that knows of more points; or of points that were lost, see `remove_ahead`
            if file is not None and record is not None and file.look(chunk, end):
                file.extend(chunk, fd, end)
                known_of(chunk, group).file = file
                return True
            create(chunk, group)
        finally:
            os.close(fd)
    return False


def path_of(chunk: Chunk, group: Group) -> Path:
    """Return where the file of a group of `chunk` lies, if there is one."""
    return chunk.path.with_name(chunk_name(chunk.first, group.suffix))


def _opened(chunk: Chunk, group: Group) -> int:
    """Return the file of a group, made if it is missing, opened for writing. OSError."""
    path = path_of(chunk, group)
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        create(chunk, group)
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _file_of(chunk: Chunk, group: Group, fd: int) -> GroupFile | None:
    """Return the group that is open as `fd`, with what of it has been proved; None if it is no such group."""
    opened, file = identity_of(os.fstat(fd)), known_of(chunk, group).file
    if file is None or opened != file.file:
        try:
            file = GroupFile(chunk, group)
        except (OSError, FormatError):
            return None
    return file if opened == file.file else None


def remove_ahead(chunk: Chunk, end: int) -> None:
    """Remove the groups of `chunk` that cover more than its first `end` points: of some that were lost. OSError.

    None of them would be believed; others may be appended in their place, and then `verify` would call it a fault. One
    that does not say soundly what it covers goes as well.
    """
    for group in GROUPS:
        with suppress(FileNotFoundError, FormatError):
            record = GroupFile(chunk, group).record()
            if record is not None and record.covered <= end:
                continue
        path_of(chunk, group).unlink(missing_ok=True)


def shared_groups(chunk: Chunk) -> list[Path]:
    """Return the files of the groups that cover all of a full `chunk`, and so never change."""
    found = []
    for group in chunk.layout.groups:
        with suppress(OSError, FormatError):
            file = GroupFile(chunk, group)
            if (record := file.record()) is not None and record.covered == chunk.layout.points:
                found.append(file.path)
    return found


# -- held against the points ------------------------------------------------------------------------------------------


def group_faults(chunk: Chunk, end: int) -> dict[Group, list[str]]:
    """Return what is wrong in each group of `chunk`, of which the first `end` points are kept; O(end), 3 ns a group.

    None of it has ever made an answer wrong, as it is not believed. One that was never finished, or that covers points
    that were lost, is no fault.
    """
    found = {}
    for group in chunk.layout.groups:
        try:
            faults = _faults_of(chunk, GroupFile(chunk, group), end)
        except FileNotFoundError:
            continue
        except (OSError, FormatError) as error:
            faults = [] if _was_never_made(chunk, group) else [f"{path_of(chunk, group).name}: {error}"]
        if faults:
            found[group] = faults
    return found


def _was_never_made(chunk: Chunk, group: Group) -> bool:
    """Say whether the file of a group is what a power loss leaves of one that was just created."""
    with suppress(OSError):
        raw = path_of(chunk, group).read_bytes()
        return not any(raw[-FOOTER_BYTES:])
    return True


def _faults_of(chunk: Chunk, file: GroupFile, end: int) -> list[str]:
    """Return what is wrong in one group."""
    name, record = file.path.name, None
    for _ in attempts(_PATIENCE_S):  # it may be written right now
        record = file.record()
        if record is not None:
            break
    if record is None:
        return [f"{name}: the record of what it covers is damaged"]
    if record.covered > end:
        return []
    if record.values != values_checksum(chunk, file.group, 0, record.covered):
        return [f"{name}: it was made of other {'values' if not file.group.kinds else 'points'}"]
    faults = file.footer_faults() + _node_faults(chunk, file, record.covered)
    if not faults and record.nodes != file.nodes_checksum(0, record.covered):
        faults.append(f"{name}: the checksum of the nodes is wrong")
    return faults


def _node_faults(chunk: Chunk, file: GroupFile, covered: int) -> list[str]:
    """Return a fault for each node that differs from what it summarises."""
    faults = []
    for level in range(1, chunk.layout.levels + 1):
        width = FAN_OUT**level
        if count := covered // width:
            stored, right = file.nodes(level)[:count], file.expected(chunk, level, 0, count)
            same = stored.view(np.int64) == right.view(np.int64)
            if file.group.bit == RETURNS:  # of logarithms that another library may have taken
                same[:, 0] |= np.isclose(stored[:, 0], right[:, 0], rtol=_LOGARITHMS, atol=0, equal_nan=True)
            for node in np.flatnonzero(~same.all(axis=1)).tolist():
                first = chunk.first + node * width
                points = f"points {first} to {first + width - 1}"
                faults.append(f"{file.path.name}: level {level} node {node} differs from what it summarises ({points})")
    return faults


def make_anew(chunk: Chunk, group: Group, end: int) -> None:
    """Remove the file of a group and make it of the first `end` points of `chunk`, which are proved. OSError."""
    path_of(chunk, group).unlink(missing_ok=True)
    bring_up(chunk, group, end)
