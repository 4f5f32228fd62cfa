"""Import files into series, each point exactly once, also through crashes.

Every batch carries its offset: where the series stood before the import (the journal keeps that) and how many points
of this import come before it. So a store that already has a batch says so instead of storing it again, and going on
after a crash is: read the files anew, and give every batch to the store. What is there is compared, value for value;
what is missing is appended.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from time import perf_counter

import numpy as np

from hft_mmap.errors import LateTimes, OffsetConflict
from hft_mmap.files.names import validate_symbol
from hft_mmap.ticks import Ticks
from hft_mmap.transfer.errors import BadRow, ImportConflict, Interrupted, UnreadableFile
from hft_mmap.transfer.formats import speakable
from hft_mmap.transfer.found import sources as sources_of
from hft_mmap.transfer.journal import Journal
from hft_mmap.transfer.overlap import TAIL_POINTS, Overlap
from hft_mmap.transfer.pipeline import ahead
from hft_mmap.transfer.plan import Plan, Prices
from hft_mmap.transfer.preview import in_order, looked_at, mixture
from hft_mmap.transfer.readers import read
from hft_mmap.transfer.report import ImportReport, Progress, ignore
from hft_mmap.transfer.rows import Rows
from hft_mmap.transfer.sink import Room, Sink, never
from hft_mmap.transfer.source import Source

READ_AHEAD = 2
"""Batches that the reader may be ahead of the store."""


@dataclass(slots=True)
class _Series:
    """A series as the import meets it: what it held when this run began, and where the next point belongs.

    columns: what its points have beside their prices; None: nothing was appended yet, and the first batch says it.
    """

    start: int
    total: int
    place: int
    columns: tuple[str, ...] | None = None


@dataclass(slots=True)
class _Import:
    """One run."""

    plan: Plan
    sink: Sink | None
    journal: Journal | None
    room: Room = field(default_factory=Room)
    progress: Progress = field(default_factory=Progress)
    series: dict[str, _Series] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    known: dict[str, int] = field(default_factory=dict)
    """Values at the beginning of the files that series have already."""
    cut: int = 0
    """Where the batch that was given to the store last begins among the points of its part."""

    def take(self, rows: Rows, file: str, before: int, prices: Prices) -> None:
        """Check rows of which `before` precede in `file`, and store what they hold. BadRow unless bad ones are skipped.

        Nothing of `rows` is stored if one of them is bad and that stops the import.
        """
        plan = self.plan
        if plan.wanted().watches:
            self._check_one(rows, file)
        if plan.symbol is not None and plan.symbol_column is None:
            rows.codes = None
        one = plan.symbol is not None and plan.symbol_column is not None
        mine = rows.only(str(plan.symbol)) if one else rows
        absent = 0
        if not prices.changes_nothing:
            gone = mine.absent(prices.absent, prices.texts, nan=prices.nan_is_absent) if prices.texts else None
            absent = 0 if gone is None else int(np.count_nonzero(gone))
            mine = mine.with_prices(gone, prices.divide_by)
        bad = mine.bad(prices.most, signed=self.room.takes_negative)
        if bad:
            first = BadRow(file, rows.row(bad[0].place, before), bad[0].found)
            if not plan.skip_bad:
                raise first
            self.progress.first_skipped = self.progress.first_skipped or str(first)
        good = mine.without(bad)
        parts = [good.part(plan.symbol)] if plan.symbol is not None else list(good.by_symbol())
        parts = [part for part in parts if len(part.points.prices)]
        self._meet([part.symbol for part in parts])
        parts = [part._replace(points=self._as_kept(part.symbol, part.points, file)) for part in parts]
        for part in parts:
            try:
                self._store(part.symbol, part.points)
            except LateTimes as error:
                place = error.index + self.cut
                row = rows.row(place if part.places is None else int(part.places[place]), before)
                raise UnreadableFile(
                    f"{file}: row {row}: its time lies before that of the point before it, and late points are "
                    f"refused (store.late): mend the file, or set store.late to clamp"
                ) from error
        self.progress.rows += rows.count
        self.progress.skipped += len(bad)
        self.progress.absent += absent
        if one:
            self.progress.others += rows.count - len(bad) - len(good.values) - absent

    def _check_one(self, rows: Rows, file: str) -> None:
        """Make sure that what goes to one series is of one symbol, whatever that is called; UnreadableFile."""
        self.seen |= rows.named()
        if len(self.seen) > 1:
            stored = self.progress.stored
            stay = f"; the {stored} points stored before that stay" if stored else ""
            raise UnreadableFile(f"{file}: {mixture(self.plan, self.seen)}{stay}")

    def _meet(self, symbols: Iterable[str]) -> None:
        """Find out where series stand that were not met before, and keep it for a later run."""
        new = [symbol for symbol in symbols if symbol not in self.series]
        if not new:
            return
        self.room.check([*self.series, *new], self.progress.stored)
        bounds = {symbol: self.sink.bounds(symbol) if self.sink else (0, 0) for symbol in new}
        known = self.journal.bases if self.journal else {}
        if self.journal and (unknown := {symbol: bounds[symbol][1] for symbol in new if symbol not in known}):
            self.journal.note(unknown)
        for symbol, (start, total) in bounds.items():
            base = known.get(symbol, total)
            if base > total:
                raise ImportConflict(
                    f"{symbol} has {total} points, but had {base} when the import began: it was removed, or lost "
                    f"points to a power loss; nothing was appended to it"
                )
            self.series[symbol] = _Series(start, total, base, self.sink.columns(symbol) if self.sink else None)

    def _as_kept(self, symbol: str, points: Ticks, file: str) -> Ticks:
        """Return points with the columns that their series has; ImportConflict where they lack one, or it was asked.

        What a series has not is left out, and told of.
        """
        series = self.series[symbol]
        brings = tuple(kind.name for kind in points.kinds)
        if series.columns is None:
            series.columns = brings
        has = series.columns
        lacks = [name for name in has if name not in brings]
        surplus = tuple(name for name in brings if name not in has)
        if lacks:
            ways = {"times": "--time-column", "sizes": "--size-column"}
            raise ImportConflict(
                f"{file}: {symbol} has prices and {' and '.join(has)}, and {' and '.join(lacks)} are not found in the "
                f"file: {' and '.join(ways[name] for name in lacks)} says which column has them; nothing of it was "
                f"stored"
            )
        if asked := [name for name in surplus if name in self.plan.asked_beside]:
            raise ImportConflict(
                f"{file}: {symbol} has prices{''.join(f' and {name}' for name in has)} alone, so no "
                f"{' and '.join(asked)} can be stored beside them: the first batch of a series says what it has; "
                f"import into another symbol, or leave out the options that name them"
            )
        if surplus:
            self.progress.left_out[symbol] = surplus
        self.progress.columns = tuple(name for name in ("times", "sizes") if name in {*self.progress.columns, *has})
        if not surplus:
            return points
        return Ticks(
            points.prices, points.times if "times" in has else None, points.sizes if "sizes" in has else None
        )  # fmt: skip

    def _store(self, symbol: str, points: Ticks) -> None:
        """Give points to the store where they belong: those it has are compared, the others appended."""
        known = min(self.known.get(symbol, 0), len(points.prices))
        if known:
            self.known[symbol] -= known
            self.progress.found += known
            points = points.cut(known, len(points.prices))
        series = self.series[symbol]
        count = len(points.prices)
        begin, end = series.place, series.place + count
        # A run before this one may have cut its batches differently, or points of it may have gone to a cleanup.
        cuts = [cut for cut in (series.start, series.total) if begin < cut < end]
        for low, high in pairwise(sorted({begin, *cuts, end})):
            if high > series.start and self.sink:
                self.cut = known + low - begin
                try:
                    done = self.sink.append(symbol, points.cut(low - begin, high - begin), low)
                except OffsetConflict as error:
                    raise ImportConflict(self._conflict(symbol, low, str(error))) from error
                if low >= series.total:
                    self.progress.late += done.late
                    self.progress.latest_ns = max(self.progress.latest_ns, done.latest_ns)
        fresh = max(end - max(begin, series.total), 0)
        self.progress.stored += fresh
        self.progress.found += count - fresh
        series.place = end

    def _conflict(self, symbol: str, low: int, reason: str) -> str:
        if low < self.series[symbol].total:
            return (
                f"{symbol} does not hold what the files say, from point {low} on: something else was appended "
                f"since the import began, or the files are not the same ({reason})"
            )
        return f"{symbol}: something else was appended during the import ({reason}); one writer a series, please"

    def totals(self) -> dict[str, int]:
        """Return the total of each series that this import has met."""
        return {symbol: max(series.place, series.total) for symbol, series in self.series.items()}


@dataclass(slots=True)
class _Measure(_Import):
    """A run that stores nothing, and finds out which values of the files series have already."""

    overlaps: dict[str, Overlap] = field(default_factory=dict)

    def _meet(self, symbols: Iterable[str]) -> None:
        """Take the newest points of series that were not met before."""
        new = [symbol for symbol in symbols if symbol not in self.series]
        if new:
            self.room.check([*self.series, *new])
        for symbol in new:
            start, total = self.sink.bounds(symbol) if self.sink else (0, 0)
            self.series[symbol] = _Series(start, total, total, self.sink.columns(symbol) if self.sink else None)
            if self.sink and total > start:
                tail = self.sink.newest(symbol, min(TAIL_POINTS, total - start))
                self.overlaps[symbol] = Overlap(symbol, tail)

    def _store(self, symbol: str, points: Ticks) -> None:
        """Compare."""
        if symbol in self.overlaps:
            self.overlaps[symbol].feed(points)

    def known_values(self) -> dict[str, int]:
        """Return how many values each series has already; ImportConflict where that is not certain."""
        return {symbol: overlap.new_from() for symbol, overlap in self.overlaps.items()}


def import_files(
    plan: Plan, sink: Sink | None, *, resume: bool = False, stop: Callable[[], bool] = never,
    tell: Callable[[Progress], None] = ignore, room: Room | None = None,
) -> ImportReport:  # fmt: skip
    """Import `plan.files`, one after the other, and return what was done; sink None: only read and check everything.

    Before anything is stored each file is looked at (`Look`), and what is not certain is refused (`Doubtful`).

    resume: go on with an import that was cut off, or begin one; of one that was finished nothing is left to do, and
    ImportConflict if a file has changed since, or was read from a stream and can't be compared.
    Without it an import that was cut off is refused. stop: asked between batches, and while a service is
    waited for; when it is true the import ends there, whole batches stored. tell: called before each file and after
    each batch, always with the same object. room: of the store that would take the points, where there is no sink.

    BadRow, UnreadableFile, MissingPackage, ImportConflict, SymbolLimitReached, and what the sink raises. Then what was
    stored until there stays, in whole batches, and a later run may resume. When this returns everything stored is on
    the disk. Memory is bounded, whatever the size of the files.
    """
    for symbol in [*([] if plan.symbol is None else [plan.symbol]), *(target for _, target in plan.columns)]:
        validate_symbol(symbol)
    begin = perf_counter()
    given, plan = plan, _as_stored(plan, sink)
    sources = in_order(plan, looked_at(plan, sources_of(plan.files, plan.format)))
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(sink.journals, plan.identity(sink.name))) if sink else None
        # New points are found by what is stored, so it makes no difference how an earlier run ended.
        resume = resume and not plan.append_new
        if journal is not None and journal.totals is not None and resume:
            _check_unchanged(sources, journal.stamps)
            return ImportReport(True, Progress(done=1.0), journal.totals, perf_counter() - begin, 0.0, already=True)
        if journal is not None and journal.started and not resume and not plan.append_new:
            raise ImportConflict(
                f"an import of these files was cut off: --resume goes on with it; to import them once more from the "
                f"start, after what is stored, remove {speakable(str(journal.path))}"
            )
        run = _Import(plan, sink, journal, sink.room() if sink else room or Room())
        run.room.check(_symbols_ahead(plan, sources))
        if sink:
            sink.stop = stop
        if plan.append_new and (known := _known_values(run, sources, stop)) is not None:
            run.known = known
        if journal is not None and (not journal.started or plan.append_new):
            journal.begin()
        try:
            complete = _run(run, sources, stop, tell)
        finally:
            stored = perf_counter()
            if sink:
                sink.settle()
        synced = perf_counter()
        if plan is not given:
            left = {name for source in sources for name in source.look.unread}
            run.progress.left_out |= {symbol: tuple(sorted(left)) for symbol in run.series if left}
        totals = run.totals()
        if journal is not None and complete:
            journal.finish(totals, [source.stamp for source in sources])
        return ImportReport(complete, run.progress, totals, stored - begin, synced - stored)


def _as_stored(plan: Plan, sink: Sink | None) -> Plan:
    """Return the plan without what the series that all of it goes to has no place for, unless that was asked for.

    So nothing is asked about times that are left out.
    """
    targets = [plan.symbol] if plan.symbol is not None else [target for _, target in plan.columns]
    known = [sink.columns(symbol) for symbol in targets] if sink is not None else []
    if not known or None in known:
        return plan
    kept = {name for columns in known for name in columns or ()}
    asked = plan.asked_beside
    time, size = (plan.time and "times" in kept | {*asked}), (plan.size and "sizes" in kept | {*asked})
    return plan if (time, size) == (plan.time, plan.size) else replace(plan, time=time, size=size)


def _symbols_ahead(plan: Plan, sources: Sequence[Source]) -> list[str]:
    """Return the symbols that the import will meet, as far as the look at its files tells."""
    if plan.symbol is not None:
        return [plan.symbol]
    seen = [symbol for source in sources for symbol in source.look.symbols]
    return list(dict.fromkeys([target for _, target in plan.columns] or seen))


def _known_values(run: _Import, sources: list[Source], stop: Callable[[], bool]) -> dict[str, int] | None:
    """Return how many values at the beginning of the files each series has; None if it was stopped."""
    for source in sources:
        if not source.can_be_read_again:
            raise UnreadableFile(f"{source.name}: --append-new reads files twice, and this can be read only once")
    measure = _Measure(run.plan, run.sink, None, run.room)
    return measure.known_values() if _run(measure, sources, stop, ignore) else None


def _check_unchanged(sources: Sequence[Source], stamps: Sequence[list[int] | None]) -> None:
    """Raise ImportConflict unless the files are those of the import that was finished."""
    if stamps and len(stamps) != len(sources):
        raise ImportConflict(
            f"an import of this was finished when it had {len(stamps)} files, now it has {len(sources)}. Without "
            f"--resume all of it is imported, after what is stored; --append-new takes only what is new"
        )
    for source, stamp in zip(sources, stamps or [None] * len(sources), strict=True):
        if source.stamp is None or source.stamp != stamp:
            why = "can be read only once" if source.stamp is None else "has changed since"
            raise ImportConflict(
                f"an import of this was finished, and nothing shows that {source.name} is still what was imported: it "
                f"{why}. Without --resume all of it is imported, after what is stored; --append-new takes only what is "
                f"new in a file that has grown"
            )


def _run(run: _Import, sources: list[Source], stop: Callable[[], bool], tell: Callable[[Progress], None]) -> bool:
    """Import the sources; return whether all of it was read."""
    share = _Shares(sources)
    for source in sources:
        run.progress.file = source.name
        tell(run.progress)
        before = 0
        ended = False

        def rows(source: Source = source) -> Iterator[Rows]:
            nonlocal ended
            yield from read(source, run.plan.wanted())
            source.check_whole()
            ended = True

        prices: Prices | None = None
        with closing(ahead(rows(), READ_AHEAD, stop, source.abandon)) as runs:
            for some in runs:
                if stop():
                    return False
                prices = prices or Prices(run.plan, source.look)
                if not some.count:
                    continue
                try:
                    run.take(some, source.name, before, prices)
                except Interrupted:
                    return False
                before += some.count
                run.progress.done = share.done(source)
                tell(run.progress)
        if not ended or stop():
            return False
    run.progress.done = 1.0
    return True


class _Shares:
    """How much of all files was read, weighed by their sizes."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._size = sum(source.size or 0 for source in sources) if all(source.size for source in sources) else 0

    def done(self, now: Source) -> float | None:
        """Return it while `now` is read."""
        done = now.done
        if not self._size or done is None:
            return None
        before = sum(source.size or 0 for source in self._sources[: self._sources.index(now)])
        return (before + done * (now.size or 0)) / self._size
