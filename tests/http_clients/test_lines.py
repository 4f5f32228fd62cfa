"""Clients of InfluxDB and QuestDB, as they come, against a real service; and what other programs send, as they do."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.service import ROOT, Service

PEERS_PYTHON = ROOT / ".venv-peers/bin/python"
T = 1_767_225_600_000_000_000
TICKS: dict[str, list[Any]] = {"values": [1.5, 2.5, 3.5], "times": [T, T + 1, T + 2], "sizes": [-2.0, 0.25, -1.0]}
# A client that marks its numbers in other ways, or leaves a time out, is seen here.
SENT: dict[str, tuple[str, str, int]] = {
    "cryptofeed": (
        "?org=o&bucket=b&precision=us",
        (
            'trades-COINBASE,symbol=A\\ B side="sell",amount=2.0,price=1.5,id="17",type=None,timestamp=1767225600 %d\n'
            'trades-COINBASE,symbol=A\\ B side="buy",amount=0.25,price=2.5,id="18",type=None,timestamp=1767225600 %d\n'
            'trades-COINBASE,symbol=A\\ B side="sell",amount=1.0,price=3.5,id="19",type=None,timestamp=1767225600 %d'
        ),
        1000,
    ),
    "telegraf": (
        "?bucket=b&org=o",
        (
            "trade,host=h,symbol=A\\ B,side=SELL price=1.5,size=2,ok=true %d\n"
            "trade,host=h,symbol=A\\ B,side=BUY price=2.5,size=0.25,ok=true %d\n"
            "trade,host=h,symbol=A\\ B,side=SELL price=3.5,size=1i,ok=true %d\n"
        ),
        1,
    ),
    "by measurement": (
        "?db=d&precision=n&consistency=one",
        "A\\ B value=1.5,qty=-2 %d\nA\\ B value=2.5,qty=0.25 %d\nA\\ B value=3.5,qty=-1 %d\n",
        1,
    ),
}


def stored(service: Service) -> dict[str, Any]:
    """Return the ticks of the symbol that all write to."""
    answer = service.client.get("/values", params={"symbol": "A B", "last": 9}).json()
    return {name: answer[name] for name in TICKS}


@pytest.mark.parametrize("who", SENT)
@pytest.mark.parametrize("path", ["/write", "/api/v2/write"])
def test_what_programs_send(service: Service, who: str, path: str) -> None:
    """Stored as it is meant."""
    query, lines, unit_ns = SENT[who]
    times = [time // unit_ns + (k if unit_ns > 1 else 0) for k, time in enumerate(TICKS["times"])]
    answer = service.client.post(path + query, content=lines % tuple(map(int, times)))
    assert (answer.status_code, answer.content) == (204, b"")
    assert stored(service) == TICKS | {"times": [int(time) * unit_ns for time in times]}


@pytest.mark.peers
@pytest.mark.parametrize(("who", "refusal"), [("influxdb", "400 partial write: "), ("questdb", "partial write: ")])
def test_clients(service: Service, who: str, refusal: str) -> None:
    """They store what they are given, and tell their users what was refused."""
    if not PEERS_PYTHON.exists():
        pytest.skip("there is no .venv-peers; make test-peers makes it")
    command: list[str | Path] = [PEERS_PYTHON, Path("tests/http_clients/lines.py"), who, str(service.port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert refusal in done.stdout
    assert "has none of the fields price" in done.stdout
    assert stored(service) == TICKS
