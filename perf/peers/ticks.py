"""The same questions of a day of ticks to hft-mmap and to the stores that desks keep ticks in.

`python -m perf.peers.ticks` asks for windows by time, VWAP, candles, and prices as of the times of fills. Each has its
data as its own documentation advises, in the form that is fastest for it; every answer is held against that of numpy.
"""

import atexit
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from perf.peers.contest import OURS, REFERENCE, ROOT, Answer, Ask, Contest
from perf.peers.packages import load
from perf.peers.peer import Unavailable
from perf.peers.server import ServerProcess
from perf.prices import DAY_NS, OPEN_NS, day_blocks

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]
WINDOWS, FILLS = 100, 1_000_000
_MINUTE_NS = 60 * 10**9
_WINDOW_NS = 5 * _MINUTE_NS
QUESTIONS: Mapping[str, str] = {
    "window": "min, max, last, mean and variance of the 5 minutes up to any time, one of 100",
    "vwap": "VWAP of the day",
    "candles": "1-minute candles of the day: open, high, low, close, volume, VWAP",
    "asof": "the price as of each of 1e6 fills",
}


class Asked:
    """A day of ticks, and the times that all are asked about."""

    def __init__(self, points: int, _kind: str) -> None:
        """Make `points` ticks."""
        prices, times, sizes = zip(*day_blocks(points), strict=True)
        self.prices: Floats = np.concatenate(prices)
        self.times: Indexes = np.concatenate(times)
        self.sizes: Floats = np.abs(np.concatenate(sizes))
        rng = np.random.default_rng(1)
        self.ends: Indexes = rng.integers(OPEN_NS + _WINDOW_NS, OPEN_NS + DAY_NS, WINDOWS)
        self.fills: Indexes = np.sort(rng.integers(int(self.times[0]), OPEN_NS + DAY_NS, min(FILLS, points)))

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the ticks as columns, times as datetime64[ns]."""
        return {"t": self.times.view("datetime64[ns]"), "price": self.prices, "size": self.sizes}


def _sums(*columns: Any) -> Answer:  # noqa: ANN401 - columns of any package
    return tuple(float(np.nansum(np.asarray(column))) for column in columns)


def ours(asked: Asked, directory: Path) -> dict[str, Ask]:
    """Return how hft-mmap is asked; its ticks lie in `directory`."""
    package = load("hft_mmap", "hft-mmap")
    roomy = package.Limits(max_data_retention=10**9, cleanup_keep_count=10**9)
    store = package.Store(directory, limits=roomy, durability="process")
    for begin in range(0, len(asked.prices), FILLS):
        part = slice(begin, begin + FILLS)
        store.append("A", asked.prices[part], times=asked.times[part], sizes=asked.sizes[part])
    store.summarise("A")
    series = store.series("A")
    five = ("min", "max", "last", "avg", "var")
    ends = [f"{end}ns" for end in asked.ends.tolist()]
    day = {"start": f"{OPEN_NS}ns", "end": f"{OPEN_NS + DAY_NS}ns"}
    of_bars = ("first", "max", "min", "last", "volume", "vwap")

    def window() -> Answer:
        found = [series.statistics(five, window="5m", at=end) for end in ends]
        return _sums(*([one[name] for one in found] for name in five))

    def candles() -> Answer:
        found = series.time_bars("1m", **day, stats=of_bars)
        return _sums(*(found[name] for name in of_bars))

    return {
        "window": window,
        "vwap": lambda: (series.statistics(("vwap",), **day)["vwap"],),
        "candles": candles,
        "asof": lambda: _sums(series.asof_many(asked.fills)["value"]),
    }


def in_numpy(asked: Asked, _directory: Path) -> dict[str, Ask]:
    """Return how numpy is asked."""
    t, p, s = asked.times, asked.prices, asked.sizes

    def window() -> Answer:
        bounds = zip(t.searchsorted(asked.ends - _WINDOW_NS, "right"), t.searchsorted(asked.ends, "right"), strict=True)
        return _sums(
            *zip(*[(w.min(), w.max(), w[-1], w.mean(), w.var()) for w in (p[i:j] for i, j in bounds)], strict=True)
        )

    def candles() -> Answer:
        begins = np.unique(t.searchsorted(np.arange(OPEN_NS, OPEN_NS + DAY_NS, _MINUTE_NS)))
        closes = np.append(begins[1:], len(t)) - 1
        volume, value = np.add.reduceat(s, begins), np.add.reduceat(p * s, begins)
        highs, lows = np.maximum.reduceat(p, begins), np.minimum.reduceat(p, begins)
        return _sums(p[begins], highs, lows, p[closes], volume, value / volume)

    return {
        "window": window,
        "vwap": lambda: (float((p * s).sum() / s.sum()),),
        "candles": candles,
        "asof": lambda: _sums(p[t.searchsorted(asked.fills, "right") - 1]),
    }


def in_polars(asked: Asked, _directory: Path) -> dict[str, Ask]:
    """Return how polars is asked: a frame in memory that knows that it is in order."""
    pl = load("polars", "polars")
    frame = pl.DataFrame(asked.columns()).set_sorted("t")
    fills = pl.DataFrame({"t": asked.fills.view("datetime64[ns]")}).set_sorted("t")
    price, size = pl.col("price"), pl.col("size")
    vwap = (price * size).sum() / size.sum()

    def window() -> Answer:
        t = frame["t"]
        lows = t.search_sorted((asked.ends - _WINDOW_NS).view("datetime64[ns]"), "right")
        highs = t.search_sorted(asked.ends.view("datetime64[ns]"), "right")
        parts = (frame["price"].slice(i, j - i) for i, j in zip(lows, highs, strict=True))
        return _sums(*zip(*[(w.min(), w.max(), w[-1], w.mean(), w.var(ddof=0)) for w in parts], strict=True))

    def candles() -> Answer:
        found = frame.group_by_dynamic("t", every="1m").agg(
            price.first().alias("o"), price.max().alias("h"), price.min().alias("l"), price.last().alias("c"),
            size.sum().alias("v"), vwap.alias("w"),
        )  # fmt: skip
        return _sums(*(found[name] for name in "ohlcvw"))

    return {
        "window": window,
        "vwap": lambda: (frame.select(vwap).item(),),
        "candles": candles,
        "asof": lambda: _sums(fills.join_asof(frame.select("t", "price"), on="t")["price"]),
    }


def in_duckdb(asked: Asked, _directory: Path) -> dict[str, Ask]:
    """Return how DuckDB is asked: tables in memory, in the order of their times."""
    connection = load("duckdb", "duckdb").connect()
    arrow = load("pyarrow", "pyarrow")
    taken = {"ticks": asked.columns() | {"t": asked.times}, "fills": {"t": asked.fills}}
    for name, columns in taken.items():
        connection.register("taken", arrow.table(columns))
        connection.execute(f"create table {name} as select * from taken")  # noqa: S608 - ours
        connection.unregister("taken")

    def one(sql: str, *values: int) -> Any:  # noqa: ANN401 - a row
        return connection.execute(sql, values).fetchone()

    def window() -> Answer:
        five = "min(price), max(price), arg_max(price, t), avg(price), var_pop(price)"
        sql = f"select {five} from ticks where t > ? and t <= ?"  # noqa: S608 - ours
        return _sums(*zip(*[one(sql, end - _WINDOW_NS, end) for end in asked.ends.tolist()], strict=True))

    ohlcv = "arg_min(price, t) o, max(price) h, min(price) l, arg_max(price, t) c, sum(size) v"
    vwap = "sum(price * size) / sum(size)"
    candles = f"select {ohlcv}, {vwap} w from ticks group by t // {_MINUTE_NS}"  # noqa: S608 - ours
    return {
        "window": window,
        "vwap": lambda: one(f"select {vwap} from ticks"),  # noqa: S608 - ours
        "candles": lambda: one(f"select sum(o), sum(h), sum(l), sum(c), sum(v), sum(w) from ({candles})"),  # noqa: S608 - ours
        "asof": lambda: one("select sum(price) from fills asof join ticks on fills.t >= ticks.t"),
    }


def in_chdb(asked: Asked, directory: Path) -> dict[str, Ask]:
    """Return how ClickHouse is asked, in process: MergeTree tables in the order of symbol and time."""
    session = load("chdb.session", "chdb").Session(str(directory / "clickhouse"))
    pandas = load("pandas", "pandas")
    session.query("CREATE DATABASE market ENGINE = Atomic")
    for name, columns in (("ticks", asked.columns()), ("fills", {"t": asked.fills.view("datetime64[ns]")})):
        more = "".join(f", {column} Float64" for column in columns if column != "t")
        session.query(
            f"CREATE TABLE market.{name} (symbol LowCardinality(String), t DateTime64(9, 'UTC') CODEC(DoubleDelta, LZ4)"
            f"{more}) ENGINE = MergeTree ORDER BY (symbol, t)"
        )
        for begin in range(0, len(columns["t"]), 10 * FILLS):
            frame = pandas.DataFrame({key: column[begin : begin + 10 * FILLS] for key, column in columns.items()})
            assert len(frame)  # and the statement below finds the frame by its name
            session.query(f"INSERT INTO market.{name} SELECT 'A', {', '.join(columns)} FROM Python(frame)")  # noqa: S608
        session.query(f"OPTIMIZE TABLE market.{name} FINAL")

    def one(sql: str) -> Any:  # noqa: ANN401 - a row
        return orjson.loads(str(session.query(sql, "JSONCompactEachRow")))

    def window() -> Answer:
        sql = (
            "SELECT min(price), max(price), argMax(price, t), avg(price), varPopStable(price) FROM market.ticks "
            "WHERE symbol = 'A' AND t > fromUnixTimestamp64Nano({}) AND t <= fromUnixTimestamp64Nano({})"
        )
        return _sums(*zip(*[one(sql.format(end - _WINDOW_NS, end)) for end in asked.ends.tolist()], strict=True))

    candles = (
        "SELECT argMin(price, t) o, max(price) h, min(price) l, argMax(price, t) c, sum(size) v, "
        "sum(price * size) / sum(size) w FROM market.ticks WHERE symbol = 'A' GROUP BY toStartOfMinute(t)"
    )
    return {
        "window": window,
        "vwap": lambda: one("SELECT sum(price * size) / sum(size) FROM market.ticks WHERE symbol = 'A'"),
        "candles": lambda: one(f"SELECT sum(o), sum(h), sum(l), sum(c), sum(v), sum(w) FROM ({candles})"),  # noqa: S608 - ours
        "asof": lambda: one("SELECT sum(price) FROM market.fills ASOF JOIN market.ticks USING (symbol, t)"),
    }


def in_questdb(asked: Asked, directory: Path) -> dict[str, Ask]:
    """Return how QuestDB is asked: a server on loopback, by its HTTP, which takes some part of a millisecond itself."""
    httpx, arrow, parquet = load("httpx", "httpx"), load("pyarrow", "pyarrow"), load("pyarrow.parquet", "pyarrow")
    client = httpx.Client(base_url=_questdb(directory), timeout=600)

    def rows(sql: str) -> Any:  # noqa: ANN401 - rows
        answer = client.get("/exec", params={"query": sql, "nm": "true"})
        if answer.status_code != 200:
            raise RuntimeError(answer.text[:500])
        return answer.json().get("dataset")

    for name, columns in (("ticks", asked.columns()), ("fills", {"t": asked.fills.view("datetime64[ns]")})):
        parquet.write_table(arrow.table(columns), directory / "import" / f"{name}.parquet")
        rows(f"CREATE TABLE {name} AS (SELECT * FROM read_parquet('{name}.parquet')) TIMESTAMP(t) PARTITION BY DAY")  # noqa: S608

    def window() -> Answer:
        sql = (
            "SELECT min(price), max(price), last(price), avg(price), var_pop(price) FROM ticks "
            "WHERE t > {}::timestamp_ns AND t <= {}::timestamp_ns"
        )
        found = [rows(sql.format(end - _WINDOW_NS, end))[0] for end in asked.ends.tolist()]
        return _sums(*zip(*found, strict=True))

    candles = (
        "SELECT first(price) o, max(price) h, min(price) l, last(price) c, sum(size) v, vwap(price, size) w FROM ticks "
        "SAMPLE BY 1m"
    )
    return {
        "window": window,
        "vwap": lambda: rows("SELECT vwap(price, size) FROM ticks")[0],
        "candles": lambda: rows(f"SELECT sum(o), sum(h), sum(l), sum(c), sum(v), sum(w) FROM ({candles})")[0],  # noqa: S608
        "asof": lambda: rows("SELECT sum(ticks.price) FROM fills ASOF JOIN ticks")[0],
    }


def _questdb(directory: Path) -> str:
    """Start QuestDB, which ends with this process, and return its address. Unavailable without Java or its jar."""
    java, jar = shutil.which("java"), ROOT / ".venv-peers/questdb.jar"
    if java is None:
        raise Unavailable("there is no java; Debian has it as openjdk-17-jre-headless")
    if not jar.exists():
        raise Unavailable(f"there is no {jar}; `make peers` fetches it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (directory / "import").mkdir()
    variables = {
        "QDB_HTTP_BIND_TO": f"127.0.0.1:{port}", "QDB_CAIRO_SQL_COPY_ROOT": str(directory / "import"),
        "QDB_TELEMETRY_ENABLED": "false", "QDB_HTTP_MIN_ENABLED": "false", "QDB_PG_ENABLED": "false",
        "QDB_LINE_TCP_ENABLED": "false",
    }  # fmt: skip
    command = [java, "-p", str(jar), "-m", "io.questdb/io.questdb.ServerMain", "-d", str(directory)]
    server = ServerProcess(command, directory, variables=variables)
    atexit.register(server.stop)

    def answers() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", port)) == os.EX_OK

    server.wait_until(answers)
    return f"http://127.0.0.1:{port}"


CONTEST = Contest(
    "perf.peers.ticks",
    QUESTIONS,
    {"window": WINDOWS},
    {
        OURS: ours, REFERENCE: in_numpy, "polars": in_polars, "duckdb": in_duckdb, "chdb": in_chdb,
        "questdb": in_questdb,
    },
    Asked,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(CONTEST.main())
