"""New series: their files are made aside, and get their name when they are on the disk."""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hft_mmap.directory.opening import LOCK_NAME, MAKING_PREFIX, OPEN_WAIT_S, Opening
from hft_mmap.errors import (
    DiskFull,
    SeriesBusy,
    StoreReadOnly,
    SymbolLimitReached,
    SymbolNotFound,
    SymbolUnknown,
    WriteFailed,
)
from hft_mmap.files.blocks import Commit, Identity
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.head import Head
from hft_mmap.files.layout import Kind, Layout
from hft_mmap.files.locks import attempts, locked, try_lock
from hft_mmap.files.marks import Mark
from hft_mmap.files.names import directory_name
from hft_mmap.series import Series
from hft_mmap.tree.kernels import FAN_OUT

_TAKEN = "{} was taken for what a crash has left; try again"


class Creating(Opening):
    """The part of a store that makes series. Made by `Store`."""

    def _find_or_create(
        self, symbol: str, n: int, wait_s: float | None = None, *, create: bool = True, kinds: tuple[Kind, ...] = ()
    ) -> Series:  # fmt: skip
        """Return the series of `symbol`, made now, with space for `n` points in columns of `kinds`, if there is none.

        SymbolUnknown instead if `create` is False, SymbolLimitReached when there is no place for it, SeriesBusy where
        another process keeps it from being made, or opened, for longer than `wait_s`.
        """
        busy: SeriesBusy | None = None
        for _ in attempts(wait_s):
            try:
                return self._found_or_created(symbol, n, kinds, create=create)
            except SeriesBusy as error:
                busy = error
        raise busy or SeriesBusy(symbol)

    def _found_or_created(self, symbol: str, n: int, kinds: tuple[Kind, ...], *, create: bool) -> Series:
        """Do the work of `_find_or_create`, with no more than one try at the lock."""
        try:
            return self.series(symbol)
        except SymbolNotFound:
            if self.read_only:
                message = 'the store was opened with mode="r"'
                raise StoreReadOnly(message) from None
            if not create:
                raise SymbolUnknown(symbol) from None
        return self._telling_failures(symbol, partial(self._made, symbol, n, kinds))

    def _telling_failures(self, symbol: str, make: Callable[[], Series]) -> Series:
        """Return what `make` returns; tell a full disk from whatever else keeps a symbol from being made."""
        try:
            found = make()
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                # Without the paths of the error, which have the symbol: whoever asks how the store stands is told this.
                self._creation_failure = f"no symbol can be made in {self.path}: {error.strerror}"
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

    def _made(self, symbol: str, n: int, kinds: tuple[Kind, ...]) -> Series:
        """Make a series, unless somebody has. OSError.

        What waits for the disk is done first, with nobody held out: threads that make symbols at the same time share
        their syncs. Others are held out only while the name is given.
        """
        with self._lock:  # or the threads of this process would meet each other at the lock of all processes
            locked(self.path / LOCK_NAME, partial(self._check_limit, symbol), 0)
        making, fd = self.path / f"{MAKING_PREFIX}{uuid.uuid4().hex}", -1
        try:
            fd = self._begun(making)
            self._claim(making, fd)
            self._fill(making, fd, symbol, n, kinds)
            with self._lock:
                number = locked(self.path / LOCK_NAME, partial(self._name, making, symbol), 0)
            if number is not None:
                self._names.sync(number)
                self._on_event("series_created", {"symbol": symbol, "chunk_points": self.limits.chunk_points})
            with self._lock:
                found = self._series.get(symbol)
                if found is None and number is not None and not self._closed:
                    found = self._try_open(symbol, named=True, wait_s=OPEN_WAIT_S)
                    if found is not None:
                        found.has_new_chunk = True
                return found or self._find(symbol)
        finally:
            if making.exists():
                shutil.rmtree(making, ignore_errors=True)
            if fd >= 0:
                os.close(fd)

    def _name(self, making: Path, symbol: str) -> int | None:
        """Give the series in `making` its name, and return the number of that; None where there is one of that name.

        None also where the store was closed meanwhile. Nobody else makes symbols at the same time. OSError.
        """
        if self._closed or self._exists(symbol):
            return None
        self._check_limit(symbol)
        making.rename(self.path / directory_name(symbol))
        return self._names.given()

    def _check_limit(self, symbol: str) -> None:
        """Refuse a symbol above the limit; counts what is on the disk, whichever process made it."""
        if not self._may_be_full():
            return
        kept = len(self._symbols())
        if kept >= self.limits.max_symbols and not self._exists(symbol):  # which somebody may have made by now
            message = (
                f"symbol limit reached: the store holds {kept} of at most {self.limits.max_symbols} symbols, "
                f"{symbol} was not added: store.max_symbols is the limit"
            )
            raise SymbolLimitReached(message)

    @staticmethod
    def _begun(making: Path) -> int:
        """Make the directory `making` for a series that is being made; return its descriptor. OSError, SeriesBusy."""
        making.mkdir()
        try:
            return os.open(making, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SeriesBusy(_TAKEN.format(making)) from error

    @staticmethod
    def _claim(making: Path, fd: int) -> None:
        """Lock the directory `making`, open as `fd`, which tells it from what a crash has left. OSError.

        SeriesBusy where who removes that was quicker: it may hold the lock, or be through and have given it back, and
        what has lost its name can be locked all the same.
        """
        if not (try_lock(fd) and making.is_dir()):
            raise SeriesBusy(_TAKEN.format(making))

    def _fill(self, making: Path, fd: int, symbol: str, n: int, kinds: tuple[Kind, ...]) -> None:
        """Make the files of a new series in the directory `making`, open as `fd`, and put them on the disk. OSError.

        The first chunk has space for the first batch, of `n` points: a full disk refuses the symbol, and leaves no
        empty series that would count against the limit.
        """
        layout = Layout.of(self.limits.chunk_points, kinds)
        identity = Identity(symbol, layout.points, FAN_OUT, uuid.uuid4().bytes, time.time_ns(), kinds)
        mark, room, boot = Mark.begin(), max(self.limits.starting_capacity, n), self._boot
        # The head last: on ext4 its sync puts all these names on the disk, and that of the directory finds nothing.
        if room:
            Chunk.create(making, identity.series_id, 0, layout, room, mark)
        Head.create(making, identity, Commit(1, 0, 0, 0, boot, clean=False, mark=mark), live=boot)
        os.fsync(fd)
