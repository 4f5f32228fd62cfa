"""Web pages of others: by which names a service answers, and which requests of a browser it refuses."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.access.tokens import READ, add
from tests.api.test_protocol import answer, answers, batch, get, post
from tests.service import PATIENCE_S, Service, running_service

OWN_NAME = "prices.example"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "object"}
NAVIGATION = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service without tokens that has one name of its own, and a series A."""
    directory = tmp_path_factory.mktemp("service")
    names = f"{OWN_NAME}, 192.0.2.7"
    with running_service(directory, server__host_names=names, server__unix_socket="http.sock") as service:
        assert service.add("A", [1.0, 2.0]).status_code == 200
        yield service


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:8080", "127.1.2.3:1", "localhost", "LocalHost.:9", "any.localhost:80", "[::1]:8080",
        "[::1]", OWN_NAME, f"{OWN_NAME.upper()}:443", "192.0.2.7:80", "",
    ],
)  # fmt: skip
def test_a_service_without_tokens_answers_to_its_own_names(service: Service, host: str) -> None:
    """Loopback by name and number, what the settings name, any port; and an empty Host, which no page can send."""
    assert service.client.get("/symbols", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example", "attacker.example:8080", "localhost.attacker.example", "127.0.0.1.attacker.example",
        "notlocalhost", "192.0.2.8", "[2001:db8::1]", "10.0.0.1", "prices.example.attacker.example", "[::1].example",
        "user@127.0.0.1", "127.0.0.1:80:80", "127.1", "0x7f.1", "*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/symbols", "/", "/health", "/nowhere"])
def test_a_service_without_tokens_answers_to_no_other_name(service: Service, host: str, path: str) -> None:
    """A page that points its own name here is told 421 on every path, which setting it is, and learns nothing."""
    refused = service.client.get(path, headers={"Host": host})
    assert refused.status_code == 421
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert "server.host_names" in refused.json()["detail"]
    assert "auth.tokens_file" in refused.json()["detail"]


def test_a_batch_under_a_strange_name_changes_nothing(service: Service) -> None:
    """DNS rebinding makes a page and this service one origin for the browser, so the content type stops it no more."""
    headers = {"Host": "attacker.example", "Origin": "http://attacker.example"}
    assert service.client.post("/add_batch", json={"symbol": "B", "values": [1]}, headers=headers).status_code == 421
    assert [one["symbol"] for one in service.client.get("/symbols").json()["symbols"]] == ["A"]


@pytest.mark.parametrize(
    ("head", "status"),
    [("Host: attacker.example", 421), ("Host: localhost\r\nSec-Fetch-Site: cross-site", 403)],
    ids=["other name", "other site"],
)
@pytest.mark.parametrize("announced", ["Content-Length: 190000", "Transfer-Encoding: chunked"])
def test_a_body_of_a_strange_page_is_refused_at_its_head(
    service: Service, head: str, status: int, announced: str
) -> None:
    """The answer comes before the body does, and what of it comes all the same is charged to nobody."""
    request = f"POST /add_batch HTTP/1.1\r\n{head}\r\nContent-Type: application/json\r\n{announced}\r\n\r\n"
    body = b"2e600\r\n" * announced.startswith("Transfer") + b" " * 189_000
    with service.connect() as connection:
        connection.sendall(request.encode())
        assert answer(connection)[0] == status
        connection.sendall(body)
        assert "hft_mmap_body_memory_bytes 0.0" in service.client.get("/metrics").text


def test_a_short_body_under_a_strange_name_ends_no_connection(service: Service) -> None:
    """It is read to its end and thrown away; the request behind it is answered."""
    foreign = post(batch("B", [1.0])).replace(b"Host: x", b"Host: attacker.example")
    own = get("/health", "Connection: close\r\n").replace(b"Host: x", b"Host: localhost")
    with service.connect() as connection:
        connection.sendall(foreign + own)
        assert [status for status, _ in answers(connection)] == [421, 200]


@pytest.mark.parametrize("target", ["/stream?mode=stats&symbol=A", "/stream?mode=ingest&symbol=A", "/events?symbol=A"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "attacker.example", "Origin": "http://attacker.example"}, 421),
        ({"Host": "127.0.0.1", "Origin": "http://attacker.example"}, 403),
        ({"Host": "127.0.0.1", "Origin": "http://127.0.0.1:3000"}, 403),
        ({"Host": "127.0.0.1", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "websocket"}, 403),
    ],
)
def test_streams_are_opened_by_own_pages_only(
    service: Service, target: str, headers: dict[str, str], status: int
) -> None:
    """Neither a strange name nor the page of another origin opens a WebSocket or an event stream."""
    upgrade = HANDSHAKE if target.startswith("/stream") else {}
    assert service.client.get(target, headers={**upgrade, **headers}).status_code == status


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unheard-of"])
@pytest.mark.parametrize("path", ["/symbols", "/values?symbol=A", "/static/dashboard.js", "/stats?symbol=A&k=1"])
def test_requests_of_other_sites_are_refused(service: Service, site: str, path: str) -> None:
    """`<object data=…/values?symbol=A>` told any site which symbols there are; now it is told nothing."""
    refused = service.client.get(path, headers={**CROSS_SITE, "Sec-Fetch-Site": site})
    assert refused.status_code == 403
    assert site in refused.json()["detail"]


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_requests_of_own_pages_and_of_the_user_are_served(service: Service, site: str) -> None:
    """The dashboard asks as same-origin; what is typed into the address bar comes from no site."""
    answer = service.client.get("/stats?symbol=A&k=1", headers={**CROSS_SITE, "Sec-Fetch-Site": site})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/", "/openapi.json", "/?symbol=A"])
def test_a_link_on_another_site_opens_the_pages(service: Service, path: str) -> None:
    """They hold no data, and what they ask for then is of their own origin."""
    assert service.client.get(path, headers=NAVIGATION).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "changes"),
    [
        ("GET", "/values?symbol=A", {}),  # data
        ("GET", "/", {"Sec-Fetch-Dest": "iframe"}),
        ("GET", "/", {"Sec-Fetch-Dest": "object"}),
        ("GET", "/", {"Sec-Fetch-Mode": "cors"}),
        ("POST", "/add_batch", {}),  # a form
    ],
)
def test_a_link_on_another_site_opens_nothing_else(
    service: Service, method: str, path: str, changes: dict[str, str]
) -> None:
    """No data, nothing inside of another page, no form."""
    assert service.client.request(method, path, headers={**NAVIGATION, **changes}).status_code == 403


def test_a_service_that_listens_everywhere_is_called_by_the_address_that_was_reached(tmp_path: Path) -> None:
    """0.0.0.0 is where it listens and no name: browsers let any page ask it, and without a Sec-Fetch-Site."""
    everywhere = "0.0.0.0"  # noqa: S104 - that is the point
    with running_service(tmp_path, server__host=everywhere, auth__allow_anonymous="true") as service:
        for host, status in (("127.0.0.1", 200), (everywhere, 421), ("[::]", 421)):
            assert service.client.get("/symbols", headers={"Host": host}).status_code == status


def test_a_unix_socket_has_no_name_to_check(service: Service) -> None:
    """No browser can open one, and programs call it what they like."""
    transport = httpx.HTTPTransport(uds=str(service.directory / "http.sock"))
    with httpx.Client(transport=transport, base_url="http://any.name.at.all", timeout=PATIENCE_S) as client:
        assert client.get("/symbols").status_code == 200


def test_with_tokens_the_token_decides(tmp_path: Path) -> None:
    """A scraper or a proxy with a token uses any name; pages of other sites have none, and open windows only."""
    token = add(tmp_path / "tokens", "prometheus", [READ])
    bearer = {"Authorization": f"Bearer {token}"}
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        get = service.client.get
        for _ in range(2):  # the second time the token is known
            assert get("/metrics", headers={**bearer, "Host": "prices.example.com"}).status_code == 200
        assert get("/metrics", headers={"Host": "prices.example.com"}).status_code == 401
        assert get("/health", headers={"Host": "prices.example.com"}).status_code == 200
        assert get("/health", headers=CROSS_SITE).status_code == 403
        assert get("/", headers=NAVIGATION).status_code == 200
        assert get("/symbols", headers={**CROSS_SITE, **bearer}).status_code == 200


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/health", {}, 200),
        ("GET", "/values?symbol=A", {}, 200),
        ("GET", "/static/dashboard.js", {}, 200),
        ("GET", "/nowhere", {}, 404),
        ("GET", "/symbols", {"Host": "attacker.example"}, 421),
        ("GET", "/stream?mode=stats&symbol=NONE", HANDSHAKE, 404),
        ("GET", "/stream?mode=stats&symbol=A", HANDSHAKE, 101),
        ("GET", "/events?symbol=A", {}, 200),
        ("POST", "/add_batch", {"Content-Type": "text/plain"}, 415),
        ("GET", "/symbols", {"X-Long": "x" * 70_000}, 431),
    ],
)
def test_every_answer_keeps_itself_out_of_other_pages(
    service: Service, method: str, target: str, headers: dict[str, str], status: int
) -> None:
    """Data, pages, streams and refusals may be embedded by no other site, nor be taken for another type; said once."""
    with service.client.stream(method, target, headers=headers) as answer:
        assert answer.status_code == status
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        assert answer.headers.get_list("Cross-Origin-Resource-Policy") == ["same-origin"]
