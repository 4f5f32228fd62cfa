"""Histories of a store, made at random from a seed: what is done to it, what goes wrong beside it, and what must hold.

The store is the real one, two of them as two processes have it, on a `SimulatedDisk`; only the threads that commit and
that look at what nobody uses are stepped by hand, so that a seed always makes the same history.
"""

import itertools
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Self
from unittest.mock import patch

from hft_mmap.directory import opening, starting
from hft_mmap.errors import ColumnsDiffer, HftMmapError, SeriesSetAside, StoreUnusable, SymbolNotFound
from hft_mmap.files import proved
from hft_mmap.files.head import HEAD_NAME
from hft_mmap.limits import Durability
from hft_mmap.testing.disk import FAILURES, Killed, SimulatedDisk
from hft_mmap.testing.promises import GROUPED_LIMITS, LIMITS, MOST_POINTS, SYMBOLS, Promises, Told, WrongError
from hft_mmap.testing.stepped import SteppedStore
from hft_mmap.ticks import as_ticks
from hft_mmap.tree.words import LIVE_OFFSET

_CHANCE_TO_DIE = 0.4


class History(Promises):
    """One history. `run` raises WrongError, with the steps that led there, where a promise is broken."""

    def __init__(  # noqa: PLR0913 - all by name but the first two
        self, root: Path, seed: int, *, lazy: bool = False, ticks: bool = False, dying: bool = False,
        grouped: bool = False, signed: bool = False,
    ) -> None:  # fmt: skip
        """Make everything that is to happen follow from `seed`, in the directory `root`, which is removed after it.

        lazy: a store opens each symbol at its first use, as those of many symbols do, and gives no series that is not
        being used a descriptor. ticks: the points have times and sizes, or one of the two. dying: after anything that
        loses points, the first processes that open the store may be killed meanwhile. grouped: groups are kept up, and
        every answer about a path is held against the points. signed: prices may be negative, and half of them are.
        """
        # Of their own as well: histories of other kinds stay what they are.
        self._ticks = Random(-seed - 2) if ticks else None  # noqa: S311 - as below
        self._dying = Random(-seed - 3) if dying else None  # noqa: S311 - as below
        self._signed = Random(-seed - 4) if signed else None  # noqa: S311 - as below
        self.seed, self.lazy, self._grouped = seed, lazy, grouped
        self._limits = replace(GROUPED_LIMITS if grouped else LIMITS, negative_prices=signed)
        self.counts: Counter[str] = Counter()
        self._random = Random(seed)  # noqa: S311 - to be made again from the seed
        self._root = root / f"history-{seed}"
        self._root.mkdir()
        # A generator of its own, so that seeds that were kept go on to make the histories they were kept for.
        self._disk = SimulatedDisk(self._root, self._random, Random(-seed - 1))  # noqa: S311 - as above
        self._durability = self._random.choice(list(Durability))
        self._told = {symbol: Told() for symbol in SYMBOLS}
        self._stores: list[SteppedStore] = []
        self._reader: SteppedStore | None = None
        self._events: dict[str, set[str]] = {}
        self._steps = _STEPS | {"look": 12} if lazy else _STEPS
        self._unchecked: set[str] = set()
        """Symbols that no process was asked for since the last of them was opened."""
        self._excused: set[str] = set()
        """Symbols with which something happened since their last opening that may lose what was not on the disk."""
        self._restarted: set[str] = set()
        self._replaced: set[str] = set()
        """Symbols whose head may be an older one since their last opening: it can't tell of what came after it."""
        self._failing = False
        """Whether a sync has failed since the machine was started, or the device came back."""
        self._calls_fail = False
        """Whether calls fail now."""
        self._numbers = itertools.count(1)
        self.steps: list[str] = []

    @classmethod
    def of_seed(cls, root: Path, seed: int) -> Self:
        """Make the history of `seed`, of the kind that its lowest bits say: all 32 kinds in 32 seeds."""
        names = ("lazy", "ticks", "dying", "grouped", "signed")
        return cls(root, seed, **{name: bool(seed >> bit & 1) for bit, name in enumerate(names)})

    def run(self, steps: int = 24) -> None:
        """Make the history, and check the store after each step that may have harmed it."""
        try:
            few = 0 if self.lazy else len(SYMBOLS)
            with (
                self._disk.calls(),
                patch.object(starting, "OPENED_AT_ONCE", few),
                patch.object(opening, "most_awake", lambda: few),
                patch.object(proved, "FEW_POINTS", 1 if self._grouped else proved.FEW_POINTS),
                patch.object(proved, "_LOOK_S", 0.0),
            ):
                self._open()
                for _ in range(steps):
                    self._step()
                self._end()
        except WrongError as error:
            ways = {"lazy": self.lazy, "ticks": self._ticks is not None, "dying": self._dying is not None}
            ways |= {"grouped": self._grouped, "signed": self._signed is not None}
            kind = "".join(f", {name}" for name, used in ways.items() if used)
            error.add_note(f"seed {self.seed}{kind}, tier {self._durability}: {', '.join(self.steps)}")
            raise
        finally:
            self._disk.revive()
            self._abandon()
            shutil.rmtree(self._root)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _step(self) -> None:
        """Do one thing, by chance."""
        kind = self._random.choices(list(self._steps), weights=list(self._steps.values()))[0]
        self.steps.append(kind)
        self.counts[kind] += 1
        getattr(self, f"_{kind}")()

    # -- what users do ------------------------------------------------------------------------------------------------

    def _append(self) -> None:
        """Append a batch to a symbol, by one of the processes."""
        if not self._stores:
            return
        store, symbol = self._random.choice(self._stores), self._random.choice(SYMBOLS)
        if not self._is_checked(store, symbol):
            return
        n = self._random.choice((1, 3, 10, 64, self._random.randrange(1, MOST_POINTS)))
        # Numbers of their own, to be told from all others; and zeros, which look like what was never written.
        zeros = self._chance(0.2)
        batch = [0.0 if zeros else float(next(self._numbers)) for _ in range(n)]
        if self._signed is not None and self._signed.random() < 0.5:  # noqa: PLR2004 - half of them
            batch = [0.0 - price for price in batch]
        told = self._told[symbol]
        try:
            total = self._append_rows(store, symbol, told, batch)
        except ColumnsDiffer as error:
            raise WrongError(f"{symbol} does not take what its first batch chose: {error}") from error
        except HftMmapError:
            told.forget(len(told.values))
            return
        told.maybe = []
        told.values += batch
        told.ends.append(len(told.values))
        if total != len(told.values):
            raise WrongError(f"{symbol} has {total} points after an append, and not {len(told.values)}")
        if self._durability is Durability.SYNC:
            store.on_durable(symbol, total, lambda error: self._acknowledged(symbol, total, error))

    def _append_rows(self, store: SteppedStore, symbol: str, told: Told, batch: list[float]) -> int:
        """Append `batch`, with times and sizes where this history has them, and return the total after it."""
        told.maybe = batch
        if self._ticks is None:
            told.times += [0] * len(batch)
            told.sizes += [0.0] * len(batch)
            return store.append_nowait(symbol, batch, wait_s=0)
        if not told.values:
            told.kinds = self._ticks.choice(_COLUMNS)
            if self._ticks.random() < 0.3:  # noqa: PLR2004 - now and then: its first batch chooses then
                with suppress(HftMmapError):
                    store.create(symbol, wait_s=0)
        times = sizes = None
        if "times" in told.kinds:
            top = told.times[-1] if told.times else 0
            times = [max(1, top + self._ticks.randrange(-3, 9)) for _ in batch]
        if "sizes" in told.kinds:
            sizes = [self._ticks.choice((0.0, 1.5, -2.0, float(value))) for value in batch]
        stored = [max(times[: i + 1] + told.times[-1:]) for i in range(len(batch))] if times else [0] * len(batch)
        told.times += stored
        told.sizes += sizes or [0.0] * len(batch)
        return store.append_ticks_nowait(symbol, as_ticks(batch, times, sizes), wait_s=0).total

    def _acknowledged(self, symbol: str, total: int, error: BaseException | None) -> None:
        if error is None:
            self._told[symbol].durable = max(self._told[symbol].durable, total)

    def _commit(self) -> None:
        """Make the commits that are due, in one of the processes."""
        if self._stores:
            self._random.choice(self._stores).step()
            self._note_durable()

    def _sync(self) -> None:
        """Ask for commits of everything, in one of the processes, and make them."""
        if self._stores:
            store = self._random.choice(self._stores)
            for series in store.opened:
                series.ask()
            store.step()
            self._note_durable()

    def _note_durable(self) -> None:
        """Take the word of each process for what is on the disk."""
        for store in self._stores:
            for series in store.opened:
                told = self._told[series.symbol]
                told.durable = max(told.durable, series.committed_total)

    def _restart(self) -> None:
        """Close one of the processes in order, and open it again."""
        if self._stores:
            self._stores.pop(self._random.randrange(len(self._stores))).close()
            self._open()

    def _second(self) -> None:
        """Have another process, or one less."""
        if len(self._stores) < 2:  # noqa: PLR2004 - two processes
            self._open()
        else:
            self._stores.pop().close()

    def _read(self) -> None:
        """Have a reader look."""
        if self._reader is None:
            self._reader = SteppedStore(self._disk.data, mode="r", limits=LIMITS)
        self._check_values(self._reader)

    def _look(self) -> None:
        """Have one of the processes look at what nobody uses, or list it, or copy it."""
        readers = [] if self._reader is None else [self._reader]
        if not self._stores:
            return
        store = self._random.choice(self._stores + readers)
        for _ in range(self._random.randrange(3)):
            store.look()
        if self._chance(0.3):
            infos = []
            with suppress(StoreUnusable) if self._calls_fail else nullcontext():
                infos = store.symbols()
            for info in infos:
                values = (self._told[info.symbol].values + self._told[info.symbol].maybe)[: info.total]
                if len(values) < info.total or (info.count and info.last != values[-1]):
                    raise WrongError(f"{info.symbol} is listed as {info}")
        elif self._chance(0.2):
            with suppress(HftMmapError):
                totals = store.snapshot(self._root / "snapshot")
                with SteppedStore(self._root / "snapshot", mode="r", limits=LIMITS) as copy:
                    self._check_values(copy)
                    if totals != {info.symbol: info.total for info in copy.symbols()}:
                        raise WrongError(f"a snapshot of {totals} has {copy.symbols()}")
            shutil.rmtree(self._root / "snapshot", ignore_errors=True)

    def _check(self) -> None:
        """Have every process look, and verify."""
        for store in self._stores:
            self._check_values(store)
        if self._stores and not self._failing:
            self._verify(self._stores[0])

    # -- what goes wrong beside them ----------------------------------------------------------------------------------

    def _kill(self) -> None:
        """Kill one of the processes in the middle of something; the machine goes on."""
        if not self._stores:
            return
        store = self._stores[-1]
        self._stores = [store]
        self._disk.kill_in(self._random.randrange(12))
        with suppress(Killed):
            for _ in range(4):
                self._random.choice(self._doings())()
            store.close()
        self._killed()

    def _kill_opening(self) -> None:
        """Kill a process while it opens the store."""
        self._disk.kill_in(self._random.randrange(10))
        with suppress(Killed):
            self._open()
        self._killed()

    def _killed(self) -> None:
        """Go on without the processes: what they had under way may be there."""
        self._disk.revive()
        self._restarted.clear()
        self._abandon()
        self._open()

    def _cut(self) -> None:
        """Cut the power, and start the machine again."""
        self._kill_all()
        self._disk.cut(restart=True)
        # A head that told of nothing when its device came back (see `_check_opened`) may have been left in order since.
        self._restarted = set(SYMBOLS) - (self._unchecked & self._excused)
        self._excused, self._replaced, self._failing = set(SYMBOLS), set(SYMBOLS), False
        self._open_again()

    def _remount(self) -> None:
        """Lose the device, with what was not synced, and have it back in the same run of the machine."""
        self._kill_all()
        self._disk.cut(restart=False)
        self._excused, self._replaced, self._failing, self._restarted = set(SYMBOLS), set(SYMBOLS), False, set()
        self._open_again()

    def _doings(self) -> list[Callable[[], None]]:
        """Return what may be under way when something goes wrong."""
        return [self._append, self._commit, self._sync, *([self._look] if self.lazy else [])]

    def _fail_sync(self) -> None:
        """Have a sync fail, with pages left in memory that the disk does not have."""
        self._fail("sync", 4)

    def _fail_call(self) -> None:
        """Have another call fail."""
        self._fail(self._random.choice([kind for kind in FAILURES if kind != "sync"]), 6)

    def _fail(self, kind: str, most: int) -> None:
        if not self.lazy:
            self._open_what_others_made()
        failed, self._forgotten = self._disk.failed_syncs, self._disk.forgotten
        self._disk.fail_in(kind, self._random.randrange(most))
        self._calls_fail = True
        for _ in range(3):
            self._random.choice(self._doings())()
            if not self.lazy:
                self._open_what_others_made()
            if self.lazy and self._disk.forgotten > self._forgotten:
                # Whoever opens it from here on goes on from what is left. A reader that has mapped the rest is gone.
                self._unchecked, self._excused = set(SYMBOLS), set(SYMBOLS)
                self._close_reader()
        self._disk.revive()
        self._calls_fail = False
        self._failing |= self._disk.failed_syncs > failed
        if self._disk.forgotten > self._forgotten:
            self._check_forgotten()
            self._forgotten = self._disk.forgotten

    def _open_what_others_made(self) -> None:
        """Have each process open all there is: whoever opens it after a failure goes on from what is left."""
        for store, symbol in itertools.product(self._stores, SYMBOLS):
            with suppress(SymbolNotFound, SeriesSetAside):
                store.series(symbol)

    def _check_forgotten(self) -> None:
        """Check that the processes that are there serve nothing of what memory has lost under them, and say so."""
        self._excused = set(SYMBOLS)
        for store in self._stores:
            store.step()
            self._check_values(store)
        for symbol, told in self._told.items() if not self.lazy else ():
            # One that refuses has stopped where it did, and another may have gone on since.
            first = sorted(self._stores, key=lambda store: not store.goes_on(symbol))[:1]
            with suppress(HftMmapError):
                for store in first:
                    self._check_opened(store, symbol, told)

    def _evict(self) -> None:
        """Have memory drop what a failed sync left there; the process that met the failure is gone, or is killed."""
        self._kill_all()
        self._disk.evict()
        if self._failing:
            self._excused = set(SYMBOLS)
            self._replaced |= {symbol for symbol in SYMBOLS if self._published(symbol) < len(self._told[symbol].values)}
        self._open_again()

    def _published(self, symbol: str) -> int:
        """Return the total that the head of a symbol has; its page may have been dropped as well."""
        with suppress(FileNotFoundError):
            return int.from_bytes((self._disk.data / symbol / HEAD_NAME).read_bytes()[LIVE_OFFSET:][:8], "little")
        return 0

    def _write_back(self) -> None:
        """Have the system write pages by itself."""
        self._disk.write_back_some()

    def _copy(self) -> None:
        """Copy the files while they are in use, and open the copy: it serves what is right, or nothing."""
        # A copy of what was not opened since a cut may serve, rightly, what the opening then gives up.
        if not all(self._is_checked(store, symbol) for store in self._stores[:1] for symbol in SYMBOLS):
            return
        copy = self._root / "copy"
        copy.mkdir()
        directories = [entry for entry in self._disk.data.iterdir() if entry.is_dir() and entry.name in SYMBOLS]
        for directory in directories:
            (copy / directory.name).mkdir()
            for path in sorted(directory.iterdir(), key=lambda _: self._random.random()):
                with suppress(FileNotFoundError):
                    shutil.copyfile(path, copy / directory.name / path.name)
                if self._chance(0.3):
                    self._append()
        with SteppedStore(copy, mode="r", limits=LIMITS) as store:
            self._check_values(store)
        shutil.rmtree(copy)

    # -- opening, and what must hold ----------------------------------------------------------------------------------

    def _open_again(self) -> None:
        """Open the store after what may have lost points; in some histories, after others were killed at that."""
        # What one has told before it was killed counts.
        self._events = {symbol: self._events.get(symbol, set()) for symbol in self._unchecked}
        self._unchecked = set(SYMBOLS)
        while self._dying is not None and self._dying.random() < _CHANCE_TO_DIE:
            self._disk.kill_in(self._dying.randrange(16))
            with suppress(Killed):
                self._open()
            self._disk.revive()
            self._restarted.clear()
            self._abandon()
        self._open()

    def _open(self, *, whole: bool = False) -> None:
        """Open the store once more, and check what it serves against what was told before.

        A lazy one opens some of it later, unless `whole`.
        """
        self._events = {symbol: self._events.get(symbol, set()) for symbol in self._unchecked}
        while len(self._stores) > 1:
            self._stores.pop().close()
        store = SteppedStore(
            self._disk.data, limits=self._limits, durability=self._durability, on_event=self._noted,
        )  # fmt: skip
        self._stores.append(store)
        self._unchecked = set(SYMBOLS)
        for symbol in SYMBOLS:
            if whole or not self.lazy or self._chance(0.4):
                self._is_checked(store, symbol)
        if self.lazy and not whole and self._chance(0.6):
            return
        self._check_values(store)
        if self._chance(0.3) and not self._failing:
            self._verify(store)

    def _kill_all(self) -> None:
        """End every process as a kill does."""
        self._abandon()

    def _abandon(self) -> None:
        for store in self._stores:
            store.abandon()
        self._stores = []
        self._close_reader()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _end(self) -> None:
        """Stop in order, and look once more."""
        for store in self._stores:
            store.close()
        self._stores = []
        self._open(whole=True)


_COLUMNS = (frozenset({"times", "sizes"}), frozenset({"times", "sizes"}), frozenset({"times"}), frozenset({"sizes"}))

_STEPS = {
    "append": 30, "commit": 10, "sync": 4, "restart": 3, "second": 3, "read": 3, "check": 2, "kill": 5,
    "kill_opening": 2, "cut": 4, "remount": 3, "fail_sync": 4, "fail_call": 3, "evict": 3, "write_back": 3, "copy": 1,
}  # fmt: skip
"""The steps of a history, and how often they come."""
