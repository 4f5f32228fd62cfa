"""Histories of a shard, each from its seed: replicas, writers, and a log that loses, repeats, delays and reorders.

The log holds its condition or not, as NATS and Kafka do. Replicas are killed at any await, lose power, and start again.
Afterwards every replica has to hold the same points, every batch that was answered exactly once, and no other twice.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import mkdtemp

import numpy as np

from api.cluster.deciding import Rules
from api.cluster.following import Patience
from api.cluster.log import Bounds, Stale, Unknown
from api.cluster.replica import Replica
from api.http.problems import Refusal
from hft_mmap import Late, OffsetConflict, Ticks
from hft_mmap.slots import MOST_SLOTS
from tests.cluster.memory import MemoryLog
from tests.cluster.model import Killed, ModelPoints, Row, rows_of
from tests.cluster.virtual import VirtualLoop

FAULTY_S = 8.0
CALM_S = 300.0


class FaultyClient:
    """A replica's connection to the log, on which anything may go wrong but the order of what was taken."""

    has_gaps = False

    def __init__(self, history: "History") -> None:
        self.history = history
        self.dead = False

    async def _pass(self, most_s: float = 0.05) -> None:
        history = self.history
        if history.faulty and history.rng.random() < 0.03:
            most_s = 4.0
        await asyncio.sleep(history.rng.random() * most_s)
        if self.dead:
            raise Killed

    async def open(self) -> None:
        """Connect."""
        await self._pass()
        self._may_fail()

    def _may_fail(self) -> None:
        if self.history.faulty and self.history.rng.random() < 0.05:
            raise ConnectionError("lost")

    async def identity(self) -> str:
        """Return the name of the log."""
        await self._pass()
        self._may_fail()
        return self.history.log.name

    async def bounds(self) -> Bounds:
        """Return how far it goes; one that was put off says what was so a while ago."""
        history = self.history
        before = history.log.last
        await self._pass()
        self._may_fail()
        stale = history.faulty and history.rng.random() < 0.1
        return Bounds(1, max(0, before - history.rng.randint(1, 5)) if stale else history.log.last)

    async def append(self, data: bytes, last: int) -> int:
        """Append a record, or not, or later, or twice."""
        history, rng = self.history, self.history.rng
        await self._pass()
        if not history.faulty:
            return history.take(data, last)
        fate = rng.choices(("taken", "lost", "late", "unacknowledged", "twice"), (70, 8, 8, 8, 6))[0]
        history.count(fate)
        if fate == "late":
            for _ in range(rng.choice((1, 1, 2))):
                history.later(rng.random() * rng.choice((0.1, 3.0)), data, last)
        if fate in {"lost", "late"}:
            await self._pass(1.0)
            raise Unknown(fate)
        sequence = history.take(data, last)
        if fate == "twice":
            history.later(rng.random(), data, last)
        await self._pass()
        if fate == "unacknowledged":
            raise Unknown(fate)
        return sequence

    async def records(self, after: int) -> AsyncIterator[tuple[int, bytes]]:
        """Yield each record; some of them again."""
        log, history = self.history.log, self.history
        while True:
            while after < log.last:
                await self._pass(0.02)
                if history.faulty and after and history.rng.random() < 0.05:
                    after -= 1  # connected anew, a little before the end
                after += 1
                yield after, log.kept[after - 1]
            await log.news.wait()

    async def close(self) -> None:
        """Let go of it."""


class Node:
    """A replica and what survives it."""

    def __init__(self, history: "History", number: int, directory: Path) -> None:
        self.history, self.number, self.directory = history, number, directory
        self.points = ModelPoints(history.rng, fails=0.01)
        self.replica: Replica | None = None
        self.client: FaultyClient | None = None

    @property
    def running(self) -> Replica:
        """The replica, which runs."""
        assert self.replica is not None
        return self.replica

    def start(self) -> None:
        """Start it on what is there."""
        history, rng = self.history, self.history.rng
        self.client = FaultyClient(history)
        late = Late.CLAMP
        retention = ((40, 20), (60, 50), (1000, 500))[self.number % 3]
        rules = Rules(rng.choice((2000, 4000, 900_000)), 100, retention, late, history.slots)
        patience = Patience(append_timeout_s=6.0, position_s=1.0, in_thread=_at_once, clock=history.loop.time)
        self.replica = Replica(self.points, self.client, self.directory, rules, patience)
        if self.replica.state.place.retention is not None:
            self.points.retain(*self.replica.state.place.retention)
        self.replica.start()

    async def kill(self, *, power: bool) -> None:
        """End it where it stands: nothing that it does from now on has an effect."""
        assert self.replica is not None
        assert self.client is not None
        self.history.check_running(self.replica)
        self.client.dead = True
        self.points = self.points.after_a_crash(power=power)
        replica, self.replica = self.replica, None
        for task in replica._tasks:
            task.cancel()
        replica._refuse_waiting("killed")
        await asyncio.gather(*replica._tasks, return_exceptions=True)


async def _at_once(work: Callable[[], None]) -> None:
    await asyncio.sleep(0)
    work()


class History:
    """One history of a shard; `beside` another one, it has the same chance and the same time."""

    slots = frozenset(range(MOST_SLOTS))

    def __init__(self, seed: int, beside: "History | None" = None) -> None:
        self.rng: Random = Random(seed) if beside is None else beside.rng
        self.counts: dict[str, int] = {} if beside is None else beside.counts
        self.faulty = True
        self.ending = False
        self._changes: list[asyncio.Task[None]] = []
        self.holds_condition = bool(seed & 1)
        self.loop: VirtualLoop = VirtualLoop() if beside is None else beside.loop

    def count(self, what: str) -> None:
        """Count a thing that happened."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def take(self, data: bytes, last: int) -> int:
        """Take a record into the log, if the condition holds or is none."""
        if self.holds_condition and last != self.log.last:
            raise Stale("another came first")
        return self.log.take(data)

    def later(self, delay_s: float, data: bytes, last: int) -> None:
        """Have a record come late."""

        def come() -> None:
            if not self.holds_condition or last == self.log.last or self.rng.random() < 0.2:
                self.log.take(data)  # some servers compare before they propose

        self.loop.call_later(delay_s, come)

    def check_running(self, replica: Replica) -> None:
        """Assert that no rule has stopped a replica: nothing was ever lost."""
        assert replica.stopped is None, replica.stopped

    def run(self) -> None:
        """Make the history, and assert what has to be so afterwards."""
        in_memory(self.loop, self._run)

    async def _run(self, directory: Path) -> None:
        self.begin(directory)
        writers = [Writer(self, f"S{k}", exact=k < 2, timed=k % 2 == 1) for k in range(4)]
        writers[3].symbol = "S2"  # two that know nothing of each other
        writers[3].timed = False
        tasks = [asyncio.create_task(writer.run()) for writer in writers]
        await self.break_things()
        await self.calm(tasks)
        self.check_nodes()
        for writer in writers:
            found = self.nodes[0].points.series.get(writer.symbol)
            writer.check([] if found is None else found.rows)
        await self.end()

    def begin(self, directory: Path) -> None:
        """Start two or three replicas."""
        self.log = MemoryLog(directory.name)
        self.nodes = []
        for number in range(self.rng.choice((2, 3))):
            (directory / str(number)).mkdir(parents=True)
            self.nodes.append(Node(self, number, directory / str(number)))
            self.nodes[-1].start()

    def recover(self) -> None:
        """End all faults, and start what is down."""
        self.faulty = False
        for node in self.nodes:
            node.points.fails = 0.0
            if node.replica is None:
                node.start()

    async def calm(self, tasks: list[asyncio.Task[None]]) -> None:
        """End all faults, and wait until everybody has done and read everything."""
        self.ending = True
        self.recover()
        await asyncio.sleep(10)  # what is late has come
        async with asyncio.timeout(CALM_S):
            await asyncio.gather(*tasks, *self._changes)
            for node in self.nodes:
                await node.running.reached(self.log.last, CALM_S)

    async def end(self) -> None:
        """End every replica."""
        for node in self.nodes:
            await node.running.close()

    async def break_things(self) -> None:
        """Kill, stop and start replicas, and change what they keep."""
        rng = self.rng
        while self.loop.time() < FAULTY_S:
            await asyncio.sleep(rng.expovariate(0.7))
            node = rng.choice(self.nodes)
            if node.replica is None:
                node.start()
                continue
            what = rng.choice(("kill", "kill", "power", "stop", "limit"))
            self.count(what)
            if what == "limit":
                self._changes.append(asyncio.create_task(self._limit(node.running)))
                continue
            if what == "stop":
                replica, node.replica = node.replica, None
                self.check_running(replica)
                with suppress(Killed):
                    await replica.close()
                node.points = node.points.after_a_crash(power=False)
            else:
                await node.kill(power=what == "power")
            if rng.random() < 0.6:
                node.start()

    async def _limit(self, replica: Replica) -> None:
        """Change how many points are kept, for every replica."""
        with suppress(Refusal, Killed):
            await replica.limit(*self.rng.choice(((45, 30), (35, 35), (500, 1))))

    def check_nodes(self) -> None:
        """Assert that every replica holds the same."""
        first = self.nodes[0]
        for node in self.nodes:
            self.check_running(node.running)
            assert node.running.applied == self.log.last
            assert node.points.series.keys() == first.points.series.keys()
            for symbol, one in node.points.series.items():
                other = first.points.series[symbol]
                assert (one.rows, one.start, one.batches) == (other.rows, other.start, other.batches), symbol


def in_memory(loop: VirtualLoop, work: Callable[[Path], Awaitable[None]]) -> None:
    """Do some work in a directory that is in memory, and in virtual time, which ends with it."""
    directory = Path(mkdtemp(dir="/dev/shm", prefix="hft-mmap-"))
    try:
        loop.run_until_complete(work(directory))
    finally:
        loop.close()
        rmtree(directory)


class Writer:
    """A client: with offsets it sends again until it is told yes, without them it takes what it is told."""

    def __init__(self, history: History, symbol: str, *, exact: bool, timed: bool) -> None:
        self.history, self.symbol, self.exact, self.timed = history, symbol, exact, timed
        self.sent: list[tuple[list[Row], int | None]] = []
        self.rows: list[Row] = []
        self._next = history.rng.randint(1, 10**6) * 10**6
        self._time = 0

    def _batch(self) -> Ticks:
        rng, n = self.history.rng, self.history.rng.choice((1, 2, 5, 30))
        prices = np.arange(self._next, self._next + n, dtype=np.float64)
        self._next += n
        if not self.timed:
            return Ticks(prices)
        times = [self._time + rng.randint(-3, 5) for _ in range(n)]
        self._time = max(times)
        return Ticks(prices, np.array(times, dtype=np.int64))

    async def run(self) -> None:
        """Send batches until the history ends."""
        rng = self.history.rng
        while not self.history.ending:
            await asyncio.sleep(rng.random() * 0.3)
            batch = self._batch()
            if self.exact:
                await self._send_exactly(batch)
            else:
                total = await self._send(batch, None)
                self.sent.append((rows_of(batch), total))

    async def _send_exactly(self, batch: Ticks) -> None:
        offset = len(self.rows)
        while True:
            total = await self._send(batch, offset)
            if total is not None:
                break
            await asyncio.sleep(0.05)
        assert total == offset + len(batch.prices)
        top = self.rows[-1][1] if self.rows else None
        for price, time in rows_of(batch):
            top = time if top is None or time is None else max(top, time)
            self.rows.append((price, top))

    async def _send(self, batch: Ticks, offset: int | None) -> int | None:
        """Send one batch to some replica; None where it may be stored or not."""
        running = [node for node in self.history.nodes if node.replica is not None]
        if not running:
            await asyncio.sleep(0.5)
            return None
        node = self.history.rng.choice(running)
        replica = node.running
        try:
            answer = await replica.write(self.symbol, batch, offset)
        except OffsetConflict as error:
            raise AssertionError(f"{self.symbol} at {offset}: {error}") from error
        except (Refusal, Killed):
            self.history.count("refused")
            return None
        assert answer.sequence <= self.history.log.last
        self.history.count("answered")
        return answer.total

    def check(self, rows: list[Row]) -> None:
        """Assert that `rows` are what was sent."""
        if self.exact:
            assert rows == self.rows
            return
        places = {price: i for i, (price, _) in enumerate(rows)}
        assert len(places) == len(rows), f"{self.symbol}: a point is stored twice"
        for sent, total in self.sent:
            found = [places.get(price) for price, _ in sent]
            if total is not None:
                assert found == list(range(total - len(sent), total)), f"{self.symbol}: an answered batch is missing"
            else:
                place = found[0]
                whole = [None] * len(sent) if place is None else list(range(place, place + len(sent)))
                assert found == whole, f"{self.symbol}: a batch is stored in part"
