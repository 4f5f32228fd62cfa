"""What a series does after a sync that failed: keeps what memory has, and ends before what is lost there already."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np

from hft_mmap.durable import recovery
from hft_mmap.durable.trust import Trusted, ending, trust
from hft_mmap.errors import FormatError, SeriesBusy, SeriesRemoved, StoreClosed
from hft_mmap.files.disk import SHORT_OF
from hft_mmap.files.view import View
from hft_mmap.gone import Gone
from hft_mmap.tree.words import START, TOTAL


class Failing(Gone):
    """The part of a series that has met a disk which failed. Made by `Series`."""

    _memory_kept = False

    def _kept_in_memory(self) -> bool:
        """After a failed sync: keep in memory what the disk may not have, and end before what is lost there already.

        The system may drop such pages, as they count as clean, and then shows what the disk has. Returns False, with
        all of it to be done again, if another process holds the series, or this one is short of something.
        """
        if self._memory_kept or not self._commits.sync_failed or self._head.closed:
            return True
        try:
            found = self._under_locks(self._keep_in_memory)
        except SeriesBusy:
            return False
        except OSError:  # of a kind that says nothing of what is in memory
            return False
        except (SeriesRemoved, StoreClosed):
            return True
        self._memory_kept = True
        if found.lost:
            self._tell_of_loss(found)
            self._freeze(found)
        return True

    def _under_locks(self, work: Callable[[], Trusted]) -> Trusted:
        """Return what `work` does while the series and its slots are held; OSError only of SHORT_OF, and SeriesBusy.

        Without the locks where the head can't be opened again: it may never be, and somebody waits to be told.
        """
        try:
            return self._hold(partial(self._head.committing, work), self._commit_wait_s)
        except OSError as error:
            if self._head.fd >= 0 or error.errno in SHORT_OF:
                raise
        with self._lock:
            return work()

    def _keep_in_memory(self) -> Trusted:
        """Do the work of `_kept_in_memory`, return how far the series goes. The caller holds it and is committing.

        OSError only of SHORT_OF, with nothing decided.
        """
        total, committed = self._words[TOTAL], self._commits.total
        why = ""
        try:
            view = self._current(total)
            self._commits.keep_in_memory(view, total)
            found = trust(self._head, self._commits.boot, self.directory, self._layout)
            if found.proved and not self._has_nodes(view, found):
                self._commits.write_again(view, found)
        except (OSError, FormatError) as error:
            if isinstance(error, OSError) and error.errno in SHORT_OF:
                raise
            why = f"after a failed sync, memory has lost more than values: {error}"
        if why:
            start = min(self._words[START], committed)
            slot_start = start
            with suppress(OSError):
                slot_start = min([start, *(slot.start for slot in self._head.commits()[:1])])
            found = Trusted(
                total, start, "live", committed, start, sync_failed=True, orderly=False, slot_start=slot_start
            )
            found = ending(found, committed, None, why)
        if found.lost:
            recovery.publish(self._head, found, self._commits.boot)
        return found

    def _freeze(self, found: Trusted) -> None:
        """Serve what is left, as it is now, whatever becomes of the live words.

        Who opens the series anew goes on behind it, in another file in place of one that is mapped here, and with other
        roots. What this process had let go of is not mapped any more, and comes back with the next opening.
        """
        words = np.zeros(len(self._head.words), dtype=np.int64)
        words[TOTAL], words[START] = found.total, min(max(found.start, self._view.first), found.total)
        chunks, view = self._view.chunks, View.empty(self._layout, self._view.first)
        for chunk in chunks:
            if chunk.first == view.end < found.total:
                view = view.extended(chunk)
        self._follow_words(words.data)
        self._view = view
