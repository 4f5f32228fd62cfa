"""The options of `hft-mmap import`, in the groups in which its help lists them, and the plan that they make."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from hft_mmap.transfer import Plan

Command = TypeVar("Command", bound=Callable[..., Any])

# The names of hft_mmap.transfer, which costs half a second to import; a test compares them.
FORMATS = ("csv", "parquet", "arrow", "ndjson", "json", "xlsx", "npy", "npz", "f64")
PRESETS = ("lobster", "databento")
TIME_UNITS = ("s", "ms", "us", "ns")


def _once(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Return the value of an option; UsageError if there are several: none of them is dropped in silence."""
    if len(values) > 1:
        given = " and ".join(map(repr, values))
        raise click.BadParameter(f"is given {len(values)} times, as {given}; a command takes one", param=parameter)
    return values[0] if values else None


def _mark(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Return a mark, a tab also where it is written as most languages do."""
    given = _once(context, parameter, values)
    return "\t" if given == r"\t" else given


def _columns(
    _context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """Return the column of prices, or columns with the symbol that each of them goes to."""
    if len(values) < 2:  # noqa: PLR2004 - one is the column, and may have any name
        return (
            (values[0], ()) if values and "=" not in values[0] else (None, tuple(_pair(parameter, v) for v in values))
        )
    if any("=" not in value for value in values):
        given = " and ".join(map(repr, values))
        raise click.BadParameter(
            f"is given {len(values)} times, as {given}; of several columns each names its series, as bid=ES.bid",
            param=parameter,
        )
    return None, tuple(_pair(parameter, value) for value in values)


def _pair(parameter: click.Parameter, value: str) -> tuple[str, str]:
    """Return a column and its symbol."""
    column, _, symbol = value.rpartition("=")
    if not column or not symbol:
        raise click.BadParameter(f"{value!r} is no COLUMN=SYMBOL, as bid=ES.bid", param=parameter)
    return column, symbol


def _option(name: str, help_: str, **more: Any) -> Callable[[Command], Command]:  # noqa: ANN401 - click's own
    """Return an option that is given once at most."""
    return click.option(name, multiple=True, callback=more.pop("callback", _once), help=help_, **more)


_OPTIONS = (
    click.option(
        "--column", "columns", multiple=True, callback=_columns, metavar="COLUMN[=SYMBOL]",
        help='The column of prices, in place of "price" or the only one there is. With =SYMBOL it goes to that series, '
        "and no SYMBOL is given before the files; then it may be given several times.",
    ),
    _option("--symbol-column", "The column that names the series of each row; no SYMBOL is given then."),
    click.option(
        "--where-symbol-column", "where", multiple=True, callback=_once,
        help="Take only the rows that have SYMBOL in this column.",
    ),
    click.option("--mixed", is_flag=True, help="Take a file into SYMBOL though it names several symbols itself."),
    click.option(
        "--format", "format_", type=click.Choice(FORMATS), multiple=True, callback=_once,
        help="In place of what the suffix says.",
    ),
    _option("--delimiter", "What stands between the cells of a CSV, where its rows do not show it.", callback=_mark),
    click.option(
        "--header/--no-header", "header", default=None,
        help="The first row of a CSV has the names of its columns; or it is data, and they are called 1, 2, ...",
    ),
    click.option("--skip-rows", type=click.IntRange(min=0), default=0, help="Lines to leave out before the first row."),
    _option("--sheet", "The sheet of a workbook, where several have rows."),
    _option("--comment", "Leave out the lines that begin with this mark."),
    _option("--encoding", "Of text; UTF-8, and UTF-16 with a byte order mark, need not be said."),
    _option("--decimal", "The decimal mark of numbers, in formats with types also of those written as text.",
            type=click.Choice([".", ","])),
    _option("--thousands", "The mark between thousands: a comma, a point, a space or an apostrophe.",
            type=click.Choice([",", ".", " ", "'"])),
    click.option(
        "--reverse/--no-reverse", default=None,
        help="Each file has its newest row first, and is turned round; or take it as it is, whatever its times say.",
    ),
    click.option(
        "--by-time/--no-by-time", "by_time", default=None,
        help="Take files in the order of their first times; or as they are given, whatever their times say.",
    ),
    click.option("--max-price", type=float, help="A price above this is a bad row."),
    click.option(
        "--no-price", "no_price", multiple=True,
        help='A cell that says "no price", as null or 9999999999: such rows are left out. May be given several times.',
    ),
    click.option("--divide-by", type=float, help="Divide prices by this, as 10000 or 1e9 for those of a fixed scale."),
    _option("--preset", "What is known of a vendor's files: what stands for no price, and the scale.",
            type=click.Choice(PRESETS)),
    click.option(
        "--time-column", "time_columns", multiple=True,
        help="The column that says when each row is of, in place of the one that is found; twice, for a date and a "
        "time.",
    ),
    _option("--time-format", "How times are written, as %d.%m.%Y %H:%M:%S.%f, where their rows do not show it."),
    _option("--time-unit", "The unit of times that are numbers since 1970, where their magnitude does not show it.",
            type=click.Choice(TIME_UNITS)),
    _option("--tz", "The time zone of times that say none: UTC, -05:00, America/New_York."),
    _option("--date", "Times are seconds, or of --time-unit, since midnight of this day, as 2026-01-31."),
    click.option("--no-time", is_flag=True, help="Store prices without times."),
    _option("--size-column", "The column that says how much was traded, in place of the one that is found."),
    click.option("--no-size", is_flag=True, help="Store prices without sizes."),
    _option("--side-column", "The column that says who wanted the trade, a buyer (+) or a seller (-)."),
    click.option("--no-side", is_flag=True, help="Store sizes as they are, whatever a column says of their side."),
    click.option("--bought", multiple=True, help="A cell of the side that says bought, in place of the usual words."),
    click.option("--sold", multiple=True, help="A cell of the side that says sold, in place of the usual words."),
    click.option("--append-new", is_flag=True, help="Of files that have grown, take only what is new."),
    click.option("--skip-bad", is_flag=True, help="Count and skip rows that hold no price, in place of stopping."),
)  # fmt: skip


_EXCLUDE = {
    "no_time": ("time_columns", "time_format", "time_unit", "tz", "date"), "no_size": ("size_column", "side_column"),
    "no_side": ("side_column", "bought", "sold"),
}  # fmt: skip


def plan_options(command: Command) -> Command:
    """Give a command the options that say what is imported."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _check_places(symbol: str | None, files: tuple[str, ...]) -> None:
    """Make sure that the SYMBOL stands in front of the files where there is one; UsageError if it looks misplaced."""
    first = files[0]
    if symbol is None:
        if len(files) > 1 and not Path(first).exists() and not Path(first).suffix and first != "-":
            raise click.UsageError(f"the options name the series, so no SYMBOL is given: {first!r} is no file")
    elif Path(symbol).is_file() and first != "-" and not Path(first).exists() and not Path(first).suffix:
        raise click.UsageError(f"the SYMBOL comes first, then the files: {symbol!r} is a file, and {first!r} is none")


def _beside(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plan has to know of times and sizes; UsageError for what excludes each other, or is none."""
    from hft_mmap.transfer.clock import check_form
    from hft_mmap.transfer.zones import zone_of

    for refusal, options in _EXCLUDE.items():
        both = [option for option in options if given[option]]
        if given[refusal] and both:
            name = both[0].replace("_", "-").replace("time-columns", "time-column")
            raise click.UsageError(f"--{refusal.replace('_', '-')} and --{name} exclude each other")
    if given["time_format"] and given["time_unit"]:
        raise click.UsageError("--time-format is of texts, and --time-unit of numbers: give one")
    if given["time_format"] and given["date"]:
        raise click.UsageError("--time-format is of texts, and --date of numbers since midnight: give one")
    if len(given["time_columns"]) > 2:  # noqa: PLR2004 - a date and a time
        raise click.UsageError("--time-column is given twice at most, for a date and a time")
    try:
        if given["time_format"]:
            check_form(given["time_format"])
        if given["tz"]:
            zone_of(given["tz"])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    names = ("time_format", "time_unit", "tz", "size_column", "side_column", "time_columns", "bought", "sold")
    day = None if given["date"] is None else _day(given["date"])
    off = {name: not given[f"no_{name}"] for name in ("time", "size", "side")}
    return {name: given[name] for name in names} | off | {"day": day}


def _day(text: str) -> date:
    """Return a day as ISO 8601 has it; UsageError for what is none."""
    try:
        found = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        found = None
    if found is None or not 1678 <= found.year <= 2261:  # noqa: PLR2004 - what nanoseconds since 1970 hold
        raise click.UsageError(f"--date must be a day from 1678 to 2261, as 2026-01-31, not {text!r}")
    return found


def plan_of(arguments: tuple[str, ...], given: Mapping[str, Any]) -> "Plan":
    """Return what is to be imported; UsageError for options that exclude each other."""
    from hft_mmap.transfer import Plan

    column, columns = given["columns"]
    symbol_column, where, format_ = given["symbol_column"], given["where"], given["format_"]
    if symbol_column is not None and where is not None:
        raise click.UsageError("--symbol-column and --where-symbol-column exclude each other")
    if columns and (symbol_column is not None or where is not None):
        raise click.UsageError("--column COLUMN=SYMBOL names the series; --symbol-column and its like do too: give one")
    if given["decimal"] is not None and given["decimal"] == given["thousands"]:
        raise click.UsageError(f"--decimal and --thousands can't both be {given['decimal']!r}")
    if given["divide_by"] is not None and not 0 < given["divide_by"] < float("inf"):
        raise click.UsageError(f"--divide-by has to be above 0 and finite, not {given['divide_by']:g}")
    if given["max_price"] is not None and not given["max_price"] >= 0:
        raise click.UsageError(f"--max-price has to be at least 0, not {given['max_price']:g}")
    symbol, files = (None, arguments) if symbol_column is not None or columns else (arguments[0], arguments[1:])
    if not files:
        raise click.UsageError("name the SYMBOL, then at least one FILE")
    _check_places(symbol, files)
    if "-" in files and format_ is None:
        raise click.UsageError("standard input has no name that tells its format: give --format")
    return Plan(
        files, symbol, column, symbol_column or where, format_, given["delimiter"], given["header"],
        given["skip_bad"], given["reverse"], given["mixed"], columns, given["decimal"], given["thousands"],
        given["encoding"], given["skip_rows"], given["comment"], given["max_price"], given["no_price"],
        given["divide_by"], given["preset"], given["by_time"], given["append_new"],
        given["sheet"], **_beside(given),
    )  # fmt: skip
