"""Feeds of both clients: points of many symbols over one WebSocket, and what becomes of those that are refused."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.protocol import State
from websockets.sync.server import ServerConnection, serve

from api.access.tokens import READ, WRITE, add
from hft_mmap import ColumnsDiffer, InvalidSizes, InvalidTimes, InvalidValues, OffsetConflict
from hft_mmap.client import Client, Conflict, RequestRefused, Retry, TooLate, Unauthorized, Unreachable
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service, running_service, wait_until

START_NS = 1_767_225_600 * 10**9
EAGER = Retry(give_up_s=60, first_pause_s=0.001, longest_pause_s=0.05)


def streams(service: Service) -> int:
    """Return how many ingest streams of a service have ended."""
    return sum(event["mode"] == "ingest" for event in service.events("stream"))


def test_points_of_many_symbols_go_over_a_connection_for_each_set_of_columns(
    start_service: StartService, connect: Any
) -> None:  # fmt: skip
    """One by one and many at a time, with times, sizes, both or neither; in order, and nothing else."""
    service = start_service()
    prices = np.linspace(1.0, 2.0, 25)
    with connect(service.url) as client:
        with client.feed(max_points=7, max_age_s=60.0) as feed:
            for k, price in enumerate(prices.tolist()):
                feed.add("A", price)
                feed.add("B/2", price + 1)
                feed.add("TICK", price, time=START_NS + k, size=k + 0.5, side="sell" if k % 2 else "buy")
            feed.extend("TIMES", prices, times=1_767_225_600 + np.arange(25), time_unit="s")
            feed.extend("SIZES", [1, 2], sizes=[0.5, -0.5])
            feed.flush()
            assert dict(feed.totals) == {"A": 25, "B/2": 25, "TICK": 25, "TIMES": 25, "SIZES": 2}
            assert (feed.pending, feed.late, dict(feed.refusals())) == (0, 0, {})
        assert client.values("A").tolist() == prices.tolist()
        assert client.values("B/2").tolist() == (prices + 1).tolist()
        ticks = client.ticks("TICK")
        assert (ticks.times - START_NS).tolist() == list(range(25))
        assert ticks.sizes.tolist() == [-k - 0.5 if k % 2 else k + 0.5 for k in range(25)]
        assert client.ticks("TIMES").times.tolist() == [START_NS + k * 10**9 for k in range(25)]
        assert client.ticks("SIZES").sizes.tolist() == [0.5, -0.5]
    wait_until(lambda: streams(service) == 4, "four streams to end")


def test_a_symbol_begins_where_its_series_ends_or_where_it_is_said(
    shared_service: Service, connect: Any, symbol: str
) -> None:  # fmt: skip
    """So what is given from an offset and is there already is stored once; something else there is a conflict."""
    shared_service.add(symbol, [1.0, 2.0, 3.0])
    with connect(shared_service.url) as client:
        with client.feed() as feed:
            feed.add(symbol, 4.0)
        with client.feed(offsets={symbol: 2}) as feed:
            feed.extend(symbol, [3.0, 4.0])
            feed.flush()
            feed.add(symbol, 5.0)
        assert client.values(symbol).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
        with pytest.raises(Conflict), client.feed(offsets={symbol: 4}) as feed:
            feed.add(symbol, 6.0)


def test_what_is_no_point_is_refused_where_it_is_given(shared_service: Service, connect: Any, symbol: str) -> None:
    """And takes no other with it."""
    with connect(shared_service.url) as client:
        with client.feed() as feed:
            feed.add(symbol, 1.0, time=START_NS, size=1.0)
            for wrong, error in (
                ({"value": float("nan")}, InvalidValues),
                ({"value": -1.0}, InvalidValues),
                ({"value": "1"}, InvalidValues),
                ({"time": 1.5}, InvalidTimes),
                ({"time": 2**63}, InvalidTimes),
                ({"size": float("inf")}, InvalidSizes),
                ({"side": "bid"}, InvalidSizes),
                ({"size": -1.0, "side": "buy"}, InvalidSizes),
                ({"size": None}, ColumnsDiffer),
            ):
                given = {"value": 1.0, "time": START_NS, "size": 1.0} | wrong
                with pytest.raises(error):
                    feed.add(symbol, **given)
            with pytest.raises(InvalidValues, match=r"values\[1\]"):
                feed.extend(symbol, [1.0, -1.0], times=[1, 2], sizes=[1.0, 1.0])
            feed.add(symbol, 2, time=datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), size=np.float64(-0.0))
        found = client.ticks(symbol)
        assert found.prices.tolist() == [1.0, 2.0]
        assert found.times.tolist() == [START_NS, START_NS + 10**9]
        assert np.signbit(found.sizes).tolist() == [False, False]


def test_a_refused_batch_stops_its_symbol_and_no_other(shared_service: Service, connect: Any, symbol: str) -> None:
    """What lies behind it is given back in order; the points of all others are stored, and the symbol may go on."""
    other = f"{symbol}/2"
    with connect(shared_service.url) as client:
        with client.feed(max_points=2, max_age_s=60.0) as feed:
            feed.extend(symbol, [1.0, 2.0])
            feed.flush()
            shared_service.add(symbol, [9.0])  # somebody else
            feed.extend(symbol, np.arange(3.0, 14.0))
            feed.extend(other, np.arange(11.0))
            with pytest.raises(
                Conflict, match=rf"^409: {symbol}, batch at 2: .*; the series .* ends at total 3$"
            ) as no:
                feed.flush()
            assert (no.value.symbol, no.value.offset, no.value.total) == (symbol, 2, 3)
            assert isinstance(no.value, OffsetConflict)
            assert (feed.totals[other], feed.pending) == (11, 0)
            assert client.values(other).tolist() == list(range(11))
            with pytest.raises(Conflict):
                feed.add(symbol, 100.0)  # which is not taken
            feed.add(other, 50.0)
            assert list(feed.refusals()) == [symbol]
            assert feed.take_back(other) is None
            rows = feed.take_back(symbol)
            assert rows.prices.tolist() == [3.0 + k for k in range(11)]
            feed.extend(symbol, rows.prices)
        assert client.values(symbol).tolist() == [1.0, 2.0, 9.0, *rows.prices.tolist()]
        assert client.values(other).tolist() == [*range(11), 50.0]


def test_a_late_point_is_refused_with_its_place(start_service: StartService, connect: Any) -> None:
    """Where the service says so; whoever takes it back leaves it out, and goes on."""
    service = start_service(store__late="refuse")
    with connect(service.url) as client:
        with client.feed() as feed:
            feed.extend("A", [1.0, 2.0, 3.0, 4.0], times=[1, 5, 4, 6])
            feed.extend("B", [1.0], times=[1])
            with pytest.raises(TooLate, match=r"A, batch at 0: times\[2\] is 4") as late:
                feed.flush()
            rows = feed.take_back("A")
            sound = np.arange(4) != late.value.index
            feed.extend("A", rows.prices[sound], times=rows.times[sound])
        assert client.ticks("A").times.tolist() == [1, 5, 6]
        assert client.values("B").tolist() == [1.0]


def test_late_points_are_counted_and_those_that_wait_are_put_in_order(
    shared_service: Service, connect: Any, symbol: str
) -> None:  # fmt: skip
    """As of a producer."""
    with connect(shared_service.url) as client:
        with client.feed(max_points=1, reorder_s=10.0) as feed:
            for price, second in enumerate([5, 3, 4, 4, 8, 7, 20, 2]):
                feed.add(symbol, price, time=START_NS + second * 10**9)
            feed.flush()
            assert (feed.totals[symbol], feed.late, feed.pending) == (8, 1, 0)
        assert client.values(symbol).tolist() == [1.0, 2.0, 3.0, 0.0, 5.0, 4.0, 7.0, 6.0]


def test_other_columns_than_the_series_has_are_refused(shared_service: Service, connect: Any, symbol: str) -> None:
    """By the service, at the end at the latest."""
    shared_service.add(symbol, [1.0])
    with connect(shared_service.url) as client:
        feed = client.feed(max_age_s=60.0)
        feed.__enter__()
        feed.add(symbol, 1.0, time=1)
        feed.add(f"{symbol}/2", 1.0, time=1)
        with pytest.raises(RequestRefused, match=f"{symbol}, batch at 1: .*has prices"):
            feed.close()
        assert client.total(symbol) == 1
        assert client.total(f"{symbol}/2") == 1


def test_it_goes_on_through_kills_and_restarts(start_service: StartService, connect: Any, tmp_path: Path) -> None:
    """On the same port, with everything that was not acknowledged."""
    service = start_service()
    port, given = service.port, 0
    with connect(service.url, retry=EAGER) as client:
        with client.feed(max_points=10) as feed:
            for life in range(4):
                for _ in range(95):
                    feed.add("A", float(given))
                    feed.add("B", float(given), time=given)
                    given += 1
                if life < 3:
                    (service.kill if life % 2 else service.stop)()
                    feed.extend("A", np.arange(given, given + 50.0))
                    feed.extend("B", np.arange(given, given + 50.0), times=np.arange(given, given + 50))
                    given += 50
                    service = start_service(tmp_path, server__port=port)
                feed.flush()
                assert (feed.totals["A"], feed.pending) == (given, 0)
        assert client.values("A").tolist() == list(range(given))
        assert client.ticks("B").times.tolist() == list(range(given))


def test_who_gives_faster_than_is_stored_waits(connect: Any, start_service: StartService) -> None:
    """For `max_pending` points; when the time to try is over the call says why, and its points are not taken."""
    service = start_service()
    port, directory = service.port, service.directory
    service.stop()
    with connect(service.url, retry=Retry(give_up_s=0.2, first_pause_s=0.01)) as client:
        with client.feed(max_points=5, max_age_s=60.0, max_pending=20, offsets={"A": 0, "B": 0}) as feed:
            feed.extend("A", np.arange(19.0))  # four batches, the last of which is not full
            feed.add("B", 0.5)
            with pytest.raises(Unreachable):
                feed.add("A", 100.0)
            assert feed.pending == 20
            with pytest.raises(Unreachable):
                feed.flush()
            assert feed.pending == 20
            service = start_service(directory, server__port=port)
            feed.flush()
            assert feed.pending == 0
            feed.extend("A", [19.0, 20.0])
        assert client.values("A").tolist() == list(range(21))
        assert client.values("B").tolist() == [0.5]


def test_what_waits_goes_when_it_is_old(shared_service: Service, symbol: str) -> None:
    """Though nobody calls, and of many symbols."""
    names = [f"{symbol}/{k}" for k in range(20)]
    with Client(shared_service.url) as client, client.feed(max_age_s=0.01) as feed:
        for turn in range(2):
            for name in names:
                feed.add(name, 1.0 + turn)
            wait_until(lambda: not feed.pending, "the points to be stored")
            assert client.values(names[-1]).tolist() == [1.0, 2.0][: turn + 1]


def test_threads_share_a_feed(shared_service: Service, symbol: str) -> None:
    """Each symbol has its points in the order in which they were given."""
    with Client(shared_service.url) as client:
        with client.feed(max_points=16, max_pending=200) as feed:

            def give(name: str) -> None:
                for k in range(1000):
                    feed.add(name, float(k))

            threads = [threading.Thread(target=give, args=(f"{symbol}/{k}",)) for k in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE_S)
            feed.flush()
            assert dict(feed.totals) == {f"{symbol}/{k}": 1000 for k in range(4)}
        for k in range(4):
            assert client.values(f"{symbol}/{k}").tolist() == list(range(1000))


def test_a_token_that_may_not_is_told(tmp_path: Path, connect: Any) -> None:
    """Who may not write, by the connection; who may only write says where the symbol begins."""
    reads, writes = (add(tmp_path / "tokens", name, [name]) for name in (READ, WRITE))
    path = tmp_path / "s"
    with running_service(tmp_path, server__unix_socket=str(path), auth__tokens_file="tokens") as service:
        with (
            connect(f"unix:{path}", token=reads) as client,
            pytest.raises(Unauthorized, match="403: "),
            client.feed(offsets={"A": 0}) as feed,
        ):
            feed.add("A", 1.0)
        with connect(f"unix:{path}", token=writes) as client:
            with pytest.raises(Unauthorized), client.feed() as feed:
                feed.add("A", 1.0)
            with client.feed(offsets={"A": 0}) as feed:
                feed.add("A", 2.0)
        with connect(f"unix:{path}", token=reads) as client:
            assert client.values("A").tolist() == [2.0]
        assert service.process.poll() is None


@contextmanager
def acknowledging(answer: Callable[[ServerConnection, int], None]) -> Iterator[str]:
    """Yield the address of a service that has `answer` called after each message, with its number, until it closes."""

    def take(connection: ServerConnection) -> None:
        connection.send('{"event":"hello","mode":"ingest","totals":{},"durability":"interval"}')
        for number, message in enumerate(connection, start=1):
            assert isinstance(message, bytes)
            answer(connection, number)
            if connection.state is not State.OPEN:
                return

    with serve(take, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(PATIENCE_S)


def test_no_batch_waits_for_the_acknowledgement_of_another(connect: Any) -> None:
    """A service that says nothing before it has ten of them is sent ten."""

    def answer(connection: ServerConnection, number: int) -> None:
        if number == 10:
            connection.send('{"event":"ack","frames":10,"totals":{"A":20}}')

    with (
        acknowledging(answer) as url,
        connect(url) as client,
        client.feed(max_points=2, max_age_s=60.0, offsets={"A": 0}) as feed,
    ):
        feed.extend("A", np.arange(20.0))
        feed.flush()
        assert feed.totals["A"] == 20


def test_a_failure_of_the_service_is_tried_again(connect: Any) -> None:
    """A batch that can't be stored for now is sent anew on another connection, and so is all behind it."""
    seen: list[int] = []

    def answer(connection: ServerConnection, number: int) -> None:
        seen.append(number)
        if len(seen) == 2:
            connection.send('{"event":"ack","frames":1,"totals":{"A":2}}')
            connection.send('{"event":"error","status":503,"detail":"busy","frame":2}')
            connection.close(4503)
        elif len(seen) > 2:
            connection.send(json.dumps({"event": "ack", "frames": number, "totals": {}}))

    with (
        acknowledging(answer) as url,
        connect(url, retry=EAGER) as client,
        client.feed(max_points=2, max_age_s=60.0, offsets={"A": 0}) as feed,
    ):
        feed.extend("A", np.arange(6.0))
        feed.flush()
        assert (feed.totals["A"], feed.pending) == (6, 0)
    assert seen == [1, 2, 1, 2]


@pytest.mark.parametrize("code", [1009, 4401])
def test_what_can_not_get_better_is_told_at_once(connect: Any, code: int) -> None:
    """And the points stay, until the end."""

    def answer(connection: ServerConnection, _number: int) -> None:
        if code == 4401:
            connection.send('{"event":"error","status":401,"detail":"revoked","frame":1}')
        connection.close(code)

    error, text = (RequestRefused, "max_points") if code == 1009 else (Unauthorized, "401: revoked")
    with (
        acknowledging(answer) as url,
        connect(url, retry=EAGER) as client,
        client.feed(offsets={"A": 0}) as feed,
    ):
        feed.add("A", 1.0)
        for call in (feed.flush, feed.close):
            with pytest.raises(error, match=text):
                call()
            assert feed.pending == 1


def test_a_feed_that_is_not_open_takes_nothing(shared_service: Service, connect: Any, symbol: str) -> None:
    """It may be closed twice; wrong numbers are refused where it is made."""
    with connect(shared_service.url) as client:
        with client.feed() as feed:
            feed.add(symbol, 1.0)
        feed.close()
        for call in (lambda: feed.add(symbol, 2.0), lambda: feed.extend("NEW", [2.0]), feed.flush):
            with pytest.raises(ValueError, match="the feed is not open"):
                call()
        assert client.total(symbol) == 1
        for wrong in ({"max_points": 0}, {"max_age_s": 0}, {"reorder_s": -1}, {"max_pending": 0}):
            with pytest.raises(ValueError, match="must be from"):
                client.feed(**wrong)
