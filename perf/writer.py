"""A process that only appends: `python -m perf.writer DATA_DIR POINTS PAUSE_S`. Ends when its standard input does."""

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from hft_mmap import Durability, Store
from perf.lab import ROOMY, SYMBOL
from perf.prices import random_walk


@contextmanager
def writer_process(data: Path, points: int, pause_s: float = 0.0) -> Iterator[None]:
    """Have another process append batches of `points` to SYMBOL, `pause_s` apart, for as long as the context lasts."""
    command = [sys.executable, "-m", "perf.writer", str(data), str(points), str(pause_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline()  # it says a word once it appends
        try:
            yield
        finally:
            process.stdin.close()  # it ends when this does, also if we were killed
            assert process.wait(30) == 0


def main(data: str, points: str, pause_s: str) -> int:
    """Append until standard input ends, in tier `process`."""
    batches = cycle([random_walk(int(points), seed) for seed in range(4)])
    with Store(data, limits=ROOMY, durability=Durability.PROCESS) as store:
        store.append(SYMBOL, next(batches))
        print("appending", flush=True)
        while not select.select([sys.stdin], [], [], float(pause_s))[0]:
            for _ in range(1 if float(pause_s) else 100):
                store.append(SYMBOL, next(batches))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
