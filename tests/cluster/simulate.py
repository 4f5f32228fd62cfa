"""Make many histories of a shard, and as many of a move, and say what broke: `make simulate-cluster`."""

import argparse
import os
import sys
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from time import monotonic

import structlog

from tests.cluster.histories import History
from tests.cluster.moves import MoveHistory


def one(seed: int) -> tuple[int, Counter[str], str]:
    """Make a history of a shard and one of a move; return their seed, what happened in them, and what broke."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    happened: Counter[str] = Counter()
    for kind in (History, MoveHistory):
        history = kind(seed)
        try:
            history.run()
        except BaseException:  # noqa: BLE001 - whatever it is, it is told with its seed
            return seed, happened, f"{kind.__name__}: {traceback.format_exc()}"
        happened.update(history.counts)
    return seed, happened, ""


def main() -> int:
    """Return 1 if a promise was broken; each seed that did is printed, to be kept in `test_histories.py`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    happened: Counter[str] = Counter()
    broken: list[int] = []
    begin = monotonic()
    with ProcessPoolExecutor(options.processes) as pool:
        seeds = range(options.seed, options.seed + options.histories)
        for seed, counts, fault in pool.map(one, seeds, chunksize=20):
            happened.update(counts)
            if fault:
                broken.append(seed)
                sys.stderr.write(f"seed {seed}: {fault}\n")
    for name, count in happened.most_common():
        sys.stdout.write(f"{name:22} {count:10}\n")
    sys.stdout.write(
        f"{options.histories} histories in {monotonic() - begin:.0f} s, {len(broken)} broke a promise: {broken}\n"
    )
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
