"""How a series notices that its files are gone, or have another name, and lets go of them."""

import os
from contextlib import suppress

from hft_mmap.errors import FormatError, HftMmapError, SeriesRemoved
from hft_mmap.files.view import View
from hft_mmap.health import Refusal
from hft_mmap.opened import Opened
from hft_mmap.tree.words import SALT, TOTAL


class Gone(Opened):
    """The part of a series that ends with its files. Made by `Series`.

    Whoever remembers such a series keeps nothing of the disk by that: neither space nor a descriptor.
    """

    def check_in_place(self) -> None:
        """Raise SeriesRemoved, and refuse batches from now on, if the files are no longer those of the directory."""
        if self.is_gone():
            raise SeriesRemoved(self._removed_text())

    def is_gone(self) -> bool:
        """Say whether the head has lost its name, to nothing or to another file; two looks at the file system.

        A directory that was only moved still has the file: what is appended is there when it is moved back. Where
        the system does not tell what is mapped (/proc), a series without descriptors counts as removed by that.
        """
        if not self.removed and self.has_left:
            self._let_go_of_files(self._left_text())
        if not (self.removed or self._head.closed):
            gone = False
            with suppress(OSError):  # a disk that can't be asked says nothing of names
                try:
                    there = os.stat(self._head.path)
                    gone = (there.st_dev, there.st_ino) != (self._head.device, self._head.inode)
                except (FileNotFoundError, NotADirectoryError):
                    with self._lock:
                        gone = not self._head.has_name
            if gone and self._let_go_of_files(self._removed_text()):
                self._on_event("removed", {"symbol": self.symbol, "durable_total": self.committed_total})
        return self.removed

    def _let_go_of_files(self, why: str) -> bool:
        """Refuse every batch from now on, and unmap the files; False where another thread has done so already.

        Who reads at this moment keeps what it has taken of them, and who comes later finds no point. Descriptors are
        closed by the flusher, which may be using them.
        """
        with self._lock:
            if self.removed:
                return False
            self._refused = Refusal(SeriesRemoved, why)
            self._plan = self._tick_plan = None
            # The next to look for the series goes the long way, and meets the refusal.
            self.attached = False
            self.removed = True
            self._head.detach()
            self.live_words = self._head.words
            # Words before the view, as readers take them the other way round.
            self._follow_words(self.live_words)
            self._view = View.empty(self._layout, self._words[TOTAL], self._words[SALT])
        self.ask()
        return True

    @property
    def committed_total(self) -> int:
        """Points that the newest commit vouches for: what a power loss leaves."""
        return self._commits.total

    def _not_written(self, n: int, error: OSError | FormatError) -> HftMmapError:
        """Return the error that tells a caller why a batch was not stored; SeriesRemoved where that is why."""
        if isinstance(error, FileNotFoundError) and self.is_gone() and self._refused is not None:
            return self._refused.error()
        return super()._not_written(n, error)
