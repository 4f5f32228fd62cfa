"""Make many histories of a shard, and say what broke: `make simulate-cluster`."""

import argparse
import os
import sys
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from time import monotonic

import structlog

from tests.cluster.histories import History


def one(seed: int) -> tuple[int, dict[str, int], str]:
    """Make a history; return its seed, what happened in it, and what broke."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    history = History(seed)
    try:
        history.run()
    except BaseException:  # noqa: BLE001 - whatever it is, it is told with its seed
        return seed, history.counts, traceback.format_exc()
    return seed, history.counts, ""


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
        sys.stdout.write(f"{name:14} {count:10}\n")
    sys.stdout.write(
        f"{options.histories} histories in {monotonic() - begin:.0f} s, {len(broken)} broke a promise: {broken}\n"
    )
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
