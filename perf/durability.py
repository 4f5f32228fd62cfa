"""Print what a durability tier and its interval cost an append: the table of docs/design/0002.

Run it as `python -m perf.durability [SECONDS]`: ten points an append, one writer, each tier in turn, all tiers three
times (A B C A B C …), medians over the three. Use a disk, not tmpfs.
"""

import sys
import tempfile
from time import perf_counter_ns

import numpy as np

from hft_mmap import Durability, Limits, Store

TIERS = [(Durability.PROCESS, 50)]
TIERS += [(Durability.INTERVAL, interval_ms) for interval_ms in (1, 10, 50, 200, 1000)]
TIERS += [(Durability.SYNC, 50)]
ROUNDS = 3
PERCENTILES = (50, 99, 99.9)


def measure(durability: Durability, interval_ms: int, seconds: float) -> list[float]:
    """Append for `seconds` and return appends a second, then the percentiles of their latency in us."""
    batch = np.random.default_rng(1).uniform(100, 200, 10)
    taken = []
    with tempfile.TemporaryDirectory(dir=".") as directory:
        limits = Limits(starting_capacity=4_000_000)
        with Store(directory, durability=durability, sync_interval_ms=interval_ms, limits=limits) as store:
            store.append("ABC-USD", batch)
            end = perf_counter_ns() + seconds * 1e9
            while (begin := perf_counter_ns()) < end:
                store.append("ABC-USD", batch)
                taken.append(perf_counter_ns() - begin)
    return [len(taken) / seconds, *(np.percentile(taken, PERCENTILES) / 1000).tolist()]


def main() -> None:
    """Print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    rounds = [[measure(*tier, seconds) for tier in TIERS] for _ in range(ROUNDS)]
    medians = np.median(np.array(rounds), axis=0).tolist()
    print("| tier | interval | appends a second | p50 | p99 | p99.9 |\n|---|---|---|---|---|---|")
    for (durability, interval_ms), (rate, p50, p99, p999) in zip(TIERS, medians, strict=True):
        interval = f"{interval_ms} ms" if durability is Durability.INTERVAL else "-"
        print(f"| `{durability}` | {interval} | {rate:,.0f} | {p50:.1f} us | {p99:.1f} us | {p999:,.0f} us |")


if __name__ == "__main__":
    main()
