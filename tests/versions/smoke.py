"""What an environment has to be able to do, run by its own Python: `python -m tests.versions.smoke`.

Imports every module, then starts a service and uses each way into it and out of it once: JSON, binary, Arrow, NDJSON
and compressed bodies, statistics, points, metrics, WebSockets, events, the clients and the import of files; and has the
library take what polars makes. It knows no pytest, which the environment has not, and no httpx but that of the client.
Exits with 1 and a traceback at the first thing that does not work.
"""

import gzip
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pyarrow as pa
from websockets.sync.client import connect

import api
import hft_mmap
from hft_mmap.client import Client

TIMEOUT_S = 60
_NEEDS_MORE = "hft_mmap.testing"  # the kit for tests of stores needs hypothesis
_VALUES = [1.0, 2.0, 4.0]


def import_all() -> int:
    """Import every module of both packages; return how many there are."""
    names = [
        module.name
        for package in (api, hft_mmap)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.name.startswith(_NEEDS_MORE)
    ]
    for name in names:
        importlib.import_module(name)
    return len(names)


@contextmanager
def serving(directory: Path) -> Iterator[int]:
    """Yield the port of a service that runs in `directory`; it must end with 0 when it is asked to."""
    settings = {"APP_SERVER__PORT": "0", "APP_STORE__STARTING_CAPACITY": "4096"}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "api.cli.command", "serve"],
        cwd=directory,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            event = next(event for event in map(json.loads, process.stdout) if event["event"] == "serving")
            yield event["port"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT_S) == 0
        finally:
            process.kill()


def ask(port: int, path: str, body: bytes | None = None, **headers: str) -> tuple[bytes, Mapping[str, str]]:
    """Return body and headers of an answer; AssertionError with the text of a refusal."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(f"http://127.0.0.1:{port}{path}", data=body, headers=named)
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return answer.read(), answer.headers
    except HTTPError as error:
        raise AssertionError(f"{path}: {error.read().decode()}") from None


def append_all_ways(port: int) -> None:
    """Send three values by every kind of body; the series has all of them."""
    values = np.array(_VALUES, dtype="<f8")
    batch = json.dumps({"symbol": "A", "values": _VALUES}).encode()
    sink = pa.BufferOutputStream()
    table = pa.table({"price": _VALUES})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    bodies: list[tuple[str, bytes, dict[str, str]]] = [
        ("/add_batch/", batch, {"Content_Type": "application/json"}),
        ("/add_batch", gzip.compress(batch), {"Content_Type": "application/json", "Content_Encoding": "gzip"}),
        ("/add_batch?symbol=A", values.tobytes(), {"Content_Type": "application/octet-stream"}),
        ("/add_batch?symbol=A", sink.getvalue().to_pybytes(), {"Content_Type": "application/vnd.apache.arrow.stream"}),
        ("/add_batch", batch + b"\n", {"Content_Type": "application/x-ndjson"}),
    ]
    for path, body, headers in bodies:
        ask(port, path, body, **headers)
    (series,) = json.loads(ask(port, "/symbols")[0])["symbols"]
    assert series["total"] == len(bodies) * len(_VALUES)
    statistics = json.loads(ask(port, "/stats?symbol=A&window=3")[0])
    assert (statistics["min"], statistics["max"], statistics["last"]) == (1.0, 4.0, 4.0)


def read_all_ways(port: int) -> None:
    """Ask for what the service tells."""
    assert ask(port, "/values?symbol=A&format=raw")[0] == np.array(_VALUES * 5, dtype="<f8").tobytes()
    assert b"hft_mmap_series_points_total" in ask(port, "/metrics")[0]
    text, headers = ask(port, "/metrics", Accept="application/openmetrics-text")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    for path in (
        "/health",
        "/ready",
        "/symbols",
        "/series?symbol=A&buckets=3",
        "/first?symbol=A&after=0&above=3",
        "/docs",
    ):
        ask(port, path)
    with urlopen(f"http://127.0.0.1:{port}/events?symbol=A", timeout=TIMEOUT_S) as events:
        assert events.readline() == b"retry: 2000\n"
        assert events.readline() == b"\n"
        assert events.readline().startswith(b"id: 15")


def stream(port: int) -> None:
    """Send values over a WebSocket, and be told of them over another one."""
    address = f"ws://127.0.0.1:{port}/stream"
    with (
        connect(f"{address}?mode=stats&symbol=A&window=10&interval_ms=10", open_timeout=TIMEOUT_S) as statistics,
        connect(f"{address}?mode=ingest&symbol=A", open_timeout=TIMEOUT_S) as ingest,
    ):
        assert json.loads(statistics.recv(TIMEOUT_S))["total"] == 15
        assert json.loads(ingest.recv(TIMEOUT_S))["total"] == 15
        ingest.send(np.array(_VALUES, dtype="<f8").tobytes())
        assert json.loads(ingest.recv(TIMEOUT_S))["total"] == 18
        assert json.loads(statistics.recv(TIMEOUT_S))["total"] == 18


def use_commands(port: int, directory: Path) -> None:
    """Append by the client of the library, and import a file by the command."""
    with Client(f"http://127.0.0.1:{port}") as client:
        assert client.append("B", np.array(_VALUES)).total == len(_VALUES)
    (directory / "prices.csv").write_text("price\n1.0\n2.0\n")
    importing = [sys.executable, "-m", "api.cli.command", "import", "C", "prices.csv"]
    subprocess.run([*importing, "--url", f"http://127.0.0.1:{port}"], cwd=directory, check=True, timeout=TIMEOUT_S)
    assert json.loads(ask(port, "/stats?symbol=C&window=2")[0])["last"] == 2.0


def take_series_of_polars(directory: Path) -> None:
    """Append what polars holds, and refuse its null with the place."""
    polars = importlib.import_module("polars")
    with hft_mmap.Store(directory / "series") as store:
        store.append("A", polars.Series(_VALUES))
        store.append("A", polars.concat([polars.Series(_VALUES), polars.Series(_VALUES)], rechunk=False))
        store.append("A", polars.Series([1, 2, 4], dtype=polars.Int32))
        assert store.window("A", 100).tolist() == _VALUES * 4
        try:
            store.append("A", polars.Series([1.0, None]))
        except hft_mmap.InvalidValues as refusal:
            assert str(refusal).startswith("values[1] is null"), refusal  # noqa: PT017 - without pytest
        else:
            raise AssertionError


def main() -> None:
    """Do all of it."""
    print(f"{import_all()} modules imported")  # noqa: T201 - a program
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        take_series_of_polars(directory)
        with serving(directory) as port:
            append_all_ways(port)
            read_all_ways(port)
            stream(port)
            use_commands(port, directory)
    print("served")  # noqa: T201


if __name__ == "__main__":
    main()
