"""A server process that an adapter starts, waits for, and stops."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PATIENCE_S = 60.0


class ServerProcess:
    """A child process that listens on this machine only; its output goes to `directory`/server.out."""

    def __init__(
        self, command: Sequence[str], directory: Path, *, variables: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:  # fmt: skip
        """Start it, as `user` if given (only root can)."""
        self.output = directory / "server.out"
        with self.output.open("ab") as sink:
            self._from = sink.tell()
            self._process = subprocess.Popen(
                command, cwd=directory, env={**os.environ, **(variables or {})}, stdin=subprocess.DEVNULL, stdout=sink,
                stderr=subprocess.STDOUT, user=user, group=user, extra_groups=[] if user else None,
            )  # fmt: skip
        self.pid = self._process.pid

    def text(self) -> str:
        """Return what it has printed."""
        return self.output.read_bytes()[self._from :].decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return once `ready()`; fails, with what the process printed, if it ends before or takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"{self._process.args!r} does not serve: {self.text()[-2000:]}")
            time.sleep(0.002)

    def wait_for_line(self, beginning: str) -> str:
        """Return the first line it prints that starts with `beginning`."""
        found: list[str] = []

        def printed() -> bool:
            lines = self.text().splitlines(keepends=True)
            found.extend(line for line in lines if line.startswith(beginning) and line.endswith("\n"))
            return bool(found)

        self.wait_until(printed)
        return found[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop and wait until it has."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
