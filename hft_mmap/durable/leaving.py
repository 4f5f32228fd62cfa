"""How a series loses its name: removed, or given another one. Each is one rename of its directory, and what follows.

Before that rename the series is as it was, whatever ends the work; after it, it is gone or has its new name, and the
next store that is opened for writing does the rest (`finish`). Other processes may have it open meanwhile:

1. A live flag is raised. Whoever holds the series to write to it looks first whether the directory still has the name.
2. The directory is renamed, while the series is held against every writer and every commit.
3. `start` is moved up to `total` in the head that they have mapped: from here on they find nothing to read.
4. The data directory is synced. Only then are files unlinked.

A series with another name has another head file, written beside the old one before the rename (`RENAMED_NAME`): so what
was opened by the old name never shares words or locks with what is opened by the new one.

The caller holds the lock of the data directory, so that there is one such work at a time.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fcntl import LOCK_UN, flock
from functools import partial
from pathlib import Path
from typing import TypeVar

from hft_mmap.durable import recovery
from hft_mmap.durable.trust import Trusted
from hft_mmap.errors import FormatError, SeriesBusy, SeriesReadOnly
from hft_mmap.files.blocks import Commit
from hft_mmap.files.boot import Boot
from hft_mmap.files.disk import sync_directory
from hft_mmap.files.head import HEAD_NAME, RENAMED_NAME, Head, belongs_to
from hft_mmap.files.layout import Layout
from hft_mmap.files.live import FLAG_LEFT, FLAG_SYNC_FAILED
from hft_mmap.files.locks import HOW_TO_FIND_THE_HOLDER, try_lock
from hft_mmap.files.names import chunk_name
from hft_mmap.tree.words import TOTAL

_T = TypeVar("_T")

REMOVED_PREFIX = ".removed-"
"""How a directory is called that was that of a series; no series has such a name."""


def remove_series(directory: Path) -> Path:
    """Take the name of the series in `directory` from it, for good, and return the directory to be deleted.

    Also of files that can't be trusted. SeriesBusy if another process holds the series now; OSError: where the sync
    failed, the removal may not survive a power loss.
    """
    gone = directory.with_name(f"{REMOVED_PREFIX}{uuid.uuid4().hex}")
    try:
        head = Head(directory, writable=True)
    except (FormatError, FileNotFoundError):
        directory.rename(gone)
    else:
        try:
            _holding(head, partial(_leave, head, directory, gone))
        finally:
            head.close()
    sync_directory(gone.parent)
    return gone


def rename_series(directory: Path, target: Path, symbol: str, boot: Boot) -> int:
    """Give the series in `directory` the name `symbol`, and with it the directory `target`; return its total.

    All that was published is put on the disk first. SeriesBusy if another process holds the series now, SeriesReadOnly
    where a sync of it fails or has failed; otherwise OSError, FormatError.
    """
    head = Head(directory, writable=True)
    try:
        total = _holding(head, partial(_rename, head, directory, target, symbol, boot))
    finally:
        head.close()
    return total


def _holding(head: Head, work: Callable[[], _T]) -> _T:
    """Return what `work` does while nobody else writes to the series or commits it; SeriesBusy if somebody does."""
    head.wait_s = 0
    try:
        if try_lock(head.fd):
            return head.committing(work)
    finally:
        flock(head.fd, LOCK_UN)  # see locks.py: nothing may come between
    raise SeriesBusy(f"{head.identity.symbol} is held by another process ({head.path}); {HOW_TO_FIND_THE_HOLDER}")


def _leave(head: Head, directory: Path, to: Path) -> None:
    """Rename the directory, so that everybody who has the series open notices."""
    head.raise_flag(FLAG_LEFT)
    directory.rename(to)
    head.move_start(head.words[TOTAL])


def _rename(head: Head, directory: Path, target: Path, symbol: str, boot: Boot) -> int:
    """Do the work of `rename_series`; the caller holds the series and is committing."""
    found, layout = recovery.look(head, boot, directory)
    if found.origin != "live" or found.lost or found.sync_failed:
        why = found.why or "a sync of it has failed" if found.lost or found.sync_failed else "it has to be opened first"
        raise SeriesReadOnly(f"{head.identity.symbol} can't be renamed now: {why}; restart the service, and try again")
    _sync_points(head, directory, layout, found)
    (directory / RENAMED_NAME).unlink(missing_ok=True)
    commit = Commit(1, found.total, found.start, 0, boot, clean=True, mark=found.mark)
    Head.create(directory, replace(head.identity, symbol=symbol), commit, live=boot, name=RENAMED_NAME)
    sync_directory(directory)
    _leave(head, directory, target)
    # Before the old head goes: else a power cut could leave the new one under the old name.
    sync_directory(target.parent)
    (target / RENAMED_NAME).rename(target / HEAD_NAME)
    sync_directory(target)
    return found.total


def _sync_points(head: Head, directory: Path, layout: Layout, found: Trusted) -> None:
    """Put the points that no slot vouches for on the disk, with the names of their chunks.

    SeriesReadOnly, from now on, where a sync fails; OSError where a file can't be opened, which says nothing of it.
    """
    begin = max(found.committed_total, found.start) // layout.points * layout.points
    chunks = [
        directory / name
        for first in range(begin, found.total, layout.points)
        for name in (*(chunk_name(first, kind.suffix) for kind in layout.kinds), chunk_name(first))
    ]
    for path in (*chunks, directory):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            # A failed sync is never repeated and called success.
            head.raise_flag(FLAG_SYNC_FAILED)
            raise SeriesReadOnly(
                f"{head.identity.symbol} was not renamed, and is read-only: the disk failed ({error}); check the disk, "
                "then restart the service"
            ) from error
        finally:
            os.close(fd)


# -- what a crash leaves ----------------------------------------------------------------------------------------------


def finish(data: Path) -> None:
    """Do what was left of removals and renames in the data directory `data`; the lock shows that none is under way."""
    names = os.listdir(data)
    removed = [data / name for name in names if name.startswith(REMOVED_PREFIX)]
    renamed = [data / name for name in names if os.path.exists(f"{data}/{name}/{RENAMED_NAME}")]  # noqa: PTH110
    if removed or renamed:
        sync_directory(data)
    for directory in renamed:
        if directory not in removed:
            _finish_rename(directory)
    for directory in removed:
        delete(directory)


def _finish_rename(directory: Path) -> None:
    """Leave one head in `directory`: the one that has its name."""
    renamed = directory / RENAMED_NAME
    try:
        head = Head(directory, writable=True)  # the one of the two that belongs here
    except FormatError:
        return  # it is set aside, with all that is in it
    head.close()
    if head.path == renamed and belongs_to(head.identity, directory):
        _empty(directory / HEAD_NAME)
        renamed.rename(directory / HEAD_NAME)
    else:
        renamed.unlink()
    sync_directory(directory)


def delete(directory: Path) -> None:
    """Delete the directory of a removed series, whose name is off the disk; another process may be at it as well.

    OSError if that fails: the next store that is opened for writing tries again.
    """
    _empty(directory / HEAD_NAME)
    for attempt in (True, False):
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            if not directory.exists():
                return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not attempt:
                raise
        else:
            return


def _empty(path: Path) -> None:
    """Have those who still have this head open find nothing, where whoever took its name was killed before that."""
    with suppress(FormatError, OSError):
        head = Head(path.parent, writable=True, name=path.name)
        head.move_start(head.words[TOTAL])
        head.close()
