"""What other processes do in these tests; each function is the whole life of one process."""

from multiprocessing.connection import Connection
from pathlib import Path

from hft_mmap import Limits, Store
from hft_mmap.transfer import Plan, StoreSink, arrays, import_files, lines, tables


def import_in_small_pieces(data: Path, file: Path, block_rows: int, outcome: Connection) -> None:
    """Import a file with a symbol column, resuming; tell the totals when it is complete."""
    lines.BLOCK_BYTES = 20 * block_rows
    tables.BATCH_ROWS = arrays.BATCH_ROWS = block_rows
    with Store(data, limits=Limits(starting_capacity=0, chunk_points=4096), durability="process") as store:
        report = import_files(Plan([str(file)], None, symbol_column="ticker"), StoreSink(store), resume=True)
    outcome.send(report.totals)
