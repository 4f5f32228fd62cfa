"""What a torture run writes, as a function of its seed: which batches, which prices, and what a store must answer.

Prices are whole numbers, so sums and sums of squares are exact in int64 and the oracle costs microseconds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hft_mmap import Durability, Limits, SeriesSetAside, Store, SymbolNotFound, WindowStats
from hft_mmap.store import ALL_GROUPS
from hft_mmap.testing import assert_close

SYMBOLS = ("ABC-USD", "日本/円")
BATCHES = 1 << 15
FEW_BATCHES = 1 << 11
"""As many as any recorded session gets to."""
_FIRST_SIGNED = 200
WINDOWS = (1, 2, 63, 64, 65, 128, 777)


class Fault(AssertionError):
    """A promise that was not kept; `kind` is the column it is counted in."""

    kind = "wrong"


class Lost(Fault):
    """Points that count as stored are gone."""

    kind = "lost"


class Unopenable(Fault):
    """A store, or one of its series, does not open."""

    kind = "unopenable"


def prices(salt: int, begin: int, end: int) -> NDArray[np.int64]:
    """Return the points [begin, end) of a stream: whole numbers below a million, as a hash of their index."""
    index = np.arange(begin, end, dtype=np.uint64) + np.uint64(salt << 32)
    mixed = (index ^ (index >> np.uint64(7))) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(40)) % np.uint64(1_000_000)).astype(np.int64)


def times(salt: int, begin: int, end: int) -> NDArray[np.int64]:
    """Return the times of the points [begin, end) as they are sent: every other one is late, by up to 30 ns."""
    return 10 * np.arange(begin, end, dtype=np.int64) + prices(salt + 3, begin, end) % 40


def stored_times(salt: int, begin: int, end: int) -> NDArray[np.int64]:
    """Return them as they are stored: never before one of the last four, which are all that can be later."""
    first = max(begin - 4, 0)
    stored: NDArray[np.int64] = np.maximum.accumulate(times(salt, first, end))[begin - first :]
    return stored


def volumes(salt: int, begin: int, end: int) -> NDArray[np.float64]:
    """Return the sizes of the points [begin, end): bought, sold, and nothing at all."""
    return (prices(salt + 5, begin, end) % 7 - 3).astype(np.float64) * 0.5


def exact_stats(kept: NDArray[np.int64], window: int) -> WindowStats:
    """Return the statistics of the newest `window` whole numbers, each rounded once; sums are exact integers."""
    newest = kept[-window:]
    n, total, squares = newest.size, int(newest.sum()), int((newest * newest).sum())
    low, high, last = float(newest.min()), float(newest.max()), float(newest[-1])
    return WindowStats(low, high, last, total / n, (n * squares - total * total) / (n * n), n)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a store of a run is opened; everything a child process needs to know of it."""

    seed: int
    durability: str
    chunk_points: int
    max_data_retention: int
    cleanup_keep_count: int
    symbols: int = len(SYMBOLS)
    sizes: Sequence[int] = ()
    """The sizes of the batches, again and again; drawn from the seed if there are none."""
    lazy: bool = False
    """Whether each symbol is opened at its first use, as in a store of many: so it is for every second seed."""
    ticks: bool = False
    """Whether points have times and sizes: so they have for two of every four seeds."""
    losses: bool = False
    """Whether devices may lose points, so that where a series begins is known within bounds only."""
    signed: bool = False
    """Whether prices cross 0 after a while: so they do for four of every eight seeds."""
    grouped: bool = False
    """Whether groups are kept up beside the points."""

    @staticmethod
    def drawn(seed: int, durability: Durability) -> "Setting":
        """Return the setting of a seed: chunks of one, two or no node levels above the first, few of them kept."""
        chunk = (64, 192, 4096)[seed % 3]
        return Setting(
            seed, durability.value, chunk, 300 + 6 * chunk, 100 + 3 * chunk, lazy=seed % 2 == 1, ticks=seed % 4 >= 2,
            signed=seed % 8 >= 4,
        )  # fmt: skip

    @property
    def opened_at_once(self) -> int:
        """Return how many symbols a store opens at its start, for `hft_mmap.directory.starting.OPENED_AT_ONCE`."""
        return 0 if self.lazy else self.symbols

    @property
    def limits(self) -> Limits:
        """Return the limits of the store."""
        return Limits(
            max_data_retention=self.max_data_retention, cleanup_keep_count=self.cleanup_keep_count, max_symbols=2,
            starting_capacity=64, chunk_points=self.chunk_points, negative_prices=self.signed,
            groups=ALL_GROUPS if self.grouped else (),
        )  # fmt: skip

    def fields(self) -> dict[str, Any]:
        """Return the fields, for a message to a child process."""
        return asdict(self)


class Stream:
    """The batches of one symbol. Batch k is the points [bounds[k], bounds[k + 1]); starts[k] is `start` after it."""

    def __init__(self, setting: Setting, which: int, batches: int = BATCHES) -> None:
        """Draw the sizes of all batches: mostly small ones, some larger than a small chunk."""
        self.symbol = SYMBOLS[which]
        self.ticks, self._signed = setting.ticks, setting.signed
        self._losses, self._least_kept = setting.losses, setting.cleanup_keep_count
        self.salt = setting.seed % 65_536 * len(SYMBOLS) + which
        # One generator each, so that more batches begin like fewer.
        small, large, kind = (np.random.default_rng([setting.seed, which, i]) for i in range(3))
        sizes = np.where(kind.random(batches) < 0.85, small.integers(1, 40, batches), large.integers(40, 300, batches))
        if setting.sizes:
            sizes = np.resize(setting.sizes, batches)
        self.bounds = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        self.starts = [0]
        for total, n in zip(self.bounds, sizes.tolist(), strict=False):
            start = self.starts[-1]
            if total - start + n > setting.max_data_retention:
                start = max(start, total - min(setting.cleanup_keep_count, setting.max_data_retention - n))
            self.starts.append(start)
        self._index = {total: k for k, total in enumerate(self.bounds)}

    def index(self, total: int) -> int:
        """Return how many batches make up `total`; Fault if that is not a whole number of batches."""
        found = self._index.get(total)
        if found is None:
            raise Fault(f"{self.symbol}: total {total} is not the end of a batch")
        return found

    def check_start(self, start: int, total: int) -> None:
        """Make sure that a series may begin at `start` where it ends at `total`: Fault."""
        k = self.index(total)
        if self._losses:
            if total - start < min(total, self._least_kept):
                raise Fault(f"{self.symbol}: {total - start} points are kept alone, of {total}")
        elif start not in self.starts[k : k + 2]:
            raise Fault(f"{self.symbol}: start is {start} at total {total}, not one of {self.starts[k : k + 2]}")

    def after(self, total: int) -> int:
        """Return the total after the next batch."""
        return int(self.bounds[self.index(total) + 1])

    def points(self, begin: int, end: int) -> NDArray[np.int64]:
        """Return the prices of the points [begin, end): some of them negative from a while on, where they may be."""
        found = prices(self.salt, begin, end)
        if self._signed:
            found[max(_FIRST_SIGNED - begin, 0) :] -= 500_000
        return found

    def batch(self, k: int) -> NDArray[np.float64]:
        """Return batch k as it is sent."""
        return self.points(self.bounds[k], self.bounds[k + 1]).astype(np.float64)

    def columns(self, k: int) -> dict[str, Any]:
        """Return the times and sizes of batch k as they are sent; nothing where its points have none."""
        where = self.salt, self.bounds[k], self.bounds[k + 1]
        return {"times": times(*where), "sizes": volumes(*where)} if self.ticks else {}


Totals = tuple[int, ...]
State = tuple[tuple[int, int], ...]


def streams(setting: Setting, batches: int = BATCHES) -> tuple[Stream, ...]:
    """Return the streams of the symbols that the setting asks for."""
    return tuple(Stream(setting, which, batches) for which in range(setting.symbols))


def check_series(store: Store, stream: Stream, least: int, most: int) -> tuple[int, int]:
    """Hold one series of an open store against its stream; return its total and start.

    least: what must be there. most: what was sent. Lost or Fault says which promise was broken.
    """
    try:
        start, total = store.series(stream.symbol).bounds()
    except SymbolNotFound:
        start = total = 0
    except SeriesSetAside as error:  # where nobody has looked at it before
        raise Unopenable(f"{stream.symbol}: {error}") from error
    if total < least:
        raise Lost(f"{stream.symbol}: {total} of {least} points are left")
    if total > most:
        raise Fault(f"{stream.symbol}: {total} points, but only {most} were sent")
    stream.check_start(start, total)
    if start == total:
        return total, start
    kept = stream.points(start, total)
    if not np.array_equal(store.window(stream.symbol, total), kept):
        raise Fault(f"{stream.symbol}: the points {start} to {total - 1} are not those that were sent")
    check_columns(store, stream, start, total)
    exact = {window: exact_stats(kept, window) for window in WINDOWS}
    for window, expected in exact.items():
        assert_close(store.stats(stream.symbol, window), expected)
    for k, actual in enumerate(store.windows(stream.symbol), start=1):
        assert_close(actual, exact_stats(kept, 10**k))
    return total, start


def check_columns(store: Store, stream: Stream, start: int, total: int) -> None:
    """Hold the times and sizes of all kept points against those that were sent, where there are any."""
    if not stream.ticks:
        return
    rows, where = store.ticks(stream.symbol, total), (stream.salt, start, total)
    if rows.times is None or rows.sizes is None:
        raise Fault(f"{stream.symbol}: times and sizes are gone")
    if not (np.array_equal(rows.times, stored_times(*where)) and np.array_equal(rows.sizes, volumes(*where))):
        raise Fault(f"{stream.symbol}: of the points {start} to {total - 1} times or sizes are not those sent")


def check_open(store: Store, all_streams: tuple[Stream, ...], least: Totals, most: Totals) -> State:
    """Hold every series of an open store against its stream, and every file against its values; return the state."""
    if reasons := store.reasons():
        raise Unopenable(f"not served in full: {reasons}")
    state = tuple(check_series(store, *bounds) for bounds in zip(all_streams, least, most, strict=True))
    if faults := [fault for report in store.verify() for fault in report.faults]:
        raise Fault(f"verify found {faults}")
    return state
