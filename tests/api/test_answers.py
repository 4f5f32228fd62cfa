"""GET /first, /quantile, /rank and /asof on a real running service."""

from typing import Any

import pytest

from tests.api.test_http_table import refused
from tests.conftest import StartService
from tests.service import Service

SYMBOL = "Q/ß"
KINDS = ("below", "equal", "above")
VALUES = [100.0 + (7 * i) % 13 for i in range(1000)]


@pytest.fixture(scope="module", autouse=True)
def stored(shared_service: Service) -> None:
    """Store a thousand points."""
    assert shared_service.add(SYMBOL, VALUES).status_code == 200


def ask(service: Service, path: str, **parameters: Any) -> dict[str, Any]:
    """Return the answer for these parameters."""
    answer = service.client.get(path, params={"symbol": SYMBOL, **parameters})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    head = service.client.head(path, params={"symbol": SYMBOL, **parameters})
    assert (head.status_code, head.content) == (200, b"")
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"after": 0, "above": 112}, (11, 112.0, "above")),
        ({"after": 11, "above": 112, "below": "1e2"}, (13, 100.0, "below")),
        ({"after": 0, "above": 112, "until": 11}, (None, None, None)),
        ({"after": 999, "above": 0}, (None, None, None)),
    ],
)
def test_a_barrier_is_first_met(
    shared_service: Service, parameters: dict[str, Any], expected: tuple[int | None, float | None, str | None]
) -> None:
    """Behind `after` and before `until`; nulls where nothing met it."""
    found = ask(shared_service, "/first", **parameters)
    assert found == {"symbol": SYMBOL, **dict(zip(("index", "value", "which"), expected, strict=True))}


@pytest.mark.parametrize(
    ("parameters", "part"), [({}, VALUES), ({"window": 10}, VALUES[-10:]), ({"from": 3, "to": 40}, VALUES[3:40])]
)
def test_quantiles_are_stored_values(shared_service: Service, parameters: dict[str, Any], part: list[float]) -> None:
    """Of the newest points, of a range, and of all; 0 and 1 are the extremes."""
    ranked = sorted(part)
    found = ask(shared_service, "/quantile", q="0,0.5,1", **parameters)
    assert found == {
        "symbol": SYMBOL,
        "q": [0.0, 0.5, 1.0],
        "value": [ranked[0], ranked[-(-len(part) // 2) - 1], ranked[-1]],
    }


@pytest.mark.parametrize(
    ("path", "parameters", "text"),
    [
        ("/first", {"above": 1}, "after is missing"),
        ("/first", {"after": 1}, "Give above, below"),
        ("/first", {"after": -1, "above": 1}, "after must be"),
        ("/first", {"after": 1, "above": "nan"}, "above must be a number"),
        ("/first", {"after": 1, "above": "1e999"}, "above must be a number"),
        ("/first", {"after": 1, "above": 5, "below": 5}, "below must be less than above"),
        ("/quantile", {}, "q is missing"),
        ("/quantile", {"q": "0.5,"}, "q must be a number"),
        ("/quantile", {"q": "1.01"}, "q must be from 0 to 1"),
        ("/quantile", {"q": ",".join(["0"] * 101)}, "at most 100"),
        ("/quantile", {"q": "0", "window": 1, "from": 0}, "Give either window"),
        ("/quantile", {"q": "0", "from": 5, "to": 5}, "start must be below end"),
        ("/rank", {}, "value is missing"),
        ("/rank", {"value": "+1"}, "value must be a number"),
        ("/rank", {"value": "1", "window": 0}, "window must be"),
        ("/rank", {"value": "1", "window": 1, "to": 2}, "Give either window"),
        ("/rank", {"value": "1", "q": 2}, "Unknown parameter"),
        ("/asof", {}, "at is missing"),
        ("/asof", {"at": "-1"}, "at must be a whole number"),
        ("/asof", {"at": "1", "window": 2}, "Unknown parameter"),
    ],
)
def test_what_is_no_question_is_refused(
    shared_service: Service, path: str, parameters: dict[str, Any], text: str
) -> None:
    """The problem says what is wrong."""
    assert text in refused(shared_service.client.get(path, params={"symbol": SYMBOL, **parameters}), 400)


def test_a_rank_counts_ties_apart(shared_service: Service) -> None:
    """Of a window, of a range, and of all that are kept; of a price that no point has too."""
    for parameters, part in (
        ({"value": 105}, VALUES),
        ({"value": "1.055e2", "window": 50}, VALUES[-50:]),
        ({"value": 100, "from": 10, "to": 40}, VALUES[10:40]),
    ):
        x = float(str(parameters["value"]))
        counts = {"below": sum(v < x for v in part), "equal": part.count(x), "above": sum(v > x for v in part)}
        assert ask(shared_service, "/rank", **parameters) == {"symbol": SYMBOL, "value": x, **counts}


def test_as_of_is_the_point_at_or_before(shared_service: Service) -> None:
    """The newest one where the index lies ahead."""
    for at, index in ((0, 0), (500, 500), (999, 999), (1000, 999), (2**63 - 1, 999)):
        assert ask(shared_service, "/asof", at=at) == {"symbol": SYMBOL, "index": index, "value": VALUES[index]}


def test_a_point_that_is_no_longer_kept_is_a_conflict(start_service: StartService) -> None:
    """With the bounds, so that a client knows where to go on."""
    service = start_service(store__max_data_retention=100, store__cleanup_keep_count=50, store__starting_capacity=0)
    service.add("A", [1.0] * 60)
    service.add("A", [2.0] * 60)
    start = service.client.get("/rank?symbol=A&value=2").json()
    answer = service.client.get("/asof?symbol=A&at=0")
    assert "are no longer kept" in refused(answer, 409)
    assert (answer.json()["start"], answer.json()["total"]) == (120 - sum(start[k] for k in KINDS), 120)
    for path in ("/asof?symbol=-&at=0", "/rank?symbol=-&value=0"):
        assert "Symbol not found" in refused(service.client.get(path), 404)


def test_points_that_are_not_there_are_a_conflict(shared_service: Service) -> None:
    """The document has the bounds."""
    answer = shared_service.client.get("/quantile", params={"symbol": SYMBOL, "q": 1, "from": 0, "to": 1001})
    assert "do not exist" in refused(answer, 409)
    assert (answer.json()["start"], answer.json()["total"]) == (0, 1000)
    assert "Symbol not found" in refused(shared_service.client.get("/quantile", params={"symbol": "-", "q": 1}), 404)
