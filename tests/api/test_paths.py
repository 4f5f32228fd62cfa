"""Statistics of paths over HTTP: where they are answered, and how many points one request may read for them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.app import create_app
from api.http import path_points
from api.operation.settings import Settings
from hft_mmap import Store
from hft_mmap.named import PATHS
from tests.api.test_http_table import refused
from tests.service import Service

NAMES = ",".join(PATHS)
SYMBOL = "PATH"
VALUES = np.round(100 + np.cumsum(np.random.default_rng(4).choice([-0.5, 0.0, 0.5], 20_000)) % 50, 2)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> "Callable[..., dict[str, Any]]":
    """Return what the library answers, as it comes out of JSON."""
    store = Store(tmp_path_factory.mktemp("paths"), durability="process")
    store.append(SYMBOL, VALUES)

    def ask(**part: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(json.dumps(store.statistics(SYMBOL, tuple(PATHS), **part)))
        return found

    return ask


@pytest.fixture(scope="module", autouse=True)
def stored(shared_service: Service) -> None:
    """Store points that are more than the event loop reads."""
    assert shared_service.add(SYMBOL, VALUES.tolist()).status_code == 200


def asked(service: Service) -> float:
    """Return how many questions about paths were answered beside the event loop."""
    (line,) = (
        line for line in service.client.get("/metrics").text.splitlines()
        if line.startswith('hft_mmap_long_questions_total{kind="path"}')
    )  # fmt: skip
    return float(line.split()[-1])


def test_stats_has_paths(shared_service: Service, expected: Callable[..., dict[str, Any]]) -> None:
    """Those of short windows at once, those of long ones beside the event loop: the library's numbers, to the bit."""
    before = asked(shared_service)
    for parameters, part, beside in (
        ({"window": 1000}, {"window": 1000}, 0),
        ({"from": 10, "to": 400}, {"start": 10, "end": 400}, 0),
        ({"window": 20_000}, {"window": 20_000}, 1),
        ({"window": 1}, {"window": 1}, 0),
    ):
        answer = shared_service.client.get("/stats", params={"symbol": SYMBOL, "stats": NAMES, **parameters})
        found = answer.json()
        assert {name: found[name] for name in PATHS} == expected(**part)
        before += beside
        assert asked(shared_service) == before
    eight = shared_service.client.get("/stats", params={"symbol": SYMBOL, "stats": NAMES}).json()
    assert {name: eight["windows"]["3"][name] for name in PATHS} == expected(window=1000)


def test_windows_bars_and_symbols_have_paths(shared_service: Service, expected: Callable[..., dict[str, Any]]) -> None:
    """A column for each, wherever statistics are named."""
    part = expected(start=1000, end=2000)
    windows = shared_service.client.post(
        "/windows", params={"symbol": SYMBOL, "stats": NAMES}, json={"start": [1000], "end": [2000]}
    ).json()
    bars = shared_service.client.get("/bars", params={"symbol": SYMBOL, "points": 1000, "stats": NAMES}).json()
    shared_service.add("PATH2", VALUES[:10].tolist())
    both = shared_service.client.get(
        "/stats", params={"symbol": [SYMBOL, "PATH2"], "from": 2, "to": 9, "stats": NAMES}
    ).json()
    for name in PATHS:
        assert windows[name] == [part[name]]
        assert bars[name][1] == part[name]
        assert both[name] == [expected(start=2, end=9)[name]] * 2


def test_windows_that_read_too_much_are_refused(shared_service: Service) -> None:
    """All windows of a request together: the limit and the way out are named, and nothing else is refused by it."""
    windows = {"start": [0] * 10_001, "end": [20_000] * 10_001}
    question = {"symbol": SYMBOL, "stats": "avg,rv"}
    answer = shared_service.client.post("/windows", params=question, json=windows)
    assert "200,020,000 points together" in refused(answer, 422)
    assert "at most 200,000,000: ask for shorter windows" in answer.json()["detail"]
    answer = shared_service.client.post("/windows", params=question | {"stats": "avg,std"}, json=windows)
    assert answer.status_code == 200
    backwards = {"start": [0, 2**62], "end": [20_000, 0]}
    refused(shared_service.client.post("/windows", params=question, json=backwards), 400)


@pytest.mark.parametrize(
    ("path", "query"),
    [("/stats", "window=500"), ("/stats", ""), ("/stats", "from=100&to=600"), ("/bars", "points=10&from=100&to=600")],
)
def test_every_question_about_paths_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, query: str
) -> None:
    """Whichever way the points are named: as many as may be read are, and one more is refused."""
    monkeypatch.setattr("api.routes.named.FEW_POINTS", 10)
    with Store(tmp_path, durability="process") as store:
        store.append(SYMBOL, VALUES[:600])
        points = 10 + 100 + 6 * 600 if not query else 500
        transport = httpx.ASGITransport(create_app(store, Settings()))  # type: ignore[arg-type]

        async def ask() -> int:
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
                return (await client.get(f"{path}?symbol={SYMBOL}&stats=rv&{query}")).status_code

        monkeypatch.setattr(path_points, "MOST_POINTS", points)
        assert asyncio.run(ask()) == 200
        monkeypatch.setattr(path_points, "MOST_POINTS", points - 1)
        assert asyncio.run(ask()) == 422


@pytest.mark.parametrize("made", [0, 1], ids=["points", "groups"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/stats?window=5000"), ("GET", "/bars?every=10m"), ("GET", "/bars?points=500"), ("POST", "/windows?")],
)
def test_what_groups_cover_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str, made: int
) -> None:
    """As far as a question before has found them: statistics of times and sizes as well, of windows and of bars."""
    with Store(tmp_path, durability="process") as store:
        sizes = VALUES[:5000] - 100
        store.append(SYMBOL, VALUES[:5000], times=np.arange(5000), time_unit="s", sizes=sizes)
        if made:
            store.summarise()
        transport = httpx.ASGITransport(create_app(store, Settings()))  # type: ignore[arg-type]
        body = {"start": [0, 10], "end": [5000, 4000]} if method == "POST" else None

        async def ask() -> int:
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
                question = f"{path}&symbol={SYMBOL}&stats=vwap,gap,volume,rv"
                return (await client.request(method, question, json=body)).status_code

        assert asyncio.run(ask()) == 200
        monkeypatch.setattr(path_points, "MOST_POINTS", 64)
        assert asyncio.run(ask()) == (200 if made else 422)


@pytest.mark.parametrize("query", ["", "&window=1025", "&window=1000&window=25"])
def test_streams_send_paths_of_short_windows_only(shared_service: Service, query: str) -> None:
    """Each message reads all their points: the refusal says how many it may be, and what else to ask."""
    question = f"/events?symbol={SYMBOL}&stats=std,rv"
    text = refused(shared_service.client.get(question + query), 400)
    assert "at most 1,024" in text
    assert "rv read every point" in text
    with shared_service.client.stream("GET", f"{question}&window=1024") as answer:
        line = next(line for line in answer.iter_lines() if line.startswith("data: "))
    stats = json.loads(line[6:])["windows"]["1024"]
    assert stats["rv"] > 0
