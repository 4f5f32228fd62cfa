"""The points of a replica as lists, in a process that may be killed and on a disk that may lose what was not synced."""

from dataclasses import dataclass, field
from random import Random

import numpy as np

from api.cluster.points import Points
from hft_mmap import DiskFull, Limits, OffsetConflict, Ticks
from hft_mmap.files.layout import Kind
from hft_mmap.ticks import Appended, clamped

Row = tuple[float, int | None]
NO_ROW: Row = (-1.0, None)
"""Stands for each row before the first of a symbol that came from another shard."""


class Killed(BaseException):
    """The process is no more: nothing of it may have an effect."""


@dataclass
class Series:
    """A symbol: its rows, the ends of its batches, and which of them are on the disk."""

    rows: list[Row] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    synced: int = 0

    @property
    def start(self) -> int:
        """The oldest row that is kept."""
        return self.starts[-1] if self.starts else 0


class ModelPoints(Points):
    """As `api.cluster.points.Points` says, which has a store."""

    def __init__(self, rng: Random, series: dict[str, Series] | None = None, *, fails: float = 0.0) -> None:
        self.rng = rng
        self.series = {} if series is None else series
        self.removed: dict[str, Series] = {}
        self.limits = Limits()
        self.fails = fails
        self.dead = False

    def _look(self) -> None:
        if self.dead:
            raise Killed

    def total(self, symbol: str) -> int:
        """Return the points ever appended."""
        self._look()
        return len(self.series[symbol].rows) if symbol in self.series else 0

    def kinds(self, symbol: str) -> tuple[Kind, ...]:
        """Return the columns."""
        timed = self.series[symbol].rows[-1][1] is not None
        return Ticks(np.empty(0), np.empty(0, np.int64) if timed else None).kinds

    def last_time(self, symbol: str) -> int | None:
        """Return the time of the newest point."""
        return self.series[symbol].rows[-1][1]

    def symbols(self) -> int:
        """Return how many symbols there are."""
        return len(self.series)

    def append(self, symbol: str, batch: Ticks, offset: int) -> None:
        """Append a batch."""
        self._look()
        if self.rng.random() < self.fails:
            raise DiskFull("no space, for now")
        one = self.series.setdefault(symbol, Series())
        assert offset == len(one.rows)
        n, start = len(batch.prices), one.start
        if offset - start + n > self.limits.max_data_retention:
            keep = min(self.limits.cleanup_keep_count, self.limits.max_data_retention - n)
            start = max(start, offset - keep)
        one.rows += rows_of(batch)
        one.batches.append(len(one.rows))
        one.starts.append(start)

    def begin(self, symbol: str, batch: Ticks, at: int) -> None:
        """Make a symbol by its first row."""
        self._look()
        if self.rng.random() < self.fails:
            raise DiskFull("no space, for now")
        assert symbol not in self.series
        self.series[symbol] = Series([NO_ROW] * at + rows_of(batch), [at + 1], [at])

    def remove(self, symbol: str) -> None:
        """Remove a symbol; a power cut may bring it back."""
        self._look()
        if symbol in self.series:
            self.removed[symbol] = self.series.pop(symbol)

    def repeated(self, symbol: str, batch: Ticks, offset: int) -> Appended:
        """Return what was answered to a batch that is there."""
        rows = self.series[symbol].rows if symbol in self.series else []
        end = offset + len(batch.prices)
        before = rows[offset - 1][1] if 0 < offset <= len(rows) and rows[offset - 1] is not NO_ROW else None
        stored, late, latest_ns = clamped(batch, before)
        if end <= len(rows) and rows[offset:end] == rows_of(stored):
            return Appended(end, late, latest_ns)
        raise OffsetConflict(f"offset {offset} does not fit, the total is {len(rows)}", len(rows))

    def holds(self, symbol: str, batch: Ticks, offset: int) -> bool:
        """Compare the rows."""
        return self.series[symbol].rows[offset : offset + len(batch.prices)] == rows_of(batch)

    def retain(self, most: int, keep: int) -> None:
        """Keep so many points a symbol."""
        self.limits = Limits(max_data_retention=most, cleanup_keep_count=keep)

    def sync(self) -> None:
        """Put everything on the disk."""
        self._look()
        for one in self.series.values():
            one.synced = len(one.batches)

    def after_a_crash(self, *, power: bool) -> "ModelPoints":
        """Return what the next process finds: all that was appended; after a power cut at least what was synced."""
        self.dead = True
        if power:
            if self.removed and self.rng.random() < 0.5:
                self.series = {**self.removed, **self.series}
            for one in self.series.values():
                kept = self.rng.randint(one.synced, len(one.batches))
                del one.batches[kept:], one.starts[kept:]
                del one.rows[one.batches[-1] if one.batches else 0 :]
            self.series = {symbol: one for symbol, one in self.series.items() if one.rows}
        return ModelPoints(self.rng, self.series, fails=self.fails)


def rows_of(batch: Ticks) -> list[Row]:
    """Return the rows of a batch."""
    times = [None] * len(batch.prices) if batch.times is None else batch.times.tolist()
    return list(zip(batch.prices.tolist(), times, strict=True))
