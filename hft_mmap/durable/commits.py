"""What of a series is on the disk for certain, and how it gets there: syncs, commit slots, seals, and unlinking.

`Series` decides when a commit is made and what a failure means; here is what one does, in the order that makes it
last: data, names, slot, and only then what the slot allows (seals, unlinking). One commit at a time.
"""

import errno
import heapq
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic

from hft_mmap.counters import Syncs
from hft_mmap.durable.trust import Trusted
from hft_mmap.errors import FormatError
from hft_mmap.files.blocks import Commit, Identity
from hft_mmap.files.boot import Boot
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.disk import sync_directory
from hft_mmap.files.head import Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.live import FLAG_CLEAN, FLAG_SYNC_FAILED
from hft_mmap.files.marks import Mark
from hft_mmap.files.names import list_files
from hft_mmap.files.view import View
from hft_mmap.tree.kernels import FAN_OUT
from hft_mmap.tree.words import FLAGS, FLAGS_CHECK, HOME, START, TOTAL

Waiter = Callable[[BaseException | None], None]
"""Takes None once its points are on the disk, or the reason why they are not."""

Hold = Callable[[Callable[[], None]], None]
"""Does what it is given while it holds the series against every other writer, or raises SeriesBusy."""


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

    def put(self, view: View, total: int, start: int, mark: Mark | None, hold: Hold | None = None) -> None:
        """Put the points of `view` up to `total` on the disk, then a slot that says so; OSError if the disk fails.

        mark: the running checksum of the points below `total`. hold: given for the last commit, with the clean flag: it
        holds the series against other writers; SeriesBusy if another process does: then there is no slot, and all of it
        has to be done again.
        """
        begin = monotonic()
        commit = Commit(0, total, start, 0, self.boot, hold is not None, mark)
        # Under the lock of the commits: a failure is noted before any other process can vouch for the same points. The
        # next slot, of whichever process, is written when this one is on the disk: one of the two always is.
        if hold is None:
            self._committing(partial(self._put, view, commit))
        else:
            self._committing(partial(self._sync_chunks, view, total))
            hold(partial(self._committing, partial(self._record, commit)))
        self.total = total
        end = monotonic()
        self.syncs = Syncs(self.syncs.count + 1, self.syncs.seconds + end - begin, end)

    def _put(self, view: View, commit: Commit) -> None:
        """Put the points on the disk, and then the slot that speaks of them."""
        self._sync_chunks(view, commit.total)
        self._record(commit)

    def _committing(self, work: Callable[[], None]) -> None:
        """Do `work` while nobody else commits; where a sync of it fails, the flag says so before anybody else can."""
        self._head.committing(partial(self._flagging, work))

    def _flagging(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError:
            if self.sync_failed:
                # Not by a method of the head: an interrupt could come between the failure and the flag.
                words = self._head.words
                words[FLAGS] = words[FLAGS] | FLAG_SYNC_FAILED
                words[FLAGS_CHECK] = ~words[FLAGS]
            raise

    def _record(self, commit: Commit) -> None:
        """Put a commit slot on the disk; the points that it speaks of are there already."""
        if self._head.words[FLAGS] & FLAG_SYNC_FAILED:
            self.sync_failed = True
            raise OSError(errno.EIO, "a sync of this series failed in another process")
        # It is no end if another process has gone on meanwhile.
        ends = (commit.total, commit.start) == (self._head.words[TOTAL], self._head.words[START])
        commit = commit._replace(clean=commit.clean and ends)
        if commit.clean:
            # Before the slot: who appends from here on meets the flag, and takes it back first.
            self._head.raise_flag(FLAG_CLEAN)
        self._head.write_commit(commit)
        self._sync(self._head.fd)
        if not commit.clean and self._head.words[FLAGS] & FLAG_CLEAN:
            self._head.lower_flag(FLAG_CLEAN)

    def _sync(self, fd: int, *, names: bool = False) -> None:
        """Put what was written to the open file `fd`, or its `names`, on the disk, and note it if that fails.

        Whatever else fails on the way of a commit may be done again, as that a file can't be opened.
        """
        try:
            if names:
                os.fsync(fd)
            else:
                os.fdatasync(fd)
        except OSError:
            self.sync_failed = True
            raise

    def sync_head(self) -> None:
        """Put the head on the disk, so that no older one comes back, whose ring has points that are lost by now."""
        self._sync(self._head.fd)

    def _sync_names(self) -> None:
        """Put the names of the chunks on the disk."""
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._sync(fd, names=True)
        finally:
            os.close(fd)

    def take_back_clean(self) -> None:
        """Put a slot without the clean flag on the disk, before the first point after an orderly stop is published.

        The caller holds the series. OSError if the slot can't be written, or with the flag that a sync failed.
        """
        self._committing(self._take_back_clean)

    def choose(self, identity: Identity) -> None:
        """Put on the disk which columns there are, or that prices may be negative, before such a point is published.

        The caller holds the series. OSError if that can't be written, or with the flag that a sync failed.
        """

        def work() -> None:
            self._head.choose(identity)
            self._sync(self._head.fd)

        self._committing(work)

    def _take_back_clean(self) -> None:
        if self._head.words[FLAGS] & FLAG_CLEAN:
            # It vouches for what the newest slot does.
            self._head.write_commit(Commit(0, 0, 0, 0, self.boot, clean=False))
            self._sync(self._head.fd)
            self._head.lower_flag(FLAG_CLEAN)

    def _sync_chunks(self, view: View, total: int) -> None:
        """Put the points between the last commit and `total` on the disk, and the names of new chunks."""
        rolled = False
        for chunk in view.chunks:
            if chunk.first + self._layout.points > self.total and chunk.first < total:
                with self._unless_cleaned_up(chunk):
                    for fd in chunk.writers():
                        self._sync(fd)
                rolled |= chunk.first >= self.total
        if rolled:
            self._sync_names()

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
                for part in chunk.parts:
                    # A damaged seal stays as it is, for verify to find.
                    with suppress(FormatError), self._unless_cleaned_up(chunk):
                        if part.read_seal() is None:
                            part.seal()
                            self._sync(part.writer())
                chunk.sealed = True
                chunk.close_writer()
                chunk.forget_pages()

    def unlink_below(self, start: int) -> None:
        """Unlink the chunks wholly below `start`, which a commit slot on the disk already holds.

        While nobody else commits, and so nobody renames the directory: another series could have its name.
        """
        self._committing(partial(self._unlink_below, start))

    def _unlink_below(self, start: int) -> None:
        if os.stat(self._head.path).st_ino != self._head.inode:
            return
        for first, name in list_files(self._directory):
            if first + self._layout.points <= start:
                (self._directory / name).unlink(missing_ok=True)
        self._sync_names()

    # -- after a failed sync ------------------------------------------------------------------------------------------

    def fail(self) -> None:
        """Tell the other processes of this boot, and the next opening, that memory and disk may differ."""
        self._head.committing(partial(self._head.raise_flag, FLAG_SYNC_FAILED))

    def keep_in_memory(self, view: View, total: int) -> None:
        """Keep the points of `view` up to `total` that no commit vouches for in memory: the disk may not have them."""
        for chunk in view.chunks:
            begin, end = max(self.total - chunk.first, 0), min(total - chunk.first, self._layout.points)
            if begin < end:
                chunk.keep_in_memory(begin // FAN_OUT * FAN_OUT, end)

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
            if found.origin == "copy" and not chunk.has_nodes(0, end):
                begin = 0  # the values have proved themselves, and may have been copied without their nodes
            if begin < end:
                columns = [column.values[begin:end].copy() for column in chunk.columns]
                chunk.write(begin, chunk.values[begin:end].copy(), columns)
                chunk.write_footer_again()

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
        self._head.store(HOME, self._head.inode)
        self._head.settle_words()
        self._head.lower_flag(FLAG_SYNC_FAILED | FLAG_CLEAN)
