"""A real service in a process of its own, for tests."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from tests.hatchery import Hatched, can_hatch, hatch

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "api.cli.command"]
PATIENCE_S = 120.0  # a busy machine is no fault
# What tests run with unless they say otherwise: a free port, no eight megabytes for each symbol, and no log lines that
# come only where the machine is busy.
TEST_SETTINGS: Mapping[str, object] = {
    "server.port": 0,
    "server.host_names": "a, test, x",  # what requests that tests write by hand call it
    "store.starting_capacity": 4096,
    "log.slow_request_ms": 60_000,
}

# Takes the place of systemd between fork and exec: descriptors from 3 on, and the variables that announce them.
AS_SYSTEMD = """
import fcntl, os, sys
from tests.hatchery import as_passed
kept = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[1].split(",")]
for number, fd in enumerate(kept):
    os.dup2(fd, 3 + number)
os.environ.update(as_passed(len(kept)))
os.execv(sys.argv[2], sys.argv[2:])
"""

Event = dict[str, Any]


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return this process's environment without any APP_ variable but those of `settings` ("server.port": 0)."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("APP_")}
    variables = {f"APP_{key.upper().replace('.', '__')}": str(value) for key, value in settings.items()}
    return inherited | variables | {"PYTHONPATH": str(ROOT)}


def as_systemd(sockets: Sequence[int]) -> list[str]:
    """Return the launcher of a service that passes it these descriptors as systemd does."""
    return [sys.executable, "-c", AS_SYSTEMD, ",".join(map(str, sockets))]


def run_command(directory: Path, *args: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run `hft-mmap ARGS` in `directory` to its end; a setting `server__port=0` becomes its variable."""
    variables = environment({name.replace("__", "."): value for name, value in settings.items()})
    if can_hatch(variables):
        process = hatch(args, directory, variables)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess([*COMMAND, *args], process.wait(), stdout, stderr)
    return subprocess.run(
        [*COMMAND, *args], cwd=directory, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as `condition()` is true; fail after PATIENCE_S with `what` was awaited."""
    asked = time.monotonic()
    deadline = asked + PATIENCE_S
    while not condition():
        now = time.monotonic()
        assert now < deadline, f"waited {PATIENCE_S} s for {what}"
        # PERF: to ask takes a processor, a third of one at most: one that starts a process would else take all of it
        # from what is waited for.
        time.sleep(max(0.005, 2 * (now - asked)))
        asked = time.monotonic()


class Service:
    """A running service: its process, where it listens, its files, and every line that it logged."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, object],
        *,
        launcher: Sequence[str] = (),
        sockets: Sequence[int] = (),
    ) -> None:
        """Start it in `directory`, where `data/` and `logs/` will be; `launcher` is a command that becomes it.

        sockets: descriptors that it finds as systemd passes them; a launcher, as of `as_systemd`, takes care of that.
        """
        self.directory = directory
        self.data_dir = directory / "data"
        self.log_file = directory / "logs" / "app.log"
        self.port = 0
        self.url = ""
        self.client = httpx.Client()
        self._lines: list[str] = []
        self._log_ended = False
        self._news = threading.Condition()
        self.process = self._start(environment({**TEST_SETTINGS, **settings}), launcher, sockets)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _start(
        self, variables: dict[str, str], launcher: Sequence[str], sockets: Sequence[int]
    ) -> subprocess.Popen[str] | Hatched:
        if can_hatch(variables) and not launcher:
            return hatch(["serve"], self.directory, variables, sockets)
        if sockets and not launcher:
            launcher = as_systemd(sockets)
        return subprocess.Popen(
            [*launcher, *COMMAND, "serve"], cwd=self.directory, env=variables, pass_fds=sockets,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_until_serving(self) -> Self:
        """Return once requests are answered, with `port`, `url` and `client` set."""
        self.port = self.wait_for_event("serving")["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client.close()
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S)
        return self

    def events(self, name: str | None = None) -> list[Event]:
        """Return what was logged so far, or the events of that name."""
        with self._news:
            events: list[Event] = [json.loads(line) for line in self._lines]
        return [event for event in events if name in {None, event["event"]}]

    def wait_for_event(self, name: str, **fields: object) -> Event:
        """Return the first event of that name with these fields, as soon as it is logged."""

        def found() -> Event | None:
            return next((event for event in self.events(name) if fields.items() <= event.items()), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._log_ended, PATIENCE_S)
        event = found()
        if event is None:
            self.process.kill()
            stderr = self.process.stderr.read() if self.process.stderr else ""
            raise AssertionError(f"no event {name} {fields} among {self.events()}; standard error: {stderr}")
        return event

    def connect(self) -> socket.socket:
        """Return a raw connection to the service, for what no HTTP client would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def add(self, symbol: str, values: list[float]) -> httpx.Response:
        """Append a batch."""
        return self.client.post("/add_batch/", json={"symbol": symbol, "values": values})

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code, once every line it logged was read."""
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        assert self.stop(signal.SIGKILL) == -signal.SIGKILL

    def wait(self) -> int:
        """Return the exit code once the process has ended."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def close(self) -> None:
        """Free everything; a process that still runs is killed."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.client.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._log_ended = True
            self._news.notify_all()


@contextmanager
def running_service(directory: Path, **settings: object) -> Iterator[Service]:
    """Yield a service that serves in `directory`; a setting `server__port=8080` becomes its variable."""
    service = Service(directory, {name.replace("__", "."): value for name, value in settings.items()})
    try:
        yield service.wait_until_serving()
    finally:
        service.close()
