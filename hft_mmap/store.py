"""A directory of series: open, find, create, limits, health."""

import errno
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hft_mmap import forks
from hft_mmap.answers import Passage, Point, Rank, across
from hft_mmap.batch import Prices, as_row, check_prices
from hft_mmap.counters import EventCounter, EventSink, SeriesCounters, StoreCounters
from hft_mmap.durable.flusher import Flusher
from hft_mmap.durable.repair import RepairReport, repair_directory
from hft_mmap.durable.snapshot import snapshot_series
from hft_mmap.durable.verify import VerifyReport, verify_directory
from hft_mmap.errors import (
    DiskFull,
    FormatError,
    HftMmapError,
    OffsetConflict,
    OutOfRange,
    SeriesBusy,
    SeriesRemoved,
    SeriesSetAside,
    StoreClosed,
    StoreForked,
    StoreReadOnly,
    StoreUnusable,
    SymbolLimitReached,
    SymbolNotFound,
    WriteFailed,
)
from hft_mmap.files.boot import Boot, current_boot
from hft_mmap.files.chunk import Chunk, Layout, Mark, list_chunks
from hft_mmap.files.disk import file_system_of, has_space, is_nearly_full, make_directory, sync_directory
from hft_mmap.files.head import HEAD_NAME, Commit, Head, Identity
from hft_mmap.files.locks import attempts, locked
from hft_mmap.files.names import directory_name, symbol_of, validate_symbol
from hft_mmap.health import Loss, Reason, try_to_create
from hft_mmap.limits import Durability, Limits
from hft_mmap.named import FIVE, Columns
from hft_mmap.reader import SeriesInfo
from hft_mmap.series import Series
from hft_mmap.span import Span
from hft_mmap.stats import WindowStats
from hft_mmap.tree.compiled import numba_is_off
from hft_mmap.tree.kernels import FAN_OUT

LOCK_NAME = ".lock"
TRUSTED_FILE_SYSTEMS = frozenset({"ext4", "xfs"})
"""File systems whose fsync is known to put data and names on the disk."""
MAX_SYNC_INTERVAL_MS = 60_000
MAKING_PREFIX = ".making-"
PASSING = frozenset(
    {
        errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.EIO, errno.ENOSPC, errno.EDQUOT,
        errno.ENOLCK,
    }
)  # fmt: skip
"""What may keep a sound series from being opened: it says nothing about the files, and may be over at the next try."""


CLOSE_WAIT_S = 5.0
"""How long `Store.close` waits for other processes, for all series together."""
_HELD_WAIT_S = 1.0
"""How long the opening of a store waits for each lock that another process holds; then the series opens later."""
_DEAD_FLUSHER_S = 1.0
"""How often who waits for the disk looks whether the flusher lives."""
_OPEN_WAIT_S = 0.05
"""How long a call that meets a series for the first time waits for other processes; all other calls wait for it."""


class Store:
    """The series below one data directory.

    Any number of processes may have it open at once: writers take turns for each series, readers never wait. Each opens
    its own: in a child of `fork` a store that was opened before is StoreForked. All
    methods may be called from any thread. Use it as a context manager, or call `close`: that writes the clean flag.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, mode: Literal["a", "r"] = "a", limits: Limits | None = None,
        durability: Durability | str = Durability.INTERVAL, sync_interval_ms: int = 50,
        on_event: EventSink | None = None,
    ) -> None:  # fmt: skip
        """Open the store at `path`, made if it is missing (mode "a"), or only read one that exists (mode "r").

        limits: what it may hold (`Limits()` by default). durability: see `Durability`. sync_interval_ms: 1 to 60000.
        on_event: called with (name, fields) for "opening", "series_created", "recovery", "cleanup", "read_only",
        "removed", "set_aside", "disk_full", "write_failed", "callback_failed" and "file_system" (one not known to keep
        a commit's promise), from whichever thread it happens in; what it raises is logged, and stops nothing.
        StoreUnusable if the directory can't be used, ValueError for a bad option. Costs the same whatever the number
        of points.
        """
        if mode not in {"a", "r"}:
            message = f'mode must be "a" or "r", not {mode!r}'
            raise ValueError(message)
        if isinstance(sync_interval_ms, bool) or not 1 <= sync_interval_ms <= MAX_SYNC_INTERVAL_MS:
            message = f"sync_interval_ms must be from 1 to {MAX_SYNC_INTERVAL_MS}, not {sync_interval_ms!r}"
            raise ValueError(message)
        self.path = Path(path)
        self.limits = limits if limits is not None else Limits()
        self.durability = Durability(durability)
        self.read_only = mode == "r"
        self._on_event = EventCounter(on_event)
        self._flusher = None if self.read_only else self._make_flusher(sync_interval_ms)
        self._lock = threading.RLock()
        self._ending = threading.RLock()
        self._series: dict[str, Series] = {}
        self._set_aside: dict[str, str] = {}
        self._not_opened: dict[str, str] = {}
        self._held: dict[str, str] = {}
        self._creation_failed_for_space = False
        self._creation_failure: str | None = None
        self._closed = False
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

    @property
    def _boot(self) -> Boot:
        """The present run of the machine, at the present time.

        Read anew for each series: against the time at which this store was opened, a head that another process made
        since would lie in the future, that is, in another run of the machine.
        """
        return current_boot()

    # -- opening ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open every series; those that can't be trusted are set aside."""
        if numba_is_off():
            message = "the store needs its compiled kernels, and NUMBA_DISABLE_JIT is set: unset it"
            raise StoreUnusable(message)
        try:
            if not self.read_only:
                make_directory(self.path)
                # Whoever makes a symbol now leaves nothing behind; and if it does, the next opening finds it.
                with suppress(SeriesBusy):
                    locked(self.path / LOCK_NAME, self._remove_unfinished, _HELD_WAIT_S)
            self._check_file_system()
            names = sorted(os.listdir(self.path))
            if not self.read_only:
                # Whoever gave a series its name may have died, or failed, before that was on the disk.
                sync_directory(self.path)
        except OSError as error:
            message = f"data directory {self.path} can't be used: {error.strerror}"
            raise StoreUnusable(message) from error
        found = [symbol for name in names if (symbol := self._symbol_in(name)) is not None]
        for number, symbol in enumerate(found, start=1):
            self._on_event("opening", {"symbol": symbol, "number": number, "of": len(found)})
            try:
                self._try_open(symbol, named=True, wait_s=_HELD_WAIT_S)
            except SeriesBusy as error:
                self._held[symbol] = str(error)

    def _check_file_system(self) -> None:
        """Tell where the data lies on a file system whose syncs were not shown to hold what a commit promises."""
        kind = file_system_of(self.path)
        if kind not in TRUSTED_FILE_SYSTEMS and not self.read_only:
            self._on_event(
                "file_system", {"path": str(self.path), "kind": kind, "trusted": sorted(TRUSTED_FILE_SYSTEMS)}
            )

    def _remove_unfinished(self) -> None:
        """Remove what is left of a creation that a crash cut short; the lock shows that none is under way."""
        for unfinished in self.path.glob(f"{MAKING_PREFIX}*"):
            for file in unfinished.iterdir():
                file.unlink()
            unfinished.rmdir()

    def _try_open(self, symbol: str, *, named: bool, wait_s: float | None = None) -> Series | None:
        """Open a series whose directory exists; None, with the reason kept, if it can't be trusted.

        named: its name is on the disk for certain. A failure that may pass leaves it to the next use. SeriesBusy if
        another process holds it for longer than `wait_s` (None: however long).
        """
        directory = self.path / directory_name(symbol)
        try:
            if not (named or self.read_only):
                sync_directory(self.path)
            series = Series(
                directory, limits=self.limits, boot=self._boot, waker=self._flusher,
                wake_on_append=self.durability is not Durability.PROCESS, on_event=self._on_event, wait_s=wait_s,
            )  # fmt: skip
        except (FormatError, OSError, ValueError) as error:
            reason = str(error)
            kept = self._not_opened if isinstance(error, OSError) and error.errno in PASSING else self._set_aside
            if kept.get(symbol) != reason:
                kept[symbol] = reason
                self._on_event("set_aside", {"symbol": symbol, "reason": reason})
            return None
        self._not_opened.pop(symbol, None)
        self._held.pop(symbol, None)
        self._series[symbol] = series
        return series

    # -- finding ------------------------------------------------------------------------------------------------------

    def series(self, symbol: str) -> Series:
        """Return the series of `symbol`, also one that another process has just made.

        SymbolNotFound, SeriesSetAside, SeriesBusy (which it is only when it is met for the first time), InvalidSymbol,
        StoreClosed, StoreUnusable.
        """
        found = self._series.get(symbol)
        if found is not None and found.attached and not self._closed:
            return found
        return self._find(symbol)

    def _find(self, symbol: str) -> Series:
        """Do the work of `series` where the short way does not apply."""
        validate_symbol(symbol)
        with self._lock:
            if self._closed:
                message = "the store was closed"
                raise StoreClosed(message)
            reason = self._set_aside.get(symbol)
            if reason is not None:
                message = f"{symbol} is set aside: {reason}; its files are left as they are"
                raise SeriesSetAside(message)
            found = self._series.get(symbol)
            if found is None and self._exists(symbol):
                found = self._try_open(symbol, named=False, wait_s=_OPEN_WAIT_S)
                if found is None and symbol in self._set_aside:
                    return self._find(symbol)
                if found is None:
                    message = f"{symbol} can't be opened: {self._not_opened[symbol]}; the next request tries again"
                    raise SeriesSetAside(message)
            if found is None:
                raise SymbolNotFound(symbol)
            found.refresh()
            return found

    def _exists(self, symbol: str) -> bool:
        """Say whether there are files of `symbol`; StoreUnusable if the directory can't be looked at."""
        with self._reading():
            return (self.path / directory_name(symbol) / HEAD_NAME).exists()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Tell a data directory that can't be read by its name."""
        try:
            yield
        except OSError as error:
            message = f"data directory {self.path} can't be read: {error}"
            raise StoreUnusable(message) from error

    def __contains__(self, symbol: object) -> bool:
        """Say whether there is a series of `symbol` on the disk, served or not."""
        return isinstance(symbol, str) and symbol in self._symbols()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the symbols on the disk, in their order."""
        return iter(self._symbols())

    def __len__(self) -> int:
        """Return how many symbols there are on the disk."""
        return len(self._symbols())

    def __bool__(self) -> bool:
        """Return True: an empty store is a store."""
        return True

    def __repr__(self) -> str:
        """Tell the directory, the mode, and whether it is closed."""
        mode = 'mode="r"' if self.read_only else f'durability="{self.durability}"'
        return f"<Store {str(self.path)!r} {mode}, {'closed' if self._closed else f'{len(self._series)} series open'}>"

    def _symbols(self) -> list[str]:
        """Return every symbol there is on the disk, sorted; also those that another process has made."""
        with self._reading():
            return sorted(symbol for name in os.listdir(self.path) if (symbol := self._symbol_in(name)) is not None)

    def _symbol_in(self, name: str) -> str | None:
        """Return the symbol that the entry `name` of the data directory holds a series of, or a damaged one, or None.

        A directory with neither head nor chunks has nothing to be lost: it is no series.
        """
        symbol = symbol_of(name)
        directory = self.path / name
        if symbol is None or (directory / HEAD_NAME).is_file():
            return symbol
        return symbol if directory.is_dir() and list_chunks(directory) else None

    # -- creating -----------------------------------------------------------------------------------------------------

    def _find_or_create(self, symbol: str, n: int, wait_s: float | None = None) -> Series:
        """Return the series of `symbol`, made now, with space for `n` points, if there is none.

        SymbolLimitReached when there is no place for it, SeriesBusy where another process keeps it from being made, or
        opened, for longer than `wait_s`.
        """
        busy: SeriesBusy | None = None
        for _ in attempts(wait_s):
            try:
                return self._found_or_created(symbol, n)
            except SeriesBusy as error:
                busy = error
        raise busy or SeriesBusy(symbol)

    def _found_or_created(self, symbol: str, n: int) -> Series:
        """Do the work of `_find_or_create`, with no more than one try at the lock."""
        try:
            return self.series(symbol)
        except SymbolNotFound:
            if self.read_only:
                message = 'the store was opened with mode="r"'
                raise StoreReadOnly(message) from None
        with self._lock:
            return self._creating(symbol, n)

    def _creating(self, symbol: str, n: int) -> Series:
        """Make a series, unless another process has; they are held out meanwhile. Tells a full disk from the rest."""

        def create() -> Series:
            try:
                return self._find(symbol)
            except SymbolNotFound:
                self._check_limit(symbol)
                self._create(symbol, n)
                return self._find(symbol)

        try:
            found = locked(self.path / LOCK_NAME, create, 0)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                self._creation_failure = f"no symbol can be made in {self.path}: {error}"
                self._on_event("write_failed", {"symbol": symbol, "error": str(error)})
                message = f"{symbol} could not be created: {error}; nothing was stored"
                raise WriteFailed(message) from error
            self._creation_failed_for_space = True
            self._on_event("disk_full", {"symbol": symbol, "error": str(error)})
            message = f"no space to create {symbol}: {error.strerror}; nothing was stored, free space and send again"
            raise DiskFull(message) from error
        self._creation_failed_for_space = False
        self._creation_failure = None
        return found

    def _check_limit(self, symbol: str) -> None:
        """Refuse a symbol above the limit; counts what is on the disk, whichever process made it."""
        kept = len(self._symbols())
        if kept >= self.limits.max_symbols:
            message = (
                f"symbol limit reached: the store holds {kept} of at most {self.limits.max_symbols} symbols, "
                f"{symbol} was not added: store.max_symbols is the limit"
            )
            raise SymbolLimitReached(message)

    def _create(self, symbol: str, n: int) -> None:
        """Make the files of a new series aside, and give them their name when they are on the disk.

        They have space for the first batch, of `n` points: a full disk refuses the symbol, and leaves no empty series
        that would count against the limit.
        """
        points = self.limits.chunk_points
        identity = Identity(symbol, points, FAN_OUT, uuid.uuid4().bytes, time.time_ns())
        making = self.path / f"{MAKING_PREFIX}{uuid.uuid4().hex}"
        try:
            making.mkdir()
            mark, room = Mark.begin(), max(self.limits.starting_capacity, n)
            Head.create(making, identity, Commit(1, 0, 0, 0, self._boot, clean=False, mark=mark), live=self._boot)
            Chunk.create(making, identity.series_id, 0, Layout.of(points), room, mark)
            sync_directory(making)
            making.rename(self.path / directory_name(symbol))
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        sync_directory(self.path)
        self._on_event("series_created", {"symbol": symbol, "chunk_points": points})

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
            values = check_prices(as_row(values))
            if offset and not self._exists(symbol):
                message = f"offset {offset} does not fit: {symbol} does not exist yet, its total is 0"
                raise OffsetConflict(message, 0)
            self.limits.check_batch(values.shape[0])
            series = self._find_or_create(symbol, values.shape[0], wait_s)
        return series.append_nowait(values, offset=offset, wait_s=wait_s)

    def append(self, symbol: str, values: Prices, *, offset: int | None = None) -> int:
        """Append a batch whole or refuse it untouched, creating the symbol; return the new total.

        values: one row of prices (finite, 0 <= x <= 1e140), a float64 array for speed. Visible to every reader, in
        any process, when this returns; in tier `sync` also on the disk. Errors: InvalidSymbol, InvalidValues,
        SymbolLimitReached, OffsetConflict, DiskFull, WriteFailed, SeriesReadOnly, SeriesSetAside, StoreReadOnly,
        StoreClosed (in tier `sync`, from an append that waited for the disk during `close`: the batch was stored).
        O(n): about 4 us and 4 ns a point.
        """
        total = self.append_nowait(symbol, values, offset=offset)
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
        """Put everything appended so far on the disk, whatever the tier; SeriesReadOnly if the disk fails."""
        if self._flusher is None:
            return
        with self._lock:
            open_series = list(self._series.values())
        for series in open_series:
            total = series.total
            series.ask()
            self.wait_durable(series.symbol, total)

    # -- reading ------------------------------------------------------------------------------------------------------

    def stats(self, symbol: str, window: int) -> WindowStats:
        """Return min, max, last, avg and var of the newest `window` points of `symbol`; see `Series.stats`."""
        return self.series(symbol).stats(window)

    def windows(self, symbol: str) -> tuple[WindowStats, ...]:
        """Return the statistics of the eight standard windows of `symbol`, all of one moment."""
        return self.series(symbol).windows()

    def range(self, symbol: str, start: int, end: int) -> WindowStats:
        """Return min, max, last, avg and var of the points [start, end) of `symbol`; see `Series.range`."""
        return self.series(symbol).range(start, end)

    def statistics(
        self,
        symbol: str,
        stats: Sequence[str],
        *,
        window: int | None = None,
        at: int | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> dict[str, float | int | None]:
        """Return named statistics of a window or a range of `symbol`; see `Series.statistics`."""
        return self.series(symbol).statistics(stats, window=window, at=at, start=start, end=end)

    def stats_across(
        self,
        symbols: Sequence[str],
        stats: Sequence[str] = FIVE,
        *,
        window: int | None = None,
        at: int | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> Columns:
        """Return columns start, end and `stats` of a window or a range of each of `symbols`, in their order.

        Each series is answered as it stood at one moment of its own. About 4 us a symbol, lock-free; errors of
        `Series.statistics`: all symbols are answered, or none.
        """
        parts = [self.series(symbol).part(window=window, at=at, start=start, end=end) for symbol in symbols]
        return across(parts, stats)

    def stats_bars(
        self,
        symbol: str,
        size: int,
        start: int | None = None,
        end: int | None = None,
        *,
        stats: Sequence[str] = FIVE,
    ) -> Columns:
        """Return named statistics of `symbol` in bars of `size` points, as columns; see `Series.stats_bars`."""
        return self.series(symbol).stats_bars(size, start, end, stats=stats)

    def stats_many(self, symbol: str, starts: ArrayLike, ends: ArrayLike, stats: Sequence[str] = FIVE) -> Columns:
        """Return named statistics of many ranges of `symbol`, as columns; see `Series.stats_many`."""
        return self.series(symbol).stats_many(starts, ends, stats)

    def first(
        self,
        symbol: str,
        after: int,
        *,
        above: float | None = None,
        below: float | None = None,
        until: int | None = None,
    ) -> Passage | None:
        """Return the first point of `symbol` behind `after` that meets a barrier; see `Series.first`."""
        return self.series(symbol).first(after, above=above, below=below, until=until)

    def quantile(
        self,
        symbol: str,
        q: Sequence[float],
        *,
        window: int | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> tuple[float, ...]:
        """Return exact quantiles of a window or a range of `symbol`; see `Series.quantile`."""
        return self.series(symbol).quantile(q, window=window, start=start, end=end)

    def rank(
        self, symbol: str, value: float, *, window: int | None = None, start: int | None = None, end: int | None = None
    ) -> Rank:
        """Return how many points of `symbol` are below `value`, equal to it and above it; see `Series.rank`."""
        return self.series(symbol).rank(value, window=window, start=start, end=end)

    def asof(self, symbol: str, at: int) -> Point:
        """Return the newest point of `symbol` at or before index `at`; see `Series.asof`."""
        return self.series(symbol).asof(at)

    def window(self, symbol: str, n: int) -> NDArray[np.float64]:
        """Return the newest `n` points of `symbol`, oldest first, as a read-only array; see `Series.window`."""
        return self.series(symbol).window(n)

    def span(self, symbol: str, *, last: int | None = None, first: int | None = None, end: int | None = None) -> Span:
        """Return points of `symbol` to be read piece by piece, with no copy; see `Series.span`."""
        return self.series(symbol).span(last=last, first=first, end=end)

    def symbols(self) -> list[SeriesInfo]:
        """Return what is stored for each symbol, in the order of their names. StoreUnusable."""
        with self._reading():
            return [series.info() for series in self._serving()]

    def _serving(self) -> list[Series]:
        """Return every series that serves, in the order of their names; one that is busy when it is met comes later."""
        found = []
        for symbol in self._symbols():
            with suppress(SymbolNotFound, SeriesSetAside, SeriesBusy):
                found.append(self._find(symbol))
        return found

    # -- health -------------------------------------------------------------------------------------------------------

    def reasons(self) -> list[Reason]:
        """Return why the store does not serve in full; empty when it does.

        The disk is looked at on each call: that it is full is known before a batch meets it, and the reason goes by
        itself when there is space.
        """
        with self._lock:
            aside = sorted((self._set_aside | self._not_opened).items())
        found = [Reason(symbol, "set_aside", reason) for symbol, reason in aside]
        for symbol in list(self._held):
            with self._lock, suppress(HftMmapError):
                self._series.get(symbol) or self._try_open(symbol, named=True, wait_s=0)
        found += [Reason(symbol, "locked", reason) for symbol, reason in sorted(self._held.items())]
        if self._flusher is not None and (failure := self._flusher.check()) is not None:
            found.append(Reason(None, "write_failed", failure))
        with self._lock:
            open_series = sorted(self._series.items())
        if not self.read_only:
            found += [reason for one in open_series if (reason := self._reason_of(*one)) is not None]
        return found + self._directory_reasons([series for _, series in open_series])

    @staticmethod
    def _reason_of(symbol: str, series: Series) -> Reason | None:
        """Return why an open series does not take batches, if it does not."""
        with suppress(SeriesRemoved):
            series.check_in_place()
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
            open_series = sorted(self._series.items())
        return [series.loss for _, series in open_series if series.loss is not None]

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

    def counters(self) -> StoreCounters:
        """Return how the store stands and what it has done, for monitoring; costs a stat for each chunk.

        Counts are those of this `Store`, since it was opened. StoreClosed; StoreUnusable if there is no
        directory to be read.
        """
        now = time.monotonic()
        with self._reading():
            disk = os.statvfs(self.path)
            series = tuple(self._counters_of(one, now) for one in self._serving())
        aside = tuple(sorted(self._set_aside | self._not_opened))
        return StoreCounters(
            series, aside, self._on_event.counts(), disk.f_bavail * disk.f_frsize,
            disk.f_blocks * disk.f_frsize,
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
            read_only=not self.read_only and series.refusal is not None,
        )  # fmt: skip

    # -- maintenance --------------------------------------------------------------------------------------------------

    def _directories(self, symbol: str | None) -> list[tuple[str, Path]]:
        """Return symbol and directory of `symbol`, or of every series on the disk, served or not."""
        if symbol is not None:
            validate_symbol(symbol)
            if not (self.path / directory_name(symbol)).is_dir():
                raise SymbolNotFound(symbol)
        names = sorted(os.listdir(self.path)) if symbol is None else [directory_name(symbol)]
        return [(found, self.path / name) for name in names if (found := self._symbol_in(name)) is not None]

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
                    source = self._find(symbol).directory
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
        with self._lock:
            self._closed = True
        with self._ending:
            if self._flusher is not None:
                self._flusher.stop()
            deadline_s = time.monotonic() + CLOSE_WAIT_S
            for series in list(self._series.values()):
                series.close(max(deadline_s - time.monotonic(), 0.0))

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
