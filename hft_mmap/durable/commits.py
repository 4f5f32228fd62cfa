"""What of a series is on the disk for certain, and how it gets there: syncs, commit slots, seals, and unlinking.

`Series` decides when a commit is made and what a failure means; here is what one does, in the order that makes it
last: data, names, slot, and only then what the slot allows (seals, unlinking). One commit at a time.
"""

import errno
import heapq
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from time import monotonic

from hft_mmap.counters import Syncs
from hft_mmap.durable.trust import Trusted
from hft_mmap.errors import FormatError
from hft_mmap.files.boot import Boot
from hft_mmap.files.chunk import Chunk, Layout, Mark, chunk_name, list_chunks
from hft_mmap.files.disk import sync_directory
from hft_mmap.files.head import FLAG_CLEAN, FLAG_SYNC_FAILED, Commit, Head
from hft_mmap.files.view import View
from hft_mmap.tree.kernels import FAN_OUT
from hft_mmap.tree.words import FLAGS, HOME, START, TOTAL

Waiter = Callable[[BaseException | None], None]
"""Takes None once its points are on the disk, or the reason why they are not."""

Exclusive = AbstractContextManager[None]
"""Holds the series against every other writer, for one `with`, or raises SeriesBusy."""


class Commits:
    """The commits of one open series. `total` is how many points the newest of them vouches for."""

    def __init__(self, directory: Path, head: Head, layout: Layout) -> None:
        """Prepare; `begin` says where things stand."""
        self.total = 0
        self.sync_failed = False
        """Whether a sync has failed: memory and disk may differ, and trying again would prove nothing."""
        self.syncs = Syncs(0, 0.0, monotonic())
        self._directory = directory
        self._head = head
        self._layout = layout
        self._waiters: list[tuple[int, int, Waiter]] = []  # a heap; the number in the middle keeps their order
        self._turn = count()

    def begin(self, boot: Boot, total: int) -> None:
        """Go on from a commit of `total` points, in the run `boot` of the machine."""
        self.boot = boot
        self.total = total

    # -- who waits ----------------------------------------------------------------------------------------------------

    def wait(self, total: int, waiter: Waiter) -> None:
        """Remember `waiter` until the points below `total` are on the disk. The caller holds the series' lock."""
        heapq.heappush(self._waiters, (total, next(self._turn), waiter))

    def take_ready(self, *, everyone: bool) -> list[tuple[int, Waiter]]:
        """Return the waiters whose points are on the disk, or all, and forget them. The caller holds the lock."""
        ready = []
        while self._waiters and (everyone or self._waiters[0][0] <= self.total):
            total, _, waiter = heapq.heappop(self._waiters)
            ready.append((total, waiter))
        return ready

    # -- one commit ---------------------------------------------------------------------------------------------------

    def put(
        self, view: View, total: int, start: int, mark: Mark | None, exclusive: Exclusive, *, clean: bool
    ) -> None:  # fmt: skip
        """Put the points of `view` up to `total` on the disk, then a slot that says so; OSError if the disk fails.

        mark: the running checksum of the points below `total`.

        One with the clean flag is SeriesBusy if another process holds the series: then there is no slot, and all of
        it has to be done again.
        """
        begin = monotonic()
        # Under the lock of the commits: a failure is noted before any other process can vouch for the same points.
        with self._head.committing():
            try:
                self._sync_chunks(view, total)
            except OSError:
                if self.sync_failed:
                    self._head.raise_flag(FLAG_SYNC_FAILED)
                raise
        self._record(total, start, mark, exclusive, clean=clean)
        end = monotonic()
        self.syncs = Syncs(self.syncs.count + 1, self.syncs.seconds + end - begin, end)

    def _record(self, total: int, start: int, mark: Mark | None, exclusive: Exclusive, *, clean: bool) -> None:
        """Put a commit slot on the disk; the points that it speaks of are there already.

        The next slot, of whichever process, is written when this one is on the disk: one of the two always is.
        """
        with ExitStack() as appends:
            if clean:
                appends.enter_context(exclusive)
            with self._head.committing():
                if self._head.words[FLAGS] & FLAG_SYNC_FAILED:
                    self.sync_failed = True
                    raise OSError(errno.EIO, "a sync of this series failed in another process")
                # It is no end if another process has gone on meanwhile.
                clean = clean and (self._head.words[TOTAL], self._head.words[START]) == (total, start)
                if clean:
                    # Before the slot: who appends from here on meets the flag, and takes it back first.
                    self._head.raise_flag(FLAG_CLEAN)
                self._head.write_commit(Commit(0, total, start, 0, self.boot, clean, mark))
                appends.close()
                self._sync_head()
                if not clean:
                    self._head.lower_flag(FLAG_CLEAN)
        self.total = total

    def _sync_head(self) -> None:
        """Put the slots on the disk. The flag that it failed is there before anybody else can commit."""
        try:
            with self._syncing():
                os.fdatasync(self._head.fd)
        except OSError:
            self._head.raise_flag(FLAG_SYNC_FAILED)
            raise

    @contextmanager
    def _syncing(self) -> Iterator[None]:
        """Note it if a sync fails. Whatever else fails on the way of a commit may be done again."""
        try:
            yield
        except OSError as error:
            # The file could not even be opened: that says nothing of the disk.
            self.sync_failed |= error.errno not in {errno.EMFILE, errno.ENFILE}
            raise

    def take_back_clean(self) -> None:
        """Put a slot without the clean flag on the disk, before the first point after an orderly stop is published.

        The caller holds the series. OSError if the slot can't be written, or with the flag that a sync failed.
        """
        with self._head.committing():
            if self._head.words[FLAGS] & FLAG_CLEAN:
                # It vouches for what the newest slot does.
                self._head.write_commit(Commit(0, 0, 0, 0, self.boot, clean=False))
                self._sync_head()
                self._head.lower_flag(FLAG_CLEAN)

    def _sync_chunks(self, view: View, total: int) -> None:
        """Put the points between the last commit and `total` on the disk, and the names of new chunks."""
        rolled = False
        for chunk in view.chunks:
            if chunk.first + self._layout.points > self.total and chunk.first < total:
                with self._unless_cleaned_up(chunk):
                    chunk.writer()  # a file that can't be opened says nothing of the disk
                    with self._syncing():
                        chunk.sync()
                rolled |= chunk.first >= self.total
        if rolled:
            with self._syncing():
                sync_directory(self._directory)

    @contextmanager
    def _unless_cleaned_up(self, chunk: Chunk) -> Iterator[None]:
        """Let a missing file pass if another process has cleaned up `chunk` meanwhile."""
        try:
            yield
        except FileNotFoundError:
            if chunk.first + self._layout.points > self._head.words[START]:
                raise

    def seal(self, view: View, total: int) -> None:
        """Seal the chunks that are full and on the disk; O(C) for each, once in their life."""
        for chunk in view.chunks:
            if not chunk.sealed and chunk.first + self._layout.points <= total:
                # A damaged seal stays as it is, for verify to find.
                with suppress(FormatError), self._unless_cleaned_up(chunk):
                    if chunk.read_seal() is None:
                        chunk.seal()
                        with self._syncing():
                            chunk.sync()
                chunk.sealed = True
                chunk.close_writer()
                chunk.forget_pages()

    def unlink_below(self, start: int) -> None:
        """Unlink the chunks wholly below `start`, which a commit slot on the disk already holds."""
        for first in list_chunks(self._directory):
            if first + self._layout.points <= start:
                (self._directory / chunk_name(first)).unlink(missing_ok=True)
        with self._syncing():
            sync_directory(self._directory)

    # -- after a failed sync ------------------------------------------------------------------------------------------

    def fail(self) -> None:
        """Tell the other processes of this boot, and the next opening, that memory and disk may differ."""
        with self._head.committing():
            self._head.raise_flag(FLAG_SYNC_FAILED)

    def write_again(self, view: View, found: Trusted) -> None:
        """Write again what no slot vouches for, now that it has proved itself, and its nodes. OSError.

        After a failed fsync the kernel may call pages clean that never reached the disk, also where whoever met the
        failure was killed before it could say so; a later fsync would then succeed and prove nothing. Writing the same
        bytes makes the pages dirty again. The nodes come out of the values, so what became of the stored ones does not
        matter. The caller holds the series.
        """
        for chunk in view.chunks:
            begin = max(found.committed_total - chunk.first, 0) // FAN_OUT * FAN_OUT
            end = min(found.total - chunk.first, self._layout.points)
            if begin < end:
                chunk.write(begin, chunk.values[begin:end].copy())

    def make_good(self, view: View, found: Trusted) -> None:
        """Put what was written again on the disk, with a slot that vouches for it; OSError if the disk still fails.

        Names can't be written again; on ext4 and xfs they go through the journal, which a failed write shuts down, so
        that for them a later fsync that succeeds is the truth. The caller holds the series and is `committing`, from
        before it read the flag until this has cleared it: a sync that fails meanwhile, in another process, sets it
        afterwards.
        """
        for chunk in view.chunks:
            if chunk.first + self._layout.points > found.committed_total and chunk.first < found.total:
                chunk.write_footer_again()
                chunk.sync()
        sync_directory(self._directory)
        commit = Commit(0, found.total, found.start, 0, self.boot, clean=False, mark=self._head.mark(found.total))
        if found.origin == "copy":
            self._head.begin_slots(commit)
        else:
            # The newest slot may be one of the pages in doubt. It has to be there before the one before it is replaced.
            self._head.write_newest_again()
            os.fdatasync(self._head.fd)
            self._head.write_commit(commit)
        os.fdatasync(self._head.fd)
        self.total = found.total
        self._head.store(HOME, self._head.inode())
        self._head.settle_words()
        self._head.lower_flag(FLAG_SYNC_FAILED | FLAG_CLEAN)
