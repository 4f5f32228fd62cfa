"""A directory of series: append, commit, verify, repair, snapshot, close; the rest of it is in `hft_mmap.directory`."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn, Self

from hft_mmap import forks
from hft_mmap.batch import Prices, as_row, check_prices
from hft_mmap.counters import EventCounter, EventSink
from hft_mmap.directory.watch import Watch
from hft_mmap.durable.flusher import Flusher
from hft_mmap.durable.groups import GroupsReport, summarise
from hft_mmap.durable.recovery import copied_from
from hft_mmap.durable.repair import RepairReport, repair_directory
from hft_mmap.durable.snapshot import snapshot_series
from hft_mmap.durable.together import together
from hft_mmap.durable.verify import VerifyReport, verify_directory
from hft_mmap.errors import (
    OffsetConflict,
    OutOfRange,
    SeriesRemoved,
    SeriesSetAside,
    StoreForked,
    StoreReadOnly,
    StoreUnusable,
    SymbolNotFound,
)
from hft_mmap.files.disk import make_directory
from hft_mmap.files.layout import GROUPS, Group, groups_named
from hft_mmap.files.names import OWNER_NAME, directory_name, validate_symbol
from hft_mmap.limits import Durability, Late, Limits
from hft_mmap.series import Series
from hft_mmap.ticks import Appended, Sizes, Ticks, Times, as_ticks, check_ticks, raise_late

ALL_GROUPS = tuple(group.name for group in GROUPS)
"""The names of what `Store.summarise` makes."""
MAX_SYNC_INTERVAL_MS = 60_000
CLOSE_WAIT_S = 5.0
"""How long `Store.close` waits for other processes, for all series together."""
_DEAD_FLUSHER_S = 1.0
"""How often who waits for the disk looks whether the flusher lives."""


class Store(Watch):
    """The series below one data directory.

    Any number of processes may have it open at once: writers take turns for each series, readers never wait. Each opens
    its own: in a child of `fork` a store that was opened before is StoreForked. All
    methods may be called from any thread. Use it as a context manager, or call `close`: that writes the clean flag.
    """

    def __init__(  # noqa: PLR0913 - each is one thing to say about a store
        self, path: str | os.PathLike[str], *, mode: Literal["a", "r"] = "a", limits: Limits | None = None,
        durability: Durability | str = Durability.INTERVAL, sync_interval_ms: int = 50,
        on_event: EventSink | None = None, create_on_append: bool = True,
        owner: Literal["", "cluster"] = "",
    ) -> None:  # fmt: skip
        """Open the store at `path`, made if it is missing (mode "a"), or only read one that exists (mode "r").

        limits: what it may hold (`Limits()` by default). durability: see `Durability`. sync_interval_ms: 1 to 60000.
        on_event: called with (name, fields) for "opening", "series_created", "series_removed", "series_renamed",
        "series_restored", "recovery", "cleanup", "read_only", "removed", "set_aside", "disk_full", "write_failed",
        "callback_failed", "groups_failed" and "file_system" (one not known to keep a commit's promise), from whichever
        thread it happens in; what it raises is logged, and stops nothing.
        owner: "cluster" for a replica of a shard, whose directory no other process may write to.
        create_on_append: whether a batch for a symbol that does not exist makes it; else `create` has to.
        StoreUnusable if the directory can't be used, ValueError for a bad option. Costs the same whatever the number
        of points.
        """
        if mode not in {"a", "r"}:
            message = f'mode must be "a" or "r", not {mode!r}'
            raise ValueError(message)
        if isinstance(sync_interval_ms, bool) or not 1 <= sync_interval_ms <= MAX_SYNC_INTERVAL_MS:
            message = f"sync_interval_ms must be from 1 to {MAX_SYNC_INTERVAL_MS}, not {sync_interval_ms!r}"
            raise ValueError(message)
        if mode == "a" and not owner:
            _refuse_that_of_a_replica(Path(path))
        super().__init__(
            Path(path), read_only=mode == "r", create_on_append=create_on_append,
            limits=limits if limits is not None else Limits(), durability=Durability(durability),
            on_event=EventCounter(on_event),
        )  # fmt: skip
        self._flusher = None if self.read_only else self._make_flusher(sync_interval_ms)
        forks.watch(self)
        self._open()

    def _make_flusher(self, sync_interval_ms: int) -> Flusher:
        """Return what makes the commits; `hft_mmap.testing` has another that is stepped by hand."""
        return Flusher(self.durability, sync_interval_ms)

    def leave_to_parent(self) -> None:
        """Refuse every use from now on, since this process was forked; `close` and the end of a `with` do nothing."""
        self.__dict__.clear()
        self.__class__ = _Forked

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: TypeError."""
        message = f"a Store can't be sent to another process: open one there, Store({str(self.path)!r})"
        raise TypeError(message)

    # -- writing ------------------------------------------------------------------------------------------------------

    def append_nowait(
        self, symbol: str, values: Prices, *, offset: int | None = None, wait_s: float | None = None
    ) -> int:  # fmt: skip
        """Append a batch whole or refuse it untouched, creating the symbol; return the new total, wait for no sync.

        With `offset` the batch is taken only if it belongs exactly there (see `Series.append_nowait`). Another process
        that holds the series is waited for `wait_s` seconds, then it is SeriesBusy; None: however long. With 0 it is
        for callers that must not be held up, such as an event loop: they try again a little later.
        """
        series = self._series.get(symbol)
        if series is None:
            validate_symbol(symbol)
            values = check_prices(as_row(values), signed=self.limits.negative_prices)
            if offset and not self._exists(symbol):
                message = f"offset {offset} does not fit: {symbol} does not exist yet, its total is 0"
                raise OffsetConflict(message, 0)
            self.limits.check_batch(values.shape[0])
            series = self._find_or_create(symbol, values.shape[0], wait_s, create=self.create_on_append)
        try:
            return series.append_nowait(values, offset=offset, wait_s=wait_s)
        except SeriesRemoved:
            if not series.has_left:  # but was removed by hand, with what was appended to it
                raise
        self._forget(symbol)
        return self.append_nowait(symbol, values, offset=offset, wait_s=wait_s)

    def append_ticks_nowait(
        self, symbol: str, batch: Ticks, *, offset: int | None = None, wait_s: float | None = None
    ) -> Appended:  # fmt: skip
        """Append points with times, sizes or both, as `append_nowait` those without, and say how many came late.

        batch: of `as_ticks`. See `Series.append_ticks_nowait`.
        """
        series = self._series.get(symbol)
        if series is None:
            validate_symbol(symbol)
            batch = check_ticks(batch, signed=self.limits.negative_prices)
            n = len(batch.prices)
            if offset and not self._exists(symbol):
                message = f"offset {offset} does not fit: {symbol} does not exist yet, its total is 0"
                raise OffsetConflict(message, 0)
            self.limits.check_batch(n)
            if self.limits.late is Late.REFUSE and not self._exists(symbol):
                raise_late(batch, None, symbol, 0)
            series = self._find_or_create(symbol, n, wait_s, create=self.create_on_append, kinds=batch.kinds)
        try:
            return series.append_ticks_nowait(batch, offset=offset, wait_s=wait_s)
        except SeriesRemoved:
            if not series.has_left:
                raise
        self._forget(symbol)
        return self.append_ticks_nowait(symbol, batch, offset=offset, wait_s=wait_s)

    def append(
        self, symbol: str, values: Prices, *, times: Times | None = None, sizes: Sizes | None = None,
        time_unit: str = "ns", offset: int | None = None,
    ) -> int:  # fmt: skip
        """Append a batch whole or refuse it untouched, creating the symbol; return the new total.

        times, sizes: one for each value. The first batch of a series says which of them it has, and every later one
        brings the same (ColumnsDiffer). times: whole numbers of `time_unit` ("ns", "us", "ms", "s") since 1970 UTC,
        datetime64, or datetimes with a time zone. One that lies before that of the point before it is late, and stored
        as that, or refused (`Limits.late`: LateTimes). sizes: finite, + bought and - sold. InvalidTimes, InvalidSizes.

        values: one row of prices (finite, 0 <= x <= 1e140; with `Limits.negative_prices` from -1e140 on), a float64
        array for speed. Visible to every reader, in
        any process, when this returns; in tier `sync` also on the disk. Errors: InvalidSymbol, InvalidValues,
        SymbolLimitReached, OffsetConflict, DiskFull, WriteFailed, SeriesReadOnly, SeriesSetAside, StoreReadOnly,
        StoreClosed (in tier `sync`, from an append that waited for the disk during `close`: the batch was stored).
        O(n): about 4 us and 4 ns a point.
        """
        if times is None and sizes is None:
            total = self.append_nowait(symbol, values, offset=offset)
        else:
            total = self.append_ticks_nowait(symbol, as_ticks(values, times, sizes, time_unit), offset=offset).total
        if self.durability is Durability.SYNC:
            self.wait_durable(symbol, total)
        return total

    def on_durable(self, symbol: str, total: int, callback: Callable[[BaseException | None], None]) -> None:
        """Call `callback(None)` once the points of `symbol` below `total` are on the disk, or with what failed.

        At once if they already are, else from the flusher's thread. In tier `process` that may take until `sync`.
        """
        self._find(symbol).on_durable(total, callback)

    def wait_durable(self, symbol: str, total: int) -> None:
        """Return once the points of `symbol` below `total` are on the disk; SeriesReadOnly if that failed.

        OutOfRange if the series does not hold so many: nobody can say when it will.
        """
        start, held = self._find(symbol).bounds()
        if total > held:
            message = f"points below {total} of {symbol} do not exist: it ends at total {held}"
            raise OutOfRange(message, start, held)
        # No Event: an interrupt while it is waited for may leave its lock taken, and the flusher waiting for that. This
        # lock is only given back there, never waited for.
        outcome: list[BaseException | None] = []
        untold = threading.Lock()
        untold.acquire()

        def tell(error: BaseException | None) -> None:
            outcome.append(error)
            untold.release()

        self.on_durable(symbol, total, tell)
        while not untold.acquire(timeout=_DEAD_FLUSHER_S):
            if self._flusher is not None:
                self._flusher.look_after()
        if outcome[0] is not None:
            raise outcome[0]

    def sync(self) -> None:
        """Put everything appended so far on the disk, whatever the tier; SeriesReadOnly if the disk fails.

        Also what a process has appended that was killed, to symbols that nobody has used since.
        """
        if self._flusher is None:
            return
        self._look_at_unfinished()
        with self._lock:
            open_series = list(self._series.values())
        for series in open_series:
            total = series.total
            series.ask()
            self.wait_durable(series.symbol, total)

    def retain(self, max_data_retention: int, cleanup_keep_count: int) -> None:
        """Keep so many points a symbol from the next append of this process on; ValueError as of `Limits`."""
        limits = replace(
            self.limits, max_data_retention=max_data_retention, cleanup_keep_count=cleanup_keep_count
        )  # fmt: skip
        with self._lock:
            self.limits = limits
            open_series = list(self._series.values())
        for series in open_series:
            series.limit(limits)

    # -- maintenance --------------------------------------------------------------------------------------------------

    def _directories(self, symbol: str | None) -> list[tuple[str, Path]]:
        """Return symbol and directory of `symbol`, or of every series on the disk, served or not."""
        if symbol is not None:
            validate_symbol(symbol)
            if not (self.path / directory_name(symbol)).is_dir():
                raise SymbolNotFound(symbol)
        names = sorted(os.listdir(self.path)) if symbol is None else [directory_name(symbol)]
        found = [(found, self.path / name) for name in names if (found := self._symbol_in(name)) is not None]
        return [(one, path) for one, path in found if symbol is not None or copied_from(path) is None]

    def verify(self, symbol: str | None = None) -> list[VerifyReport]:
        """Check every file of `symbol`, or of all symbols, bit for bit against its values; O(N).

        Reports faults, changes nothing, and may run beside writers in any process. SymbolNotFound.
        """
        return [verify_directory(path, found, self._boot) for found, path in self._directories(symbol)]

    def repair(self, symbol: str | None = None) -> list[RepairReport]:
        """Rebuild the nodes and seals of `symbol`, or of all symbols, where they differ from the values; O(N).

        Never touches a value. Processes that have the store open have to be restarted afterwards. SymbolNotFound,
        StoreReadOnly.
        """
        if self.read_only:
            message = 'the store was opened with mode="r"'
            raise StoreReadOnly(message)
        return [repair_directory(path, found, self._boot) for found, path in self._directories(symbol)]

    def summarise(self, symbol: str | None = None, *, groups: Iterable[str] = ALL_GROUPS) -> list[GroupsReport]:
        """Make `groups` for what is stored of `symbol`, or of all symbols, or bring them up to the newest points.

        groups: "returns" (for rv, volatility, path), "extremes" (drawdown, runup), "moments" (skew, kurtosis, slope,
        r2), "trades" (volume, signed_volume, vwap, twap, gap; of points with times or sizes): with them these
        statistics cost microseconds for any window. No point is touched, and no answer changes by more than its
        documented error. Beside writers in any process; done again, it goes on where it was interrupted. O(N), 3 to 14
        ns a point and group. SymbolNotFound, StoreReadOnly, ValueError for a group that there is not.
        """
        if self.read_only:
            message = 'the store was opened with mode="r"'
            raise StoreReadOnly(message)
        wanted = groups_named(groups)
        if symbol is not None:
            return [self._summarised(symbol, wanted)]
        found = []
        for one in self._symbols():
            with suppress(SymbolNotFound, SeriesSetAside):  # `reasons` names them
                found.append(self._summarised(one, wanted))
        return found

    def _summarised(self, symbol: str, groups: tuple[Group, ...]) -> GroupsReport:
        series = self._find(symbol)
        moment, start, total = series.part()
        return summarise(symbol, (moment.view, start, total), groups, lambda: series.start)

    def snapshot(self, target: str | os.PathLike[str]) -> dict[str, int]:
        """Copy the store as it stands to the directory `target`, new or empty; return the total of each symbol.

        Writers go on meanwhile, in any process; each series is consistent in itself. Full chunks are shared by hard
        link where `target` is on the same file system, so the cost is at most a chunk a symbol. Series that are set
        aside are left out: `reasons` names them. StoreUnusable if `target` can't be used.
        """
        directory = Path(target)
        totals = {}
        if directory.resolve().is_relative_to(self.path.resolve()):
            message = f"snapshot directory {directory} lies in the data directory {self.path}: give one outside of it"
            raise StoreUnusable(message)
        try:
            make_directory(directory)
            if any(directory.iterdir()):
                message = f"snapshot directory {directory} is not empty"
                raise StoreUnusable(message)
            for symbol in self._symbols():
                with suppress(SymbolNotFound, SeriesSetAside):
                    source = self._proved(symbol)
                    totals[symbol] = snapshot_series(source, directory / source.name, self._boot)
        except OSError as error:
            message = f"snapshot to {directory} failed: {error}"
            raise StoreUnusable(message) from error
        return totals

    # -- closing ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Put everything on the disk, write the clean flags and refuse further calls.

        A second call does nothing, or what is left to do where the first was interrupted.

        Series that other processes hold are waited for 5 s in all; without their clean flag, the next opening goes by
        what was published, as after a kill.
        """
        self._look_at_unfinished()
        with self._lock:
            self._closed = True
        with self._ending:
            if self._looker is not None:
                self._looker.stop()
                self._looker = None  # which holds this store
            if self._flusher is not None:
                self._flusher.stop()
            deadline_s = time.monotonic() + CLOSE_WAIT_S

            def close(series: Series) -> None:
                series.close(max(deadline_s - time.monotonic(), 0.0))

            # Those with descriptors first: theirs are free then for the others, where the process has no more.
            together(close, sorted(self._series.values(), key=lambda series: series.is_resting))

    def __enter__(self) -> Self:
        """Return the open store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()


class _Forked(Store):
    """A store in a child of the process that opened it: it belongs to the parent, so that to close it does nothing."""

    def __getattribute__(self, name: str) -> object:
        if name == "close" or name.startswith("__"):
            return object.__getattribute__(self, name)
        raise StoreForked(forks.FORKED)

    def __reduce__(self) -> NoReturn:
        raise StoreForked(forks.FORKED)

    def __repr__(self) -> str:
        return "<Store of the parent of this process>"

    def close(self) -> None:
        """Do nothing."""


def _refuse_that_of_a_replica(path: Path) -> None:
    """Raise StoreUnusable for the data directory of a replica of a shard, and for one that can't be looked at."""
    try:
        is_there = (path / OWNER_NAME).exists()
    except OSError as error:
        message = f"data directory {path} can't be used: {error.strerror}"
        raise StoreUnusable(message) from error
    if is_there:
        message = (
            f"data directory {path} is that of a replica of a shard: what is written beside its log would stop the "
            f"replica; send batches to the service, or open it with mode='r'"
        )
        raise StoreUnusable(message)
