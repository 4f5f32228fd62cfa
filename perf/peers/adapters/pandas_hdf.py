"""pandas over an HDF5 table, the format that its documentation gives for data that is appended to."""

from pathlib import Path
from typing import Any

from perf.peers.packages import load, versions
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives

_KEY = "prices"


class PandasHdf(Peer):
    """An HDFStore with one table."""

    def __init__(self) -> None:
        self._pandas = load("pandas", "pandas")
        load("tables", "tables")
        self._store: Any = None
        self._total = 0

    def facts(self) -> Facts:
        """Return what the report says."""
        return Facts(
            "pandas, HDF5 table",
            versions("pandas", "tables"),
            "BSD-3-Clause",
            Method.RESCAN,
            Survives.CLOSE,
            "HDF5 has no journal: flushed data is in the page cache, and a crash during a write can damage the file",
            (
                'append: HDFStore.append(format="table", index=False), then flush()',
                "query: HDFStore.select(start=total - window), then min, max, iloc[-1], mean and var(ddof=0)",
            ),
        )

    def open(self, path: Path) -> None:
        """Open the file."""
        self._store = self._pandas.HDFStore(str(path / "prices.h5"))
        if _KEY in self._store:
            self._total = int(self._store.get_storer(_KEY).nrows)

    def append(self, batch: Prices) -> None:
        """Append rows."""
        index = self._pandas.RangeIndex(self._total, self._total + len(batch))
        frame = self._pandas.DataFrame({"price": batch}, index=index)
        self._store.append(_KEY, frame, format="table", index=False)
        self._store.flush()
        self._total += len(batch)

    def query(self, window: int) -> Answer:
        """Read the window into a Series."""
        newest = self._store.select(_KEY, start=max(self._total - window, 0))["price"]
        return Answer(
            float(newest.min()),
            float(newest.max()),
            float(newest.iloc[-1]),
            float(newest.mean()),
            float(newest.var(ddof=0)),
        )

    def close(self) -> None:
        """Close the file."""
        self._store.close()
