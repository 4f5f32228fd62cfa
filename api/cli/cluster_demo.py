"""`hft-mmap cluster demo`: a whole cluster on one machine, to look at and to break.

Prices are sent through HAProxy, each batch with its offset.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import click

from api.cli.demo import HOST, Feeder, free_port
from api.cli.local_cluster import NAMES, Cluster

SLOTS = ("0-767", "768-1023")
"""So that either shard has two of the four symbols."""
_LOOK_S = 0.05


def run(directory: Path, log: str, port: int | None, rate: int) -> None:
    """Start everything in `directory`, feed it, and end it at SIGINT or SIGTERM. OSError."""
    port = free_port() if port is None else port
    over = threading.Event()
    cluster = Cluster(directory, over)
    with ExitStack() as stack:
        stack.enter_context(_ended_by_signal(over))
        stack.callback(cluster.end)
        try:
            click.echo(f"Starting three servers of {NAMES[log]} …")
            cluster.start_log(log)
            click.echo("Starting two shards of two replicas, and HAProxy …")
            for shard, slots in enumerate(SLOTS):
                cluster.start_shard(shard, slots)
            cluster.start_router(port)
        except InterruptedError:
            return
        lists = [f"/shard/{shard}/symbols" for shard in range(len(SLOTS))]
        feeder = Feeder(HTTPConnection(HOST, port, timeout=10), rate, 1, lists)
        thread = threading.Thread(target=feeder.run, args=(_lines(port, cluster),))
        thread.start()
        stack.callback(thread.join)
        stack.callback(feeder.stop.set)
        while not over.wait(_LOOK_S):
            cluster.look()


def _lines(port: int, cluster: Cluster) -> tuple[str, ...]:
    urls = [f"http://{HOST}:{port}/shard/{shard}" for shard in range(len(SLOTS))]
    processes = [f"  {one.name:<16} {one.process.pid}" for one in cluster.processes if one.process is not None]
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
