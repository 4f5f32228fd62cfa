"""Devices that fail, drop what was acknowledged, and are well again within one run of the machine; needs root."""

import pytest

from hft_mmap import Durability
from tests.torture.counts import Counts, Kind
from tests.torture.devices import shutdown_life, writeback_once
from tests.torture.file_systems import can_mount
from tests.torture.nursery import Nursery

pytestmark = pytest.mark.skipif(
    not can_mount("ext4", "xfs"), reason="needs root, mkfs.ext4 and mkfs.xfs (Debian packages e2fsprogs and xfsprogs)"
)


@pytest.mark.parametrize(("durability", "seed"), [*zip(Durability, (1, 2, 3), strict=True)])
def test_points_that_a_disk_dropped_are_named_and_never_served(
    nursery: Nursery, counts: Counts, durability: Durability, seed: int
) -> None:
    """The writeback fails, memory drops the pages, the device is well again: all that is served is right."""
    writeback_once(nursery, seed, durability, counts)
    assert (counts.of(Kind.WRITEBACKS), counts.texts) == (1, [])


@pytest.mark.parametrize(("durability", "seed"), [*zip(Durability, (1, 2, 3), strict=True)])
def test_a_device_that_went_and_came_back_is_believed_as_far_as_it_proves_itself(
    nursery: Nursery, counts: Counts, durability: Durability, seed: int
) -> None:
    """The file system is shut down under a process, and mounted again in one run of the machine; then once more."""
    shutdown_life(nursery, seed, durability, 2, counts)
    assert (counts.of(Kind.DEVICES), counts.texts) == (2, [])
