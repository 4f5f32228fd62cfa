"""A feed beside a producer: points in batches over a WebSocket and over HTTP, one symbol, in turn.

`extend` is given a batch of 10,000 prices at a time, `add` one price. A measurement ends when all are acknowledged. The
processor time of the client's process, all threads of it, is given beside the seconds.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple, TypeAlias

from hft_mmap.client import Client
from perf import servers
from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.experiments.throughput import OTHER_CORE, SERVER_CORE
from perf.lab import Lab
from perf.prices import price_blocks
from perf.record import Benchmark, benchmark

BATCH = 10_000
_POINTS_A_SECOND = {"extend": 4_000_000, "add": 200_000}
"""So many are given for each second of effort."""
_SETTINGS = {"store.max_data_retention": 64 * 10**6, "store.cleanup_keep_count": 16 * 10**6}
Give: TypeAlias = Callable[[Client, str, int], None]


class Taken(NamedTuple):
    """Seconds a point by the clock, and by the client's processor time."""

    seconds: float
    cpu_seconds: float


def _produce(client: Client, how: str, points: int) -> None:
    values = next(price_blocks())[:BATCH]
    with client.producer("P", max_points=BATCH) as producer:
        if how == "extend":
            for _ in range(points // BATCH):
                producer.extend(values)
        else:
            for value in values.tolist() * (points // BATCH):
                producer.add(value)


def _feed(client: Client, how: str, points: int) -> None:
    values = next(price_blocks())[:BATCH]
    with client.feed(max_points=BATCH) as feed:
        if how == "extend":
            for _ in range(points // BATCH):
                feed.extend("F", values)
        else:
            for value in values.tolist() * (points // BATCH):
                feed.add("F", value)


def _taken(client: Client, give: Give, how: str, seconds: float) -> Taken:
    """Give points until all are acknowledged."""
    points = max(round(seconds * _POINTS_A_SECOND[how] / BATCH), 1) * BATCH
    begin, used = perf_counter(), process_time()
    give(client, how, points)
    return Taken((perf_counter() - begin) / points, (process_time() - used) / points)


def _measure(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    givers: dict[str, Give] = {"producer": _produce, "feed": _feed}
    with (
        lab.scratch() as scratch,
        servers.service(scratch, Path(scratch, "data"), _SETTINGS, [SERVER_CORE]) as server,
        servers.on_cores([OTHER_CORE]),
        Client(f"http://127.0.0.1:{server.port}") as client,
    ):
        for how in _POINTS_A_SECOND:
            for give in givers.values():
                _taken(client, give, how, 0.1)  # warms up
            rounds = [
                {who: _taken(client, give, how, effort.seconds) for who, give in givers.items()}
                for _ in range(effort.rounds)
            ]
            for who in givers:
                for what, figures in (
                    ("", [one[who].seconds for one in rounds]), ("_cpu", [one[who].cpu_seconds for one in rounds]),
                ):  # fmt: skip
                    named = name("streams", "feed", how=how, what=f"{who}{what}")
                    yield benchmark(named, [[one] for one in figures], work=Work(1, "points"))


EXPERIMENTS = (Experiment("streams.feed", _measure, "interval", loads=4),)
