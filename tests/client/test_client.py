"""Client and AsyncClient against a real service: every call, every refusal, and what is tried again."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from api.access.tokens import WRITE, add
from hft_mmap import (
    Buckets,
    DiskFull,
    HftMmapError,
    InvalidRange,
    InvalidValues,
    OffsetConflict,
    Passage,
    Point,
    Rank,
    SymbolNotFound,
)
from hft_mmap.client import (
    Added,
    AsyncClient,
    Client,
    Conflict,
    NameTaken,
    NoSpace,
    NotFound,
    RequestRefused,
    Retry,
    ServiceError,
    Stats,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from tests.conftest import StartService
from tests.service import Service, running_service, wait_until

PRICES = [150.1, 150.5, 151.0, 149.8]
AT_ONCE = Retry(give_up_s=0)
EAGER = Retry(give_up_s=30, first_pause_s=0.001, longest_pause_s=0.01)


def test_every_call_gives_what_the_service_has(shared_service: Service, connect: Any, symbol: str) -> None:
    """Batches, statistics, points, symbols, health."""
    with connect(shared_service.url) as client:
        assert client.health() is True
        assert client.ready() == []
        assert client.total(symbol) == 0
        assert client.append(symbol, PRICES) == Added(4, 4, "interval")
        assert client.append(symbol, np.array(PRICES), offset=4) == Added(4, 8, "interval")
        assert client.total(symbol) == 8
        stats = client.stats(symbol, 4)
        assert (stats.min, stats.max, stats.last, stats.avg) == (149.8, 151.0, 149.8, pytest.approx(150.35))
        assert stats == Stats(149.8, 151.0, 149.8, stats.avg, stats.var)
        windows = client.windows(symbol)
        assert (windows.symbol, windows.total, windows.count, windows.windows[10].max) == (symbol, 8, 8, 151.0)
        assert list(windows.windows) == [10**k for k in range(1, 9)]
        for options, expected in (({}, PRICES * 2), ({"last": 3}, PRICES[1:]), ({"first": 6, "end": 7}, [151.0])):
            assert client.values(symbol, **options).tolist() == expected
        assert client.values(symbol, first=8).size == 0
        names = ("std", "count", "zscore")
        found = client.statistics(symbol, names, window=1, at=3)
        assert found == {"std": 0.0, "count": 1, "zscore": None}
        assert client.statistics(symbol, ("first",), start=1, end=3) == {"first": 150.5}
        many = client.stats_many(symbol, range(5), [5] * 5, ("last", "argmax"))
        assert (many["last"].tolist(), many["argmax"].tolist()) == ([150.1] * 5, [2, 2, 2, 4, 4])
        assert client.stats_many(symbol, [], [])["avg"].tolist() == []
        across = client.stats_across([symbol], ("count", "max", "zscore"), window=1)
        assert (across["count"].tolist(), across["max"].tolist()) == ([1], [149.8])
        assert np.isnan(across["zscore"]).all()
        assert client.first(symbol, 0, above=151, below=1.5) == Passage(2, 151.0, "above")
        assert client.first(symbol, 0, above=1e9) is None
        assert client.quantile(symbol, (0, 0.5, 1), start=0, end=3) == (150.1, 150.5, 151.0)
        assert client.rank(symbol, 150.5, start=0, end=3) == Rank(1, 1, 1)
        assert (client.asof(symbol, 1), client.asof(symbol, 99)) == (Point(1, 150.5), Point(7, 149.8))
        with pytest.raises(InvalidRange, match="give a window"):
            client.statistics(symbol, ("std",))
        with pytest.raises(Conflict):
            client.stats_many(symbol, [0], [9])
        rows = {row.symbol: (row.total, row.start, row.count, row.last) for row in client.symbols()}
        assert rows[symbol] == (8, 0, 8, 149.8)


@pytest.mark.parametrize("name", ["EUR/USD/", "..", "50%", "日本円"])
def test_symbols_are_made_renamed_and_removed(shared_service: Service, connect: Any, symbol: str, name: str) -> None:
    """Whatever signs they have; a name that is taken, and a symbol that is not there, are errors of their own."""
    with connect(shared_service.url) as client:
        assert [client.create(symbol), client.create(symbol)] == [True, False]
        client.append(symbol, PRICES, offset=0)
        with pytest.raises(NameTaken, match="exists already"):
            client.rename(symbol, symbol)
        assert client.rename(symbol, name) == 4
        assert [row.symbol for row in client.symbols(prefix=name, limit=1)] == [name]
        assert client.symbols(prefix=name, after=name) == []
        client.remove(name)
        with pytest.raises(NotFound):
            client.remove(name)
        with pytest.raises(Conflict) as refusal:
            client.append(name, PRICES, offset=4)
        assert refusal.value.total == 0


def test_a_point_comes_with_its_time_and_size(shared_service: Service, connect: Any, symbol: str) -> None:
    """Where the series has them."""
    ticks = {"symbol": symbol, "values": [1.5, 2.5], "times": [7, 9], "sizes": [3, -4]}
    assert shared_service.client.post("/add_batch/", json=ticks).status_code == 200
    with connect(shared_service.url) as client:
        assert client.asof(symbol, 1) == Point(1, 2.5, 9, -4.0)


def test_a_range_comes_in_buckets_and_bars(shared_service: Service, connect: Any, symbol: str) -> None:
    """As the store has them, from arrays; and what is stored of one symbol needs no search."""
    with connect(shared_service.url) as client:
        client.append(symbol, PRICES)
        for found in (client.buckets(symbol, 2), client.bars(symbol, 2), client.buckets(symbol, 2, window=9)):
            assert isinstance(found, Buckets)
            assert (found.index.tolist(), found.end) == ([0, 2], 4)
            assert (found.first.tolist(), found.last.tolist()) == ([150.1, 151.0], [150.5, 149.8])
            assert (found.min.tolist(), found.max.tolist()) == ([150.1, 149.8], [150.5, 151.0])
            assert found.mean.tolist() == pytest.approx([150.3, 150.4])
        assert client.buckets(symbol, first=1, end=3).index.tolist() == [1, 2]
        assert client.bars(symbol, 3, window=2).index.tolist() == [2, 3]
        assert client.buckets(symbol, first=4).index.size == 0
        one = client.series(symbol)
        assert (one.symbol, one.total, one.last) == (symbol, 4, 149.8)
        for ask in (client.series, client.buckets):
            with pytest.raises(NotFound, match="Symbol not found: NO/NE"):
                ask("NO/NE")


def test_what_is_too_long_for_one_request_goes_in_several(shared_service: Service, connect: Any, symbol: str) -> None:
    """In order and each where the one before ended; all of it is looked at before any is sent."""
    with connect(shared_service.url) as client:
        prices = np.arange(250_001.0)
        assert client.append(symbol, prices, offset=0) == Added(250_001, 250_001, "interval")
        assert client.append(symbol, prices, offset=0) == Added(250_001, 250_001, "interval")
        assert (client.values(symbol) == prices).all()
        prices[250_000] = -1
        with pytest.raises(InvalidValues, match=r"values\[250000\]"):
            client.append(symbol, prices)
        assert client.total(symbol) == 250_001
    with connect(shared_service.url, batch_values=2) as client:
        assert client.append(symbol, [1.0, 2.0, 3.0]) == Added(3, 250_004, "interval")
        with pytest.raises(Conflict):
            client.append(symbol, [1.0, 2.0, 3.0], offset=250_003)
    with pytest.raises(ValueError, match="batch_values"):
        connect(shared_service.url, batch_values=0)


def test_arrays_of_other_libraries_are_sent(shared_service: Service, connect: Any, symbol: str) -> None:
    """As the store takes them."""
    with connect(shared_service.url) as client:
        client.append(symbol, pd.Series([1.5, 2.5]))
        client.append(symbol, pa.chunked_array([[3], [4]]))
        client.append(symbol, np.array([9, 5], dtype=">f4")[::-1])
        assert client.values(symbol).tolist() == [1.5, 2.5, 3.0, 4.0, 5.0, 9.0]
        with pytest.raises(InvalidValues, match=r"values\[1\] is null"):
            client.append(symbol, pa.array([1.0, None]))


def test_refusals_are_errors_that_say_why(shared_service: Service, connect: Any, symbol: str) -> None:
    """As the errors of the store where they mean the same, with the whole problem document."""
    with connect(shared_service.url, retry=AT_ONCE) as client:
        client.append(symbol, PRICES)
        with pytest.raises(InvalidValues, match=r"values\[1\]"):
            client.append(symbol, [1.0, -1.0])
        with pytest.raises(NotFound) as missing:
            client.stats("NO/NE", 10)
        assert isinstance(missing.value, SymbolNotFound)
        assert (missing.value.symbol, missing.value.status) == ("NO/NE", 404)
        assert str(missing.value) == "404: Symbol not found: NO/NE"
        with pytest.raises(Conflict, match="offset 7 does not fit") as conflict:
            client.append(symbol, [1.0], offset=7)
        assert isinstance(conflict.value, OffsetConflict)
        assert conflict.value.total == 4
        assert conflict.value.problem["title"] == "Conflict"
        assert conflict.value.request_id
        with pytest.raises(Conflict, match="do not exist"):
            client.values(symbol, first=5)
        with pytest.raises(RequestRefused, match=r"400: .*window"):
            client.stats(symbol, 0)
        with pytest.raises(ValueError, match="last"):
            client.values(symbol, last=0)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Yield the path of a Unix socket where a service listens that wants a token, and one that may only write."""
    directory = tmp_path_factory.mktemp("guarded")
    token = add(directory / "tokens", "feed", [WRITE])
    path = directory / "http.sock"
    with running_service(directory, server__unix_socket=str(path), auth__tokens_file="tokens"):
        yield str(path), token


def test_a_token_is_sent_and_a_unix_socket_is_a_way(guarded: tuple[str, str], connect: Any) -> None:
    """Without a token, or without the scope that a call needs, it is Unauthorized."""
    path, token = guarded
    with connect(f"unix:{path}", token=token) as client:
        assert client.append("A", PRICES).added == 4
        with pytest.raises(Unauthorized, match="403: ") as error:
            client.symbols()
    assert isinstance(error.value, PermissionError)
    for wrong in (None, f"{token}x"):
        with connect(f"unix:{path}", token=wrong) as client, pytest.raises(Unauthorized, match="401: "):
            client.append("A", PRICES)


@pytest.mark.parametrize("url", ["unix:", "127.0.0.1:8080", "ftp://a"])
def test_a_url_of_another_kind_is_refused(connect: Any, url: str) -> None:
    """The text names the kinds that there are."""
    with pytest.raises(ValueError, match="unix:"):
        connect(url)


def answer(status: int, body: bytes, *headers: bytes) -> bytes:
    """Return an answer after which the connection closes."""
    lines = [b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", body])


ADDED = answer(200, b'{"status":"success","added":1,"total":1,"durability":"interval"}')


@pytest.mark.parametrize(
    "trouble", [b"", answer(503, b"{}"), answer(500, b"oops"), answer(502, b""), answer(507, b"{}"), ADDED[:-9]]
)
def test_a_batch_with_an_offset_is_sent_until_it_is_answered(scripted: Any, connect: Any, trouble: bytes) -> None:
    """Whatever went wrong before: the same request again, offset included."""
    url, requests = scripted([trouble, trouble, ADDED])
    with connect(url, retry=EAGER) as client:
        assert client.append("A", [1.0], offset=0).total == 1
    assert len(requests) == 3
    assert all(b"x-offset: 0" in one.lower() for one in requests)


@pytest.mark.parametrize(
    ("trouble", "error"), [(b"", Unreachable), (answer(503, b"{}"), Unavailable), (answer(500, b"oops"), Unavailable)]
)
def test_a_batch_without_an_offset_is_not_sent_twice(
    scripted: Any, connect: Any, trouble: bytes, error: type[HftMmapError]
) -> None:
    """It may have been stored."""
    url, requests = scripted([trouble])
    with connect(url, retry=EAGER) as client, pytest.raises(error):
        client.append("A", [1.0])
    assert len(requests) == 1


def test_questions_are_asked_again(scripted: Any, connect: Any) -> None:
    """Also the one whose answer was cut off in the middle of the points."""
    points = answer(200, bytes(16), b"X-Values: 2")
    url, requests = scripted([b"", answer(503, b"{}"), points[:-5], points])
    with connect(url, retry=EAGER) as client:
        assert client.values("A").tolist() == [0.0, 0.0]
    assert len(requests) == 4


def test_a_full_disk_is_told_in_the_end(scripted: Any, connect: Any) -> None:
    """As DiskFull, once the time to try is over."""
    problem = answer(507, b'{"status":507,"detail":"no space"}')
    url, _ = scripted([problem])
    with connect(url, retry=AT_ONCE) as client, pytest.raises(NoSpace, match="507: no space") as error:
        client.append("A", [1.0])
    assert isinstance(error.value, DiskFull)


def test_nobody_there_is_unreachable(connect: Any) -> None:
    """Once the time to try is over; it is a ConnectionError as well."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with connect(f"http://127.0.0.1:{port}", retry=AT_ONCE) as client, pytest.raises(Unreachable) as error:
        client.health()
    assert isinstance(error.value, ConnectionError)


def test_a_wish_to_wait_is_granted(scripted: Any, connect: Any) -> None:
    """Retry-After: the client gives up where that would take too long."""
    url, requests = scripted([answer(503, b"{}", b"Retry-After: 3600")])
    with connect(url, retry=EAGER) as client, pytest.raises(ServiceError) as error:
        client.health()
    assert error.value.retry_after_s == 3600
    assert len(requests) == 1


@pytest.mark.parametrize("wrong", [{"give_up_s": -1}, {"first_pause_s": 0}, {"first_pause_s": 3}])
def test_a_retry_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    """Times above 0, the first pause not longer than the longest."""
    with pytest.raises(ValueError, match="first_pause_s"):
        Retry(**wrong)


def test_a_producer_sends_full_batches_and_old_ones(shared_service: Service, symbol: str) -> None:
    """By size at once, by age without another call, and the rest at the end."""
    with Client(shared_service.url) as client:
        with client.producer(symbol, max_points=4, max_age_s=60) as producer:
            producer.extend([1.0, 2.0, 3.0])
            assert (producer.total, producer.pending, client.total(symbol)) == (0, 3, 0)
            producer.extend(range(4, 14))
            assert (producer.total, producer.pending, client.total(symbol)) == (12, 1, 12)
            producer.flush()
            assert (producer.total, producer.pending) == (13, 0)
            producer.add(14.0)
        assert client.values(symbol).tolist() == [float(i) for i in range(1, 15)]
        with client.producer(symbol, max_age_s=0.001) as producer:
            producer.add(15.0)
            wait_until(lambda: producer.total == 15, "the old point to be sent")
            assert producer.pending == 0
        with pytest.raises(ValueError, match="closed"):
            producer.add(1.0)


def test_an_async_producer_does_the_same(shared_service: Service, symbol: str) -> None:
    """By size, by age and at the end."""

    async def produce() -> list[float]:
        async with AsyncClient(shared_service.url) as client:
            async with client.producer(symbol, max_points=4, max_age_s=60) as producer:
                await producer.extend(range(1, 14))
                assert (producer.total, producer.pending) == (12, 1)
                await producer.flush()
                await producer.add(14.0)
            async with client.producer(symbol, max_age_s=0.001) as producer:
                await producer.add(15.0)
                while producer.total < 15:  # noqa: ASYNC110 - there is no event: nobody is told but by `total`
                    await asyncio.sleep(0.001)
            with pytest.raises(ValueError, match="not open"):
                await producer.add(1.0)
            found: list[float] = (await client.values(symbol)).tolist()
            return found

    assert asyncio.run(asyncio.wait_for(produce(), 30)) == [float(i) for i in range(1, 16)]


def test_a_wrong_price_takes_no_other_with_it(shared_service: Service, symbol: str) -> None:
    """It is refused where it is given, with the values of the same call only."""
    with Client(shared_service.url) as client, client.producer(symbol, max_age_s=60) as producer:
        producer.extend([1.0, 2.0])
        with pytest.raises(InvalidValues):
            producer.extend([3.0, float("nan")])
        producer.add(4.0)
        producer.flush()
        assert client.values(symbol).tolist() == [1.0, 2.0, 4.0]


def test_a_batch_that_failed_is_sent_again_as_it_was(start_service: StartService, tmp_path: Path) -> None:
    """It may have been stored: with the points that came since it would overlap itself, and be refused for ever."""
    service = start_service()
    with Client(service.url, retry=AT_ONCE) as client:
        producer = client.producer("A", max_points=4, max_age_s=60)
        producer.extend([1.0, 2.0])
        service.client.post("/add_batch", json={"symbol": "A", "values": [1.0, 2.0]})  # stored, and its answer lost
        port = service.port
        service.kill()
        with pytest.raises(Unreachable):
            producer.flush()
        with pytest.raises(Unreachable):
            producer.extend([3.0, 4.0, 5.0])
        assert producer.pending == 5
        again = start_service(tmp_path, server__port=port)
        producer.close()
        assert (producer.total, producer.pending) == (5, 0)
        assert client.values("A").tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert again.stop() == 0


def test_a_second_writer_shows_as_a_conflict(shared_service: Service, symbol: str) -> None:
    """The points that wait stay with the producer."""
    with Client(shared_service.url) as client:
        producer = client.producer(symbol, max_age_s=60)
        producer.extend([1.0, 2.0])
        client.append(symbol, [9.0])
        with pytest.raises(Conflict):
            producer.close()
        assert producer.pending == 2


def test_without_httpx_the_import_says_what_to_install() -> None:
    """And the store itself imports nothing of the client."""
    code = (
        "import sys; sys.modules['httpx'] = None; import hft_mmap; assert 'hft_mmap.client' not in sys.modules\n"
        "try:\n    import hft_mmap.client\nexcept ModuleNotFoundError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "make venv EXTRAS=client" in said


def test_a_read_names_the_record_of_the_write(scripted: Any, connect: Any) -> None:
    """As a replica of a shard has told it: the newest of that symbol, and of no other."""
    body = b'{"status":"success","added":1,"total":%d,"durability":"replicated","seq":%d}'
    stored = [body % pair for pair in ((1, 7), (2, 5))]
    found = answer(200, b'{"min":1,"max":1,"last":1,"avg":1,"var":0}')
    url, requests = scripted([*(answer(200, one) for one in stored), found, found])
    with connect(url, retry=EAGER) as client:
        assert [client.append("A", [1.0]).seq, client.append("A", [1.0]).seq] == [7, 5]
        client.stats("A", 1)
        client.stats("B", 1)
    named = [[line for line in one.lower().split(b"\r\n") if line.startswith(b"x-min-seq")] for one in requests]
    assert named == [[], [], [b"x-min-seq: 7"], []]
