"""A replica of a shard: it follows the log, and writes to it when it is asked to.

Any replica may write at any time: of two blocks that were decided on the same state the second one is dropped, by
everybody. One block is under way at a time; what arrives meanwhile makes the next one.
"""

import asyncio
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from api.cluster.block import NO_POINTS, Kind, encode
from api.cluster.deciding import Decision, Rules, decide
from api.cluster.following import LOOK_S, Follower, Patience
from api.cluster.log import Log, Stale, Unknown
from api.cluster.points import Points
from api.cluster.request import Answer, Request
from api.cluster.state import Stopped
from api.http.problems import Refusal
from api.operation.sharding import BLOCK_OVERHEAD_BYTES
from hft_mmap import Limits, Ticks
from hft_mmap.files.names import validate_symbol
from hft_mmap.ticks import check_ticks

_AGAIN_S = 0.2
MOST_POINTS = 2**62
"""What a record can say of how many points a symbol keeps."""


class Replica(Follower):
    """A follower that takes batches once it has read what the log had at its start."""

    def __init__(self, points: Points, log: Log, directory: Path, rules: Rules, patience: Patience) -> None:
        """Read the position. StoreUnusable."""
        super().__init__(points, log, directory, patience)
        self._rules = rules
        self._not_taken = ""
        self._queue: list[Request] = []
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self.stale = self.unknown = 0

    def start(self) -> None:
        """Begin to follow, and to write."""
        super().start()
        self._run(self._write_blocks)

    async def close(self) -> None:
        """End as a follower does. What waits is refused."""
        await self._end()
        self._refuse_waiting("the service is stopping")
        await super().close()

    def _stop(self, reason: str) -> None:
        """Take no more batches either."""
        super()._stop(reason)
        self._refuse_waiting(reason)

    def _refuse_waiting(self, reason: str) -> None:
        for request in self._queue:
            _refuse(request, reason)
        self._queue.clear()

    async def write(self, symbol: str, batch: Ticks, offset: int | None) -> Answer:
        """Append a batch to the log and apply it. HftMmapError and Refusal say why not (421, 503)."""
        validate_symbol(symbol)
        return await self._ask(Request(symbol, check_ticks(batch, signed=self._rules.negative_prices), offset))

    async def seal(self, symbol: str) -> Answer:
        """Take no more points of `symbol`, for good; return its total. SymbolNotFound, Refusal as of `write`."""
        return await self._ask(Request(validate_symbol(symbol), NO_POINTS, None, Kind.SEAL))

    async def begin(self, symbol: str, point: Ticks, at: int) -> Answer:
        """Make `symbol`, of any slot, by its oldest point, whose index is `at`. Errors as of `write`."""
        first = check_ticks(point, signed=self._rules.negative_prices)
        return await self._ask(Request(validate_symbol(symbol), first, at, Kind.BEGIN))

    async def moved(self, symbol: str, shard: int) -> Answer:
        """Remove `symbol`, which is sealed: it is in `shard` now. Refusal as of `write`, and where it is not (409)."""
        return await self._ask(Request(validate_symbol(symbol), NO_POINTS, None, Kind.MOVED, numbers=(shard,)))

    async def limit(self, max_data_retention: int, cleanup_keep_count: int) -> Answer:
        """Have every replica keep so many points a symbol from here on. ValueError as of `Limits`; as `write`."""
        Limits(max_data_retention, cleanup_keep_count)
        if max_data_retention > MOST_POINTS:
            raise ValueError(f"max_data_retention must be at most {MOST_POINTS}, not {max_data_retention}")
        numbers = max_data_retention, cleanup_keep_count
        return await self._ask(Request("", NO_POINTS, None, Kind.LIMITS, numbers=numbers))

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
