"""Real file systems in files, mounted for a test; needs root."""

import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MAKERS = {"ext4": ["mkfs.ext4", "-qF"], "xfs": ["mkfs.xfs", "-qf"]}
XFS_BYTES = 320 << 20
"""The smallest xfs is of 300 MB."""


def can_mount(*kinds: str) -> bool:
    """Return whether file systems of these kinds can be made and mounted here."""
    return os.geteuid() == 0 and all(shutil.which(MAKERS[kind][0]) for kind in kinds)


def make(kind: str, image: Path, size: int) -> None:
    """Make the file `image` a file system of `size` bytes."""
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run([*MAKERS[kind], str(image)], check=True)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """Mount `image` at `place` until the end; skip the test where that is not allowed."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, check=False)  # noqa: S607
    if done.returncode:
        pytest.skip(f"can't mount here: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        # A store that was closed keeps its mappings until nobody refers to it.
        gc.collect()
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607
