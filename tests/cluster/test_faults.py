"""No batch is lost, doubled or changed while replicas and servers of the log die, freeze and restart."""

import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic

import pytest

from tests.cluster.brokers import kafka_brokers, needs_kafka
from tests.cluster.faults import FAULTS, history
from tests.cluster.servers import LogServers, nats_servers
from tests.cluster.shards import create, needs_nats

SERVERS: dict[str, Callable[[Path, int], AbstractContextManager[LogServers]]] = {
    "nats": nats_servers, "kafka": kafka_brokers,
}  # fmt: skip


def one(log: str, directory: Path, seed: int, faults: int, **more: object) -> tuple[Counter[str], int]:
    """Make a history with a log of its own."""
    directory.mkdir(exist_ok=True)
    with SERVERS[log](directory, 3) as servers:
        create(servers, directory)
        return history(servers, directory, seed, faults, **more)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("log", [pytest.param("nats", marks=needs_nats), pytest.param("kafka", marks=needs_kafka)])
def test_no_batch_is_lost_or_doubled_while_everything_is_killed(tmp_path: Path, log: str) -> None:
    """Each fault once, with writers at both replicas: every value in both is the one that was acknowledged."""
    happened, compared = one(log, tmp_path, 1, len(FAULTS))
    assert all(happened[kind] == 1 for kind in FAULTS)
    assert happened["200"] > len(FAULTS)
    assert compared > 0
    sys.stdout.write(f"{dict(happened)}, {compared} numbers compared\n")


@pytest.mark.torture
def test_torture(tmp_path: Path) -> None:
    """Histories from their seeds, for CLUSTER_SECONDS; those of odd seeds keep the newest points only."""
    log = os.environ.get("CLUSTER_LOG") or "nats"
    seconds, first = float(os.environ.get("CLUSTER_SECONDS") or 600), os.environ.get("CLUSTER_SEED")
    seed = int(first) if first else secrets.randbelow(10**6)
    happened: Counter[str] = Counter()
    compared, histories, begin = 0, 0, monotonic()
    while monotonic() - begin < seconds:
        sys.stderr.write(f"seed {seed}\n")
        kept = {"store__max_data_retention": 200_000, "store__cleanup_keep_count": 50_000} if seed % 2 else {}
        found, numbers = one(log, tmp_path / str(seed), seed, 2 * len(FAULTS), **kept)
        happened.update(found)
        compared += numbers
        histories, seed = histories + 1, seed + 1
        sys.stderr.write(f"{histories} histories, {compared} numbers compared, 0 wrong: {dict(happened)}\n")
    assert histories
