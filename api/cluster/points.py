"""What a replica needs of a store: where each symbol ends, and to append there."""

from contextlib import suppress

from hft_mmap import ColumnsDiffer, OffsetConflict, Store, SymbolNotFound, Ticks
from hft_mmap.files.layout import KINDS, Kind
from hft_mmap.ticks import Appended


class Points:
    """The points of all symbols of a shard, in a store; `sync` is called from another thread, beside all else."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def total(self, symbol: str) -> int:
        """Return the points ever appended to `symbol`; 0 where there is none."""
        try:
            return self._store.series(symbol).total
        except SymbolNotFound:
            return 0

    def kinds(self, symbol: str) -> tuple[Kind, ...]:
        """Return the columns of `symbol`, which holds points."""
        names = self._store.series(symbol).columns
        return tuple(kind for kind in KINDS if kind.name in names)

    def last_time(self, symbol: str) -> int | None:
        """Return the time of the newest point of `symbol`, None where it has none, or no point is kept."""
        times = self._store.ticks(symbol, 1).times
        return int(times[-1]) if times is not None and len(times) else None

    def symbols(self) -> int:
        """Return how many symbols there are."""
        return len(self._store)

    def append(self, symbol: str, batch: Ticks, offset: int) -> None:
        """Append a batch that belongs at the end; HftMmapError where the disk does not take it."""
        # PERF: prices alone take the shorter of the two ways.
        if batch.kinds:
            self._store.append_ticks_nowait(symbol, batch, offset=offset)
        else:
            self._store.append_nowait(symbol, batch.prices, offset=offset)

    def begin(self, symbol: str, batch: Ticks, at: int) -> None:
        """Make `symbol`, whose one point has the index `at`; HftMmapError where the disk does not take it."""
        self._store.begin(symbol, batch, at=at)

    def remove(self, symbol: str) -> None:
        """Remove `symbol`, if it is there; called from the thread of `sync`. HftMmapError."""
        with suppress(SymbolNotFound):
            self._store.remove(symbol)

    def repeated(self, symbol: str, batch: Ticks, offset: int) -> Appended:
        """Return what was answered to a batch that is stored at `offset`, before the end; else OffsetConflict."""
        if not self.total(symbol):
            message = f"offset {offset} does not fit: {symbol} does not exist yet, its total is 0"
            raise OffsetConflict(message, 0)
        if batch.kinds:
            return self._store.append_ticks_nowait(symbol, batch, offset=offset)
        return Appended(self._store.append_nowait(symbol, batch.prices, offset=offset))

    def holds(self, symbol: str, batch: Ticks, offset: int) -> bool:
        """Say whether the very rows of `batch` are stored at `offset`, before the end; those that are kept of them."""
        begin = max(0, self._store.series(symbol).bounds()[0] - offset)
        kept = batch.cut(begin, len(batch.prices))
        try:
            return not len(kept.prices) or self.repeated(symbol, kept, offset + begin).late == 0
        except (OffsetConflict, ColumnsDiffer):
            return False

    def retain(self, most: int, keep: int) -> None:
        """Keep so many points a symbol from now on (`Limits`)."""
        self._store.retain(most, keep)

    def sync(self) -> None:
        """Put everything on the disk."""
        self._store.sync()
