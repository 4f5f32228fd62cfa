"""What a log costs: a replica of a shard beside the raw publish to its log, and beside a service without one.

    python -m perf.cluster [nats | kafka]

Starts three servers of the log (each record on the disk before it is acknowledged), two replicas and a service on one
machine, all here, and measures in rounds that take turns, so that what else the machine does meets all of them. Prints
ratios, each the median of its rounds with the lowest and the highest. Needs what `hft-mmap cluster demo` needs.
"""

import asyncio
import os
import statistics
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import NamedTuple, Self

import numpy as np

from api.cli.demo import HOST
from api.cli.local_cluster import Cluster, free_ports
from api.cluster.block import Entry, Kind, encode, encode_entry
from api.cluster.following import Follower, Patience
from api.cluster.log import ManagedLog
from api.cluster.points import Points
from api.cluster.service import log_of
from api.operation.sharding import ClusterSettings
from hft_mmap import Limits, Store, Ticks

ROUNDS = 7
FEW, FULL = 10, 100_000
RAW_SHARD, SHARD = 900, 0
_WRITERS = 32
_MILLION = 1e6


class Connection:
    """A connection that sends batches of raw numbers, one at a time, with no client library in between."""

    def __init__(self, port: int, symbol: str, points: int) -> None:
        body = np.linspace(1, 2, points).tobytes()
        head = f"POST /add_batch?symbol={symbol} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/octet-stream\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._port = port

    async def __aenter__(self) -> Self:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        self._writer.close()

    async def send(self) -> None:
        """Send the batch, and read its answer."""
        self._writer.write(self._request)
        await self._writer.drain()
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await self._reader.readexactly(int(length.split(b":")[1]))


class Publisher:
    """Publishes blocks to a log of its own, one in flight, on the condition that a replica sets."""

    def __init__(self, log: ManagedLog, points: int) -> None:
        batch = Ticks(np.linspace(1, 2, points))
        self._data = encode(0, bytes(16), [encode_entry(Entry(Kind.APPEND, "AAPL", 0, batch))])[1]
        self._log = log

    async def send(self) -> None:
        """Publish a block."""
        Publisher.last = await self._log.append(self._data, self.last)

    last = 0


async def _times(send: Callable[[], Awaitable[None]], n: int) -> list[float]:
    """Return how long each of `n` takes, one after the other."""
    found = []
    for _ in range(n):
        begin = perf_counter()
        await send()
        found.append(perf_counter() - begin)
    return found


class Service(NamedTuple):
    """A service that is measured, and its process."""

    port: int
    process: int

    def cpu_s(self) -> float:
        """Return the processor time that it has taken."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Rate(NamedTuple):
    """Batches that were answered: a second, and a second of the processor of the service."""

    by_clock: float
    by_cpu: float


async def _rate(service: Service, seconds: float) -> Rate:
    """Return how many small batches many writers get answered."""
    count = 0
    end = perf_counter() + seconds

    async def write(k: int) -> None:
        nonlocal count
        async with Connection(service.port, f"W{k}", FEW) as one:
            while perf_counter() < end:
                await one.send()
                count += 1

    begin, cpu = perf_counter(), service.cpu_s()
    await asyncio.gather(*(write(k) for k in range(_WRITERS)))
    return Rate(count / (perf_counter() - begin), count / (service.cpu_s() - cpu))


async def _small(port: int, log: ManagedLog) -> float:
    async with Connection(port, "SMALL", FEW) as one:
        posts = await _times(one.send, 200)
    raw = await _times(Publisher(log, FEW).send, 200)
    return statistics.median(posts) / statistics.median(raw)


async def _large(port: int, log: ManagedLog) -> float:
    async with Connection(port, "LARGE", FULL) as one:
        posts = await _times(one.send, 15)
    raw = await _times(Publisher(log, FULL).send, 15)
    return sum(raw) / sum(posts)


def _log(cluster: Cluster, shard: int) -> ManagedLog:
    return log_of(ClusterSettings(log=cluster.log, servers=", ".join(cluster.servers), shard=shard))


async def _replay(cluster: Cluster, directory: Path) -> tuple[float, float]:
    """Return how many million points a second an empty replica reads, by the clock and by its processor time."""
    log = _log(cluster, SHARD)
    await log.open()
    last = (await log.bounds()).last
    with Store(directory, durability="process", limits=Limits(max_symbols=100, starting_capacity=0)) as store:
        follower = Follower(Points(store), log, directory, Patience())
        begin, cpu = perf_counter(), process_time()
        async for sequence, data in log.records(0):
            follower.state.take(sequence, data)
            if sequence >= last:
                break
        took, cpu = perf_counter() - begin, process_time() - cpu
        points = sum(info.total for info in store.symbols())
    await log.close()
    return points / took / _MILLION, points / cpu / _MILLION


def _row(name: str, found: list[float], wanted: str) -> None:
    middle, low, high = statistics.median(found), min(found), max(found)
    print(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} | {wanted} |", flush=True)


async def _measure(cluster: Cluster, replica: Service, alone: Service, directory: Path) -> None:
    log = _log(cluster, RAW_SHARD)
    await log.create(3, 2**32 if cluster.log == "nats" else None)
    for service in (replica, alone):
        await _rate(service, 1.0)  # symbols are made, kernels are there
    small, large, with_log, without = [], [], [], []
    for _ in range(ROUNDS):
        small.append(await _small(replica.port, log))
        with_log.append(await _rate(replica, 1.5))
        without.append(await _rate(alone, 1.5))
        large.append(await _large(replica.port, log))
    await log.close()
    pairs = list(zip(with_log, without, strict=True))
    replays = [await _replay(cluster, directory / f"replay{n}") for n in range(3)]
    print("| | median | of all rounds | wanted |\n|---|---|---|---|")
    _row("a batch of 10 points, p50, beside the raw publish of its record: times as long", small, "at most 3")
    _row(
        "32 writers of 10 points beside the service without a log: share by the clock",
        [a.by_clock / b.by_clock for a, b in pairs],
        "at least 0.35",
    )
    _row("the same, by processor time of the two services", [a.by_cpu / b.by_cpu for a, b in pairs], "")
    _row("such batches a second, with the log", [one.by_clock for one in with_log], "")
    _row("such batches a second, without", [one.by_clock for one in without], "")
    _row("batches of 100,000 points beside the raw publish, one in flight: share", large, "at least 0.7")
    _row("replay, million points a second of processor time", [one[1] for one in replays], "at least 5")
    _row("replay by the clock, the servers of the log on the same cores", [one[0] for one in replays], "")


def main(log: str = "nats") -> int:
    """Measure and print."""
    with TemporaryDirectory(prefix="hft-mmap-perf-") as name, ExitStack() as stack:
        directory = Path(name)
        cluster = Cluster(directory)
        stack.callback(cluster.end)
        cluster.start_log(log)
        replica, _ = cluster.start_shard(SHARD, "0-1023", APP_STORE__MAX_SYMBOLS="100")
        (alone,) = free_ports(1)
        cluster.start_service("alone", alone, APP_STORE__MAX_SYMBOLS="100")
        found = {one.name: one.process.pid for one in cluster.processes if one.process is not None}
        services = Service(replica, found[f"shard-{SHARD}-a"]), Service(alone, found["alone"])
        asyncio.run(_measure(cluster, *services, directory))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
