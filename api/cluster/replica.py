"""A replica of a shard: it follows the log, writes to it when it is asked to, and saves how far it has got.

Any replica may write at any time: of two blocks that were decided on the same state the second one is dropped, by
everybody. One block is under way at a time; what arrives meanwhile makes the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from time import monotonic

import structlog

from api.cluster.block import NO_POINTS, Kind, encode
from api.cluster.deciding import Decision, Rules, decide
from api.cluster.log import Bounds, Log, Stale, Unknown
from api.cluster.points import Points
from api.cluster.position import Position, load, save
from api.cluster.request import Answer, Request
from api.cluster.state import Place, State, Stopped
from api.http.problems import Refusal
from api.operation.sharding import BLOCK_OVERHEAD_BYTES
from hft_mmap import HftMmapError, Ticks
from hft_mmap.files.names import validate_symbol
from hft_mmap.ticks import check_ticks

LOOK_S = 1.0
"""How often it is asked how far the log goes."""
_LOOKS_IN_DOUBT = 10
"""A log that goes less far than its replica is believed after so many looks: a server may answer that was put off."""
_AGAIN_S = 0.2
_DISK_AGAIN_S = 0.5
_TURN_S = 0.005


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and for how much a replica waits. in_thread: runs a function beside the event loop; clock: seconds."""

    append_timeout_s: float = 10.0
    queue_bytes: int = 64 * 2**20
    position_s: float = 5.0
    in_thread: Callable[[Callable[[], None]], Awaitable[None]] = asyncio.to_thread
    clock: Callable[[], float] = monotonic


class Replica:
    """One replica, between `start` and `close`. Belongs to one event loop."""

    def __init__(self, points: Points, log: Log, directory: Path, rules: Rules, patience: Patience) -> None:
        """Read the position. StoreUnusable."""
        self._saved = load(directory)
        self.state = State(points, Place() if self._saved is None else self._saved.place)
        self._log = log
        self._directory = directory
        self._rules = rules
        self._patience = patience
        self._clock = patience.clock
        self._identity = ""
        self._unreachable = self._not_taken = ""
        self._queue: list[Request] = []
        self._queued_bytes = 0
        self._wake = asyncio.Event()
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
        self.stale = self.unknown = 0
        self._say: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind()

    # -- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow; writes are taken once it has read what the log has now."""
        work = self._follow, self._write_blocks, self._save_positions
        self._tasks = [asyncio.create_task(self._guarded(one)) for one in work]

    async def close(self) -> None:
        """End, and save how far it has got. What waits is refused."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._refuse_waiting("the service is stopping")
        if self._identity:  # also where it has stopped: the next start is to find out as well
            await self._save()
        await self._log.close()

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
        """Take no more records and no more batches: what is there goes on to be read."""
        if self.stopped is None:
            self.stopped = reason
            self._say.error("replica_stopped", reason=reason)
        self._refuse_waiting(reason)
        self._announce()

    def _refuse_waiting(self, reason: str) -> None:
        for request in self._queue:
            _refuse(request, reason)
        self._queue.clear()

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

    async def write(self, symbol: str, batch: Ticks, offset: int | None) -> Answer:
        """Append a batch to the log and apply it. HftMmapError and Refusal say why not (421, 503)."""
        validate_symbol(symbol)
        return await self._ask(Request(symbol, check_ticks(batch), offset))

    async def seal(self, symbol: str) -> Answer:
        """Take no more points of `symbol`, for good; return its total. Refusal as of `write`."""
        return await self._ask(Request(validate_symbol(symbol), NO_POINTS, None, Kind.SEAL))

    async def _ask(self, request: Request) -> Answer:
        if request.size + BLOCK_OVERHEAD_BYTES > self._rules.max_block_bytes:
            detail = (
                f"The batch takes {request.size} bytes in the log, and a record has at most "
                f"{self._rules.max_block_bytes} (cluster.max_block_bytes); nothing was stored: send several batches"
            )
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        if self.stopped is not None or not self._caught_up.is_set():
            raise unavailable(f"Nothing was stored: {self.reason()}")
        if self._queued_bytes + request.size > self._patience.queue_bytes and self._queue:
            raise unavailable(
                f"Nothing was stored: {self._queued_bytes} bytes wait for the log, and with {request.size} more it "
                f"would be above cluster.queue_bytes ({self._patience.queue_bytes}); send it again later"
            )
        self._queue.append(request)
        self._queued_bytes += request.size
        self._wake.set()
        timeout_s = self._patience.append_timeout_s

        def give_up() -> None:
            why = f"the log did not take the batch within cluster.append_timeout_s ({timeout_s:g} s)"
            _refuse(request, f"{why}: {self._not_taken}" if self._not_taken else why)

        late = asyncio.get_running_loop().call_later(timeout_s, give_up)
        try:
            return await request.done
        finally:
            late.cancel()
            self._queued_bytes -= request.size

    # -- following ----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Read the log for ever."""
        await self._begin()
        watch = asyncio.create_task(self._guarded(self._watch))
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

    # -- writing ------------------------------------------------------------------------------------------------------

    async def _write_blocks(self) -> None:
        """Write what waits, a block at a time, for ever."""
        await self._caught_up.wait()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue and self.stopped is None:
                decision = decide(self.state, self._queue, self._rules)
                self._queue = []
                try:
                    counts = await self._append(decision)
                except BaseException:
                    self._queue = [*(request for request, _ in decision.answers), *decision.later, *self._queue]
                    raise
                if counts:
                    self._answer(decision)
                    self._queue = decision.later + self._queue
                else:
                    again = [request for request, _ in decision.answers]
                    for request in again:
                        request.under_way = False
                    self._queue = again + decision.later + self._queue

    def _answer(self, decision: Decision) -> None:
        for request, answer in decision.answers:
            if request.done.done():
                continue
            if isinstance(answer, Exception):
                request.done.set_exception(answer)
            else:
                request.done.set_result(answer._replace(sequence=self.applied))

    async def _append(self, decision: Decision) -> bool:
        """Append a block; return whether it counts. If it does not now, it never will. Stopped.

        While nobody can say, the same bytes are sent again: they count once at most.
        """
        if not decision.proved:
            return True
        prev = self.applied
        self._mine, data = encode(prev, self.state.place.parent, decision.entries)
        self._mine_at = 0
        for request, _ in decision.answers:
            request.under_way = True
        while True:
            if self.stopped is not None:
                raise Stopped(self.stopped)
            if self._mine_at:
                return True
            # Not «something else was read»: what was dropped leaves the block as good as it was, and a copy of it that
            # is still on its way would count.
            if self.state.place.accepted > prev:
                return False
            await self._try(data, self.applied)

    async def _try(self, data: bytes, last: int) -> None:
        """Send a block once, and read on as far as that tells something. Stopped."""
        try:
            sequence = await self._log.append(data, last)
        except Stale:
            self.stale += 1
            with suppress(ConnectionError):
                bounds = await self._log.bounds()
                if self._is_in_doubt(bounds, last):
                    await self._until(lambda: self.applied > last, LOOK_S)
            await self._until(lambda: self.applied > last, LOOK_S)
        except Unknown as error:
            self.unknown += 1
            self._not_taken = str(error)
            await self._until(lambda: self.applied > last, _AGAIN_S)
        else:
            self._not_taken = ""
            if sequence == self.applied + 1:
                self._take(sequence, data)
            await self._until(lambda: self.applied >= sequence)

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
        """Put the points on the disk, then the position that they had before."""
        position = Position(self._identity, self.state.place)

        def put() -> None:
            self.state.points.sync()
            save(self._directory, position)

        try:
            await self._patience.in_thread(put)
        except (HftMmapError, OSError) as error:
            self._say.error("position_not_saved", reason=str(error))
        else:
            self._saved = position


def unavailable(detail: str) -> Refusal:
    """Return the refusal of what may be tried again in a second."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "1"})


def _refuse(request: Request, reason: str) -> None:
    """Tell who waits that nobody knows, or that nothing was stored."""
    if request.done.done():
        return
    if request.under_way:
        detail = f"The batch may be stored: send it again with its offset, which stores it once: {reason}"
    else:
        detail = f"Nothing was stored: {reason}"
    request.done.set_exception(unavailable(detail))
