"""What is promised of the questions that are asked of any range: each figure, its limit, how it is read off results."""

from statistics import median

from perf.bounds import Bound
from perf.case import name
from perf.experiments.questions import STORED, SYMBOLS, WINDOWS
from perf.record import durations, values_of
from perf.target import Reading, Results, Target

_MEDIANS = {"ticks": 10e-3, "reverting": 300e-3, "noise": 1.0}
_WALKS = {"ticks": "in ticks that wander", "reverting": "drawn back to a mean", "noise": "that are white noise"}
_MOST_OF_PARTITION = 2


def _middle(results: Results, benchmark: str) -> float:
    return median(values_of(results[benchmark]))


def _timed(title: str, limit_s: float, benchmark: str) -> Target:
    """Return the promise that the middle of a benchmark is not above a limit."""
    alone = benchmark.replace("]", "_cpu]")

    def read(results: Results) -> Reading:
        seconds = _middle(results, benchmark)
        text = f"{durations(seconds)} (processor time: {durations(_middle(results, alone))})"
        return Reading(text, seconds <= limit_s)

    bound = Bound((alone,), lambda results: f"processor time alone: {durations(_middle(results, alone))}")
    return Target(title, durations(limit_s), (benchmark.rpartition(",what=")[0],), read, bound)


def _median(kind: str) -> Target:
    def read(results: Results) -> Reading:
        ours, partition = (
            _middle(results, name("questions", "median", stored=STORED, kind=kind, what=what))
            for what in ("ours", "partition")
        )
        met = ours <= min(_MEDIANS[kind], _MOST_OF_PARTITION * partition)
        return Reading(f"{durations(ours)}; numpy.partition {durations(partition)}", met)

    needs = name("questions", "median", stored=STORED, kind=kind).removesuffix("]")
    alone = name("questions", "median", stored=STORED, kind=kind, what="ours_cpu")
    bound = Bound((alone,), lambda results: f"processor time alone: {durations(_middle(results, alone))}")
    limit = f"{durations(_MEDIANS[kind])}, and twice numpy.partition"
    return Target(f"exact median of 1e8 prices {_WALKS[kind]}", limit, (needs,), read, bound)


TARGETS = (
    _timed("one range anywhere in 1e8 points", 2e-6, name("questions", "range", stored=STORED, what="one")),
    _timed("first passage 1 % away in 1e8 points", 5e-6, name("questions", "first", stored=STORED, what="one")),
    _timed(
        "1e6 windows of 1 to 1e6 points at random places of 1e8, library, one core",
        2.5,
        name("questions", "windows", stored=STORED, windows=WINDOWS, what="library"),
    ),
    _timed(
        "the same windows, raw pairs in and Arrow out, over HTTP",
        4.0,
        name("questions", "windows", stored=STORED, windows=WINDOWS, what="http"),
    ),
    *(_median(kind) for kind in _MEDIANS),
    _timed(
        "statistics of 1,000 symbols in one request",
        5e-3,
        name("questions", "symbols", symbols=SYMBOLS, what="http"),
    ),
)
