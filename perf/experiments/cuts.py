"""A producer whose connections are cut at random while its service is killed: every point is stored once, in order."""

from collections.abc import Iterator
from pathlib import Path

from perf.case import name
from perf.experiment import Effort, Experiment
from perf.lab import Lab
from perf.record import Benchmark, benchmark

KILLS = 5


def _measure(lab: Lab, effort: Effort) -> Iterator[Benchmark]:
    from tests.client.test_exactly_once import by_producer, live  # noqa: PLC0415 - pytest, where nothing else needs it

    cuts = 100 if effort.name == "fast" else 1000
    with lab.scratch() as scratch:
        # It compares the stored points with the given ones, one by one, and raises where they are not the same.
        made, points = live(Path(scratch), by_producer, seed=1, cuts=cuts, kills=KILLS)
    metadata = {"kills": KILLS}
    for what, value in (("made", made), ("points", points), ("lost_or_doubled", 0)):
        yield benchmark(name("cuts", "producer", what=what), [[value]], unit="integer", metadata=metadata)


EXPERIMENTS = (Experiment("cuts.", _measure, "interval", setup_s=60.0),)
