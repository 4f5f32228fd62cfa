"""What becomes of batches that wait: a block is decided on the state as it is, and changes nothing yet.

A refusal that depends on the state is an answer of its block, and given when the block counts: a replica that lags must
not refuse an offset that fits by now.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from api.cluster.block import HEAD_BYTES, MOST_ENTRY_BYTES, NO_POINTS, Entry, Kind, encode_entry
from api.cluster.request import Answer, Request
from api.cluster.state import State
from api.http.problems import Refusal
from hft_mmap import HftMmapError, Late, Limits, SymbolLimitReached, SymbolNotFound, Ticks
from hft_mmap.files.layout import Kind as Column
from hft_mmap.slots import MOST_SLOTS, slot_of
from hft_mmap.ticks import clamped, other_columns, raise_late

MOST_ENTRIES = 4096
"""Entries of one block: applying them takes some 20 ms at most beside their points."""


@dataclass(frozen=True, slots=True)
class Rules:
    """By which a replica decides; other replicas may have others, and hold the same points all the same.

    max_block_bytes: the largest record. retention: what a log that has no limits yet gets. slots: in which this shard
    may make symbols. negative_prices: whether it takes such prices from its clients.
    """

    max_block_bytes: int
    max_symbols: int
    retention: tuple[int, int]
    late: Late = Late.CLAMP
    slots: frozenset[int] = frozenset(range(MOST_SLOTS))
    negative_prices: bool = False


@dataclass(slots=True)
class Decision:
    """A block that was decided: its entries, what is answered when it counts, and what has to wait for the next one.

    proved: whether an answer depends on the state being the newest, so that the block has to be appended.
    """

    entries: list[bytes] = field(default_factory=list)
    answers: list[tuple[Request, Answer | Exception]] = field(default_factory=list)
    later: list[Request] = field(default_factory=list)
    proved: bool = False


@dataclass(slots=True)
class _End:
    """Where a symbol ends after what this block adds."""

    total: int
    kinds: tuple[Column, ...]
    last_time: int | None


class _Later(Exception):
    """The request depends on what this very block adds."""


def decide(state: State, waiting: Sequence[Request], rules: Rules) -> Decision:
    """Return what becomes of the requests that wait, in their order, until the block is full."""
    return _Deciding(state, rules).run(waiting)


class _Deciding:
    """One block in the making."""

    def __init__(self, state: State, rules: Rules) -> None:
        self._state = state
        self._rules = rules
        self._limits = state.place.limits()
        self._made = Decision()
        self._ends: dict[str, _End] = {}
        self._held: set[str] = set()
        self._new = 0
        self._size = HEAD_BYTES
        if state.place.retention is None:
            self._add(Entry(Kind.LIMITS, "", 0, NO_POINTS, rules.retention))

    def run(self, waiting: Sequence[Request]) -> Decision:
        made = self._made
        for i, request in enumerate(waiting):
            if request.done.done():
                continue
            if made.answers and (
                self._size + request.size + MOST_ENTRY_BYTES > self._rules.max_block_bytes
                or len(made.entries) >= MOST_ENTRIES
            ):
                made.later += waiting[i:]
                break
            try:
                answer: Answer | Exception = self._answer(request)
            except _Later:
                self._held.add(request.symbol)  # and all of that symbol behind it
                made.later.append(request)
                continue
            except (HftMmapError, Refusal) as error:
                made.proved = True
                answer = error
            made.answers.append((request, answer))
        return made

    def _add(self, entry: Entry) -> None:
        data = encode_entry(entry)
        self._size += len(data)
        self._made.entries.append(data)
        self._made.proved = True

    def _answer(self, request: Request) -> Answer:
        """Take one request into the block, and return what it is answered. _Later, HftMmapError, Refusal."""
        symbol, batch, place = request.symbol, request.batch, self._state.place
        if request.kind is Kind.LIMITS:
            self._add(Entry(Kind.LIMITS, "", 0, NO_POINTS, request.numbers))
            most, keep = request.numbers
            self._limits = Limits(most, keep)
            return Answer(0)
        if symbol in self._held:
            raise _Later
        end, points = self._ends.get(symbol), self._state.points
        if request.kind is not Kind.APPEND:
            if end is not None:
                raise _Later
            return self._step(request)
        if symbol in place.sealed:
            raise self._misdirected(symbol)
        total = points.total(symbol) if end is None else end.total
        if request.offset is not None and request.offset != total:
            if end is not None:
                raise _Later
            return Answer(*points.repeated(symbol, batch, request.offset))
        if end is None:
            end = self._end_of(symbol, total, batch)
        return self._append(symbol, batch, end)

    @staticmethod
    def _misdirected(symbol: str) -> Refusal:
        detail = f"{symbol} has moved to another shard, and takes no more points here; nothing was stored"
        return Refusal(HTTPStatus.MISDIRECTED_REQUEST, detail)

    def _step(self, request: Request) -> Answer:
        """Take a step of a move into the block. SymbolNotFound, SymbolLimitReached, OffsetConflict, Refusal."""
        is_sealed = request.symbol in self._state.place.sealed
        if request.kind is not Kind.BEGIN:
            return self._moved(request) if is_sealed else self._seal(request)
        if is_sealed:
            raise self._misdirected(request.symbol)
        return self._begin(request)

    def _seal(self, request: Request) -> Answer:
        """Take no more points of a symbol that takes them still. SymbolNotFound, Refusal."""
        symbol = request.symbol
        total = self._state.points.total(symbol)
        if request.kind is Kind.MOVED:
            detail = f"{symbol} takes points here still, so it has not moved; nothing was changed: seal it first"
            raise Refusal(HTTPStatus.CONFLICT, detail)
        if not total:
            raise SymbolNotFound(symbol)
        self._held.add(symbol)
        self._add(Entry(Kind.SEAL, symbol, total, NO_POINTS))
        return Answer(total)

    def _moved(self, request: Request) -> Answer:
        """Answer what is asked of a sealed symbol: that it is sealed, or that it is in another shard. Refusal."""
        symbol, moved = request.symbol, self._state.place.moved
        if request.kind is Kind.MOVED and symbol not in moved:
            self._held.add(symbol)
            self._add(Entry(Kind.MOVED, symbol, 0, NO_POINTS, request.numbers))
        elif request.kind is Kind.MOVED and moved[symbol] != request.numbers[0]:
            raise Refusal(HTTPStatus.CONFLICT, f"{symbol} has moved to shard {moved[symbol]}; nothing was changed")
        return Answer(self._state.points.total(symbol))

    def _begin(self, request: Request) -> Answer:
        """Make a symbol by its oldest point, whatever its slot is. OffsetConflict, SymbolLimitReached."""
        symbol, batch, at = request.symbol, request.batch, request.offset or 0
        if self._state.points.total(symbol):
            return Answer(*self._state.points.repeated(symbol, batch, at))
        self._check_room(symbol)
        self._new += 1
        self._held.add(symbol)
        self._add(Entry(Kind.BEGIN, symbol, at, batch))
        return Answer(at + 1)

    def _check_room(self, symbol: str) -> None:
        """Refuse a new symbol where there are as many as there may be. SymbolLimitReached."""
        found = self._state.points.symbols()
        if found + self._new >= self._rules.max_symbols:
            raise SymbolLimitReached(
                f"symbol limit reached: this shard holds {found} of at most {self._rules.max_symbols} symbols, "
                f"{symbol} was not added: store.max_symbols is the limit"
            )

    def _end_of(self, symbol: str, total: int, batch: Ticks) -> _End:
        """Return where a symbol ends that this block has not met yet. SymbolLimitReached."""
        points = self._state.points
        if total:
            return _End(total, points.kinds(symbol), points.last_time(symbol))
        if slot_of(symbol) not in self._rules.slots:
            detail = f"{symbol} belongs to slot {slot_of(symbol)}, in which this shard makes no symbols (cluster.slots)"
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, f"{detail}; nothing was stored: send it to its shard")
        self._check_room(symbol)
        return _End(0, batch.kinds, None)

    def _append(self, symbol: str, batch: Ticks, end: _End) -> Answer:
        """Take a batch that goes on where its symbol ends."""
        n = len(batch.prices)
        self._limits.check_batch(n)
        if batch.kinds != end.kinds:
            raise other_columns(symbol, end.kinds, batch.kinds)
        stored, late, latest_ns = clamped(batch, end.last_time)
        if late and self._rules.late is Late.REFUSE:
            raise_late(batch, end.last_time, symbol, end.total)
        self._add(Entry(Kind.APPEND, symbol, end.total, stored))
        self._new += not end.total
        last = int(stored.times[-1]) if stored.times is not None else None
        self._ends[symbol] = _End(end.total + n, end.kinds, last)
        return Answer(end.total + n, late, latest_ns)
