"""Gives trades to a feed, each once: by the numbers that their source counts them with."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from contrib.journal import Journal
from hft_mmap.by_time import instant_ns
from hft_mmap.client import Client, Feed


class Trade(NamedTuple):
    """One trade: its symbol as the source has it, its number there, nanoseconds since 1970 UTC, price and size.

    The sign of the size is that of the aggressor: + bought, - sold.
    """

    name: str
    number: int
    time_ns: int
    price: float
    size: float


class Keeper:
    """Knows of each symbol which trade was the last, and gives those behind it to a feed.

    Numbers ascend in each symbol. names: what symbols are called in the store; where it is empty, as in the source. Of
    a source whose numbers are consecutive, `missing` counts those that never came.
    """

    def __init__(
        self, client: Client, feed: Feed, journal: Journal, names: Mapping[str, str], *, consecutive: bool,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Know of no symbol yet."""
        self._client = client
        self._feed = feed
        self._journal = journal
        self._names = names
        self._consecutive = consecutive
        self._say = say
        self._last: dict[str, int | None] = {}
        self._next: dict[str, int] = {}
        self.given = self.skipped = self.missing = 0

    def take(self, trades: Iterable[Trade]) -> None:
        """Give the trades that are new, in the order of their numbers; their lines of the journal go first."""
        rows: dict[str, list[Trade]] = {}
        for trade in sorted(trades, key=lambda one: one.number):
            symbol = self._names.get(trade.name) if self._names else trade.name
            if symbol is not None and self._is_new(symbol, trade):
                rows.setdefault(symbol, []).append(trade)
        self._journal.write(self._feed.totals)
        for symbol, new in rows.items():
            self._feed.extend(
                symbol, [one.price for one in new], times=[one.time_ns for one in new], sizes=[one.size for one in new]
            )
            self.given += len(new)

    def flush(self) -> None:
        """Return once everything that was given is stored."""
        self._feed.flush()

    def position(self, source: str) -> int:
        """Return the number up to which everything of a source is stored, 0 in the beginning."""
        return self._journal.position(source)

    def reached(self, source: str, number: int) -> None:
        """Have everything stored that was given, and write down that it is all of a source up to `number`."""
        self.flush()
        self._journal.reached(source, number)
        self._journal.write(self._feed.totals)

    def _is_new(self, symbol: str, trade: Trade) -> bool:
        """Say whether a trade lies behind the last of its symbol, and then make it the last."""
        if symbol not in self._last:
            total = self._client.total(symbol)
            self._next[symbol], self._last[symbol] = total, self._journal.begin(symbol, total)
        last = self._last[symbol]
        if last is not None and trade.number <= last:
            self.skipped += 1
            return False
        if last is None or trade.number != last + 1:
            self._journal.note(symbol, self._next[symbol], trade.number)
            if last is not None and self._consecutive:
                self.missing += trade.number - last - 1
                self._say(f"{symbol}: trades {last + 1} to {trade.number - 1} never came")
        self._last[symbol] = trade.number
        self._next[symbol] += 1
        return True

    def summary(self) -> str:
        """Return what became of the trades."""
        return f"{self.given} given, {self.skipped} were there, {self.missing} never came"


def signed(size: object, side: str, *, of_maker: bool = False) -> float:
    """Return a size with the sign of the aggressor; ValueError for what is no side."""
    sign = {"buy": 1.0, "sell": -1.0}.get(side.lower())
    if sign is None:
        raise ValueError(f'side must be "buy" or "sell", not {side!r}')
    return float(str(size)) * (-sign if of_maker else sign)


def plain_trade(message: Mapping[str, Any], number: int) -> Trade:
    """Return the trade of a message of your own: symbol, price, size, time, and perhaps side; ValueError.

    time: nanoseconds since 1970 UTC, or RFC 3339. side: "buy" or "sell", of the aggressor; without it the size has its
    sign.
    """
    missing = [name for name in ("symbol", "price", "size", "time") if name not in message]
    if missing:
        raise ValueError(f"message {number} has no {', '.join(missing)}: {dict(message)!r}")
    time, side, size = message["time"], message.get("side"), message["size"]
    return Trade(
        str(message["symbol"]), number, time if isinstance(time, int) else instant_ns(str(time), "time"),
        float(message["price"]), float(size) if side is None else signed(size, side),
    )  # fmt: skip
