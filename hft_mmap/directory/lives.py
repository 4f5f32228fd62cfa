"""The life of a symbol: made, begun, given another name, cut, brought back from a snapshot, removed.

Beside readers and writers in any process; what they meet in the meantime is in `hft_mmap.durable.leaving`.
"""

import errno
import os
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from hft_mmap.appender import MAX_OFFSET
from hft_mmap.by_time import Instant
from hft_mmap.directory.creating import Creating
from hft_mmap.directory.opening import LOCK_NAME
from hft_mmap.durable import leaving
from hft_mmap.durable.snapshot import begin_series, snapshot_series
from hft_mmap.errors import (
    DiskFull,
    FormatError,
    SeriesBusy,
    StoreClosed,
    StoreReadOnly,
    StoreUnusable,
    SymbolExists,
    SymbolNotFound,
    WriteFailed,
)
from hft_mmap.files.blocks import Identity
from hft_mmap.files.head import HEAD_NAME
from hft_mmap.files.locks import attempts, locked
from hft_mmap.files.names import directory_name, validate_symbol
from hft_mmap.ticks import Ticks, check_ticks
from hft_mmap.tree.kernels import FAN_OUT

_T = TypeVar("_T")


class Lives(Creating):
    """The part of a store that changes which series there are. Made by `Store`."""

    def create(self, symbol: str, *, wait_s: float | None = None) -> bool:
        """Make `symbol`, with no points, and return True; False if it is there already.

        SymbolLimitReached, DiskFull, WriteFailed, SeriesSetAside, SeriesBusy (see `remove`), InvalidSymbol,
        StoreReadOnly, StoreClosed.
        """
        validate_symbol(symbol)
        try:
            self.series(symbol)
        except SymbolNotFound:
            made = not self._exists(symbol)
            self._find_or_create(symbol, 0, wait_s)
            return made
        return False

    def begin(self, symbol: str, point: Ticks, *, at: int, wait_s: float | None = None) -> None:
        """Make `symbol` by one point whose index is `at`, as if those before it were no longer kept.

        For a series that comes from elsewhere, and goes on with its indices. point: of `as_ticks`. It is on the disk on
        return. SymbolExists if there is a series of `symbol`, ValueError unless `at` is a whole number from 0 and there
        is one point; InvalidValues, InvalidTimes, InvalidSizes, SymbolLimitReached, and what `remove` raises.
        """
        validate_symbol(symbol)
        self._check_may_change()
        point = check_ticks(point, signed=self.limits.negative_prices)
        if type(at) is not int or not 0 <= at <= MAX_OFFSET or len(point.prices) != 1:
            message = f"a series begins with one point, at an index from 0, not with {len(point.prices)} at {at!r}"
            raise ValueError(message)
        points = self.limits.chunk_points
        is_signed = bool(point.prices[0] < 0)
        identity = Identity(symbol, points, FAN_OUT, uuid.uuid4().bytes, time.time_ns(), point.kinds, is_signed)
        target = self.path / directory_name(symbol)

        def work() -> None:
            if target.exists():
                message = f"{symbol} exists already, so it was not begun: remove or rename it first"
                raise SymbolExists(message)
            self._check_limit(symbol)
            begin_series(target, identity, (point.prices, *point.columns), at)

        self._alone(symbol, work, wait_s)
        self._on_event("series_created", {"symbol": symbol, "chunk_points": points})

    def remove(self, symbol: str, *, wait_s: float | None = None) -> None:
        """Remove `symbol` and all its points, for good; it is off the disk on return.

        Also one that is set aside. Whoever has it open, in any process, finds it no more: queries and appends with an
        offset above 0 are refused. Another process that holds the series is waited for `wait_s` seconds (None: however
        long), then it is SeriesBusy. SymbolNotFound, InvalidSymbol, WriteFailed, StoreReadOnly, StoreClosed.
        """
        directory = self._to_change(symbol)
        gone = self._alone(symbol, partial(leaving.remove_series, directory), wait_s)
        self._on_event("series_removed", {"symbol": symbol})
        try:
            leaving.delete(gone)
        except OSError as error:  # it is removed; the next opening tries to free the space again
            self._on_event("write_failed", {"symbol": symbol, "error": f"{gone} could not be deleted: {error}"})

    def rename(self, old: str, new: str, *, wait_s: float | None = None) -> int:
        """Give the series of `old` the name `new`, and return its total; all that was published is on the disk then.

        SymbolExists if there is a series of `new`. Whoever has the old name open finds it no more, as after `remove`;
        SymbolNotFound, SeriesSetAside, SeriesReadOnly where a sync fails or has failed, and what `remove` raises.
        """
        validate_symbol(new)
        directory, target = self._to_change(old), self.path / directory_name(new)

        def work() -> int:
            if old == new or target.exists():
                message = f"{new} exists already, so {old} was not renamed"
                raise SymbolExists(message)
            self._find(old)
            return leaving.rename_series(directory, target, new, self._boot)

        total = self._alone(old, work, wait_s)
        self._on_event("series_renamed", {"symbol": old, "to": new, "total": total})
        return total

    def truncate(
        self, symbol: str, *, keep: int | None = None, before: Instant | None = None, wait_s: float | None = None
    ) -> int:  # fmt: skip
        """Let go of all but the newest `keep` points of `symbol`, or of those before a time; see `Series.truncate`."""
        self._check_may_change()
        return self._find(symbol).truncate(keep=keep, before=before, wait_s=wait_s)

    def restore(self, snapshot: str | os.PathLike[str], symbol: str, *, wait_s: float | None = None) -> int:
        """Bring `symbol` back as it is in the store at `snapshot`, which is left as it is; return its total.

        Full chunks are shared by hard link where both lie on one file system. SymbolExists if there is a series of
        `symbol`: remove or rename it first. SymbolNotFound if there is none in the snapshot, StoreUnusable if that
        can't be read; SymbolLimitReached, and what `remove` raises.
        """
        validate_symbol(symbol)
        self._check_may_change()
        source, target = Path(snapshot) / directory_name(symbol), self.path / directory_name(symbol)
        if not (source / HEAD_NAME).is_file():
            raise SymbolNotFound(symbol)

        def work() -> int:
            if target.exists():
                message = f"{symbol} exists already, so it was not restored: remove or rename it first"
                raise SymbolExists(message)
            self._check_limit(symbol)
            try:
                return snapshot_series(source, target, self._boot)
            except (FormatError, FileNotFoundError) as error:
                message = f"{symbol} can't be restored from {snapshot}: {error}"
                raise StoreUnusable(message) from error

        total = self._alone(symbol, work, wait_s)
        self._on_event("series_restored", {"symbol": symbol, "total": total})
        return total

    def _check_may_change(self) -> None:
        """Refuse what a store that is closed, or only reads, can't do."""
        if self._closed:
            message = "the store was closed"
            raise StoreClosed(message)
        if self.read_only:
            message = 'the store was opened with mode="r"'
            raise StoreReadOnly(message)

    def _to_change(self, symbol: str) -> Path:
        """Return the directory of `symbol`, served or not; SymbolNotFound."""
        validate_symbol(symbol)
        self._check_may_change()
        if self._symbol_in(directory_name(symbol)) is None:
            raise SymbolNotFound(symbol)
        return self.path / directory_name(symbol)

    def _alone(self, symbol: str, work: Callable[[], _T], wait_s: float | None) -> _T:
        """Return what `work` does while nobody makes, removes or renames symbols; then forget what was open of it."""
        busy: SeriesBusy | None = None

        def finished() -> _T:
            leaving.finish(self.path)
            return work()

        for _ in attempts(wait_s):
            try:
                return locked(self.path / LOCK_NAME, finished, 0)
            except SeriesBusy as error:
                busy = error
            except FileNotFoundError as error:
                raise SymbolNotFound(symbol) from error  # another process was first
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    message = f"no space to change {symbol}: {error.strerror}; free space and try again"
                    raise DiskFull(message) from error
                message = f"{symbol} could not be changed: {error}; look which symbols there are, and try again"
                raise WriteFailed(message) from error
            finally:
                self._forget(symbol)
        raise busy or SeriesBusy(symbol)
