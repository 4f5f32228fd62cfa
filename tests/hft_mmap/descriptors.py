"""What this process has open, of one directory: descriptors that other tests left to the collector do not count."""

import os
from pathlib import Path


def open_files(directory: Path) -> list[str]:
    """Return the files below `directory` that this process has open, each as often as it is open."""
    found = [os.path.realpath(fd.path) for fd in os.scandir("/proc/self/fd")]
    return sorted(path for path in found if path.startswith(f"{directory}/"))
