"""NDJSON: many batches in one request, each taken or refused by itself, and the answer says which."""

import asyncio
import gzip
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.body.decode import Decoder
from api.body.lines import Lines
from api.http.exchange import Scope
from hft_mmap import Store
from hft_mmap.batch import Prices
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service
from tests.small_disk import SmallDisk

LINES = "application/x-ndjson"


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test uses."""
    return f"L-{abs(hash(request.node.nodeid)):x}"


def post(service: Service, body: str | bytes, query: str = "", **headers: str) -> httpx.Response:
    """Send an NDJSON body."""
    return service.client.post(f"/add_batch/{query}", content=body, headers={"Content-Type": LINES, **headers})


def batch(symbol: str, values: list[float], **more: object) -> str:
    """Return one line."""
    return json.dumps({"symbol": symbol, "values": values, **more}) + "\n"


def total(service: Service, symbol: str) -> int:
    """Return how many points a symbol has."""
    answer = service.client.get("/stats", params={"symbol": symbol})
    return 0 if answer.status_code == 404 else int(answer.json()["total"])


def refused(answer: httpx.Response, status: int = 400) -> str:
    """Return the text of a refusal of the whole request."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    return str(answer.json()["error"])


def test_every_line_is_a_batch(shared_service: Service, symbol: str) -> None:
    """Of many symbols, in their order; the answer has a result for each."""
    a, b = f"{symbol}-a", f"{symbol}-日本"
    answer = post(shared_service, batch(a, [1.0, 2.0]) + batch(b, [3.0]) + batch(a, [4.0], offset=2))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == {
        "status": "success",
        "added": 4,
        "refused": 0,
        "durability": "interval",
        "lines": [
            {"line": 1, "status": 200, "symbol": a, "added": 2, "total": 2},
            {"line": 2, "status": 200, "symbol": b, "added": 1, "total": 1},
            {"line": 3, "status": 200, "symbol": a, "added": 1, "total": 3},
        ],
    }
    assert (total(shared_service, a), total(shared_service, b)) == (3, 1)


def test_a_refused_line_is_told_and_the_others_are_taken(shared_service: Service, symbol: str) -> None:
    """Each with the status and the text that it would have had by itself; numbers count every line from 1."""
    lines = [
        batch(symbol, [1.0, 2.0]),
        "\n",
        batch(symbol, [1.0, -2.0]),
        "{not json\n",
        batch(symbol, [3.0], offset=7),
        '{"symbol":"A"}\n',
        batch("", [1.0]),
        batch(symbol, [3.0], offset=2).replace("\n", "\r\n"),
    ]
    answer = post(shared_service, "".join(lines).removesuffix("\r\n"))
    found: dict[str, Any] = answer.json()
    assert answer.status_code == 200
    assert (found["status"], found["added"], found["refused"]) == ("partial", 3, 5)
    told = [(one["line"], one["status"]) for one in found["lines"]]
    assert told == [(1, 200), (3, 400), (4, 400), (5, 409), (6, 422), (7, 400), (8, 200)]
    by_line = {one["line"]: one for one in found["lines"]}
    assert (by_line[3]["symbol"], "values[1]" in by_line[3]["error"]) == (symbol, True)
    assert (by_line[5]["total"], by_line[5]["symbol"]) == (2, symbol)
    assert "symbol" not in by_line[6]
    assert total(shared_service, symbol) == 3


def test_sent_again_with_offsets_nothing_is_stored_twice(shared_service: Service, symbol: str) -> None:
    """So a request whose answer was lost, or that was cut off between two lines, is simply repeated."""
    body = batch(symbol, [1.0, 2.0], offset=0) + batch(symbol, [3.0], offset=2)
    for _ in range(3):
        assert [one["total"] for one in post(shared_service, body).json()["lines"]] == [2, 3]
    assert total(shared_service, symbol) == 3


def test_all_lines_refused_is_still_an_answer(shared_service: Service) -> None:
    """200, because the body could be cut into lines; its own status says `refused`."""
    found = post(shared_service, "1\n2").json()
    assert (found["status"], found["added"], [one["status"] for one in found["lines"]]) == ("refused", 0, [422, 422])


def test_a_line_may_be_as_large_as_any_batch(shared_service: Service, symbol: str) -> None:
    """100,000 values, beside a small one, and compressed too."""
    body = batch(symbol, [1.25] * 100_000) + batch(symbol, [2.0])
    assert post(shared_service, body).json()["lines"][1]["total"] == 100_001
    zipped = gzip.compress(body.encode(), compresslevel=1)
    assert post(shared_service, zipped, **{"Content-Encoding": "gzip"}).json()["lines"][1]["total"] == 200_002
    assert post(shared_service, batch(symbol, [1.0] * 100_001)).json()["lines"][0]["status"] == 400


def test_there_are_lines_and_not_too_many(shared_service: Service, symbol: str) -> None:
    """None at all, or more than 10,000: the whole is refused, and nothing of it is stored."""
    for empty in ("", "\n", " \r\n\n"):
        assert "no line" in refused(post(shared_service, empty))
    line = batch(symbol, [1.0])
    assert "10000 lines" in refused(post(shared_service, line * 10_001))
    assert "10000 lines" in refused(post(shared_service, "\n" * 4_000_000))
    assert total(shared_service, symbol) == 0
    found = post(shared_service, (line * 10_000).removesuffix("\n")).json()
    assert (found["added"], found["lines"][-1]["total"]) == (10_000, 10_000)


def test_query_and_header_have_no_place_beside_lines(shared_service: Service, symbol: str) -> None:
    """A symbol or an offset for all lines would contradict those of the lines."""
    line = batch(symbol, [1.0])
    assert "query" in refused(post(shared_service, line, f"?symbol={symbol}"))
    assert "X-Offset" in refused(post(shared_service, line, **{"X-Offset": "0"}))
    assert total(shared_service, symbol) == 0


def test_with_sync_all_lines_wait_for_the_disk(start_service: StartService) -> None:
    """The answer says so; and what was refused is in the log."""
    service = start_service(store__durability="sync", log__level="info")
    found = post(service, batch("A", [1.0]) + batch("B", [1.0]) + batch("A", [2.0]) + "x").json()
    assert (found["durability"], [one["status"] for one in found["lines"]]) == ("sync", [200, 200, 200, 400])
    line = service.wait_for_event("request")
    assert (line["route"], line["status"], line["points"], line["symbol"]) == ("/add_batch", 200, 3, None)


def test_nothing_stored_for_want_of_space_is_507(start_service: StartService, disk: SmallDisk) -> None:
    """Whoever looks at the status alone, a balancer or an alert, has to see it; with one line stored it is 200."""
    service = start_service(store__data_dir=disk.path / "data", store__starting_capacity=0)
    assert service.add("A", [1.0]).status_code == 200
    disk.fill()
    large = batch("A", [1.0] * 20_000)
    answer = post(service, large + "x\n" + large)
    assert (answer.status_code, answer.headers["Content-Type"]) == (507, "application/json")
    assert [one["status"] for one in answer.json()["lines"]] == [507, 400, 507]
    assert post(service, batch("A", [2.0]) + large).status_code == 200


SCOPE: Scope = {"path": "/add_batch", "headers": []}


class BreakingStore(Store):
    """A store in which a batch of the symbol BREAK meets what nobody expected."""

    def append_nowait(
        self, symbol: str, values: Prices, *, offset: int | None = None, wait_s: float | None = None
    ) -> int:  # fmt: skip
        """Append, or break."""
        if symbol == "BREAK":
            raise RuntimeError(symbol)
        return super().append_nowait(symbol, values, offset=offset, wait_s=wait_s)


def test_a_line_at_which_the_service_fails_is_told_and_the_last(tmp_path: Path) -> None:
    """The lines before it are stored, and the client is told; those behind it were not taken and have no result."""
    with BreakingStore(tmp_path) as store:
        lines = Lines(store, Decoder(100))
        text = batch("A", [1.0]) + batch("BREAK", [1.0]) + batch("A", [2.0])
        status, body = asyncio.run(lines.take(text.encode(), dict(SCOPE)))
        found = json.loads(body)
        assert (status, found["status"], found["added"]) == (200, "partial", 1)
        assert [(one["line"], one["status"]) for one in found["lines"]] == [(1, 200), (2, 500)]
        assert "log" in found["lines"][1]["error"]
        assert store.series("A").total == 1
        status, _ = asyncio.run(lines.take(batch("BREAK", [1.0]).encode(), dict(SCOPE)))
        assert status == 500


def test_a_line_is_answered_when_its_own_points_are_on_the_disk(tmp_path: Path) -> None:
    """Also where a later line of the same symbol repeats points that are there already."""
    with Store(tmp_path, durability="sync") as store:
        store.append("A", np.ones(10))
        series = store.series("A")
        busy, go_on = threading.Event(), threading.Event()

        def keep_the_flusher(_error: BaseException | None) -> None:
            busy.set()
            go_on.wait(PATIENCE_S)

        series.on_durable(11, keep_the_flusher)
        series.append_nowait([1.0])
        assert busy.wait(PATIENCE_S)
        text = batch("A", [2.0] * 5) + batch("A", [1.0] * 10, offset=0)

        async def take() -> bytes:
            taking = asyncio.create_task(Lines(store, Decoder(100)).take(text.encode(), dict(SCOPE)))
            for _ in range(200):
                await asyncio.sleep(0)
            assert store.series("A").total == 16
            assert not taking.done(), "the first line was answered before its points were on the disk"
            go_on.set()
            return (await taking)[1]

        try:
            found = json.loads(asyncio.run(take()))
        finally:
            go_on.set()
        assert [one["total"] for one in found["lines"]] == [16, 10]
        assert series.committed_total == 16
