"""Power cuts of a real file system: an ext4 in a file of an xfs, copied by reference while the service writes to it.

The copy takes some milliseconds and holds what had reached the disk by then; what was not synced is in memory alone.
"""

import subprocess
import tempfile
from pathlib import Path

import httpx
import numpy as np

from hft_mmap import Durability, Store
from hft_mmap.testing import restart_machine
from tests.service import PATIENCE_S
from tests.torture.counts import Counts, Kind
from tests.torture.file_systems import XFS_BYTES, make, mounted
from tests.torture.fuse_power import durable_total
from tests.torture.http_calls import Client, service_environment
from tests.torture.kills import check_twice, serving_port
from tests.torture.nursery import Nursery
from tests.torture.stream import FEW_BATCHES, Setting, streams

EXT4_BYTES = 64 << 20


def ext4_life(nursery: Nursery, seed: int, durability: Durability, cuts: int, counts: Counts) -> None:
    """Have a client post to the service, cut the power `cuts` times on the way, and check what each cut leaves."""
    setting = Setting(seed, durability.value, 64, 684, 292, symbols=1, sizes=(10, 70, 10, 70))
    all_streams = streams(setting, FEW_BATCHES)
    generator = np.random.default_rng([seed, 93])
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        make("xfs", place / "xfs", XFS_BYTES)
        with mounted(place / "xfs", place / "outer") as outer:
            disk, cut = outer / "disk", outer / "cut"
            make("ext4", disk, EXT4_BYTES)
            with mounted(disk, place / "inner") as inner:
                client = Client(all_streams[0])
                with Store(inner / "data", limits=setting.limits) as store:
                    client.total = client.sent = store.append(client.stream.symbol, client.stream.batch(0))
                del store
                own = service_environment(setting) | {"APP_STORE__DATA_DIR": str(inner / "data")}
                child = nursery.spawn("service", directory=str(place), settings=own)
                child.start()
                try:
                    url = f"http://127.0.0.1:{serving_port(child)}"
                    with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
                        for number in range(cuts):
                            client.post(http, int(generator.integers(1, 12)))
                            bounds = _cut(client, http, durability, disk, cut)
                            counts.add(Kind.EXT4_CUTS, durability)
                            with (
                                counts.judged(f"ext4, tier {durability}, cut {number}, seed {seed}"),
                                mounted(cut, place / "after") as after,
                            ):
                                restart_machine(after / "data")
                                check_twice(after / "data", setting, all_streams, bounds, writable=True)
                            cut.unlink()
                finally:
                    child.kill()


def _cut(
    client: Client, http: httpx.Client, durability: Durability, disk: Path, cut: Path
) -> tuple[tuple[int], tuple[int]]:
    """Copy the disk while batches are posted; return what must be on the copy, and what may be."""
    least = client.total if durability is Durability.SYNC else durable_total(http)
    copying = subprocess.Popen(["cp", "--reflink=always", str(disk), str(cut)])  # noqa: S607
    client.post(http, 1)
    while copying.poll() is None:
        client.post(http, 1)
    assert copying.returncode == 0
    return (least,), (client.sent,)
