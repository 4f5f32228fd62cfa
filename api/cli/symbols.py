"""The commands for the life of a symbol: symbols, create, remove, rename, truncate, restore.

They work on the files of the store themselves, and ask no service; a service on the same data directory goes on.
"""

import dataclasses
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import click

from api.cli.console import (
    CONFIG_OPTION,
    DATA_DIR_OPTION,
    JSON_OPTION,
    counted,
    opened_store,
    print_json,
    print_table,
    shown,
)
from api.cli.questions import TIME

_COLUMNS = ("symbol", "total", "start", "count", "last", "bytes")
_MEASURED = ("rate", "change")
_ORDERS = ("symbol", "total", "count", "last", "bytes", "age", *_MEASURED)


@click.command("symbols", short_help="List the symbols of a data directory.")
@click.option("--prefix", default="", help="Only symbols that begin with this.")
@click.option("--after", help="Only symbols that come after this one.")
@click.option("--search", default="", help="Only symbols that have this in their name, in any case.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the first in the order that is asked for.")
@click.option(
    "--sort", "key", type=click.Choice(_ORDERS), default="symbol",
    help="Order by this, the greatest first; by name from A to Z, by age the newest first.",
)  # fmt: skip
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option(
    "--over", "over_s", type=click.FloatRange(min=0.1, max=3600), default=1.0, show_default=True,
    help="Seconds over which rate (points a second) and change (of the price, in percent) are measured.",
)  # fmt: skip
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def symbols_command(  # noqa: PLR0913 - each is an option
    *, prefix: str, after: str | None, search: str, limit: int | None, key: str, over_s: float,
    config_path: Path | None, data_dir: Path | None, reverse: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print what is stored for each symbol, in the order of their names or another. The JSON is that of GET /symbols.

    \b
    Examples:
      hft-mmap symbols
      hft-mmap symbols --prefix ES. --json
      hft-mmap symbols --sort age --limit 10
      hft-mmap symbols --sort rate --over 5 --limit 20
    """
    wanted = search.lower()
    where = (lambda symbol: wanted in symbol.lower()) if search else None
    first = limit if key == "symbol" and not reverse else None
    with opened_store(config_path, data_dir) as store:
        found = [
            dataclasses.asdict(info) for info in store.symbols(prefix=prefix, after=after, limit=first, where=where)
        ]
        if key in _MEASURED:
            before, begin_s = {row["symbol"]: row for row in found}, monotonic()
            sleep(over_s)
            found = [dataclasses.asdict(info) for info in store.symbols(prefix=prefix, after=after, where=where)]
            for row in found:
                row.update(_measured(before.get(row["symbol"]), row, monotonic() - begin_s))
    found = _ordered(found, key, reverse=reverse)[:limit]
    if as_json:
        print_json({"symbols": found})
    else:
        columns = [*_COLUMNS, *((key,) if key in _MEASURED else ())]
        print_table([columns, *([shown(row[column]) for column in columns] for row in found)])


def _measured(before: dict[str, Any] | None, row: dict[str, Any], seconds: float) -> dict[str, float | None]:
    """Return rate and change of a symbol between two rows of it; None where it was not there before."""
    if before is None or before["total"] > row["total"]:
        return dict.fromkeys(_MEASURED)
    change = 100 * (row["last"] / before["last"] - 1) if before["last"] and row["last"] is not None else None
    return {
        "rate": round((row["total"] - before["total"]) / seconds, 1),
        "change": None if change is None else round(change, 4),
    }


def _ordered(rows: list[dict[str, Any]], key: str, *, reverse: bool) -> list[dict[str, Any]]:
    """Return the rows in the order of `key`; those that have no value come last, either way."""
    field = "appended_at" if key == "age" else key
    known = [row for row in rows if row[field] is not None]
    known.sort(key=lambda row: row[field], reverse=(key != "symbol") is not reverse)
    return known + [row for row in rows if row[field] is None]


@click.command("create", short_help="Make a symbol that has no points yet.")
@click.argument("symbol")
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def create_command(symbol: str, config_path: Path | None, data_dir: Path | None, *, as_json: bool) -> None:
    """Make SYMBOL, where batches make none (store.create_on_append); nothing happens if it is there already.

    \b
    Example:
      hft-mmap create ABC-USD
    """
    with opened_store(config_path, data_dir, mode="a", creating=True) as store:
        created = store.create(symbol)
    if as_json:
        print_json({"symbol": symbol, "created": created})
    else:
        click.echo(f"{symbol}: {'created' if created else 'was there already'}")


@click.command("remove", short_help="Remove a symbol and all its points, for good.")
@click.argument("symbol")
@click.option("--yes", is_flag=True, help="Do not ask.")
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def remove_command(
    symbol: str, config_path: Path | None, data_dir: Path | None, *, yes: bool, as_json: bool
) -> None:  # fmt: skip
    """Remove SYMBOL and all its points, for good. Asks first; a running service finds it no more, at once.

    \b
    Examples:
      hft-mmap remove ABC-UDS
      hft-mmap remove ABC-UDS --yes
    """
    if not yes:
        click.confirm(f"Remove {symbol} and all its points, for good?", abort=True, err=True)
    with opened_store(config_path, data_dir, mode="a") as store:
        store.remove(symbol)
    if as_json:
        print_json({"symbol": symbol, "removed": True})
    else:
        click.echo(f"{symbol}: removed")


@click.command("rename", short_help="Give a symbol another name.")
@click.argument("old")
@click.argument("new")
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def rename_command(old: str, new: str, config_path: Path | None, data_dir: Path | None, *, as_json: bool) -> None:
    """Give the symbol OLD the name NEW, which no symbol may have (exit code 1).

    A running service has the points under the new name at once, and nothing under the old one.

    \b
    Example:
      hft-mmap rename ABC-UDS ABC-USD
    """
    with opened_store(config_path, data_dir, mode="a") as store:
        total = store.rename(old, new)
    if as_json:
        print_json({"symbol": new, "total": total})
    else:
        click.echo(f"{old}: is {new} now, with total {total}")


@click.command("truncate", short_help="Let go of all but the newest points of a symbol.")
@click.argument("symbol")
@click.option("--keep", type=click.IntRange(min=1), help="How many points remain.")
@click.option("--before", type=TIME, help="The points before this time go; those of it, and later, remain.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def truncate_command(  # noqa: PLR0913 - each is an option
    symbol: str, keep: int | None, before: str | None, config_path: Path | None, data_dir: Path | None, *, yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Let go of all but the newest points of SYMBOL, for good. Asks first. Its total stays, as after a cleanup.

    \b
    Examples:
      hft-mmap truncate ABC-USD --keep 1000000
      hft-mmap truncate ABC-USD --before 2026-01-01T00:00:00Z
    """
    if (keep is None) == (before is None):
        message = "Give either --keep, a number of points, or --before, a time."
        raise click.UsageError(message)
    if not yes:
        gone = (
            f"the points of {symbol} before {before}"
            if keep is None
            else f"all but the newest {keep:,} points of {symbol}"
        )
        click.confirm(f"Remove {gone}, for good?", abort=True, err=True)
    with opened_store(config_path, data_dir, mode="a") as store:
        removed = store.truncate(symbol, keep=keep, before=before)
    if as_json:
        print_json({"symbol": symbol, "removed": removed})
    else:
        click.echo(f"{symbol}: {counted(removed, 'point')} removed")


@click.command("restore", short_help="Bring a symbol back from a snapshot.")
@click.argument("symbol")
@click.option(
    "--from", "snapshot", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True,
    help="Directory that hft-mmap snapshot has made.",
)  # fmt: skip
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def restore_command(
    symbol: str, snapshot: Path, config_path: Path | None, data_dir: Path | None, *, as_json: bool
) -> None:  # fmt: skip
    """Bring SYMBOL back as it is in a snapshot. It may not exist: remove or rename it first (exit code 1).

    \b
    Example:
      hft-mmap restore ABC-USD --from /backup/2026-01-31
    """
    with opened_store(config_path, data_dir, mode="a", creating=True) as store:
        total = store.restore(snapshot, symbol)
    if as_json:
        print_json({"symbol": symbol, "total": total})
    else:
        click.echo(f"{symbol}: restored, with total {total}")


COMMANDS = (symbols_command, create_command, remove_command, rename_command, truncate_command, restore_command)
