"""Symbols by the thousand: what each costs to make, append to, ask, commit, open and close, and what it takes.

Ten thousand symbols of a hundred points; a thousand with --fast.
"""

import os
import resource
import shutil
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

import httpx
import numpy as np

from hft_mmap import Durability, Limits, Store
from perf import servers
from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.experiments.space import disk_bytes
from perf.lab import Lab
from perf.record import Benchmark, benchmark
from perf.suites.process import first_answer

COUNT, FEW = 10_000, 1_000
POINTS = 100
_THREADS = 16
_BLOCK = 50
_MEMORY = ("RssAnon:", "VmPTE:")  # what is no page cache: the heap, and the tables of the mappings
_ROOMY = {"store.max_symbols": 20_000, "store.starting_capacity": 0}


def _limits() -> Limits:
    return Limits(max_symbols=20_000, starting_capacity=0)


def _memory_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(_MEMORY))


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _timed(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


def _asked(port: int, paths: Sequence[str]) -> float:
    """Return the seconds that these questions take on one connection, a block of them under way at a time."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        begin = perf_counter()
        for block in (paths[first : first + _BLOCK] for first in range(0, len(paths), _BLOCK)):
            connection.sendall("".join(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" for path in block).encode())
            answers = b""
            while answers.count(b"HTTP/1.1 ") < len(block) or not answers.endswith(b"}"):
                answers += connection.recv(1 << 16)
            assert answers.count(b"HTTP/1.1 200") == len(block), answers[:1000]
        return perf_counter() - begin


class _Measured:
    """The figures of one round, in the order in which they were taken."""

    def __init__(self, symbols: Sequence[str], data: Path) -> None:
        self.symbols = symbols
        self.data = data
        self.batch = np.full(POINTS, 1.5)
        self.figures: dict[tuple[str, str], float] = {}

    def note(self, what: str, value: float, unit: str = "second") -> None:
        self.figures[what, unit] = value

    def made(self) -> None:
        """Make all of them, one batch each; the last tenth beside the first; then what each takes while it is open."""
        count, tenth = len(self.symbols), len(self.symbols) // 10
        memory, descriptors = _memory_bytes(), _descriptors()
        with Store(self.data, limits=_limits()) as store:
            taken = [_timed(partial(store.append_nowait, one, self.batch)) for one in self.symbols]
            self.note("make", sum(taken))
            self.note("make_last_to_first", sum(taken[-tenth:]) / sum(taken[:tenth]), "integer")
            store.sync()
            self.note("memory_a_used_symbol", (_memory_bytes() - memory) / count, "byte")
            self.note("descriptors_a_used_symbol", (_descriptors() - descriptors) / count, "integer")
            self.note("append_to_each", _timed(lambda: [store.append_nowait(one, self.batch) for one in self.symbols]))
            self.note("all_on_the_disk", _timed(store.sync))
            one = self.symbols[0]
            alone = _timed(lambda: [store.stats(one, 10) for _ in self.symbols])
            in_turn = _timed(lambda: [store.stats(one, 10) for one in self.symbols])
            self.note("stats_in_turn_to_one", alone / in_turn, "integer")
            self.note("reasons", _timed(store.reasons))
            self.note("counters", _timed(store.counters))
            self.note("list", _timed(store.symbols))
            begin = perf_counter()
        self.note("close", perf_counter() - begin)

    def made_at_once(self) -> None:
        """Make all of them elsewhere, by threads that share their syncs, as the service makes them."""
        data = self.data.with_name("at-once")
        with Store(data, limits=_limits()) as store, ThreadPoolExecutor(_THREADS) as threads:
            begin = perf_counter()
            deque(threads.map(lambda one: store.append_nowait(one, self.batch), self.symbols), maxlen=0)
            self.note("make_at_once", perf_counter() - begin)
        # Its files stay until the end: ext4 without a journal takes long to make files where others were removed.

    def opened(self) -> None:
        """Open them again, and ask one; then what each takes that nobody uses, and the first question to each."""
        memory, descriptors = _memory_bytes(), _descriptors()
        begin = perf_counter()
        with Store(self.data, limits=_limits(), durability=Durability.INTERVAL) as store:
            store.stats(self.symbols[-1], 10)
            self.note("open", perf_counter() - begin)
            while getattr(store, "unopened", 0):  # revisions before this opened all of them at once
                sleep(0.01)
            self.note("looked_at", perf_counter() - begin)
            self.note("memory_an_idle_symbol", (_memory_bytes() - memory) / len(self.symbols), "byte")
            self.note("descriptors_an_idle_symbol", (_descriptors() - descriptors) / len(self.symbols), "integer")
            self.note("first_question_to_each", _timed(lambda: [store.stats(one, 10) for one in self.symbols]))
        self.note("disk_bytes_a_symbol", disk_bytes(self.data) / len(self.symbols), "byte")

    def served(self, directory: Path) -> None:
        """Start the service over them, and scrape it."""
        self.note("first_answer", first_answer(self.data, f"/stats/?symbol={self.symbols[-1]}&window=10", _ROOMY))
        with (
            servers.service(directory, self.data, _ROOMY) as server,
            httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client,
        ):
            client.get("/metrics")
            for what, path in (("scrape", "/metrics"), ("ready", "/ready"), ("page", "/symbols?limit=100")):
                begin = perf_counter()
                answer = client.get(path)
                self.note(what, perf_counter() - begin)
                self.note(f"{what}_bytes", len(answer.content), "byte")
            in_turn = [f"/stats?symbol={one}&window=10" for one in self.symbols]
            alone = [in_turn[0]] * len(in_turn)
            _asked(server.port, in_turn)  # the first use of each
            spent = [_asked(server.port, paths) for paths in (alone, in_turn, in_turn, alone)]
            self.note("requests_in_turn_to_one", (spent[0] + spent[3]) / (spent[1] + spent[2]), "integer")


def _measure(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    count = FEW if effort.name == "fast" else COUNT
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with lab.scratch() as scratch:
        # Not numbered: the order of names is not that of making.
        measured = _Measured([f"S{number * 7919 % count:05d}-USD" for number in range(count)], scratch / "data")
        measured.made_at_once()
        measured.made()
        measured.opened()
        measured.served(scratch)
        for data in (scratch / "data", scratch / "at-once"):
            shutil.rmtree(data)
    for (what, unit), value in measured.figures.items():
        work = Work(count, "symbols") if unit == "second" else None
        yield benchmark(name("symbols", what, symbols=count), [[value]], work=work, unit=unit)


EXPERIMENTS = (Experiment("symbols.", _measure, "interval", setup_s=120.0, most_rounds=1),)
