"""What is promised of ticks, points with times and sizes: each figure, its limit, how it is read off results."""

from collections.abc import Callable
from statistics import median

from perf.bounds import Bound
from perf.case import name
from perf.experiments.importing import TICK_ROWS
from perf.record import durations, values_of
from perf.suites.ticks import STORED
from perf.target import Reading, Results, Target

_DAY, _MOST = STORED[1:]
_CSV = 6e6
_BYTES = 26.1


def _middle(results: Results, benchmark: str) -> float:
    return median(values_of(results[benchmark]))


def _timed(title: str, limit_s: float, benchmark: str, bound: Bound) -> Target:
    """Return the promise that the middle of a benchmark is not above a limit."""

    def read(results: Results) -> Reading:
        seconds = _middle(results, benchmark)
        return Reading(durations(seconds), seconds <= limit_s)

    return Target(title, durations(limit_s), (benchmark,), read, bound)


def _beside(text: str, benchmark: str, read: Callable[[float], str] = durations) -> Bound:
    """Return a bound that is what another benchmark takes."""
    return Bound((benchmark,), lambda results: f"{text} {read(_middle(results, benchmark))}")


def _append_million(results: Results) -> Reading:
    ns = _middle(results, "ticks.append[points=1e6]") / 1e6 * 1e9
    return Reading(f"{ns:.2f} ns a tick", ns <= 25)


def _bytes(results: Results) -> Reading:
    found = _middle(results, name("tick_bytes", "disk", stored=_MOST))
    return Reading(f"{found:.3f}", found <= _BYTES)


def _import(results: Results) -> Reading:
    stored, on_disk = (TICK_ROWS / _middle(results, name("import", "ticks", what=what)) for what in (
        "stored", "on_disk"))  # fmt: skip
    return Reading(f"{on_disk / 1e6:.1f} M rows/s on the disk ({stored / 1e6:.1f} M stored)", on_disk >= _CSV)


_NEWEST = name("ticks", "newest", stored=_MOST)

TARGETS = (
    _timed(
        "the newest five minutes of a day of 1e8 ticks, five statistics", 3e-6, _NEWEST,
        _beside("as many points of 1e5 ticks:", name("ticks", "newest", stored=STORED[0])),
    ),
    _timed(
        "the same with vwap, rv, drawdown and skew", 8e-6, name("ticks", "further", stored=_MOST),
        _beside("of 1e5 ticks:", name("ticks", "further", stored=STORED[0])),
    ),
    _timed(
        "1,440 candles of a minute with volume and vwap of a day of 1e7 ticks, the answer's JSON included", 8e-3,
        name("ticks", "candles", stored=_DAY),
        _beside("of a day of 1e5 ticks:", name("ticks", "candles", stored=STORED[0])),
    ),
    _timed(
        "1,000 steps of /api/v1/query_range, means of five minutes, over a day of 1e8 ticks, JSON included", 10e-3,
        name("ticks", "query_range", stored=_MOST),
        _beside("of a day of 1e5 ticks:", name("ticks", "query_range", stored=STORED[0])),
    ),
    _timed(
        "append of 10 ticks (durability process)", 8e-6, "ticks.append[points=10]",
        _beside("of ten prices alone:", "store.append[points=10]"),
    ),
    Target(
        "append of 1,000,000 ticks (durability process)", "25 ns a tick", ("ticks.append[points=1e6]",),
        _append_million, _beside("of as many prices alone:", "store.append[points=1e6]"),
    ),
    Target(
        "bytes a tick, time, size, nodes and groups included", str(_BYTES), ("tick_bytes",), _bytes,
        Bound((), lambda _results: "24 bytes are a time, a price and a size"),
    ),
    Target(
        "import of CSV, a time, a price and a size, to the disk with nodes", "6 M rows/s", ("import.ticks",), _import,
        _beside("until they are stored:", name("import", "ticks", what="stored")),
    ),
)  # fmt: skip
