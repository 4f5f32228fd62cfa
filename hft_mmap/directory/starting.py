"""How a store starts: it opens every series, or, where they are many, none, and looks at those that nobody uses."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from hft_mmap.counters import EventCounter
from hft_mmap.directory.looking import Looker, NobodyCommits
from hft_mmap.directory.opening import LOCK_NAME, MAKING_PREFIX, Opening
from hft_mmap.durable.leaving import finish
from hft_mmap.errors import FormatError, SeriesBusy, SeriesRemoved, StoreUnusable, SymbolNotFound
from hft_mmap.files.disk import file_system_of, make_directory, sync_directory
from hft_mmap.files.head import Head
from hft_mmap.files.live import FLAG_CLEAN
from hft_mmap.files.locks import locked, try_lock
from hft_mmap.files.names import directory_name
from hft_mmap.limits import Durability, Limits
from hft_mmap.series import Series
from hft_mmap.tree.compiled import numba_is_off
from hft_mmap.tree.words import FLAGS

TRUSTED_FILE_SYSTEMS = frozenset({"ext4", "xfs"})
"""File systems whose fsync is known to put data and names on the disk."""
OPENED_AT_ONCE = 100
"""A store of more symbols opens each at its first use."""
_HELD_WAIT_S = 1.0
"""How long the opening of a store waits for each lock that another process holds; then the series opens later."""


class Starting(Opening):
    """The part of a store that looks at what it finds. Made by `Store`."""

    def __init__(
        self, path: Path, *, read_only: bool, create_on_append: bool, limits: Limits, durability: Durability,
        on_event: EventCounter,
    ) -> None:  # fmt: skip
        """Prepare; `_open` looks at the directory."""
        super().__init__(
            path, read_only=read_only, create_on_append=create_on_append, limits=limits, durability=durability,
            on_event=on_event,
        )  # fmt: skip
        self._to_look_at: list[str] = []
        self._looker: Looker | None = None
        self._looking = threading.Lock()
        """Held during a look, so that there is one at a time; taken before the lock of the store."""

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
        """End what a crash cut short: a creation, a removal, a rename. The lock shows that none is under way.

        But for creations: who makes a series holds its directory.
        """
        for unfinished in self.path.glob(f"{MAKING_PREFIX}*"):
            with suppress(FileNotFoundError):  # whoever makes it is through
                fd = os.open(unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    if try_lock(fd):
                        for file in unfinished.iterdir():
                            file.unlink()
                        unfinished.rmdir()
                finally:
                    os.close(fd)
        finish(self.path)

    # -- those that nobody has used -----------------------------------------------------------------------------------

    @property
    def unopened(self) -> int:
        """How many symbols were neither used nor looked at since the store was opened; 0 soon after."""
        return len(self._to_look_at)

    def _look_at_next(self) -> bool:
        """Look at the next series that nobody has used yet; False where none is left."""
        with self._looking:
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
            with self._looking:
                if not self._closed and not self._is_left_in_order(symbol):
                    self._try_to_look_at(symbol)

    def _is_left_in_order(self, symbol: str) -> bool:
        """Say whether the head says so; also where none can be read, which the look will tell of."""
        with suppress(FormatError, OSError):
            return bool(Head(self.path / directory_name(symbol), writable=False).words[FLAGS] == FLAG_CLEAN)
        return True

    def _try_to_look_at(self, symbol: str) -> None:
        """Look at a series, unless it was used meanwhile; what keeps it from that is told. The caller is `_looking`."""
        try:
            self._look_at(symbol)
        except SymbolNotFound:
            pass
        except SeriesBusy as error:
            with self._lock:
                if symbol not in self._series:
                    self._held[symbol] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and ends no look at the others
            self._not_opened[symbol] = repr(error)

    def _look_at(self, symbol: str) -> None:
        """Prove a series as an opening does, and let go of it; one that has something to tell stays open. SeriesBusy.

        What this finds is what the next opening finds: an orderly end is left behind. Nothing is done where it was used
        since the start. Whoever uses it at this moment opens it as another process would, and waits for no other
        symbol. The caller is `_looking`.
        """
        if symbol not in self._unopened:
            return
        self._being_looked_at = symbol
        try:
            series = self._opened(symbol, named=False, wait_s=0, waker=None if self.read_only else NobodyCommits())
            gone = series is None or self._flusher is None or series.let_go()
        finally:
            self._being_looked_at = None
        if series is None:
            return
        with self._lock:
            used = symbol in self._series
            if not (used or gone or self._flusher is None):
                self._unopened.pop(symbol, None)
                self._series[symbol] = series
                series.hand_over(self._flusher)
        if used and not gone:
            series.close(0)

    def _proved(self, symbol: str) -> Path:
        """Return the directory of a series that serves, and let go of it where nobody uses it; what `_find` raises."""
        with self._looking, suppress(SeriesBusy):
            if not self._closed:
                self._look_at(symbol)
                if symbol in self._unopened:
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
