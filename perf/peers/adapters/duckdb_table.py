"""DuckDB: a table in a database file, in this process."""

from pathlib import Path
from typing import Any

import numpy as np

from perf.peers.packages import load, versions
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives

_QUERY = "SELECT min(price), max(price), arg_max(price, seq), avg(price), var_pop(price) FROM prices WHERE seq >= ?"


class DuckDbTable(Peer):
    """A table (seq BIGINT, price DOUBLE), one transaction a batch."""

    def __init__(self) -> None:
        self._duckdb = load("duckdb", "duckdb")
        self._connection: Any = None
        self._total = 0

    def facts(self) -> Facts:
        """Return what the report says."""
        threads, limit, threshold = (
            self._connection.execute(f"SELECT current_setting('{name}')").fetchone()[0]
            for name in ("threads", "memory_limit", "checkpoint_threshold")
        )
        return Facts(
            "DuckDB",
            versions("duckdb"),
            "MIT",
            Method.RESCAN,
            Survives.ALL,
            "each commit is in the write-ahead log and synced before it returns; there is no looser setting",
            (
                (
                    "table (seq BIGINT, price DOUBLE), no index: rows arrive in order, so the min-max of each row "
                    "group (zone map) prunes"
                ),
                (
                    "append: INSERT INTO … SELECT * FROM a dictionary of NumPy arrays, one transaction a batch "
                    "(2.3 times as fast here as from an Arrow table; Python has no Appender)"
                ),
                f"query: {_QUERY}",
                f"defaults: threads {threads}, memory_limit {limit}, checkpoint_threshold {threshold}",
            ),
        )

    def open(self, path: Path) -> None:
        """Open the database file."""
        self._connection = self._duckdb.connect(str(path / "prices.duckdb"))
        self._connection.execute("CREATE TABLE IF NOT EXISTS prices (seq BIGINT, price DOUBLE)")
        self._total = self._connection.execute("SELECT coalesce(max(seq) + 1, 0) FROM prices").fetchone()[0]

    def append(self, batch: Prices) -> None:
        """Insert the rows of a batch."""
        rows = {"seq": np.arange(self._total, self._total + len(batch)), "price": batch}
        assert rows  # and the statement below finds it by its name
        self._connection.execute("INSERT INTO prices SELECT * FROM rows")
        self._total += len(batch)

    def query(self, window: int) -> Answer:
        """Aggregate the window."""
        return Answer(*self._connection.execute(_QUERY, [self._total - window]).fetchone())

    def close(self) -> None:
        """Close the database; it writes a checkpoint."""
        self._connection.close()
