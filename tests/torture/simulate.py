"""Make many histories of the store on a simulated disk, and say what broke: `make simulate`."""

import argparse
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from time import monotonic

from hft_mmap.testing.histories import History


def main() -> int:
    """Return 1 if a promise was broken; each seed that did is printed with its steps, to be kept as a test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--histories", type=int, default=10_000)
    options = parser.parse_args()
    steps: Counter[str] = Counter()
    broken: list[int] = []
    begin = monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="hft-mmap-") as directory:
        for seed in range(options.seed, options.seed + options.histories):
            history = History.of_seed(Path(directory), seed)
            try:
                history.run()
            except Exception:  # noqa: BLE001 - whatever it is, it is told with its seed
                broken.append(seed)
                traceback.print_exc()
            steps += history.counts
    for name, count in steps.most_common():
        sys.stdout.write(f"{name:14} {count:10}\n")
    sys.stdout.write(
        f"{options.histories} histories in {monotonic() - begin:.0f} s, {len(broken)} broke a promise: {broken}\n"
    )
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
