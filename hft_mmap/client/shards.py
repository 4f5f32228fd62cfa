"""Where a call goes: to the one service, or of the replicas of several shards to one that has its symbol.

What `GET /cluster` of each says is asked once, and again where a symbol has gone elsewhere or a replica is missing. A
call goes on to the next replica of its shard where one does not serve, and to the next shard where one says 421, to
each of them once. Opens no connection, so both clients share it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import httpx

from hft_mmap.client.errors import Misdirected, refusal
from hft_mmap.client.retry import Retry, Tries
from hft_mmap.client.wire import APPEND_PATH, Added, Ask
from hft_mmap.errors import HftMmapError
from hft_mmap.slots import MOST_SLOTS, parse_slots, slot_of

Answer = TypeVar("Answer")
ANY_REPLICA = {"X-Read": "any"}
"""Headers of what HAProxy may have any replica answer, also one that takes no batches."""
_FIRST_SERVER_ERROR = 500


class Shards:
    """The services at `urls`; of more than one, each says which shard it is a replica of."""

    def __init__(self, urls: Sequence[str], retry: Retry) -> None:
        """Know of nothing yet."""
        self._urls = tuple(urls)
        self._retry = retry
        self._unasked = set(urls) if len(urls) > 1 else set[str]()
        self._shard_at: dict[str, int] = {}
        self._owner: dict[int, int] = {}
        """The shard of each slot."""
        self._serving: dict[int, str] = {}
        """The replica of a shard that a call goes to first; the one that was named first where this says nothing."""
        self._elsewhere: dict[str, int] = {}
        """Symbols that another shard has taken than that of their slot."""
        self._moved: dict[tuple[int, str], int] = {}
        """Where the symbols of a shard are that have left it."""
        self._newest: dict[tuple[int | None, str], int] = {}
        """The newest record of a shard that a batch of a symbol was answered with."""

    @property
    def are_many(self) -> bool:
        """Whether there is more than one service."""
        return len(self._urls) > 1

    def unasked(self) -> list[str]:
        """Return whose GET /cluster is to be asked before the next call."""
        return [url for url in self._urls if url in self._unasked]

    def tell(self, url: str, response: httpx.Response | None) -> None:
        """Take an answer to GET /cluster, None where none came. ServiceError; ValueError for no replica of a shard."""
        self._unasked.discard(url)
        if response is None or response.status_code >= _FIRST_SERVER_ERROR:
            return
        if not response.is_success:
            raise refusal(response)
        found: dict[str, Any] = response.json()
        shard = found.get("shard")
        if shard is None:
            message = f"{url} is a service on one machine: give its address alone, or those of replicas of shards"
            raise ValueError(message)
        self._shard_at[url] = shard
        self._owner |= dict.fromkeys(parse_slots(found["slots"]), shard)
        self._moved |= {(shard, symbol): to for symbol, to in found.get("moved", {}).items()}

    def ask_again(self, *, everybody: bool = False) -> None:
        """Have those asked that did not answer, or everybody."""
        if self.are_many:
            self._unasked |= set(self._urls if everybody else set(self._urls) - self._shard_at.keys())

    def known(self) -> list[int]:
        """Return the shards of which there is a replica."""
        return sorted(set(self._shard_at.values()))

    def each(self) -> list[int | None]:
        """Return every shard; only None where there is one service, or where a shard has not answered."""
        return [*self.known()] if len(self._owner) == MOST_SLOTS else [None]

    def shard_of(self, symbol: str) -> int | None:
        """Return the shard of a symbol, None where nobody has said so."""
        shard = self._elsewhere.get(symbol, self._owner.get(slot_of(symbol)))
        for _ in self._moved:  # each time to a shard that it has not left
            if shard is None or (shard, symbol) not in self._moved:
                break
            shard = self._moved[shard, symbol]
        return shard

    def parts(self, symbols: Sequence[str]) -> list[list[int]]:
        """Return the places of `symbols` by their shards, one part at least."""
        found: dict[int | None, list[int]] = {}
        for place, symbol in enumerate(symbols):
            found.setdefault(self.shard_of(symbol), []).append(place)
        return list(found.values()) or [[]]

    def replicas(self, shard: int | None) -> list[str]:
        """Return who may be asked of a shard, the one that serves first."""
        if not self.are_many:
            return list(self._urls)
        found = [url for url in self._urls if shard is not None and self._shard_at.get(url) == shard]
        first = found.index(self._serving[shard]) if shard is not None and self._serving.get(shard) in found else 0
        return found[first:] + found[:first]

    def failed(self, shard: int | None, url: str) -> None:
        """Have calls go to the next replica of a shard first, where `url` was the first."""
        found = self.replicas(shard)
        if shard is not None and found[0] == url:
            self._serving[shard] = found[1 % len(found)]

    def found_at(self, symbol: str, shard: int) -> None:
        """Remember that `shard` has a symbol."""
        self._elsewhere[symbol] = shard

    def newest(self, shard: int | None, symbols: Sequence[str]) -> int:
        """Return the newest record of a shard that any of `symbols` was answered with, 0 for none."""
        return max((self._newest.get((shard, symbol), 0) for symbol in symbols), default=0)

    def note(self, shard: int | None, symbol: str, sequence: int) -> None:
        """Remember which record a batch was answered with."""
        self._newest[shard, symbol] = max(sequence, self.newest(shard, [symbol]))

    def trip(self, ask: Ask[Answer], shard: int | None = None) -> "Trip[Answer]":
        """Begin a call; shard: whose it is, where no symbol says so."""
        return Trip(self, self._retry, ask, shard)


class Trip(Tries, Generic[Answer]):
    """One call: whom it asks next, with which headers, and when."""

    def __init__(self, shards: Shards, retry: Retry, ask: Ask[Answer], shard: int | None) -> None:
        """Begin."""
        super().__init__(retry, repeatable=ask.repeatable)
        self._shards = shards
        self._ask = ask
        self._given = self._shard = shard
        self._left: list[str] = []
        self._at = ""
        self._wrong: dict[int | None, Misdirected] = {}

    def next(self) -> tuple[str, Mapping[str, str]]:
        """Return the URL and the headers of the next try. Misdirected, ConnectError; ValueError: of several shards."""
        if not self._left:
            self._shard = self._pick() if self._shards.are_many else None
            self._left = self._shards.replicas(self._shard)
        if not self._left:
            self._shards.ask_again()
            self._at = ""
            whose = f"the shard of {', '.join(self._ask.symbols)}" if self._ask.symbols else "a shard"
            # NOTE: as for one that refuses connections: it is tried again, and nothing can have been stored.
            raise httpx.ConnectError(f"no replica of {whose} answers")
        self._at = self._left.pop(0)
        newest = 0 if self._ask.path == APPEND_PATH else self._shards.newest(self._shard, self._ask.symbols)
        more = {"X-Min-Seq": str(newest)} if newest else {}
        return f"{self._at}{self._ask.path}", {**self._ask.headers, **more}

    def _pick(self) -> int | None:
        """Return the shard to ask, None where it is not known."""
        if not self._ask.symbols:
            return self._given
        found = {self._shards.shard_of(symbol) for symbol in self._ask.symbols}
        if len(found) > 1:
            listed = ", ".join(sorted(map(str, found)))
            message = f"the symbols are of the shards {listed}: ask for those of each shard alone"
            raise ValueError(message)
        (owner,) = found
        if owner not in self._wrong:
            return owner
        others = [shard for shard in self._shards.known() if shard not in self._wrong]
        if not others:
            raise self._wrong[owner]
        return others[0]

    def pause_s(self, failure: HftMmapError) -> float:
        """Return how long to wait before the next try; raise `failure` if there is none."""
        if isinstance(failure, Misdirected) and self._shards.are_many and self._ask.symbols:
            self._wrong[self._shard] = failure
            self._left = []
            self._shards.ask_again(everybody=True)
            return 0.0
        pause_s = super().pause_s(failure)
        if self._at:
            self._shards.failed(self._shard, self._at)
        return 0.0 if self._left else pause_s

    def done(self, response: httpx.Response) -> Answer:
        """Return what the answer says, and remember where that was."""
        answer = self._ask.read(response)
        if self._wrong and self._shard is not None:
            self._shards.found_at(self._ask.symbols[0], self._shard)
        if isinstance(answer, Added) and answer.seq is not None:
            self._shards.note(self._shard, self._ask.symbols[0], answer.seq)
        return answer
