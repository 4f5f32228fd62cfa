"""The same questions of a range to hft-mmap and to what one would use instead: `python -m perf.peers.questions`.

Others are asked in memory, where their data lies in the form that is fastest for them; hft-mmap has its on the disk.
Every answer is held against that of numpy. A table of the least time of each question, and how many times that of
hft-mmap it is, is printed; `make peers` installs what is compared.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf.peers.contest import OURS, REFERENCE, Answer, Ask, Contest
from perf.peers.packages import load
from perf.prices import BLOCK_POINTS, BLOCKS

Floats = NDArray[np.float64]
WINDOWS, LONGEST, SHORTEST = 100, 1_000_000, 100_000
BARS, PASSAGES, ROLLED, ROLLING = 1_000, 100, 1_000, 1_000_000
QUESTIONS: Mapping[str, str] = {
    "windows": "min, max, mean and std of a window of 1e5 to 1e6 points, one of 100",
    "bars": "open, high, low, close and mean of 1,000 bars over all points",
    "median": "the median of all points, a stored value",
    "first": "the first point 1 % away from a random one, one of 100",
    "rolling": "mean and std of 1,000 points at every one of 1e6 points",
}
_ROWS_AT_ONCE = 1_000  # numpy makes a copy of what it takes the deviation of: 8 MB


class Asked:
    """The prices, and the places that all are asked about."""

    def __init__(self, points: int, kind: str) -> None:
        """Make `points` prices of a `kind` of perf.prices.BLOCKS."""
        blocks = islice(BLOCKS[kind](), -(-points // BLOCK_POINTS))
        self.prices: Floats = np.concatenate(list(blocks))[:points]
        rng = np.random.default_rng(1)
        lengths = rng.integers(min(SHORTEST, points // 10), min(LONGEST, points) + 1, WINDOWS)
        self.starts = rng.integers(0, points - lengths + 1)
        self.ends = self.starts + lengths
        self.after = rng.integers(0, points // 2, PASSAGES)
        self.bar = max(points // BARS, 1)
        self.rank = (points + 1) // 2 - 1
        self.rolling = self.prices[:ROLLING]

    def windows(self) -> list[tuple[int, int]]:
        """Return the windows as pairs."""
        return list(zip(self.starts.tolist(), self.ends.tolist(), strict=True))

    def passages(self) -> list[tuple[int, float, float]]:
        """Return for each passage the index behind which to look, and the barriers above and below."""
        return [(i, self.prices[i] * 1.01, self.prices[i] * 0.99) for i in self.after.tolist()]


def _rows(rows: Sequence[Sequence[float]]) -> Answer:
    return tuple(float(value) for value in np.asarray(rows).sum(axis=0))


def _columns(*columns: Any) -> Answer:  # noqa: ANN401 - columns of any package
    return tuple(float(np.nansum(np.asarray(column))) for column in columns)


def ours(asked: Asked, directory: Path) -> dict[str, Ask]:
    """Return how hft-mmap is asked; its points lie in `directory`."""
    store_module = load("hft_mmap", "hft-mmap")
    roomy = store_module.Limits(max_data_retention=10**9, cleanup_keep_count=10**9)
    store = store_module.Store(directory, limits=roomy, durability="process")
    for begin in range(0, len(asked.prices), BLOCK_POINTS):
        store.append("A", asked.prices[begin : begin + BLOCK_POINTS])
    series = store.series("A")

    def many(starts: NDArray[np.int64], ends: NDArray[np.int64], *names: str) -> Answer:
        found = series.stats_many(starts, ends, names)
        return _columns(*(found[name] for name in names))

    def bars() -> Answer:
        names = ("first", "max", "min", "last", "avg")
        found = series.stats_bars(asked.bar, stats=names)
        return _columns(*(found[name] for name in names))

    def first() -> Answer:
        found = [series.first(i, above=high, below=low) for i, high, low in asked.passages()]
        return (float(sum(-1 if one is None else one.index for one in found)),)

    ends = np.arange(ROLLED, len(asked.rolling) + 1)
    return {
        "windows": lambda: many(asked.starts, asked.ends, "min", "max", "avg", "std"),
        "bars": bars,
        "median": lambda: series.quantile((0.5,)),
        "first": first,
        "rolling": lambda: many(ends - ROLLED, ends, "avg", "std"),
    }


def in_numpy(asked: Asked, _directory: Path) -> dict[str, Ask]:
    """Return how numpy is asked."""
    v, n = asked.prices, len(asked.prices) // asked.bar * asked.bar

    def windows() -> Answer:
        return _rows([(p.min(), p.max(), p.mean(), p.std()) for p in (v[lo:hi] for lo, hi in asked.windows())])

    def bars() -> Answer:
        rows, rest = v[:n].reshape(-1, asked.bar), [v[n:]] if n < len(v) else []
        found = [rows[:, 0], rows.max(axis=1), rows.min(axis=1), rows[:, -1], rows.mean(axis=1)]
        last = [[p[0], p.max(), p.min(), p[-1], p.mean()] for p in rest] or [[0.0] * 5]
        return tuple(float(column.sum() + more) for column, more in zip(found, last[0], strict=True))

    def first() -> Answer:
        places = []
        for i, high, low in asked.passages():
            met = (v[i + 1 :] >= high) | (v[i + 1 :] <= low)
            at = int(met.argmax())
            places.append(i + 1 + at if met[at] else -1)
        return (float(sum(places)),)

    def rolling() -> Answer:
        shown = np.lib.stride_tricks.sliding_window_view(asked.rolling, ROLLED)
        parts = (shown[i : i + _ROWS_AT_ONCE] for i in range(0, len(shown), _ROWS_AT_ONCE))
        return _rows([(part.mean(axis=1).sum(), part.std(axis=1).sum()) for part in parts])

    median = lambda: (float(np.partition(v, asked.rank)[asked.rank]),)  # noqa: E731 - as the others
    return {"windows": windows, "bars": bars, "median": median, "first": first, "rolling": rolling}


def in_pandas(asked: Asked, _directory: Path) -> dict[str, Ask]:
    """Return how pandas is asked."""
    pandas = load("pandas", "pandas")
    v, rolled = pandas.Series(asked.prices), pandas.Series(asked.rolling)
    bar = np.arange(len(v)) // asked.bar

    def windows() -> Answer:
        return _rows([
            (p.min(), p.max(), p.mean(), p.std(ddof=0)) for p in (v.iloc[lo:hi] for lo, hi in asked.windows())
        ])  # fmt: skip

    def bars() -> Answer:
        found = v.groupby(bar).agg(["first", "max", "min", "last", "mean"])
        return _columns(*(found[name] for name in found))

    def first() -> Answer:
        places = []
        for i, high, low in asked.passages():
            rest = v.iloc[i + 1 :]
            met = (rest >= high) | (rest <= low)
            places.append(int(met.idxmax()) if met.any() else -1)
        return (float(sum(places)),)

    def rolling() -> Answer:
        window = rolled.rolling(ROLLED)
        return _columns(window.mean(), window.std(ddof=0))

    median = lambda: (float(v.quantile(0.5, interpolation="lower")),)  # noqa: E731 - as the others
    return {"windows": windows, "bars": bars, "median": median, "first": first, "rolling": rolling}


def in_polars(asked: Asked, _directory: Path) -> dict[str, Ask]:
    """Return how polars is asked."""
    pl = load("polars", "polars")
    v, rolled, x = pl.Series("x", asked.prices), pl.DataFrame({"x": asked.rolling}), pl.col("x")
    frame = pl.DataFrame({"i": np.arange(len(v)), "x": v})

    def windows() -> Answer:
        parts = (v.slice(lo, hi - lo) for lo, hi in asked.windows())
        return _rows([(p.min(), p.max(), p.mean(), p.std(ddof=0)) for p in parts])

    def bars() -> Answer:
        asking = frame.group_by_dynamic("i", every=f"{asked.bar}i")
        found = asking.agg(x.first().alias("o"), x.max().alias("h"), x.min().alias("l"), x.last().alias("c"), x.mean())
        return _columns(*(found[name] for name in ("o", "h", "l", "c", "x")))

    def first() -> Answer:
        places = []
        for i, high, low in asked.passages():
            rest = v.slice(i + 1)
            met = (rest >= high) | (rest <= low)
            at = met.arg_max()
            places.append(i + 1 + at if met[at] else -1)
        return (float(sum(places)),)

    def rolling() -> Answer:
        found = rolled.select(x.rolling_mean(ROLLED).alias("m"), x.rolling_std(ROLLED, ddof=0).alias("s")).drop_nulls()
        return _columns(found["m"], found["s"])

    median = lambda: (float(v.quantile(0.5, "lower")),)  # noqa: E731 - as the others
    return {"windows": windows, "bars": bars, "median": median, "first": first, "rolling": rolling}


def in_duckdb(asked: Asked, _directory: Path) -> dict[str, Ask]:
    """Return how DuckDB is asked: a table in memory, in the order of its index."""
    connection = load("duckdb", "duckdb").connect()
    taken = load("pyarrow", "pyarrow").table({"i": np.arange(len(asked.prices)), "x": asked.prices})
    connection.register("taken", taken)
    connection.execute("create table p as select * from taken")
    connection.unregister("taken")

    def one(sql: str, *values: float) -> Any:  # noqa: ANN401 - a row
        return connection.execute(sql, values).fetchone()

    def windows() -> Answer:
        asking = "select min(x), max(x), avg(x), stddev_pop(x) from p where i >= ? and i < ?"
        return _rows([one(asking, lo, hi) for lo, hi in asked.windows()])

    def bars() -> Answer:
        asking = "select arg_min(x, i) o, max(x) h, min(x) l, arg_max(x, i) c, avg(x) m from p group by i // ?"
        return tuple(one(f"with bars as ({asking}) select sum(o), sum(h), sum(l), sum(c), sum(m) from bars", asked.bar))  # noqa: S608 - ours

    def first() -> Answer:
        asking = "select coalesce(min(i), -1) from p where i > ? and (x >= ? or x <= ?)"
        return (float(sum(one(asking, *passage)[0] for passage in asked.passages())),)

    def rolling() -> Answer:
        frame = f"over (order by i rows {ROLLED - 1} preceding)"
        asking = f"select i, avg(x) {frame} m, stddev_pop(x) {frame} s from p where i < {ROLLING}"  # noqa: S608 - ours
        return tuple(one(f"with rolled as ({asking}) select sum(m), sum(s) from rolled where i >= ?", ROLLED - 1))  # noqa: S608 - ours

    median = lambda: tuple(one("select quantile_disc(x, 0.5) from p"))  # noqa: E731 - as the others
    return {"windows": windows, "bars": bars, "median": median, "first": first, "rolling": rolling}


CONTEST = Contest(
    "perf.peers.questions",
    QUESTIONS,
    {"windows": WINDOWS, "first": PASSAGES},
    {OURS: ours, REFERENCE: in_numpy, "pandas": in_pandas, "polars": in_polars, "duckdb": in_duckdb},
    Asked,
    ("ticks", *(kind for kind in BLOCKS if kind != "ticks")),
)

if __name__ == "__main__":
    sys.exit(CONTEST.main())
