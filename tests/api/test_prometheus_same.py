"""What the interface of Prometheus answers here, and what Prometheus itself does: the same, for generated queries."""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.prometheus import Samples, is_exact, is_installed, running_prometheus
from tests.service import Service

QUERIES = 500
START_MS = 1_767_225_600_000
SPAN_MS = 3 * 3_600_000
SYMBOLS = {"ABC-USD": 100.0, "EUR/USD": 7.0, "X.Y|Z": 2_000.0, "PRICES": 50.0}
UNSIZED = "PRICES"
SIZED = ("size", "volume", "value")
OVER_TIME = ("avg", "min", "max", "sum", "count", "last", "stddev", "stdvar", "present")
EXACT_ENOUGH = 1e-9

pytestmark = pytest.mark.skipif(not is_installed(), reason="prometheus and promtool are not installed")


class Stored(NamedTuple):
    """Both sides, with the same points."""

    ours: httpx.Client
    theirs: httpx.Client


def _ticks(symbol: str, price: float) -> list[tuple[int, float, float]]:
    """Return times, prices and sizes that wander; now and then nothing comes for some minutes."""
    rng = random.Random(symbol)
    time = START_MS
    found: list[tuple[int, float, float]] = []
    while True:
        time += rng.choice((rng.randint(1, 2_000), rng.randint(1_000, 30_000), rng.randint(20_000, 60_000)))
        time += rng.randint(200_000, 700_000) if rng.random() < 0.02 else 0
        while not is_exact(time):
            time += 1
        if time > START_MS + SPAN_MS:
            return found
        price = round(max(price * (1 + rng.gauss(0, 0.003)), 0.01), 2)
        found.append((time, price, rng.choice((-1, 1)) * rng.randint(0, 400) / 4))


@pytest.fixture(scope="module")
def stored(shared_service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """Store the same ticks here and in a Prometheus."""
    samples: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for symbol, price in SYMBOLS.items():
        ticks = _ticks(symbol, price)
        times, prices, sizes = (list(column) for column in zip(*ticks, strict=True))
        body = {"symbol": symbol, "times": times, "time_unit": "ms", "values": prices, "sizes": sizes}
        if symbol == UNSIZED:
            del body["sizes"]
        assert shared_service.client.post("/add_batch", json=body).is_success
        samples["price", symbol] = list(zip(times, prices, strict=True))
        if symbol != UNSIZED:
            columns = sizes, list(map(abs, sizes)), [p * abs(s) for p, s in zip(prices, sizes, strict=True)]
            for metric, values in zip(SIZED, columns, strict=True):
                samples[metric, symbol] = list(zip(times, values, strict=True))
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), _in_order(samples)) as theirs:
        yield Stored(shared_service.client, theirs)


def _in_order(samples: Samples) -> Samples:
    return dict(sorted(samples.items()))


class Asked(NamedTuple):
    """One query, and when it is asked."""

    path: str
    parameters: dict[str, str]


class Queries:
    """Makes queries that are answered here, from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.times = [time for symbol, price in SYMBOLS.items() for time, _, _ in _ticks(symbol, price)]

    def asked(self) -> Asked:
        """Return one."""
        rng = self.rng
        at = START_MS + rng.randint(-400_000, SPAN_MS + 400_000)
        if rng.random() < 0.5:  # where a point lies at the very end of a window, or is as old as it may be
            at = rng.choice(self.times) + rng.choice((0, 250, 1_000, 30_000, 60_000, 90_000, 300_000))
        query = self.vector(3) if rng.random() < 0.9 else self.scalar(2)
        if rng.random() < 0.4:
            return Asked("/api/v1/query", {"query": query, "time": f"{at / 1000:.3f}"})
        step = rng.choice((1, 7.5, 15, 60, 300, 0.25))
        end = at + int(step * 1000) * rng.randint(0, 60) + rng.randint(0, 999)
        times = {"start": f"{at / 1000:.3f}", "end": f"{end / 1000:.3f}", "step": str(step)}
        return Asked("/api/v1/query_range", {"query": query, **times})

    def vector(self, depth: int) -> str:
        """Return an instant vector."""
        rng = self.rng
        ways: list[Callable[[], str]] = [lambda: self.selector() + self.shift(), self.over_time]
        if depth:
            ways += [
                self.over_time,
                lambda: f"{self.vector(depth - 1)} {self.sign()} {self.scalar(depth - 1)}",
                lambda: f"{self.scalar(depth - 1)} {self.sign()} {self.vector(depth - 1)}",
                lambda: f"({self.vector(depth - 1)}) {rng.choice('+-*')} ({self.vector(depth - 1)})",
                lambda: f"{self.vector(depth - 1)} {self.comparison()} {self.scalar(depth - 1)}",
                lambda: f"{self.scalar(depth - 1)} {self.comparison()} {self.vector(depth - 1)}",
                lambda: f"({self.vector(depth - 1)}) {self.comparison()} ({self.vector(depth - 1)})",
                lambda: self.aggregation(depth - 1),
                lambda: f"{rng.choice(('topk', 'bottomk'))}({rng.randint(0, 5)}, price{self.shift()})",
                lambda: f"-{self.vector(depth - 1)}",
                lambda: f"{rng.choice(('abs', 'sqrt', 'ceil', 'floor'))}(price{self.shift()})",
                lambda: f"absent({self.selector()})",
                lambda: f"vector({self.scalar(depth - 1)})",
            ]
        return rng.choice(ways)()

    def selector(self) -> str:
        """Return series by a name and matchers."""
        rng = self.rng
        metric = rng.choice(("price", "price", *SIZED))
        symbol = rng.choice((*SYMBOLS, "NONE"))
        matcher = rng.choice((
            "", f'{{symbol="{symbol}"}}', f'{{symbol!="{symbol}"}}', '{symbol=~"A.*|EUR/USD"}', '{symbol!~".+-USD"}',
            '{symbol=~"[A-E].+", job=""}', '{symbol=~"x\\\\.y\\\\|z"}', '{symbol=~"(?i)x\\\\.y\\\\|z"}', '{job="x"}',
            '{symbol=~"(?:ABC|X[.]Y).{2,}",}',
        ))  # fmt: skip
        return metric + matcher

    def shift(self) -> str:
        """Return an offset, a time, both or neither."""
        rng = self.rng
        offset = rng.choice(("", "", "", f" offset {rng.randint(1, 900)}s", f" offset -{rng.randint(1, 400)}s"))
        moment = rng.choice(
            ("", "", "", "", " @ start()", " @ end()", f" @ {(START_MS + rng.randint(0, SPAN_MS)) / 1000:.3f}")
        )
        return rng.choice((offset + moment, moment + offset))

    def over_time(self) -> str:
        """Return a function of windows."""
        rng = self.rng
        window = (
            f"{self.selector()}[{rng.choice(('1s', '30s', '1m', '5m', '1m30s', '250ms', '1h', '2h15m'))}]{self.shift()}"
        )
        return rng.choice((
            f"{rng.choice(OVER_TIME)}_over_time({window})",
            f"{rng.choice(OVER_TIME)}_over_time({window})",
            f"delta({window})",
            f"quantile_over_time({rng.choice(('0', '0.5', '0.99', '1', '.25', '-1', '1.5'))}, {window})",
            f"absent_over_time({window})",
        ))  # fmt: skip

    def scalar(self, depth: int) -> str:
        """Return a number at each step."""
        rng = self.rng
        ways: list[Callable[[], str]] = [lambda: rng.choice(("2", "0.5", "1e3", "0x10", "3", "-1")), lambda: "time()"]
        if depth:
            ways += [
                lambda: f"({self.scalar(depth - 1)} {self.sign()} {self.scalar(depth - 1)})",
                lambda: f"{self.scalar(depth - 1)} {rng.choice('+-*')} {self.scalar(depth - 1)}",
                lambda: f"scalar({self.selector()})",
                lambda: f"({self.scalar(depth - 1)} {self.comparison(only_bool=True)} {self.scalar(depth - 1)})",
            ]
        return rng.choice(ways)()

    def sign(self) -> str:
        """Return what stands between two numbers."""
        return self.rng.choice("+-*/+-*/%^")

    def comparison(self, *, only_bool: bool = False) -> str:
        """Return a comparison, with or without bool."""
        sign = self.rng.choice(("==", "!=", "<", ">", "<=", ">="))
        return f"{sign} bool" if only_bool or self.rng.random() < 0.4 else sign

    def aggregation(self, depth: int) -> str:
        """Return series made one."""
        grouping = self.rng.choice(
            ("", " by (symbol)", " by ()", " without (symbol)", " without (job)", " by (symbol, job)")
        )
        name = self.rng.choice(("sum", "avg", "min", "max", "count"))
        if self.rng.random() < 0.5:
            return f"{name}{grouping} ({self.vector(depth)})"
        return f"{name}({self.vector(depth)}){grouping}"


def _answer(answer: httpx.Response) -> tuple[int, str, Any]:
    """Return the status, the kind, and the values by labels and time, or the kind of the error."""
    told = answer.json()
    if told["status"] == "error":
        return answer.status_code, "error", told["errorType"]
    data = told["data"]
    if data["resultType"] == "scalar":
        return answer.status_code, "scalar", {(): {data["result"][0]: float(data["result"][1])}}
    found = {}
    for one in data["result"]:
        pairs = one.get("values") or [one["value"]]
        key = tuple(sorted(one["metric"].items()))
        assert key not in found
        found[key] = {time: float(value) for time, value in pairs}
    return answer.status_code, data["resultType"], found


def _same(ours: float, theirs: float) -> bool:
    both_nan = math.isnan(ours) and math.isnan(theirs)
    return both_nan or math.isclose(ours, theirs, rel_tol=EXACT_ENOUGH, abs_tol=EXACT_ENOUGH)


def differs(ours: httpx.Response, theirs: httpx.Response) -> str | None:
    """Return how two answers differ."""
    (status, kind, found), (their_status, their_kind, expected) = _answer(ours), _answer(theirs)
    if (status, kind) != (their_status, their_kind):
        return f"{status} {kind} {ours.text[:200]}, not {their_status} {their_kind} {theirs.text[:200]}"
    if kind == "error":
        return None if found == expected else f"{found}, not {expected}"
    if found.keys() != expected.keys():
        return f"series {sorted(found)}, not {sorted(expected)}"
    for key, values in expected.items():
        if found[key].keys() != values.keys():
            return f"{key}: times {sorted(found[key].keys() ^ values.keys())[:5]}"
        for time, value in values.items():
            if not _same(found[key][time], value):
                return f"{key} at {time}: {found[key][time]}, not {value}"
    return None


def test_generated_queries_are_answered_as_prometheus_answers_them(stored: Stored) -> None:
    """Series, times and values; and most of them are no empty answers."""
    queries = Queries(seed=18)
    differences, some = [], 0
    for _ in range(QUERIES):
        path, parameters = queries.asked()
        ours, theirs = (client.get(path, params=parameters) for client in stored)
        if (difference := differs(ours, theirs)) is not None:
            differences.append(f"{parameters}: {difference}")
        some += theirs.is_success and bool(theirs.json()["data"]["result"])
    assert not differences, f"{len(differences)} of {QUERIES}:\n" + "\n".join(differences[:20])
    assert some > QUERIES / 2


ODD = (
    "1 +",
    "price{",
    'price{symbol="A}',
    "price[0s]",
    "price[5m",
    "sum(price",
    "sum price",
    "{}",
    '{symbol=""}',
    'price{symbol=~"("}',
    'price{symbol=~"a**"}',
    "price{symbol=A}",
    'price{1="A"}',
    "price offset 5",
    "avg_over_time(price)",
    "abs(price[5m])",
    "1 > 2",
    "1 + bool 2",
    "price[5m] > 1",
    'price > {symbol="ABC-USD"}',
    "price[5m] + 1",
    "topk(price)",
    "topk(price, price)",
    "topk(1e30, price)",
    "sum(price, price)",
    "abs()",
    "time(1)",
    "price offset 1m offset 1m",
    "1 offset 1m",
    "(price)[5m]",
    "price @ x",
    '{symbol="ABC-USD"} * 2',
    'avg_over_time({symbol="ABC-USD"}[1h])',
    'price * {symbol="ABC-USD"}',
    '-{symbol="ABC-USD"}',
    'price{__name__="x"}',
    "5m",
    "1 2",
    "price price",
    "(price) offset 5m",
    "'a' + 1",
    "\u20ac",
)


@pytest.mark.parametrize("query", ODD)
@pytest.mark.parametrize("ranged", [False, True])
def test_what_prometheus_refuses_is_refused_in_the_same_way(stored: Stored, query: str, *, ranged: bool) -> None:
    """The same status and kind of error."""
    time = str(START_MS / 1000 + 3_000)
    when = {"start": time, "end": time, "step": "15"} if ranged else {"time": time}
    path = "/api/v1/query_range" if ranged else "/api/v1/query"
    ours, theirs = (client.get(path, params={"query": query, **when}) for client in stored)
    assert theirs.status_code >= 400, theirs.text
    assert differs(ours, theirs) is None


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/api/v1/query", {"query": "1", "time": "yesterday"}),
        ("/api/v1/query", {}),
        ("/api/v1/query_range", {"query": "1", "start": "2", "end": "1", "step": "1"}),
        ("/api/v1/query_range", {"query": "1", "start": "1", "end": "2", "step": "0"}),
        ("/api/v1/query_range", {"query": "1", "start": "1", "end": "2", "step": "x"}),
        ("/api/v1/query_range", {"query": "1", "start": "0", "end": "11001", "step": "1"}),
        ("/api/v1/query_range", {"query": "1", "start": "0", "end": "11000", "step": "1"}),
        ("/api/v1/query_range", {"query": "1", "start": "1970-01-01T00:00:01.5Z", "end": "2", "step": "250ms"}),
        ("/api/v1/query_range", {"query": "price[5m]", "start": "1", "end": "2", "step": "1"}),
        ("/api/v1/query_range", {"query": "1", "start": "-5.5", "end": "2", "step": "1m"}),
        ("/api/v1/query", {"query": "time()", "time": "2026-01-01T01:00:00+02:00"}),
    ],
)
def test_parameters_mean_the_same(stored: Stored, path: str, parameters: dict[str, str]) -> None:
    """Times, steps, and what is wrong with them."""
    ours, theirs = (client.get(path, params=parameters) for client in stored)
    assert differs(ours, theirs) is None


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/api/v1/labels", {}),
        ("/api/v1/labels", {"match[]": ["size"]}),
        ("/api/v1/labels", {"match[]": ["nothing"]}),
        ("/api/v1/label/symbol/values", {}),
        ("/api/v1/label/symbol/values", {"match[]": ["size", 'price{symbol="PRICES"}']}),
        ("/api/v1/label/__name__/values", {}),
        ("/api/v1/label/__name__/values", {"match[]": ['{symbol="PRICES"}']}),
        ("/api/v1/label/job/values", {}),
        ("/api/v1/label/a-b/values", {}),
        ("/api/v1/series", {"match[]": ["price"]}),
        ("/api/v1/series", {"match[]": ['{symbol=~"E.*"}', "size"]}),
        ("/api/v1/series", {}),
        ("/api/v1/series", {"match[]": ["1"]}),
        ("/api/v1/labels", {"match[]": ["{"]}),
    ],
)
def test_labels_are_the_same(stored: Stored, path: str, parameters: dict[str, Any]) -> None:
    """Names, values and series."""
    when = {"start": str(START_MS // 1000 - 1000), "end": str((START_MS + SPAN_MS) // 1000 + 1000)}
    ours, theirs = (client.get(path, params={**parameters, **when}) for client in stored)
    assert ours.status_code == theirs.status_code
    if theirs.is_success:
        assert sorted(map(str, map(_sorted, ours.json()["data"]))) == sorted(
            map(str, map(_sorted, theirs.json()["data"]))
        )
    else:
        assert ours.json()["errorType"] == theirs.json()["errorType"]


def _sorted(one: str | dict[str, str]) -> object:
    return sorted(one.items()) if isinstance(one, dict) else one
