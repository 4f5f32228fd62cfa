"""Eight processes on one store: four write, one of them the service, four read; the model judges.

For 8 s, or SOAK_SECONDS: `.ci/run` has it go on for a minute.
"""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from hft_mmap import STANDARD_WINDOWS, Durability, Store, WindowStats
from hft_mmap.testing import lose_power
from tests.service import PATIENCE_S
from tests.torture.endless import LIMITS, SYMBOLS, Endless
from tests.torture.kills import SERVICE_ENVIRONMENT, acknowledged, scratch, serving_port
from tests.torture.nursery import Child, Nursery

SECONDS = float(os.environ.get("SOAK_SECONDS", "8"))
READERS = 4
TRIES = 20
LONGEST_LIFE_S = 1.5
"""Of the writer that is killed again and again."""


class Soak:
    """The processes over one directory, and what they have told so far."""

    def __init__(self, nursery: Nursery, place: Path) -> None:
        """Make the store, with a first batch of each symbol."""
        self._nursery = nursery
        self.path = place / "data"
        self.stop = place / "stop"
        self.streams = [Endless(which) for which in range(len(SYMBOLS))]
        with Store(self.path, limits=LIMITS) as store:
            self.totals = [store.append(stream.symbol, stream.batch(0)[0]) for stream in self.streams]

    def start(self, task: str, **arguments: object) -> Child:
        """Start a process."""
        child = self._nursery.spawn(task, path=str(self.path), stop=str(self.stop), **arguments)
        child.start()
        return child

    def serve(self) -> Child:
        """Start a service."""
        environment = SERVICE_ENVIRONMENT | {
            "APP_STORE__MAX_DATA_RETENTION": str(LIMITS.max_data_retention),
            "APP_STORE__CLEANUP_KEEP_COUNT": str(LIMITS.cleanup_keep_count),
            "APP_STORE__DURABILITY": "sync",
        }
        child = self._nursery.spawn("service", directory=str(self.path.parent), settings=environment)
        child.start()
        return child

    def request(self, http: httpx.Client) -> int:
        """Post a batch of each symbol, and ask for its statistics; return how many batches were taken."""
        taken = 0
        for i, stream in enumerate(self.streams):
            for _ in range(TRIES):
                batch, end = stream.batch(self.totals[i])
                body = {"symbol": stream.symbol, "values": batch.tolist(), "offset": self.totals[i]}
                answer = http.post("/add_batch/", json=body)
                # 409: another writer was first; the answer says where the series ends now.
                assert answer.status_code in {httpx.codes.OK, httpx.codes.CONFLICT}, answer.text
                self.totals[i] = int(answer.json()["total"])
                if answer.status_code == httpx.codes.OK:
                    assert self.totals[i] == end
                    taken += 1
                    break
            answer = http.get("/stats/", params={"symbol": stream.symbol})
            assert answer.status_code == httpx.codes.OK, answer.text
            found = answer.json()
            total, count = found["total"], found["count"]
            windows = zip(STANDARD_WINDOWS, found["windows"].values(), strict=True)
            stats = tuple(WindowStats(**fields, points=min(window, count)) for window, fields in windows)
            stream.check_windows(total - count, total, stats)
            assert total >= self.totals[i]
            self.totals[i] = total
        return taken

    def kill(self, child: Child) -> None:
        """Kill a writer: what it told that the store had taken is there."""
        assert child.kill() == -signal.SIGKILL, child.lines()[-1]
        with Store(self.path, mode="r") as store:
            present = tuple(store.series(stream.symbol).total for stream in self.streams)
        assert acknowledged(child, "ack", present) == present


@pytest.mark.timeout(2 * SECONDS + 240)
def test_eight_processes_share_a_store(nursery: Nursery) -> None:
    """Whatever a writer, a reader or a client is answered is what the model says, and no acknowledged batch is lost."""
    generator = np.random.default_rng(1)
    with scratch() as place, ExitStack() as stack:
        soak = Soak(nursery, place)
        service = soak.serve()
        stack.callback(service.end)
        http = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{serving_port(service)}", timeout=PATIENCE_S)
        )
        children = [soak.start("soak_write", durability=tier) for tier in (Durability.PROCESS, Durability.INTERVAL)]
        children += [soak.start("soak_read", seed=seed) for seed in range(READERS)]
        for child in children:
            stack.callback(child.end)
        posted = kills = 0
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            victim = soak.start("soak_write", durability=tuple(Durability)[kills % 3])
            stack.callback(victim.end)
            life = time.monotonic() + generator.random() * LONGEST_LIFE_S
            while time.monotonic() < life:
                posted += soak.request(http)
                for child in (victim, service, *children):
                    child.read_for(0.001)
            soak.kill(victim)
            kills += 1
        soak.stop.touch()
        ends = [(child.wait(), *child.lines()[-1]) for child in children]
        assert [end for end in ends if end[:2] != (0, "done")] == []
        os.kill(service.pid, signal.SIGTERM)
        assert service.wait() == 0
        told = [child.lines()[-1][1:] for child in children]
        print(f"{posted} batches over HTTP, {kills} kills, appends and conflicts or answers: {told}")  # noqa: T201
        _check_what_is_left(soak)
        lose_power(soak.path)
        _check_what_is_left(soak)


def _check_what_is_left(soak: Soak) -> None:
    """Check the store that all have closed, with every file of it."""
    with Store(soak.path, limits=LIMITS) as store:
        assert store.reasons() == []
        for stream, told in zip(soak.streams, soak.totals, strict=True):
            assert stream.check_end(store) >= told
        assert [report.faults for report in store.verify()] == [()] * len(soak.streams)
