"""Real servers of a log on loopback, for tests: started, killed, paused. Those of NATS; Kafka: brokers.py."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from urllib.request import urlopen

from tests.service import wait_until

PROGRAM = shutil.which("nats-server", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))


def free_ports(n: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class LogServers:
    """The servers of a log, and what is done to them."""

    directory: Path
    ports: list[int]
    processes: list["subprocess.Popen[bytes] | None"]

    @property
    def settings(self) -> dict[str, object]:
        """What a replica needs to know of them."""
        raise NotImplementedError

    @staticmethod
    def bound(max_bytes: int) -> tuple[str, ...]:
        """Return the options of `cluster create` that bound the log."""
        raise NotImplementedError

    def start(self, i: int) -> None:
        """Start one."""
        raise NotImplementedError

    def leader(self, rng: Random) -> int:
        """Return which one orders the records of a log, any of them where nobody says."""
        raise NotImplementedError

    def running(self, i: int) -> "subprocess.Popen[bytes]":
        """Return the process of one."""
        process = self.processes[i]
        assert process is not None
        return process

    def kill(self, i: int) -> None:
        """End one without mercy."""
        process = self.running(i)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, i: int) -> None:
        """Ask one to end, and wait until it has."""
        self.running(i).terminate()
        self.running(i).wait()


class Nats(LogServers):
    """A cluster of servers."""

    def __init__(self, directory: Path, servers: int) -> None:
        self.directory = directory
        ports = free_ports(3 * servers)
        self.ports, self.routes, self.monitors = (ports[i * servers : (i + 1) * servers] for i in range(3))
        self.processes = [None] * servers

    @property
    def settings(self) -> dict[str, object]:
        """What a replica needs to know of them."""
        named = {"cluster__servers": self.addresses, "cluster__monitor_urls": self.monitor_urls}
        return {"cluster__log": "nats", **named}

    @staticmethod
    def bound(max_bytes: int) -> tuple[str, ...]:
        """Return the options of `cluster create` that bound the log."""
        return "--max-bytes", str(max_bytes)

    @property
    def addresses(self) -> str:
        """The setting cluster.servers."""
        return ",".join(f"nats://127.0.0.1:{port}" for port in self.ports)

    @property
    def monitor_urls(self) -> str:
        """The setting cluster.monitor_urls."""
        return ",".join(f"http://127.0.0.1:{port}" for port in self.monitors)

    def start(self, i: int, sync: str = "always") -> None:
        """Start one, and wait until it listens."""
        place = self.directory / f"nats{i}"
        place.mkdir(exist_ok=True)
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in self.routes)
        cluster = f"cluster {{ name: C, listen: 127.0.0.1:{self.routes[i]}, routes: [{routes}] }}"
        text = f"""
            server_name: n{i}
            listen: 127.0.0.1:{self.ports[i]}
            http: 127.0.0.1:{self.monitors[i]}
            jetstream {{ store_dir: "{place}/js", max_mem: 64MB, max_file: 4GB, sync_interval: {sync} }}
            {cluster if len(self.ports) > 1 else ""}
        """
        (place / "nats.conf").write_text(text)
        assert PROGRAM is not None
        command = [PROGRAM, "-c", str(place / "nats.conf"), "-l", str(place / "log")]
        self.processes[i] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.listens(i), f"nats-server {i}")

    def listens(self, i: int) -> bool:
        """Say whether one takes connections."""
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.ports[i]), 1).close()
            return True
        return False

    def leader(self, rng: Random) -> int:
        """Return which one orders the records of a stream, any of them where nobody says."""
        for url in self.monitors:
            with suppress(OSError, ValueError, KeyError, IndexError):
                told = json.load(urlopen(f"http://127.0.0.1:{url}/jsz?streams=true", timeout=1))
                stream = told["account_details"][0]["stream_detail"][0]
                return int(stream["cluster"]["leader"].removeprefix("n"))
        return rng.randrange(len(self.ports))


@contextmanager
def nats_servers(directory: Path, servers: int) -> Iterator[Nats]:
    """Yield servers that run; they end with the block."""
    nats = Nats(directory, servers)
    try:
        for i in range(servers):
            nats.start(i)
        yield nats
    finally:
        for process in nats.processes:
            if process is not None:
                process.kill()
                process.wait()
