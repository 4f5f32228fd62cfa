"""The reader of each format."""

from collections.abc import Callable, Iterator

import numpy as np

from hft_mmap.transfer.arrays import read_f64, read_npy, read_npz
from hft_mmap.transfer.csv_text import read_csv
from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.json_text import read_json
from hft_mmap.transfer.look import Look
from hft_mmap.transfer.ndjson_text import read_ndjson
from hft_mmap.transfer.rows import Rows
from hft_mmap.transfer.source import Source
from hft_mmap.transfer.survey import SYMBOL_COLUMNS, plain
from hft_mmap.transfer.tables import read_arrow, read_parquet
from hft_mmap.transfer.wanted import Wanted
from hft_mmap.transfer.workbook import read_workbook

READERS: dict[str, Callable[[Source, Wanted], Iterator[Rows]]] = {
    "csv": read_csv, "parquet": read_parquet, "arrow": read_arrow, "ndjson": read_ndjson, "json": read_json,
    "xlsx": read_workbook, "npy": read_npy, "npz": read_npz, "f64": read_f64,
}  # fmt: skip


MAX_REVERSED_ROWS = 1 << 26
"""Rows of a file that is turned round: its prices are in memory meanwhile, 512 MiB of them."""


def read(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of a source in bounded pieces; UnreadableFile, MissingPackage.

    The first piece has no rows: when it comes, `source.look` says what was found, and all of it is certain.
    """
    source.look = Look(source.name, source.format, source.compression)
    symbol = _symbol_of_folder(source, wanted)
    if wanted.reverse:
        runs = _of_folder(source, wanted, symbol)
        yield next(runs, Rows.none())
        yield from _turned_round(runs, source)
    else:
        yield from _of_folder(source, wanted, symbol)


def _of_folder(source: Source, wanted: Wanted, symbol: str | None) -> Iterator[Rows]:
    """Yield the rows of a file, all of the symbol that its folder names, if it names one."""
    if symbol is None:
        yield from READERS[source.format](source, wanted)
        return
    for rows in READERS[source.format](source, wanted._replace(symbol_column=None, mixed=True)):
        source.look.symbols = [symbol]
        rows.name(np.zeros(len(rows.values), dtype=np.int64), [symbol])
        yield rows


def _symbol_of_folder(source: Source, wanted: Wanted) -> str | None:
    """Return the symbol that the folders of a file say (symbol=AAPL), None if they do not, or nobody wants it."""
    if wanted.symbol_column is not None:
        asked = {plain(wanted.symbol_column)}
    elif wanted.watches:
        asked = set(SYMBOL_COLUMNS)
    else:
        return None
    return next((value.strip() for key, value in source.folders.items() if plain(key) in asked), None)


def _turned_round(runs: Iterator[Rows], source: Source) -> Iterator[Rows]:
    """Yield the rows of a file from its end; UnreadableFile if there are more than MAX_REVERSED_ROWS."""
    kept: list[Rows] = []
    count = 0
    for rows in runs:
        kept.append(rows)
        count += rows.count
        if count > MAX_REVERSED_ROWS:
            raise UnreadableFile(
                f"{source.name}: has more than {MAX_REVERSED_ROWS} rows, the most that --reverse turns round: turn it "
                f"round before (as tac does), or split it"
            )
    while kept:
        rows = kept.pop().turned_round()
        rows.last = count
        yield rows
