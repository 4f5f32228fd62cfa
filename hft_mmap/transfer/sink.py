"""Where imported points go."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from hft_mmap.errors import SymbolLimitReached, SymbolNotFound
from hft_mmap.store import Store
from hft_mmap.ticks import Appended, Ticks

JOURNALS_NAME = ".imports"
"""The folder of a data directory that keeps the journals; no symbol has a name that begins with a dot."""


def never() -> bool:
    """Return False."""
    return False


class Room(NamedTuple):
    """The symbols that a store has, how many it may have (None: nobody knows), and whether prices may be negative."""

    known: frozenset[str] = frozenset()
    most: int | None = None
    takes_negative: bool = False

    def check(self, symbols: Iterable[str], stored: int = 0) -> None:
        """Make sure that the store may have these symbols too; SymbolLimitReached. stored: points until now."""
        new = [symbol for symbol in symbols if symbol not in self.known]
        if self.most is None or not new or len(self.known) + len(new) <= self.most:
            return
        kept = "nothing was stored" if not stored else f"the {stored} points stored before that stay"
        raise SymbolLimitReached(
            f"symbol limit reached: the store holds {len(self.known)} of at most {self.most} symbols "
            f"(store.max_symbols), and the files name {len(new)} more, {new[-1]!r} among them: {kept}; raise the "
            f"limit, or take those of one symbol with --where-symbol-column"
        )


class Sink(Protocol):
    """What an import needs of a store, near or far."""

    name: str
    """What a journal calls it, always the same for the same series."""
    journals: Path
    """The directory of the journals."""
    stop: Callable[[], bool]
    """Asked while `bounds` or `append` waits for long; they raise Interrupted once it is true. Set by the import."""

    def room(self) -> Room:
        """Return which symbols there are, and how many there may be."""
        ...

    def newest(self, symbol: str, count: int) -> Ticks:
        """Return up to `count` of the newest points of a series that exists, oldest first."""
        ...

    def columns(self, symbol: str) -> tuple[str, ...] | None:
        """Return what the points of a series have beside their prices, as `Series.columns`; None where it has none."""
        ...

    def bounds(self, symbol: str) -> tuple[int, int]:
        """Return (start, total) of a series, (0, 0) if there is none; all of it is on the disk, or will be."""
        ...

    def append(self, symbol: str, batch: Ticks, offset: int) -> Appended:
        """Append a batch that belongs at `offset`; one that is already there, row for row, is not stored again."""
        ...

    def settle(self) -> None:
        """Put everything appended on the disk."""
        ...


class StoreSink:
    """A store of this process, opened for writing."""

    def __init__(self, store: Store) -> None:
        """Append to `store`."""
        self._store = store
        self.name = str(store.path.resolve())
        self.journals = store.path / JOURNALS_NAME
        self.stop = never  # a store near by does not wait for long

    def room(self) -> Room:
        """Return which symbols there are, and how many there may be."""
        limits = self._store.limits
        return Room(frozenset(self._store), limits.max_symbols, limits.negative_prices)

    def newest(self, symbol: str, count: int) -> Ticks:
        """Return the newest points."""
        return self._store.ticks(symbol, count)

    def columns(self, symbol: str) -> tuple[str, ...] | None:
        """Return what the points of a series have beside their prices."""
        try:
            series = self._store.series(symbol)
        except SymbolNotFound:
            return None
        return series.columns if series.total else None

    def bounds(self, symbol: str) -> tuple[int, int]:
        """Return (start, total); what others have appended is put on the disk first.

        Else a power loss could take points from below the place where the import began, and nothing would fit.
        """
        try:
            series = self._store.series(symbol)
        except SymbolNotFound:
            return 0, 0
        self._store.sync()
        return series.bounds()

    def append(self, symbol: str, batch: Ticks, offset: int) -> Appended:
        """Append; errors as `Store.append` has them."""
        if batch.columns:
            return self._store.append_ticks_nowait(symbol, batch, offset=offset)
        return Appended(self._store.append_nowait(symbol, batch.prices, offset=offset))

    def settle(self) -> None:
        """Put everything on the disk; SeriesReadOnly if the disk fails."""
        self._store.sync()
