"""The commands that ask a question of one series: stats, bars, first, quantile, rank, asof. They read the files."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.console import (
    CONFIG_OPTION,
    DATA_DIR_OPTION,
    EXIT_FAULTS,
    JSON_OPTION,
    Failure,
    opened_store,
    print_json,
    print_table,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hft_mmap import Store, WindowStats


class _Text(click.ParamType):  # type: ignore[type-arg] # some releases of click have none
    """What a query of the service takes as well: its text is read by the same words."""

    def __init__(self, name: str, read: "Callable[[str, str], int | str]") -> None:
        self.name = name
        self._read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return a number, or the text of a time; a refusal is one of click."""
        from api.http.problems import Refusal
        from hft_mmap import HftMmapError

        try:
            return self._read(param.opts[0].lstrip("-") if param else self.name, str(value))
        except Refusal as refusal:
            self.fail(refusal.detail, param, ctx)
        except HftMmapError as error:
            self.fail(str(error), param, ctx)


def _window(name: str, text: str) -> int | str:
    from api.http.query import parse_lasting

    return parse_lasting(name, text)


def _place(name: str, text: str) -> int | str:
    from api.http.query import parse_place

    return parse_place(name, text)


def _time(name: str, text: str) -> int | str:
    from api.http.query import parse_time

    return parse_time(name, text)


WINDOW, PLACE, TIME = _Text("window", _window), _Text("place", _place), _Text("time", _time)
FROM_OPTION = click.option("--from", "start", type=PLACE, help="Index of the first point, or a time.")
TO_OPTION = click.option("--to", "end", type=PLACE, help="Index after the last point, or a time.")
WINDOW_OPTION = click.option("--window", type=WINDOW, help="The newest so many points, or a time, as 5m.")


@click.command("stats", short_help="Print the statistics of one symbol.")
@click.argument("symbol")
@click.option("--window", type=WINDOW, help="One window, in place of the eight: points, or a time, as 5m.")
@click.option("--at", type=PLACE, help="Where the window ends: the index of a point, or a time.")
@FROM_OPTION
@TO_OPTION
@click.option("--stats", "names", help="Further statistics, with commas between: std,zscore,return,drawdown, ...")
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def stats_command(
    symbol: str, window: int | str | None, at: int | str | None, start: int | str | None, end: int | str | None,
    names: str | None, config_path: Path | None, data_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Print the statistics of SYMBOL over its newest 10, 100, ... 100,000,000 points, or over any other points.

    Where it has times, over those of the newest 1s, 5s, ... 1d as well.

    The JSON is what GET /stats/?symbol=SYMBOL answers. An unknown name in --stats is answered with all there are.

    \b
    Examples:
      hft-mmap stats ABC-USD
      hft-mmap stats ABC-USD --window 12345 --json
      hft-mmap stats ABC-USD --from 1000 --to 2000 --stats std,zscore
      hft-mmap stats ABC-USD --window 5m --stats vwap,volume
    """
    with opened_store(config_path, data_dir) as store:
        if names is None and at is start is end is None:
            _plain(store, symbol, window, as_json=as_json)
            return
        from api.http.query import parse_names
        from api.routes.named import NamedQuery, answer_one

        asked = NamedQuery((symbol,), parse_names(names), window, at, start, end)
        import orjson

        answer = orjson.loads(answer_one(store.series(symbol), asked))
    if as_json:
        print_json(answer)
    elif "windows" in answer:
        rows = [[f"{10 ** int(k):,}", *map(shown, one.values())] for k, one in answer["windows"].items()]
        rows += [[lasting, *map(shown, one.values())] for lasting, one in answer.get("by_time", {}).items()]
        print_table([["window", *answer["windows"]["1"]], *rows])
    else:
        print_table([list(answer), list(map(shown, answer.values()))])


def _plain(store: "Store", symbol: str, window: int | str | None, *, as_json: bool) -> None:
    """Print the five statistics of one window, or of all eight, and of the eight by time."""
    from api.routes.named import standard_times
    from hft_mmap import STANDARD_WINDOWS

    if window is not None:
        found: dict[int | str, WindowStats] = {window: store.stats(symbol, window)}
        answer: dict[str, object] = dict(_fields(found[window]))
    else:
        lasting = standard_times(store.series(symbol))
        start, total, windows = store.series(symbol).windows_at((*STANDARD_WINDOWS, *lasting))
        found = dict(zip((*STANDARD_WINDOWS, *lasting), windows, strict=True))
        fields = list(map(_fields, windows))
        by_exponent = {str(k): one for k, one in enumerate(fields[: len(STANDARD_WINDOWS)], start=1)}
        answer = {"symbol": symbol, "total": total, "count": total - start, "windows": by_exponent}
        if lasting:
            answer["by_time"] = dict(zip(lasting, fields[len(STANDARD_WINDOWS) :], strict=True))
    if as_json:
        print_json(answer)
        return
    rows = [
        [size if isinstance(size, str) else f"{size:,}", *map(shown, _fields(one).values()), f"{one.points:,}"]
        for size, one in found.items()
    ]
    print_table([["window", "min", "max", "last", "avg", "var", "points"], *rows])


def _fields(stats: "WindowStats") -> dict[str, float]:
    return {"min": stats.min, "max": stats.max, "last": stats.last, "avg": stats.avg, "var": stats.var}


@click.command("bars", short_help="Print open, high, low, close of every so many points, or minutes.")
@click.argument("symbol")
@click.argument("points", type=click.IntRange(min=1), required=False)
@click.option("--every", help="How long a bar lasts, as 1m, in place of POINTS.")
@click.option("--tz", help="With --every: time zone in whose midnight bars begin, as America/New_York.")
@click.option("--fill", default="none", help="With --every: none, null or previous; what is printed of empty bars.")
@FROM_OPTION
@TO_OPTION
@click.option("--stats", "names", help="Further columns, with commas between: range,zscore, ...")
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def bars_command(
    symbol: str, points: int | None, every: str | None, tz: str | None, fill: str, start: int | str | None,
    end: int | str | None, names: str | None, config_path: Path | None, data_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Print the bars of SYMBOL, of POINTS points each or of a time, oldest first; they begin at multiples of it.

    \b
    Examples:
      hft-mmap bars ABC-USD 100000
      hft-mmap bars ABC-USD 1000 --from 50000 --to 60000 --stats zscore --json
      hft-mmap bars ABC-USD --every 1m --from 2026-01-31T09:30:00Z --fill previous
    """
    if (points is None) == (every is None):
        message = "Give POINTS, how many points a bar has, or --every, how long it lasts, as 1m."
        raise click.UsageError(message)
    with opened_store(config_path, data_dir) as store:
        from api.http.query import parse_names
        from api.routes.bars import BAR, OF_SIZES
        from hft_mmap import candles
        from hft_mmap.answers import rows

        moment = store.series(symbol).moment()
        wanted = tuple(dict.fromkeys((*BAR, *(OF_SIZES if len(moment.view.sizes) else ()), *parse_names(names))))
        if points is None:
            cut = candles.cut_by_clock(moment, every, start, end, tz=tz, fill=fill)
        else:
            cut = candles.cut_by_points(moment, points, *candles.kept_of(moment, start, end))
        found = candles.folded(moment, cut, wanted)
        times = {"time": found["time"]} if "time" in found else {}
        columns = {**times, "index": found["start"], **{BAR.get(name, name): found[name] for name in wanted}}
        bars = rows(columns)
    if as_json:
        print_json({"symbol": symbol, **{name: [one[name] for one in bars] for name in columns}})
    else:
        print_table([list(columns), *(list(map(shown, one.values())) for one in bars)])


@click.command("first", short_help="Print the first point that meets a price.")
@click.argument("symbol")
@click.option("--after", type=click.IntRange(min=0), required=True, help="Index behind which to look.")
@click.option("--above", type=float, help="Met by a price at or above it.")
@click.option("--below", type=float, help="Met by a price at or below it.")
@click.option("--until", type=click.IntRange(min=0), help="Index before which to look.")
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def first_command(
    symbol: str, after: int, above: float | None, below: float | None, until: int | None, config_path: Path | None,
    data_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Print the first point of SYMBOL behind an index that is at or above, or at or below, a price.

    The JSON is what GET /first answers. Exit code 1 if no point met a price; it is 1 for an error as well.

    \b
    Examples:
      hft-mmap first ABC-USD --after 1000 --above 155 --below 145
    """
    with opened_store(config_path, data_dir) as store:
        found = store.first(symbol, after, above=above, below=below, until=until)
    index, value, which = (found.index, found.value, found.which) if found else (None, None, None)
    if as_json:
        print_json({"symbol": symbol, "index": index, "value": value, "which": which})
    elif found is not None:
        print_table([["index", "value", "which"], [shown(index), shown(value), shown(which)]])
    if found is None:
        raise Failure((f"no point of {symbol} behind {after} met a price",), EXIT_FAULTS)


@click.command("quantile", short_help="Print exact quantiles of one symbol.")
@click.argument("symbol")
@click.argument("shares", type=click.FloatRange(0, 1), nargs=-1, required=True)
@WINDOW_OPTION
@FROM_OPTION
@TO_OPTION
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def quantile_command(
    symbol: str, shares: tuple[float, ...], window: int | str | None, start: int | str | None, end: int | str | None,
    config_path: Path | None, data_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Print the price at each of SHARES, from 0 (the minimum) to 1 (the maximum): prices that were stored.

    The JSON is what GET /quantile answers.

    \b
    Examples:
      hft-mmap quantile ABC-USD 0.01 0.5 0.99
      hft-mmap quantile ABC-USD 0.5 --window 1000000 --json
    """
    with opened_store(config_path, data_dir) as store:
        found = store.quantile(symbol, shares, window=window, start=start, end=end)
    if as_json:
        print_json({"symbol": symbol, "q": shares, "value": found})
    else:
        print_table([["q", "value"], *([shown(q), shown(value)] for q, value in zip(shares, found, strict=True))])


@click.command("rank", short_help="Count the points below, at and above a price.")
@click.argument("symbol")
@click.argument("value", type=float)
@WINDOW_OPTION
@FROM_OPTION
@TO_OPTION
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def rank_command(
    symbol: str, value: float, window: int | str | None, start: int | str | None, end: int | str | None,
    config_path: Path | None, data_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Print how many points of SYMBOL are below the price VALUE, equal to it and above it.

    The JSON is what GET /rank answers.

    \b
    Examples:
      hft-mmap rank ABC-USD 151.25
      hft-mmap rank ABC-USD 151.25 --window 1000000 --json
    """
    with opened_store(config_path, data_dir) as store:
        found = store.rank(symbol, value, window=window, start=start, end=end)
    if as_json:
        print_json({"symbol": symbol, "value": value, **found._asdict()})
    else:
        print_table([list(found._fields), list(map(shown, found))])


@click.command("asof", short_help="Print the newest point at or before an index, or a time.")
@click.argument("symbol")
@click.argument("at", type=PLACE)
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def asof_command(symbol: str, at: int | str, config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Print the newest point of SYMBOL at or before AT: an index, a time such as 2026-01-31T09:30:00Z, or now.

    The JSON is what GET /asof answers.

    \b
    Examples:
      hft-mmap asof ABC-USD 1000
      hft-mmap asof ABC-USD 2026-01-31T09:30:00Z
    """
    with opened_store(config_path, data_dir) as store:
        found = store.asof(symbol, at)
    columns = {"index": found.index, "value": found.value, "time": found.time, "size": found.size}
    given = {name: value for name, value in columns.items() if value is not None}
    if as_json:
        print_json({"symbol": symbol, **given})
    else:
        print_table([list(given), list(map(shown, given.values()))])
