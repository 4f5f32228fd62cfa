"""What each client may take of a service: bounds for a token, for an address, and for all of them together."""

import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from api.access.tokens import READ, WRITE
from api.connection.budget import ANSWERS, BODIES, CONNECTIONS, REQUESTS, Budget, Ledger, network_of
from tests.api.test_auth import bearer, make_tokens
from tests.api.test_metrics import samples, scraped, value
from tests.api.test_protocol import answer, get, post
from tests.api.test_strangers_share import HALF_HEAD, authorized
from tests.conftest import StartService
from tests.service import Service, wait_until

UNREAD = get("/openapi.json") * 200


class Nobody:
    """A connection that is never asked for anything."""

    budget: Budget

    def close_idle(self) -> None:
        """Close."""

    def time_out(self) -> None:
        """Close."""

    def abort(self) -> None:
        """Close."""

    def unsent_bytes(self) -> int:
        """Return that nothing waits."""
        return 0

    owed_bytes = unsent_bytes

    def settle(self) -> None:
        """Not asked of one that owes nothing."""


def ledger() -> Ledger:
    """Return accounts of ten, of which a holder may take six."""
    return Ledger([10] * 4, [6] * 4)


def test_memory_is_taken_whole_or_not_at_all() -> None:
    """What is refused takes nothing of what is left, neither for the holder nor for all."""
    accounts = ledger()
    one, other = (Budget(accounts, Nobody(), address) for address in ("192.0.2.1", "192.0.2.2"))
    assert [one.take(BODIES, size) for size in (5, 2, 1, 1)] == [True, False, True, False]
    assert [other.take(BODIES, size) for size in (5, 4, 1)] == [False, True, False]
    one.close()
    assert accounts.accounts[BODIES].held == 4
    assert other.take(BODIES, 2)


def test_connections_of_one_holder_share_its_bound() -> None:
    """Those of an address, and those of a token wherever it comes from, take of one share."""
    accounts = ledger()
    budgets = [Budget(accounts, Nobody(), f"192.0.2.{number}") for number in range(3)]
    assert all(budget.take(ANSWERS, 3) for budget in budgets)
    for budget in budgets:
        budget.belongs_to("desk")
    assert not budgets[0].take(ANSWERS, 1)
    assert len(accounts) == 1
    for budget in budgets:
        budget.close()
        budget.give(ANSWERS, 3)  # who was told of the end too late gives nothing back twice
    assert (len(accounts), accounts.accounts[ANSWERS].held) == (0, 0)


@pytest.mark.parametrize(
    ("address", "holder"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "local"),
    ],
)
def test_an_address_stands_for_who_has_it(address: str | None, holder: str) -> None:
    """A host has a network of IPv6 to itself, and one address of IPv4."""
    assert network_of(address) == holder


OF_METRICS = 32_768
"""More than an answer of /metrics: who asks again at once finds the answer before counted, as not acknowledged yet."""


def account(service: Service, sent: dict[str, str], name: str, field: str) -> float:
    """Return what /metrics tells of an account."""
    text = service.client.get("/metrics", headers=bearer(sent[READ])).text
    line = f'hft_mmap_account_{field}{{account="{name}"}} '
    return next(float(found.removeprefix(line)) for found in text.splitlines() if found.startswith(line))


def test_a_body_is_kept_for_a_token_alone(start_service: StartService, tmp_path: Path) -> None:
    """Of what a stranger sends to an open route nothing is kept, small or large; of a token's half body all is."""
    sent = make_tokens(tmp_path)
    service = start_service(auth__tokens_file=tmp_path / "tokens")
    with service.connect() as stranger, service.connect() as holder:
        stranger.sendall(post(bytes(150_000), length=190_000).replace(b"/add_batch", b"/health"))
        assert answer(stranger)[0] == 405
        assert account(service, sent, "bodies", "held") == 0
        holder.sendall(post(bytes(150_000), head=authorized(sent[WRITE]), length=190_000))
        wait_until(lambda: account(service, sent, "bodies", "held") == 150_000, "the half body")
    wait_until(lambda: account(service, sent, "bodies", "held") == 0, "its end")


def held(service: Service, name: str) -> float:
    """Return what is held of an account, as /metrics of a service without tokens tells it."""
    return value(service, "hft_mmap_account_held", account=name)


def test_half_a_small_body_is_counted(start_service: StartService) -> None:
    """It always finds room, and what has come of it stands in /metrics until it is answered."""
    service = start_service()
    with service.connect() as connection:
        connection.sendall(post(b" " * 30_000, length=30_002))
        wait_until(lambda: held(service, "bodies") == 30_000, "the half body")
        connection.sendall(b"{}")
        assert answer(connection)[0] == 422
        assert held(service, "bodies") == 0


def unread(service: Service) -> socket.socket:
    """Return a connection that asks for much and takes nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", service.port))
    connection.settimeout(0.2)
    with suppress(TimeoutError):
        connection.sendall(UNREAD)
    return connection


def test_who_does_not_read_makes_room(start_service: StartService, tmp_path: Path) -> None:
    """With every place taken by strangers that take no answer, a token holder is served, and stays."""
    sent = make_tokens(tmp_path)
    service = start_service(auth__tokens_file=tmp_path / "tokens", server__max_connections=4)
    question = get("/symbols", authorized(sent[READ]))
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(unread(service))
        with service.connect() as holder:
            for _ in range(3):
                holder.sendall(question)
                assert answer(holder)[0] == 200
                stack.enter_context(unread(service))


def test_answers_that_are_not_taken_are_bounded_together(start_service: StartService, tmp_path: Path) -> None:
    """Beyond the bound the one that has waited longest is cut off; the requests behind them are counted too."""
    sent = make_tokens(tmp_path)
    service = start_service(auth__tokens_file=tmp_path / "tokens", server__max_answer_memory_bytes="1 MiB")
    with ExitStack() as stack:
        waiting = [stack.enter_context(unread(service)) for _ in range(12)]
        wait_until(lambda: account(service, sent, "answers", "refused_total") > 0, "a refusal")
        assert 0 < account(service, sent, "answers", "held") <= account(service, sent, "answers", "share")
        assert account(service, sent, "requests", "held") > 0
        waiting[0].settimeout(30)
        with suppress(ConnectionResetError):
            while waiting[0].recv(65_536):
                pass
    wait_until(lambda: account(service, sent, "answers", "held") <= OF_METRICS, "the end of all")
    assert account(service, sent, "requests", "held") == 0


def test_a_connection_that_is_ended_for_others_is_counted_once(start_service: StartService) -> None:
    """Also where it still has requests that are being answered."""
    service = start_service(server__max_answer_memory_bytes="1 MiB", server__body_timeout_s=3600)
    assert service.add("A", [1.1234567, 2.0, 3.0] * 1000).status_code == 200
    question = get("/stats?symbol=A")
    with ExitStack() as stack:
        clients = [stack.enter_context(service.connect()) for _ in range(20)]
        for client in clients:
            client.setblocking(False)
        wait_until(lambda: value(service, "hft_mmap_connections") == 1 + len(clients), "all of them")

        def one_is_ended() -> bool:
            for client in clients:
                with suppress(BlockingIOError, ConnectionError):
                    client.send(question * 16)
            return value(service, "hft_mmap_connections_cut_total", reason="evicted") > 0

        wait_until(one_is_ended, "the end of one")
        now = samples(scraped(service))
        gone = 1 + len(clients) - now["hft_mmap_connections", frozenset()]  # this client is another one
        assert now["hft_mmap_connections_cut_total", frozenset({("reason", "evicted")})] == gone


def test_pipelined_requests_find_no_room_where_others_hold_it(start_service: StartService, tmp_path: Path) -> None:
    """Who sends on and takes nothing is refused or ended at the bound, and the service goes on."""
    sent = make_tokens(tmp_path)
    service = start_service(
        auth__tokens_file=tmp_path / "tokens", server__max_head_memory_bytes="1 MiB", server__max_share_percent=2
    )
    with ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(unread(service))
        wait_until(lambda: account(service, sent, "requests", "refused_total") > 0, "a refusal")
        assert account(service, sent, "requests", "held") <= 2**20
    assert [event for event in service.events() if event["level"] == "error"] == []


def test_half_heads_are_bounded_together(start_service: StartService, tmp_path: Path) -> None:
    """Beyond the bound the oldest half head ends, however many connections there may be."""
    sent = make_tokens(tmp_path)
    service = start_service(auth__tokens_file=tmp_path / "tokens", server__max_head_memory_bytes="1 MiB")
    with ExitStack() as stack:
        heads = [stack.enter_context(service.connect()) for _ in range(20)]
        for connection in heads:
            connection.sendall(HALF_HEAD + b"a" * 60_000)
        wait_until(lambda: account(service, sent, "requests", "refused_total") >= 4, "the end of some")
        with suppress(ConnectionResetError):
            assert heads[0].recv(1) == b""
        assert account(service, sent, "requests", "held") <= account(service, sent, "requests", "share")


def test_one_address_leaves_places_to_others(start_service: StartService) -> None:
    """An address whose connections are all at work has its share of them; another address finds a place."""
    service = start_service(server__max_connections=4)
    with ExitStack() as stack:
        for _ in range(3):
            busy = stack.enter_context(service.connect())
            busy.sendall(post(b"", length=100, head="Expect: 100-continue\r\n"))
            assert busy.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert refused(service)
        other = stack.enter_context(
            socket.create_connection(("127.0.0.1", service.port), source_address=("127.0.0.2", 0))
        )
        other.sendall(get("/health"))
        assert answer(other)[0] == 200


def refused(service: Service) -> bool:
    """Return whether a newcomer from the usual address is refused."""
    with service.connect() as connection:
        connection.sendall(get("/health"))
        return answer(connection)[0] == 503


def test_a_stream_counts_as_a_connection(start_service: StartService) -> None:
    """It keeps its place for as long as it is open, and gives it back."""
    service = start_service()
    before = held(service, "connections")
    with service.connect() as stream:
        stream.sendall(
            get(
                "/stream?mode=ingest",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            )
        )
        assert stream.recv(12) == b"HTTP/1.1 101"
        assert held(service, "connections") == before + 1
        stream.sendall(b"\x82\xff" + (4_000_000).to_bytes(8, "big") + bytes(4) + bytes(200_000))
        wait_until(lambda: held(service, "bodies") >= 200_000, "the half message to be counted")
    wait_until(lambda: held(service, "connections") == before, "its place")
    assert held(service, "bodies") == 0


def test_accounts_know_their_names() -> None:
    """Each account is one of those in /metrics."""
    names = [account.name for account in ledger().accounts]
    assert [names[kind] for kind in (CONNECTIONS, REQUESTS, BODIES, ANSWERS)] == [
        "connections",
        "requests",
        "bodies",
        "answers",
    ]
