"""Imports killed at random moments, again and again: each point is there once, in its place."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from hft_mmap import Store
from hft_mmap.testing import PROCESSES
from tests.hft_mmap.transfer.actors import import_in_small_pieces
from tests.hft_mmap.transfer.files import bits, scratch
from tests.service import wait_until

ROWS = 12_000
SYMBOLS = ("A", "日本/円", "C")
KILLS = 4


def stored(store: Store) -> int:
    """Return how many points there are."""
    return sum(series.total for series in store.symbols())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_kill_9_at_random_moments_loses_and_doubles_nothing(kind: str) -> None:
    """Three symbols in one file, behind points that were there before; each run cuts its batches differently."""
    generator = np.random.default_rng(len(kind))
    kills = 0
    while kills < KILLS // 2:  # on a busy machine an import may be through before it is killed
        kills += imported_with_kills(kind, generator)


def imported_with_kills(kind: str, generator: np.random.Generator) -> int:
    """Import a file, killed again and again, and check what is there; return how often it was killed."""
    prices = generator.random(ROWS)
    tickers = generator.integers(0, len(SYMBOLS), ROWS)
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        data, file = Path(directory, "data"), Path(directory, f"a.{kind}")
        table = pa.table({"ticker": np.array(SYMBOLS)[tickers], "price": prices})
        pa.csv.write_csv(table, file) if kind == "csv" else pa.parquet.write_table(table, file)
        with Store(data) as store:
            store.append("A", [7.0, 8.0])
        # PERF: one that stays open: it is asked a hundred times a second.
        reader = stack.enter_context(Store(data, mode="r"))
        kills, totals = 0, None
        while totals is None:
            ours, theirs = PROCESSES.Pipe()
            block_rows = int(generator.integers(20, 80))
            process = PROCESSES.Process(target=import_in_small_pieces, args=(data, file, block_rows, theirs))
            process.start()
            theirs.close()
            enough = stored(reader) + int(generator.integers(ROWS // KILLS)) if kills < KILLS else 2 * ROWS
            wait_until(lambda ours=ours, enough=enough: ours.poll() or stored(reader) > enough, "points")  # type: ignore[misc]
            kills += not ours.poll()
            totals = ours.recv() if ours.poll() else None
            process.kill()
            process.join()
        with Store(data, mode="r") as store:
            for code, symbol in enumerate(SYMBOLS):
                expected = [7.0, 8.0] * (symbol == "A") + prices[tickers == code].tolist()
                assert bits(store.window(symbol, ROWS)) == bits(expected)
                assert totals[symbol] == len(expected)
            assert not any(report.faults for report in store.verify())
        return kills
