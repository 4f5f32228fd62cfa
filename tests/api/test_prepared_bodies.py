"""A remembered batch whose body comes behind its head, as most clients send it: bounds and ends are those of any other.

Each time something else is asked in the same bytes as the head: its answer shows that the head was read.
"""

import signal
import socket
from pathlib import Path

from api.access.tokens import READ, WRITE, add
from tests.api.test_auth import bearer
from tests.api.test_prepared import BATCH, HEALTH, TIMES, ask, make, send, short, without
from tests.api.test_protocol import answer
from tests.conftest import StartService
from tests.hostile.drafts import post
from tests.service import Service, wait_until

HEAD, BODY = BATCH[: BATCH.index(b"{")], BATCH[BATCH.index(b"{") :]


def begin(service: Service, head: bytes = HEAD) -> socket.socket:
    """Return a connection on which the head of a remembered batch was read, and nothing of its body."""
    connection = service.connect()
    connection.sendall(HEALTH + head)
    assert answer(connection)[0] == 200
    return connection


def remembered(service: Service) -> Service:
    """Have it remember the batch, and what is asked before its head."""
    make(service, "A")
    assert ask(service, "/health") == [200] * TIMES
    assert send(service, "A") == [200] * TIMES
    return service


def test_a_body_that_comes_behind_its_head_is_taken_the_short_way(service: Service) -> None:
    """Again and again on one connection."""
    remembered(service)
    before = short(service)
    with begin(service) as connection:
        for _ in range(10):
            connection.sendall(BODY + HEAD)
            assert answer(connection)[0] == 200
    assert short(service) == before + 1 + 10
    assert service.client.get("/stats?symbol=A").json()["total"] == TIMES + 10


def test_a_body_in_pieces_is_stored_once(service: Service) -> None:
    """The long way, from where it is."""
    remembered(service)
    with begin(service) as connection:
        connection.sendall(BODY[:5])
        wait_until(lambda: unread(service, connection) == 0, "the piece to be read")
        connection.sendall(BODY[5:])
        assert answer(connection)[0] == 200
    assert service.client.get("/stats?symbol=A").json()["total"] == TIMES + 1


def unread(service: Service, connection: socket.socket) -> int:
    """Return how many bytes of a connection the service has not read."""
    own, peer = connection.getsockname()[1], service.port
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)) == (peer, own):
            return int(queues.split(":")[1], 16)
    return 0


def test_a_token_that_is_revoked_before_the_body_stores_nothing(start_service: StartService, tmp_path: Path) -> None:
    """The head was let through, and is looked at again."""
    path = tmp_path / "tokens"
    mine, other = (bearer(add(path, name, [READ, WRITE, "admin"])) for name in ("mine", "other"))
    service = start_service(auth__tokens_file="tokens")
    make(service, "A", **other)
    assert ask(service, "/health") + send(service, "A", **mine) == [200] * 2 * TIMES
    one = post(BODY.decode(), *(": ".join(field) for field in mine.items()))
    with begin(service, one[: -len(BODY)]) as connection:
        without(path, "mine")
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_event("reloaded", what="tokens")
        connection.sendall(BODY)
        assert answer(connection)[0] == 401
    assert service.client.get("/stats?symbol=A", headers=other).json()["total"] == TIMES


def test_a_body_that_does_not_come_in_time_is_refused(start_service: StartService) -> None:
    """With 408, as one whose head went the long way, and the service counts it."""
    service = remembered(start_service(server__body_timeout_s=1))
    with begin(service) as connection:
        status, problem = answer(connection)
        assert (status, problem["detail"].partition(" within ")[0]) == (408, "The body did not arrive")
    assert service.client.get("/stats?symbol=A").json()["total"] == TIMES


def test_a_client_that_ends_behind_the_head_stores_nothing(service: Service) -> None:
    """Its connection ends without an answer."""
    remembered(service)
    with begin(service) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert service.client.get("/stats?symbol=A").json()["total"] == TIMES


def test_a_stop_does_not_wait_for_a_body_that_does_not_come(service: Service) -> None:
    """It is refused, as the last on its connection, and nothing is stored."""
    remembered(service)
    with begin(service) as connection:
        service.process.send_signal(signal.SIGTERM)
        received = b""
        while part := connection.recv(2**16):
            received += part
    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close\r\n" in received
    assert b"the request did not arrive whole" in received
    assert service.wait() == 0
