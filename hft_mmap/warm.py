"""Compile the kernels and keep them on the disk: `python -m hft_mmap.warm`, once after installing.

Importing the package does the same where it was not done; it then takes some seconds, once.
"""

import sys
from time import perf_counter


def main() -> int:
    """Import the kernels, which compiles those that are not in numba's cache, and say how long that took."""
    begin = perf_counter()
    import hft_mmap.kernels  # noqa: F401, PLC0415 - the import is the work, and its time is the answer

    sys.stdout.write(f"kernels ready in {perf_counter() - begin:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
