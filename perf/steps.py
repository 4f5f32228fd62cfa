"""What each optimisation is worth: the same work done in the plainest way, and after each step, in one result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from perf.record import Benchmark, durations, values_of

Results = Mapping[str, Benchmark]


@dataclass(frozen=True, slots=True)
class Step:
    """One way of doing the work: what it is, and the benchmark that measures it."""

    title: str
    benchmark: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """The same work, each step faster than the one before it."""

    work: str
    steps: tuple[Step, ...]


LADDERS = (
    Ladder(
        "statistics of the newest 1e8 of 1e8 points",
        (
            Step("one numpy pass over the window", "naive.rescan[stored=1e8,window=1e8]"),
            Step("nodes of 64 children, folded by compiled code", "reading.window[stored=1e8,window=1e8]"),
        ),
    ),
    Ladder(
        "statistics of the newest 1e5 points",
        (
            Step("one numpy pass over the window", "naive.rescan[stored=1e8,window=1e5]"),
            Step("a binary segment tree in plain Python", "naive.tree_window[stored=1e5,window=1e5]"),
            Step("nodes of 64 children, folded by compiled code", "reading.window[stored=1e6,window=1e5]"),
        ),
    ),
    Ladder(
        "append of 10 points",
        (
            Step("a binary segment tree in plain Python, in memory only", "naive.tree_append[points=10]"),
            Step("to the files, system calls made from Python", "store.append_in_python[points=10]"),
            Step("to the files, one compiled call", "store.append[points=10]"),
        ),
    ),
    Ladder(
        "reading a body of 10,000 values",
        (
            Step("json, then numpy", "decode.json_numpy[values=1e4]"),
            Step("orjson, then numpy", "decode.orjson_numpy[values=1e4]"),
            Step("pysimdjson straight into a buffer, checks included", "decode.batch[values=1e4]"),
        ),
    ),
    Ladder(
        "/stats, from the bytes of the request to those of the answer",
        (
            Step("uvicorn's protocol class", "protocol.stats[exponent=5,server=uvicorn]"),
            Step("run at once, without a task; one write", "protocol.stats[exponent=5,server=ours]"),
        ),
    ),
    Ladder(
        "/add_batch of 10 points, likewise",
        (
            Step("uvicorn's protocol class", "protocol.add_batch[values=10,server=uvicorn]"),
            Step("run at once, without a task; one write", "protocol.add_batch[values=10,server=ours]"),
        ),
    ),
    Ladder(
        "/stats after an append beside /stats again",
        (
            Step("asked after each append (which is in the figure)", "http_app.append_then_stats[exponent=5]"),
            Step("the answer is remembered until the next append", "http_app.stats[exponent=5]"),
        ),
    ),
)


def needs() -> Sequence[str]:
    """Return the benchmarks that the table takes."""
    return [step.benchmark for ladder in LADDERS for step in ladder.steps]


def rows(results: Results) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield work, step, time, factor over the step before, factor over the first; what was not measured is left out."""
    for ladder in LADDERS:
        first = before = None
        for step in ladder.steps:
            if step.benchmark not in results:
                continue
            seconds = median(values_of(results[step.benchmark]))
            work = "" if first else ladder.work
            yield work, step.title, durations(seconds), _factor(before, seconds), _factor(first, seconds)
            first, before = first or seconds, seconds


def _factor(slower: float | None, faster: float) -> str:
    if slower is None:
        return ""
    times = slower / faster
    return f"{times:,.0f}x" if times >= 10 else f"{times:.2f}x"
