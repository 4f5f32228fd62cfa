"""The series of a data directory: opened at the start, and found when they are asked for."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hft_mmap.counters import EventCounter
from hft_mmap.directory.looking import Looker, NobodyCommits
from hft_mmap.durable.leaving import finish
from hft_mmap.durable.recovery import copied_from
from hft_mmap.errors import (
    FormatError,
    SeriesBusy,
    SeriesRemoved,
    SeriesSetAside,
    StoreClosed,
    StoreUnusable,
    SymbolNotFound,
)
from hft_mmap.files.boot import Boot, current_boot
from hft_mmap.files.disk import SHORT_OF, file_system_of, make_directory, sync_directory
from hft_mmap.files.head import FLAG_CLEAN, FLAG_LEFT, HEAD_NAME, Head
from hft_mmap.files.locks import locked
from hft_mmap.files.names import directory_name, list_chunks, symbol_of, validate_symbol
from hft_mmap.limits import Durability, Limits
from hft_mmap.series import Series
from hft_mmap.tree.compiled import numba_is_off
from hft_mmap.tree.words import FLAGS

if TYPE_CHECKING:
    from hft_mmap.appender import Waker
    from hft_mmap.durable.flusher import Flusher

LOCK_NAME = ".lock"
TRUSTED_FILE_SYSTEMS = frozenset({"ext4", "xfs"})
"""File systems whose fsync is known to put data and names on the disk."""
MAKING_PREFIX = ".making-"
PASSING = SHORT_OF | {errno.EIO, errno.ENOSPC, errno.EDQUOT}
"""What may keep a sound series from being opened: it says nothing about the files, and may be over at the next try."""
OPENED_AT_ONCE = 100
"""A store of more symbols opens each at its first use."""
_COUNTED_BY_LINKS = frozenset({"ext4", "xfs", "tmpfs"})
"""File systems on which a directory has two links, and one for each directory in it (or 1, where it has too many)."""
_LINKS = 2
_SETTLED_NS = 100_000_000
"""The clock of a file system stands still for up to 10 ms: a directory changed later than this may change unseen."""
_HELD_WAIT_S = 1.0
"""How long the opening of a store waits for each lock that another process holds; then the series opens later."""
_OPEN_WAIT_S = 0.05
"""How long a call that meets a series for the first time waits for other processes; all other calls wait for it."""


class Opening:
    """The part of a store that finds its series. Made by `Store`."""

    def __init__(
        self, path: Path, *, read_only: bool, create_on_append: bool, limits: Limits, durability: Durability,
        on_event: EventCounter,
    ) -> None:  # fmt: skip
        """Prepare; `_open` looks at the directory."""
        self.path = path
        self.limits = limits
        self.durability = durability
        self.read_only = read_only
        self.create_on_append = create_on_append
        self._on_event = on_event
        self._flusher: Flusher | None = None
        self._lock = threading.RLock()
        self._ending = threading.RLock()
        self._series: dict[str, Series] = {}
        self._set_aside: dict[str, str] = {}
        self._copies: dict[str, str] = {}
        """Symbols that are no series, only a copy of the files of one, with the reason why they are not served."""
        self._not_opened: dict[str, str] = {}
        self._aside_files: dict[str, tuple[int, int] | None] = {}
        self._held: dict[str, str] = {}
        self._unopened: dict[str, tuple[int, int] | None] = {}
        """Symbols that nobody has used yet, with what told their files at the start: their names were synced then."""
        self._to_look_at: list[str] = []
        self._looker: Looker | None = None
        self._losses = on_event.losses
        self._listed: tuple[int, list[str]] | None = None
        self._file_system = ""
        self._creation_failed_for_space = False
        self._creation_failure: str | None = None
        self._closed = False

    @property
    def _boot(self) -> Boot:
        """The present run of the machine, at the present time.

        Read anew for each series: against the time at which this store was opened, a head that another process made
        since would lie in the future, that is, in another run of the machine.
        """
        return current_boot()

    # -- opening ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open every series, or none where they are many; those that can't be trusted are set aside."""
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
            found = self._all_symbols()
            if len(found) > OPENED_AT_ONCE:  # before the sync, which is to be of these very names
                self._unopened = {symbol: self._files_of(symbol) for symbol in found}
            if not self.read_only:
                # Whoever gave a series its name may have died, or failed, before that was on the disk.
                sync_directory(self.path)
        except OSError as error:
            message = f"data directory {self.path} can't be used: {error.strerror}"
            raise StoreUnusable(message) from error
        if self._unopened:
            self._to_look_at = sorted(found, reverse=True)
            self._looker = self._make_looker()
            self._looker.look_after()
            return
        for number, symbol in enumerate(found, start=1):
            self._on_event("opening", {"symbol": symbol, "number": number, "of": len(found)})
            try:
                self._try_open(symbol, named=True, wait_s=_HELD_WAIT_S)
            except SeriesBusy as error:
                self._held[symbol] = str(error)

    def _make_looker(self) -> Looker:
        """Return what looks at the symbols that nobody has used; `hft_mmap.testing` has another, stepped by hand."""
        return Looker(self._look_at_next)

    def _check_file_system(self) -> None:
        """Tell where the data lies on a file system whose syncs were not shown to hold what a commit promises."""
        kind = self._file_system = file_system_of(self.path)
        if kind not in TRUSTED_FILE_SYSTEMS and not self.read_only:
            self._on_event(
                "file_system", {"path": str(self.path), "kind": kind, "trusted": sorted(TRUSTED_FILE_SYSTEMS)}
            )

    def _remove_unfinished(self) -> None:
        """End what a crash cut short: a creation, a removal, a rename. The lock shows that none is under way."""
        for unfinished in self.path.glob(f"{MAKING_PREFIX}*"):
            for file in unfinished.iterdir():
                file.unlink()
            unfinished.rmdir()
        finish(self.path)

    def _try_open(self, symbol: str, *, named: bool, wait_s: float | None = None) -> Series | None:
        """Open a series whose directory exists; None, with the reason kept, if it can't be trusted.

        named: its name is on the disk for certain. A failure that may pass leaves it to the next use. SeriesBusy if
        another process holds it for longer than `wait_s` (None: however long).
        """
        series = self._opened(symbol, named=named, wait_s=wait_s, waker=self._flusher)
        if series is not None:
            self._series[symbol] = series
        return series

    def _opened(self, symbol: str, *, named: bool, wait_s: float | None, waker: "Waker | None") -> Series | None:
        """Do the work of `_try_open`, and keep the series for nobody. `waker` None: it only reads."""
        directory = self.path / directory_name(symbol)
        known = self._unopened.pop(symbol, None)
        try:
            if not (named or self.read_only or (known is not None and known == self._files_of(symbol))):
                sync_directory(self.path)
            series = Series(
                directory, limits=self.limits, boot=self._boot, waker=waker,
                wake_on_append=self.durability is not Durability.PROCESS, on_event=self._on_event, wait_s=wait_s,
            )  # fmt: skip
        except SeriesBusy:
            if known is not None:
                self._unopened[symbol] = known
            raise
        except SeriesRemoved:
            self._held.pop(symbol, None)
            raise SymbolNotFound(symbol) from None
        except (FormatError, OSError, ValueError) as error:
            self._held.pop(symbol, None)
            if self._files_of(symbol) is None:  # removed just now
                raise SymbolNotFound(symbol) from None
            reason = str(error)
            kept = self._not_opened if isinstance(error, OSError) and error.errno in PASSING else self._set_aside
            if isinstance(error, FormatError) and (origin := copied_from(directory)) is not None:
                kept, reason = self._copies, f"it is a copy of the files of {origin!r}, and ignored; move it elsewhere"
            self._aside_files[symbol] = self._files_of(symbol)
            if kept.get(symbol) != reason:
                kept[symbol] = reason
                self._on_event("set_aside", {"symbol": symbol, "reason": reason})
            return None
        self._not_opened.pop(symbol, None)
        self._aside_files.pop(symbol, None)
        self._held.pop(symbol, None)
        return series

    # -- those that nobody has used -----------------------------------------------------------------------------------

    @property
    def unopened(self) -> int:
        """How many symbols were neither used nor looked at since the store was opened; 0 soon after."""
        return len(self._to_look_at)

    def _look_at_next(self) -> bool:
        """Look at the next series that nobody has used yet; False where none is left."""
        with self._lock:
            if self._closed or not self._to_look_at:
                return False
            self._try_to_look_at(self._to_look_at[-1])
            self._to_look_at.pop()
            return bool(self._to_look_at)

    def _look_at_unfinished(self) -> None:
        """Look at those that nobody has used or looked at yet, and that were not left in order.

        Whoever was killed may have left points of them that are not on the disk. Costs 0.1 ms for each of the others.
        """
        for symbol in [] if self.read_only else list(self._to_look_at):
            with self._lock:
                if not self._closed and not self._is_left_in_order(symbol):
                    self._try_to_look_at(symbol)

    def _is_left_in_order(self, symbol: str) -> bool:
        """Say whether the head says so; also where none can be read, which the look will tell of."""
        with suppress(FormatError, OSError):
            return bool(Head(self.path / directory_name(symbol), writable=False).words[FLAGS] == FLAG_CLEAN)
        return True

    def _try_to_look_at(self, symbol: str) -> None:
        """Look at a series, unless it was used meanwhile; what keeps it from that is told. The caller has the lock."""
        try:
            if symbol in self._unopened:
                self._look_at(symbol)
        except SymbolNotFound:
            pass
        except SeriesBusy as error:
            self._held[symbol] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and ends no look at the others
            self._not_opened[symbol] = repr(error)

    def _look_at(self, symbol: str) -> None:
        """Prove a series as an opening does, and let go of it; one that has something to tell stays open. SeriesBusy.

        What this finds is what the next opening finds: an orderly end is left behind. The caller has the lock.
        """
        files = self._unopened[symbol]
        series = self._opened(symbol, named=False, wait_s=0, waker=None if self.read_only else NobodyCommits())
        if series is None:
            return
        if self._flusher is None or series.let_go():
            self._unopened[symbol] = files
        else:
            self._series[symbol] = series
            series.hand_over(self._flusher)

    def _proved(self, symbol: str) -> Path:
        """Return the directory of a series that serves, and let go of it where nobody uses it; what `_find` raises."""
        with self._lock:
            with suppress(SeriesBusy):
                if symbol in self._unopened and not self._closed:
                    self._look_at(symbol)
                if symbol in self._unopened and not self._closed:
                    return self.path / directory_name(symbol)
            return self._find(symbol).directory

    def _glanced(self, symbol: str) -> Series | None:
        """Return a series that nobody uses, opened for reading alone, and for one question; None if it has to be found.

        Costs no sync, and nothing once the answer is there.
        """
        if symbol not in self._unopened or symbol in self._series or self._closed:
            return None
        with suppress(FormatError, OSError, ValueError, SeriesRemoved, SeriesBusy):
            return Series(
                self.path / directory_name(symbol), limits=self.limits, boot=self._boot, waker=None,
                wake_on_append=False, on_event=self._on_event, wait_s=0,
            )  # fmt: skip
        return None

    # -- finding ------------------------------------------------------------------------------------------------------

    def series(self, symbol: str) -> Series:
        """Return the series of `symbol`, also one that another process has just made.

        SymbolNotFound, SeriesSetAside, SeriesBusy (which it is only when it is met for the first time), InvalidSymbol,
        StoreClosed, StoreUnusable.
        """
        found = self._series.get(symbol)
        if found is not None and found.attached and not self._closed and found.live_words[FLAGS] < FLAG_LEFT:
            return found
        return self._find(symbol)

    def _find(self, symbol: str, *, wait_s: float = _OPEN_WAIT_S) -> Series:
        """Do the work of `series` where the short way does not apply."""
        validate_symbol(symbol)
        with self._lock:
            if self._closed:
                message = "the store was closed"
                raise StoreClosed(message)
            self._forget(symbol)
            reason = self._set_aside.get(symbol) or self._copies.get(symbol)
            if reason is not None:
                message = f"{symbol} is set aside: {reason}; its files are left as they are"
                raise SeriesSetAside(message)
            found = self._series.get(symbol)
            if found is None and self._exists(symbol):
                found = self._try_open(symbol, named=False, wait_s=wait_s)
                if found is None and symbol in self._set_aside | self._copies:
                    return self._find(symbol)
                if found is None:
                    message = f"{symbol} can't be opened: {self._not_opened[symbol]}; the next request tries again"
                    raise SeriesSetAside(message)
            if found is None:
                raise SymbolNotFound(symbol)
            found.refresh()
            return found

    def _forget(self, symbol: str) -> None:
        """Forget what is known of `symbol` where that is over: its series has left, or other files are there now."""
        with self._lock:
            series = self._series.get(symbol)
            if series is not None and series.has_left:
                # Not closed: the flusher may be at it. It has the waiters told, and the last to hold it closes it.
                del self._series[symbol]
                self._losses.pop(symbol, None)
                series.ask()
            if (symbol in self._losses or symbol in self._held) and self._files_of(symbol) is None:
                self._losses.pop(symbol, None)
                self._held.pop(symbol, None)
            if symbol in self._aside_files and self._aside_files[symbol] != self._files_of(symbol):
                del self._aside_files[symbol]
                for kept in (self._set_aside, self._copies, self._not_opened):
                    kept.pop(symbol, None)

    def _files_of(self, symbol: str) -> tuple[int, int] | None:
        """Return what tells the directory of `symbol` from another of that name, or from itself once it was changed."""
        try:
            found = os.stat(self.path / directory_name(symbol))
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns

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

    def _symbols(self, prefix: str = "") -> list[str]:
        """Return every symbol on the disk that begins with `prefix`, sorted; also those that another process made."""
        with self._reading():
            found = self._all_symbols()
        return [symbol for symbol in found if symbol.startswith(prefix) and symbol not in self._copies]

    def _all_symbols(self) -> list[str]:
        """Return every symbol on the disk, sorted: as it was found last, where no name has come or gone since. OSError.

        A directory that is no series yet may become one without a change of any name, so it is looked at each time.
        """
        changed_ns = os.stat(self.path).st_ctime_ns  # which nobody can set, as they can mtime
        listed = self._listed
        if listed is not None and listed[0] == changed_ns:
            return listed[1]
        now_ns = time.time_ns()
        names = [(name, symbol) for name in os.listdir(self.path) if (symbol := symbol_of(name)) is not None]
        found = sorted(symbol for name, symbol in names if self._symbol_in(name) is not None)
        settled = changed_ns + _SETTLED_NS < now_ns and len(found) == len(names)
        self._listed = (changed_ns, found) if settled else None
        return found

    def _may_be_full(self) -> bool:
        """Say whether there may be `max_symbols` symbols: by the links of the directory, not by a list. OSError.

        It has one for each directory in it, those that are no series among them; `_LINKS` are its own.
        """
        links = os.stat(self.path).st_nlink
        counted = self._file_system in _COUNTED_BY_LINKS and links >= _LINKS
        return not counted or links - _LINKS >= self.limits.max_symbols

    def _symbol_in(self, name: str) -> str | None:
        """Return the symbol that the entry `name` of the data directory holds a series of, or a damaged one, or None.

        A directory with neither head nor chunks has nothing to be lost: it is no series.
        """
        symbol = symbol_of(name)
        # PERF: with pathlib this takes 20 us a symbol, and as text 4 us.
        if symbol is None or os.path.isfile(f"{self.path}/{name}/{HEAD_NAME}"):  # noqa: PTH113
            return symbol
        directory = self.path / name
        return symbol if directory.is_dir() and list_chunks(directory) else None
