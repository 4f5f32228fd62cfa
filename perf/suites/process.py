"""Whole processes: imports, and from the start of the service to its first answer."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from perf import servers
from perf.case import Case, Prepare, TimeFunction, Work, name
from perf.lab import ROOT, SYMBOL, Lab
from perf.requests import get

MODULES = ("hft_mmap", "api.app", "api.server", "api.cli.command")


def _python(code: str) -> Prepare:
    """Run a Python process that does `code`, from start to end."""

    @contextmanager
    def prepare(_lab: Lab) -> Iterator[TimeFunction]:
        def run(loops: int) -> float:
            begin = perf_counter()
            for _ in range(loops):
                subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
            return perf_counter() - begin

        run(1)  # compiles what is not compiled yet
        yield run

    return prepare


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def first_answer(
    data: Path, target: str = f"/stats/?symbol={SYMBOL}&exponent=8", more: Mapping[str, object] | None = None
) -> float:  # fmt: skip
    """Start the service over `data`, with `more` settings; return the seconds until its first 200; stop it."""
    port = _free_port()
    settings = {
        "server.port": port,
        "store.data_dir": data,
        "store.max_data_retention": 10**9,
        "store.cleanup_keep_count": 10**9,
        **(more or {}),
    }
    environment = servers.environment(settings)
    request = get(target)
    with (data.parent / "server.out").open("wb") as sink:
        begin = perf_counter()
        process = subprocess.Popen(servers.SERVICE, cwd=data.parent, env=environment, stdout=sink, stderr=sink)
        try:
            while True:
                assert process.poll() is None, (data.parent / "server.out").read_text()
                try:
                    with socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(request)
                        answer = connection.recv(4096)
                except OSError:
                    time.sleep(0.001)
                    continue
                if answer.startswith(b"HTTP/1.1 200"):
                    return perf_counter() - begin
                assert not answer, answer
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(servers.PATIENCE_S)


def _first_answer(stored: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with lab.borrowed(stored) as data:
            first_answer(data)
            yield lambda loops: sum(first_answer(data) for _ in range(loops))

    return prepare


def cases() -> list[Case]:
    """Return the cases of this suite."""
    start = Work(1, "starts")
    found = [Case(name("process", "python"), _python("pass"), start)]
    found += [Case(name("process", "import", module=one), _python(f"import {one}"), start) for one in MODULES]
    found += [Case(name("process", "first_answer", stored=n), _first_answer(n), start, slow_s=1.5) for n in (10, 10**8)]
    return found
