"""The series of a data directory: opened, and found when they are asked for."""

import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from hft_mmap.counters import EventCounter
from hft_mmap.directory.listing import Listing
from hft_mmap.durable.recovery import copied_from
from hft_mmap.errors import (
    FormatError,
    SeriesBusy,
    SeriesRemoved,
    SeriesSetAside,
    StoreClosed,
    SymbolNotFound,
)
from hft_mmap.files.boot import Boot, current_boot
from hft_mmap.files.descriptors import Descriptors, most_awake
from hft_mmap.files.disk import SHORT_OF, Names, sync_directory
from hft_mmap.files.head import HEAD_NAME
from hft_mmap.files.live import FLAG_LEFT
from hft_mmap.files.names import directory_name, validate_symbol
from hft_mmap.limits import Durability, Limits
from hft_mmap.series import Series
from hft_mmap.tree.words import FLAGS

if TYPE_CHECKING:
    from hft_mmap.durable.flusher import Flusher
    from hft_mmap.refusing import Waker

LOCK_NAME = ".lock"
MAKING_PREFIX = ".making-"
PASSING = SHORT_OF | {errno.EIO, errno.ENOSPC, errno.EDQUOT}
"""What may keep a sound series from being opened: it says nothing about the files, and may be over at the next try."""
OPEN_WAIT_S = 0.05
"""How long a call that meets a series for the first time waits for other processes; all other calls wait for it."""

_LOOK_WAIT_S = 1.0
"""The same where it is this store itself that looks at the series, which takes two syncs."""


class Opening(Listing):
    """The part of a store that finds its series. Made by `Store`."""

    def __init__(
        self, path: Path, *, read_only: bool, create_on_append: bool, limits: Limits, durability: Durability,
        on_event: EventCounter,
    ) -> None:  # fmt: skip
        """Prepare; `Starting` looks at the directory."""
        super().__init__(path, limits)
        self.durability = durability
        self.read_only = read_only
        self.create_on_append = create_on_append
        self._on_event = on_event
        self._flusher: Flusher | None = None
        self._lock = threading.RLock()
        self._ending = threading.RLock()
        self._series: dict[str, Series] = {}
        self._set_aside: dict[str, str] = {}
        self._not_opened: dict[str, str] = {}
        self._aside_files: dict[str, tuple[int, int] | None] = {}
        self._held: dict[str, str] = {}
        self._unopened: dict[str, tuple[int, int] | None] = {}
        """Symbols that nobody has used yet, with what told their files at the start: their names were synced then."""
        self._being_looked_at: str | None = None
        self._losses = on_event.losses
        self._names = Names(path)
        self._descriptors = Descriptors(most_awake())
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

    def _try_open(self, symbol: str, *, named: bool, wait_s: float | None = None) -> Series | None:
        """Open a series whose directory exists; None, with the reason kept, if it can't be trusted.

        named: its name is on the disk for certain. A failure that may pass leaves it to the next use. SeriesBusy if
        another process holds it for longer than `wait_s` (None: however long).
        """
        series = self._opened(symbol, named=named, wait_s=wait_s, waker=self._flusher)
        if series is not None:
            self._unopened.pop(symbol, None)
            self._series[symbol] = series
        return series

    def _opened(self, symbol: str, *, named: bool, wait_s: float | None, waker: "Waker | None") -> Series | None:
        """Do the work of `_try_open`, and keep the series for nobody. `waker` None: it only reads."""
        directory = self.path / directory_name(symbol)
        known = self._unopened.get(symbol)
        try:
            if not (named or self.read_only or (known is not None and known == self._files_of(symbol))):
                sync_directory(self.path)
            series = Series(
                directory, limits=self.limits, boot=self._boot, waker=waker,
                wake_on_append=self.durability is not Durability.PROCESS, on_event=self._on_event, wait_s=wait_s,
                descriptors=self._descriptors,
            )  # fmt: skip
        except SeriesBusy:
            raise
        except SeriesRemoved:
            self._unopened.pop(symbol, None)
            self._held.pop(symbol, None)
            raise SymbolNotFound(symbol) from None
        except (FormatError, OSError, ValueError) as error:
            self._unopened.pop(symbol, None)
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

    def is_open(self, symbol: str) -> bool:
        """Say whether `symbol` was used before, so that to use it needs neither an opening nor a creation."""
        return symbol in self._series

    def _find(self, symbol: str, *, wait_s: float = OPEN_WAIT_S) -> Series:
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
                found = self._open_for_use(symbol, wait_s)
                if found is None and symbol in self._set_aside | self._copies:
                    return self._find(symbol)
                if found is None:
                    message = f"{symbol} can't be opened: {self._not_opened[symbol]}; the next request tries again"
                    raise SeriesSetAside(message)
            if found is None:
                raise SymbolNotFound(symbol)
            found.refresh()
            return found

    def _open_for_use(self, symbol: str, wait_s: float) -> Series | None:
        """Do the work of `_try_open` for who uses the series; where this store looks at it, that is waited for."""
        looked_at = symbol == self._being_looked_at
        try:
            return self._try_open(symbol, named=False, wait_s=_LOOK_WAIT_S if wait_s and looked_at else wait_s)
        except SeriesBusy:
            # The look may have begun since.
            if not wait_s or looked_at or symbol != self._being_looked_at:
                raise
        return self._try_open(symbol, named=False, wait_s=_LOOK_WAIT_S)

    def _forget(self, symbol: str) -> None:
        """Forget what is known of `symbol` where that is over: its series has left, or other files are there now."""
        with self._lock:
            series = self._series.get(symbol)
            if series is not None and series.has_left:
                # Not closed: the flusher may be at it, which then closes it, and tells those who wait.
                del self._series[symbol]
                self._losses.pop(symbol, None)
                series.is_gone()
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
            try:
                # PERF: with pathlib this takes 15 us, and as text 3 us.
                os.stat(f"{self.path}/{directory_name(symbol)}/{HEAD_NAME}")
            except (FileNotFoundError, NotADirectoryError):
                return False
            return True

    def __repr__(self) -> str:
        """Tell the directory, the mode, and whether it is closed."""
        mode = 'mode="r"' if self.read_only else f'durability="{self.durability}"'
        return f"<Store {str(self.path)!r} {mode}, {'closed' if self._closed else f'{len(self._series)} series open'}>"
