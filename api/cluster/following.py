"""Following the log of a shard: records are applied in their order, and how far that got is saved now and then."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import structlog

from api.cluster.log import Bounds, Log
from api.cluster.points import Points
from api.cluster.position import Position, load, save
from api.cluster.state import Place, State, Stopped
from hft_mmap import HftMmapError

LOOK_S = 1.0
"""How often it is asked how far the log goes."""
_LOOKS_IN_DOUBT = 10
"""A log that goes less far than its replica is believed after so many looks: a server may answer that was put off."""
_DISK_AGAIN_S = 0.5
_TURN_S = 0.005
_CANCEL_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and for how much a replica waits. in_thread: runs a function beside the event loop; clock: seconds."""

    append_timeout_s: float = 10.0
    queue_bytes: int = 64 * 2**20
    position_s: float = 5.0
    in_thread: Callable[[Callable[[], None]], Awaitable[None]] = asyncio.to_thread
    clock: Callable[[], float] = monotonic


class Follower:
    """What reads the log, between `start` and `close`. Belongs to one event loop."""

    def __init__(self, points: Points, log: Log, directory: Path, patience: Patience) -> None:
        """Read the position. StoreUnusable."""
        self._saved = load(directory)
        self.state = State(points, Place() if self._saved is None else self._saved.place)
        self._log = log
        self._directory = directory
        self._patience = patience
        self._clock = patience.clock
        self._identity = ""
        self._unreachable = ""
        self._moved = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._mine: bytes | None = None
        self._mine_at = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._doubts = 0
        self.log_last = 0
        self.heard_at_s = 0.0
        self.stopped: str | None = None
        self.disk_trouble: str | None = None
        self._say: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind()

    # -- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow."""
        for work in (self._follow, self._save_positions):
            self._run(work)

    def _run(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Do some work in a task, until the end."""
        self._tasks.append(task := asyncio.create_task(self._guarded(work)))
        return task

    async def close(self) -> None:
        """End, and save how far it has got."""
        await self._end()
        if self._identity:  # also where it has stopped: the next start is to find out as well
            await self._save()
        await self._log.close()

    async def _end(self) -> None:
        """End all work."""
        # NOTE: again and again, since a cancellation may be lost: `asyncio.wait_for` of Python 3.11 does not raise it
        # where what it waited for has come at the same time.
        while not all(task.done() for task in self._tasks):
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_CANCEL_AGAIN_S)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work; what nobody expected stops the replica, and is told."""
        try:
            await work()
        except Stopped as error:
            self._stop(str(error))
        except Exception as error:
            self._stop(f"a fault of ours: {error!r}")
            raise

    def _stop(self, reason: str) -> None:
        """Take no more records: what is there goes on to be read."""
        if self.stopped is None:
            self.stopped = reason
            self._say.error("replica_stopped", reason=reason)
        self._announce()

    # -- what others ask ----------------------------------------------------------------------------------------------

    @property
    def applied(self) -> int:
        """The last record that was read."""
        return self.state.place.applied

    @property
    def saved(self) -> int:
        """The last record of the position that was saved."""
        return 0 if self._saved is None else self._saved.place.applied

    @property
    def last(self) -> int:
        """The newest record that the log is known to have."""
        return max(self.log_last, self.applied)

    def reason(self) -> str | None:
        """Return why it takes no batches, or is behind; None where all is well."""
        if self.stopped is not None:
            return f"this replica has stopped: {self.stopped}"
        if self.disk_trouble is not None:
            return f"this replica can't store what the log has: {self.disk_trouble}"
        if not self._caught_up.is_set() and self._unreachable:
            return f"the log can't be used: {self._unreachable}"
        if not self._caught_up.is_set():
            return f"this replica is catching up: it has read {self.applied} of {self.log_last} records"
        if self._clock() - self.heard_at_s > self._patience.append_timeout_s:
            return "the log does not answer"
        return None

    async def reached(self, sequence: int, wait_s: float) -> bool:
        """Wait until record `sequence` was read, for `wait_s` seconds; return whether it was."""
        await self._until(lambda: self.applied >= sequence, wait_s)
        return self.applied >= sequence

    # -- following ----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Read the log for ever."""
        await self._begin()
        watch = self._run(self._watch)
        turn = self._clock()
        try:
            async for sequence, data in self._log.records(self.applied):
                if sequence > self.applied + 1 and not self._log.has_gaps:
                    raise Stopped(f"the log has no records {self.applied + 1} to {sequence - 1}")
                while not self._take(sequence, data):  # noqa: ASYNC110 - a disk tells nobody when it has space
                    await asyncio.sleep(_DISK_AGAIN_S)
                if self.stopped is not None:
                    return
                if self.applied >= self.log_last:
                    self._catch_up()
                if self._clock() - turn > _TURN_S:
                    await asyncio.sleep(0)
                    turn = self._clock()
        finally:
            watch.cancel()

    async def _begin(self) -> None:
        """Connect, and compare the log with what this replica holds. Stopped."""
        while True:
            try:
                await self._log.open()
                identity = await self._log.identity()
                bounds = await self._log.bounds()
            except ConnectionError as error:
                if str(error) != self._unreachable:
                    self._say.warning("log_unreachable", reason=str(error))
                self._unreachable = str(error)
                await asyncio.sleep(LOOK_S)
                continue
            if self._saved is not None and self._saved.log != identity:
                raise Stopped(f"the position is one in the log {self._saved.log}, and this is {identity}")
            if bounds.first > self.applied + 1:
                raise Stopped(f"log begins at {bounds.first}, this replica ends at {self.applied}: bootstrap it")
            self._identity = identity
            if not self._is_in_doubt(bounds, self.applied):
                break
            await asyncio.sleep(LOOK_S)
        self._hear(bounds)
        if self.applied >= bounds.last:
            self._catch_up()

    async def _watch(self) -> None:
        """Look how far the log goes, from time to time. Stopped where it goes less far than this replica."""
        while True:
            await asyncio.sleep(LOOK_S)
            before = self.applied
            with suppress(ConnectionError):
                if (identity := await self._log.identity()) != self._identity:
                    raise Stopped(f"the log was replaced: it was {self._identity}, and is {identity}")
                bounds = await self._log.bounds()
                if not self._is_in_doubt(bounds, before):
                    self._hear(bounds)

    def _hear(self, bounds: Bounds) -> None:
        self._unreachable = ""
        self.log_last = max(bounds.last, self.applied)
        self.heard_at_s = self._clock()

    def _is_in_doubt(self, bounds: Bounds, applied: int) -> bool:
        """Say whether the log goes less far than what was read of it before. Stopped where that is so again and again.

        One answer proves nothing: it may be that of a server which does not know yet that it was put off.
        """
        self._doubts = self._doubts + 1 if bounds.last < applied else 0
        if self._doubts >= _LOOKS_IN_DOUBT:
            raise Stopped(f"log ends at {bounds.last}, this replica at {applied}: the log has lost records")
        return self._doubts > 0

    def _take(self, sequence: int, data: bytes) -> bool:
        """Apply a record; return whether that could be done. Stopped."""
        if self.stopped is not None:
            return True
        try:
            block = self.state.take(sequence, data)
        except HftMmapError as error:
            if self.disk_trouble is None:
                self._say.error("record_not_applied", sequence=sequence, reason=str(error))
            self.disk_trouble = str(error)
            return False
        self.disk_trouble = None
        self.heard_at_s = self._clock()  # what it has sent, or taken, it has answered
        if block is not None and block.ident == self._mine:
            self._mine_at = sequence
        self._announce()
        return True

    def _catch_up(self) -> None:
        self._caught_up.set()
        self._announce()

    def _announce(self) -> None:
        """Wake everybody who waits for a record, or for the end."""
        self._moved.set()
        self._moved.clear()

    async def _until(self, is_so: Callable[[], bool], wait_s: float | None = None) -> None:
        """Wait until `is_so()`, or the replica has stopped, or `wait_s` seconds are over."""
        # NOTE: no `asyncio.timeout`: the first step of a request runs in no task.
        over: list[bool] = []

        def end() -> None:
            over.append(True)
            self._announce()

        timer = None if wait_s is None else asyncio.get_running_loop().call_later(wait_s, end)
        try:
            while not (is_so() or over) and self.stopped is None:
                await self._moved.wait()
        finally:
            if timer is not None:
                timer.cancel()

    # -- the position -------------------------------------------------------------------------------------------------

    async def _save_positions(self) -> None:
        """Save the position every so often; more rarely where that takes long."""
        pause_s = self._patience.position_s
        while True:
            await asyncio.sleep(pause_s)
            if self._identity and self.stopped is None and self.applied != self.saved:
                begin = self._clock()
                await self._save()
                pause_s = max(self._patience.position_s, 10 * (self._clock() - begin))

    async def _save(self) -> None:
        """Put the points on the disk, then the position that they had before; what has moved is removed after that."""
        position = Position(self._identity, self.state.place)

        def put() -> None:
            self.state.points.sync()
            save(self._directory, position)
            for symbol in position.place.moved:  # whose records are never read again
                self.state.points.remove(symbol)

        try:
            await self._patience.in_thread(put)
        except (HftMmapError, OSError) as error:
            self._say.error("position_not_saved", reason=str(error))
        else:
            self._saved = position
