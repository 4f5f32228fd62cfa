"""ArcticDB over LMDB, its storage for one machine."""

from pathlib import Path
from typing import Any

from perf.peers.packages import load, versions
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives

_SYMBOL = "ABC-USD"
_MAP_SIZE = "40GB"
_COMPACTED_BATCHES = 100


class Arctic(Peer):
    """One symbol in one library."""

    def __init__(self) -> None:
        self._pandas = load("pandas", "pandas")
        self._arcticdb = load("arcticdb", "arcticdb")
        self._arctic: Any = None
        self._library: Any = None
        self._total = 0
        self._appended = 0

    def facts(self) -> Facts:
        """Return what the report says."""
        return Facts(
            "ArcticDB, LMDB",
            versions("arcticdb"),
            "Business Source License 1.1",
            Method.RESCAN,
            Survives.ALL,
            "each append is a few LMDB transactions, each synced when it commits",
            (
                f"lmdb:// with map_size {_MAP_SIZE}, otherwise defaults",
                "append: Library.append of a DataFrame with a RangeIndex, prune_previous_versions=True",
                f"compact_data every {_COMPACTED_BATCHES} batches, as documented for data in many small segments",
                "query: Library.read(row_range=…), then NumPy's min, max, [-1], mean and var",
            ),
        )

    def open(self, path: Path) -> None:
        """Open the library."""
        self._arctic = self._arcticdb.Arctic(f"lmdb://{path / 'arctic'}?map_size={_MAP_SIZE}")
        self._library = self._arctic.get_library("prices", create_if_missing=True)
        if self._library.has_symbol(_SYMBOL):
            self._total = int(self._library.get_description(_SYMBOL).row_count)

    def append(self, batch: Prices) -> None:
        """Append rows; now and then compact."""
        index = self._pandas.RangeIndex(self._total, self._total + len(batch))
        frame = self._pandas.DataFrame({"price": batch}, index=index)
        self._library.append(_SYMBOL, frame, prune_previous_versions=True)
        self._total += len(batch)
        self._appended += 1
        if self._appended % _COMPACTED_BATCHES == 0:
            self._library.compact_data(_SYMBOL, prune_previous_versions=True)

    def query(self, window: int) -> Answer:
        """Read the window into an array."""
        rows = (max(self._total - window, 0), self._total)
        newest = self._library.read(_SYMBOL, row_range=rows).data["price"].to_numpy()
        return Answer(
            float(newest.min()), float(newest.max()), float(newest[-1]), float(newest.mean()), float(newest.var())
        )

    def close(self) -> None:
        """Let go of the storage."""
        self._library = None
        self._arctic = None
