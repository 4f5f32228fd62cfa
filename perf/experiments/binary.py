"""Bodies over one connection: how many points a second, raw float64 and line protocol.

The generator has a core of its own, as a feed handler has, and sends the next batch when it has its answer. The bare
endpoint on the same protocol class reads the raw values and throws them away; so does the sink, a socket without HTTP.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter

from perf import load, servers
from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.experiments.throughput import OTHER_CORE, SERVER_CORE
from perf.lab import SYMBOL, Lab
from perf.memory import touch
from perf.prices import random_walk
from perf.record import Benchmark, benchmark
from perf.requests import post
from perf.suites.http_app import lines

LINES = 1_000
"""Of a request of line protocol, each with a time, a price, a size and a side."""
_TYPE = "application/octet-stream"
_WARM_BYTES = 1 << 29
_SETTINGS = {"store.max_data_retention": 64 * 10**6, "store.cleanup_keep_count": 16 * 10**6}
"""Batches go on for ever, in memory that is touched already."""


def _take(server: servers.Server, request: bytes, seconds: float) -> tuple[float, float]:
    """Load a server over one connection; return seconds a request by the clock, and by its processor time."""
    touch(_WARM_BYTES)
    with servers.on_cores([OTHER_CORE]):
        cpu_before, begin = server.cpu_seconds(), perf_counter()
        rate = load.run(server.port, [load.Stream("all", [request], 1)], seconds)["all"].rate
        requests = rate * (perf_counter() - begin)
    return 1 / rate, (server.cpu_seconds() - cpu_before) / requests


def _measure(lab: Lab, effort: Effort, values: int) -> Iterator[Benchmark]:
    body = random_walk(values).tobytes()
    with ExitStack() as stack:
        scratch = stack.enter_context(lab.scratch())
        for folder in ("bare", "sink"):
            (scratch / folder).mkdir()
        cores = [SERVER_CORE]
        ours = stack.enter_context(servers.service(scratch, scratch / "data", _SETTINGS, cores))
        bare = stack.enter_context(servers.running(servers.BARE_ON_OUR_PROTOCOL, scratch / "bare", cores=cores))
        request = post(f"/add_batch/?symbol={SYMBOL}", body, _TYPE)
        sink = stack.enter_context(servers.running(servers.sink(len(request)), scratch / "sink", cores=cores))
        asked = {"ours": (ours, request), "bare_own": (bare, post("/", body, _TYPE)), "sink": (sink, request)}
        for server, request in asked.values():
            _take(server, request, 1.0)  # warms up
        rounds = [
            {who: _take(server, request, effort.seconds) for who, (server, request) in asked.items()}
            for _ in range(effort.rounds)
        ]
    for who in asked:
        yield from _made("add_batch", who, [one[who] for one in rounds], Work(values, "values"), values=values)


def _measure_lines(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    request = post("/write", lines(LINES), "text/plain; charset=utf-8")
    with lab.scratch() as scratch, servers.service(scratch, scratch / "data", _SETTINGS, [SERVER_CORE]) as server:
        _take(server, request, 1.0)  # warms up
        rounds = [_take(server, request, effort.seconds) for _ in range(effort.rounds)]
    yield from _made("write", "ours", rounds, Work(LINES, "ticks"), lines=LINES)


def _made(
    case: str, who: str, rounds: Sequence[tuple[float, float]], work: Work, **parameters: int
) -> Iterator[Benchmark]:
    """Yield what was taken by the clock, and by the processor time of who answers."""
    for kind, place in (("", 0), ("_cpu", 1)):
        named = name("binary", case, **parameters, what=f"{who}{kind}")
        runs = [[one[place]] for one in rounds]
        yield benchmark(named, runs, unit="second", work=work, metadata={"connections": 1})


EXPERIMENTS = (
    *(
        Experiment(
            name("binary", "add_batch", values=values).removesuffix("]"),
            partial(_measure, values=values),
            "interval",
            setup_s=8.0,
            loads=3,
        )
        for values in (10_000, 100_000)
    ),
    Experiment("binary.write", _measure_lines, "interval", setup_s=4.0, loads=1),
)
