"""A shard under faults: writers that send until they are answered, while replicas and servers die, freeze and restart.

Every number follows from a symbol and an index, so whatever a replica holds afterwards is compared, value by value. The
seed gives the order of the faults, what is struck, and the batches of each writer.
"""

import threading
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Any

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from hft_mmap import Store
from tests.cluster.servers import LogServers
from tests.cluster.shards import is_ready, settings_of
from tests.service import Service, wait_until

SIZES = (1, 10, 100, 1000, 3000)
_START_NS = 1_767_225_600 * 10**9
_ANSWER_S = 2.0
_LATE_EVERY = 17
_READ_EVERY = 8
Rows = tuple[NDArray[np.float64], NDArray[np.int64] | None, NDArray[np.float64] | None]


def rows_of(symbol: str, first: int, end: int) -> Rows:
    """Return the rows of a symbol from an index to another, as they are sent: some times are late."""
    index = np.arange(first, end, dtype=np.uint64)
    mixed = (index * np.uint64(0x9E3779B97F4A7C15) + np.uint64(zlib.crc32(symbol.encode()))) >> np.uint64(20)
    prices = mixed.astype(np.float64) / 1e6
    if symbol.startswith("P"):
        return prices, None, None
    times = _START_NS + 1000 * index.astype(np.int64) - 5000 * (index % np.uint64(_LATE_EVERY) == 0)
    return prices, times, np.round(prices) - 1e7


def stored_rows(symbol: str, first: int, end: int) -> Rows:
    """Return the rows as they are stored: a late point has the time of the one before it."""
    prices, _, sizes = rows_of(symbol, first, end)
    times = rows_of(symbol, 0, end)[1]
    return prices, None if times is None else np.maximum.accumulate(times)[first:], sizes


class Writer(threading.Thread):
    """Sends the points of a symbol, each batch until it is answered with 200, to whichever replica answers.

    shares: other writers send to the symbol too; then a 409 says where it ends by now.
    """

    def __init__(self, shard: "Shard", symbol: str, seed: int, prefers: str, *, shares: bool = False) -> None:
        super().__init__(daemon=True)
        self.symbol = symbol
        self.total = 0
        self.answered = 0
        self.told: Counter[str] = Counter()
        self.fault: BaseException | None = None
        self._shard = shard
        self._shares = shares
        self._rng = Random(f"{seed} {symbol} {prefers}")
        self._name = prefers
        self._client: httpx.Client | None = None

    def run(self) -> None:
        """Send batches until the shard is asked to end; the last one is answered too."""
        try:
            while not self._shard.over.is_set():
                self._send(self._rng.choice(SIZES))
                if self.answered % _READ_EVERY == 0:
                    self._read()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.fault = error
        finally:
            self._let_go()

    def _send(self, n: int) -> None:
        way = self._rng.choice((self._json, self._raw, self._line))
        first = self.total
        tried = False
        while self.total == first and not self._shard.gave_up.is_set():
            answer = self._ask(partial(way, first, n))
            status = 0 if answer is None else answer.status_code
            self.told[str(status)] += 1
            if answer is not None and status == 200:
                self._take(answer.json(), first, n)
                self.told["repeated"] += tried
            elif answer is not None and status == 409:
                total = answer.json()["total"]
                assert self._shares, f"{self.symbol}: {n} points at {first}: {answer.text}"
                assert total > first, f"{self.symbol}: refused at {first} by {total}, which is no news"
                self.total = total
            else:
                assert status in {0, 503}, f"{self.symbol}: {status} {answer.text if answer is not None else ''}"
                tried = True
                self._turn_to_another()

    def _take(self, told: dict[str, Any], first: int, n: int) -> None:
        total = told["total"]
        assert total == first + n or (self._shares and total > first), f"{self.symbol}: {n} points at {first}: {told}"
        self.total = total
        self.sequence = told["seq"]
        self.answered += 1

    def _read(self) -> None:
        """See the newest write by the other replica, if it answers."""
        if self._shares:
            return
        self._turn_to_another()
        query: dict[str, Any] = {"symbol": self.symbol, "window": 1}
        answer = self._ask(lambda client: client.get("/stats", params=query, headers={"X-Min-Seq": str(self.sequence)}))
        if answer is not None and answer.status_code == 200:
            expected = rows_of(self.symbol, self.total - 1, self.total)[0][0]
            assert answer.json()["last"] == expected, f"{self.symbol} at {self.total}: {answer.text}"
            self.told["read"] += 1

    # -- how it is sent -----------------------------------------------------------------------------------------------

    def _ask(self, ask: Callable[[httpx.Client], httpx.Response]) -> httpx.Response | None:
        """Return an answer, None where there is none."""
        try:
            if self._client is None:
                self._client = httpx.Client(base_url=self._shard.url(self._name), timeout=_ANSWER_S)
            return ask(self._client)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None

    def _turn_to_another(self) -> None:
        self._let_go()
        self._name = self._shard.other(self._name)
        self._shard.pause()

    def _let_go(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def _body(self, first: int, n: int) -> dict[str, Any]:
        prices, times, sizes = rows_of(self.symbol, first, first + n)
        body = {"symbol": self.symbol, "values": prices, "times": times, "sizes": sizes, "offset": first}
        return {name: value for name, value in body.items() if value is not None}

    def _json(self, first: int, n: int, client: httpx.Client) -> httpx.Response:
        body = orjson.dumps(self._body(first, n), option=orjson.OPT_SERIALIZE_NUMPY)
        return client.post("/add_batch", content=body, headers={"Content-Type": "application/json"})

    def _raw(self, first: int, n: int, client: httpx.Client) -> httpx.Response:
        prices, times, sizes = rows_of(self.symbol, first, first + n)
        named = {"price": prices, "time": times, "size": sizes}
        columns = {name: column for name, column in named.items() if column is not None}
        query: dict[str, Any] = {"symbol": self.symbol, "offset": first, "columns": ",".join(columns)}
        body = b"".join(column.tobytes() for column in columns.values())
        return client.post(
            "/add_batch", params=query, content=body, headers={"Content-Type": "application/octet-stream"}
        )

    def _line(self, first: int, n: int, client: httpx.Client) -> httpx.Response:
        """Send one line, and return its answer as that of a batch."""
        body = orjson.dumps(self._body(first, n), option=orjson.OPT_SERIALIZE_NUMPY)
        answer = client.post("/add_batch", content=body, headers={"Content-Type": "application/x-ndjson"})
        told = answer.json()
        if "lines" not in told:
            return answer
        (line,) = told["lines"]
        line |= {name: told[name] for name in ("seq",) if name in told}
        return httpx.Response(line["status"], json=line)


class Shard:
    """Servers of the log, replicas, and who writes to them."""

    def __init__(self, servers: LogServers, directory: Path, seed: int, **more: object) -> None:
        self.over, self.gave_up = threading.Event(), threading.Event()
        self.made: Counter[str] = Counter()
        self.servers = servers
        self._directory = directory
        self._settings = settings_of(servers, **more)
        self._rng = Random(seed)
        self.services: dict[str, Service] = {}
        self._urls: dict[str, str] = {}
        shared = [Writer(self, "P-shared", seed, name, shares=True) for name in "ab"]
        alone = [Writer(self, f"{kind}-{k}", seed, "ab"[k % 2]) for k, kind in enumerate("PTTP")]
        self.writers = [*shared, *alone]

    # -- what writers ask ---------------------------------------------------------------------------------------------

    def url(self, name: str) -> str:
        """Return where a replica listens, or did when it was last started."""
        return self._urls[name]

    def other(self, name: str) -> str:
        """Return the other replica."""
        return "b" if name == "a" else "a"

    def pause(self) -> None:
        """Let others work before one that was refused tries again."""
        self.gave_up.wait(0.02)

    # -- its life -----------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a replica, and wait until it serves."""
        place = self._directory / name
        place.mkdir(exist_ok=True)
        settings = {key.replace("__", "."): value for key, value in self._settings.items()}
        service = self.services[name] = Service(place, {**settings, "cluster.replica": name})
        service.wait_until_serving()
        self._urls[name] = service.url

    def begin(self) -> None:
        """Start the replicas, then the writers."""
        for name in "ab":
            self.start(name)
        for writer in self.writers:
            writer.start()
        self.go_on()

    def go_on(self) -> None:
        """Wait until every replica is ready, and every writer was answered anew."""
        for service in self.services.values():
            wait_until(lambda service=service: self._is_ready(service), "a replica to be ready")  # type: ignore[misc]
        self.progress()

    def progress(self) -> None:
        """Wait until every writer was answered anew."""
        before = [writer.answered for writer in self.writers]
        wait_until(
            lambda: all(
                writer.answered > n or writer.fault is not None for writer, n in zip(self.writers, before, strict=True)
            ),
            "every writer to be answered",
        )
        for writer in self.writers:
            if writer.fault is not None:
                raise writer.fault

    @staticmethod
    def _is_ready(service: Service) -> bool:
        try:
            return is_ready(service)
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """End everything, also after a fault."""
        self.over.set()
        self.gave_up.set()
        for service in self.services.values():
            service.process.send_signal(SIGCONT)
            service.close()

    # -- faults -------------------------------------------------------------------------------------------------------

    def strike(self, kind: str) -> None:
        """Make one fault, and wait until all is well again."""
        FAULTS[kind](self)
        self.made[kind] += 1
        self.go_on()

    def _one(self) -> str:
        return self._rng.choice("ab")

    def kill_replica(self) -> None:
        """SIGKILL; the other one takes what comes meanwhile."""
        name = self._one()
        self.services[name].kill()
        self.progress()
        self._again(name)

    def freeze_replica(self) -> None:
        """SIGSTOP until every writer has gone to the other one; what it was at it finishes later."""
        process = self.services[self._one()].process
        process.send_signal(SIGSTOP)
        self.progress()
        process.send_signal(SIGCONT)

    def restart_replica(self) -> None:
        """SIGTERM, as an upgrade does."""
        name = self._one()
        assert self.services[name].stop(SIGTERM) == 0
        self._again(name)

    def kill_replicas(self) -> None:
        """SIGKILL of all at once: nobody holds what was under way but the log."""
        for name in "ab":
            self.services[name].kill()
        for name in "ba":
            self._again(name)

    def _again(self, name: str) -> None:
        self.services[name].close()
        self.start(name)

    def kill_leader(self) -> None:
        """SIGKILL of the server that orders the records; the others choose another."""
        i = self.servers.leader(self._rng)
        self.servers.kill(i)
        self.progress()
        self.servers.start(i)

    def freeze_leader(self) -> None:
        """SIGSTOP of it: when it wakes up it was put off, and does not know."""
        process = self.servers.running(self.servers.leader(self._rng))
        process.send_signal(SIGSTOP)
        self.progress()
        process.send_signal(SIGCONT)

    def restart_server(self) -> None:
        """SIGTERM of any server."""
        i = self._rng.randrange(len(self.servers.ports))
        self.servers.stop(i)
        self.progress()
        self.servers.start(i)

    def kill_servers(self) -> None:
        """SIGKILL of all at once."""
        for i in range(len(self.servers.ports)):
            self.servers.kill(i)
        for i in range(len(self.servers.ports)):
            self.servers.start(i)

    # -- what is left -------------------------------------------------------------------------------------------------

    def end(self) -> int:
        """Have each writer finish, stop the replicas, compare every value of each; return how many there were."""
        self.go_on()
        self.over.set()
        for writer in self.writers:
            writer.join(120)
            if writer.fault is not None:
                raise writer.fault
            assert not writer.is_alive(), f"{writer.symbol} was not answered"
        told = [service.client.get("/cluster").json() for service in self.services.values()]
        newest = max(one["applied"] for one in told)
        for service in self.services.values():
            wait_until(lambda s=service: s.client.get("/cluster").json()["applied"] >= newest, "all to be read")  # type: ignore[misc]
            assert service.stop(SIGTERM) == 0
        return sum(self._compared(service) for service in self.services.values())

    def _compared(self, service: Service) -> int:
        """Compare what a replica holds with what was sent; return how many numbers that were."""
        totals = {writer.symbol: 0 for writer in self.writers}
        for writer in self.writers:
            totals[writer.symbol] = max(totals[writer.symbol], writer.total)
        compared = 0
        with Store(service.data_dir, mode="r") as store:
            assert {info.symbol for info in store.symbols()} == set(totals)
            for symbol, total in totals.items():
                start, end = store.series(symbol).bounds()
                assert end == total, f"{symbol} ends at {end}, and {total} points were acknowledged"
                found = store.ticks(symbol, end)
                for got, wanted in zip(found_columns(found), stored_rows(symbol, start, end), strict=True):
                    assert (got is None) == (wanted is None)
                    if got is not None and wanted is not None:
                        assert got.tobytes() == wanted.tobytes(), f"{symbol}: first other at {_first(got, wanted)}"
                        compared += len(got)
            faults = [fault for report in store.verify() for fault in report.faults]
            assert not faults, faults
        return compared


def found_columns(ticks: Any) -> Rows:
    """Return prices, times and sizes."""
    return ticks.prices, ticks.times, ticks.sizes


def _first(got: NDArray[Any], wanted: NDArray[Any]) -> object:
    n = min(len(got), len(wanted))
    other = np.flatnonzero(got[:n] != wanted[:n])
    return int(other[0]) if len(other) else f"{len(got)} in place of {len(wanted)}"


FAULTS: dict[str, Callable[[Shard], None]] = {
    "replica killed": Shard.kill_replica,
    "replica frozen": Shard.freeze_replica,
    "replica restarted": Shard.restart_replica,
    "all replicas killed": Shard.kill_replicas,
    "leader of the log killed": Shard.kill_leader,
    "leader of the log frozen": Shard.freeze_leader,
    "server restarted": Shard.restart_server,
    "all servers killed": Shard.kill_servers,
}


def history(servers: LogServers, directory: Path, seed: int, faults: int, **more: object) -> tuple[Counter[str], int]:
    """Make a history of so many faults; return what happened, and how many numbers were compared."""
    shard = Shard(servers, directory, seed, **more)
    rng = Random(seed)
    kinds: list[str] = []
    while len(kinds) < faults:
        kinds += rng.sample(list(FAULTS), len(FAULTS))
    try:
        shard.begin()
        for kind in kinds[:faults]:
            shard.strike(kind)
        compared = shard.end()
    finally:
        shard.close()
    happened = Counter(shard.made)
    for writer in shard.writers:
        happened.update(writer.told)
    return happened, compared
