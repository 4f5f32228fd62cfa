"""Clients of others do against a real service what their users do: batches, statistics, large bodies, streams."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from tests.service import Service

HERE = Path(__file__).parent
TIMEOUT_S = 500
BATCH = '{"symbol":"A","values":[1.5]}'
JSON = "Content-Type: application/json"
# PERF: Go compiles its library once on a machine: 22 s of a processor in place of 38, with nothing in it optimised.
UNOPTIMISED = ("-gcflags=all=-N -l -dwarf=false", "-ldflags=-s -w")
DONE = ["post 200", "post 200", "post 200", "large 200", "stats 200", "event id: 100003"]


def found(program: str, package: str) -> str:
    """Return the path of a program, or skip."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/local/go/bin")
    if path is None:
        pytest.skip(f"needs the Debian package {package}")
    return path


def run(directory: Path, *command: str) -> list[str]:
    """Return the lines that a command prints; it must end with 0."""
    local = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}  # else Go may fetch another one, or wait for a C compiler
    done = subprocess.run(
        command, cwd=directory, env=os.environ | local, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


def opened(service: Service) -> int:
    """Return how many connections the service has accepted."""
    lines = service.client.get("/metrics").text.splitlines()
    return int(float(next(line for line in lines if line.startswith("hft_mmap_connections_opened_total")).split()[1]))


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
def test_curl(service: Service, tmp_path: Path, version: str) -> None:
    """With each version of HTTP that it can ask for; 1.1 uses one connection for three requests, and Expect."""
    curl = [found("curl", "curl"), "--silent", "--show-error", "--max-time", "30", version]
    codes = ("--output", os.devnull, "--write-out", "%{http_code} %{num_connects}\n")
    before = opened(service)
    posts = [*codes, "-H", JSON, "-d", BATCH, f"{service.url}/add_batch"]
    said = run(
        tmp_path, *curl, *posts, "--next", *curl[1:], *posts, "--next", *curl[1:], *codes, f"{service.url}/symbols"
    )
    assert [line.split()[0] for line in said] == ["200"] * 3
    if version == "--http1.1":
        assert opened(service) - before == 1
    large = tmp_path / "large.json"
    large.write_text(BATCH.replace("1.5", ",".join(["2.5"] * 100_000)))
    assert (
        run(tmp_path, *curl, *codes, "-H", JSON, "-H", "Expect: 100-continue", "-d", f"@{large}", posts[-1])[0][:3]
        == "200"
    )
    answer = run(tmp_path, *curl, f"{service.url}/stats?symbol=A&window=1")
    assert '"last":2.5' in answer[0]


def test_curl_takes_events(service: Service, tmp_path: Path) -> None:
    """As they come, with -N."""
    assert service.add("A", [1.0]).status_code == 200
    script = f"{found('curl', 'curl')} -sN --max-time 30 '{service.url}/events?symbol=A' | head -n 3"
    assert run(tmp_path, "bash", "-c", script) == ["retry: 2000", "", "id: 1"]


@pytest.mark.parametrize("version", ["default", "1.1"])
def test_java(service: Service, tmp_path: Path, version: str) -> None:
    """java.net.http.HttpClient, as it comes (it asks for h2c with every request) and held to HTTP/1.1."""
    java = found("java", "openjdk-17-jdk-headless")
    found("javac", "openjdk-17-jdk-headless")
    assert run(tmp_path, java, str(HERE / "Probe.java"), service.url, version) == [*DONE, "stream true"]


@pytest.mark.timeout(TIMEOUT_S)  # Go compiles its library
def test_go(service: Service, tmp_path: Path) -> None:
    """net/http, which keeps its connection: one for all, and one more for the events."""
    go = found("go", "golang-go")
    before = opened(service)
    assert run(tmp_path, go, "run", *UNOPTIMISED, str(HERE / "probe.go"), service.url) == DONE
    assert opened(service) - before <= 2


def test_node(service: Service, tmp_path: Path) -> None:
    """fetch, with a body and with a stream of events; and EventSource, where this Node has one."""
    node = found("node", "nodejs")
    flag = "--experimental-eventsource"
    has_source = subprocess.run([node, flag, "-e", "0"], capture_output=True, check=False).returncode == 0
    said = run(tmp_path, node, *([flag] if has_source else []), str(HERE / "probe.mjs"), service.url)
    assert said == [*DONE, *(["source 100003"] if has_source else [])]


def test_requests(service: Service) -> None:
    """A session of requests: JSON, a body from a generator in chunks, compressed answers, a stream of events."""
    with requests.Session() as session:
        for _ in range(3):
            answer = session.post(f"{service.url}/add_batch", json={"symbol": "A", "values": [1.5]}, timeout=TIMEOUT_S)
            assert answer.json()["added"] == 1
        pieces = ('{"symbol":"A","values":[', ",".join(["2.5"] * 100_000), "]}")
        answer = session.post(
            f"{service.url}/add_batch",
            data=(piece.encode() for piece in pieces),
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUT_S,
        )
        assert answer.json()["total"] == 100_003
        assert session.get(f"{service.url}/docs", timeout=TIMEOUT_S).headers["Content-Encoding"] == "gzip"
        with session.get(f"{service.url}/events?symbol=A", stream=True, timeout=TIMEOUT_S) as events:
            lines = events.iter_lines(chunk_size=1)
            assert [next(lines) for _ in range(3)] == [b"retry: 2000", b"", b"id: 100003"]
