"""The service, or the bare endpoint, in a process of its own, on the cores it is told to use."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from perf.lab import ROOT

PATIENCE_S = 60.0
SERVICE = (sys.executable, "-m", "api.cli.command", "serve")
BARE = (sys.executable, "-m", "perf.bare")
BARE_ON_OUR_PROTOCOL = (*BARE, "own")
BARE_ASGI = (*BARE, "asgi")
BARE_PREPARED = (*BARE, "prepared")


def sink(request_bytes: int) -> tuple[str, ...]:
    """Return the command of a socket that answers after so many bytes."""
    return (sys.executable, "-m", "perf.sink", str(request_bytes))


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu_seconds(self) -> float:
        """Return the processor time that all its threads have used until now (resolution 1 ns)."""
        spent = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            spent += int((task / "schedstat").read_text().split()[0])
        return spent / 1e9

    def peak_memory_bytes(self) -> int:
        """Return the most memory it has held at once, mapped files that were read included."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
        return 0


@contextmanager
def on_cores(cores: Sequence[int] | None) -> Iterator[None]:
    """Run this thread, and whatever it starts, on `cores` only; None changes nothing."""
    before = os.sched_getaffinity(0)
    if cores is not None:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return the environment of a server: ours, with `settings` ("store.durability": "sync") as APP_ variables.

    APP_ variables of ours reach it as well, unless `settings` has another value for the same key.
    """
    variables = {f"APP_{key.upper().replace('.', '__')}": str(value) for key, value in settings.items()}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | variables | {"PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def running(
    command: Sequence[str], directory: Path, settings: Mapping[str, object] | None = None,
    cores: Sequence[int] | None = None, *, listener: socket.socket | None = None,
) -> Iterator[Server]:  # fmt: skip
    """Yield a server that was started in `directory`, once it listens; stop it in order afterwards.

    A `listener` is passed to it as systemd does, and several servers may have the same.
    """
    output = directory / "server.out"
    fds = [listener.fileno()] if listener is not None else []
    if fds:
        command = ["bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&{fds[0]}', "bash", *command]
    with output.open("wb") as sink, on_cores(cores):
        process = subprocess.Popen(
            command, cwd=directory, env=environment(settings or {}), stdout=sink, stderr=subprocess.STDOUT, pass_fds=fds
        )
    try:
        yield Server(process, _port(process, output))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()


def service(
    directory: Path, data: Path, settings: Mapping[str, object] | None = None, cores: Sequence[int] | None = None,
    *, listener: socket.socket | None = None,
) -> AbstractContextManager[Server]:  # fmt: skip
    """Return the context of a service over `data`, on a free port, with room for a whole benchmark."""
    roomy = {
        "server.port": 0, "store.data_dir": data, "store.max_data_retention": 1_000_000_000,
        "store.cleanup_keep_count": 1_000_000_000, "store.max_symbols": 100,
    }  # fmt: skip
    return running(SERVICE, directory, {**roomy, **(settings or {})}, cores, listener=listener)


def _port(process: subprocess.Popen[bytes], output: Path) -> int:
    """Wait for the line that says where it listens."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in output.read_bytes().splitlines():
            if b'"serving"' in line:
                return int(json.loads(line)["port"])
        time.sleep(0.001)
    raise AssertionError(f"{process.args!r} does not serve:\n{output.read_text()}")
