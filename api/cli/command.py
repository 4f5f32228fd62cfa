"""The command `hft-mmap`.

    serve         start the service
    demo          start one that is fed from a replay of recorded prices, and show where to look
    check-config  print each setting and where it came from
    info          what a data directory holds
    stats         the statistics of one symbol (api/cli/questions.py)
    bars          open, high, low, close of every so many points (likewise)
    first         the first point that meets a price (likewise)
    quantile      exact quantiles (likewise)
    rank          how many points are below, at and above a price (likewise)
    asof          the newest point at or before an index (likewise)
    verify        read everything back and compare it with the sealed nodes
    repair        rebuild damaged nodes from the values
    summarise     make summaries of the path of what is stored (api/cli/summarising.py)
    token         make a token for a client
    snapshot      copy a data directory, also while a service writes to it
    symbols       what a data directory holds, filtered (api/cli/symbols.py)
    create        make a symbol with no points (likewise)
    remove        remove a symbol (likewise)
    rename        give a symbol another name (likewise)
    truncate      keep the newest points of a symbol only (likewise)
    restore       bring a symbol back from a snapshot (likewise)
    import        bring files into series (api/cli/transfer.py)
    export        write a series into a file (likewise)
    cluster       several machines: logs and replicas (api/cli/cluster.py)

All but `serve` read the files of the store themselves and ask no service; they may run beside one.
Exit codes: 0 fine, 1 faults found or the work could not be done, 2 wrong usage, 78 wrong settings.
"""

import dataclasses
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli import symbols
from api.cli.cluster import cluster_group
from api.cli.console import (
    CONFIG_OPTION,
    DATA_DIR_OPTION,
    EXIT_CONFIG,
    EXIT_FAULTS,
    HOST_OPTION,
    JSON_OPTION,
    PORT_OPTION,
    Failure,
    counted,
    load_settings,
    opened_store,
    print_json,
    print_table,
    print_whatever_comes,
    shown,
)
from api.cli.questions import (
    asof_command,
    bars_command,
    first_command,
    quantile_command,
    rank_command,
    stats_command,
)
from api.cli.summarising import summarise_command
from api.cli.transfer import export_command, import_command

# Imported by the commands that need it, when they run; see api/cli/console.py.
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from hft_mmap import RepairReport, VerifyReport

    Report = TypeVar("Report", VerifyReport, RepairReport)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="hft-mmap", message="%(prog)s %(version)s")
def main() -> None:
    """Keep prices per symbol, and answer min, max, last, average and variance of the newest 10 to 100,000,000.

    Each setting has its key in config.toml and its variable APP_SECTION__KEY; see check-config.
    """
    print_whatever_comes()


main.add_command(import_command)
main.add_command(export_command)
main.add_command(stats_command)
main.add_command(bars_command)
main.add_command(first_command)
main.add_command(quantile_command)
main.add_command(rank_command)
main.add_command(asof_command)
main.add_command(summarise_command)
main.add_command(cluster_group)
for _command in symbols.COMMANDS:
    main.add_command(_command)


@main.command(short_help="Start the service.")
@HOST_OPTION
@PORT_OPTION
@CONFIG_OPTION
@DATA_DIR_OPTION
def serve(config_path: Path | None, host: str | None, port: int | None, data_dir: Path | None) -> None:
    """Start the service; SIGTERM or Ctrl+C stops it once the requests in flight are answered.

    \b
    Examples:
      hft-mmap serve
      hft-mmap serve --port 9000 --data-dir /tmp/prices
      APP_LOG__LEVEL=debug hft-mmap serve --config /etc/hft-mmap/config.toml
    """
    gc.disable()  # PERF: imports leave no garbage, looking for it takes 15 % of the start; api.server enables it again
    try:
        effective = load_settings(config_path, _given(host, port, data_dir))
        from api.server import serve as run

        code = run(effective)
    finally:
        gc.enable()
    sys.exit(code)


@main.command(short_help="Start a service that is fed from a replay of recorded prices.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Data directory, in place of one that is removed.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port, in place of 8080 or any free one.")
@click.option("--history", type=click.IntRange(0, 100_000_000), default=5_000_000, show_default=True, help="Points.")
@click.option("--rate", type=click.IntRange(0, 100_000), default=200, show_default=True, help="Points a second.")
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the points between two recorded prices."
)
def demo(data_dir: Path | None, port: int | None, history: int, rate: int, seed: int) -> None:
    """Start a service on 127.0.0.1 with a few symbols: a history to look through, and prices that keep coming.

    The prices are a replay: daily closes of four stocks, 2000 to 2013, with a random walk from each to the next. Open
    the address that is printed; Ctrl+C stops it and removes the data, unless --data-dir says where to keep it. Reads no
    settings.

    \b
    Examples:
      hft-mmap demo
      hft-mmap demo --history 100000000 --port 9000 --data-dir /tmp/demo
    """
    from tempfile import TemporaryDirectory

    from api.cli.demo import run
    from hft_mmap import HftMmapError

    try:
        with TemporaryDirectory(prefix="hft-mmap-demo-") as directory:
            own = Path(directory)
            sys.exit(run(data_dir or own / "data", own, port, history, rate, seed))
    except (HftMmapError, OSError) as error:
        raise Failure((str(error),), EXIT_FAULTS) from None


@main.command("check-config", short_help="Print each setting and where it came from.")
@HOST_OPTION
@PORT_OPTION
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def check_config(
    config_path: Path | None, host: str | None, port: int | None, data_dir: Path | None, as_json: bool
) -> None:  # fmt: skip
    """Print each setting and where it came from, or everything that is wrong with the settings (exit code 78).

    Looks at all that serve looks at, with the rights of the user who asks, and changes nothing: tokens, certificate and
    key (those not that systemd would hand over), the address, who could reach it, the data directory, the log file. Not
    whether the port is free: a running service has it.

    \b
    Examples:
      hft-mmap check-config
      APP_LOG__LEVEL=debug hft-mmap check-config --json
    """
    from api.cli.checking import faults
    from api.operation.capacity import shortages

    effective = load_settings(config_path, _given(host, port, data_dir))
    if found := faults(effective.settings):
        raise Failure(tuple(found), EXIT_CONFIG)
    items = [{"key": key, "value": value, "origin": origin} for key, value, origin in effective.items()]
    short = shortages(effective.settings.store.limits())
    if as_json:
        print_json({"settings": items, "warnings": short})
    else:
        print_table([[str(item["key"]), shown(item["value"]), str(item["origin"])] for item in items])
        for warning in short:
            click.echo(f"warning: {warning}", err=True)


@main.command(short_help="List the symbols of a data directory, and what does not serve.")
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def info(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Print the symbols of a data directory, and whether each of them serves (exit code 1 if one does not).

    \b
    Examples:
      hft-mmap info
      hft-mmap info --data-dir /var/lib/hft-mmap --json
    """
    with opened_store(config_path, data_dir) as store:
        series = [dataclasses.asdict(entry) for entry in store.symbols()]
        reasons = [reason._asdict() for reason in store.reasons()]
        path = str(store.path)
    if as_json:
        print_json({"data_dir": path, "symbols": series, "reasons": reasons})
    else:
        columns = ["symbol", "total", "start", "count", "last", "bytes"]
        click.echo(f"{path}: {counted(len(series), 'symbol')}")
        print_table([columns, *([shown(entry[column]) for column in columns] for entry in series)])
        for reason in reasons:
            click.echo(f"{reason['symbol'] or path}: {reason['code']}: {reason['detail']}")
    if reasons:
        sys.exit(EXIT_FAULTS)


@main.command(short_help="Read everything back and compare it with the sealed nodes.")
@click.argument("symbol", required=False)
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def verify(symbol: str | None, config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Read all points of SYMBOL (or of every symbol) back, and compare them with the sealed nodes.

    Exit code 1 if there is a fault. Reads everything: allow a second for some hundred million points, and the time that
    the disk takes.

    \b
    Examples:
      hft-mmap verify
      hft-mmap verify ABC-USD --json
    """
    with opened_store(config_path, data_dir) as store:
        reports = sorted(store.verify(symbol))
    faulty = any(report.faults for report in reports)
    _print_reports(reports, _verified, ok=not faulty, as_json=as_json)


@main.command(short_help="Rebuild damaged nodes from the values.")
@click.argument("symbol", required=False)
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def repair(symbol: str | None, config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Rebuild the nodes and seals of SYMBOL (or of every symbol) that differ from the values they summarise.

    Never changes a value. Exit code 1 if something is left that can't be rebuilt: a missing chunk, or values that
    do not fit their checksum. Restart a service that runs on the same data directory afterwards.

    \b
    Examples:
      hft-mmap repair
      hft-mmap repair ABC-USD --json
    """
    with opened_store(config_path, data_dir, mode="a") as store:
        reports = sorted(store.repair(symbol))
    broken = any(report.remaining for report in reports)
    _print_reports(reports, _repaired, ok=not broken, as_json=as_json)


@main.command(short_help="Copy a data directory, also while a service writes to it.")
@click.argument("directory", type=click.Path(path_type=Path))
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def snapshot(directory: Path, config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Copy every series as it stands now to DIRECTORY, which must be new or empty (exit code 1 if one can't be copied).

    Stops nobody. On the same file system full chunks are shared by hard link, so a copy takes next to no time and
    space. The copy is a data directory like any other: start a service on it, or verify it.

    \b
    Examples:
      hft-mmap snapshot /backup/2026-01-31
      hft-mmap verify --data-dir /backup/2026-01-31
    """
    with opened_store(config_path, data_dir) as store:
        totals = store.snapshot(directory)
        left_out = [reason._asdict() for reason in store.reasons() if reason.code == "set_aside"]
    if as_json:
        print_json({"directory": str(directory), "totals": totals, "left_out": left_out})
    else:
        click.echo(f"{directory}: {counted(len(totals), 'symbol')}")
        if totals:
            print_table([["symbol", "total"], *([symbol, str(total)] for symbol, total in totals.items())])
        for reason in left_out:
            click.echo(f"{reason['symbol']}: not copied: {reason['detail']}", err=True)
    if left_out:
        sys.exit(EXIT_FAULTS)


def _checked_scopes(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no scope of a token, as a fault of the command line."""
    from api.access.tokens import Token

    try:
        Token("", given, b"")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return given


@main.command(short_help="Make a token for a client, and append its hash to the tokens file.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    metavar="read|write|admin[:SYMBOLS]",
    multiple=True,
    required=True,
    callback=_checked_scopes,
    help="What it allows; give several for several. admin allows everything; read:ES.* the symbols that begin so.",
)
@click.option("--file", "path", type=click.Path(path_type=Path), help="Tokens file, in place of auth.tokens_file.")
@CONFIG_OPTION
@JSON_OPTION
def token(name: str, scopes: tuple[str, ...], path: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Make a token for the client NAME, append its hash to the tokens file, and print the token, this once.

    The file is made if it is missing. A running service takes the token after SIGHUP. To revoke a token remove
    its line from the file, and send SIGHUP.

    \b
    Examples:
      hft-mmap token feed-1 --scope write --file /etc/hft-mmap/tokens
      hft-mmap token dashboard --scope read
      hft-mmap token desk --scope read:ES.* --scope write:ES.signals
    """
    from api.access.secret_files import CredentialsError, resolve
    from api.access.tokens import add

    named = str(path) if path is not None else load_settings(config_path).settings.auth.tokens_file
    if not named:
        raise Failure(("auth.tokens_file is not set, so name the file: --file tokens",), EXIT_FAULTS)
    try:
        path = resolve(named, "auth.tokens_file")
        made = add(path, name, scopes)
    except CredentialsError as error:
        raise Failure((str(error),), EXIT_FAULTS) from None
    if as_json:
        print_json({"name": name, "scopes": scopes, "file": str(path), "token": made})
        return
    click.echo(made)
    click.echo(f"hft-mmap: {path} has its hash; the token itself is not shown again", err=True)


def _given(host: str | None, port: int | None, data_dir: Path | None) -> dict[str, object]:
    """Return what the options of serve and check-config say, by the keys of the settings."""
    path = None if data_dir is None else str(data_dir)
    return {"server.host": host, "server.port": port, "store.data_dir": path}


def _verified(report: "VerifyReport") -> list[str]:
    state = counted(len(report.faults), "fault") if report.faults else "ok"
    head = f"{report.symbol}: {state}, {report.points} points, {report.nodes} nodes"
    return [head, *(f"  {fault}" for fault in report.faults)]


def _repaired(report: "RepairReport") -> list[str]:
    head = f"{report.symbol}: {len(report.repaired)} repaired, {len(report.remaining)} left"
    repaired = (f"  repaired: {fault}" for fault in report.repaired)
    return [head, *repaired, *(f"  left: {fault}" for fault in report.remaining)]


def _print_reports(
    reports: "list[Report]", lines: "Callable[[Report], list[str]]", *, ok: bool, as_json: bool
) -> None:  # fmt: skip
    """Print a report for each series, as JSON or in lines; exit code 1 unless all is well."""
    if as_json:
        print_json({"ok": ok, "series": [report._asdict() for report in reports]})
    else:
        for report in reports:
            click.echo("\n".join(lines(report)))
    if not ok:
        sys.exit(EXIT_FAULTS)


if __name__ == "__main__":
    main()
