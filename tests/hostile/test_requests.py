"""A hundred thousand hostile requests: none fails the service, none hangs, none is stored and refused.

A share of them in `make test`, all in `make torture`, from a new seed each time. Replay what it prints:
make torture SEED=7 ARGS="-k hostile".
"""

import asyncio
import os
import secrets
from collections import Counter
from typing import Any

import pytest

from tests.conftest import StartService
from tests.hostile.campaign import MAX_SYMBOLS, Tally, attack, check_store, conversation, symbols_of_lanes
from tests.hostile.noise import make_noise
from tests.service import Service, wait_until

SHARE = 3_000
ALL = 100_000
# A mutant that announces more than it sends keeps its connection for as long as the service is willing to wait.
# Idle ones have longer: on a busy machine a client may take seconds between its connection and its request.
IMPATIENT: dict[str, Any] = {
    "server__header_timeout_s": 1,
    "server__body_timeout_s": 1,
    "server__keep_alive_s": 10,
    "store__max_symbols": MAX_SYMBOLS,
}
# What drafts send is never late, and on a busy machine it takes seconds as well; few mutants make use of them.
PATIENT = IMPATIENT | {"server__header_timeout_s": 5, "server__body_timeout_s": 5}


def survive(service: Service, seed: int, requests: int) -> Tally:
    """Attack `service`, then hold it against the model, before and after a restart."""
    tally = Tally()
    outside = sorted(path for path in service.directory.rglob("*") if service.data_dir not in path.parents)
    asyncio.run(attack(service.port, seed, requests, tally))
    assert tally.faults == [], f"seed {seed}"
    assert tally.requests >= requests
    check_accounts(service)
    check_store(service, tally)
    assert service.client.get("/ready").status_code == 200
    assert sorted(path for path in service.directory.rglob("*") if service.data_dir not in path.parents) == outside
    assert [event for event in service.events() if event["level"] == "error"] == []
    assert service.stop() == 0
    check_store(service, tally)
    return tally


def check_accounts(service: Service) -> None:
    """Everything that was charged is given back: what is left is the connection that asks."""

    def left() -> dict[str, float]:
        lines = service.client.get("/metrics").text.splitlines()
        told = [line.removeprefix('hft_mmap_account_held{account="') for line in lines if "_account_held{" in line]
        held = {name: float(size) for name, _, size in (line.partition('"} ') for line in told)}
        return {name: size for name, size in held.items() if size and not name.startswith("log_")}

    wait_until(lambda: left() == {"connections": 1.0}, "the end of all connections")


def test_a_share_of_the_hostile_requests(start_service: StartService) -> None:
    """The same ones every time."""
    survive(start_service(**PATIENT), 1, SHARE)


@pytest.mark.torture
def test_a_hundred_thousand_hostile_requests(start_service: StartService, capsys: pytest.CaptureFixture[str]) -> None:
    """Others every time; prints the seed and the counts."""
    seed = int(os.environ.get("TORTURE_SEED") or secrets.randbelow(1_000_000))
    with capsys.disabled():
        print(f"\nhostile: TORTURE_SEED={seed}", flush=True)  # noqa: T201
        tally = survive(start_service(**PATIENT), seed, ALL)
        print(f"hostile: {tally}")  # noqa: T201


def hear_out(service: Service, seed: int, size: int) -> Counter[int]:
    """Make noise of `size` bytes; return how many answers had each status."""
    service.add("A", [1.0])
    statuses = asyncio.run(make_noise(service.port, seed, size))
    assert [status for status in statuses if status >= 500] == [], f"seed {seed}"
    check_accounts(service)
    assert service.client.get("/ready").status_code == 200
    assert [event for event in service.events() if event["level"] == "error"] == []
    assert service.stop() == 0
    return statuses


def test_a_share_of_the_noise(start_service: StartService) -> None:
    """The same every time: no answer is a fault of the service, and nothing stays charged."""
    statuses = hear_out(start_service(**IMPATIENT), 1, 200_000)
    assert {101, 200, 400} <= statuses.keys()


@pytest.mark.torture
def test_ten_megabytes_of_noise(start_service: StartService, capsys: pytest.CaptureFixture[str]) -> None:
    """Another every time; prints the seed and the statuses."""
    seed = int(os.environ.get("TORTURE_SEED") or secrets.randbelow(1_000_000))
    with capsys.disabled():
        print(f"\nnoise: TORTURE_SEED={seed}", flush=True)  # noqa: T201
        print(f"noise: {hear_out(start_service(**IMPATIENT), seed, 10_000_000)}")  # noqa: T201


def test_a_conversation_can_be_replayed() -> None:
    """Seed and number make the same bytes, and others make others."""
    assert conversation(3, 5).sent() == conversation(3, 5).sent()
    assert conversation(3, 5).sent() != conversation(3, 6).sent()
    assert conversation(3, 5).sent() != conversation(4, 5).sent()


def test_the_lanes_have_symbols_of_their_own() -> None:
    """Else the order of the values of a symbol would not be known."""
    symbols = symbols_of_lanes()
    assert len(set(symbols)) == len(symbols) < MAX_SYMBOLS
