"""Import files into series, each point exactly once, also through crashes.

Every batch carries its offset: where the series stood before the import (the journal keeps that) and how many points
of this import come before it. So a store that already has a batch says so instead of storing it again, and going on
after a crash is: read the files anew, and give every batch to the store. What is there is compared, value for value;
what is missing is appended.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from hft_mmap.errors import OffsetConflict
from hft_mmap.files.names import validate_symbol
from hft_mmap.transfer.errors import BadRow, ImportConflict, Interrupted, UnreadableFile
from hft_mmap.transfer.formats import format_of
from hft_mmap.transfer.journal import Journal
from hft_mmap.transfer.pipeline import ahead
from hft_mmap.transfer.readers import read
from hft_mmap.transfer.rows import Rows, Wanted, shown
from hft_mmap.transfer.sink import Sink, never
from hft_mmap.transfer.source import Source

MAX_REVERSED_ROWS = 1 << 26
"""Rows of a file that is turned round: its prices are in memory meanwhile, 512 MiB of them."""
READ_AHEAD = 2
"""Batches that the reader may be ahead of the store."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to import.

    files: paths, or "-" for standard input. symbol: the series; None: each row goes to the series that its
    `symbol_column` names. Both: only the rows whose `symbol_column` is `symbol`. format None: by the names.
    reverse: each file has its newest row first, and is turned round; False: whatever its times say, it is not; None: a
    file that has is refused. mixed: a file that names several symbols may go to one series, in place of being refused.
    """

    files: Sequence[str]
    symbol: str | None = None
    column: str | None = None
    symbol_column: str | None = None
    format: str | None = None
    delimiter: str | None = None
    header: bool = True
    skip_bad: bool = False
    reverse: bool | None = None
    mixed: bool = False

    def wanted(self) -> Wanted:
        """Return what readers have to know."""
        return Wanted(
            self.column, self.symbol_column, self.delimiter, self.header, self.reverse, self.mixed
        )  # fmt: skip

    def identity(self, target: str) -> dict[str, object]:
        """Return what makes this import the same as an earlier one: where which points go in which order."""
        paths = [file if file == "-" else str(Path(file).resolve()) for file in self.files]
        return {
            "target": target, "files": paths, "symbol": self.symbol, "column": self.column,
            "symbol_column": self.symbol_column, "format": self.format, "delimiter": self.delimiter,
            "header": self.header,
            # Named only where they matter, so that an import of an earlier release can be resumed.
            **({"reverse": True} if self.reverse else {}), **({"mixed": True} if self.mixed else {}),
        }  # fmt: skip


@dataclass(slots=True)
class Progress:
    """How far an import is. done: from 0 to 1, None where nobody knows.

    rows: read. stored: points appended. found: points that an earlier run had stored. skipped: bad rows. others: rows
    of other symbols. first_skipped: what was wrong with the first of them.
    """

    file: str = ""
    done: float | None = None
    rows: int = 0
    stored: int = 0
    found: int = 0
    skipped: int = 0
    others: int = 0
    first_skipped: str | None = None


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. complete: False if it was stopped. totals: the total of each series after it.

    seconds: until everything was stored and visible; sync_seconds: after that, until it was on the disk. already: an
    earlier run had finished it, and nothing was read.
    """

    complete: bool
    progress: Progress
    totals: dict[str, int]
    seconds: float
    sync_seconds: float
    already: bool = False


@dataclass(slots=True)
class _Series:
    """A series as the import meets it: what it held when this run began, and where the next point belongs."""

    start: int
    total: int
    place: int


def _ignore(_progress: Progress) -> None:
    pass


@dataclass(slots=True)
class _Import:
    """One run."""

    plan: Plan
    sink: Sink | None
    journal: Journal | None
    progress: Progress = field(default_factory=Progress)
    series: dict[str, _Series] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def take(self, rows: Rows, file: str, before: int) -> None:
        """Check rows of which `before` precede in `file`, and store what they hold. BadRow unless bad ones are skipped.

        Nothing of `rows` is stored if one of them is bad and that stops the import.
        """
        plan = self.plan
        if plan.symbol is not None and plan.symbol_column is None and rows.codes is not None:
            self._check_one(rows, file)
            rows.codes = None
        mine = rows.only(plan.symbol) if plan.symbol is not None and plan.symbol_column is not None else rows
        bad = mine.bad()
        if bad:
            first = BadRow(file, rows.row(bad[0].place, before), bad[0].found)
            if not plan.skip_bad:
                raise first
            self.progress.first_skipped = self.progress.first_skipped or str(first)
        good = mine.without(bad)
        parts = [(plan.symbol, good.values)] if plan.symbol is not None else list(good.by_symbol())
        self._meet([symbol for symbol, values in parts if len(values)])
        for symbol, values in parts:
            if len(values):
                self._store(symbol, values)
        self.progress.rows += rows.count
        self.progress.skipped += len(bad)
        self.progress.others += rows.count - len(bad) - len(good.values)

    def _check_one(self, rows: Rows, file: str) -> None:
        """Make sure that what goes to one series is of one symbol, whatever that is called; UnreadableFile."""
        self.seen |= rows.occurring()
        if len(self.seen) > 1:
            first, second = sorted(self.seen)[:2]
            raise UnreadableFile(
                f"{file}: has rows of several symbols, as {shown(first)} and {shown(second)}: --symbol-column gives "
                f"each its series, --where-symbol-column takes those of one, --mixed takes all of them into "
                f"{self.plan.symbol}"
            )

    def _meet(self, symbols: Iterable[str]) -> None:
        """Find out where series stand that were not met before, and keep it for a later run."""
        new = [symbol for symbol in symbols if symbol not in self.series]
        if not new:
            return
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
            self.series[symbol] = _Series(start, total, base)

    def _store(self, symbol: str, values: NDArray[np.float64]) -> None:
        """Give values to the store where they belong: those it has are compared, the others appended."""
        series = self.series[symbol]
        begin, end = series.place, series.place + len(values)
        # A run before this one may have cut its batches differently, or points of it may have gone to a cleanup.
        cuts = [cut for cut in (series.start, series.total) if begin < cut < end]
        for low, high in pairwise(sorted({begin, *cuts, end})):
            if high > series.start and self.sink:
                try:
                    self.sink.append(symbol, values[low - begin : high - begin], low)
                except OffsetConflict as error:
                    raise ImportConflict(self._conflict(symbol, low, str(error))) from error
        fresh = max(end - max(begin, series.total), 0)
        self.progress.stored += fresh
        self.progress.found += len(values) - fresh
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


def import_files(
    plan: Plan, sink: Sink | None, *, resume: bool = False, stop: Callable[[], bool] = never,
    tell: Callable[[Progress], None] = _ignore,
) -> ImportReport:  # fmt: skip
    """Import `plan.files`, one after the other, and return what was done; sink None: only read and check everything.

    resume: go on with an import that was cut off, or begin one; of one that was finished nothing is left to do, and
    ImportConflict if a file has changed since, or was read from a stream and can't be compared.
    Without it an import that was cut off is refused. stop: asked between batches, and while a service is
    waited for; when it is true the import ends there, whole batches stored. tell: called before each file and after
    each batch, always with the same object.

    BadRow, UnreadableFile, MissingPackage, ImportConflict, and what the sink raises. Then what was stored until there
    stays, in whole batches, and a later run may resume. When this returns everything stored is on the disk. Memory is
    bounded, whatever the size of the files.
    """
    if plan.symbol is not None:
        validate_symbol(plan.symbol)
    begin = perf_counter()
    sources = [Source(file) for file in plan.files]
    for source in sources:
        format_of(source.given, plan.format)
        source.check()
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(sink.journals, plan.identity(sink.name))) if sink else None
        if journal is not None and journal.totals is not None and resume:
            _check_unchanged(sources, journal.stamps)
            return ImportReport(True, Progress(done=1.0), journal.totals, perf_counter() - begin, 0.0, already=True)
        if journal is not None and journal.started and not resume:
            raise ImportConflict(
                f"an import of these files was cut off: --resume goes on with it; to import them once more from the "
                f"start, after what is stored, remove {journal.path}"
            )
        if journal is not None and not journal.started:
            journal.begin()
        run = _Import(plan, sink, journal)
        if sink:
            sink.stop = stop
        try:
            complete = _run(run, sources, stop, tell)
        finally:
            stored = perf_counter()
            if sink:
                sink.settle()
        synced = perf_counter()
        totals = run.totals()
        if journal is not None and complete:
            journal.finish(totals, [source.stamp for source in sources])
        return ImportReport(complete, run.progress, totals, stored - begin, synced - stored)


def _check_unchanged(sources: Sequence[Source], stamps: Sequence[list[int] | None]) -> None:
    """Raise ImportConflict unless the files are those of the import that was finished."""
    for source, stamp in zip(sources, stamps or [None] * len(sources), strict=True):
        if source.stamp is None or source.stamp != stamp:
            why = "can be read only once" if source.stamp is None else "has changed since"
            raise ImportConflict(
                f"an import of this was finished, and nothing shows that {source.name} is still what was imported: it "
                f"{why}. Without --resume all of it is imported, after what is stored"
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
            runs = read(source, run.plan.wanted(), run.plan.format)
            if run.plan.reverse:
                runs = _turned_round(runs, source)
            yield from runs
            source.check_whole()
            ended = True

        with closing(ahead(rows(), READ_AHEAD, stop, source.abandon)) as runs:
            for some in runs:
                if stop():
                    return False
                try:
                    run.take(some, source.name, before)
                except Interrupted:
                    return False
                before += some.count
                run.progress.done = share.done(source)
                tell(run.progress)
        if not ended or stop():
            return False
    run.progress.done = 1.0
    return True


def _turned_round(runs: Iterator[Rows], source: Source) -> Iterator[Rows]:
    """Yield the rows of a file from its end; UnreadableFile if there are more than MAX_REVERSED_ROWS."""
    kept: list[Rows] = []
    count = 0
    for rows in runs:
        kept.append(rows)
        count += rows.count
        if count > MAX_REVERSED_ROWS:
            raise UnreadableFile(
                f"{source.name}: has more than {MAX_REVERSED_ROWS} rows, the most that --reverse turns round: turn it "
                f"round before (as tac does), or split it"
            )
    while kept:
        rows = kept.pop().turned_round()
        rows.last = count
        yield rows


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
