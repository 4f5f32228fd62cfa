"""Power cuts of a FUSE disk: sessions of the unmodified store and service, killed on the way, and what may be left.

What strace can't see is here too: what the kernel writes back of the live words, which are stored through a mapping.
"""

import ctypes.util
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from hft_mmap import Durability, Store
from hft_mmap.testing import SERIES_HEADS, restart_machine
from hft_mmap.tree.words import HEAD_BYTES
from tests.service import PATIENCE_S, ROOT, wait_until
from tests.torture.counts import Counts, Kind
from tests.torture.disk import Disk
from tests.torture.http_calls import Client, service_environment
from tests.torture.kills import LONGEST_DELAY_S, scratch, serving_port
from tests.torture.nursery import Nursery
from tests.torture.power import CUTS_OF_A_SESSION, SESSION_CHUNKS, SESSIONS_OF_A_LIFE, Cuts
from tests.torture.stream import FEW_BATCHES, SYMBOLS, Fault, Setting, State, Stream, streams
from tests.torture.told import TOLD
from tests.torture.tracing import Call, Moment

KILLED_SESSIONS = 2
DURABLE = "hft_mmap_series_durable_points_total"


def fuse_works() -> bool:
    """Return whether everything is there that a FUSE file system needs."""
    return (
        os.geteuid() == 0
        and Path("/dev/fuse").exists()
        and importlib.util.find_spec("mfusepy") is not None
        and ctypes.util.find_library("fuse3") is not None
    )


class FuseDisk(Disk):
    """A disk whose calls a FUSE file system notes: live words are written to it like everything else."""

    def crash(self, generator: np.random.Generator, target: Path, *, any_words: bool = False) -> None:
        """Make `target` what the disk may hold after a power cut; the machine that opens it has another boot id."""
        super().crash(generator, target, any_words=any_words or not generator.integers(4))
        for data in target.iterdir():
            if all(head.stat().st_size == HEAD_BYTES for head in data.glob(SERIES_HEADS)):
                restart_machine(data)


class Mounted:
    """A directory seen through the file system that notes what is done to it."""

    def __init__(self, backing: Path, place: Path) -> None:
        """Use `place`/mounted for what is below `backing`."""
        self.path = place / "mounted"
        self.told = f"{self.path}{TOLD}"
        self._log = place / "calls"
        self._files = (str(backing), str(self.path), str(self._log))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mount it until the end; skip the test where that is not allowed."""
        self.path.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.torture.fuse_server", *self._files]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
            wait_until(lambda: self.path.is_mount() or server.poll() is not None, "the file system")
            if server.poll() is not None:
                pytest.skip(f"FUSE does not work here: {server.communicate()[0].strip()}")
            try:
                yield
            finally:
                subprocess.run(["umount", "--lazy", str(self.path)], check=True)  # noqa: S607
                said = server.communicate(timeout=PATIENCE_S)[0]
        assert not said, said

    def moments(self) -> list[Moment]:
        """Return the calls that were noted, each as a beginning and an end."""
        found: list[Moment] = []
        told = b""
        with self._log.open("rb") as log:
            while line := log.readline():
                name, paths, numbers, result, size = json.loads(line)
                strings = [path.encode() for path in paths] or [log.read(size)] * bool(size)
                if name == "write":
                    # The kernel cuts a write in two at the end of a page; a line counts once it is whole.
                    told += strings[0]
                    if not told.endswith(b"\n"):
                        continue
                    strings, told = [told], b""
                call = Call(name, strings, [str(number) for number in numbers], result)
                found += [(True, call), (False, call)]
        return found


def fuse_life(nursery: Nursery, seed: int, durability: Durability, sessions: int, cuts: int, counts: Counts) -> None:
    """Record processes that append, killed and started again, and cut the power of it all; begin from what is left."""
    setting = Setting.drawn(seed, durability)
    generator = np.random.default_rng([seed, 95])
    state: State = ((0, 0),) * len(SYMBOLS)
    with scratch() as place:
        root, next_root = place / "disk", place / "next"
        root.mkdir()
        for number in range(sessions):
            what = f"FUSE, tier {durability}, session {number}, seed {seed}"
            broken = len(counts.texts)
            cutter = Cuts(nursery, FuseDisk(root), setting, state, generator, Kind.FUSE_CUTS)
            mounted = Mounted(root, place)
            with mounted.running():
                for left in reversed(range(KILLED_SESSIONS + 1)):
                    child = nursery.spawn(
                        "told_session", told=mounted.told, path=str(mounted.path / "data"), setting=setting.fields(),
                        batches=20 + SESSION_CHUNKS * setting.chunk_points // 100, most_tries=1,
                    )  # fmt: skip
                    child.start()
                    if left:
                        child.read_for(LONGEST_DELAY_S * 4 * generator.random())
                        child.kill()
                    elif code := child.wait():
                        raise Fault(f"{what}: exit code {code}, {child.lines()}")
            moments = mounted.moments()
            told = [call.strings[0] for begins, call in moments if begins and call.name == "write"]
            if told[-1:] != [b"done\n"]:
                raise Fault(f"{what}: the last session did not end: {told[-3:]}")
            state = cutter.run(moments, next_root, cuts, counts, what)
            if len(counts.texts) > broken:
                return
            shutil.rmtree(root)
            next_root.rename(root)


def fuse_once(nursery: Nursery, seed: int, durability: Durability, counts: Counts) -> None:
    """Do both: a life of the library, and one session of the service."""
    fuse_life(nursery, seed, durability, SESSIONS_OF_A_LIFE, CUTS_OF_A_SESSION, counts)
    fuse_service(nursery, seed, durability, CUTS_OF_A_SESSION, counts)


def fuse_service(nursery: Nursery, seed: int, durability: Durability, cuts: int, counts: Counts) -> None:
    """Record the real service under a client, killed and started again, and cut the power of it all."""
    sizes = (10, 70, 10, 70)
    setting = Setting(seed, durability.value, 64, 684, 292, symbols=1, sizes=sizes)
    all_streams = streams(setting, FEW_BATCHES)
    client = Client(all_streams[0])
    environment = service_environment(setting)
    with scratch() as place:
        root = place / "disk"
        with Store(root / "data", limits=setting.limits) as store:
            client.total = client.sent = store.append(client.stream.symbol, client.stream.batch(0))
        generator = np.random.default_rng([seed, 94])
        state = ((client.total, 0),)
        cutter = Cuts(nursery, FuseDisk(root), setting, state, generator, Kind.FUSE_CUTS)
        mounted = Mounted(root, place)
        with mounted.running():
            for number in (signal.SIGKILL, signal.SIGTERM):
                own = environment | {"APP_STORE__DATA_DIR": str(mounted.path / "data")}
                child = nursery.spawn("service", directory=str(place), settings=own)
                child.start()
                with httpx.Client(base_url=f"http://127.0.0.1:{serving_port(child)}", timeout=PATIENCE_S) as http:
                    _post_and_tell(client, http, mounted.told, 20)
                os.kill(child.pid, number)
                child.wait()
        cutter.run(mounted.moments(), place / "next", cuts, counts, f"the service on FUSE, {durability}, seed {seed}")


def _post_and_tell(client: Client, http: httpx.Client, told: str, batches: int) -> None:
    """Send batches, and tell what was sent, acknowledged, and called durable by /metrics."""
    fd = os.open(told, os.O_WRONLY)
    try:
        for _ in range(batches):
            os.write(fd, f"sent 0 {Stream.after(client.stream, client.total)}\n".encode())
            client.post(http, 1)
            os.write(fd, f"ack 0 {client.total}\n".encode())
            os.write(fd, f"durable 0 {durable_total(http)}\n".encode())
    finally:
        os.close(fd)


def durable_total(http: httpx.Client) -> int:
    """Return how many points of the only symbol /metrics calls durable."""
    line = next(line for line in http.get("/metrics").text.splitlines() if line.startswith(DURABLE))
    return int(float(line.split()[-1]))
