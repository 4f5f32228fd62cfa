"""What strangers can make the log grow by: a bounded number of lines a minute, with everything counted."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from api.access.tokens import READ, add
from api.operation.strangers import FIRST_LINES, MAX_KEYS, PERIOD_S, RefusalLines
from tests.service import Service, running_service

MORE = 5


def send_malformed(service: Service) -> None:
    """Send what is no HTTP, and wait until the service has answered and hung up."""
    with service.connect() as connection:
        connection.sendall(b"no http at all\r\n\r\n")
        while connection.recv(4096):
            pass


def test_one_client_cannot_fill_the_log(tmp_path: Path) -> None:
    """Of wrong tokens and malformed requests the first ones have lines with the address; one line has the count."""
    add(tmp_path / "tokens", "reader", [READ])
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        for _ in range(FIRST_LINES + MORE):
            refused = service.client.get("/symbols", headers={"Authorization": "Bearer wrong"})
            assert refused.status_code == 401
            send_malformed(service)
        assert service.stop() == 0
        requests = [line for line in service.events("request") if line["status"] == 401]
        malformed = [line for line in service.events("refused") if line["status"] == 400]
        summaries = service.events("refusals")
    assert (len(requests), len(malformed)) == (FIRST_LINES, FIRST_LINES)
    assert {line["client"] for line in requests + malformed} == {"127.0.0.1"}
    told = {(line["client"], line["status"]): line["without_line"] for line in summaries}
    assert told == {("127.0.0.1", 401): MORE, ("127.0.0.1", 400): MORE}


def test_callers_with_a_token_keep_every_line(tmp_path: Path) -> None:
    """What a known caller is refused has its line each time."""
    token = add(tmp_path / "tokens", "reader", [READ])
    with running_service(tmp_path, auth__tokens_file="tokens") as service:
        for _ in range(FIRST_LINES + MORE):
            refused = service.client.get("/stats?symbol=A&k=99", headers={"Authorization": f"Bearer {token}"})
            assert refused.status_code == 400
        assert service.stop() == 0
        assert len([line for line in service.events("request") if line["status"] == 400]) == FIRST_LINES + MORE


@pytest.mark.parametrize("addresses", [1, MAX_KEYS * 10])
def test_each_period_starts_anew_and_many_addresses_share_one_bound(addresses: int) -> None:
    """However many addresses, there are at most (MAX_KEYS + 1) * FIRST_LINES lines a period, and nothing is lost."""
    periods: list[float] = []
    lines = RefusalLines(lambda delay, _end: periods.append(delay))
    for _ in range(2):
        due = sum(lines.due(f"2001:db8::{n % addresses:x}", 401) for n in range(addresses * (FIRST_LINES + MORE)))
        assert due == FIRST_LINES * min(addresses, MAX_KEYS + 1)
        with capture_logs() as told:
            lines.summarise()
        assert due + sum(line["without_line"] for line in told) == addresses * (FIRST_LINES + MORE)
    assert periods == [PERIOD_S, PERIOD_S]
