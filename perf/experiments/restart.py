"""A start and restarts under load by a real systemd, with 1e8 points stored; needs root and the package systemd.

The machine is that of tests/systemd, the data lies on the disk of this one.
"""

import threading
from collections.abc import Iterator
from time import perf_counter

from perf.case import name
from perf.experiment import Effort, Experiment
from perf.lab import SYMBOL, Lab
from perf.record import Benchmark, benchmark
from tests.systemd.clients import load, wait_for_more
from tests.systemd.machine import DATA, SERVICE, Machine, booted, why_not

STORED = 10**8


def _first_answer_s(machine: Machine) -> float:
    """Stop the service, start it, and return how long the first answer took from the call of `systemctl start`."""
    machine.systemctl("stop", SERVICE)
    answered = threading.Event()
    with machine.client() as client:

        def ask() -> None:
            answer = client.get("/stats/", params={"symbol": SYMBOL, "exponent": 8})
            assert answer.status_code == 200, answer.text
            answered.set()

        begin = perf_counter()
        with machine.start("systemctl", "start", SERVICE) as start:
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            taken_s = perf_counter() - begin
            start.communicate()
    assert answered.is_set()
    return taken_s


def _measure(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    if reason := why_not():
        print(f"restart: a systemd of its own {reason}")
        return
    with lab.borrowed(STORED) as data, booted({data: f"/{DATA}"}) as machine:
        machine.run("chown", "-R", "hft-mmap:", f"/{DATA}")
        machine.systemctl("start", "hft-mmap.socket")
        machine.systemctl("start", SERVICE)  # warms up
        starts = [_first_answer_s(machine) for _ in range(effort.rounds)]
        worst = []
        for _ in range(effort.rounds):
            machine.systemctl("reset-failed")
            with load(machine) as pushers:
                machine.systemctl("restart", SERVICE)
                wait_for_more(pushers)
            assert not any(pusher.lost for pusher in pushers), [pusher.lost for pusher in pushers]
            worst.append(max(pusher.longest_s for pusher in pushers))
        machine.systemctl("stop", "hft-mmap.socket", SERVICE)
        machine.run("chown", "-R", "root:", f"/{DATA}")
    yield benchmark(name("restart", "first_answer", points=STORED), [[value] for value in starts])
    yield benchmark(name("restart", "under_load", points=STORED, what="longest_request"), [[one] for one in worst])


EXPERIMENTS = (Experiment("restart.", _measure, "interval", setup_s=40.0, round_s=14.0, most_rounds=3),)
