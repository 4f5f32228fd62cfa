"""The command `hft-mmap`.

    serve         start the service
    check-config  print each setting and where it came from
    info          what a data directory holds
    stats         the statistics of one symbol
    verify        read everything back and compare it with the sealed nodes
    repair        rebuild damaged nodes from the values
    snapshot      copy a data directory, also while a service writes to it

All but `serve` read the files of the store themselves and ask no service; they may run beside one.
Exit codes: 0 fine, 1 faults found or the work could not be done, 2 wrong usage, 78 wrong settings.
"""

import dataclasses
import gc
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

# The store (numba) and the service (falcon, uvicorn) take half a second to import, so each command imports what it
# needs when it runs: `--help` answers at once.
if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.settings import Effective
    from hft_mmap import Store, WindowStats

EXIT_FAULTS = 1
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h; systemd need not restart what will fail again

_CONFIG_OPTION = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Settings file, in place of config.toml in the working directory.",
)
_DATA_DIR_OPTION = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Data directory, in place of the one in the settings."
)
_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Failure(click.ClickException):
    """One line on standard error for each thing that is wrong, and the exit code."""

    def __init__(self, lines: tuple[str, ...], exit_code: int) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines
        self.__dict__["exit_code"] = exit_code  # click declares a class variable and reads it from the instance

    def show(self, file: Any = None) -> None:  # noqa: ANN401 - click's signature
        """Print the lines, each with the name of the command."""
        for line in self.lines:
            click.echo(f"hft-mmap: {line}", file=file, err=file is None)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="hft-mmap", message="%(prog)s %(version)s")
def main() -> None:
    """Keep prices per symbol, and answer min, max, last, average and variance of the newest 10 to 100,000,000.

    Each setting has its key in config.toml and its variable APP_SECTION__KEY; see check-config.
    """


@main.command(short_help="Start the service.")
@_CONFIG_OPTION
def serve(config_path: Path | None) -> None:
    """Start the service; SIGTERM or Ctrl+C stops it once the requests in flight are answered.

    \b
    Examples:
      hft-mmap serve
      APP_SERVER__PORT=9000 hft-mmap serve --config /etc/hft-mmap/config.toml
    """
    gc.disable()  # PERF: imports leave no garbage, looking for it takes 15 % of the start; api.server enables it again
    try:
        effective = _load(config_path)
        from api.server import serve as run

        code = run(effective)
    finally:
        gc.enable()
    sys.exit(code)


@main.command("check-config", short_help="Print each setting and where it came from.")
@_CONFIG_OPTION
@_JSON_OPTION
def check_config(config_path: Path | None, as_json: bool) -> None:
    """Print each setting and where it came from, or everything that is wrong with the settings (exit code 78).

    \b
    Examples:
      hft-mmap check-config
      APP_LOG__LEVEL=debug hft-mmap check-config --json
    """
    items = [{"key": key, "value": value, "origin": origin} for key, value, origin in _load(config_path).items()]
    if as_json:
        _print_json({"settings": items})
    else:
        _print_table([[str(item["key"]), _shown(item["value"]), str(item["origin"])] for item in items])


@main.command(short_help="List the symbols of a data directory, and what does not serve.")
@_CONFIG_OPTION
@_DATA_DIR_OPTION
@_JSON_OPTION
def info(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Print the symbols of a data directory, and whether each of them serves (exit code 1 if one does not).

    \b
    Examples:
      hft-mmap info
      hft-mmap info --data-dir /var/lib/hft-mmap --json
    """
    with _store(config_path, data_dir) as store:
        series = [dataclasses.asdict(entry) for entry in store.symbols()]
        reasons = [reason._asdict() for reason in store.reasons()]
        path = str(store.path)
    if as_json:
        _print_json({"data_dir": path, "symbols": series, "reasons": reasons})
    else:
        columns = ["symbol", "total", "start", "count", "last", "bytes"]
        click.echo(f"{path}: {_counted(len(series), 'symbol')}")
        _print_table([columns, *([_shown(entry[column]) for column in columns] for entry in series)])
        for reason in reasons:
            click.echo(f"{reason['symbol'] or path}: {reason['code']}: {reason['detail']}")
    if reasons:
        sys.exit(EXIT_FAULTS)


@main.command(short_help="Print the statistics of one symbol.")
@click.argument("symbol")
@click.option("--window", type=click.IntRange(min=1), help="One window of this many points, in place of the eight.")
@_CONFIG_OPTION
@_DATA_DIR_OPTION
@_JSON_OPTION
def stats(
    symbol: str,
    window: int | None,
    config_path: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Print the statistics of SYMBOL over its newest 10, 100, ... 100,000,000 points.

    The JSON is what GET /stats/?symbol=SYMBOL answers.

    \b
    Examples:
      hft-mmap stats ABC-USD
      hft-mmap stats ABC-USD --window 12345 --json
    """
    with _store(config_path, data_dir) as store:
        if window is not None:
            found = {window: store.stats(symbol, window)}
            answer: dict[str, object] = dict(_fields(found[window]))
        else:
            start, total, windows = store.series(symbol).windows_at()
            found = {10**exponent: one for exponent, one in enumerate(windows, start=1)}
            by_exponent = {str(exponent): _fields(one) for exponent, one in enumerate(windows, start=1)}
            answer = {"symbol": symbol, "total": total, "count": total - start, "windows": by_exponent}
    if as_json:
        _print_json(answer)
        return
    rows = [[f"{size:,}", *map(_shown, _fields(one).values()), f"{one.points:,}"] for size, one in found.items()]
    _print_table([["window", "min", "max", "last", "avg", "var", "points"], *rows])


@main.command(short_help="Read everything back and compare it with the sealed nodes.")
@click.argument("symbol", required=False)
@_CONFIG_OPTION
@_DATA_DIR_OPTION
@_JSON_OPTION
def verify(symbol: str | None, config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Read all points of SYMBOL (or of every symbol) back, and compare them with the sealed nodes.

    Exit code 1 if there is a fault. Reads everything: allow a second for some hundred million points, and the time that
    the disk takes.

    \b
    Examples:
      hft-mmap verify
      hft-mmap verify ABC-USD --json
    """
    with _store(config_path, data_dir) as store:
        reports = sorted(store.verify(symbol))
    faulty = any(report.faults for report in reports)
    if as_json:
        _print_json({"ok": not faulty, "series": [report._asdict() for report in reports]})
    for report in () if as_json else reports:
        state = _counted(len(report.faults), "fault") if report.faults else "ok"
        click.echo(f"{report.symbol}: {state}, {report.points} points, {report.nodes} nodes")
        for fault in report.faults:
            click.echo(f"  {fault}")
    if faulty:
        sys.exit(EXIT_FAULTS)


@main.command(short_help="Rebuild damaged nodes from the values.")
@click.argument("symbol", required=False)
@_CONFIG_OPTION
@_DATA_DIR_OPTION
@_JSON_OPTION
def repair(symbol: str | None, config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Rebuild the nodes and seals of SYMBOL (or of every symbol) that differ from the values they summarise.

    Never changes a value. Exit code 1 if something is left that can't be rebuilt: a missing chunk, or values that
    do not fit their checksum. Restart a service that runs on the same data directory afterwards.

    \b
    Examples:
      hft-mmap repair
      hft-mmap repair ABC-USD --json
    """
    with _store(config_path, data_dir, mode="a") as store:
        reports = sorted(store.repair(symbol))
    broken = any(report.remaining for report in reports)
    if as_json:
        _print_json({"ok": not broken, "series": [report._asdict() for report in reports]})
    for report in () if as_json else reports:
        click.echo(f"{report.symbol}: {len(report.repaired)} repaired, {len(report.remaining)} left")
        for fault in report.repaired:
            click.echo(f"  repaired: {fault}")
        for fault in report.remaining:
            click.echo(f"  left: {fault}")
    if broken:
        sys.exit(EXIT_FAULTS)


@main.command(short_help="Copy a data directory, also while a service writes to it.")
@click.argument("directory", type=click.Path(path_type=Path))
@_CONFIG_OPTION
@_DATA_DIR_OPTION
@_JSON_OPTION
def snapshot(directory: Path, config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Copy every series as it stands now to DIRECTORY, which must be new or empty.

    Stops nobody. On the same file system full chunks are shared by hard link, so a copy takes next to no time and
    space. The copy is a data directory like any other: start a service on it, or verify it.

    \b
    Examples:
      hft-mmap snapshot /backup/2026-01-31
      hft-mmap verify --data-dir /backup/2026-01-31
    """
    with _store(config_path, data_dir) as store:
        totals = store.snapshot(directory)
    if as_json:
        _print_json({"directory": str(directory), "totals": totals})
        return
    click.echo(f"{directory}: {_counted(len(totals), 'symbol')}")
    if totals:
        _print_table([["symbol", "total"], *([symbol, str(total)] for symbol, total in totals.items())])


def _load(config_path: Path | None) -> "Effective":
    from api.settings import SettingsError, load

    try:
        return load(config_path)
    except SettingsError as error:
        raise Failure(error.faults, EXIT_CONFIG) from None


@contextmanager
def _store(config_path: Path | None, data_dir: Path | None, mode: Literal["a", "r"] = "r") -> "Iterator[Store]":
    """Yield the store of the settings (or of `data_dir`), which must exist; its errors are exit code 1."""
    path = data_dir or Path(_load(config_path).settings.store.data_dir)
    from hft_mmap import HftMmapError, Store

    try:
        if mode == "a":
            Store(path, mode="r").close()  # mode "a" would make a directory that is missing
        with Store(path, mode=mode) as store:
            yield store
    except (HftMmapError, OSError) as error:
        raise Failure((str(error),), EXIT_FAULTS) from None


def _fields(stats: "WindowStats") -> dict[str, float]:
    return {"min": stats.min, "max": stats.max, "last": stats.last, "avg": stats.avg, "var": stats.var}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown(value: object) -> str:
    return '""' if value == "" else "-" if value is None else str(value)


def _print_table(rows: list[list[str]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_json(value: object) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
