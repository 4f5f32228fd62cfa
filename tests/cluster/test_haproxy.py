"""The real HAProxy in front of two shards, with the configuration that the command writes."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any, NamedTuple
from urllib.parse import quote
from zlib import crc32

import httpx
import numpy as np
import pytest

from tests.cluster.servers import free_ports, nats_servers
from tests.cluster.shards import create, needs_nats, started
from tests.proxies.programs import PROGRAMS, missing
from tests.service import PATIENCE_S, Service, run_command, wait_until

pytestmark = [needs_nats, pytest.mark.skipif(bool(missing("haproxy")), reason=missing("haproxy") or "it is there")]

SYMBOLS = ("BTC-USD", "ETH-USD", "日本円-USD", "A B+C", "a/b", "q%20", *(f"S{n}" for n in range(12)))


class Edge(NamedTuple):
    """Replicas a and b of shard 0 and c of shard 1, and a client of the proxy in front of them."""

    a: Service
    b: Service
    c: Service
    client: httpx.Client

    def of(self, symbol: str) -> list[Service]:
        """Return the replicas of the shard of a symbol."""
        return [self.a, self.b] if crc32(symbol.encode()) % 1024 < 512 else [self.c]


@contextmanager
def proxy(directory: Path, services: list[Service]) -> Iterator[httpx.Client]:
    """Yield a client of HAProxy with the configuration of the command."""
    (port,) = free_ports(1)
    urls = [service.url for service in services]
    made = run_command(directory, "cluster", "haproxy", *urls, "--directory", ".", "--bind", f"127.0.0.1:{port}")
    assert made.returncode == 0, made.stderr
    with (directory / "said").open("w") as said:
        command = [PROGRAMS["haproxy"], "-db", "-f", "haproxy.cfg"]
        process = subprocess.Popen(command, cwd=directory, stdout=said, stderr=said)
    with process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
        try:
            wait_until(lambda: process.poll() is not None or _goes(client, 0), "the proxy to find replicas")
            assert process.poll() is None, (directory / "said").read_text()
            wait_until(lambda: _goes(client, 1), "the proxy to find replicas")
            yield client
        finally:
            process.terminate()
            process.wait()


def _goes(client: httpx.Client, shard: int) -> bool:
    try:
        return client.get(f"/shard/{shard}/ready").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Yield two shards behind the proxy."""
    directory = tmp_path_factory.mktemp("edge")
    with ExitStack() as stack:
        nats = stack.enter_context(nats_servers(directory, 1))
        for shard in (0, 1):
            create(nats, directory, cluster__shard=shard)
        a, b, c = [stack.enter_context(started(nats, directory, n, s)) for n, s in (("a", 0), ("b", 0), ("c", 1))]
        yield Edge(a, b, c, stack.enter_context(proxy(directory, [a, b, c])))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_router_hashes_as_we_do(edge: Edge, symbol: str) -> None:
    """By a body of JSON, by the query and by the path, each symbol comes to its shard, and is found there."""
    told = edge.client.post("/add_batch", json={"symbol": symbol, "values": [1.0]})
    assert told.status_code == 200, told.text
    told = edge.client.post(
        "/add_batch", params={"symbol": symbol}, content=np.array([2.0, 3.0]).tobytes(),
        headers={"Content-Type": "application/octet-stream"},
    )  # fmt: skip
    assert told.json()["total"] == 3
    query: dict[str, Any] = {"symbol": symbol, "window": 1}
    least = {"X-Min-Seq": str(told.json()["seq"])}
    for own in edge.of(symbol):
        seen = own.client.get("/stats", params=query, headers=least)
        assert seen.json()["last"] == 3.0
    for headers in ({}, {"X-Read": "any", **least}):
        seen = edge.client.get("/stats", params=query, headers=headers)
        assert seen.json()["last"] == 3.0
    assert edge.client.get(f"/symbols/{quote(symbol)}").json()["total"] == 3


def test_a_large_body_is_routed_by_a_symbol_that_comes_first(edge: Edge) -> None:
    """Beyond what the proxy reads of a body; else it says what to do."""
    values = [1.25] * 50_000
    told = edge.client.post("/add_batch", json={"symbol": "LARGE", "values": values})
    assert (told.status_code, told.json()["total"]) == (200, 50_000)
    told = edge.client.post("/add_batch", json={"values": values, "symbol": "LARGE"})
    assert told.status_code == 400
    assert "say ?symbol=" in told.json()["detail"]


def test_what_names_no_symbol_names_its_shard(edge: Edge) -> None:
    """By its path; there are no others."""
    assert [edge.client.get(f"/shard/{n}/cluster").json()["shard"] for n in (0, 1)] == [0, 1]
    for path, text in (("/symbols", "/shard/NUMBER/"), ("/shard/2/symbols", "no such shard")):
        told = edge.client.get(path)
        assert (told.status_code, told.headers["content-type"]) == (400, "application/problem+json")
        assert text in told.json()["detail"]


def test_slots_that_do_not_fit_together_are_refused(edge: Edge, tmp_path: Path) -> None:
    """Nothing is written: a slot without a shard, a service that does not answer."""
    gone = "http://127.0.0.1:1"
    for urls, text in (([edge.a.url], "slot 512 is of no shard"), ([edge.a.url, gone], "does not answer")):
        done = run_command(tmp_path, "cluster", "haproxy", *urls, "--directory", "out")
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_symbol_that_has_moved_is_routed_by_the_map_that_is_written_anew(edge: Edge, tmp_path: Path) -> None:
    """With the old one it is 421, and nothing is stored."""
    symbol = next(name for name in (f"moved {n}" for n in range(99)) if edge.of(name) == [edge.a, edge.b])
    batch = {"symbol": symbol, "values": [1.0, 2.0]}
    assert edge.client.post("/add_batch", json=batch).status_code == 200
    urls = [one.url for one in (edge.b, edge.c)]
    done = run_command(tmp_path, "cluster", "move", symbol, *urls, "--to", "1", "--yes")
    assert done.returncode == 0, done.stderr
    assert edge.client.post("/add_batch", json=batch).status_code == 421
    assert edge.client.get("/stats", params={"symbol": symbol, "window": 1}).status_code == 421
    with proxy(tmp_path, [edge.a, edge.b, edge.c]) as client:
        assert client.post("/add_batch", json={**batch, "offset": 2}).json()["total"] == 4
        assert client.get(f"/symbols/{quote(symbol)}").json()["total"] == 4
        assert client.get("/stats", params={"symbol": "BTC-USD", "window": 1}).status_code == 200


def test_haproxy_takes_the_other_replica(edge: Edge) -> None:
    """When the first is killed; what was answered is there, and the last of the tests of this file."""
    symbol = next(name for name in SYMBOLS if edge.of(name) == [edge.a, edge.b])
    total = edge.client.post("/add_batch", json={"symbol": symbol, "values": [1.0]}).json()["total"]
    edge.a.stop(SIGKILL)

    def taken() -> bool:
        try:
            told = edge.client.post("/add_batch", json={"symbol": symbol, "values": [2.0], "offset": total})
        except httpx.HTTPError:  # what the one that died was at
            return False
        return told.status_code == 200

    wait_until(taken, "the proxy to take the other one")
    assert edge.b.client.get("/stats", params={"symbol": symbol, "window": 2}).json()["last"] == 2.0
    assert edge.client.get(f"/stats?symbol={symbol}&window=1").json()["last"] == 2.0
