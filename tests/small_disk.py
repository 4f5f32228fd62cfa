"""A real file system that fills up, in memory; needs root, for mounting it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SIZE = 1 << 20


class SmallDisk:
    """A mounted file system of a megabyte."""

    def __init__(self, path: Path) -> None:
        """Use the file system mounted at `path`."""
        self.path = path
        self._ballast = path / "ballast"

    def free(self) -> int:
        """Return how many bytes are free."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_bsize

    def fill(self, but: int = 0) -> None:
        """Take all of the space but so many bytes."""
        with self._ballast.open("ab") as file:
            file.write(bytes(max(self.free() - but, 0)))

    def clear(self) -> None:
        """Give the space back."""
        self._ballast.unlink()


@contextmanager
def small_disk(place: Path) -> Iterator[SmallDisk]:
    """Mount a small disk at `place`, an empty directory, until the end; skip the test where nobody may mount."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"can't mount here: {mounted.stderr.decode().strip()}")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607
