"""The bars of server-sent events: those that have changed, as /bars has them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.service import Service

SECOND = 10**9
BEGIN = 1_767_225_600 * SECOND


@contextmanager
def events(service: Service, **query: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the events of a stream."""
    with service.client.stream("GET", "/events", params={"interval_ms": 10, "window": 10, **query}) as answer:
        assert answer.status_code == 200
        yield (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data"))


def put_together(found: dict[str, list[Any]] | None, bars: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return `found` with the newer `bars` in place of those of the same points."""
    if found is None:
        return bars
    keep = sum(index < bars["index"][0] for index in found["index"])
    assert bars["index"][0] <= found["index"][-1] + found["count"][-1]
    return {name: found[name][:keep] + bars[name] for name in bars}


def all_bars(service: Service, symbol: str, **how: Any) -> dict[str, list[Any]]:
    """Return the columns of /bars."""
    found = service.client.get("/bars", params={"symbol": symbol, **how}).json()
    return {name: column for name, column in found.items() if isinstance(column, list)}


def add_ticks(service: Service, symbol: str, seconds: list[float]) -> int:
    """Append a point of each of these times, with sizes; return the total."""
    times = [BEGIN + round(second * SECOND) for second in seconds]
    body = {"symbol": symbol, "values": [100 + second for second in seconds], "times": times, "sizes": seconds}
    answer = service.client.post("/add_batch", json=body)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["total"])


def test_bars_of_points_follow_the_series(shared_service: Service) -> None:
    """The newest one first, then those that have changed; together they are those of /bars."""
    shared_service.add("EB1", [float(i) for i in range(25)])
    with events(shared_service, symbol="EB1", bars=10) as told:
        first = next(told)["bars"]
        assert (first["index"], first["count"], first["open"]) == ([20], [5], [20.0])
        found = first
        for batch in ([7.0], [8.0] * 4, [1.0, 9.0] * 30):
            total = shared_service.add("EB1", batch).json()["total"]
            while (event := next(told))["total"] < total:
                found = put_together(found, event["bars"])
            found = put_together(found, event["bars"])
    stored = all_bars(shared_service, "EB1", points=10)
    assert found == {name: column[2:] for name, column in stored.items()}


def test_bars_by_time_have_times_and_sizes(shared_service: Service) -> None:
    """Whole from the first point of the bar on, also of one that began long ago; what is empty is left out."""
    add_ticks(shared_service, "EB2", [0.0, 0.5, 1.25, 1.5])
    with events(shared_service, symbol="EB2", bars="1s") as told:
        event = next(told)
        assert event["time"] == BEGIN + round(1.5 * SECOND)
        found = event["bars"]
        assert (found["time"], found["count"]) == ([BEGIN + SECOND], [2])
        for seconds in ([1.75], [1.8, 2.0], [7.5, 9.0, 9.5]):
            total = add_ticks(shared_service, "EB2", seconds)
            while (event := next(told))["total"] < total:
                found = put_together(found, event["bars"])
            found = put_together(found, event["bars"])
            assert event["time"] == BEGIN + round(seconds[-1] * SECOND)
    stored = all_bars(shared_service, "EB2", every="1s")
    assert found == {name: column[1:] for name, column in stored.items()}
    assert "vwap" in found


def test_the_first_symbol_has_bars_and_no_other(shared_service: Service) -> None:
    """A stream of a list of symbols draws the chart of one."""
    for symbol in ("EB3", "EB4"):
        shared_service.add(symbol, [1.0, 2.0])
    with events(shared_service, symbol=["EB4", "EB3"], bars=5) as told:
        found = {event["symbol"]: "bars" in event for event in (next(told), next(told))}
    assert found == {"EB4": True, "EB3": False}


def test_an_event_has_the_newest_thousand_bars(shared_service: Service) -> None:
    """Of points and of time; those before them are for /bars."""
    shared_service.add("EB5", [1.0])
    add_ticks(shared_service, "EB6", [0.0])
    with (
        events(shared_service, symbol="EB5", bars=1) as points,
        events(shared_service, symbol="EB6", bars="1ms") as times,
    ):
        next(points)
        next(times)
        shared_service.add("EB5", [float(i) for i in range(5000)])
        add_ticks(shared_service, "EB6", [i / 100 for i in range(5000)])
        while (event := next(points))["total"] < 5001:
            pass
        assert event["bars"]["index"] == list(range(4001, 5001))
        while (event := next(times))["total"] < 5001:
            pass
        assert 1 <= len(event["bars"]["index"]) <= 1000
        assert event["bars"]["index"][-1] == 5000


def test_a_symbol_that_is_made_again_begins_anew(shared_service: Service) -> None:
    """Its bars are those of the new series, though it has fewer points."""
    shared_service.add("EB7", [1.0] * 50)
    with events(shared_service, symbol="EB7", bars=10) as told:
        next(told)
        assert shared_service.client.delete("/symbols/EB7").status_code == 200
        shared_service.add("EB7", [5.0, 6.0])
        while (event := next(told))["count"] != 2:
            assert event["count"] == 0 or event["total"] == 50
            assert event["count"] or "bars" not in event
        assert (event["bars"]["index"], event["bars"]["close"]) == ([0], [6.0])


@pytest.mark.parametrize(
    ("query", "status"),
    [("bars=0", 400), ("bars=1x", 400), ("bars=", 400), ("bars=5&bars=5", 400), ("bars=1s", 422), ("bars=1.5", 400)],
)
def test_what_is_no_bar_is_refused(shared_service: Service, query: str, status: int) -> None:
    """Before the stream begins; EB8 has no times."""
    shared_service.add("EB8", [1.0])
    for method in ("GET", "HEAD"):
        assert shared_service.client.request(method, f"/events?symbol=EB8&{query}").status_code == status


def test_a_websocket_has_no_bars(shared_service: Service) -> None:
    """It refuses the parameter by its name."""
    answer = shared_service.client.get("/stream?mode=stats&symbol=EB8&bars=5", headers={"Upgrade": "websocket"})
    assert answer.status_code in {400, 426}
