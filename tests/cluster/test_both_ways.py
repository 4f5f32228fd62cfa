"""A replica answers a batch the short way as it does the long way, while the log has it, and whatever happens then."""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM

import pytest

from api.access.tokens import WRITE, add
from tests.api import both_ways
from tests.api.both_ways import LAST, converse, metric, talk
from tests.api.test_both_ways import AT, BATCH, OCTETS, OFFSETS, RAW, TABLE, Pair, _conversations
from tests.cluster.servers import Nats, nats_servers
from tests.cluster.shards import create, needs_nats, replicas, started
from tests.hostile.drafts import post, request
from tests.service import PATIENCE_S, Service, wait_until

pytestmark = needs_nats

SHORT, LONG = 3, 4
ONES = {
    **{name: one for name, one in TABLE.items() if one.startswith(b"POST")},
    "times": post('{"symbol":"TIMED","values":[1],"times":[5],"offset":0}'),
    "a conflict": post('{"symbol":"ABC-USD","values":[7],"offset":0}'),
    "at a record": post(BATCH, "X-Min-Seq: 1"),
    "not at one": post(BATCH, "X-Min-Seq: x"),
    "another question": TABLE["stats"],
    "ready": TABLE["ready"],
}
TAKEN = {
    "a batch", "a batch/", "with a charset", "another length", "an offset", "x-offset", "raw", "raw at an offset",
    "raw at an x-offset",
}  # fmt: skip
"""Those that the short way takes."""
ANSWERS = "hft_mmap_prepared_answers_total"
_SEQUENCE = re.compile(rb'(?<="seq":)\d+|(?<=\nx-applied-seq: )\d+|(?<=\ncontent-length: )\d+')


@pytest.fixture(scope="module")
def pair(nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Yield replicas of two shards that were sent the same; the second remembers no request."""
    directory = tmp_path_factory.mktemp("both")
    with ExitStack() as stack:
        found = []
        for shard, more in ((SHORT, {}), (LONG, {"server__max_prepared": 0})):
            create(nats, directory, cluster__shard=shard)
            most = {"store__max_symbols": 10_000, "server__header_timeout_s": 1, "server__body_timeout_s": 1, **more}
            found.append(stack.enter_context(started(nats, directory, f"s{shard}", shard, "0-1023", **most)))
        for service in found:
            assert service.add("ABC-USD", [150.1, 150.5, 151.0]).status_code == 200
            assert service.add("RAW", [1.5, 2.5, 3.5]).status_code == 200
        yield found[0], found[1]


def assert_alike(pair: Pair, *pieces: bytes) -> bytes:
    """Send the same to both; return what both answered, the records that it is in included."""
    short, long = (both_ways.plain(talk(service, *pieces)) for service in pair)
    assert short == long
    return short


@pytest.mark.parametrize("name", ONES)
def test_every_batch_is_answered_alike(pair: Pair, name: str) -> None:
    """Again and again, alone, in a row, in pieces, and behind another."""
    one, health = ONES[name], TABLE["health"]
    before = metric(pair[0], ANSWERS)
    for _ in range(3):
        assert_alike(pair, one + LAST)
    assert_alike(pair, *[one] * 4, LAST)
    assert_alike(pair, one * 5 + LAST)
    assert_alike(pair, health + one + health + one + LAST)
    end = one.index(b"\r\n\r\n") + 4
    if one[end:]:
        assert_alike(pair, one, health + one[:end], one[end:] + LAST)
        assert_alike(pair, one, one + one[:end], one[end:] + one + LAST)
    taken = metric(pair[0], ANSWERS) - before
    assert taken >= 5 if name in TAKEN else taken == 0
    assert metric(pair[1], ANSWERS) == 0


@pytest.mark.parametrize("where", AT)
def test_an_offset_that_differs_each_time_is_read_alike(pair: Pair, where: str) -> None:
    """One that belongs, one that is stored before, and what is a conflict or no offset."""
    before = metric(pair[0], ANSWERS)
    for one in OFFSETS:
        assert_alike(pair, *[AT[where](one)] * 3, *map(AT[where], OFFSETS), LAST)
    assert metric(pair[0], ANSWERS) > before


def test_generated_requests_of_many_clients_are_answered_alike(pair: Pair) -> None:
    """But for the records that they are in, which depend on who else sends."""
    before = metric(pair[0], ANSWERS)

    async def lane(number: int) -> None:
        sent = 0
        for count, data in _conversations(2, number):
            answers = await asyncio.gather(*(converse(service.port, data) for service in pair))
            short, long = (_SEQUENCE.sub(b"*", both_ways.plain(one)) for one in answers)
            assert short == long, f"lane {number}: {data!r}"
            sent += count
            if sent > 100:
                return

    async def lanes() -> None:
        await asyncio.gather(*map(lane, range(8)))

    asyncio.run(lanes())
    assert metric(pair[0], ANSWERS) > before + 20
    assert [event for event in pair[0].events() if event["level"] == "error"] == []


def taught(service: Service, one: bytes) -> socket.socket:
    """Return a connection on which a request was remembered."""
    talk(service, one, one, LAST)
    before, connection = metric(service, ANSWERS), service.connect()
    connection.sendall(one)
    assert connection.recv(2**16).startswith(b"HTTP/1.1 200")
    assert metric(service, ANSWERS) == before + 1
    return connection


def until_closed(connection: socket.socket) -> bytes:
    """Return what comes until the other side ends."""
    received = b""
    while part := connection.recv(2**16):
        received += part
    return received


def test_a_client_that_sends_no_more_is_answered_and_one_that_is_gone_is_not(pair: Pair) -> None:
    """The batches of both are stored."""
    service, one = pair[0], post('{"symbol":"ENDS","values":[1.5]}')
    with taught(service, one) as connection:
        connection.sendall(one)
        connection.shutdown(socket.SHUT_WR)
        answer = until_closed(connection)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"\r\nconnection: close\r\n" in answer
        assert b'"total":4,' in answer
    with taught(service, one) as connection:
        connection.sendall(one)
    wait_until(lambda: b'"total":8' in talk(service, request("GET", "/symbols/ENDS") + LAST), "the batch")


def test_a_token_is_looked_at_each_time(nats: Nats, tmp_path: Path) -> None:
    """For the symbol in the body, of a head that was let through."""
    token = add(tmp_path / "tokens", "feed", [f"{WRITE}:A*"])
    head = f"Authorization: Bearer {token}"
    mine, other = (post(f'{{"symbol":"{name}","values":[1.5]}}', head) for name in ("AB", "BA"))
    create(nats, tmp_path, cluster__shard=5)
    with started(nats, tmp_path, "guarded", 5, "0-1023", auth__tokens_file=str(tmp_path / "tokens")) as service:
        answers = talk(service, *[mine] * 5, other, mine, LAST)
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [*[b"200"] * 5, b"403", b"200", b"200"]
        assert b'"total":6,' in answers


def test_what_is_under_way_when_the_log_goes_is_told_so(tmp_path: Path) -> None:
    """503 in its place among others, on a connection that goes on; the log has it once, if it is sent again."""
    one = post(RAW, kind=OCTETS, target="/add_batch?symbol=RAW")
    again = post(RAW, kind=OCTETS, target="/add_batch?symbol=RAW&offset=9")
    with (
        nats_servers(tmp_path, 1) as nats,
        replicas(nats, tmp_path, "a", cluster__append_timeout_s=1) as (a,),
        taught(a, one) as connection,
    ):
        nats.kill(0)
        connection.sendall(one + TABLE["health"] + one + TABLE["health"])
        received = b""
        while received.count(b'"ok"') < 2:
            received += connection.recv(2**16)
        assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"503", b"200", b"503", b"200"]
        assert received.count(b"retry-after: 1") == received.count(b"it again with its offset") == 2
        nats.start(0)
        wait_until(lambda: talk(a, again + LAST).startswith(b"HTTP/1.1 200"), "the log to take batches")
        connection.sendall(again)
        assert b'"total":12,' in connection.recv(2**16)


def is_leaving(service: Service) -> bool:
    """Say whether the service answers one more request of each connection, or takes no new ones."""
    try:
        with service.connect() as connection:
            connection.sendall(TABLE["health"])
            answer = connection.recv(2**16)
    except ConnectionError:
        return True
    return not answer or b"\r\nconnection: close\r\n" in answer


def test_what_is_under_way_at_a_stop_is_answered(tmp_path: Path) -> None:
    """As the last on its connection; and the service ends."""
    one = post(BATCH)
    with nats_servers(tmp_path, 1) as nats, replicas(nats, tmp_path, "a") as (a,), taught(a, one) as connection:
        connection.settimeout(PATIENCE_S)
        nats.running(0).send_signal(SIGSTOP)
        try:
            connection.sendall(one)
            wait_until(lambda: metric(a, "hft_mmap_cluster_unknown_total") > 0, "the record to be under way")
            a.process.send_signal(SIGTERM)
            wait_until(lambda: is_leaving(a), "its connections to be told")
        finally:
            nats.running(0).send_signal(SIGCONT)
        answer = until_closed(connection)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"\r\nconnection: close\r\n" in answer
        assert a.wait() == 0
