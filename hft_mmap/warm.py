"""Compile the kernels and keep them on the disk: `python -m hft_mmap.warm`, once after installing.

Importing the package does the same where it was not done; it then takes half a minute, once. In a checkout, `python -P`
means the installed package and not the one in the working directory.
"""

import sys
from time import process_time


def main() -> int:
    """Say how long it took; the import of the package, before this line, compiled what is not in numba's cache."""
    sys.stdout.write(f"kernels ready in {process_time():.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
