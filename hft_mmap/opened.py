"""How a series is opened: how far it goes is decided, published, mapped, and put on the disk where it has to be."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from hft_mmap.durable import recovery
from hft_mmap.durable.groups import remove_ahead
from hft_mmap.durable.trust import Trusted, trust
from hft_mmap.errors import FormatError, SeriesRemoved
from hft_mmap.files.boot import Boot, current_boot, is_same_boot
from hft_mmap.files.disk import SHORT_OF
from hft_mmap.files.live import FLAG_LEFT
from hft_mmap.files.view import View
from hft_mmap.health import Loss
from hft_mmap.tick_appender import TickAppender
from hft_mmap.tree.words import FLAGS, SALT, START, TOTAL


class Opened(TickAppender):
    """The part of a series that finds out how far it goes. Made by `Series`."""

    _untold: Trusted | None = None
    _commit_wait_s: float | None = None
    _looked_at: Boot | None = None

    def _open(self, boot: Boot) -> None:
        """Decide how far the series goes, and map its chunks."""
        if self._waker is None:
            self._attach(boot)
            return
        leftovers: list[str] = []
        settle = partial(self._head.committing, partial(self._settle, boot, leftovers))
        try:
            failure = self._hold(settle, self._commit_wait_s)
        finally:
            # Also where it ends here: the next opening finds a series that ends there, and nothing to tell.
            if self._untold is not None:
                self._tell_of_recovery(self._untold, leftovers)
        self.attached = True
        if failure is not None:
            self._fail(failure)
        self.ask()

    def _settle(self, boot: Boot, leftovers: list[str]) -> OSError | None:
        """Find what can be trusted, publish that, map it and put it on the disk where it has to be; remove leftovers.

        Returns why the disk does not take it, if it does not, and adds the names of the leftovers to `leftovers`. The
        caller holds the series and is committing.
        """
        self._look_at_columns()
        trusted = partial(trust, self._head, boot, self.directory, self._layout)
        recovered = recovery.settle(self._head, trusted(), trusted)
        recovery.check_chunks(self.directory, recovered, self._layout)
        if recovered.origin == "live":
            self._tell_of_untold()
        # Nothing is written or removed before every chunk has proved sound: a series set aside stays as it is.
        view = self._mapped(View.empty(self._layout, self._floor(recovered.start)), recovered.total)
        self._commits.begin(boot, recovered.committed_total)
        self._publish(recovered)
        recovered, failure = self._made_good(view, recovered, trusted)
        if recovered.proved or recovered.sync_failed:
            # Its roots were made of the nodes that were there before, and it may have become shorter.
            chunks, view = view.chunks, View.empty(self._layout, self._floor(recovered.start))
            for chunk in chunks:
                if chunk.first == view.end < recovered.total:
                    view = view.extended(chunk)
            view = self._mapped(view, recovered.total)
        recovery.remove_leftovers(self.directory, recovered, self._layout.points, leftovers)
        # A cleanup that no slot speaks of yet: the next commit ends it.
        self._unlinked_below = min(recovered.committed_start, recovered.start)
        self._ask_from_now()
        if (recovered.origin != "live" or recovered.lost) and view.chunks and recovered.total < view.end:
            view.chunks[-1].unseal()
            remove_ahead(view.chunks[-1], recovered.total - view.chunks[-1].first)
        self._follow_words(self._head.words)
        self._set_tail(view.of_era(self._words[SALT]))
        return failure

    def _attach(self, boot: Boot) -> None:
        """Open for reading only: follow the live words if a process of this boot wrote them, else the newest commit."""
        while True:
            era = self._head.words[SALT]  # before the look: what is lost after it is seen
            recovered, self._layout = recovery.look(self._head, boot, self.directory)
            self.attached = recovered.origin == "live" and not recovered.lost
            if self.attached:
                self._follow_words(self._head.words)
            else:
                words = np.zeros(len(self._head.words), dtype=np.int64)
                words[TOTAL], words[START] = recovered.total, recovered.start
                self._follow_words(words.data)
            try:
                nothing = View.empty(self._layout, self._floor(recovered.start), era if self.attached else 0)
                self._view = self._mapped(nothing, recovered.total)
            except FileNotFoundError:
                # A cleanup in another process may have moved `start` since: then look again, else a chunk is missing.
                if not self.attached or self._words[START] == recovered.start:
                    recovery.check_chunks(self.directory, recovered, self._layout)
                    raise
            else:
                self._check_nodes(recovered)
                self._commits.begin(boot, recovered.committed_total)
                return

    def _check_nodes(self, recovered: Trusted) -> None:
        """Make sure that values that have proved themselves have their nodes: who only reads can't make them anew.

        FormatError if not. Costs as much as the proof.
        """
        if recovered.proved and not self._has_nodes(self._view, recovered):
            raise FormatError(
                f"{self.symbol} has lost what summarises its values, which are all there; a store that is opened for "
                "writing makes it anew"
            )

    def _has_nodes(self, view: View, recovered: Trusted) -> bool:
        """Say whether the values that have proved themselves have the nodes that they give."""
        certain = 0 if recovered.origin == "copy" else recovered.committed_total
        for chunk in view.chunks:
            begin, end = max(certain - chunk.first, 0), min(recovered.total - chunk.first, self._layout.points)
            if begin < end and not chunk.has_nodes(begin, end):
                return False
        return True

    def refresh(self) -> None:
        """Follow the live words from now on, if a writer has opened the series since it was opened for reading."""
        if self.removed:
            raise SeriesRemoved(self._removed_text())
        # As long as the live words are those of the same opening there is nothing to look up.
        if not self.attached and (live := self._head.live_boot()) != self._looked_at:
            boot = current_boot()
            with self._lock:
                if is_same_boot(live, boot):
                    self._attach(boot)
                self._looked_at = live

    def _publish(self, found: Trusted) -> None:
        """Publish how far the series goes; what was found is to be told, whatever comes then."""
        self._untold = found
        recovery.publish(self._head, found, self._commits.boot)

    def _tell_of_recovery(self, found: Trusted, leftovers: list[str]) -> None:
        """Tell how a series was found that was not left in order, and what was lost."""
        if found.lost:
            self._tell_of_loss(found)
        if not found.orderly and (found.total or found.origin != "live"):
            self._on_event(
                "recovery",
                {
                    "symbol": self.symbol, "origin": found.origin, "total": found.total, "start": found.start,
                    "leftovers": leftovers,
                },
            )  # fmt: skip

    def _tell_of_loss(self, found: Trusted) -> None:
        """Tell what was lost, and then note that somebody was told."""
        self._on_event("lost", Loss(self.symbol, found.lost, found.total, found.why)._asdict())
        self._head.loss_told()

    def _tell_of_untold(self) -> None:
        """Tell what others found to be lost, that were killed before they could tell. The caller holds the series."""
        noted = self._head.untold()
        if noted is None or self._head.words[TOTAL] == noted[1]:  # nor did they publish it: it is found again
            return
        begin, end = noted
        why = "it was found by a process that was killed before it could tell how it showed"
        self._on_event("lost", Loss(self.symbol, end - begin, begin, why)._asdict())
        self._head.loss_told()

    def _made_good(
        self, view: View, recovered: Trusted, trusted: Callable[[], Trusted]
    ) -> tuple[Trusted, OSError | None]:
        """Write again what no slot vouches for, and after a failed sync put it on the disk; return how far that goes.

        And why not, if the disk still fails. The memory that the proof has read may have been dropped before it was
        written again: so the proof is made once more, of what was written. Where less is left then, the series may
        begin earlier as well, and all of that has to be written.
        """
        try:
            if recovered.proved:
                self._commits.write_again(view, recovered)
            if recovered.sync_failed:
                while (again := trusted()).total < recovered.total:
                    recovered = replace(again, lost=again.lost + recovered.lost)
                    self._publish(recovered)
                    view = self._mapped(View.empty(self._layout, self._floor(recovered.start)), recovered.total)
                    if recovered.proved:
                        self._commits.write_again(view, recovered)
                self._commits.make_good(view, recovered)
            elif recovered.lost or recovered.origin == "rolled_back":
                self._commits.sync_head()
        except OSError as error:
            if error.errno in SHORT_OF or not (recovered.sync_failed or self._commits.sync_failed):
                raise
            return recovered, error
        return recovered, None

    @property
    def has_left(self) -> bool:
        """Whether the series was removed, or given another name, since it was opened; at once known in any process."""
        return bool(self.live_words[FLAGS] & FLAG_LEFT) and self._has_left()

    def _removed_text(self) -> str:
        """Say that the files are gone."""
        if self.has_left:
            return self._left_text()
        return (
            f"{self.symbol} was removed or replaced while it was open ({self.directory}): it serves nothing, "
            "and what was appended since is lost; restart the service to go on with what is there"
        )

    def _ask_from_now(self) -> None:
        """Set from which `total` on appends ask for a commit: at the next point, or only at the next roll."""
        points = 1 if self._wake_on_append else self._layout.points
        self._ask_from = (self._commits.total // points + 1) * points
