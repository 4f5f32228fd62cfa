"""A FUSE disk that loses, reorders and tears what was not synced, under the unmodified store and service."""

import mmap
import os
from pathlib import Path

import pytest

from hft_mmap import Durability
from tests.torture import fuse_power
from tests.torture.counts import Counts, Kind
from tests.torture.fuse_power import Mounted, fuse_life, fuse_service, fuse_works
from tests.torture.nursery import Nursery
from tests.torture.tracing import Moment

pytestmark = pytest.mark.skipif(
    not fuse_works(), reason="needs root, /dev/fuse, mfusepy and the Debian package libfuse3-3"
)


@pytest.mark.parametrize("durability", Durability)
def test_a_disk_that_loses_what_was_not_synced_keeps_what_the_tier_promises(
    nursery: Nursery, counts: Counts, durability: Durability
) -> None:
    """Two processes are killed, a third one closes, and the power is cut at any point; then again from what is left."""
    fuse_life(nursery, 1, durability, 2, 6, counts)
    assert counts.texts == []
    assert counts.of(Kind.FUSE_CUTS, durability) >= 10


@pytest.mark.parametrize("durability", Durability)
def test_the_service_on_a_disk_that_loses_what_was_not_synced(
    nursery: Nursery, counts: Counts, durability: Durability
) -> None:
    """What a POST was answered for with 200 is there (sync), or what /metrics called durable (all tiers)."""
    fuse_service(nursery, 1, durability, 6, counts)
    assert counts.texts == []
    assert counts.of(Kind.FUSE_CUTS, durability) >= 5


def test_the_checks_notice_a_disk_that_ignores_syncs(
    nursery: Nursery, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks above are able to fail: without the syncs points are lost."""

    class Forgetful(Mounted):
        def moments(self) -> list[Moment]:
            return [moment for moment in super().moments() if moment[1].name not in {"fsync", "fdatasync"}]

    monkeypatch.setattr(fuse_power, "Mounted", Forgetful)
    fuse_life(nursery, 1, Durability.SYNC, 1, 10, counts)
    assert counts.broken["lost"] or counts.broken["unopenable"]


def test_what_is_stored_through_a_mapping_reaches_the_disk(tmp_path: Path) -> None:
    """Shared mappings work through FUSE: their pages are seen by reads at once, and noted when they are synced."""
    backing = tmp_path / "backing"
    backing.mkdir()
    mounted = Mounted(backing, tmp_path)
    with mounted.running(), (mounted.path / "file").open("w+b") as file:
        file.truncate(4096)
        with mmap.mmap(file.fileno(), 4096) as mapping:
            mapping[512:520] = b"a word !"
            assert os.pread(file.fileno(), 8, 512) == b"a word !"
            os.fsync(file.fileno())
    names = [call.name for begins, call in mounted.moments() if begins]
    write, sync = names.index("pwrite64"), names.index("fsync")
    assert write < sync
    assert (backing / "file").read_bytes()[512:520] == b"a word !"
