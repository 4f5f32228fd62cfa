"""SQLite: a table in a database file, in this process."""

import sqlite3
from pathlib import Path

from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives

# Two passes, so that the variance does not cancel; the row number bounds each to the window.
_QUERY = """
SELECT min(price), max(price), (SELECT price FROM prices ORDER BY seq DESC LIMIT 1), mean,
       avg((price - mean) * (price - mean))
FROM (SELECT avg(price) AS mean FROM prices WHERE seq >= :first) CROSS JOIN prices
WHERE seq >= :first
"""


class SqliteTable(Peer):
    """A table (seq INTEGER PRIMARY KEY, price REAL), one transaction a batch."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._total = 0

    def facts(self) -> Facts:
        """Return what the report says."""
        return Facts(
            "SQLite",
            f"SQLite {sqlite3.sqlite_version}",
            "public domain",
            Method.RESCAN,
            Survives.MOSTLY,
            "a commit survives kill -9; power loss rolls back to the last checkpoint of the log (about 4 MB of it)",
            (
                "journal_mode WAL, synchronous NORMAL (the documented choice for WAL), otherwise defaults",
                "table (seq INTEGER PRIMARY KEY, price REAL): the key is the row number, so there is no second index",
                "append: executemany of the batch in one transaction",
                "query: one statement in two passes (mean, then squared distances), as SQLite has no variance",
            ),
        )

    def open(self, path: Path) -> None:
        """Open the database file."""
        self._connection = sqlite3.connect(path / "prices.sqlite", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS prices (seq INTEGER PRIMARY KEY, price REAL NOT NULL)")
        (self._total,) = self._connection.execute("SELECT coalesce(max(seq) + 1, 0) FROM prices").fetchone()

    def append(self, batch: Prices) -> None:
        """Insert the rows of a batch."""
        assert self._connection is not None
        rows = zip(range(self._total, self._total + len(batch)), batch.tolist(), strict=True)
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO prices VALUES (?, ?)", rows)
        self._connection.execute("COMMIT")
        self._total += len(batch)

    def query(self, window: int) -> Answer:
        """Aggregate the window."""
        assert self._connection is not None
        return Answer(*self._connection.execute(_QUERY, {"first": self._total - window}).fetchone())

    def close(self) -> None:
        """Close the database; it writes a checkpoint."""
        assert self._connection is not None
        self._connection.close()
