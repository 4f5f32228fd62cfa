"""A series that another process holds: a writer that was stopped in the middle of a write, for one."""

import json
import threading

import httpx
import pytest

from tests.conftest import StartService
from tests.locks import held
from tests.service import PATIENCE_S, Service, wait_until

LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def busy(start_service: StartService) -> Service:
    """Return a service with the symbols A and B, all of them on the disk."""
    service = start_service(store__durability="sync")
    for symbol in ("A", "B"):
        assert service.add(symbol, [1.0]).status_code == 200
    return service


def test_everything_else_is_answered_and_the_batch_when_the_lock_is_free(busy: Service) -> None:
    """Health, reads of all series and batches of others do not wait; the batch of the held one does, and is stored."""
    answers: list[httpx.Response] = []
    with held(busy.data_dir / "A" / "head"):
        waiting = threading.Thread(target=lambda: answers.append(httpx.post(
            f"{busy.url}/add_batch/", json={"symbol": "A", "values": [2.0]}, timeout=PATIENCE_S,
        )))  # fmt: skip
        waiting.start()
        assert busy.client.get("/health").status_code == 200
        for symbol in ("A", "B"):
            assert busy.client.get(f"/stats?symbol={symbol}").json()["total"] == 1
        assert busy.add("B", [2.0]).json()["total"] == 2
        assert busy.add("C", [1.0]).json()["total"] == 1
        assert answers == []
    waiting.join(PATIENCE_S)
    assert (answers[0].status_code, answers[0].json()["total"]) == (200, 2)


def test_a_lock_that_is_not_given_back_is_a_refusal_that_says_what_to_do(busy: Service) -> None:
    """503 after a while, with nothing stored; /ready and /metrics say so, until the lock is free."""
    with held(busy.data_dir / "A" / "head"):
        refused = busy.add("A", [2.0])
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "A is held by another process" in refused.json()["detail"]
        assert "lslocks" in refused.json()["detail"]
        lines = "".join(json.dumps({"symbol": "A", "values": [float(i)]}) + "\n" for i in range(20))
        several = busy.client.post("/add_batch/", content=lines, headers=LINES)
        assert (several.status_code, several.json()["status"]) == (503, "refused")
        assert {line["status"] for line in several.json()["lines"]} == {503}
        reasons = busy.client.get("/ready").json()["reasons"]
        assert [(reason["symbol"], reason["code"]) for reason in reasons] == [("A", "locked")]
        assert 'hft_mmap_not_ready_reasons{code="locked"} 1.0' in busy.client.get("/metrics").text
    wait_until(lambda: busy.client.get("/ready").status_code == 200, "a service that is ready")
    assert busy.add("A", [2.0]).json()["total"] == 2
