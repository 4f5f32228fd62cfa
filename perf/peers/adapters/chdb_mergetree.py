"""chDB: ClickHouse in this process, with a MergeTree table."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from perf.peers.packages import load, versions
from perf.peers.peer import Answer, Facts, Method, Peer, Prices, Survives

_CREATE = (
    "CREATE TABLE IF NOT EXISTS market.prices (seq UInt64 CODEC(Delta, LZ4), price Float64) "
    "ENGINE = MergeTree ORDER BY seq"
)
_QUERY = (
    "SELECT min(price), max(price), argMax(price, seq), avg(price), varPopStable(price) "
    "FROM market.prices WHERE seq >= {}"
)
_OTHER_VARIANCE = "SELECT varPop(price) FROM market.prices WHERE seq >= {}"


class ChDbMergeTree(Peer):
    """A MergeTree ordered by the point's index."""

    def __init__(self) -> None:
        self._pandas = load("pandas", "pandas")
        self._sessions = load("chdb.session", "chdb")
        self._session: Any = None
        self._total = 0

    def facts(self) -> Facts:
        """Return what the report says."""
        (engine,) = self._row("SELECT version()")
        return Facts(
            "chDB (ClickHouse)",
            f"{versions('chdb')}, ClickHouse {engine}",
            "Apache-2.0",
            Method.RESCAN,
            Survives.KILL,
            "a part is renamed into place when it is written; nothing is synced (fsync_after_insert is 0 by default)",
            (
                _CREATE,
                (
                    "append: INSERT INTO … SELECT FROM Python(DataFrame), one statement a batch: 10,000 rows is "
                    "the least of the documented ideal of 10,000 to 100,000; faster here than the same from an "
                    "Arrow table"
                ),
                f"query: {_QUERY.format('total - window')}",
                "varPopStable because the documentation recommends it where varPop, the default, is unstable",
                "bytes on disk include merged parts that are kept for 8 minutes (old_parts_lifetime, the default)",
            ),
        )

    def open(self, path: Path) -> None:
        """Open the session and its tables."""
        self._session = self._sessions.Session(str(path / "clickhouse"))
        self._session.query("CREATE DATABASE IF NOT EXISTS market ENGINE = Atomic")
        self._session.query(_CREATE)
        (self._total,) = (int(count) for count in self._row("SELECT count() FROM market.prices"))

    def _row(self, query: str) -> list[Any]:
        """Return the only row of an answer."""
        row: list[Any] = orjson.loads(str(self._session.query(query, "JSONCompactEachRow")))
        return row

    def append(self, batch: Prices) -> None:
        """Insert the rows of a batch."""
        seq = np.arange(self._total, self._total + len(batch), dtype=np.uint64)
        frame = self._pandas.DataFrame({"seq": seq, "price": batch})
        assert len(frame) == len(batch)  # and the statement below finds the frame by its name
        self._session.query("INSERT INTO market.prices SELECT seq, price FROM Python(frame)")
        self._total += len(batch)

    def query(self, window: int) -> Answer:
        """Aggregate the window."""
        return Answer(*self._row(_QUERY.format(self._total - window)))

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def other_variances(self, window: int) -> dict[str, float]:
        """Return what the default function gives."""
        (found,) = self._row(_OTHER_VARIANCE.format(self._total - window))
        return {"varPop": float(found)}
