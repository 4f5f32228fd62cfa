"""The state machine that holds a store against a perfect one."""

import math
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hft_mmap.errors import HftMmapError, SeriesSetAside
from hft_mmap.files.head import HEAD_NAME
from hft_mmap.files.names import chunk_name, directory_name
from hft_mmap.limits import Durability, Limits
from hft_mmap.stats import exact_window_stats
from hft_mmap.store import Store
from hft_mmap.testing.faults import Damage, damage_byte, lose_power, move_in, restart_machine
from hft_mmap.testing.model import SMALL_LIMITS, ModelSeries, ModelStore, assert_close
from hft_mmap.testing.process import MEMORY, StoreProcess
from hft_mmap.tree.kernels import MAX_PRICE

SYMBOLS = ("ABC-USD", "EUR/USD", "日本円-USD", "..")

PRICES = st.one_of(
    st.floats(0, MAX_PRICE, allow_subnormal=True),
    st.floats(99, 101),
    st.sampled_from([0.0, -0.0, 5e-324, 1.0, 1e9, MAX_PRICE]),
)
"""Prices near each other, and prices that have nothing to do with each other."""

SHARES = st.floats(0, 1, exclude_max=True)
"""A share of what there is: how much that is may be up to the disk, as after a power cut, and what is drawn may not."""


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

    @rule(symbol=st.sampled_from(SYMBOLS), values=batches(most=100), share=st.integers(1, 4))
    def append_negative(self, symbol: str, values: list[float], share: int) -> None:
        """Append a batch of which some prices are negative, where they are not 0."""
        self._append(symbol, [-value if i % share == 0 else value for i, value in enumerate(values)], None)

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
    @rule(
        data=st.data(), file=SHARES, place=SHARES, mask=st.integers(1, 255), restarted=st.booleans(),
    )  # fmt: skip
    def damage(self, data: st.DataObject, file: float, place: float, mask: int, *, restarted: bool) -> None:
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
            names = [HEAD_NAME, *chunks]
            path = copy / directory_name(symbol) / names[int(file * len(names))]
            offset = int(place * path.stat().st_size)
            damage_byte(path, offset, mask)
            self._check_damaged(copy, symbol, Damage.of(path, offset, restarted=restarted))

    def _check_damaged(self, copy: Path, symbol: str, damage: "Damage") -> None:
        """Check a copy in which `symbol` is damaged: the others are as they were, and it is not wrong in silence."""
        with Store(copy, mode="r") as store:
            aside = self._set_aside_in(store)
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

    def _set_aside_in(self, store: Store) -> set[str]:
        """Use each symbol for the first time, which is when its files are judged; return those that do not serve."""
        aside = set()
        for symbol in self.model.series:
            try:
                store.series(symbol)
            except SeriesSetAside:
                aside.add(symbol)
        assert {reason.symbol for reason in store.reasons()} == aside
        return aside

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
