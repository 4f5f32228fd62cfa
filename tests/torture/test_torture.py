"""The long run: `make torture SECONDS=1200 SEED=1 REPORT=torture.json`.

Prints its seed, what it does, a table of counts by tier at the end, and the same as a line of JSON, which goes to the
file REPORT too.
"""

import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Durability
from tests.torture.calls import Session, Trial, fault_at, trials, uses
from tests.torture.counts import Counts
from tests.torture.fuse_power import fuse_once, fuse_works
from tests.torture.kills import KILLS_OF_A_LIFE, library_life, repeat, service_life
from tests.torture.nursery import Nursery
from tests.torture.power import CUTS_OF_A_SESSION, SESSIONS_OF_A_LIFE, power_life
from tests.torture.tracing import needs_strace

SHARES = {"library": 0.5, "service": 0.04, "power": 0.2, "fuse": 0.1, "calls": 0.16}


def _ends_after(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() >= deadline


def _call_faults(nursery: Nursery, seed: int) -> Iterator[tuple[Trial, int]]:
    """Yield every fault at every use of every call in every tier, in any order; then the same of the next seed."""
    for own_seed in count(seed):
        found = []
        for tier in Durability:
            session = Session.drawn(tier, own_seed)
            numbers = uses(nursery, session)
            found += [(trial, n) for trial in trials(session) for n in range(1, max(numbers[trial.call]) + 1)]
        np.random.default_rng([own_seed, 96]).shuffle(found)
        yield from found


@pytest.mark.torture
@needs_strace
def test_torture(nursery: Nursery, counts: Counts, capsys: pytest.CaptureFixture[str]) -> None:
    """For as long as asked, no fault of any kind loses a point, spoils a statistic or makes a store unopenable."""
    seconds = float(os.environ.get("TORTURE_SECONDS") or 60)
    seed = int(os.environ.get("TORTURE_SEED") or secrets.randbelow(1_000_000))
    report = os.environ.get("TORTURE_REPORT")

    def say(text: object) -> None:
        with capsys.disabled():
            print(text, flush=True)  # noqa: T201

    def part(name: str) -> Callable[[], bool]:
        say(f"torture: {name} for {SHARES[name] * seconds:.0f} s; so far {counts}")
        return _ends_after(SHARES[name] * seconds)

    say(f"\ntorture: make torture SECONDS={seconds:.0f} SEED={seed}")
    repeat(seed, part("library"), lambda s, tier: library_life(nursery, s, tier, KILLS_OF_A_LIFE, counts))
    repeat(seed, part("service"), lambda s, tier: service_life(nursery, s, tier, 10, counts))
    repeat(
        seed, part("power"),
        lambda s, tier: power_life(nursery, s, tier, SESSIONS_OF_A_LIFE, CUTS_OF_A_SESSION, counts),
    )  # fmt: skip
    if fuse_works():
        repeat(seed, part("fuse"), lambda s, tier: fuse_once(nursery, s, tier, counts))
    enough = part("calls")
    for trial, n in _call_faults(nursery, seed):
        if enough():
            break
        fault_at(nursery, trial, counts, n)
    line = counts.as_json(seconds=seconds, seed=seed, kernel=platform.release(), python=platform.python_version())
    if report:
        Path(report).write_text(line + "\n", encoding="utf-8")
    say(f"torture: {counts}\n{counts.table()}\n{line}")
    assert counts.texts == []
