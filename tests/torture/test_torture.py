"""The long run: `make torture SECONDS=1200 SEED=1 REPORT=torture.json`.

Prints its seed, what it does, a table of counts by tier at the end, and the same as a line of JSON, which goes to the
file REPORT too.
"""

import os
import platform
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from hft_mmap import Durability
from tests.service import ROOT
from tests.torture.calls import Session, Trial, fault_at, trials, uses
from tests.torture.counts import Counts, Kind
from tests.torture.devices import devices_life
from tests.torture.ext4_power import ext4_life
from tests.torture.file_systems import can_mount
from tests.torture.fuse_power import fuse_once, fuse_works
from tests.torture.kills import KILLS_OF_A_LIFE, library_life, repeat, service_life
from tests.torture.nursery import Nursery
from tests.torture.power import CUTS_OF_A_SESSION, SESSIONS_OF_A_LIFE, power_life
from tests.torture.tracing import needs_strace

SHARES = {"library": 0.44, "service": 0.04, "power": 0.2, "fuse": 0.1, "ext4": 0.04, "devices": 0.06, "calls": 0.12}


NOTHING: frozenset[Kind] = frozenset()
KILLS = frozenset({Kind.KILLS, Kind.SERVICE_KILLS})
CUTS = frozenset({Kind.POWER_CUTS, Kind.FUSE_CUTS, Kind.EXT4_CUTS})
ASKED = {"library": (KILLS, "TORTURE_KILLS"), "power": (CUTS, "TORTURE_CUTS")}
"""Of what a part goes on to make so many as are asked for, however long that takes."""
LONG_S = 300
LEAST = {Kind.KILLS: 300, Kind.SERVICE_KILLS: 3, Kind.POWER_CUTS: 100, Kind.CALL_FAULTS: 30}
"""How many of each kind a run of LONG_S or longer makes at least, also on a busy machine."""


def _recorded(counts: Counts, **about: object) -> str:
    """Return the page that a run writes: what was done, how often, and what came of it."""
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in counts.table().splitlines()]
    rows.insert(1, ["---"] * len(rows[0]))
    lines = ["# A long run of the fault tests", "", "Written by the run itself; what it does: durability.md.", ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "| broken promise | times |", "|---|---|", *(f"| {k} | {len(v)} |" for k, v in counts.broken.items())]
    lines += ["", "| of the run | |", "|---|---|", *(f"| {name} | {value} |" for name, value in about.items())]
    return "\n".join(lines) + "\n"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


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
        deadline = time.monotonic() + SHARES[name] * seconds
        kinds, asked = ASKED.get(name, (NOTHING, ""))
        least = int(os.environ.get(asked) or 0)
        return lambda: time.monotonic() >= deadline and sum(map(counts.of, kinds)) >= least

    mountable = can_mount("ext4", "xfs")
    lives: list[tuple[str, bool, Callable[[int, Durability], None]]] = [
        ("service", True, lambda s, tier: service_life(nursery, s, tier, 10, counts)),
        ("library", True, lambda s, tier: library_life(nursery, s, tier, KILLS_OF_A_LIFE, counts)),
        ("fuse", fuse_works(), lambda s, tier: fuse_once(nursery, s, tier, counts)),
        ("ext4", mountable, lambda s, tier: ext4_life(nursery, s, tier, 20, counts)),
        ("devices", mountable, lambda s, tier: devices_life(nursery, s, tier, counts)),
        ("power", True, lambda s, tier: power_life(nursery, s, tier, SESSIONS_OF_A_LIFE, CUTS_OF_A_SESSION, counts)),
    ]
    say(f"\ntorture: make torture SECONDS={seconds:.0f} SEED={seed}")
    for name, possible, life in lives:
        if possible:
            repeat(seed, part(name), life)
    enough = part("calls")
    for trial, n in _call_faults(nursery, seed):
        if enough():
            break
        fault_at(nursery, trial, counts, n)
    line = counts.as_json(seconds=seconds, seed=seed, kernel=platform.release(), python=platform.python_version())
    if report:
        Path(report).write_text(line + "\n", encoding="utf-8")
    say(f"torture: {counts}\n{counts.table()}\n{line}")
    if record := os.environ.get("TORTURE_RECORD"):
        asked = {name: os.environ.get(f"TORTURE_{name}") for name in ("KILLS", "CUTS")}
        command = " ".join(["make torture", *(f"{name}={n}" for name, n in asked.items() if n)])
        about = {
            "command": f"`{command} SECONDS={seconds:.0f} SEED={seed}`", "commit": _commit(),
            "date": datetime.now(UTC).date(), "kernel": platform.release(), "Python": platform.python_version(),
        }  # fmt: skip
        Path(record).write_text(_recorded(counts, **about), encoding="utf-8")
    assert counts.texts == []
    if seconds >= LONG_S:
        assert {kind: counts.of(kind) for kind, least in LEAST.items() if counts.of(kind) < least} == {}
