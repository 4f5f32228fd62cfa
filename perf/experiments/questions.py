"""Questions of any range at full size: a million windows, by the library and by a service; medians; many symbols.

The library has one core. The service has a core of its own, and whoever asks it the other; a request counts until its
answer is read whole. A median is held against `numpy.partition` of the same points in the same round.
"""

from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection
from time import perf_counter, thread_time

import numpy as np

from hft_mmap import Durability, Limits, Store
from perf import servers
from perf.case import Work, name
from perf.experiment import Effort, Experiment
from perf.experiments.throughput import OTHER_CORE, SERVER_CORE
from perf.lab import ROOMY, SYMBOL, Lab
from perf.prices import random_walk
from perf.record import Benchmark, benchmark
from perf.suites.answers import ranges

STORED = 10**8
WINDOWS = 1_000_000
SYMBOLS = 1_000
KINDS = ("ticks", "reverting", "noise")
_SYMBOL_POINTS = 10_000
_PLACES = 1_000
_BARRIER = 0.01
_ARROW = "application/vnd.apache.arrow.stream"
_SETTINGS = {"store.max_symbols": SYMBOLS, "server.max_body_bytes": "16 MiB"}
"""By default a body has 4 MiB, which are 262,144 windows."""


def _seconds(work: Callable[[], object], clock: Callable[[], float] = perf_counter) -> tuple[float, float]:
    """Return the seconds that `work` takes by the clock on the wall, and by `clock`, which counts processor time."""
    begin, spent = perf_counter(), clock()
    work()
    return perf_counter() - begin, clock() - spent


def _ask(connection: HTTPConnection, method: str, target: str, body: bytes | None, kind: str) -> int:
    """Return the bytes of an answer, which is read whole."""
    connection.request(method, target, body, {"Content-Type": "application/octet-stream"} if body else {})
    answer = connection.getresponse()
    content = answer.read()
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind), content[:1_000]
    return len(content)


Asked = dict[str, tuple[Callable[[], object], Callable[[], float]]]
"""What is asked by its name, and the clock that counts the processor time of who answers."""


def _taken(asked: Asked, rounds: int, prefix: str, work: Work, *, of: int = 1, **params: object) -> Iterator[Benchmark]:
    """Ask all of it in turn, so many rounds, and yield a benchmark of each by the clock, and by its processor time.

    Where asking is asking `of` questions, each has its part.
    """
    for ask, _ in asked.values():  # pages are mapped, series are opened, and what is imported late is there
        ask()
    taken = [{what: _seconds(*one) for what, one in asked.items()} for _ in range(rounds)]
    for what in asked:
        for place, kind in enumerate(("", "_cpu")):
            runs = [[one[what][place] / of] for one in taken]
            yield benchmark(name("questions", prefix, **params, what=f"{what}{kind}"), runs, unit="second", work=work)


def _windows(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    starts, ends = ranges(STORED, WINDOWS)
    body = np.stack((starts, ends), axis=1).astype("<i8").tobytes()
    target = f"/windows?symbol={SYMBOL}&format=arrow"
    with (
        lab.borrowed(STORED) as data,
        servers.service(data.parent, data, _SETTINGS, cores=[SERVER_CORE]) as server,
        Store(data, mode="r", limits=ROOMY) as store,
        servers.on_cores([OTHER_CORE]),
    ):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=120)
        asked: Asked = {
            "library": (partial(store.series(SYMBOL).stats_many, starts, ends), thread_time),
            "http": (partial(_ask, connection, "POST", target, body, _ARROW), server.cpu_seconds),
        }
        work = Work(WINDOWS, "windows")
        yield from _taken(asked, effort.rounds, "windows", work, stored=STORED, windows=WINDOWS)
        connection.close()


def _symbols(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    names = [f"S{number:04}" for number in range(SYMBOLS)]
    limits = Limits(max_symbols=SYMBOLS, max_data_retention=10**6, cleanup_keep_count=10**6, starting_capacity=4096)
    prices = random_walk(_SYMBOL_POINTS)
    target = "/stats?" + "&".join(f"symbol={symbol}" for symbol in names) + "&window=1000"
    with lab.scratch() as scratch:
        data = scratch / "data"
        with Store(data, limits=limits, durability=Durability.PROCESS) as store:
            for symbol in names:
                store.append(symbol, prices)
        with (
            servers.service(scratch, data, _SETTINGS, cores=[SERVER_CORE]) as server,
            Store(data, mode="r", limits=limits) as store,
            servers.on_cores([OTHER_CORE]),
        ):
            connection = HTTPConnection("127.0.0.1", server.port, timeout=120)
            asked: Asked = {
                "library": (partial(store.stats_across, names, window=1_000), thread_time),
                "http": (partial(_ask, connection, "GET", target, None, "application/json"), server.cpu_seconds),
            }
            yield from _taken(asked, 20 * effort.rounds, "symbols", Work(SYMBOLS, "symbols"), symbols=SYMBOLS)
            connection.close()


def _median(lab: Lab, effort: Effort, kind: str) -> Iterator[Benchmark]:
    with Store(lab.stored(STORED, kind), mode="r", limits=ROOMY) as store, servers.on_cores([SERVER_CORE]):
        values = store.window(SYMBOL, STORED)
        rank = (STORED + 1) // 2 - 1
        series = store.series(SYMBOL)
        assert series.quantile((0.5,)) == (np.partition(values, rank)[rank],)
        asked: Asked = {
            "ours": (partial(series.quantile, (0.5,)), thread_time),
            "partition": (partial(np.partition, values, rank), thread_time),
        }
        yield from _taken(asked, effort.rounds, "median", Work(STORED, "points"), stored=STORED, kind=kind)


def _one(lab: Lab, effort: Effort, question: str) -> Iterator[Benchmark]:
    """Yield what one question takes, each at another place, so that no node is in the cache by luck."""
    with Store(lab.stored(STORED), mode="r", limits=ROOMY) as store, servers.on_cores([SERVER_CORE]):
        series = store.series(SYMBOL)
        rng = np.random.default_rng(2)
        if question == "range":
            places = np.sort(rng.integers(0, STORED, (_PLACES, 2)), axis=1)
            asks: list[Callable[[], object]] = [partial(series.range, lo, hi + 1) for lo, hi in places.tolist()]
        else:
            after = rng.integers(0, STORED // 2, _PLACES).tolist()
            prices = [series.asof(index).value for index in after]
            asks = [
                partial(series.first, index, above=price * (1 + _BARRIER), below=price * (1 - _BARRIER))
                for index, price in zip(after, prices, strict=True)
            ]

        def all_of_them() -> None:
            for ask in asks:
                ask()

        asked: Asked = {"one": (all_of_them, thread_time)}
        yield from _taken(asked, 100 * effort.rounds, question, Work(1, "questions"), of=_PLACES, stored=STORED)


EXPERIMENTS = (
    *(
        Experiment(f"questions.{question}", partial(_one, question=question), setup_s=3.0, round_s=0.3)
        for question in ("range", "first")
    ),
    Experiment("questions.windows", _windows, setup_s=15.0, round_s=3.0, most_rounds=5),
    Experiment("questions.symbols", _symbols, "process", setup_s=15.0, round_s=0.5),
    *(
        Experiment(
            f"questions.median[stored=1e8,kind={kind}", partial(_median, kind=kind), setup_s=30.0, round_s=3.0,
            most_rounds=5,
        )
        for kind in KINDS
    ),
)  # fmt: skip
