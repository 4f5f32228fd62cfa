"""Make the groups of a series, keep them up, and hold them against the values: what nobody's trust depends on.

A group is made of values that are published, in whichever process; one at a time is at a file, by a lock of it. What
does not prove itself is made anew in another file, and never changed: a reader may have proved a part of it.
"""

import os
from pathlib import Path

from hft_mmap.errors import FormatError
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.group import NOTHING, GroupFile, create, known_of
from hft_mmap.files.layout import Group
from hft_mmap.files.locks import try_lock
from hft_mmap.files.memory import identity_of
from hft_mmap.files.names import chunk_name
from hft_mmap.files.view import View

LAG_POINTS = 1024
"""So far groups stay behind before a commit makes them go on: what a query reads one by one in a few microseconds."""
_PATIENCE_S = 0.01
_LOGARITHMS = 1e-13
"""So much may squared log returns differ, relative to themselves, where two libraries have taken the logarithms."""


def keep_up(view: View, begin: int, total: int, groups: tuple[Group, ...]) -> None:
    """Have the groups of the chunks that hold points from `begin` on cover what is published, up to `total`. OSError.

    Costs some 6 ns a point and a sync of each file. One that another process is at is left to it, and so is a lag of
    less than LAG_POINTS.
    """
    for chunk in view.chunks:
        end = min(total - chunk.first, view.layout.points)
        if chunk.first + view.layout.points > begin and end > 0:
            for group in groups:
                file = known_of(chunk, group).file
                done = NOTHING if file is None else file.proved
                full = end == view.layout.points
                if end - done.covered >= LAG_POINTS or (full and not (done.covered == end and done.seal)):
                    bring_up(chunk, group, end)


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
