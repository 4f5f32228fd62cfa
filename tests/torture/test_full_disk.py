"""A real, small file system that fills up and gets space back; needs root, for mounting it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import DiskFull, Limits, Store
from hft_mmap.testing import MEMORY
from tests.service import running_service

LIMITS = Limits(starting_capacity=0, chunk_points=65_536)


@pytest.fixture
def small_ext4(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory that is an ext4 of its own, of 16 MB."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs root and mkfs.ext4 (Debian package e2fsprogs)")
    image, place = tmp_path / "image", tmp_path / "ext4"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-qF", str(image)], check=True)  # noqa: S607
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, check=False)  # noqa: S607
    if mounted.returncode:
        pytest.skip(f"can't mount here: {mounted.stderr.decode()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607


def test_a_full_disk_refuses_whole_batches_and_takes_them_when_there_is_space(small_ext4: Path) -> None:
    """Full: DiskFull, nothing stored, reads go on. Space again: the same store takes the batch, with no restart."""
    events: list[str] = []
    ballast = small_ext4 / "ballast"
    ballast.write_bytes(bytes(4 << 20))
    with Store(small_ext4 / "data", limits=LIMITS, on_event=lambda name, _: events.append(name)) as store:
        total = 0
        for i in range(10_000):
            try:
                total = store.append("A", np.full(1000, float(i)))
            except DiskFull:
                break
        else:
            pytest.fail("10,000,000 points fit into 16 MB")
        assert store.series("A").total == total
        assert store.stats("A", 1000).last == float(total // 1000 - 1)
        with suppress(DiskFull):
            while True:
                store.append("A", [0.0] * 10)
                total += 10
        assert store.series("A").total == total
        assert "file_system" not in events
        ballast.unlink()
        assert store.append("A", np.full(1000, 7.0)) == total + 1000
        assert store.reasons() == []
        store.sync()
    with Store(small_ext4 / "data", limits=LIMITS) as again:
        assert again.series("A").total == total + 1000
        assert [report.faults for report in again.verify()] == [()]


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs /dev/shm")
def test_a_file_system_that_is_not_known_to_keep_the_promise_is_named(tmp_path: Path) -> None:
    """A store in memory says so, as the event `file_system`, which the service logs as a warning."""
    events: dict[str, object] = {}
    path = MEMORY / f"hft-mmap-{os.getpid()}"
    try:
        Store(path, on_event=lambda name, fields: events.update({name: fields["kind"]})).close()
        with running_service(tmp_path, store__data_dir=path) as service:
            assert service.wait_for_event("file_system", kind="tmpfs")["level"] == "warning"
    finally:
        shutil.rmtree(path)
    assert events == {"file_system": "tmpfs"}
