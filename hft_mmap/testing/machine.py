"""A perfect store made of lists, what is done to a store, and the state machine that holds one against the other."""

import math
import multiprocessing
import os
import shutil
import struct
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from hft_mmap.batch import Prices
from hft_mmap.durable.verify import VerifyReport
from hft_mmap.errors import HftMmapError, InvalidValues, OffsetConflict, SymbolLimitReached, SymbolNotFound
from hft_mmap.files.chunk import SEAL_OFFSET
from hft_mmap.files.head import HEAD_NAME, SLOT_OFFSETS, Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import chunk_name, directory_name, list_chunks, validate_symbol
from hft_mmap.health import Reason
from hft_mmap.limits import Durability, Limits
from hft_mmap.reader import SeriesInfo
from hft_mmap.stats import STANDARD_WINDOWS, WindowStats, exact_window_stats
from hft_mmap.store import Store
from hft_mmap.tree.kernels import FAN_OUT, MAX_PRICE, NODE_BYTES
from hft_mmap.tree.words import BOOT_ID, HOME, LIVE_OFFSET, START, TOTAL

RELATIVE_ERROR = 1e-12
"""Largest relative error of avg and var: 4,500 units in the last place, a thousandth of what a float64 sum may lose."""

UNDERFLOW = 2.0**-1064
"""Largest absolute error of avg and var: squares of deviations below 1e-154 fall below the normal float64 numbers."""

SMALL_LIMITS = Limits(
    max_data_retention=1000, cleanup_keep_count=600, max_symbols=3, starting_capacity=0, chunk_points=64
)
"""Limits at which a few hundred points fill several chunks and trigger cleanup."""


def assert_close(actual: WindowStats, exact: WindowStats) -> None:
    """Assert that `actual` is what a store may answer where `exact` is the truth.

    min, max, last and points are equal (bit for bit, where the prices are); avg and var differ by RELATIVE_ERROR at
    most; avg lies within [min, max] and var is not negative.

    No absolute tolerance is needed for the variance but UNDERFLOW: var >= (max - min)^2 / (2 points), so even errors
    that are relative to the spread of the prices stay small beside it.
    """
    assert actual.points == exact.points, f"points: {actual} instead of {exact}"
    for name in ("min", "max", "last"):
        a, b = getattr(actual, name), getattr(exact, name)
        assert struct.pack("<d", a) == struct.pack("<d", b), f"{name}: {actual} instead of {exact}"
    for name in ("avg", "var"):
        a, b = getattr(actual, name), getattr(exact, name)
        assert math.isclose(a, b, rel_tol=RELATIVE_ERROR, abs_tol=UNDERFLOW), f"{name}: {actual} instead of {exact}"
    assert actual.min <= actual.avg <= actual.max, f"avg outside of [min, max]: {actual}"
    assert actual.var >= 0, f"var below 0: {actual}"


# -- the model --------------------------------------------------------------------------------------------------------


@dataclass
class ModelSeries:
    """A series as a list: every value ever appended, and the index of the oldest one still kept."""

    values: list[float] = field(default_factory=list)
    start: int = 0

    @property
    def total(self) -> int:
        """Points ever appended."""
        return len(self.values)

    @property
    def kept(self) -> list[float]:
        """Return the points that are kept, oldest first."""
        return self.values[self.start :]


class ModelStore:
    """What a store has to answer, by definition: lists and exact rationals, no files, no speed, no threads."""

    def __init__(self, limits: Limits) -> None:
        """Start empty; of `limits` those count that a caller can notice."""
        self.limits = limits
        self.series: dict[str, ModelSeries] = {}

    @staticmethod
    def _prices(values: Iterable[float]) -> list[float]:
        """Return the batch as it is stored, or refuse it as a whole."""
        prices = [float(value) + 0.0 for value in values]
        if not prices or not all(0.0 <= price <= MAX_PRICE for price in prices):
            raise InvalidValues("not a batch of prices")
        return prices

    def append(self, symbol: str, values: Iterable[float], *, offset: int | None = None) -> int:
        """Append a batch whole or refuse it untouched; return the new total. Errors and rules as `Store.append`."""
        validate_symbol(symbol)
        prices = self._prices(values)
        series = self.series.get(symbol, ModelSeries())
        total, n = series.total, len(prices)
        if offset is not None and offset != total:
            if series.start <= offset and series.values[offset : offset + n] == prices:
                return offset + n
            raise OffsetConflict(f"offset {offset} does not fit", total)
        most = self.limits.max_data_retention
        if n > most:
            raise InvalidValues("batch larger than max_data_retention")
        if symbol not in self.series and len(self.series) >= self.limits.max_symbols:
            raise SymbolLimitReached("symbol limit reached")
        if total - series.start + n > most:
            series.start = max(series.start, total - min(self.limits.cleanup_keep_count, most - n))
        series.values += prices
        self.series[symbol] = series
        return series.total

    def window(self, symbol: str, n: int) -> list[float]:
        """Return the newest `n` points, oldest first."""
        if symbol not in self.series:
            raise SymbolNotFound(symbol)
        return self.series[symbol].kept[-n:]

    def stats(self, symbol: str, window: int) -> WindowStats:
        """Return the statistics of the newest `window` points, correctly rounded; O(window)."""
        return exact_window_stats(self.window(symbol, window), window)

    def windows(self, symbol: str) -> tuple[WindowStats, ...]:
        """Return the statistics of the eight standard windows."""
        return tuple(self.stats(symbol, window) for window in STANDARD_WINDOWS)

    def roll_back(self, symbol: str, total: int, start: int) -> None:
        """Forget the points from `total` on, as a power loss may, and keep those from `start`."""
        series = self.series[symbol]
        del series.values[total:]
        series.start = start


# -- a store in a process of its own, and what may happen to it -------------------------------------------------------

PROCESSES = multiprocessing.get_context("forkserver")
"""Starts processes that share nothing with this one, not even a lock that another thread holds, in some 10 ms."""
PROCESSES.set_forkserver_preload(["hft_mmap.testing"])

PATIENCE_S = 60.0
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of its own is made below it
"""A file system in memory, where it exists: an fsync costs nothing there, and real power cuts are not the subject."""


def _serve_store(connection: Connection, path: Path, options: dict[str, Any]) -> None:
    """Open a store and call its methods as they are asked for, until "close" or the end of the connection."""
    name = "open"
    with Store(path, **options) as store:
        while name != "close":
            try:
                name, arguments, keywords = connection.recv()
            except EOFError:
                os._exit(1)
            try:
                connection.send((True, getattr(store, name)(*arguments, **keywords)))
            except HftMmapError as error:
                connection.send((False, error))


class StoreProcess:
    """A store that lives in a process of its own, which can be killed. Methods and errors are those of `Store`."""

    def __init__(self, path: Path, **options: Any) -> None:  # noqa: ANN401 - as Store takes them
        """Start the process, and return when the store is open."""
        self._connection, other_end = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=_serve_store, args=(other_end, path, options), daemon=True)
        self._process.start()
        other_end.close()
        self.symbols()

    def _call(self, name: str, *arguments: object, **keywords: object) -> Any:  # noqa: ANN401 - what the store returns
        self._connection.send((name, arguments, keywords))
        good, result = self._connection.recv()
        if not good:
            raise result
        return result

    def append(self, symbol: str, values: Prices, *, offset: int | None = None) -> int:
        """Append a batch; see `Store.append`."""
        return int(self._call("append", symbol, values, offset=offset))

    def stats(self, symbol: str, window: int) -> WindowStats:
        """Return the statistics of a window; see `Store.stats`."""
        return WindowStats(*self._call("stats", symbol, window))

    def windows(self, symbol: str) -> tuple[WindowStats, ...]:
        """Return the statistics of the eight standard windows; see `Store.windows`."""
        return tuple(WindowStats(*stats) for stats in self._call("windows", symbol))

    def window(self, symbol: str, n: int) -> NDArray[np.float64]:
        """Return a copy of the newest points; see `Store.window`."""
        return np.asarray(self._call("window", symbol, n), dtype=np.float64)

    def symbols(self) -> list[SeriesInfo]:
        """Return what is stored; see `Store.symbols`."""
        return list(self._call("symbols"))

    def reasons(self) -> list[Reason]:
        """Return why the store does not serve in full; see `Store.reasons`."""
        return list(self._call("reasons"))

    def verify(self) -> list[VerifyReport]:
        """Check every file; see `Store.verify`."""
        return list(self._call("verify"))

    def sync(self) -> None:
        """Put everything on the disk; see `Store.sync`."""
        self._call("sync")

    def remove(self, symbol: str) -> None:
        """Remove a symbol; see `Store.remove`."""
        self._call("remove", symbol)

    def rename(self, old: str, new: str) -> int:
        """Give a symbol another name; see `Store.rename`."""
        return int(self._call("rename", old, new))

    def truncate(self, symbol: str, *, keep: int) -> int:
        """Let go of all but the newest points; see `Store.truncate`."""
        return int(self._call("truncate", symbol, keep=keep))

    def close(self) -> None:
        """Close the store in order, and return when its process has ended with exit code 0."""
        self._call("close")
        self._end()
        if self._process.exitcode:
            raise AssertionError(f"the process of the store ended with exit code {self._process.exitcode}")

    def kill(self) -> None:
        """Kill the process as `kill -9` does."""
        self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.join(PATIENCE_S)
        self._connection.close()


SERIES_HEADS = f"[!.]*/{HEAD_NAME}"
"""The heads in a data directory, less those of series whose creation was cut short: they may be of any length."""


def restart_machine(directory: Path) -> None:
    """Make every head in `directory` say that it was written in another run of the machine, and in this very file.

    A machine that goes down keeps its files: what was copied to be looked at later is not to be taken for a copy.
    """
    for head in directory.glob(SERIES_HEADS):
        with head.open("r+b") as file:
            file.seek(8 * BOOT_ID)
            file.write(uuid.uuid4().bytes)
            file.seek(8 * HOME)
            file.write(os.fstat(file.fileno()).st_ino.to_bytes(8, "little"))


def move_in(directory: Path) -> None:
    """Make every head in `directory` say that it was written in this very file, as if it were no copy."""
    for path in directory.glob(SERIES_HEADS):
        head = Head(path.parent, writable=True)
        head.store(HOME, head.inode())
        head.settle_words()
        head.close()


def lose_power(directory: Path) -> None:
    """Do to the store in `directory` the worst that a power loss may do: keep only what a commit vouches for.

    Everything above the newest commit is overwritten with bytes that are no prices, the live words too. No process
    may have the store open.
    """
    restart_machine(directory)
    for path in directory.glob(SERIES_HEADS):
        head = Head(path.parent, writable=True)
        newest = head.commits()[0]
        layout = Layout.of(head.identity.chunk_points)
        head.store(TOTAL, -1)
        head.store(START, -1)
        head.close()
        for first in list_chunks(path.parent):
            whole = max(newest.total - first, 0)
            with (path.parent / chunk_name(first)).open("r+b") as file:
                for level, begin in enumerate(layout.offsets):
                    width = NODE_BYTES if level else 8
                    lost = layout.nodes(level) - min(whole // FAN_OUT**level, layout.nodes(level))
                    file.seek(begin + width * (layout.nodes(level) - lost))
                    file.write(b"\xff" * (width * lost))


class Damage(Enum):
    """What a damaged byte of a series belongs to, and so what a store can know of it."""

    UNPROTECTED = "the live words, or a value in a chunk that is not sealed yet: no checksum covers it"
    SLOT = "a commit slot: the other one is as good"
    PROTECTED = "everything else: the damage is harmless, or it is found"

    @staticmethod
    def of(path: Path, offset: int, *, restarted: bool) -> "Damage":
        """Return what the byte at `offset` of the file `path` is; after a restart the live words do not count."""
        if path.name == HEAD_NAME:
            if LIVE_OFFSET <= offset < SLOT_OFFSETS[0]:
                return Damage.PROTECTED if restarted else Damage.UNPROTECTED
            return Damage.SLOT if offset >= SLOT_OFFSETS[0] and restarted else Damage.PROTECTED
        head = Head(path.parent, writable=False)
        layout = Layout.of(head.identity.chunk_points)
        head.close()
        seal = path.read_bytes()[layout.footer + SEAL_OFFSET :][:64]
        return Damage.PROTECTED if any(seal) or offset >= 8 * layout.points else Damage.UNPROTECTED


def _damage_byte(path: Path, offset: int, mask: int) -> None:
    """Change the bits `mask` of one byte of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        found = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([found ^ mask]))


# -- the state machine ------------------------------------------------------------------------------------------------

SYMBOLS = ("ABC-USD", "EUR/USD", "日本円-USD", "..")

PRICES = st.one_of(
    st.floats(0, MAX_PRICE, allow_subnormal=True),
    st.floats(99, 101),
    st.sampled_from([0.0, -0.0, 5e-324, 1.0, 1e9, MAX_PRICE]),
)
"""Prices near each other, and prices that have nothing to do with each other."""


@st.composite
def batches(draw: st.DrawFn, most: int = 400) -> list[float]:
    """Draw a batch: a few prices of any kind, or a long run of them that repeats with a drift."""
    few = draw(st.lists(PRICES, min_size=1, max_size=12))
    if draw(st.booleans()):
        return few
    n = draw(st.integers(1, most))
    drift = draw(st.sampled_from([0.0, 1e-6, 1.0]))
    return [min(few[i % len(few)] + drift * i, MAX_PRICE) for i in range(n)]


class StoreMachine(RuleBasedStateMachine):
    """Does to a store whatever its users and its machine may do, and compares every answer with `ModelStore`.

    A subclass may set `limits` and `other_limits` (which a restart may change to) and override `open_store`. The store
    is opened in a process of its own, so that killing it is real. A second store, mode "r" in this process, has to
    give the same answers.
    """

    limits: ClassVar[Limits] = SMALL_LIMITS
    other_limits: ClassVar[Limits] = replace(SMALL_LIMITS, max_data_retention=500, cleanup_keep_count=500)

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="hft-mmap-", dir=MEMORY if MEMORY.is_dir() else None))
        self.model = ModelStore(self.limits)
        self.durable: dict[str, int] = {}
        self.durability = Durability.PROCESS

    def open_store(self) -> StoreProcess:
        """Return the store under test, open for appending."""
        return StoreProcess(self.directory, limits=self.model.limits, durability=self.durability, sync_interval_ms=1)

    def _open(self) -> None:
        self.store = self.open_store()
        self.reader = Store(self.directory, mode="r")

    def _mark_durable(self) -> None:
        self.durable = {symbol: series.total for symbol, series in self.model.series.items()}

    @initialize(durability=st.sampled_from(Durability))
    def start(self, durability: Durability) -> None:
        """Open the store in any of the tiers."""
        self.durability = durability
        self._open()

    @rule(symbol=st.sampled_from(SYMBOLS), values=batches())
    def append(self, symbol: str, values: list[float]) -> None:
        """Append a batch, as a list or as an array; a symbol may be one too many, a batch too large."""
        self._append(symbol, values, None)

    @rule(symbol=st.sampled_from(SYMBOLS), values=batches(most=40), distance=st.integers(-50, 5))
    def append_at(self, symbol: str, values: list[float], distance: int) -> None:
        """Append at an offset near the end of the series."""
        series = self.model.series.get(symbol, ModelSeries())
        self._append(symbol, values, max(series.total + distance, 0))

    @rule(symbol=st.sampled_from(SYMBOLS), size=st.integers(1, 200), distance=st.integers(-3, 0))
    def replay(self, symbol: str, size: int, distance: int) -> None:
        """Send again what is already stored, as a producer does that had no answer."""
        series = self.model.series.get(symbol, ModelSeries())
        offset = max(series.total - size, 0)
        values = series.values[offset : series.total + distance]
        if values:
            self._append(symbol, values, offset)

    @rule(
        symbol=st.sampled_from(SYMBOLS), values=batches(most=100), place=st.integers(0, 99),
        bad=st.sampled_from([math.nan, math.inf, -math.inf, -1.0, -5e-324, 1.0000001e140]),
    )  # fmt: skip
    def append_no_prices(self, symbol: str, values: list[float], place: int, bad: float) -> None:
        """Append a batch with something in it that is no price."""
        self._append(symbol, [*values[:place], bad, *values[place:]], None)

    def _append(self, symbol: str, values: list[float], offset: int | None) -> None:
        """Append to both; either both refuse for the same reason or both give the same total."""
        try:
            expected = self.model.append(symbol, values, offset=offset)
        except HftMmapError as error:
            try:
                total = self.store.append(symbol, np.array(values), offset=offset)
            except type(error):
                return
            raise AssertionError(f"the store took what the model refuses ({error}); total {total}") from error
        actual = self.store.append(symbol, values if len(values) % 2 else np.array(values), offset=offset)
        assert actual == expected
        if self.durability is Durability.SYNC:
            self.durable[symbol] = max(self.durable.get(symbol, 0), actual)

    @precondition(lambda self: self.model.series)
    @rule(data=st.data(), window=st.one_of(st.integers(1, 1200), st.sampled_from([63, 64, 65, 128, 10**8])))
    def query(self, data: st.DataObject, window: int) -> None:
        """Ask for a window, here and in the other process."""
        symbol = data.draw(st.sampled_from(sorted(self.model.series)))
        if not self.model.window(symbol, 1):
            return
        exact = self.model.stats(symbol, window)
        for store in (self.store, self.reader):
            assert_close(store.stats(symbol, window), exact)
            assert store.window(symbol, window).tolist() == self.model.window(symbol, window)

    @precondition(lambda self: self.model.series)
    @rule(data=st.data())
    def query_standard_windows(self, data: st.DataObject) -> None:
        """Ask for the eight standard windows at once."""
        symbol = data.draw(st.sampled_from(sorted(self.model.series)))
        if self.model.window(symbol, 1):
            for actual, exact in zip(self.store.windows(symbol), self.model.windows(symbol), strict=True):
                assert_close(actual, exact)

    @rule()
    def sync(self) -> None:
        """Put everything on the disk."""
        self.store.sync()
        self._mark_durable()

    @rule()
    def verify(self) -> None:
        """Check every file bit for bit."""
        assert [report.faults for report in self.store.verify()] == [()] * len(self.model.series)

    def _change_settings(self, durability: Durability, *, other_limits: bool) -> None:
        """Have the next opening use other settings; the size of chunks is fixed when a series is made."""
        self.durability = durability
        self.model.limits = self.other_limits if other_limits else self.limits

    @rule(durability=st.sampled_from(Durability), other_limits=st.booleans())
    def reopen(self, durability: Durability, *, other_limits: bool) -> None:
        """Stop in order and start again, perhaps with other settings."""
        self.store.close()
        self.reader.close()
        self._mark_durable()
        self._change_settings(durability, other_limits=other_limits)
        self._open()

    @rule(durability=st.sampled_from(Durability), other_limits=st.booleans())
    def kill(self, durability: Durability, *, other_limits: bool) -> None:
        """Kill the process; the machine goes on, so nothing may be lost. The reader does not notice."""
        self.store.kill()
        self._change_settings(durability, other_limits=other_limits)
        self.store = self.open_store()

    @precondition(lambda self: self.model.series)
    @rule(data=st.data(), place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255), restarted=st.booleans())
    def damage(self, data: st.DataObject, place: float, mask: int, *, restarted: bool) -> None:
        """Damage a byte of a copy of the files: it is set aside, or found by verify, or every answer is still right."""
        self.store.close()
        self._mark_durable()
        with tempfile.TemporaryDirectory(dir=self.directory.parent) as place_of_copy:
            copy = Path(place_of_copy) / "data"
            shutil.copytree(self.directory, copy)
            self.store = self.open_store()
            move_in(copy)
            if restarted:
                restart_machine(copy)
            symbol = data.draw(st.sampled_from(sorted(self.model.series)))
            series, size = self.model.series[symbol], self.limits.chunk_points
            chunks = [chunk_name(first) for first in range(series.start // size * size, series.total, size)]
            path = copy / directory_name(symbol) / data.draw(st.sampled_from([HEAD_NAME, *chunks]))
            offset = int(place * path.stat().st_size)
            _damage_byte(path, offset, mask)
            self._check_damaged(copy, symbol, Damage.of(path, offset, restarted=restarted))

    def _check_damaged(self, copy: Path, symbol: str, damage: "Damage") -> None:
        """Check a copy in which `symbol` is damaged: the others are as they were, and it is not wrong in silence."""
        with Store(copy, mode="r") as store:
            aside = {reason.symbol for reason in store.reasons()}
            assert aside <= {symbol}, f"{damage} of {symbol} sets {aside} aside"
            for name, series in self.model.series.items():
                if name in aside:
                    continue
                faults = store.verify(name)[0].faults
                start, total = store.series(name).bounds()
                right = store.window(name, 10**9).tolist() == series.values[start:total]
                if name != symbol:
                    assert right, f"{damage} of {symbol} spoils {name}"
                    assert not faults
                elif not faults and damage is not Damage.UNPROTECTED:
                    assert right, f"{damage} goes unnoticed: {copy}"
                    assert total == series.total or damage is Damage.SLOT
                if right and total > start and not faults:
                    for window in (1, 63, 64, 65, 1000):
                        assert_close(store.stats(name, window), exact_window_stats(series.values[start:total], window))
        with Store(copy, limits=self.limits) as store:
            for name in self.model.series:
                try:
                    store.append(name, [1.0])
                except HftMmapError:
                    assert name == symbol, f"{damage} of {symbol} stops {name}"

    @rule()
    def cut_power(self) -> None:
        """Lose power: what was durable is still there, and what is there is what was sent, up to some point."""
        self.store.kill()
        self.reader.close()
        lose_power(self.directory)
        self._open()
        for info in self.store.symbols():
            assert self.durable.get(info.symbol, 0) <= info.total <= self.model.series[info.symbol].total
            assert info.start <= self.model.series[info.symbol].start
            self.model.roll_back(info.symbol, info.total, info.start)
        self._mark_durable()

    @invariant()
    def knows_the_same_points(self) -> None:
        """Both processes know the same symbols, totals and newest points as the model."""
        if not hasattr(self, "store"):
            return
        expected = [
            (symbol, series.total, series.start, series.kept[-1] if series.kept else None)
            for symbol, series in sorted(self.model.series.items())
        ]
        for store in (self.store, self.reader):
            actual = [(info.symbol, info.total, info.start, info.last) for info in store.symbols()]
            assert actual == expected, f"{actual} instead of {expected} in mode {'r' if store is self.reader else 'a'}"
        assert self.store.reasons() == []

    def teardown(self) -> None:
        """End the processes and remove the files."""
        if hasattr(self, "store"):
            self.store.kill()
            self.reader.close()
        shutil.rmtree(self.directory)
