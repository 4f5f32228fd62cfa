"""Latency under load: percentiles of /stats and /add_batch at half of what the service can do, and beside bad company.

The server has one core; the generator spins on another, so that it is never late. Open loop unless a scenario says
otherwise: a latency counts from when the request was due.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from perf import load, servers
from perf.case import name
from perf.experiment import Effort, Experiment
from perf.experiments.throughput import OTHER_CORE, SERVER_CORE
from perf.lab import Lab
from perf.load import Outcome, Stream
from perf.record import Benchmark, benchmark
from perf.requests import add_batch, get
from perf.suites.decode import body

PERCENTILES = (50.0, 95.0, 99.0, 99.9, 100.0)
SYMBOLS = tuple(f"SYM{i}-USD" for i in range(10))
CONNECTIONS = 32
"""For each stream; enough that a request that is due nearly always finds one free."""


def _reads(rate: float | None, symbols: Sequence[str] = SYMBOLS, connections: int = CONNECTIONS) -> Stream:
    requests = [get(f"/stats/?symbol={symbol}&exponent={k}") for k in (1, 3, 5, 8) for symbol in symbols]
    return Stream("stats", requests, connections, rate)


def _writes(rate: float, values: int, symbols: Sequence[str] = SYMBOLS) -> Stream:
    bodies = [body(values, seed).replace(b"ABC-USD", symbol.encode()) for seed in range(2) for symbol in symbols]
    return Stream("add_batch", add_batch(bodies), CONNECTIONS, rate)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load, made for a server that answers at most `max_rate` reads a second, and the settings of that server."""

    label: str
    streams: Callable[[float], list[Stream]]
    settings: Mapping[str, object] = field(default_factory=dict)


# 200 batches of 10,000 a second are two million points: a chunk of four million is full every two seconds.
SCENARIOS = (
    Scenario("reads", lambda most: [_reads(0.5 * most)]),
    Scenario("reads_closed_32", lambda _most: [_reads(None)]),
    Scenario("mixed_90_10", lambda most: [_reads(0.45 * most), _writes(0.05 * most, 10)]),
    Scenario("growth", lambda most: [_reads(0.5 * most, SYMBOLS[:1]), _writes(200, 10_000, SYMBOLS[:1])]),
    Scenario(
        "cleanup",
        lambda most: [_reads(0.5 * most, SYMBOLS[:1]), _writes(200, 10_000, SYMBOLS[:1])],
        {"store.max_data_retention": 5_000_000, "store.cleanup_keep_count": 1_000_000},
    ),
    Scenario(
        "flush", lambda most: [_reads(0.5 * most), _writes(500, 10)], {"store.durability": "sync"}
    ),
    Scenario("batches_next_door", lambda most: [_reads(0.5 * most, SYMBOLS[:9]), _writes(200, 10_000, SYMBOLS[9:])]),
    Scenario(
        "huge_batches_next_door", lambda most: [_reads(0.5 * most, SYMBOLS[:9]), _writes(10, 100_000, SYMBOLS[9:])]
    ),
)  # fmt: skip


def _measure(lab: Lab, effort: Effort, scenario: Scenario) -> Iterator[Benchmark]:
    with (
        lab.scratch() as scratch,
        servers.service(scratch, scratch / "data", scenario.settings, [SERVER_CORE]) as server,
        servers.on_cores([OTHER_CORE]),
    ):
        first = [Stream("first", add_batch([body(10).replace(b"ABC-USD", one.encode())]), 1, 1.0) for one in SYMBOLS]
        for stream in first:
            load.run(server.port, [stream], 0.01)
        most = load.run(server.port, [_reads(None)], 1.0)["stats"].rate
        streams = scenario.streams(most)
        rounds = [load.run(server.port, streams, effort.seconds) for _ in range(effort.rounds)]
        for stream in streams:
            yield from _percentiles(scenario, stream, [one[stream.name] for one in rounds])


def _percentiles(scenario: Scenario, stream: Stream, outcomes: Sequence[Outcome]) -> Iterator[Benchmark]:
    metadata = {
        "rate": round(stream.rate) if stream.rate else "closed loop", "connections": stream.connections,
        "durability": str(scenario.settings.get("store.durability", "interval")),
        "requests": sum(outcome.answered for outcome in outcomes),
    }  # fmt: skip
    for p in PERCENTILES:
        label = f"{p:g}" if p < 100 else "worst"
        values = [[outcome.percentile(p)] for outcome in outcomes]
        yield benchmark(name("latency", scenario.label, of=stream.name, p=label), values, metadata=metadata)


EXPERIMENTS = tuple(
    Experiment(f"latency.{one.label}", partial(_measure, scenario=one), round_s=0.3, loads=1) for one in SCENARIOS
)
