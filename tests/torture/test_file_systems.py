"""The store on the file systems that the documents promise, and power cuts of a real one; needs root, for mounting."""

from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Durability, Limits, Store
from tests.torture.counts import Counts, Kind
from tests.torture.ext4_power import ext4_life
from tests.torture.file_systems import XFS_BYTES, can_mount, make, mounted
from tests.torture.nursery import Nursery

SIZES = {"ext4": 16 << 20, "xfs": XFS_BYTES}
LIMITS = Limits(max_data_retention=1000, cleanup_keep_count=400, starting_capacity=64, chunk_points=64)


@pytest.mark.parametrize("kind", SIZES)
def test_a_store_works_on_the_file_systems_that_are_promised(tmp_path: Path, kind: str) -> None:
    """Creation, new chunks, a cleanup and syncs, with no warning; and all is there when it is mounted again."""
    if not can_mount(kind):
        pytest.skip("needs root, mkfs.ext4 and mkfs.xfs (Debian packages e2fsprogs and xfsprogs)")
    make(kind, tmp_path / "image", SIZES[kind])
    prices = np.arange(1500.0)
    events: list[str] = []
    with (
        mounted(tmp_path / "image", tmp_path / "place") as place,
        Store(
            place / "data", limits=LIMITS, durability="sync", on_event=lambda name, _: events.append(name)
        ) as store,
    ):  # fmt: skip
        for begin in range(0, 1500, 50):
            store.append("A", prices[begin : begin + 50])
    del store
    assert "cleanup" in events
    assert "file_system" not in events
    with mounted(tmp_path / "image", tmp_path / "place") as place, Store(place / "data", limits=LIMITS) as store:
        start, total = store.series("A").bounds()
        assert total == 1500
        assert store.window("A", 1000).tolist() == prices[start:].tolist()
        assert [report.faults for report in store.verify()] == [()]


@pytest.mark.torture
@pytest.mark.parametrize("durability", Durability)
def test_a_power_cut_of_a_real_ext4_keeps_what_the_tier_promises(
    nursery: Nursery, counts: Counts, durability: Durability
) -> None:
    """The disk is copied in a moment while the service writes; the copy is mounted as after a power cut."""
    if not can_mount("ext4", "xfs"):
        pytest.skip("needs root, mkfs.ext4 and mkfs.xfs (Debian packages e2fsprogs and xfsprogs)")
    ext4_life(nursery, 1, durability, 8, counts)
    assert (counts.of(Kind.EXT4_CUTS, durability), counts.texts) == (8, [])
