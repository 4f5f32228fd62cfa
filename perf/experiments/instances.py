"""Two processes on one listening socket beside one, on all cores, and each beside as many of the bare endpoint.

The generator runs on the same cores: what a second process adds is what a machine has left beside its clients.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from perf import load, servers, wrk
from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.lab import SYMBOL, Lab
from perf.record import Benchmark, benchmark
from perf.requests import get, post
from perf.suites.decode import body

CONNECTIONS = 32
STORED = 10**8
CORES = sorted(os.sched_getaffinity(0))
PROCESSES = (1, 2)
PATHS = {"stats": f"/stats/?symbol={SYMBOL}&exponent=5", "add_batch": "/add_batch/"}
_BARE = (*servers.BARE, "own")


def _start(stack: ExitStack, who: str, processes: int, directory: Path, data: Path) -> int:
    """Start so many processes that share a listening socket, one a core if there are several; return the port."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
    for number in range(processes):
        own = directory / f"{who}-{processes}-{number}"
        own.mkdir()
        cores = CORES if processes == 1 else [CORES[number % len(CORES)]]
        settings = {"server.instance": str(number)}
        if who == "bare":
            stack.enter_context(servers.running(_BARE, own, cores=cores, listener=listener))
        else:
            stack.enter_context(servers.service(own, data, settings, cores, listener=listener))
    return int(listener.getsockname()[1])


def _rate(port: int, path: str, content: bytes | None, seconds: float, scratch: Path) -> float:
    if wrk.installed():
        url = f"http://127.0.0.1:{port}{path}"
        return wrk.rate(url, seconds, body=content, connections=CONNECTIONS, cores=CORES, scratch=scratch)
    request = get(path) if content is None else post(path, content)
    return load.run(port, [load.Stream("all", [request], CONNECTIONS)], seconds)["all"].rate


def _measure(lab: Lab, effort: Effort, case: str) -> Iterator[Benchmark]:
    content = body(10) if case == "add_batch" else None
    with ExitStack() as stack:
        scratch = stack.enter_context(lab.scratch())
        data = stack.enter_context(lab.borrowed(STORED))
        ports = {
            (who, processes): _start(stack, who, processes, scratch, data)
            for who in ("ours", "bare")
            for processes in PROCESSES
        }

        def rate(which: tuple[str, int], seconds: float) -> float:
            path = "/" if which[0] == "bare" else PATHS[case]
            return _rate(ports[which], path, content, seconds, scratch)

        for which in ports:
            rate(which, 1.0)  # warms up
        rounds = [{which: rate(which, effort.seconds) for which in ports} for _ in range(effort.rounds)]
    metadata = {"generator": "wrk" if wrk.installed() else "own", "connections": CONNECTIONS, "cores": len(CORES)}

    def made(what: str, values: list[float], *, unit: str = "integer", **params: object) -> Benchmark:
        work = Work(1, "requests") if unit == "second" else None
        runs = [[value] for value in values]
        return benchmark(name("instances", case, **params, what=what), runs, unit=unit, work=work, metadata=metadata)

    for who, processes in ports:
        seconds = [1 / one[who, processes] for one in rounds]
        yield made(who, seconds, unit="second", processes=processes)
    for processes in PROCESSES:
        shares = [one["ours", processes] / one["bare", processes] for one in rounds]
        yield made("share", shares, processes=processes)
    for who in ("ours", "bare"):
        yield made(f"{who}_gain", [one[who, 2] / one[who, 1] for one in rounds], processes=2)


EXPERIMENTS = tuple(
    Experiment(
        f"instances.{case}",
        partial(_measure, case=case),
        "interval" if case == "add_batch" else None,
        setup_s=10.0,
        loads=4,
    )
    for case in PATHS
)
