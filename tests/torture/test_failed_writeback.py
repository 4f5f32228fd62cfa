"""A disk that fails to take what was acknowledged, drops it, and is well again: no point of it is served as another."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service import ROOT
from tests.torture.file_systems import can_mount, make, mounted

APPEND = """
import json, os, sys
import numpy as np
from hft_mmap import HftMmapError, Limits, Store
store = Store(sys.argv[1], limits=Limits(starting_capacity=0), durability="interval", sync_interval_ms=20)
n = 0
try:
    while n < 20_000_000:
        store.append("A", np.arange(n + 1.0, n + 20_001.0))
        n += 20_000
    store.sync()
except HftMmapError as error:
    failed = type(error).__name__
print(json.dumps({"acknowledged": n, "committed": store.series("A").committed_total, "failed": failed}), flush=True)
os._exit(0)
"""
OPEN = """
import json, sys
import numpy as np
from hft_mmap import Limits, Store
told = []
with Store(sys.argv[1], limits=Limits(starting_capacity=0), on_event=lambda name, _: told.append(name)) as store:
    values = store.window("A", 10**9)
    wrong = int((values != np.arange(1.0, len(values) + 1)).sum())
    after = store.append("A", [1.0])
    store.sync()
    print(json.dumps({
        "total": len(values), "wrong": wrong, "lost": sum(loss.points for loss in store.losses()), "after": after,
        "told": "lost" in told, "faults": store.verify()[0].faults,
    }))
"""


def run(program: str, data: Path) -> dict[str, Any]:
    """Run a program on the store `data` in a process of its own, and return what it printed."""
    command = [sys.executable, "-c", program, str(data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextmanager
def thin(place: Path, size: str) -> Iterator[Path]:
    """Mount a memory file system that holds `size`: a file on it can be longer, and its writes then fail."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], check=True)  # noqa: S607
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607


@pytest.mark.skipif(not can_mount("ext4"), reason="needs root and mkfs.ext4 (Debian package e2fsprogs)")
def test_points_that_a_disk_dropped_are_named_and_never_served(tmp_path: Path) -> None:
    """The writeback fails, the device goes and comes back in one run of the machine: all that is served is right."""
    with thin(tmp_path / "thin", "40M") as place:
        image = place / "disk"
        make("ext4", image, 400 << 20)
        with mounted(image, tmp_path / "disk") as disk:
            before = run(APPEND, disk / "data")
            for chunk in (disk / "data").glob("A/*.chunk"):
                fd = os.open(chunk, os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)
        subprocess.run(["mount", "-o", "remount,size=500M", str(place)], check=True)  # noqa: S607
        with mounted(image, tmp_path / "disk") as disk:
            after = run(OPEN, disk / "data")
    assert before["failed"] in {"SeriesReadOnly", "DiskFull", "WriteFailed"}
    assert after["wrong"] == 0
    assert before["committed"] <= after["total"] <= before["acknowledged"]
    assert after["total"] + after["lost"] >= before["committed"]
    assert after["told"] == bool(after["lost"])
    assert after["after"] == after["total"] + 1
    assert after["faults"] == []
