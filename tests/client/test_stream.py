"""`stream` of both clients: what it yields, and how it goes on when its connection or its service does not."""

import socket
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hft_mmap.client import NotFound, RequestRefused, Retry, Stats, Unreachable, retry
from tests.conftest import StartService
from tests.service import PATIENCE_S, Service

PRICES = [150.1, 150.5, 151.0, 149.8]
AT_ONCE = Retry(give_up_s=0)
EAGER = Retry(give_up_s=30, first_pause_s=0.001, longest_pause_s=0.01)


def test_each_change_is_told(shared_service: Service, connect: Any, symbol: str) -> None:
    """How things stand first, then every change of each symbol; the windows asked for, the standard ones else."""
    other = f"{symbol}/2"
    shared_service.add(symbol, PRICES)
    shared_service.add(other, PRICES[:1])
    with connect(shared_service.url) as client:
        with closing(client.stream([symbol, other], windows=[2, 3], interval_ms=10)) as updates:
            first = {update.symbol: update for update in (next(updates), next(updates))}
            assert (first[symbol].total, first[symbol].count, list(first[symbol].windows)) == (4, 4, [2, 3])
            stats = first[symbol].windows[2]
            assert stats == Stats(149.8, 151.0, 149.8, pytest.approx(150.4), stats.var)  # type: ignore[arg-type]
            assert first[other].windows[3].last == 150.1
            shared_service.add(other, [200.0])
            assert (update := next(updates)).symbol == other
            assert (update.total, update.windows[2].max) == (2, 200.0)
            shared_service.add(symbol, [300.0])
            assert (update := next(updates)).symbol == symbol
            assert (update.total, update.windows[2].max) == (5, 300.0)
        with closing(client.stream(symbol)) as updates:
            assert list((update := next(updates)).windows) == [10**k for k in range(1, 9)]
            assert update.named == {}


def test_named_statistics_are_told_too(shared_service: Service, connect: Any, symbol: str) -> None:
    """Beside the five, None where one is undefined; a name that there is not is an error."""
    shared_service.add(symbol, PRICES)
    with connect(shared_service.url, retry=AT_ONCE) as client:
        with closing(client.stream(symbol, windows=[1, 2], stats=["change", "var_sample", "max"])) as updates:
            update = next(updates)
        low = {"change": 0.0, "var_sample": None, "max": 149.8}
        high = {"change": pytest.approx(-1.2), "var_sample": pytest.approx(0.72), "max": 151.0}
        assert update.named == {1: low, 2: high}
        assert update.windows[2].max == 151.0
        with (
            pytest.raises(RequestRefused, match="no statistic 'mode'"),
            closing(client.stream(symbol, stats=["mode"])) as updates,
        ):
            next(updates)


def test_it_goes_on_through_a_kill_and_a_restart(start_service: StartService, connect: Any, tmp_path: Path) -> None:
    """And tells nothing twice: what stood at the end stands at the new beginning."""
    service = start_service()
    service.add("A", PRICES)
    with connect(service.url, retry=EAGER) as client, closing(client.stream("A", interval_ms=10)) as updates:
        assert next(updates).total == 4
        for total in (5, 6):
            port = service.port
            if total == 5:
                service.kill()
            else:
                service.stop()
            service = start_service(tmp_path, server__port=port)
            service.add("A", [1.0])
            assert next(updates).total == total


def test_what_is_refused_is_an_error(shared_service: Service, connect: Any, symbol: str) -> None:
    """As for any other call, and at once."""
    shared_service.add(symbol, PRICES)
    with connect(shared_service.url, retry=EAGER) as client:
        with pytest.raises(NotFound):
            next(client.stream([symbol, "NO/NE"]))
        with pytest.raises(RequestRefused, match="interval_ms"):
            next(client.stream(symbol, interval_ms=1))
        with pytest.raises(RequestRefused, match="symbol"):
            next(client.stream([]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with connect(f"http://127.0.0.1:{port}", retry=AT_ONCE) as client, pytest.raises(Unreachable):
        next(client.stream(symbol))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
EVENT = b'id: %d\ndata: {"event":"stats","symbol":"A","total":%d,"count":%d,"windows":{}}\n\n'


def event(total: int) -> bytes:
    """Return an event as the service sends it."""
    return EVENT % (total, total, total)


def test_an_event_counts_when_it_is_whole(scripted: Any, connect: Any) -> None:
    """Cut off before its blank line it is nothing, and nothing of it gets into the one that comes after."""
    url, _ = scripted(
        [
            b"",
            HEAD + b"retry: 2000\n\n:\n\n" + event(1)[:-1],
            HEAD + event(2) + b":\n\n" + event(3)[:25],
            HEAD + event(2) + event(4),
        ]
    )
    with connect(url, retry=EAGER) as client, closing(client.stream("A")) as updates:
        assert [next(updates).total for _ in range(2)] == [2, 4]


def test_the_time_to_try_again_begins_when_the_stream_breaks(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it was quiet before: comments show that it is served."""
    heard = threading.Semaphore(0)
    now_s = [0.0]
    monkeypatch.setattr(retry, "monotonic", lambda: now_s[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in (HEAD + event(1), HEAD + event(2)):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)
                    assert heard.acquire(timeout=PATIENCE_S)
                    now_s[0] += 60.0
                    connection.sendall(b":\n\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with connect(url, retry=EAGER) as client, closing(client.stream("A")) as updates:
            for total in (1, 2):
                assert next(updates).total == total
                heard.release()
            thread.join(PATIENCE_S)
