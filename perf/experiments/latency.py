"""Latency under load: percentiles of /stats and /add_batch at half of what the service can do, and beside bad company.

The server has one core; the generator spins on another, so that it is never late. Open loop unless a scenario says
otherwise: a latency counts from when the request was due.

Every symbol that is read holds a million points at first and gets ten more again and again, and the windows asked for
differ, so that no answer can be remembered. What a scenario is named after (a file that is full, a cleanup, a sync)
must have happened while it was measured, or it fails.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from hft_mmap.files.names import directory_name
from perf import load, servers
from perf.case import name
from perf.experiment import Effort, Experiment
from perf.experiments.throughput import OTHER_CORE, SERVER_CORE
from perf.lab import Lab, fill
from perf.load import Outcome, Stream
from perf.record import Benchmark, benchmark
from perf.requests import add_batch, get
from perf.suites.decode import body

PERCENTILES = (50.0, 95.0, 99.0, 99.9, 100.0)
SYMBOLS = tuple(f"SYM{i}-USD" for i in range(10))
STORED = 1_000_000
CONNECTIONS = 32
"""For each stream; enough that a request that is due nearly always finds one free."""
TICKS_A_SECOND = 200
_WINDOWS = 60


def _reads(rate: float | None, symbols: Sequence[str] = SYMBOLS, connections: int = CONNECTIONS) -> Stream:
    windows = np.unique(np.geomspace(10, STORED, _WINDOWS).astype(int)).tolist()
    requests = [get(f"/stats/?symbol={symbol}&window={window}") for window in windows for symbol in symbols]
    return Stream("stats", requests, connections, rate)


def _posts(stream: str, rate: float | None, values: int, symbols: Sequence[str], connections: int) -> Stream:
    bodies = [body(values, seed).replace(b"ABC-USD", symbol.encode()) for seed in range(2) for symbol in symbols]
    return Stream(stream, add_batch(bodies), connections, rate)


def _writes(
    rate: float | None, values: int, symbols: Sequence[str] = SYMBOLS, connections: int = CONNECTIONS
) -> Stream:
    return _posts("add_batch", rate, values, symbols, connections)


def _ticks() -> Stream:
    """Return what makes every remembered answer an old one: ten points for each symbol in turn."""
    return _posts("ticks", TICKS_A_SECOND, 10, SYMBOLS, 4)


@dataclass(frozen=True, slots=True)
class Happened:
    """What came to pass while a scenario was measured: files made and unlinked, cleanups, syncs, points stored."""

    chunks_made: int
    chunks_unlinked: int
    cleanups: int
    syncs: int
    points: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load, made for a server that answers at most `max_rate` reads a second, and the settings of that server.

    `must` names what has to happen, and how often in a second of the load at least.
    """

    label: str
    streams: Callable[[float], list[Stream]]
    settings: Mapping[str, object] = field(default_factory=dict)
    must: Mapping[str, float] = field(default_factory=dict)
    promised: bool = False
    """Whether a promise is about its p99.9: a machine's one bad second would be all of that in a few rounds."""

    def check(self, happened: Happened, seconds: float) -> None:
        """Raise AssertionError where the load did not bring about what the scenario is named after."""
        for what, each_second in {"points": TICKS_A_SECOND * 5, **self.must}.items():
            found, least = getattr(happened, what), max(each_second * seconds, 1)
            assert found >= least, f"latency.{self.label}: {found} {what} in {seconds:g} s, at least {least:g} expected"


# 200 batches of 10,000 a second are two million points: a chunk of 4,194,304 is full every two seconds, and of what is
# cleaned up down to half a million points, a chunk is unlinked as often.
_EVERY_CHUNK = 1 / 6
SCENARIOS = (
    Scenario("reads", lambda most: [_reads(0.5 * most)], promised=True),  # what the promised one is held against
    Scenario("reads_closed_32", lambda _most: [_reads(None)]),
    Scenario("mixed_90_10", lambda most: [_reads(0.45 * most), _writes(0.05 * most, 10)]),
    Scenario("mixed_closed_32", lambda _most: [_reads(None, connections=28), _writes(None, 10, connections=4)]),
    Scenario(
        "growth", lambda most: [_reads(0.5 * most, SYMBOLS[:1]), _writes(200, 10_000, SYMBOLS[:1])],
        must={"chunks_made": _EVERY_CHUNK},
    ),
    Scenario(
        "cleanup", lambda most: [_reads(0.5 * most, SYMBOLS[:1]), _writes(200, 10_000, SYMBOLS[:1])],
        {"store.max_data_retention": 2_000_000, "store.cleanup_keep_count": 500_000},
        {"cleanups": 0.5, "chunks_unlinked": _EVERY_CHUNK},
    ),
    Scenario(
        "flush", lambda most: [_reads(0.5 * most), _writes(500, 10)], {"store.durability": "sync"}, {"syncs": 50}
    ),
    Scenario(
        "batches_next_door", lambda most: [_reads(0.5 * most, SYMBOLS[:9]), _writes(200, 10_000, SYMBOLS[9:])],
        must={"points": 1_000_000}, promised=True,
    ),
    Scenario(
        "huge_batches_next_door", lambda most: [_reads(0.5 * most, SYMBOLS[:9]), _writes(10, 100_000, SYMBOLS[9:])],
        must={"points": 500_000},
    ),
)  # fmt: skip


class _Witness:
    """Tells what happened to a store since it was asked to look: from its metrics and its directory."""

    def __init__(self, port: int, data: Path) -> None:
        self._port = port
        self._data = data
        self._counts, self._chunks = self._count(), self._list()

    def _count(self) -> dict[str, float]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        counts: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                counts[sample.name] = counts.get(sample.name, 0.0) + sample.value
        return counts

    def _list(self) -> set[Path]:
        return {file for symbol in SYMBOLS for file in (self._data / directory_name(symbol)).glob("*.chunk")}

    def tell(self) -> Happened:
        counts, chunks = self._count(), self._list()

        def more(metric: str) -> int:
            return round(counts[metric] - self._counts[metric])

        return Happened(
            len(chunks - self._chunks), len(self._chunks - chunks), more("hft_mmap_series_cleanups_total"),
            more("hft_mmap_series_syncs_total"), more("hft_mmap_series_points_total"),
        )  # fmt: skip


def measure(lab: Lab, effort: Effort, scenario: Scenario, stored: int = STORED) -> Iterator[Benchmark]:
    """Yield percentiles of each stream, of each round and of all rounds together, and what happened meanwhile."""
    if scenario.promised and effort == Effort.of(fast=False, rigorous=False):
        effort = Effort.of(fast=False, rigorous=True)
    with lab.scratch() as scratch:
        data = scratch / "data"
        for symbol in SYMBOLS:
            fill(data, stored, symbol)
        with (
            servers.service(scratch, data, scenario.settings, [SERVER_CORE]) as server,
            servers.on_cores([OTHER_CORE]),
        ):
            most = load.run(server.port, [_reads(None), _ticks()], 1.0)["stats"].rate
            streams = [*scenario.streams(most), _ticks()]
            witness = _Witness(server.port, data)
            rounds = [load.run(server.port, streams, effort.seconds) for _ in range(effort.rounds)]
            happened = witness.tell()
    scenario.check(happened, effort.rounds * effort.seconds)
    for stream in streams[:-1]:
        yield from _percentiles(scenario, stream, [one[stream.name] for one in rounds])
    for what in Happened.__slots__:
        label = name("latency", scenario.label, happened=what)
        yield benchmark(label, [[getattr(happened, what)]], unit="integer")


def _percentiles(scenario: Scenario, stream: Stream, outcomes: Sequence[Outcome]) -> Iterator[Benchmark]:
    """Yield each percentile: one value a round, which shows how far rounds differ, and one of all samples together."""
    metadata = {
        "rate": round(stream.rate) if stream.rate else "closed loop", "connections": stream.connections,
        "durability": str(scenario.settings.get("store.durability", "interval")),
        "requests": sum(outcome.answered for outcome in outcomes),
    }  # fmt: skip
    pooled = load.pooled(outcomes)
    for p in PERCENTILES:
        label = f"{p:g}" if p < 100 else "worst"
        by_round = [[outcome.percentile(p)] for outcome in outcomes]
        params = {"of": stream.name, "p": label}
        yield benchmark(name("latency", scenario.label, **params), by_round, metadata=metadata)
        runs = [[pooled.percentile(p)]]
        yield benchmark(name("latency", scenario.label, **params, rounds="pooled"), runs, metadata=metadata)


EXPERIMENTS = tuple(
    Experiment(f"latency.{one.label}", partial(measure, scenario=one), round_s=0.3, loads=1) for one in SCENARIOS
)
