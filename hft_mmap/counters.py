"""What a store has done and how it stands, in numbers: for monitoring."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hft_mmap.health import Loss

EventSink = Callable[[str, Mapping[str, object]], None]
"""Takes the name of an event and its fields; called from whichever thread it happens in, often with a lock held."""

_log = logging.getLogger("hft_mmap")


@dataclass(frozen=True, slots=True)
class SeriesCounters:
    """How one series stands.

    durable_total: points that are on the disk as far as this process knows. syncs, sync_s: how often this process has
    put points on the disk, and how long that took in all. last_sync_age_s: since the last of them, or since the series
    was opened. cleanups, recoveries: in this process. late, latest_s: points that this process has stored with a later
    time than they came with, and by how much at most. read_only: the disk has failed, batches are refused.
    """

    symbol: str
    total: int
    start: int
    count: int
    bytes: int
    durable_total: int
    syncs: int
    sync_s: float
    last_sync_age_s: float
    cleanups: int
    recoveries: int
    read_only: bool
    late: int = 0
    latest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StoreCounters:
    """How a store stands: its series by symbol, the symbols that are set aside, events by name, and the disk below it.

    symbols: how many it holds, those among them that `series` leaves out because nobody asked for them. unopened: those
    that were neither used nor looked at since the start. oldest_s: how long a point has waited, at most, to be put on
    the disk that is asked for; 0.0 where none does. open: how many were used since the start, and are mapped.
    with_files: those among them that have files open now.
    free_bytes: what the file system has left for this user; size_bytes: what it has in all.
    """

    series: tuple[SeriesCounters, ...]
    set_aside: tuple[str, ...]
    events: Mapping[str, int]
    free_bytes: int
    size_bytes: int
    symbols: int
    unopened: int
    oldest_s: float
    open: int
    with_files: int


@dataclass(frozen=True, slots=True)
class Syncs:
    """How often one open series was put on the disk, how long that took in all, and when (monotonic) the last ended."""

    count: int
    seconds: float
    last_at_s: float


class EventCounter:
    """Counts events by name on their way to `sink`; those of `PER_SYMBOL` also by symbol."""

    # Only of symbols that exist: others can be made up by whoever sends batches to a full disk, without end.
    PER_SYMBOL = frozenset({"cleanup", "recovery"})

    def __init__(self, sink: EventSink | None) -> None:
        """Start from nothing."""
        self._sink = sink
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._counts_by_symbol: Counter[tuple[str, object]] = Counter()
        self.losses: dict[str, Loss] = {}
        """What each symbol has lost, as it was told: that stays true, whatever becomes of the opening that found it."""

    def __call__(self, name: str, fields: Mapping[str, Any]) -> None:
        """Count one event and pass it on. A sink that raises is logged and counted, as "sink_failed", and goes on.

        Whoever tells of an event is in the middle of an append, a commit or an opening: what a sink raises must not
        end the flusher of all series, nor pass for a fault of the disk.
        """
        with self._lock:
            self._counts[name] += 1
            if name in self.PER_SYMBOL:
                self._counts_by_symbol[name, fields["symbol"]] += 1
            if name == "lost":
                loss = Loss(**fields)
                self.losses[loss.symbol] = loss
        if self._sink is None:
            return
        try:
            self._sink(name, fields)
        except Exception:  # noqa: BLE001 - whatever it is, it is no fault of whoever tells the event
            with self._lock:
                self._counts["sink_failed"] += 1
            _log.exception("the event sink failed at %s %s", name, dict(fields))

    def counts(self) -> dict[str, int]:
        """Return how many events of each name there were, in the order in which the names came up."""
        with self._lock:
            return dict(self._counts)

    def of(self, name: str, symbol: str) -> int:
        """Return how many events of `name`, one of `PER_SYMBOL`, there were for `symbol`."""
        with self._lock:
            return self._counts_by_symbol[name, symbol]
