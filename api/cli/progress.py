"""How far an import is, on standard error: a bar on a terminal, elsewhere after a while a JSON line a second."""

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from api.cli.console import as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hft_mmap.transfer import Progress

FIRST_LINE_S = 5.0
"""An import that is over sooner says nothing: a script that expects silence has it also on a busy machine."""
LINE_INTERVAL_S = 1.0


@contextmanager
def shown_progress() -> "Iterator[Callable[[Progress], None]]":
    """Yield the function that is told how far an import is; what it shows goes away with the context on a terminal."""
    with _bar() if sys.stderr.isatty() else _lines() as tell:
        yield tell


@contextmanager
def _lines() -> "Iterator[Callable[[Progress], None]]":
    """Print a JSON line a second after a while, also while nothing moves: whoever watches sees for what it waits."""
    begin = time.monotonic()
    newest: list[Progress] = []
    over = threading.Event()

    def tell_newest(progress: "Progress") -> None:
        newest[:] = [progress]

    def print_lines() -> None:
        pause_s = FIRST_LINE_S
        while not over.wait(pause_s):
            pause_s = LINE_INTERVAL_S
            for progress in newest[-1:]:
                click.echo(_line(progress, time.monotonic() - begin), err=True)

    thread = threading.Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        yield tell_newest
    finally:
        over.set()
        thread.join()


def _line(progress: "Progress", elapsed_s: float) -> str:
    """Return the line that says how far `progress` is after `elapsed_s`."""
    return as_json(
        {
            "event": "importing", "file": progress.file, "done": progress.done, "rows": progress.rows,
            "stored": progress.stored, "found": progress.found, "skipped": progress.skipped,
            "rows_per_s": round(progress.rows / elapsed_s), "elapsed_s": round(elapsed_s, 1),
            "left_s": round(elapsed_s / progress.done - elapsed_s, 1) if progress.done else None,
        }
    )  # fmt: skip


@contextmanager
def _bar() -> "Iterator[Callable[[Progress], None]]":
    """Yield a function that moves a bar with rows, rate and time left; JSON lines where rich is not installed."""
    try:
        from rich import progress as bars
        from rich.console import Console
    except ModuleNotFoundError:
        with _lines() as tell:
            yield tell
        return
    columns = (
        bars.TextColumn("{task.description}", markup=False), bars.BarColumn(), bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[rows]:,} rows  {task.fields[rate]:.1f} M/s", markup=False),
        bars.TimeRemainingColumn(),
    )  # fmt: skip
    begin = time.monotonic()
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rows=0, rate=0.0)

        def tell(progress: "Progress") -> None:
            rate = progress.rows / max(time.monotonic() - begin, 1e-9) / 1e6
            total = None if progress.done is None else 1.0
            bar.update(
                task, total=total, completed=progress.done or 0.0, description=progress.file, rows=progress.rows,
                rate=rate,
            )  # fmt: skip

        yield tell
