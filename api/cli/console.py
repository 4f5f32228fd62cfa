"""What the commands share: options, exit codes, how they find the store, how they print.

The store (numba) and the service (falcon, uvicorn) take half a second to import, so each command imports what it needs
when it runs: `--help` answers at once.
"""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def load_settings(config_path: Path | None) -> "Effective":
    """Return the settings in force; exit code 78 with every fault of them."""
    from api.operation.settings import SettingsError, load

    try:
        return load(config_path)
    except SettingsError as error:
        raise Failure(error.faults, EXIT_CONFIG) from None


@contextmanager
def opened_store(config_path: Path | None, data_dir: Path | None, mode: Literal["a", "r"] = "r") -> "Iterator[Store]":
    """Yield the store of the settings (or of `data_dir`), which must exist; its errors are exit code 1."""
    path = data_dir or Path(load_settings(config_path).settings.store.data_dir)
    from hft_mmap import HftMmapError, Store

    try:
        if mode == "a":
            Store(path, mode="r").close()  # mode "a" would make a directory that is missing
        with Store(path, mode=mode) as store:
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
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode(), err=err)
