"""How far an import is, while it runs: a bar on a terminal, elsewhere a JSON line a second, on standard error."""

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hft_mmap.transfer import Progress

LINE_INTERVAL_S = 1.0
QUIET_S = 5.0
"""No line comes before: who reads the output of a short import wants none of it."""


@contextmanager
def shown_progress() -> "Iterator[Callable[[Progress], None]]":
    """Yield the function that is told how far an import is; what it shows goes away with the context on a terminal."""
    if sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield lines()


def lines(clock: "Callable[[], float]" = time.monotonic) -> "Callable[[Progress], None]":
    """Return a function that prints a JSON line a second, the first after QUIET_S."""
    import orjson

    begin = clock()
    last = begin + QUIET_S - LINE_INTERVAL_S

    def tell(progress: "Progress") -> None:
        nonlocal last
        now = clock()
        if now - last < LINE_INTERVAL_S:
            return
        last = now
        elapsed = now - begin
        line = {
            "event": "importing", "file": progress.file, "done": progress.done, "rows": progress.rows,
            "stored": progress.stored, "found": progress.found, "skipped": progress.skipped,
            "rows_per_s": round(progress.rows / elapsed), "elapsed_s": round(elapsed, 1),
            "left_s": round(elapsed / progress.done - elapsed, 1) if progress.done else None,
        }  # fmt: skip
        click.echo(orjson.dumps(line), err=True)

    return tell


@contextmanager
def _bar() -> "Iterator[Callable[[Progress], None]]":
    """Yield a function that moves a bar with rows, rate and time left; JSON lines where rich is not installed."""
    try:
        from rich import progress as bars
        from rich.console import Console
    except ModuleNotFoundError:
        yield lines()
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
