"""The look at files before anything of them is stored: of each alone, and of their order among each other."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise

from hft_mmap.transfer.errors import BadRow
from hft_mmap.transfer.found import sources as sources_of
from hft_mmap.transfer.look import Choice, Doubt, Doubtful, Look
from hft_mmap.transfer.order import Times, written
from hft_mmap.transfer.plan import Plan, Prices
from hft_mmap.transfer.readers import read
from hft_mmap.transfer.rows import Rows, shown
from hft_mmap.transfer.source import Source

SHOWN_POINTS = 5


def looked_at(plan: Plan, sources: Sequence[Source]) -> Sequence[Source]:
    """Look at each file that can be read again, so that a doubt about the last one is met before the first is stored.

    UnreadableFile, Doubtful. What comes once only is looked at when it is read.
    """
    for source in sources:
        if source.can_be_read_again:
            with closing(read(source, plan.wanted())) as runs:  # type: ignore[type-var] # generators
                next(runs, None)
            Prices(plan, source.look)
    check_one_symbol(plan, sources)
    return sources


def in_order(plan: Plan, sources: Sequence[Source]) -> list[Source]:
    """Return files in the order in which they are taken; Doubtful where their times show that it is not theirs.

    Compared are the first times of files that go to the same series.
    """
    files = list(sources)
    if plan.by_time is False:
        return files
    groups: dict[object, list[int]] = {}
    for place, source in enumerate(files):
        look = source.look
        if look.first_time is not None:
            target = look.symbols[0] if look.symbols else plan.symbol
            groups.setdefault((target, tuple(look.times)), []).append(place)
    for places in groups.values():
        times: list[object] = [files[place].look.first_time for place in places]
        style = written(times, all_of_them=True)
        order = style.sorts(times)
        if order is None:
            continue
        if order != list(range(len(times))):
            if plan.by_time is None:
                after = next(place for place, sorted_place in enumerate(order) if place != sorted_place)
                first, later = files[places[after]], files[places[order[after]]]
                raise Doubtful(later.name, [_disorder(first, later)])
            moved = [files[places[place]] for place in order]
            for place, source in zip(places, moved, strict=True):
                files[place] = source
        _check_apart([files[place] for place in places], style)
    return files


def mixture(plan: Plan, symbols: Collection[str]) -> str:
    """Return what a message says of files that have several symbols, where one series is to take all of them."""
    first, second = sorted(symbols)[:2]
    ways = "--symbol-column gives each its series, --where-symbol-column takes those of one"
    whither = f"into {plan.symbol}"
    if plan.columns:
        ways = "--symbol-column with one --column gives each its series"
        whither = "as they are"
    return (
        f"has rows of several symbols, as {shown(first)} and {shown(second)}: {ways}, --mixed takes all of them "
        f"{whither}"
    )


def check_one_symbol(plan: Plan, sources: Iterable[Source]) -> None:
    """Make sure that files which go to one series name one symbol, by their first rows and folders; Doubtful."""
    if not plan.wanted().watches:
        return
    seen: set[str] = set()
    columns: set[str | None] = set()
    for source in sources:
        look = source.look
        seen |= {*look.symbols} - {""}
        columns |= {look.symbol} if look.symbols else set()
        if len(seen) > 1:
            raise Doubtful(look.file, [Doubt(mixture(plan, seen), tuple(_of_mixture(plan, columns)))])


def _of_mixture(plan: Plan, columns: Collection[str | None]) -> Iterator[Choice]:
    """Yield the answers that are options alone: a folder's symbol, and several columns, need more to be said."""
    if len(columns) == 1 and None not in columns and not plan.columns:
        (name,) = columns
        yield Choice(
            f"--symbol-column {shown(str(name))}", "each to its series", "symbol_column", name, (("symbol", None),)
        )
        yield Choice(
            f"--where-symbol-column {shown(str(name))}", f"those of {plan.symbol} alone", "symbol_column", name
        )
    yield Choice("--mixed", "all of them as they are", "mixed", True)


def _check_apart(files: Sequence[Source], style: Times) -> None:
    """Make sure that no file begins before the first rows of the one in front of it end; Doubtful."""
    for one, following in pairwise(files):
        times = [one.look.ends, following.look.begins]
        if style.falls(times):
            raise Doubtful(
                following.name,
                [
                    Doubt(
                        f"begins at {shown(str(times[1]))}, where {one.name} before it goes on to "
                        f"{shown(str(times[0]))} at least: they are of several symbols, or have the same rows; "
                        f"--no-by-time takes them as they are given, one behind the other",
                        (Choice("--no-by-time", "as they are given", "by_time", False),),
                    )
                ],
            )


def _disorder(first: Source, later: Source) -> Doubt:
    """Return the doubt about two files, of which the one that begins later comes first."""
    return Doubt(
        f"begins at {shown(str(later.look.first_time))}, and comes behind {first.name}, which begins at "
        f"{shown(str(first.look.first_time))}: --by-time takes the files in the order of their times, --no-by-time as "
        f"they are given",
        (
            Choice("--by-time", "in the order of their times", "by_time", True),
            Choice("--no-by-time", "as they are given", "by_time", False),
        ),
    )


@dataclass(slots=True)
class Preview:
    """What an import would make of one file. points: the first that it would store, each with its row and symbol.

    beside: time and size of each, None where there is none. Rows count from 1. fault: the first row that is none,
    as far as the first rows were read.
    """

    look: Look
    points: list[tuple[int, str, float]] = field(default_factory=list)
    beside: list[tuple[int | None, float | None]] = field(default_factory=list)
    fault: str | None = None


def preview(plan: Plan, *, max_points: int = SHOWN_POINTS, signed: bool = False) -> list[Preview]:
    """Look at every file of a plan, and return what an import would make of it, in its order. Nothing is stored.

    What is not certain is in `look.doubts`. signed: the store takes negative prices. UnreadableFile for what can't be
    read at all.
    """
    sources = sources_of(plan.files, plan.format)
    previews = [_of_one(plan, source, max_points, signed=signed) for source in sources]
    try:
        check_one_symbol(plan, sources)
        ordered = in_order(plan, sources)
    except Doubtful as doubtful:
        for source, found in zip(sources, previews, strict=True):
            if source.name == doubtful.file:
                found.look.doubts += doubtful.doubts
        return previews
    place = {id(source): found for source, found in zip(sources, previews, strict=True)}
    return [place[id(source)] for source in ordered]


def _of_one(plan: Plan, source: Source, max_points: int, *, signed: bool) -> Preview:
    """Return what an import would make of one file."""
    try:
        with closing(read(source, plan.wanted())) as runs:  # type: ignore[type-var] # generators
            first = next((rows for rows in runs if rows.count), Rows.none())
    except Doubtful:
        return Preview(source.look)
    found = Preview(source.look)
    prices = Prices(plan, source.look)
    mine = first.only(plan.symbol) if plan.symbol is not None and plan.symbol_column is not None else first
    gone = mine.absent(prices.absent, prices.texts, nan=prices.nan_is_absent) if prices.texts else None
    mine = mine.with_prices(gone, prices.divide_by)
    bad = mine.bad(prices.most, signed=signed)
    if bad:
        found.fault = str(BadRow(source.name, first.row(bad[0].place, 0), bad[0].found))
    good = mine.without(bad)
    for index in range(min(max_points, len(good.values))):
        symbol = plan.symbol if plan.symbol is not None or good.codes is None else good.names[good.codes[index]]
        found.points.append((first.row(good.place(index), 0), symbol or "", float(good.values[index])))
        found.beside.append(
            (
                None if good.times is None else int(good.times[index]),
                None if good.sizes is None else float(good.sizes[index]),
            )
        )
    return found
