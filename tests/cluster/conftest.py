"""What tests of several machines share: a server of the log, and two replicas."""

from collections.abc import Iterator

import pytest

from tests.cluster.servers import Nats, nats_servers
from tests.cluster.shards import replicas
from tests.service import Service


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """Yield one server."""
    with nats_servers(tmp_path_factory.mktemp("nats"), 1) as one:
        yield one


@pytest.fixture(scope="module")
def both(nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Service]]:
    """Yield two replicas of a shard."""
    with replicas(nats, tmp_path_factory.mktemp("shard"), store__max_symbols=50) as found:
        yield found
