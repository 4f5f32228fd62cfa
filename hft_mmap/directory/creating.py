"""New series: their files are made aside, and get their name when they are on the disk."""

import errno
import shutil
import time
import uuid

from hft_mmap.directory.opening import LOCK_NAME, MAKING_PREFIX, Opening
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
from hft_mmap.files.disk import sync_directory
from hft_mmap.files.head import Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.locks import attempts, locked
from hft_mmap.files.marks import Mark
from hft_mmap.files.names import directory_name
from hft_mmap.series import Series
from hft_mmap.tree.kernels import FAN_OUT


class Creating(Opening):
    """The part of a store that makes series. Made by `Store`."""

    def _find_or_create(self, symbol: str, n: int, wait_s: float | None = None, *, create: bool = True) -> Series:
        """Return the series of `symbol`, made now, with space for `n` points, if there is none.

        SymbolUnknown instead if `create` is False, SymbolLimitReached when there is no place for it, SeriesBusy where
        another process keeps it from being made, or opened, for longer than `wait_s`.
        """
        busy: SeriesBusy | None = None
        for _ in attempts(wait_s):
            try:
                return self._found_or_created(symbol, n, create=create)
            except SeriesBusy as error:
                busy = error
        raise busy or SeriesBusy(symbol)

    def _found_or_created(self, symbol: str, n: int, *, create: bool) -> Series:
        """Do the work of `_find_or_create`, with no more than one try at the lock."""
        try:
            return self.series(symbol)
        except SymbolNotFound:
            if self.read_only:
                message = 'the store was opened with mode="r"'
                raise StoreReadOnly(message) from None
            if not create:
                raise SymbolUnknown(symbol) from None
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
        if not self._may_be_full():
            return
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
