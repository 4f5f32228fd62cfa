"""What is remembered of a request is what it means, and no longer than it may be: tokens, symbols, health, bounds."""

import re
import shutil
import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from api.access.tokens import ADMIN, READ, WRITE, add
from hft_mmap import Store
from tests.api.both_ways import LAST, metric, talk
from tests.api.test_auth import bearer
from tests.conftest import StartService
from tests.hostile.drafts import post, request
from tests.service import Service, running_service, wait_until

STATS = "/stats?symbol=A&window=2"
HEALTH = request("GET", "/health")
BATCH = post('{"symbol":"A","values":[1.5]}')
TIMES = 4  # understood twice, and then remembered


def short(service: Service, **headers: str) -> float:
    """Return how many requests were answered the short way."""
    lines = service.client.get("/metrics", headers=headers).text.splitlines()
    (found,) = (line for line in lines if line.startswith("hft_mmap_prepared_answers_total "))
    return float(found.rpartition(" ")[2])


def _statuses(service: Service, one: bytes) -> list[int]:
    """Send a request several times on one connection, until it is remembered; return the statuses."""
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", talk(service, *[one] * TIMES, LAST))[:TIMES]]


def ask(service: Service, path: str = STATS, **headers: str) -> list[int]:
    """Ask the same several times; return the statuses."""
    return _statuses(service, request("GET", path, None, *(": ".join(one) for one in headers.items())))


def send(service: Service, symbol: str, **headers: str) -> list[int]:
    """Send a batch several times; return the statuses."""
    body = f'{{"symbol":"{symbol}","values":[1.5]}}'
    return _statuses(service, post(body, *(": ".join(one) for one in headers.items())))


def make(service: Service, *symbols: str, **headers: str) -> None:
    """Make symbols without points: the first batch of one waits for the disk."""
    for symbol in symbols:
        assert service.client.put(f"/symbols/{symbol}", headers=headers).status_code == 201


def without(path: Path, name: str) -> None:
    """Take the token of that name out of a tokens file."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(f"{name} ")))


# -- who asks


def test_a_token_that_is_revoked_opens_nothing_more(start_service: StartService, tmp_path: Path) -> None:
    """Neither a question nor a batch that it has sent before, on a connection that stays open."""
    path = tmp_path / "tokens"
    mine, other, admin = (bearer(add(path, name, scopes)) for name, scopes in
                          (("mine", [READ, WRITE]), ("other", [READ]), ("boss", [ADMIN])))  # fmt: skip
    service = start_service(auth__tokens_file="tokens")
    make(service, "A", **admin)
    assert send(service, "A", **mine) + ask(service, **mine) + ask(service, **other) == [200] * 3 * TIMES
    assert short(service, **admin) == 3 * (TIMES - 2)
    without(path, "mine")
    service.process.send_signal(signal.SIGHUP)
    service.wait_for_event("reloaded", what="tokens")
    assert send(service, "A", **mine) + ask(service, **mine) == [401] * 2 * TIMES
    assert ask(service, **other) == [200] * TIMES
    assert service.client.get("/symbols", headers=admin).json()["symbols"][0]["total"] == TIMES


def test_a_reload_forgets_what_is_remembered(start_service: StartService, tmp_path: Path) -> None:
    """Also of a token whose line stays as it is."""
    token = bearer(add(tmp_path / "tokens", "mine", [READ, WRITE]))
    service = start_service(auth__tokens_file="tokens")
    assert send(service, "A", **token) == [200] * TIMES
    service.process.send_signal(signal.SIGHUP)
    service.wait_for_event("reloaded", what="tokens")
    text = service.client.get("/metrics", headers=token).text
    assert "hft_mmap_prepared_requests 0.0\n" in text


def test_a_token_for_some_symbols_stores_no_others(start_service: StartService, tmp_path: Path) -> None:
    """The symbol of a batch stands in its body, behind a head that is remembered."""
    path = tmp_path / "tokens"
    desk, admin = bearer(add(path, "desk", ["write:ES.*", "read:ES.*"])), bearer(add(path, "boss", [ADMIN]))
    service = start_service(auth__tokens_file="tokens")
    make(service, "ES.A", "ES.B", "NQ.A", **admin)
    assert send(service, "ES.A", **desk) == [200] * TIMES
    assert send(service, "NQ.A", **desk) == [403] * TIMES
    assert send(service, "ES.B", **desk) == [200] * TIMES
    assert ask(service, "/stats?symbol=ES.A", **desk) == [200] * TIMES
    assert ask(service, "/stats?symbol=NQ.A", **desk) == [403] * TIMES
    rows = service.client.get("/symbols", headers=admin).json()["symbols"]
    assert [(row["symbol"], row["total"]) for row in rows] == [("ES.A", TIMES), ("ES.B", TIMES), ("NQ.A", 0)]
    assert short(service, **admin) >= 3 * (TIMES - 2)


def test_strangers_are_answered_what_is_open_and_no_more(start_service: StartService, tmp_path: Path) -> None:
    """Without a token /health and /ready are remembered; what needs one is refused each time."""
    admin = bearer(add(tmp_path / "tokens", "boss", [ADMIN]))
    service = start_service(auth__tokens_file="tokens")
    assert ask(service, "/health") + ask(service, "/ready") == [200] * 2 * TIMES
    assert ask(service, **admin) == [404] * TIMES
    assert ask(service) + send(service, "A") == [401] * 2 * TIMES
    assert short(service, **admin) == 2 * (TIMES - 2)
    # More of them than strangers have in a turn of the event loop, and all are answered.
    assert talk(service, HEALTH * 200 + LAST).count(b"HTTP/1.1 200 OK\r\n") == 201


def test_a_connection_is_charged_to_whoever_asks_on_it(start_service: StartService, tmp_path: Path) -> None:
    """It is that of a token from the first request on, also of one that was remembered: strangers end each other."""
    token = bearer(add(tmp_path / "tokens", "mine", [READ]))
    service = start_service(auth__tokens_file="tokens", server__max_connections=4, server__max_share_percent=100)
    asked = request("GET", "/ready", None, f"Authorization: {token['Authorization']}")
    talk(service, *[asked] * TIMES, LAST)
    with ExitStack() as stack:
        first = stack.enter_context(service.connect())
        for connection, one in [(first, asked), *((None, HEALTH) for _ in range(8)), (first, asked)]:
            used = connection or stack.enter_context(service.connect())
            used.sendall(one)
            assert used.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_name_is_ours_only_where_it_was_called_by_it(service: Service) -> None:
    """What was remembered of one address is asked anew on another one."""
    asked = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for address in ("127.0.0.1", "127.0.0.1", "127.0.0.1"):
        with socket.create_connection((address, service.port)) as connection:
            connection.sendall(asked)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
    assert short(service) == 1


# -- what there is


def test_a_symbol_that_is_removed_renamed_or_made_again_is_told_as_it_is(service: Service) -> None:
    """The answer is that of the store at that moment."""
    service.add("A", [1.0, 2.0])
    assert ask(service) == [200] * TIMES
    assert service.client.patch("/symbols/A", json={"symbol": "B"}).status_code == 200
    assert ask(service) == [404] * TIMES
    assert ask(service, "/stats?symbol=B&window=2") == [200] * TIMES
    service.add("A", [5.0])
    assert service.client.get(STATS).json()["max"] == 5.0
    assert service.client.delete("/symbols/B").status_code == 200
    assert ask(service, "/stats?symbol=B&window=2") == [404] * TIMES


def test_a_batch_to_a_symbol_that_was_removed_makes_it_again(service: Service) -> None:
    """As the first batch did; the head of the request is the same."""
    make(service, "A")
    assert send(service, "A") == [200] * TIMES
    assert service.client.delete("/symbols/A").status_code == 200
    assert send(service, "A") == [200] * TIMES
    assert service.client.get("/symbols").json()["symbols"][0]["total"] == TIMES


def test_what_another_process_appends_is_seen(service: Service) -> None:
    """By the next question, remembered or not."""
    service.add("A", [1.0, 2.0])
    assert ask(service) == [200] * TIMES
    with Store(service.data_dir) as store:
        store.append("A", [7.0])
    before = short(service)
    answers = talk(service, request("GET", STATS), LAST)
    assert b'{"min":2.0,"max":7.0,"last":7.0,"avg":4.5,"var":6.25}' in answers
    assert short(service) == before + 1


def test_ready_is_asked_of_the_store_each_time(service: Service) -> None:
    """A symbol whose directory is taken away is a reason at once; the store forgets it, and that goes as well."""
    service.add("A", [1.0])
    service.add("B", [1.0])
    assert ask(service, "/ready") == [200] * TIMES
    shutil.rmtree(service.data_dir / "A")
    wait_until(lambda: service.client.get("/ready").status_code == 503, "the reason")
    assert [one["symbol"] for one in service.client.get("/ready").json()["reasons"]] == ["A"]


# -- what is refused


@pytest.mark.parametrize(
    ("body", "status", "batch"),
    [
        ('{"symbol":"A","values":[2.5],"offset":9}', 409, ("A", 1)),
        ('{"symbol":"A","values":[-1.000000000000]}', 400, ("A", 1)),
        ('{"symbol":"A","values":["wrong value"]}', 422, (None, None)),
        ('{"symbol":"A","values":[1.5,2.5,3.5],,}', 400, (None, None)),
    ],
)
def test_a_batch_that_is_refused_is_told_and_counted_once(
    service: Service, body: str, status: int, batch: tuple[str | None, int | None]
) -> None:
    """Behind a head that is remembered: nothing is stored, and both counts and the line are those of one request."""
    good = '{"symbol":"A","values":[1.5]}'.ljust(len(body))
    for _ in range(TIMES):
        talk(service, post(good) + LAST)
    before = short(service)
    answer = talk(service, post(body) + LAST)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    talk(service, post(good) + LAST)
    assert short(service) == before + 1
    assert service.client.get("/symbols").json()["symbols"][0]["total"] == TIMES + 1
    text = service.client.get("/metrics").text
    assert f'hft_mmap_http_requests_total{{method="POST",route="/add_batch",status="{status}"}} 1.0\n' in text
    assert f'requests_total{{method="POST",route="/add_batch",status="200"}} {TIMES + 1}.0\n' in text
    assert service.stop() == 0
    (line,) = service.events("request")
    assert (line["status"], line["symbol"], line["points"]) == (status, *batch)


# -- counts and lines


def line_of(event: dict[str, object]) -> dict[str, object]:
    """Return what does not differ from one moment to the next."""
    changing = {"duration_ms", "request_id", "timestamp"}
    return {name: value for name, value in event.items() if name not in changing}


def test_a_slow_request_has_the_same_line_both_ways(start_service: StartService) -> None:
    """With 0 ms every request is slow: the first were understood, the last were remembered."""
    service = start_service(log__slow_request_ms=0)
    service.add("A", [1.0])
    with service.connect() as connection:
        for one in (BATCH, request("GET", STATS)):
            for _ in range(TIMES):
                connection.sendall(one)
                assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        assert short(service) == 2 * (TIMES - 2)
    wait_until(lambda: len(service.events("request")) >= 1 + 2 * TIMES, "the lines")
    lines = [line_of(event) for event in service.events("request")][1:]
    for first in (0, TIMES):
        assert lines[first : first + TIMES] == [lines[first]] * TIMES
    assert (lines[0]["symbol"], lines[0]["points"], lines[TIMES]["symbol"]) == ("A", 1, "A")
    assert lines[0]["level"] == "warning"


def test_at_level_debug_every_request_has_its_line_and_none_is_remembered(start_service: StartService) -> None:
    """The long way writes them."""
    service = start_service(log__level="debug")
    assert send(service, "A") + ask(service) == [200] * 2 * TIMES
    assert short(service) == 0
    wait_until(lambda: len(service.events("request")) >= 2 * TIMES, "the lines")


def test_what_is_answered_the_short_way_is_counted_as_any_other(service: Service) -> None:
    """By route, method and status, and among the durations."""
    make(service, "A")
    assert send(service, "A") + ask(service) + ask(service, "/health/") == [200] * 3 * TIMES
    assert short(service) == 3 * (TIMES - 2)
    text = service.client.get("/metrics").text
    for method, route, more in (("POST", "/add_batch", 0), ("GET", "/stats", 0), ("GET", "/health", 3)):
        count = TIMES + more  # each conversation ends with /health
        assert f'requests_total{{method="{method}",route="{route}",status="200"}} {count}.0\n' in text
        assert f'duration_seconds_count{{route="{route}"}} {count}.0\n' in text


# -- bounds


def test_no_more_is_remembered_than_there_may_be(start_service: StartService) -> None:
    """The oldest is forgotten, and asked the long way again."""
    service = start_service(server__max_prepared=3)
    service.add("A", [1.0])
    for window in range(1, 10):
        assert ask(service, f"/stats?symbol=A&window={window}") == [200] * TIMES
        assert metric(service, "hft_mmap_prepared_requests") <= 3
    assert ask(service, "/stats?symbol=A&window=1") == [200] * TIMES


def test_a_request_that_comes_once_takes_no_place(service: Service) -> None:
    """Nor does one that has an identity of its own each time, or a long head."""
    service.add("A", [1.0])
    for window in range(1, 20):
        service.client.get(f"/stats?symbol=A&window={window}")
    for number in range(20):
        service.client.get(STATS, headers={"X-Request-ID": f"{number % 2}"})
        service.client.get(STATS, headers={"X-Long": "x" * 2000})
    assert metric(service, "hft_mmap_prepared_requests") == 0
    assert short(service) == 0


def test_a_batch_that_waits_for_the_disk_is_not_remembered(start_service: StartService) -> None:
    """In tier sync each answer comes after its commit."""
    service = start_service(store__durability="sync")
    assert send(service, "A") == [200] * TIMES
    assert short(service) == 0


def test_a_stop_ends_a_connection_that_went_the_short_way(tmp_path: Path) -> None:
    """What is sent while the service leaves is answered, with the end of the connection in its head."""
    with running_service(tmp_path) as service, service.connect() as connection:
        for _ in range(TIMES):
            connection.sendall(HEALTH)
            assert b"connection: close" not in connection.recv(4096)
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_event("stopping")
        answer = received = b""
        with suppress(ConnectionError):  # it was closed before one was sent
            while b"connection: close" not in answer:
                connection.sendall(HEALTH)
                answer = connection.recv(4096)
                received += answer
                if not answer:
                    break
        assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 200 OK\r\n")
        assert service.wait() == 0
