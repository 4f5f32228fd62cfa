"""Processes killed at random moments: the library, and the service with a client that posts to it."""

import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from unittest.mock import patch

import httpx
import numpy as np

from hft_mmap import Durability, Store
from hft_mmap.directory import starting
from hft_mmap.testing import MEMORY
from tests.service import PATIENCE_S
from tests.torture.counts import Counts, Kind
from tests.torture.nursery import Child, Nursery
from tests.torture.stream import (
    BATCHES,
    SYMBOLS,
    Fault,
    Setting,
    State,
    Stream,
    Totals,
    Unopenable,
    check_open,
    streams,
)

KILLS_OF_A_LIFE = 30
LONGEST_DELAY_S = 0.025
SERVICE_ENVIRONMENT = {
    "APP_SERVER__PORT": "0", "APP_STORE__STARTING_CAPACITY": "4096", "APP_LOG__LEVEL": "info",
    "APP_STORE__SYNC_INTERVAL_MS": "1",
}  # fmt: skip

_AS_SET = threading.Lock()
"""Held while the number of symbols that a store opens at its start is that of a setting.

Two threads that each set it would give back what they found one after the other, and leave what the second one found,
the setting of the first, to every test that comes after.
"""


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a new directory in memory, removed afterwards: the page cache is what a killed process leaves."""
    path = Path(tempfile.mkdtemp(prefix="hft-mmap-torture-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def acknowledged(child: Child, word: str, totals: Totals) -> Totals:
    """Return the newest total told with `word` for each symbol, at least `totals`; Fault if the child crashed."""
    newest = list(totals)
    for line in child.lines():
        if line[0] == "crash":
            raise Fault(f"the process failed: {json.loads(' '.join(line[1:]))}")
        if line[0] == word:
            newest[int(line[1])] = max(newest[int(line[1])], int(line[2]))
    return tuple(newest)


def check_twice(
    path: Path, setting: Setting, all_streams: tuple[Stream, ...], bounds: tuple[Totals, Totals], *, writable: bool
) -> State:
    """Open the store for reading and, if asked for, for writing as well, and check it each time; return its state."""
    if not path.exists():
        if any(bounds[0]):
            raise Unopenable("the data directory is gone")
        return ((0, 0),) * len(all_streams)
    states = []
    for mode in ("r", "a", "a") if writable else ("r",):
        try:
            with _AS_SET, patch.object(starting, "OPENED_AT_ONCE", setting.opened_at_once):
                store = Store(path, mode="a", limits=setting.limits) if mode == "a" else Store(path, mode="r")
        except Exception as error:
            raise Unopenable(f"mode {mode}: {error!r}") from error
        with store:
            states.append(check_open(store, all_streams, *bounds))
    if len(set(states)) != 1:
        raise Fault(f"opened one after the other it is {states}")
    return states[0]


def library_life(nursery: Nursery, seed: int, durability: Durability, most: int, counts: Counts) -> None:
    """Kill a process that appends, again and again over one directory, `most` times; every state is checked."""
    setting = Setting.drawn(seed, durability)
    generator = np.random.default_rng([seed, 99])
    all_streams = streams(setting)
    totals: Totals = (0,) * len(SYMBOLS)
    number = counts.of(Kind.KILLS)
    with scratch() as root, counts.judged(f"kill {number} and following, tier {durability}, seed {seed}"):
        path = root / "data"
        for _ in range(most):
            if max(map(Stream.index, all_streams, totals)) > BATCHES // 2:
                return
            child = nursery.spawn("append", path=str(path), setting=setting.fields())
            child.start()
            child.read_for(generator.random() * LONGEST_DELAY_S)
            child.kill()
            counts.add(Kind.KILLS, durability)
            least = acknowledged(child, "ack", totals)
            sent = tuple(map(Stream.after, all_streams, least))
            writable = bool(generator.integers(2))
            totals = tuple(
                total for total, _ in check_twice(path, setting, all_streams, (least, sent), writable=writable)
            )


def serving_port(child: Child) -> int:
    """Return the port that the service logs when it serves."""
    deadline = monotonic() + PATIENCE_S
    while monotonic() < deadline:
        child.read_for(0.005)
        for words in child.lines():
            line = " ".join(words)
            if '"event":"serving"' in line:
                return int(json.loads(line)["port"])
    raise Unopenable(f"the service does not serve: {child.lines()}")


def service_life(nursery: Nursery, seed: int, durability: Durability, most: int, counts: Counts) -> None:
    """Kill the real service under a client that posts, `most` times; an answer of 200 is the acknowledgement."""
    setting = Setting(seed, durability.value, 4_194_304, 150_000_000, 100_000_000, ticks=seed % 4 >= 2)
    generator = np.random.default_rng([seed, 98])
    all_streams = streams(setting)
    totals: Totals = (0,) * len(SYMBOLS)
    number = counts.of(Kind.SERVICE_KILLS)
    with scratch() as root, counts.judged(f"service kill {number} and following, tier {durability}, seed {seed}"):
        environment = SERVICE_ENVIRONMENT | {"APP_STORE__DURABILITY": durability.value}
        for _ in range(most):
            child = nursery.spawn("service", directory=str(root), settings=environment)
            child.start()
            try:
                least = _post_until_killed(child, all_streams, totals, delay_s=generator.random() * 0.15)
            finally:
                child.kill()
            counts.add(Kind.SERVICE_KILLS, durability)
            sent = tuple(map(Stream.after, all_streams, least))
            state = check_twice(
                root / "data", setting, all_streams, (least, sent), writable=bool(generator.integers(2))
            )
            totals = tuple(total for total, _ in state)


def _post_until_killed(child: Child, all_streams: tuple[Stream, ...], totals: Totals, *, delay_s: float) -> Totals:
    """Post batches in turn until the service is killed; return the totals that it answered with."""
    newest = list(totals)
    killer = threading.Timer(delay_s, os.kill, (child.pid, signal.SIGKILL))
    with httpx.Client(base_url=f"http://127.0.0.1:{serving_port(child)}", timeout=PATIENCE_S) as client:
        killer.start()
        try:
            while True:
                for i, stream in enumerate(all_streams):
                    k = stream.index(newest[i])
                    lists = {"values": stream.batch(k), **stream.columns(k)}
                    body = {"symbol": stream.symbol, **{name: rows.tolist() for name, rows in lists.items()}}
                    answer = client.post("/add_batch/", json=body)
                    if answer.status_code != httpx.codes.OK:
                        raise Fault(f"the service answered {answer.status_code}: {answer.text}")
                    newest[i] = int(answer.json()["total"])
        except httpx.TransportError:
            return tuple(newest)
        finally:
            killer.cancel()


def repeat(seed: int, enough: Callable[[], bool], life: Callable[[int, Durability], None]) -> None:
    """Live one life after the other, over all tiers, each with a seed of its own, until it is enough."""
    for number in range(1 << 30):
        if enough():
            return
        life(seed + number, tuple(Durability)[number % len(Durability)])
