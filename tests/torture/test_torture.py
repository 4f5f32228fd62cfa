"""The long run: `make torture SECONDS=600 SEED=1`. Prints its seed, what it does, and one line of counts at the end."""

import itertools
import os
import secrets
import time
from collections.abc import Callable

import pytest

from hft_mmap import Durability
from tests.torture.calls import CALLS, FAULTS, Trial, fault_at_each
from tests.torture.counts import Counts
from tests.torture.kills import KILLS_OF_A_LIFE, library_life, repeat, service_life
from tests.torture.nursery import Nursery
from tests.torture.power import CUTS_OF_A_SESSION, SESSIONS_OF_A_LIFE, power_life
from tests.torture.tracing import needs_strace

SHARES = {"library": 0.45, "service": 0.05, "power": 0.3, "calls": 0.2}

CASES = [(call, fault, tier) for tier in Durability for fault in FAULTS for call in CALLS]


def _ends_after(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() >= deadline


@pytest.mark.torture
@needs_strace
def test_torture(nursery: Nursery, counts: Counts, capsys: pytest.CaptureFixture[str]) -> None:
    """For as long as asked, no fault of any kind loses a point, spoils a statistic or makes a store unopenable."""
    seconds = float(os.environ.get("TORTURE_SECONDS") or 60)
    seed = int(os.environ.get("TORTURE_SEED") or secrets.randbelow(1_000_000))

    def say(text: object) -> None:
        with capsys.disabled():
            print(text, flush=True)  # noqa: T201

    def part(name: str) -> Callable[[], bool]:
        say(f"torture: {name} for {SHARES[name] * seconds:.0f} s; so far {counts}")
        return _ends_after(SHARES[name] * seconds)

    def call_life(own_seed: int, _: Durability) -> None:
        call, fault, tier = CASES[own_seed % len(CASES)]
        fault_at_each(nursery, Trial(own_seed, call, fault, tier), counts, itertools.count(1))

    say(f"\ntorture: make torture SECONDS={seconds:.0f} SEED={seed}")
    repeat(seed, part("library"), lambda s, tier: library_life(nursery, s, tier, KILLS_OF_A_LIFE, counts))
    repeat(seed, part("service"), lambda s, tier: service_life(nursery, s, tier, 10, counts))
    repeat(
        seed, part("power"),
        lambda s, tier: power_life(nursery, s, tier, SESSIONS_OF_A_LIFE, CUTS_OF_A_SESSION, counts),
    )  # fmt: skip
    repeat(seed, part("calls"), call_life)
    say(f"torture: {counts}")
    assert counts.texts == []
