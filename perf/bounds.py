"""What bounds each promised figure: the part of the work that would be left if all of ours cost nothing, as measured.

Each bound is read off the same result as its figure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from hft_mmap import STANDARD_WINDOWS
from perf.case import name
from perf.record import Benchmark, durations, quantities, values_of

Results = Mapping[str, Benchmark]
BIG = 10**8


@dataclass(frozen=True, slots=True)
class Bound:
    """`needs` are the benchmarks that `read` takes; KeyError if one is missing."""

    needs: tuple[str, ...]
    read: Callable[[Results], str]

    def text(self, results: Results) -> str:
        """Return what the results say of it, or which benchmark is missing."""
        try:
            return self.read(results)
        except KeyError as missing:
            return f"not measured ({missing.args[0]})"


def _middle(results: Results, benchmark: str) -> float:
    return median(values_of(results[benchmark]))


def _time(what: str, *benchmarks: str) -> Bound:
    """Return what a part takes alone; of several the quickest and the slowest."""

    def read(results: Results) -> str:
        found = [_middle(results, one) for one in benchmarks]
        ends = (min(found), max(found)) if len(found) > 1 else tuple(found)
        return f"{what} {durations(*ends)}"

    return Bound(benchmarks, read)


def _rate(what: str, benchmark: str, amount: float, unit: str) -> Bound:
    """Return how much of `unit` a part does in a second alone."""
    return Bound(
        (benchmark,), lambda results: f"{what} {quantities(amount / _middle(results, benchmark))}{unit}/s"
    )  # fmt: skip


def _in_turn(what: str, *benchmarks: str) -> Bound:
    """Return how many points a second go through parts that each take 10,000 of them, one part after the other."""
    return Bound(
        benchmarks,
        lambda results: f"{what} {quantities(1e4 / sum(_middle(results, one) for one in benchmarks))}points/s",
    )


def _number(what: str, benchmark: str, scale: float = 1.0, unit: str = "") -> Bound:
    return Bound((benchmark,), lambda results: f"{what} {_middle(results, benchmark) / scale:.2f}{unit}")


def _all(*bounds: Bound) -> Bound:
    return Bound(
        tuple(one for bound in bounds for one in bound.needs),
        lambda results: "; ".join(bound.read(results) for bound in bounds),
    )


def _known(text: str) -> Bound:
    """Return a bound that is arithmetic, and needs no measurement."""
    return Bound((), lambda _results: text)


_FOLDS = [name("kernels", "fold", stored=BIG, window=window) for window in STANDARD_WINDOWS[::7]]
_ONE_CORE = "throughput.add_batch[values=10,durability=interval,cores=one,what="
_STATS = "throughput.stats[exponent=5,cores=one,what="
_BIG_BATCHES = "throughput.add_batch[values=1e4,durability=interval,cores=two,what="

WINDOW = _all(
    _time("the compiled fold alone, without the series around it:", *_FOLDS),
    _time("the slowest single call's middle:", "calls.p50[reading.window[stored=1e8,window=1e8]]"),
)
WIDEST = _time("the compiled fold alone, narrowest and widest:", _FOLDS[0], _FOLDS[-1])
APPEND_TEN = _time("one pwrite of ten points alone:", "floor.pwrite[points=10]")
APPEND_MILLION = _all(
    _time("pwrite of the values alone:", "floor.pwrite[points=1e6]"),
    _time("the nodes alone:", "kernels.summarise_values[points=1e6]"),
    _time("the check alone:", "kernels.validate[points=1e6]"),
)
WORST_APPEND = _time("worst write of the same batches to a bare file:", "growth.bare_file[p=worst]")
STATS_SHARE = _all(
    _rate("the bare Falcon endpoint alone:", f"{_STATS}bare]", 1, "requests"),
    _number("share of the bare endpoint on the service's own protocol class:", f"{_STATS}share_of_own]"),
    _number("by processor time:", f"{_STATS}cpu_share_of_own]"),
)
APPEND_SHARE = _all(
    _rate("the bare Falcon endpoint alone, POST:", f"{_ONE_CORE}bare]", 1, "requests"),
    _rate("on our protocol class:", f"{_ONE_CORE}bare_own]", 1, "requests"),
    _time("decoding alone:", "decode.batch[values=10]"),
    _time("append alone:", "store.append[points=10,durability=interval]"),
    _time("fdatasync alone:", "floor.fdatasync[points=10]"),
)
BATCH_VALUES = _all(
    _rate("decoding alone:", "decode.batch[values=1e4]", 1e4, "values"),
    _rate("append alone:", "store.append[points=1e4]", 1e4, "values"),
    _rate("a bare Falcon endpoint that reads the same body alone:", f"{_BIG_BATCHES}bare]", 1e4, "values"),
)
BINARY_VALUES = _all(
    _rate("the same body read and thrown away:", "binary.add_batch[values=1e4,what=bare_own]", 1e4, "points"),
    _rate("append alone:", "store.append[points=1e4]", 1e4, "points"),
    _in_turn("one after the other:", "binary.add_batch[values=1e4,what=bare_own]", "store.append[points=1e4]"),
)
SPACE = _known("8 bytes a float64, before a node is written")
START = _all(
    _time("Python alone:", "process.python"),
    _time("importing the service alone:", "process.import[module=api.cli.command]"),
    _time("opening the store alone:", "store.open[stored=1e8]"),
)
ACCURACY = _known("half a unit in the last place of a float64: 1.1e-16")
TAIL = _all(
    _time("nobody next door, p99.9:", "latency.reads[of=stats,p=99.9,rounds=pooled]"),
    _time("decoding one batch of 10,000 alone:", "decode.batch[values=1e4]"),
    _time("appending it alone:", "store.append[points=1e4]"),
)
SERIES = _time("the buckets alone, no JSON:", "reading.buckets[stored=1e8,buckets=1000]")
CSV = _all(
    _rate("pyarrow reading the file alone:", "import.csv[rows=1e8,what=read_alone]", BIG, "rows"),
    _rate("the disk alone:", "import.disk_alone[rows=1e8]", BIG, "rows"),
)
PARQUET = _all(
    _rate("pyarrow reading the file alone:", "import.parquet[rows=1e8,what=read_alone]", 8 * BIG, "B"),
    _rate("the disk alone:", "import.disk_alone[rows=1e8]", 8 * BIG, "B"),
)
IMPORT_MEMORY = _number("pyarrow loaded, nothing read:", "import.csv[rows=1e8,what=memory_of_libraries]", 1e6, " MB")
POINTS_A_SECOND = _time("the compiled fold alone:", _FOLDS[-1])
BESIDE_WRITER = _all(
    _time("the same query with no writer:", "reading.window[stored=1e6,window=1e5]"),
    _time("the writer's append alone:", "store.append[points=10]"),
)
STREAM_RATIO = _time("append of ten points alone:", "store.append[points=10,durability=interval]")
INSTANCES = _number("the bare endpoint gains", "instances.stats[processes=2,what=bare_gain]", unit=" x")
SYSTEMCTL = _time("the same without systemd:", "process.first_answer[stored=1e8]")
RESTART = SYSTEMCTL
CUTS = _known("no loss and no doubling is what is promised: there is nothing below 0")
