"""What this process has open, of one directory: descriptors that other tests left to the collector do not count."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_files(directory: Path) -> list[str]:
    """Return the files below `directory` that this process has open, each as often as it is open."""
    found = [os.path.realpath(fd.path) for fd in os.scandir("/proc/self/fd")]
    return sorted(path for path in found if path.startswith(f"{directory}/"))


@contextmanager
def descriptors_left(n: int) -> Iterator[None]:
    """Let this process open `n` more files, and no other."""
    highest = max(map(int, os.listdir("/proc/self/fd")))
    fillers = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)]
    while fillers[-1] <= highest:
        fillers.append(os.dup(fillers[-1]))
    top = fillers.pop()
    os.close(top)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (top + n, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)
