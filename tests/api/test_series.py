"""GET /series on a real running service."""

import json
import threading
from typing import Any

import pytest

from hft_mmap import Store
from tests.api.test_http_table import refused
from tests.service import Service

SYMBOL = "S/ß"
VALUES = [100.0 + (7 * i) % 13 for i in range(1000)]
COLUMNS = ["index", "first", "last", "min", "max", "mean"]


@pytest.fixture(scope="module", autouse=True)
def stored(shared_service: Service) -> None:
    """Store a thousand points."""
    assert shared_service.add(SYMBOL, VALUES).status_code == 200


def ask(service: Service, path: str = "/series", **parameters: Any) -> dict[str, Any]:
    """Return the answer for these parameters."""
    answer = service.client.get(path, params={"symbol": SYMBOL, **parameters})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    found: dict[str, Any] = answer.json()
    assert list(found) == ["symbol", "total", "start", "from", "to", *COLUMNS]
    assert (found["symbol"], found["total"], found["start"]) == (SYMBOL, 1000, 0)
    for i, first in enumerate(found["index"]):
        end = found["index"][i + 1] if i + 1 < len(found["index"]) else found["to"]
        part = VALUES[first:end]
        expected = [first, part[0], part[-1], min(part), max(part), pytest.approx(sum(part) / len(part), rel=1e-15)]
        assert [found[column][i] for column in COLUMNS] == expected
    return found


@pytest.mark.parametrize("path", ["/series", "/series/"])
def test_everything_that_is_kept(shared_service: Service, path: str) -> None:
    """Without window and range; a thousand buckets over a thousand points are the points."""
    found = ask(shared_service, path)
    assert (found["from"], found["to"], found["mean"]) == (0, 1000, VALUES)
    head = shared_service.client.head(path, params={"symbol": SYMBOL})
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("parameters", "index", "end"),
    [
        ({"buckets": 4}, [0, 250, 500, 750], 1000),
        ({"window": 9, "buckets": 3}, [991, 994, 997], 1000),
        ({"window": 5000, "buckets": 1}, [0], 1000),
        ({"from": 990}, list(range(990, 1000)), 1000),
        ({"to": 7, "buckets": 3}, [0, 2, 4], 7),
        ({"from": 10, "to": 20, "buckets": 2}, [10, 15], 20),
        ({"from": 995, "to": "9" * 40, "buckets": 2}, [995, 997], 1000),
        ({"from": 30, "to": 100, "size": 25}, [30, 50, 75], 100),
        ({"window": 250, "size": 100}, [750, 800, 900], 1000),
        ({"size": 10**20}, [0], 1000),
    ],
)  # fmt: skip
def test_windows_and_ranges(shared_service: Service, parameters: dict[str, Any], index: list[int], end: int) -> None:
    """Each in buckets of nearly the same size, or in bars that begin at multiples of theirs."""
    found = ask(shared_service, **parameters)
    assert (found["index"], found["to"]) == (index, end)


@pytest.mark.parametrize("asked", [{"from": 1000}, {"from": 5000, "to": 6000}, {"from": 5, "to": 5}, {"to": 0}])
def test_a_range_without_points_is_empty(shared_service: Service, asked: dict[str, Any]) -> None:
    """A client that asks for what is not there yet is told so, not refused."""
    for how in ("buckets", "size"):
        found = ask(shared_service, **{**asked, how: 10})
        assert all(found[column] == [] for column in COLUMNS)
        assert found["from"] == found["to"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "symbol is missing"),
        ("symbol=S&symbol=S", "given twice"),
        ("symbol=S&bucket=1", "Unknown parameter 'bucket'; known are symbol, window, from, to, buckets, size"),
        ("symbol=S&window=0", "window must be a whole number from 1"),
        ("symbol=S&buckets=0", "buckets must be a whole number from 1"),
        ("symbol=S&buckets=5001", "buckets must be at most 5,000, not 5,001"),
        ("symbol=S&buckets=+5", "buckets must be a whole number from 1"),
        ("symbol=S&size=0", "size must be a whole number from 1"),
        ("symbol=S&from=-1", "from must be a whole number from 0"),
        ("symbol=S&from=01", "from must be a whole number from 0"),
        ("symbol=S&to=1e3", "to must be a whole number from 0"),
        ("symbol=S&from=7&to=6", "7 is above 6"),
        ("symbol=S&window=5&from=1", "either window"),
        ("symbol=S&window=5&to=1", "either window"),
        ("symbol=S&size=5&buckets=1", "either buckets"),
        ("symbol=%00", "control character"),
    ],
)
def test_what_is_no_question_is_refused(shared_service: Service, query: str, text: str) -> None:
    """With the parameter, the value and the limit."""
    assert text in refused(shared_service.client.get(f"/series?{query}"), 400)


def test_too_many_bars_are_refused(shared_service: Service) -> None:
    """The text says how many it would be; the limit itself is answered."""
    symbol = "MANY"
    shared_service.add(symbol, [1.0] * 5001)
    text = refused(shared_service.client.get("/series", params={"symbol": symbol, "size": 1}), 400)
    assert "size=1 makes 5,001 bars, and at most 5,000" in text
    limit = shared_service.client.get("/series", params={"symbol": symbol, "size": 1, "from": 1})
    assert len(limit.json()["index"]) == 5000


def test_an_answer_beside_a_writer_is_of_one_moment(service: Service) -> None:
    """No point above the total that it names, and no more bars than it may have, however fast they come."""
    stop = threading.Event()

    def write() -> None:
        with Store(service.data_dir) as store:
            while not stop.is_set():
                store.append_nowait("FAST", [1.0])

    service.add("FAST", [1.0] * 4000)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for asked in ({"from": 0, "to": 10**9, "size": 1}, {"from": 3000, "buckets": 50}, {"from": 10**9}) * 100:
            answer = service.client.get("/series", params={"symbol": "FAST", **asked})
            if answer.status_code == 400:  # the total is above the limit by now
                assert "bars, and at most 5,000" in answer.text
                continue
            found = answer.json()
            assert found["from"] <= found["to"] <= found["total"]
            assert len(found["index"]) <= 5000
    finally:
        stop.set()
        writer.join()


def test_an_unknown_symbol(shared_service: Service) -> None:
    """404, in the words of /stats."""
    answer = shared_service.client.get("/series?symbol=XYZ")
    assert refused(answer, 404) == "Symbol not found: XYZ"


def test_numbers_read_back_to_the_bit(shared_service: Service) -> None:
    """Whatever the price, its digits in the answer are the same float64."""
    prices = [0.1, 1 / 3, 1e-300, 5e-324, 1e140, 123456789.123456789]
    shared_service.add("BITS", prices)
    assert json.loads(shared_service.client.get("/series?symbol=BITS").content)["last"] == prices


def test_several_symbols_are_answered_together(shared_service: Service) -> None:
    """As columns of lists, each the same as it is alone; all of them, or none."""
    for symbol, values in (("SM1", [1.0, 2.0, 3.0]), ("SM2", [5.0]), ("SM3", [float(i) for i in range(100)])):
        shared_service.add(symbol, values)
    symbols = ["SM3", "SM1", "SM2"]
    how = {"window": 50, "buckets": 10}
    found = shared_service.client.get("/series", params={"symbol": symbols, **how}).json()
    alone = [shared_service.client.get("/series", params={"symbol": symbol, **how}).json() for symbol in symbols]
    assert found.pop("symbols") == symbols
    assert found == {name: [one[name] for one in alone] for name in alone[0] if name != "symbol"}
    refused(shared_service.client.get("/series", params={"symbol": [*symbols, "SM-NONE"], **how}), 404)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("symbol=SM1&symbol=SM1", "SM1 is given twice"), ("symbol=SM1&symbol=SM2&size=5", "size goes with one symbol"),
        ("&".join(f"symbol=A{i}" for i in range(30)) + "&buckets=5000", "at most 100,000"),
        ("&".join(f"symbol=A{i}" for i in range(1001)) + "&buckets=1", "at most 1,000"),
    ],
)  # fmt: skip
def test_what_several_symbols_may_not_ask(shared_service: Service, query: str, word: str) -> None:
    """The refusal names what is too much, and what to do."""
    answer = shared_service.client.get(f"/series?{query}")
    refused(answer, 400)
    assert word in answer.json()["detail"].replace("'", "")
