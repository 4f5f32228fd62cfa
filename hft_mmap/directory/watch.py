"""How a store stands: why it does not serve in full, what was lost, and what it has done."""

import os
import time
from bisect import bisect_right
from collections.abc import Collection
from contextlib import suppress

from hft_mmap.counters import SeriesCounters, StoreCounters
from hft_mmap.directory.lives import Lives
from hft_mmap.directory.questions import Questions
from hft_mmap.errors import HftMmapError, SeriesRemoved, StoreReadOnly
from hft_mmap.files.disk import has_space, is_nearly_full
from hft_mmap.health import Loss, Reason, try_to_create
from hft_mmap.series import Series

_LOOKED_AT = 256
"""Series that are looked up on the disk when it is asked for reasons: 15 us each, on the event loop of a service."""


class Watch(Lives, Questions):
    """The part of a store that tells how it stands. Made by `Store`."""

    _looked_up_to = ""
    """The last symbol whose files were looked up on the disk."""

    def reasons(self) -> list[Reason]:
        """Return why the store does not serve in full; empty when it does.

        The disk is looked at on each call: that it is full is known before a batch meets it, and the reason goes by
        itself when there is space.
        """
        looker = self._looker
        if looker is not None:  # a close may take it away meanwhile
            looker.look_after()
        looked_at = self._looked_at_now()
        with self._lock:
            # PERF: of the others only those that say themselves that they are gone: that takes 0.1 us each, this 4 us.
            gone = [symbol for symbol, series in self._series.items() if series.removed or series.has_left]
            for symbol in {*self._losses, *looked_at, *gone}:
                self._forget(symbol)
        self._look_again()
        with self._lock:
            found = [
                Reason(symbol, "set_aside", why) for symbol, why in sorted((self._set_aside | self._not_opened).items())
            ]
            found += [Reason(symbol, "locked", why) for symbol, why in sorted(self._held.items())]
        if self._flusher is not None and (failure := self._flusher.check()) is not None:
            found.append(Reason(None, "write_failed", failure))
        with self._lock:
            open_series = dict(self._series)
        if not self.read_only:
            for symbol in looked_at & open_series.keys():
                with suppress(SeriesRemoved):
                    open_series[symbol].check_in_place()
            reasons = [reason for one in open_series.items() if (reason := self._reason_of(*one)) is not None]
            found += sorted(reasons, key=lambda reason: str(reason.symbol))
        return found + self._directory_reasons(list(open_series.values()))

    def _look_again(self) -> None:
        """Look again at each symbol that does not serve, as the next request for it would; a reason that is over goes.

        Where one can't be opened still, for what may pass, the others of its kind wait for their turn.
        """
        for symbol in [*self._set_aside, *self._copies, *self._held]:
            with suppress(HftMmapError):
                self._find(symbol, wait_s=0)
        for symbol in list(self._not_opened):
            with suppress(HftMmapError):
                self._find(symbol, wait_s=0)
            with self._lock:
                if symbol in self._not_opened:
                    self._not_opened[symbol] = self._not_opened.pop(symbol)
                    return

    def _looked_at_now(self) -> set[str]:
        """Return which of the open series are looked up on the disk this time: all, or of many the next in turn.

        A series that was removed by hand says so itself where it is appended to, at its next commit.
        """
        with self._lock:
            symbols = sorted(self._series)
        begin = bisect_right(symbols, self._looked_up_to) if len(symbols) > _LOOKED_AT else 0
        turn = (symbols[begin:] + symbols[:begin])[:_LOOKED_AT]
        self._looked_up_to = turn[-1] if turn else ""
        return set(turn)

    @staticmethod
    def _reason_of(symbol: str, series: Series) -> Reason | None:
        """Return why an open series does not take batches, if it does not."""
        if series.removed:
            return Reason(symbol, "removed", str(series.refusal))
        if series.refusal is not None:
            return Reason(symbol, "read_only", str(series.refusal))
        trouble = series.trouble()
        return Reason(symbol, trouble.code, trouble.detail) if trouble is not None else None

    def losses(self) -> list[Loss]:
        """Return which points that were published were not there any more when their series was opened, by symbol.

        After a disk that failed, or in a copy of a store in use. The series serve what is left, all of it certain.
        """
        with self._lock:
            return [loss for _, loss in sorted(self._losses.items())]

    def _directory_reasons(self, open_series: list[Series]) -> list[Reason]:
        """Return why the directory itself does not serve; what was remembered is forgotten where it does again."""
        found: list[Reason] = []
        try:
            full = self._creation_failed_for_space or any(series.disk_full for series in open_series)
            if full or (not self.read_only and is_nearly_full(self.path)):
                if has_space(self.path):
                    self._creation_failed_for_space = False
                    for series in open_series:
                        series.disk_full = False
                else:
                    found.append(Reason(None, "disk_full", f"no space left for {self.path}"))
            if self._creation_failure is not None:
                try_to_create(self.path)
                self._creation_failure = None
        except OSError as error:
            found.append(Reason(None, "write_failed", self._creation_failure or f"{self.path} can't be used: {error}"))
        return found

    def counters(self, symbols: Collection[str] | None = None) -> StoreCounters:
        """Return how the store stands and what it has done, for monitoring; costs a stat for each chunk.

        Of the series only `symbols`, where that is given: those of them that there are, and serve.

        Counts are those of this `Store`, since it was opened. StoreClosed; StoreUnusable if there is no
        directory to be read.
        """
        now = time.monotonic()
        with self._reading():
            disk = os.statvfs(self.path)
            held = self._symbols()
            wanted = held if symbols is None else sorted(set(symbols).intersection(held))
            series = tuple(self._counters_of(one, now) for one in self._serving_of(wanted))
        aside = tuple(sorted(self._set_aside | self._not_opened))
        return StoreCounters(
            series, aside, self._on_event.counts(), disk.f_bavail * disk.f_frsize,
            disk.f_blocks * disk.f_frsize, len(held), self.unopened,
            0.0 if self._flusher is None else self._flusher.oldest_s(), len(self._series), len(self._descriptors),
        )  # fmt: skip

    def _counters_of(self, series: Series, now_s: float) -> SeriesCounters:
        # Before the totals: what was put on the disk meanwhile must not come out as more than there is.
        durable_total, syncs = series.committed_total, series.syncs
        info = series.info()
        return SeriesCounters(
            symbol=info.symbol, total=info.total, start=info.start, count=info.count, bytes=info.bytes,
            durable_total=durable_total, syncs=syncs.count, sync_s=syncs.seconds,
            last_sync_age_s=max(now_s - syncs.last_at_s, 0.0),
            cleanups=self._on_event.of("cleanup", info.symbol), recoveries=self._on_event.of("recovery", info.symbol),
            read_only=not (self.read_only or isinstance(series.refusal, StoreReadOnly | None)),
            late=series.late, latest_s=series.latest_ns / 1e9,
        )  # fmt: skip
