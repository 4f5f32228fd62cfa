"""The commands that bring files into series, and series into files."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.console import (
    CONFIG_OPTION,
    DATA_DIR_OPTION,
    EXIT_FAULTS,
    JSON_OPTION,
    Failure,
    counted,
    load_settings,
    opened_store,
    print_json,
    print_table,
)
from api.cli.import_options import plan_of, plan_options
from api.cli.looking import settled, show_preview
from api.cli.progress import shown_progress

if TYPE_CHECKING:
    from hft_mmap.transfer import ImportReport, Plan, Progress, Room, Sink

EXIT_INTERRUPTED = 130  # as shells count it: 128 + SIGINT

# The names of hft_mmap.transfer.exporting, which costs half a second to import; a test compares them.
EXPORT_FORMATS = ("csv", "parquet", "arrow", "npy", "npz", "f64")


def in_natural_order(files: tuple[str, ...]) -> tuple[str, ...]:
    """Return files that are in the order of a shell's pattern, part-10 before part-2, as people count; others stay."""
    if list(files) != sorted(files):
        return files
    from hft_mmap.transfer.found import in_natural_order as natural

    return tuple(natural(files))


@click.command("import", short_help="Bring files into series: CSV, Parquet, Arrow, JSON, xlsx, NumPy, raw float64.")
@click.argument("arguments", nargs=-1, required=True, metavar="[SYMBOL] FILE...")
@plan_options
@click.option("--resume", is_flag=True, help="Go on with an import that was cut off.")
@click.option("--preview", "only_look", is_flag=True, help="Say what would be made of each file, and store nothing.")
@click.option("--dry-run", is_flag=True, help="Read and check everything, store nothing.")
@click.option("--url", help="Send the points to the service at this address, in place of a data directory.")
@click.option("--ca", type=click.Path(), help="A PEM file with what signed the certificate of an https service.")
@click.option("--token", envvar="HFT_MMAP_TOKEN", help="What the service knows us by; better in $HFT_MMAP_TOKEN.")
@click.option(
    "--batch-values",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="Values in one request to the service (its server.max_batch_values).",
)
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def import_command(
    arguments: tuple[str, ...], resume: bool, only_look: bool, dry_run: bool, url: str | None, ca: str | None,
    token: str | None, batch_values: int, config_path: Path | None, data_dir: Path | None, as_json: bool,
    **given: object,
) -> None:  # fmt: skip
    """Append the prices in the FILEs to the series SYMBOL, in their order; "-" is standard input, with --format.

    A FILE may be a folder, a ZIP archive or a pattern. FILEs as a shell's pattern gives them are taken as people count
    them, part-2 before part-10.

    Each file is looked at before anything is stored: how it is written, which column is which, whether its newest row
    comes first. What is not certain is asked on a terminal, and refused elsewhere, with the option that decides it;
    --preview shows what was found. Times and sizes that are found are stored with the prices; a series that has been
    without them goes on so, and is told of.

    With --symbol-column no SYMBOL is given: each row goes to the series that it names. With --column COLUMN=SYMBOL each
    column goes to its own. A service may run on the data directory meanwhile. Each point is stored once: an import that
    was cut off, by whatever, goes on with --resume, and one that is complete is not repeated by it; where a file has
    changed since, or is standard input, it is refused. Of a file that has grown --append-new takes what is new. When
    the command ends, everything it stored is on the disk.

    A row that holds no price stops the import, in front of the batch that has it. Exit codes: 1 stopped by a fault,
    130 stopped by Ctrl+C; what was stored until then stays, in whole batches.

    \b
    Examples:
      hft-mmap import --preview ABC-USD eurusd.csv
      hft-mmap import ABC-USD 2026-01-*.csv.gz --column close
      hft-mmap import --symbol-column ticker --column close bars.parquet
      hft-mmap import --column bid=ES.bid --column ask=ES.ask quotes.csv
      hft-mmap import EURUSD ticks.csv --time-column when --tz America/New_York --size-column lots
      zcat ticks.gz | hft-mmap import ABC-USD - --format csv --resume
      hft-mmap import ABC-USD ticks.parquet --url http://127.0.0.1:8080
    """
    if url is not None and data_dir is not None:
        raise click.UsageError("--url and --data-dir exclude each other")
    if ca is not None and not (url or "").startswith("https:"):
        raise click.UsageError("--ca is for a service: it needs --url https://…")
    plan = plan_of(arguments, given)
    plan = replace(plan, files=in_natural_order(tuple(plan.files)))
    with ExitStack() as stack:
        told: list[Progress] = []
        stack.enter_context(_fault_as_exit_code(told))
        if only_look:
            show_preview(plan, as_json=as_json, signed=load_settings(config_path).settings.store.negative_prices)
            return
        plan = settled(plan)
        sink: Sink | None = None
        room: Room | None = None
        if url is not None and not dry_run:
            from hft_mmap.transfer import ServiceSink

            signed = load_settings(config_path).settings.store.negative_prices
            service = ServiceSink(url, token, ca=ca, batch_values=batch_values, negative_prices=signed)
            sink = stack.enter_context(closing(service))
        elif not dry_run:
            sink = stack.enter_context(_store_sink(config_path, data_dir))
        else:
            room = _room(config_path, data_dir, of_service=url is not None)
        report = _import(plan, sink, resume=resume, room=room, told=told)
    _print_import(report, as_json=as_json, dry_run=dry_run)
    if not report.complete:
        sys.exit(EXIT_INTERRUPTED)


@click.command("export", short_help="Write a series into a file: Parquet, CSV, Arrow, npz, npy, raw float64.")
@click.argument("symbol")
@click.argument("file", metavar="FILE|-")
@click.option("--last", type=click.IntRange(min=1), help="Only the newest so many points.")
@click.option("--format", "format_", type=click.Choice(EXPORT_FORMATS), help="In place of what the suffix says.")
@click.option("--prices-only", is_flag=True, help="Leave out times and sizes.")
@CONFIG_OPTION
@DATA_DIR_OPTION
@JSON_OPTION
def export_command(
    symbol: str, file: str, last: int | None, format_: str | None, prices_only: bool, config_path: Path | None,
    data_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write the points of SYMBOL, oldest first, into FILE, which is replaced if it exists; "-" is standard output.

    They are written with their times and sizes.

    What is no regular file, a pipe or a device, is written into; of a link the file that it leads to is replaced.

    The points are those of the moment when the command begins, also while a service appends. The file has its name
    only when it is complete and on the disk. What was exported and is imported again is the same, bit for bit.

    \b
    Examples:
      hft-mmap export ABC-USD abc-usd.parquet
      hft-mmap export ABC-USD newest.csv.gz --last 1000000
      hft-mmap export ABC-USD - --format f64 | sha256sum
    """
    from hft_mmap.transfer import export_span

    if file == "-" and format_ is None:
        raise click.UsageError("standard output has no name that tells its format: give --format")
    with opened_store(config_path, data_dir) as store, _interruptible():
        span = store.series(symbol).span(last=last)
        export_span(span, file, format_, prices_only=prices_only)
    between = file == "-" or _is_standard_output(file)
    if as_json:
        print_json({"symbol": symbol, "file": file, "first": span.first, "end": span.end}, err=between)
    elif file != "-":
        click.echo(f"{file}: {counted(len(span), 'point')} of {symbol}, from {span.first} to {span.end}", err=between)


def _is_standard_output(file: str) -> bool:
    """Return whether what the command says would get between the points that it writes."""
    try:
        return Path(file).samefile(f"/proc/self/fd/{sys.stdout.fileno()}")
    except (OSError, ValueError):
        return False


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have SIGTERM end the work as Ctrl+C does: in order, and with exit code 130."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _fault_as_exit_code(told: "list[Progress]") -> Iterator[None]:
    """End the command with exit code 1 where the work can't be done, and a line for what was stored until then.

    told: how far the import was.
    """
    from hft_mmap import HftMmapError
    from hft_mmap.transfer import BadRow

    try:
        yield
    except (HftMmapError, OSError) as error:
        stored = [counted(progress.stored, "point") for progress in told[-1:] if progress.stored]
        kept = [f"{points} stored before that stay; --resume goes on behind them" for points in stored]
        if isinstance(error, BadRow):
            kept.append("mend the file, or count and skip such rows with --skip-bad")
        where = getattr(error, "__notes__", ())  # the address of a service
        raise Failure((": ".join([*where, str(error)]), *kept), EXIT_FAULTS) from None


def _room(config_path: Path | None, data_dir: Path | None, *, of_service: bool) -> "Room":
    """Return which symbols the store of the settings (or at `data_dir`) has, and how many it may have.

    of_service: nobody knows that; the settings say what prices it takes.
    """
    settings = load_settings(config_path).settings.store
    from hft_mmap import Store
    from hft_mmap.transfer import Room

    if of_service:
        return Room(takes_negative=settings.negative_prices)
    path = data_dir or Path(settings.data_dir)
    room = Room(most=settings.limits().max_symbols, takes_negative=settings.negative_prices)
    if not path.is_dir():
        return room
    with Store(path, mode="r") as store:
        return room._replace(known=frozenset(store))


@contextmanager
def _store_sink(config_path: Path | None, data_dir: Path | None) -> "Iterator[Sink]":
    """Yield the store of the settings (or at `data_dir`), made if it is missing."""
    settings = load_settings(config_path).settings.store
    from hft_mmap import Durability, Store
    from hft_mmap.transfer import StoreSink

    # Tier `process`: a commit at each new chunk, and one at the end. Whatever is lost on the way is appended anew.
    with Store(
        data_dir or Path(settings.data_dir), limits=settings.limits(), durability=Durability.PROCESS
    ) as store:  # fmt: skip
        yield StoreSink(store)


def _import(
    plan: "Plan", sink: "Sink | None", *, resume: bool, room: "Room | None", told: "list[Progress]"
) -> "ImportReport":  # fmt: skip
    """Import until everything is, or until a signal; a second signal ends the process at once."""
    from hft_mmap.transfer import import_files

    stopped = False

    def stop(number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with shown_progress() as show:

            def tell(progress: "Progress") -> None:
                told[:] = [progress]
                show(progress)

            return import_files(plan, sink, resume=resume, stop=lambda: stopped, tell=tell, room=room)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_import(report: "ImportReport", *, as_json: bool, dry_run: bool) -> None:
    progress = report.progress
    if as_json:
        print_json(
            {
                "complete": report.complete, "dry_run": dry_run, "rows": progress.rows, "stored": progress.stored,
                "found": progress.found, "skipped": progress.skipped, "first_skipped": progress.first_skipped,
                "others": progress.others, "absent": progress.absent, "already": report.already,
                "columns": progress.columns, "late": progress.late, "latest_ns": progress.latest_ns,
                "left_out": progress.left_out,
                "seconds": round(report.seconds, 3), "sync_seconds": round(report.sync_seconds, 3),
                "totals": report.totals,
            }
        )  # fmt: skip
        return
    _print_progress(report, dry_run=dry_run)
    if report.totals:
        column = "points" if dry_run else "total"
        print_table([["symbol", column], *([symbol, str(total)] for symbol, total in report.totals.items())])
    if not report.complete:
        click.echo("hft-mmap: stopped; --resume goes on from here", err=True)


def _print_progress(report: "ImportReport", *, dry_run: bool) -> None:
    """Print what was read, and what became of it."""
    progress = report.progress
    if report.already:
        click.echo("Complete already: nothing was read, and nothing stored")
    beside = f" with {' and '.join(progress.columns)}" if progress.columns else ""
    notes = [f"{counted(progress.stored, 'point')}{beside} {'fine' if dry_run else 'stored'}"]
    if progress.late:
        notes.append(f"{progress.late} of them late, by {progress.latest_ns / 1e9:g} s at most")
    if progress.found:
        notes.append(f"{progress.found} were there already")
    if progress.others:
        notes.append(f"{counted(progress.others, 'row')} of other symbols")
    if progress.absent:
        notes.append(f"{counted(progress.absent, 'cell')} without a price")
    if progress.skipped:
        notes.append(f"{counted(progress.skipped, 'bad row')} skipped (the first: {progress.first_skipped})")
    if not report.already:
        click.echo(f"{counted(progress.rows, 'row')} read: {', '.join(notes)}")
    for symbol, left in sorted(progress.left_out.items()):
        what = " and ".join(left)
        click.echo(f"{symbol} has been without {what} since its first batch: {what} of the files were left out")
