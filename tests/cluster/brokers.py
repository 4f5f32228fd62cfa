"""Real brokers of Kafka on loopback, for tests: started, killed, paused."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from api.cli import local_kafka
from api.cluster.kafka import topic_of
from tests.cluster.servers import LogServers, free_ports
from tests.service import wait_until

WHY_NOT = "; ".join(local_kafka.missing())
needs_kafka = [pytest.mark.kafka, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "it is there")]


class Kafka(LogServers):
    """Three brokers, or as many as are asked for, which are controllers too."""

    def __init__(self, directory: Path, servers: int) -> None:
        self.directory = directory
        ports = free_ports(2 * servers)
        self.ports, self._controllers = ports[:servers], ports[servers:]
        self.processes = [None] * servers
        self._places = [directory / f"kafka{i}" for i in range(servers)]
        for number, place in enumerate(self._places, 1):
            place.mkdir()
            text = local_kafka.configuration(number, self.ports, self._controllers)
            (place / local_kafka.CONFIGURATION_NAME).write_text(text)
        local_kafka.prepare(self._places)

    @property
    def settings(self) -> dict[str, object]:
        """What a replica needs to know of them."""
        return {"cluster__log": "kafka", "cluster__servers": ",".join(f"127.0.0.1:{port}" for port in self.ports)}

    @staticmethod
    def bound(_max_bytes: int) -> tuple[str, ...]:
        """Return nothing: a topic has no bound that refuses."""
        return ()

    def start(self, i: int) -> None:
        """Start one; it listens once it has met another."""
        with (self._places[i] / "said").open("ab") as said:
            self.processes[i] = subprocess.Popen(
                local_kafka.command(heap_mib=256), cwd=self._places[i], stdout=said, stderr=said
            )

    def listens(self, i: int) -> bool:
        """Say whether one takes connections; it must not have ended."""
        assert self.running(i).poll() is None, (self._places[i] / "said").read_text()[-2000:]
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.ports[i]), 1).close()
            return True
        return False

    def leader(self, rng: Random) -> int:
        """Return which one orders the records of shard 0, any of them where nobody says."""
        asked = AdminClient({"bootstrap.servers": str(self.settings["cluster__servers"]), "log_level": 0})
        with suppress(KafkaException):
            leader = asked.list_topics(topic_of(0), timeout=2).topics[topic_of(0)].partitions[0].leader
            if leader > 0:
                return int(leader) - 1
        return rng.randrange(len(self.ports))

    def stop(self, i: int) -> None:
        """Ask one to end; it has others to tell, who may not answer."""
        self.running(i).terminate()
        try:
            self.running(i).wait(10)
        except subprocess.TimeoutExpired:
            self.kill(i)


@contextmanager
def kafka_brokers(directory: Path, servers: int = 3) -> Iterator[Kafka]:
    """Yield brokers that run; they end with the block."""
    kafka = Kafka(directory, servers)
    try:
        for i in range(servers):
            kafka.start(i)
        for i in range(servers):
            wait_until(lambda i=i: kafka.listens(i), f"broker {i}")  # type: ignore[misc]
        yield kafka
    finally:
        for process in kafka.processes:
            if process is not None:
                process.send_signal(signal.SIGKILL)
                process.wait()
