"""Build the anchors and print where they are: `python -m perf.anchors`; exit 1, with the reason, where that fails."""

import sys

from perf.anchors import NoAnchorError, axum


def main() -> int:
    """Build and print; return the exit code."""
    try:
        print(*axum())
    except NoAnchorError as error:
        print(f"anchors: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
