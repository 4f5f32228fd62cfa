"""Requests a second beside the bare endpoint: same run, same cores, same server settings, A B A B.

The generator shares a core with the server it loads, in turn with the bare endpoint: on a core of its own it falls
asleep between answers, and each answer then pays for a wake-up across cores, which hides what the service costs. That
placement is measured too (cores=two). A third figure needs no placement: the server's processor time for a request.

`bare` runs on uvicorn as it comes, which is what the service would be without its protocol class; `bare_own` on the
service's protocol class, so that `share_of_own` says what routes, store and log cost on the same server. Two more have
less around them: an ASGI application without a framework (`share_of_asgi`), and the protocol alone, by the short way
(`share_of_prepared`). Where cargo is installed, `share_of_axum` is that of a minimal compiled service (perf.anchors).
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

from perf import anchors, load, servers, wrk
from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.lab import SYMBOL, Lab
from perf.memory import touch
from perf.record import Benchmark, benchmark
from perf.requests import get, post
from perf.suites.decode import body
from perf.writer import writer_process

CONNECTIONS = 32
STORED = 10**8
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, OTHER_CORE = CORES[0], CORES[-1]
PLACEMENTS = {"one": SERVER_CORE, "two": OTHER_CORE}
_WARM_BYTES = 1 << 29
_SHARES = {
    "bare": "share", "bare_own": "share_of_own", "bare_asgi": "share_of_asgi", "bare_prepared": "share_of_prepared",
    "axum": "share_of_axum", "bare_get": "share_of_get",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contest:
    """What the service is asked beside the bare endpoint, and what one request does."""

    case: str
    params: Mapping[str, object]
    path: str
    work: Work
    values: int = 0
    settings: Mapping[str, object] = field(default_factory=dict)
    writer: bool = False
    cores: tuple[str, ...] = tuple(PLACEMENTS)

    def body(self) -> bytes | None:
        """Return the body to post, or None for a GET."""
        return body(self.values) if self.values else None


@dataclass(frozen=True, slots=True)
class Taken:
    """One measurement: seconds a request by the clock, and by the server's processor time."""

    seconds: float
    cpu_seconds: float


def _rate(port: int, path: str, content: bytes | None, seconds: float, core: int, scratch: Path) -> float:
    """Load a server from `core` with wrk, or with our own generator where there is no wrk; requests a second."""
    if wrk.installed():
        url = f"http://127.0.0.1:{port}{path}"
        return wrk.rate(url, seconds, body=content, connections=CONNECTIONS, cores=[core], scratch=scratch)
    request = get(path) if content is None else post(path, content)
    with servers.on_cores([core]):
        return load.run(port, [load.Stream("all", [request], CONNECTIONS)], seconds)["all"].rate


def _taking(server: servers.Server, path: str, content: bytes | None, scratch: Path) -> Callable[[float, int], Taken]:
    """Return the function that measures this request on this server, for so many seconds and from a core."""

    def take(seconds: float, core: int) -> Taken:
        if content is not None:
            touch(_WARM_BYTES)
        cpu_before, begin = server.cpu_seconds(), perf_counter()
        rate = _rate(server.port, path, content, seconds, core, scratch)
        requests = rate * (perf_counter() - begin)
        return Taken(1 / rate, (server.cpu_seconds() - cpu_before) / requests)

    return take


def _measure(lab: Lab, effort: Effort, contest: Contest) -> Iterator[Benchmark]:
    with ExitStack() as stack:
        scratch = stack.enter_context(lab.scratch())
        data = stack.enter_context(lab.borrowed(STORED)) if not contest.values else scratch / "data"
        cores = [SERVER_CORE]
        rivals: dict[str, servers.Server] = {}
        for who, command in _rivals().items():
            (scratch / who).mkdir()
            rivals[who] = stack.enter_context(servers.running(command, scratch / who, cores=cores))
        ours = stack.enter_context(servers.service(scratch, data, contest.settings, cores))
        if contest.writer:
            with servers.on_cores([OTHER_CORE]):
                stack.enter_context(writer_process(data, points=1))
        takers = {
            "ours": _taking(ours, contest.path, contest.body(), scratch),
            **{who: _taking(rival, "/", contest.body(), scratch) for who, rival in rivals.items()},
        }
        if contest.values:
            takers["bare_get"] = _taking(rivals["bare"], "/", None, scratch)
        for take in takers.values():
            take(1.0, SERVER_CORE)  # warms up
        for placement in contest.cores:
            yield from _contend(contest, takers, placement, effort)
        yield benchmark(_named(contest, "peak_memory"), [[ours.peak_memory_bytes()]], unit="byte")


def _rivals() -> dict[str, tuple[str, ...]]:
    """Return the commands of what the service is held against, by name."""
    found = {
        "bare": servers.BARE, "bare_own": servers.BARE_ON_OUR_PROTOCOL, "bare_asgi": servers.BARE_ASGI,
        "bare_prepared": servers.BARE_PREPARED,
    }  # fmt: skip
    try:
        return found | {"axum": anchors.axum()}
    except anchors.NoAnchorError as error:
        print(f"throughput: without axum: {error}")
        return found


def _named(contest: Contest, what: str, **more: object) -> str:
    return name("throughput", contest.case, **contest.params, **more, what=what)


def _contend(
    contest: Contest, takers: Mapping[str, Callable[[float, int], Taken]], placement: str, effort: Effort
) -> Iterator[Benchmark]:
    """Measure all in turn, round for round, and yield rates, processor times, and shares of the same round."""
    core = PLACEMENTS[placement]
    rounds = [{who: take(effort.seconds, core) for who, take in takers.items()} for _ in range(effort.rounds)]
    metadata = {
        "generator": "wrk" if wrk.installed() else "own", "connections": CONNECTIONS,
        "durability": str(contest.settings.get("store.durability", "interval")),
    }  # fmt: skip

    def made(what: str, values: list[float], *, unit: str = "second", work: Work | None = None) -> Benchmark:
        runs = [[value] for value in values]
        return benchmark(_named(contest, what, cores=placement), runs, unit=unit, work=work, metadata=metadata)

    request = Work(1, "requests")
    for who in takers:
        work = contest.work if who == "ours" else request
        yield made(who, [one[who].seconds for one in rounds], work=work)
        yield made(f"{who}_cpu", [one[who].cpu_seconds for one in rounds], work=work)
    for who in list(takers)[1:]:
        share = _SHARES[who]
        yield made(share, [one[who].seconds / one["ours"].seconds for one in rounds], unit="integer")
        yield made(f"cpu_{share}", [one[who].cpu_seconds / one["ours"].cpu_seconds for one in rounds], unit="integer")


def _contests() -> Iterator[Contest]:
    for k in (1, 5, 8):
        cores = tuple(PLACEMENTS) if k == 5 else ("one",)
        path = f"/stats/?symbol={SYMBOL}&exponent={k}"
        yield Contest("stats", {"exponent": k}, path, Work(1, "requests"), cores=cores)
    yield Contest(
        "stats_beside_writer", {"exponent": 5}, f"/stats/?symbol={SYMBOL}&exponent=5", Work(1, "requests"), writer=True,
        cores=("one",),
    )  # fmt: skip
    for n in (10, 10_000):
        yield Contest(
            "add_batch", {"values": n, "durability": "interval"}, "/add_batch/", Work(n, "values"), values=n,
            cores=tuple(PLACEMENTS) if n == 10 else ("two",),
            settings={"store.max_data_retention": 64 * 10**6, "store.cleanup_keep_count": 16 * 10**6},
        )  # fmt: skip


EXPERIMENTS = tuple(
    Experiment(
        _named(contest, "").removesuffix(",what=]"),
        partial(_measure, contest=contest),
        setup_s=12.0,
        loads=(7 if contest.values else 6) * len(contest.cores),
    )
    for contest in _contests()
)
