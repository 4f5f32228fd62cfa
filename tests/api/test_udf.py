"""Bars for TradingView's charts: what its library asks, and what comes back."""

from typing import Any

import httpx
import pytest

from tests.service import Service, running_service

# A Sunday, and the day after.
T = 1_767_225_600
DAY = 86_400
SYMBOL, UNTIMED = "U/ß", "U-UNTIMED"
TIMES = [T, T + 59, T + 60, T + 600, T + 601, T + DAY + 5]


@pytest.fixture(scope="module", autouse=True)
def stored(shared_service: Service) -> None:
    """Store six ticks, and prices alone."""
    store(shared_service, SYMBOL, [10.5, 10.25, 11, 9, 9.5, 12], TIMES, [1, -2, 3, 4, -5, 6])
    assert shared_service.add(UNTIMED, [1.0]).is_success


def store(
    service: Service, symbol: str, values: list[float], times: list[int], sizes: list[float] | None = None
) -> None:
    """Append ticks."""
    body = {"symbol": symbol, "values": values, "times": times, "time_unit": "s", **({"sizes": sizes} if sizes else {})}
    assert service.client.post("/add_batch", json=body).is_success


def history(service: Service, **parameters: Any) -> Any:
    """Return bars of a minute of the symbol, unless something else is said."""
    asked = {"symbol": SYMBOL, "resolution": "1", "from": T, "to": T + 2 * DAY, **parameters}
    answer = service.client.get("/udf/history", params=asked)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int) -> str:
    """Return what is told of a refusal, in the form of the protocol."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told.keys() == {"s", "errmsg"}
    assert told["s"] == "error"
    return str(told["errmsg"])


def test_a_chart_learns_what_there_is(shared_service: Service) -> None:
    """Resolutions that this feed then answers, each of them; and the time."""
    config = shared_service.client.get("/udf/config").json()
    assert (config["supports_search"], config["supports_group_request"], config["supports_time"]) == (True, False, True)
    for name in config["supported_resolutions"]:
        assert history(shared_service, resolution=name)["s"] == "ok"
    assert shared_service.client.get("/udf/time").text.isdecimal()


def test_a_chart_learns_of_a_symbol(shared_service: Service) -> None:
    """How many digits its prices have, among the rest."""
    found = shared_service.client.get("/udf/symbols", params={"symbol": SYMBOL}).json()
    assert (found["ticker"], found["pricescale"], found["minmov"], found["timezone"], found["session"]) == (
        SYMBOL, 100, 1, "Etc/UTC", "24x7",
    )  # fmt: skip
    assert found["supported_resolutions"] == shared_service.client.get("/udf/config").json()["supported_resolutions"]
    assert found["visible_plots_set"] == "ohlcv"


@pytest.mark.parametrize("query", ["u/", "U/ß", "/ß"])
def test_symbols_are_found_by_a_part_of_their_name(shared_service: Service, query: str) -> None:
    """In whatever case; those without times are no chart."""
    found = shared_service.client.get(
        "/udf/search", params={"query": query, "type": "", "exchange": "", "limit": 30}
    ).json()
    assert [(one["symbol"], one["full_name"], one["ticker"]) for one in found] == [(SYMBOL, SYMBOL, SYMBOL)]
    several: dict[str, Any] = {"query": "U", "limit": 1}
    assert len(shared_service.client.get("/udf/search", params=several).json()) == 1
    assert UNTIMED not in shared_service.client.get("/udf/search", params={"limit": 1000}).text


def test_history_has_the_bars_that_begin_in_it(shared_service: Service) -> None:
    """Whole ones; those without points are left out."""
    assert history(shared_service) == {
        "s": "ok", "t": [T, T + 60, T + 600, T + DAY], "o": [10.5, 11.0, 9.0, 12.0], "h": [10.5, 11.0, 9.5, 12.0],
        "l": [10.25, 11.0, 9.0, 12.0], "c": [10.25, 11.0, 9.5, 12.0], "v": [3.0, 3.0, 9.0, 6.0],
    }  # fmt: skip
    assert history(shared_service, **{"from": T + 1, "to": T + 600})["t"] == [T + 60]
    assert history(shared_service, **{"from": T + 60, "to": T + 601})["t"] == [T + 60, T + 600]
    days = history(shared_service, resolution="D")
    assert (days["t"], days["o"], days["c"], days["v"]) == ([T, T + DAY], [10.5, 12.0], [9.5, 12.0], [15.0, 6.0])


@pytest.mark.parametrize(
    ("count", "to", "expected"),
    [
        (1, T + 2 * DAY, [T + DAY]),
        (3, T + DAY, [T, T + 60, T + 600]),
        (2, T + 601, [T + 60, T + 600]),
        (9, T + 60, [T]),
    ],
)
def test_countback_is_more_than_from(shared_service: Service, count: int, to: int, expected: list[int]) -> None:
    """So many bars before `to`, over gaps, wherever `from` is."""
    assert history(shared_service, countback=count, **{"from": to - 1, "to": to})["t"] == expected


def test_no_data_says_where_there_is_some(shared_service: Service) -> None:
    """The bar before the gap; nothing where there is none."""
    assert history(shared_service, **{"from": T + 700, "to": T + 800}) == {"s": "no_data", "nextTime": T + 600}
    assert history(shared_service, **{"from": T - 800, "to": T - 700}) == {"s": "no_data"}
    assert history(shared_service, countback=5, **{"from": T - 60, "to": T}) == {"s": "no_data"}


def test_there_is_no_volume_without_sizes(shared_service: Service) -> None:
    """The column is not there."""
    store(shared_service, "U-UNSIZED", [1.0], [T])
    assert history(shared_service, symbol="U-UNSIZED") == {"s": "ok", "t": [T], **{name: [1.0] for name in "ohlc"}}


def test_a_bar_of_which_points_are_gone_is_left_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its open, and perhaps all else, would be another."""
    settings = {"store__max_data_retention": 8_192, "store__cleanup_keep_count": 4_096}
    with running_service(tmp_path_factory.mktemp("gone"), **settings) as service:
        for begin in (0, 5_000):
            store(
                service, "A", [float(k) for k in range(begin, begin + 5_000)], list(range(T + begin, T + begin + 5_000))
            )
        start = service.client.get("/symbols/A").json()["start"]
        first = -(-(T + start + 1) // 60) * 60
        found = history(service, symbol="A")
        assert (found["t"][0], found["o"][0]) == (first, float(first - T))
        assert history(service, symbol="A", to=first) == {"s": "no_data"}


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"resolution": "7"}, "resolution"),
        ({"resolution": ""}, "resolution"),
        ({"from": "x"}, "from"),
        ({"to": "1.5"}, "to"),
        ({"from": T + 1, "to": T}, "not be after"),
        ({"countback": 0}, "countback"),
        ({"countback": 5_001}, "countback"),
        ({"symbol": ""}, "symbol"),
        ({"other": "1"}, "other"),
    ],
)
def test_what_is_no_question_is_refused(shared_service: Service, parameters: dict[str, Any], told: str) -> None:
    """400, in the form of the protocol."""
    asked = {"symbol": SYMBOL, "resolution": "1", "from": T, "to": T, **parameters}
    assert told in refused(shared_service.client.get("/udf/history", params=asked), 400)


def test_what_is_not_there_is_refused(shared_service: Service) -> None:
    """404 for a symbol that there is not, 422 for one without times; no more than 5,000 bars."""
    for path in ("/udf/symbols", "/udf/history"):
        parameters: dict[str, Any] = {} if path == "/udf/symbols" else {"resolution": "1", "from": T, "to": T}
        for symbol, status in (("U-NONE", 404), (UNTIMED, 422)):
            assert symbol in refused(shared_service.client.get(path, params={"symbol": symbol, **parameters}), status)
    n = 5_001
    store(shared_service, "U-MANY", [1.0] * n, list(range(T, T + n)))
    asked: dict[str, Any] = {"symbol": "U-MANY", "resolution": "1S", "from": T, "to": T + n}
    assert "5,000" in refused(shared_service.client.get("/udf/history", params=asked), 400)
    assert len(history(shared_service, **asked, countback=5_000)["t"]) == 5_000
    assert "limit" in refused(shared_service.client.get("/udf/search", params={"limit": 1_001}), 400)
