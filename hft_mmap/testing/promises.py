"""What a store has promised: what its users were told, and what must hold of it, whatever went wrong beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
from numpy.typing import NDArray

from hft_mmap.errors import HftMmapError, SeriesSetAside, SymbolNotFound
from hft_mmap.limits import Limits
from hft_mmap.span import Span
from hft_mmap.store import Store
from hft_mmap.testing.disk import SimulatedDisk
from hft_mmap.testing.stepped import SteppedStore
from hft_mmap.ticks import Ticks, ticks_of

LIMITS = Limits(max_data_retention=700, cleanup_keep_count=300, max_symbols=2, starting_capacity=0, chunk_points=64)
GROUPED_LIMITS = replace(LIMITS, groups=("returns", "extremes", "moments", "trades"))
SYMBOLS = ("A", "B")
MOST_POINTS = 150


class WrongError(AssertionError):
    """Something that a store may never do."""


@dataclass
class Told:
    """What became of one symbol, as far as its users were told."""

    values: list[float] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0])
    """Totals after each batch: a series ends at one of them."""
    start: int = 0
    """Where it was seen to begin."""
    durable: int = 0
    """Points that the store has said are on the disk."""
    maybe: list[float] = field(default_factory=list)
    """A batch under way when the process was killed: it is there whole, or not at all."""
    times: list[int] = field(default_factory=list)
    """Of `values`, then of `maybe`, as they are stored; 0 where there are none."""
    sizes: list[float] = field(default_factory=list)
    kinds: frozenset[str] = frozenset()
    """The columns that the first batch chose."""

    def as_rows(self) -> Ticks:
        """Return all of it, with what is under way."""
        return Ticks(np.asarray(self.values + self.maybe), np.asarray(self.times), np.asarray(self.sizes))

    def forget(self, total: int) -> None:
        """Forget the points from `total` on, and what was under way."""
        self.maybe = []
        for column in (self.values, self.times, self.sizes):
            del column[total:]


class Promises:
    """The part of a history that checks a store. Made by `History`."""

    _random: Random
    _disk: SimulatedDisk
    _told: dict[str, Told]
    _stores: list[SteppedStore]
    _events: dict[str, set[str]]
    _unchecked: set[str]
    _excused: set[str]
    _restarted: set[str]
    _replaced: set[str]
    _failing = False
    _forgotten = 0
    _calls_fail = False
    _grouped = False

    def _is_checked(self, store: SteppedStore, symbol: str) -> bool:
        """Check a symbol where that is due; False where it can't be, as a call fails at present, or all met a failure.

        One that met a failed sync tells where it stopped itself: others may have gone on since, and are gone.
        """
        if symbol in self._unchecked:
            going_on = next((one for one in (store, *self._stores) if one.goes_on(symbol)), None)
            if going_on is None:
                return False
            try:
                self._check_opened(going_on, symbol, self._told[symbol])
            except HftMmapError:
                return False
            self._unchecked.discard(symbol)
            self._excused.discard(symbol)
            self._restarted.discard(symbol)
            self._replaced.discard(symbol)
        return True

    def _noted(self, name: str, fields: Mapping[str, object]) -> None:
        self._disk.check_alive()
        self._events.setdefault(str(fields.get("symbol")), set()).add(name)

    def _check_opened(self, store: Store, symbol: str, told: Told) -> None:
        """Check where a symbol ends, and go on from there."""
        try:
            start, total = store.series(symbol).bounds()
        except SymbolNotFound:
            start = total = 0
        except SeriesSetAside as error:
            if self._calls_fail and "the next request tries again" in str(error):
                raise
            raise WrongError(f"{symbol} is set aside: {error}") from error
        if total == len(told.values) + len(told.maybe) and told.maybe:
            told.values += told.maybe
            told.ends.append(total)
        told.forget(len(told.values))
        if total > len(told.values) or total not in told.ends:
            raise WrongError(f"{symbol} ends at {total}, where no batch ended: {told.ends[-3:]}")
        if total < told.durable and not self._failing:
            raise WrongError(f"{symbol} ends at {total}, and {told.durable} points were on the disk")
        if total < len(told.values):
            self._check_loss(symbol, told, start, total)
            told.start = start
            told.forget(total)
            told.ends = [end for end in told.ends if end <= total]
        told.durable = min(told.durable, total)

    def _check_loss(self, symbol: str, told: Told, start: int, total: int) -> None:
        """Check that the points from `total` on may be lost, that this is told, and what is kept beside them."""
        # What memory loses by a failed sync may be found by the very opening whose sync that is.
        if symbol not in self._excused and self._disk.forgotten == self._forgotten:
            raise WrongError(f"{symbol} ends at {total} and not at {len(told.values)}, for no reason")
        # A device that comes back with a head that was never written since it was made can tell of nothing.
        telling = {"lost", "recovery"} if symbol in self._replaced else {"lost"}
        silent = not total and symbol in self._replaced - self._restarted
        if not silent and not self._events.get(symbol, set()) & telling:
            raise WrongError(f"{symbol} ends at {total} and not at {len(told.values)}, and nobody is told")
        # A cleanup makes room for points before they are there: where they are lost, it counts no more.
        if told.durable and total - start < min(total, LIMITS.cleanup_keep_count - MOST_POINTS):
            raise WrongError(f"{symbol} has lost what came after {total}, and keeps {total - start} points alone")

    def _check_values(self, store: Store) -> None:
        """Check that everything served is what was appended, and as much of it as is promised."""
        for symbol, told in self._told.items():
            try:
                span = store.span(symbol)
            except (SymbolNotFound, SeriesSetAside):
                continue
            values = np.asarray(told.values + told.maybe)
            found = store.series(symbol).window(MOST_POINTS * 1000)[: span.total - span.start]
            if span.total > len(values) or not np.array_equal(found, values[span.start : span.total]):
                raise WrongError(f"{symbol} serves values that were not appended")
            if span.total == span.start:
                continue
            self._check_rows(store, symbol, told, span)
            kept = len(values) - span.start
            if span.start > told.start and kept < min(len(values), LIMITS.cleanup_keep_count - MOST_POINTS):
                raise WrongError(f"{symbol} keeps {kept} points alone")
            told.start = span.start
            window = self._random.randrange(1, len(found) + 1)
            stats, part = store.stats(symbol, window), found[len(found) - window :]
            right = (stats.min, stats.max, stats.last, stats.points) == (part.min(), part.max(), part[-1], window)
            if not right or abs(stats.avg - part.mean()) > 1e-9 * np.abs(part).max():
                raise WrongError(f"{symbol} answers {stats} of {window} points")
            if self._grouped:
                self._check_path(store, symbol, part)
                self._check_trades(store, symbol, told.as_rows().cut(span.total - window, span.total))

    def _check_path(self, store: Store, symbol: str, part: NDArray[np.float64]) -> None:
        """Check the statistics of the path of the newest points of a symbol, which are `part`."""
        found = store.statistics(symbol, ("drawdown", "path", "skew", "slope"), window=len(part))
        with np.errstate(invalid="ignore", divide="ignore"):
            deviations, places = part - part.mean(), np.arange(len(part)) - (len(part) - 1) / 2
            right = {
                "drawdown": (part / np.maximum.accumulate(part)).min() - 1,
                "path": np.abs(np.diff(part)).sum(),
                "skew": (deviations**3).mean() / (deviations**2).mean() ** 1.5,
                "slope": (places * deviations).sum() / (places**2).sum(),
            }
        for name, value in found.items():
            if value is not None and not np.isclose(value, right[name], rtol=1e-6, atol=1e-6):
                raise WrongError(f"{symbol} answers {name} {value}, not {right[name]}, of {len(part)} points")

    def _check_trades(self, store: Store, symbol: str, rows: Ticks) -> None:
        """Check the statistics of the times and sizes of the newest points of a symbol, which are `rows`."""
        columns, right = store.series(symbol).columns, dict[str, np.floating]()
        with np.errstate(invalid="ignore", divide="ignore"):
            if "sizes" in columns and rows.sizes is not None:
                weights = np.abs(rows.sizes)
                right |= {"volume": weights.sum(), "signed_volume": rows.sizes.sum()}
                right |= {"vwap": (rows.prices * weights).sum() / weights.sum()}
            if "times" in columns and rows.times is not None:
                waits = np.diff(rows.times)
                right |= {"twap": (rows.prices[:-1] * waits).sum() / waits.sum(), "gap": waits.max(initial=0) / 1e9}
        if not right:
            return
        for name, value in store.statistics(symbol, tuple(right), window=len(rows.prices)).items():
            if value is not None and not np.isclose(value, right[name], rtol=1e-6, atol=1e-6):
                raise WrongError(f"{symbol} answers {name} {value}, not {right[name]}, of {len(rows.prices)} points")

    def _check_rows(self, store: Store, symbol: str, told: Told, span: Span) -> None:
        """Check that the points of `span` have the times and sizes that they were appended with."""
        found, rows = ticks_of(span.view, span.first, span.end), told.as_rows().cut(span.first, span.end)
        columns = {name for name in ("times", "sizes") if getattr(found, name) is not None}
        if columns != told.kinds or set(store.series(symbol).columns) != columns:
            raise WrongError(f"{symbol} has {columns}, and was given {set(told.kinds)}")
        for name in columns:
            if not np.array_equal(getattr(found, name), getattr(rows, name)[: len(found.prices)]):
                raise WrongError(f"{symbol} serves {name} that were not appended")

    def _verify(self, store: Store) -> None:
        """Check that `verify` finds nothing where nothing is wrong."""
        for report in store.verify():
            if report.faults:
                raise WrongError(f"verify finds in {report.symbol}: {report.faults}")
