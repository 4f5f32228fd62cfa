"""Negative prices by every door of the service, and by its client: taken with the setting, refused by name without."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import orjson
import pytest

from hft_mmap import InvalidValues, Limits, Store
from hft_mmap.client import Client, RequestRefused
from hft_mmap.transfer import Plan, ServiceSink, import_files
from tests.api.streams.client import acknowledged, ending, ingesting
from tests.api.test_tick_doors import ARROW, RAW, arrow_stream, send
from tests.service import Service, run_command, running_service

PRICES = np.array([1.5, -2.25, -1e140, -5e-324])
NAMED = "store.negative_prices"


@pytest.fixture(scope="module")
def signed_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service that takes negative prices."""
    path = tmp_path_factory.mktemp("signed")
    with running_service(path, store__max_symbols=1_000, store__negative_prices="true") as service:
        yield service


@pytest.fixture
def symbol(request: pytest.FixtureRequest) -> str:
    """Return a symbol that no other test uses."""
    return f"N-{abs(hash(request.node.nodeid)):x}"


def by_json(service: Service, symbol: str) -> str:
    """Send a body of JSON; return what is told of a refusal."""
    return str(service.add(symbol, PRICES.tolist()).json().get("detail", ""))


def by_raw(service: Service, symbol: str) -> str:
    """Send raw numbers."""
    return str(send(service, PRICES.tobytes(), RAW, symbol=symbol).json().get("detail", ""))


def by_arrow(service: Service, symbol: str) -> str:
    """Send an Arrow stream."""
    return str(send(service, arrow_stream(price=PRICES), ARROW, symbol=symbol).json().get("detail", ""))


def by_lines(service: Service, symbol: str) -> str:
    """Send a line of NDJSON."""
    body = orjson.dumps({"symbol": symbol, "values": PRICES.tolist()})
    (line,) = send(service, body, "application/x-ndjson").json()["lines"]
    return str(line.get("error", ""))


def by_socket(service: Service, symbol: str) -> str:
    """Send a frame of a WebSocket."""
    with ingesting(service, symbol=symbol) as client:
        client.send(PRICES.tobytes())
        if not _takes(service):
            *_, fault = ending(client)[0]
            return str(fault["detail"])
        acknowledged(client, 1)
    return ""


def _takes(service: Service) -> bool:
    return service.add("PROBE", [-1.0]).status_code == 200


def by_line_protocol(service: Service, symbol: str) -> str:
    """Send lines of InfluxDB."""
    lines = "\n".join(f"t,symbol={symbol} price={price!r} {k}" for k, price in enumerate(PRICES.tolist(), start=1))
    answer = service.client.post("/write", content=lines)
    return "" if answer.status_code == 204 else str(answer.json()["message"])


def by_client(service: Service, symbol: str) -> str:
    """Send a batch, and points by a producer, that the client knows to be negative."""
    with Client(service.url, negative_prices=True) as client:
        try:
            client.append(symbol, PRICES[:2])
            with client.producer(symbol) as producer:
                producer.add(PRICES[2])
                producer.extend(PRICES[3:])
        except RequestRefused as error:
            return str(error)
    return ""


def by_feed(service: Service, symbol: str) -> str:
    """Send points by a feed."""
    try:
        with Client(service.url, negative_prices=True) as client, client.feed() as feed:
            for price in PRICES[:3].tolist():
                feed.add(symbol, price)
            feed.extend(symbol, PRICES[3:])
    except RequestRefused as error:
        return str(error)
    return ""


DOORS = (by_json, by_raw, by_arrow, by_lines, by_socket, by_line_protocol, by_client, by_feed)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_them_with_the_setting(signed_service: Service, symbol: str, door: Any) -> None:
    """Bit for bit, and they come out as they went in."""
    assert door(signed_service, symbol) == ""
    answer = signed_service.client.get("/values", params={"symbol": symbol, "format": "raw", "columns": "price"})
    assert answer.content == PRICES.tobytes()
    assert signed_service.client.get("/stats", params={"symbol": symbol, "window": 4}).json()["min"] == -1e140


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_them_by_name_without(shared_service: Service, symbol: str, door: Any) -> None:
    """And nothing of the batch is stored; of the line protocol, where lines stand for themselves, the others are."""
    assert NAMED in door(shared_service, symbol)
    left = shared_service.client.get("/values", params={"symbol": symbol})
    assert left.status_code == (200 if door is by_line_protocol else 404)


def test_a_client_refuses_them_before_anything_is_sent(signed_service: Service, symbol: str) -> None:
    """Unless it is told that the service takes them: a producer would send them with their neighbours."""
    with Client(signed_service.url) as client:
        with pytest.raises(InvalidValues, match=r"values\[1\] is -2.25: .*Client"):
            client.append(symbol, PRICES)
        with client.producer(symbol) as producer, pytest.raises(InvalidValues, match="Client"):
            producer.add(-1.0)
        assert client.total(symbol) == 0


def test_questions_take_negative_numbers(signed_service: Service, symbol: str) -> None:
    """Barriers and ranks; and what a ratio would be made of is null."""
    signed_service.add(symbol, [2.0, -1.0, -3.0, 4.0])
    get = signed_service.client.get
    assert get("/first", params={"symbol": symbol, "after": 0, "below": "-2.5"}).json()["index"] == 2
    assert get("/rank", params={"symbol": symbol, "value": "-1"}).json()["equal"] == 1
    assert get("/quantile", params={"symbol": symbol, "q": "0,1"}).json()["value"] == [-3.0, 4.0]
    assert get("/quantile", params={"symbol": symbol, "q": "-0.5"}).status_code == 400
    asked: dict[str, Any] = {"symbol": symbol, "window": 4, "stats": "rv,drawdown,return,path"}
    found = get("/stats", params=asked).json()
    assert [found[name] for name in ("rv", "drawdown", "return", "path")] == [None, None, 1.0, 12.0]


def test_a_service_without_the_setting_goes_on_with_what_is_stored(tmp_path: Any) -> None:
    """It answers, takes other prices, and verify finds nothing."""
    with running_service(tmp_path, store__negative_prices="true") as service:
        service.add("A", [-1.5, 2.0])
    with running_service(tmp_path) as service:
        assert NAMED in service.add("A", [-3.0]).json()["detail"]
        assert service.add("A", [3.0]).json()["total"] == 3
        assert service.client.get("/stats", params={"symbol": "A", "window": 3}).json()["min"] == -1.5
    found = run_command(tmp_path, "verify")
    assert (found.returncode, found.stdout) == (0, "A: ok, 3 points, 0 nodes\n")


def test_an_import_goes_by_the_setting(tmp_path: Any, signed_service: Service, symbol: str) -> None:
    """The store's own, or the service's."""
    (tmp_path / "a.csv").write_text("price\n1.5\n-2.25\n")
    refused = run_command(tmp_path, "import", "A", "a.csv")
    assert (refused.returncode, NAMED in refused.stderr) == (1, True), refused.stderr
    looked = run_command(tmp_path, "import", "--preview", "A", "a.csv")
    assert NAMED in looked.stdout
    taken = run_command(tmp_path, "import", "A", "a.csv", store__negative_prices="true")
    assert taken.returncode == 0, taken.stderr
    with Store(tmp_path / "data", mode="r", limits=Limits()) as store:
        assert store.window("A", 9).tolist() == [1.5, -2.25]
    told = ("import", symbol, "a.csv", "--url", signed_service.url)
    assert NAMED in run_command(tmp_path, *told).stderr
    assert "1 bad row skipped" in run_command(tmp_path, *told, "--skip-bad", "--dry-run").stdout
    with closing(ServiceSink(signed_service.url, negative_prices=True)) as sink:
        import_files(Plan(symbol=symbol, files=(str(tmp_path / "a.csv"),)), sink)
    assert signed_service.client.get("/values", params={"symbol": symbol}).json()["values"] == [1.5, -2.25]
