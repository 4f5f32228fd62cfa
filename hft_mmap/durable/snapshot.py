"""Make a consistent copy of a store while it is written to: for backups, and for moving it; and begin one elsewhere.

Full chunks that are on the disk for certain are immutable, so the copy shares them by hard link where it lies on the
same file system; the rest is copied. The copy opens on any machine, as after an orderly stop.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hft_mmap.durable import recovery
from hft_mmap.durable.groups import shared_groups
from hft_mmap.durable.trust import Trusted
from hft_mmap.errors import StoreUnusable
from hft_mmap.files.blocks import Commit, Identity
from hft_mmap.files.boot import Boot
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.disk import sync_directory, sync_file
from hft_mmap.files.head import Head
from hft_mmap.files.layout import Layout
from hft_mmap.tree.words import START

NO_BOOT = Boot(bytes(16), 0)
"""The boot id of no machine: whoever opens the copy goes by its commit slot."""


def _share(source: Path, target: Path) -> None:
    """Give the file `source` the second name `target`, or copy it where that is another file system."""
    try:
        os.link(source, target)
    except OSError:
        if not source.exists():
            raise
        shutil.copyfile(source, target)
        sync_file(target)


def _copy_tail(chunk: Chunk, directory: Path, series_id: bytes, end: int) -> None:
    """Write the first `end` points of `chunk`, and their nodes, into a chunk file of their own."""
    Chunk.create(directory, series_id, chunk.first, chunk.layout, base=chunk.base())
    copy = Chunk(directory, series_id, chunk.first, chunk.layout)
    copy.write(0, chunk.values[:end], [column.values[:end] for column in chunk.columns])
    copy.sync()
    copy.close_writer()


def _copy_series(head: Head, source: Path, making: Path, boot: Boot) -> int:
    """Copy the series in `source`, as it stands now, into the empty directory `making`; return its total.

    FileNotFoundError if a cleanup unlinks a chunk meanwhile.
    """

    def look() -> tuple[Trusted, Layout]:
        found = recovery.look(head, boot, source)
        # What was read may come from memory alone. A chunk that can still be rolled back is no chunk to share.
        os.fdatasync(head.fd)
        return found

    recovered, layout = head.committing(look)
    certain = 0 if recovered.sync_failed else recovered.committed_total
    series_id = head.identity.series_id
    for first in range(recovered.start // layout.points * layout.points, recovered.total, layout.points):
        chunk = Chunk(source, series_id, first, layout)
        if first + layout.points <= certain:
            for path in chunk.paths:
                _share(path, making / path.name)
            for path in shared_groups(chunk):
                with suppress(FileNotFoundError):  # it is made anew at this moment
                    _share(path, making / path.name)
        else:
            _copy_tail(chunk, making, series_id, min(recovered.total - first, layout.points))
    commit = Commit(1, recovered.total, recovered.start, 0, NO_BOOT, clean=True, mark=recovered.mark)
    Head.create(making, head.identity, commit, live=NO_BOOT, home=False)
    sync_directory(making)
    return recovered.total


def begin_series(target: Path, identity: Identity, row: Sequence[NDArray[Any]], at: int) -> None:
    """Make the series `identity` at `target`, which must not exist: of one point, whose index is `at`. OSError.

    row: its price and its columns, each an array of one. It is as the copy of one whose points before that are no
    longer kept. What lies before it in its chunk is read by nobody.
    """
    layout = Layout.of(identity.chunk_points, identity.kinds)
    first = at // layout.points * layout.points
    making = target.with_name(f".making-{target.name}")
    making.mkdir()
    try:
        Chunk.create(making, identity.series_id, first, layout)
        chunk = Chunk(making, identity.series_id, first, layout)
        n = at - first + 1
        prices, *columns = (np.repeat(number, n) for number in row)
        chunk.write(0, prices, columns)
        chunk.sync()
        chunk.close_writer()
        commit = Commit(1, at + 1, at, 0, NO_BOOT, clean=True)
        Head.create(making, identity, commit, live=NO_BOOT, home=False)
        sync_directory(making)
    except BaseException:
        shutil.rmtree(making)
        raise
    making.rename(target)
    sync_directory(target.parent)


def snapshot_series(source: Path, target: Path, boot: Boot) -> int:
    """Copy the series in `source` to `target`, which must not exist, and return the total of the copy.

    Takes no lock and never stops a writer. A cleanup that moves `start` meanwhile makes it begin anew. FormatError,
    StoreUnusable or OSError if the series can't be read or the copy not written.
    """
    making = target.with_name(f".making-{target.name}")
    while True:
        head = Head(source, writable=False)
        start = head.words[START]
        making.mkdir()
        try:
            total = _copy_series(head, source, making, boot)
        except FileNotFoundError as error:
            shutil.rmtree(making)
            if head.words[START] == start:
                message = f"{error.filename} is missing in {source}"
                raise StoreUnusable(message) from error
        except BaseException:
            shutil.rmtree(making)
            raise
        else:
            making.rename(target)
            sync_directory(target.parent)
            return total
        finally:
            head.close()
