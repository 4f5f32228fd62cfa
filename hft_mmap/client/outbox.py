"""What a feed was given and has not heard of yet: points by their symbols, batches by their connections.

Opens no connection and waits for nobody, so both feeds share it. A symbol keeps its points in a `Buffer`; whatever is
cut from it is a batch with its place in the series, waits in the lane of its columns, is sent, and is forgotten when it
is acknowledged. Where the connection ends before, what was sent waits again, in the same order.
"""

import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hft_mmap.client.buffer import Buffer, joined
from hft_mmap.client.errors import ServiceError
from hft_mmap.files.layout import Kind
from hft_mmap.ticks import Ticks

_HEADER = struct.Struct("<qB")
_BATCH_BYTES = 400
"""What a batch takes beside its points."""


class Batch(NamedTuple):
    """Points of one symbol, and the place of the first of them in its series; `serial` counts all batches."""

    symbol: str
    offset: int
    rows: Ticks
    serial: int

    @property
    def end(self) -> int:
        """The total of the series when it is stored."""
        return self.offset + len(self.rows.prices)

    @property
    def nbytes(self) -> int:
        """How much memory it takes, about."""
        return _BATCH_BYTES + sum(column.nbytes for column in (self.rows.prices, *self.rows.columns))

    def message(self) -> bytes:
        """Return it as a message of a stream without a symbol."""
        name = self.symbol.encode()
        header = _HEADER.pack(self.offset, len(name)) + name
        times, prices, sizes = self.rows.times, self.rows.prices, self.rows.sizes
        columns = [column.tobytes() for column in (times, prices, sizes) if column is not None]
        return b"".join([header, bytes(-len(header) % 8), *columns])


class Lane:
    """One connection: what goes over it, to a shard, with the same columns.

    sent: batches that the service has not acknowledged; `frames` of this connection it has. late: points that it said
    came late, on this connection. failure: why no more is tried, until somebody asks for it. is_renewed: somebody asks
    for it, and the time to try begins anew. is_asleep: whoever sends has nothing to do, and is to be woken.
    """

    def __init__(self, shard: int | None, kinds: tuple[Kind, ...]) -> None:
        """Have nothing to send."""
        self.shard = shard
        names = [kind.name for kind in kinds]
        self.columns = [name for name in ("time", "price", "size") if name == "price" or f"{name}s" in names]
        self.waiting: deque[Batch] = deque()
        self.sent: deque[Batch] = deque()
        self.frames = 0
        self.late = 0
        self.failure: Exception | None = None
        self.is_renewed = False
        self.is_asleep = True

    @property
    def oldest(self) -> Batch | None:
        """The first batch that is not acknowledged."""
        return self.sent[0] if self.sent else self.waiting[0] if self.waiting else None


class Line:
    """One symbol: where its next batch goes, where what is acknowledged ends, and what was refused of it."""

    def __init__(self, symbol: str, total: int, shard: int | None, buffer: Buffer) -> None:
        """Begin at `total`."""
        self.symbol = symbol
        self.shard = shard
        self.buffer = buffer
        self.next = self.total = total
        self.lane: Lane | None = None
        self.refused: ServiceError | None = None
        self.returned: list[Ticks] = []


class Outbox:
    """All lines and lanes of a feed. Whoever calls it holds the feed's lock."""

    def __init__(
        self, *, max_points: int, max_age_s: float, reorder_s: float, max_pending: int, max_pending_bytes: int,
        signed: bool,
    ) -> None:  # fmt: skip
        """Be empty; a batch has at most `max_points`, and waits for more of them for `max_age_s`. ValueError.

        signed: prices may be negative.
        """
        if max_pending < 1 or max_pending_bytes < 1:
            message = f"max_pending and max_pending_bytes must be from 1, not {max_pending} and {max_pending_bytes}"
            raise ValueError(message)
        self._new_buffer: Callable[[], Buffer] = lambda: Buffer(max_points, max_age_s, reorder_s, signed=signed)
        self._new_buffer()  # so that wrong numbers are told here
        self._max_pending, self._max_pending_bytes = max_pending, max_pending_bytes
        self.max_age_s = max_age_s
        self.signed = signed
        self.lines: dict[str, Line] = {}
        self.lanes: dict[tuple[int | None, tuple[Kind, ...]], Lane] = {}
        self.pending = 0
        self.late = 0
        self.serial = 0
        self.clock_is_asleep = True
        self.woken: list[Lane] = []
        """Lanes that have something to send again, until whoever sends is told."""
        self._has_failed = False
        self._bytes = 0
        self._aging: dict[str, Line] = {}
        """Symbols of which points wait for more of them."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits that a feed takes no more."""
        return self.pending >= self._max_pending or self._bytes >= self._max_pending_bytes

    @property
    def is_aging(self) -> bool:
        """Whether points wait for more."""
        return bool(self._aging)

    def open(self, symbol: str, total: int, shard: int | None) -> Line:
        """Begin a symbol, whose next point has the index `total`."""
        line = self.lines[symbol] = Line(symbol, total, shard, self._new_buffer())
        return line

    def put(self, line: Line, rows: Ticks) -> None:
        """Take points of a symbol. ColumnsDiffer unless they have the columns of those before them."""
        line.buffer.put(rows)
        self._given(line, len(rows.prices))

    def add(self, line: Line, value: float, time: object, size: float | None, side: str | None) -> None:
        """Take one point; see `Buffer.add`."""
        line.buffer.add(value, time, size, side)
        self._given(line, 1)

    def _given(self, line: Line, points: int) -> None:
        self.pending += points
        if line.buffer.has_batch:
            self._cut(line)
        elif points:
            self._aging.setdefault(line.symbol, line)

    def _cut(self, line: Line, *, all_points: bool = False, ending: bool = False) -> None:
        """Put full batches of a symbol into its lane; with `all_points` also what is less, see `Buffer.ready`."""
        buffer = line.buffer
        while buffer.has_batch or (all_points and buffer.ready(all_points=ending)):
            rows = buffer.batch()
            buffer.sent()
            lane = line.lane
            if lane is None:
                key = line.shard, rows.kinds
                lane = line.lane = self.lanes.get(key) or self.lanes.setdefault(key, Lane(*key))
            self.serial += 1
            batch = Batch(line.symbol, line.next, rows, self.serial)
            line.next = batch.end
            self._bytes += batch.nbytes
            lane.waiting.append(batch)
            if lane.is_asleep and lane.failure is None:
                lane.is_asleep = False
                self.woken.append(lane)
        if len(buffer):
            self._aging.setdefault(line.symbol, line)
        else:
            self._aging.pop(line.symbol, None)

    def cut_all(self, *, ending: bool = False) -> None:
        """Put into the lanes what waits for more; ending: also what waits for points with earlier times."""
        for line in list(self._aging.values()):
            self._cut(line, all_points=True, ending=ending)

    def cut_due(self) -> float | None:
        """Put into the lanes what has waited long enough; return how long the next may still wait, None for none.

        Whatever is due within a quarter of the time goes as well, so that many symbols take few looks.
        """
        soon_s = self.max_age_s / 4
        for line in list(self._aging.values()):
            due_in_s = line.buffer.due_in_s()
            if due_in_s is not None and due_in_s <= soon_s:
                self._cut(line, all_points=True)
        waits = [due for line in self._aging.values() if (due := line.buffer.due_in_s()) is not None]
        self.clock_is_asleep = not waits
        return max(min(waits), soon_s) if waits else None

    def next(self, lane: Lane) -> Batch | None:
        """Return the next batch to send, None if there is none; then whoever sends is to be woken."""
        if not lane.waiting:
            lane.is_asleep = True
            return None
        batch = lane.waiting.popleft()
        lane.sent.append(batch)
        return batch

    def connected(self, lane: Lane) -> None:
        """Begin a connection: what was sent before and not acknowledged goes again, in the same order."""
        lane.waiting.extendleft(reversed(lane.sent))
        lane.sent.clear()
        lane.frames = lane.late = 0

    def acknowledged(self, lane: Lane, frames: int, late: int = 0) -> None:
        """Forget batches of which the service says that they are stored, `frames` on this connection."""
        self.late += late - lane.late
        lane.late = late
        while lane.frames < frames and lane.sent:
            batch = lane.sent.popleft()
            lane.frames += 1
            self._forget(batch)
            self.lines[batch.symbol].total = batch.end

    def _forget(self, batch: Batch) -> None:
        self.pending -= len(batch.rows.prices)
        self._bytes -= batch.nbytes

    def refused(self, lane: Lane, frame: int, error: ServiceError) -> None:
        """Stop the symbol of a message that was refused: what was given of it and is not stored is kept for it."""
        self.acknowledged(lane, frame - 1, lane.late)
        if not lane.sent:
            return
        batch = lane.sent[0]
        line = self.lines[batch.symbol]
        error.symbol, error.offset = batch.symbol, batch.offset
        line.refused = error
        for queue in (lane.sent, lane.waiting):
            mine = [one for one in queue if one.symbol == line.symbol]
            others = [one for one in queue if one.symbol != line.symbol]
            queue.clear()
            queue.extend(others)
            for one in mine:
                self._forget(one)
                line.returned.append(one.rows)
        while line.buffer.ready(all_points=True):
            rows = line.buffer.batch()
            line.buffer.sent()
            self.pending -= len(rows.prices)
            line.returned.append(rows)
        self._aging.pop(line.symbol, None)

    @property
    def refusals(self) -> Mapping[str, ServiceError]:
        """The symbols of which a batch was refused, and why."""
        return {line.symbol: line.refused for line in self.lines.values() if line.refused is not None}

    def take_back(self, symbol: str) -> Ticks | None:
        """Return what was refused of a symbol and given behind it, and forget the symbol; None where nothing was."""
        line = self.lines.get(symbol)
        if line is None or line.refused is None:
            return None
        del self.lines[symbol]
        return joined(line.returned)

    def fail(self, lane: Lane, failure: Exception) -> None:
        """Have a connection not tried any more, until `retry`."""
        lane.failure = failure
        self._has_failed = True

    def failed(self) -> Exception | None:
        """Return why a connection is not tried any more, None while all are."""
        if not self._has_failed:
            return None
        return next((lane.failure for lane in self.lanes.values() if lane.failure is not None), None)

    def retry(self) -> None:
        """Have all connections tried for as long as one may be, from now on."""
        self._has_failed = False
        for lane in self.lanes.values():
            lane.is_renewed = True
            if lane.failure is not None:
                lane.failure = None
                lane.is_asleep = False
                self.woken.append(lane)

    def is_delivered(self, serial: int) -> bool:
        """Say whether all batches up to `serial` were acknowledged, or refused."""
        oldest = (lane.oldest for lane in self.lanes.values())
        return all(batch is None or batch.serial > serial for batch in oldest)

    def take_woken(self) -> list[Lane]:
        """Return the lanes that are to be woken."""
        woken, self.woken = self.woken, []
        return woken

    def heard(self, lane: Lane, found: Mapping[str, Any]) -> None:
        """Take an acknowledgement."""
        self.acknowledged(lane, int(found["frames"]), int(found.get("late", 0)))
