"""Histories of a symbol that moves to another shard while it is written to, each from its seed.

The command itself moves it, in a thread that takes turns with the event loop, so that the same seed is the same
history. Its requests and their answers are lost, it is killed and begun again, and everything that `histories` does to
replicas and logs is done to both shards. No value may be lost or doubled, and no two shards may take it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request

import numpy as np
import orjson

from api.cli import moving
from api.cluster.block import Kind, decode
from api.cluster.replica import Replica
from api.http.problems import Refusal
from hft_mmap import HftMmapError, OffsetConflict, SymbolNotFound, Ticks, as_ticks
from tests.cluster.histories import History, Node, Writer, in_memory
from tests.cluster.model import Killed, Series

SYMBOL = "MOVES"
OLD, NEW = 0, 1
_COLUMNS = {"price": np.float64, "time": np.int64}
_LONGEST_S = 200.0
_BATCH_POINTS = 7
_OUT_OF_RANGE = 409


class Ended(BaseException):
    """The command was killed."""


class Reply:
    """What `urlopen` returns."""

    def __init__(self, body: bytes) -> None:
        self.status = 200
        self.read = BytesIO(body).read

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing."""


class Turns:
    """A function in a thread that asks the event loop for whatever it waits for: one of the two runs at a time."""

    def __init__(self, work: Callable[["Turns"], None]) -> None:
        self._asked: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._told: SimpleQueue[Any] = SimpleQueue()
        self.fault: BaseException | None = None
        self._thread = Thread(target=self._run, args=(work,), daemon=True)

    def _run(self, work: Callable[["Turns"], None]) -> None:
        try:
            work(self)
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self.fault = error
        self._asked.put(None)

    def ask(self, *question: object) -> Any:
        """In the thread: return what the event loop answers, or raise it."""
        self._asked.put(question)
        told = self._told.get()
        if isinstance(told, BaseException):
            raise told
        return told

    async def run(self, answer: Callable[..., Any]) -> None:
        """In the event loop: run the function to its end; raise what it raises."""
        self._thread.start()
        while (question := self._asked.get()) is not None:
            self._told.put(await answer(*question))
        self._thread.join()
        if self.fault is not None:
            raise self.fault


class MoveHistory:
    """One history of two shards."""

    def __init__(self, seed: int) -> None:
        self.old = History(seed)
        self.new = History(seed // 2, beside=self.old)
        self.new.slots = frozenset()  # in which it makes none itself
        self.rng, self.loop, self.counts = self.old.rng, self.old.loop, self.old.counts
        self.is_moved = False

    def run(self) -> None:
        """Make the history, and assert what has to be so afterwards."""
        in_memory(self.loop, self._run)

    async def _run(self, directory: Path) -> None:
        shards = (self.old, self.new)
        for shard, name in zip(shards, ("old", "new"), strict=True):
            shard.begin(directory / name)
        writer = MovingWriter(self, timed=self.rng.random() < 0.5)
        tasks = [asyncio.create_task(writer.run()), asyncio.create_task(self._move(writer))]
        await asyncio.gather(*(shard.break_things() for shard in shards))
        for shard in shards:
            shard.recover()
        async with asyncio.timeout(_LONGEST_S):
            await tasks[1]
            await asyncio.sleep(2)  # something is written behind it
        self.new.ending = True
        await self.old.calm(tasks)
        await self.new.calm([])
        self._check(writer)
        for shard in shards:
            await shard.end()
        for node in self.old.nodes:  # whose last position is saved
            assert SYMBOL not in node.points.series

    # -- the command --------------------------------------------------------------------------------------------------

    async def _move(self, writer: "MovingWriter") -> None:
        """Run the command until it says that all is done; it is killed now and then."""
        await asyncio.sleep(self.rng.random() * 6)
        await writer.has_begun.wait()
        while not self.is_moved:
            try:
                await Turns(self._command).run(self._answer)
            except Ended:
                self.old.count("move killed")
            except moving.MoveError as error:
                if "refused with" in str(error):  # points that are not those of the old shard
                    raise
                self.old.count("move given up")
            else:
                self.old.count("moved")
                self.is_moved = True

    def _command(self, turns: Turns) -> None:
        """Do what `hft-mmap cluster move` does, in its thread."""

        def shard_of(shard: History, name: str) -> moving.Shard:
            def opened(request: Request, timeout: float) -> Reply:  # noqa: ARG001 - as `urlopen`
                reply: Reply = turns.ask(shard, request)
                return reply

            urls = [f"http://{name}{node.number}" for node in shard.nodes]
            return moving.Shard(urls, "", opened, lambda pause_s: turns.ask(None, pause_s))

        for _ in moving.moved(SYMBOL, shard_of(self.old, "old"), shard_of(self.new, "new"), NEW, _BATCH_POINTS):
            pass

    async def _answer(self, shard: History | None, asked: Any) -> Any:
        """Return what the command is answered: a `Reply`, or an exception that it meets."""
        if shard is None:
            await asyncio.sleep(asked)
            return None
        await asyncio.sleep(self.rng.random() * 0.05)
        chances = (94, 2, 2, 2) if shard.faulty else (1, 0, 0, 0)
        fate = self.rng.choices(("answered", "request lost", "answer lost", "killed"), chances)[0]
        node = next(node for node in shard.nodes if asked.host.endswith(str(node.number)))
        if fate == "request lost" or node.replica is None:
            return OSError("nobody answers")
        status, body = 503, b"{}"
        with suppress(Killed):
            status, body = await _served(node, asked)
        if fate != "answered":
            return Ended() if fate == "killed" else OSError("the answer is lost")
        return Reply(body) if status == 200 else HTTPError(asked.full_url, status, "", None, BytesIO(body))  # type: ignore[arg-type]

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def check_taken(self) -> None:
        """Assert that the old shard has let go of the symbol for good, since the new one has taken a batch of it."""
        kinds = [entry.kind for data in self.old.log.kept for entry in decode(data).entries if entry.symbol == SYMBOL]
        assert Kind.MOVED in kinds, "both shards take the symbol"

    def _check(self, writer: "MovingWriter") -> None:
        for node in self.old.nodes:
            self.old.check_running(node.running)
            assert node.running.applied == self.old.log.last
            assert node.running.state.place.moved == {SYMBOL: NEW}
        self.new.check_nodes()
        series = self.new.nodes[0].points.series[SYMBOL]
        assert len(series.rows) == len(writer.rows), (len(series.rows), len(writer.rows))
        assert series.rows[series.start :] == writer.rows[series.start :]
        self.old.count("points after the move")


class MovingWriter(Writer):
    """A client with offsets, which goes on in the new shard once a replica of the old one says so."""

    def __init__(self, both: MoveHistory, *, timed: bool) -> None:
        super().__init__(both.old, SYMBOL, exact=True, timed=timed)
        self._both = both
        self.has_begun = asyncio.Event()

    async def _send(self, batch: Ticks, offset: int | None) -> int | None:
        """Send one batch to the shard that has the symbol; None where it may be stored or not."""
        told = [node.running.state.place.moved for node in self._both.old.nodes if node.replica is not None]
        is_gone = any(SYMBOL in moved for moved in told)
        self.history = self._both.new if is_gone else self._both.old
        total = await super()._send(batch, offset)
        if total is not None:
            self.has_begun.set()
        if is_gone and total is not None:
            self._both.check_taken()
            self._both.old.count("taken by the new shard")
        return total


async def _served(node: Node, request: Request) -> tuple[int, bytes]:
    """Return status and body, as HTTP has them of a replica."""
    try:
        return await _taken(node, request)
    except Refusal as refusal:
        status, detail = refusal.status.value, refusal.detail
    except HftMmapError as error:
        status = {OffsetConflict: 409, SymbolNotFound: 404}.get(type(error), 400)
        detail = str(error)
    return status, orjson.dumps({"detail": detail})


async def _taken(node: Node, request: Request) -> tuple[int, bytes]:
    """Do what is asked of a replica. Refusal, HftMmapError."""
    replica, url = node.running, urlsplit(request.full_url)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    least = int(request.get_header("X-min-seq", "0"))
    if least and not await replica.reached(least, 2.0):
        return 503, b"{}"
    if request.get_method() == "GET":
        return _read(node, url.path, query)
    if request.get_method() == "PATCH":
        return 200, await _step(replica, orjson.loads(_body_of(request)))
    batch = _ticks(_body_of(request), query["columns"].split(","))
    answer = await replica.write(query["symbol"], batch, int(query["offset"]))
    return 200, orjson.dumps({"total": answer.total, "seq": answer.sequence})


def _body_of(request: Request) -> bytes:
    assert isinstance(request.data, bytes)
    return request.data


async def _step(replica: Replica, found: dict[str, Any]) -> bytes:
    """Take a step of a move."""
    if "seal" in found:
        answer = await replica.seal(found["seal"])
    elif "moved" in found:
        answer = await replica.moved(found["moved"], found["to"])
    else:
        times = [found["time"]] if "time" in found else None
        answer = await replica.begin(found["begin"], as_ticks([found["value"]], times, None), found["offset"])
    return orjson.dumps({"total": answer.total, "seq": answer.sequence})


def _ticks(body: bytes, columns: list[str]) -> Ticks:
    """Return the rows in raw columns."""
    size = len(body) // len(columns)
    found = {name: np.frombuffer(body, _COLUMNS[name], size // 8, k * size) for k, name in enumerate(columns)}
    return as_ticks(found["price"], found.get("time"), None)


def _read(node: Node, path: str, query: dict[str, str]) -> tuple[int, bytes]:
    """Return what is asked of the points of a replica: the row of a symbol, or some of its rows."""
    if SYMBOL in node.running.state.place.moved:
        return 421, b"{}"
    series: Series | None = node.points.series.get(SYMBOL)
    if series is None:
        return 404, b"{}"
    if path.startswith("/symbols/"):
        return 200, orjson.dumps({"start": series.start, "total": len(series.rows)})
    begin, end = int(query["from"]), int(query["to"])
    if not series.start <= begin <= end <= len(series.rows):
        return _OUT_OF_RANGE, b'{"detail": "they are no longer kept"}'
    rows = series.rows[begin:end]
    prices, times = [price for price, _ in rows], [time for _, time in rows]
    if query.get("format") != "raw":
        return 200, orjson.dumps({"values": prices, **({} if None in times else {"times": times})})
    columns = {"price": prices, "time": times}
    return 200, b"".join(np.array(columns[name], _COLUMNS[name]).tobytes() for name in query["columns"].split(","))
