"""What the commands share: options, exit codes, how they find the store, how they print.

The store (numba) and the service (falcon, uvicorn) take half a second to import, so each command imports what it needs
when it runs: `--help` answers at once.
"""

import codecs
import io
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from api.operation.settings import Effective
    from hft_mmap import Store

EXIT_FAULTS = 1
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h; systemd need not restart what will fail again

CONFIG_OPTION = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="HFT_MMAP_CONFIG",  # of an installed service: its command and no unit sets it
    help="Settings file, in place of config.toml in the working directory (or of $HFT_MMAP_CONFIG).",
)
DATA_DIR_OPTION = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Data directory, in place of the one in the settings."
)
HOST_OPTION = click.option("--host", help="Address to listen on, in place of server.host.")
PORT_OPTION = click.option("--port", type=click.IntRange(0, 65_535), help="Port, in place of server.port.")
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


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


def load_settings(config_path: Path | None, given: "Mapping[str, object] | None" = None) -> "Effective":
    """Return the settings in force, `given` by options; exit code 78 with every fault of them."""
    from api.operation.settings import SettingsError, load

    try:
        return load(config_path, given=given)
    except SettingsError as error:
        raise Failure(error.faults, EXIT_CONFIG) from None


@contextmanager
def opened_store(
    config_path: Path | None, data_dir: Path | None, mode: Literal["a", "r"] = "r", *, creating: bool = False
) -> "Iterator[Store]":
    """Yield the store of the settings (or of `data_dir`), which must exist; its errors are exit code 1.

    creating: series may be made in it, within the limits of the settings.
    """
    settings = load_settings(config_path).settings.store if creating or data_dir is None else None
    path = data_dir or Path(settings.data_dir if settings else "")
    from hft_mmap import HftMmapError, Store

    limits = settings.limits() if settings and creating else None

    try:
        if mode == "a":
            Store(path, mode="r").close()  # mode "a" would make a directory that is missing
        with Store(path, mode=mode, limits=limits) as store:
            yield store
    except BrokenPipeError:
        raise  # whoever read our output has gone; click ends in silence
    except (HftMmapError, OSError) as error:
        raise Failure((str(error),), EXIT_FAULTS) from None


def counted(number: int, noun: str) -> str:
    """Return "1 symbol", "2 symbols"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(value: object) -> str:
    """Return a value as a cell of a table."""
    return '""' if value == "" else "-" if value is None else str(value)


def print_table(rows: list[list[str]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: object, *, err: bool = False) -> None:
    """Print a value as indented JSON; err: on standard error."""
    click.echo(as_json(value, indent=True), err=err)


def as_json(value: object, *, indent: bool = False) -> str:
    """Return a value as JSON, whatever bytes the names of files in it have."""
    import orjson

    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError:  # bytes that are no UTF-8, as lone surrogates; the standard library takes them
        import json

        return json.dumps(value, indent=2 if indent else None)


def print_whatever_comes() -> None:
    """Have standard output take every text: bytes of file names as they are, an escape for what it has no letter for.

    A table of symbols is of more use with such a cell than a traceback in place of it.
    """
    codecs.register_error("hft-mmap", _encoded)
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # of a program that runs the command over a stream of its own, open both ways
            sys.stdout.reconfigure(errors="hft-mmap")


def _encoded(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    handle = "surrogateescape" if "\udc80" <= error.object[error.start] <= "\udcff" else "backslashreplace"
    one = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    return codecs.lookup_error(handle)(one)
