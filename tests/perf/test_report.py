"""perf.report, perf.steps, perf.plots: the documents say what the results say, and own up to what is missing."""

import tomllib
from pathlib import Path

import pytest

from perf import catalogue, figures, plots, report, steps
from perf.experiments import EXPERIMENTS
from perf.peers.results import Run
from perf.record import Benchmark, benchmark
from perf.targets import TARGETS
from tests.perf.test_peers import run_of

NAMES = {case.name for case in catalogue.everything()}
SOURCE = report.Source(Path("2026-01-01_now.json"), Path("2025-12-31_before.json"))


def results(**changes: float) -> dict[str, Benchmark]:
    """Return a result that holds every time of the documents: 1 us each, unless `changes` says otherwise."""
    names = {*report.SHOWN, *steps.needs(), *plots.needs()}
    values = dict.fromkeys(names, 1e-6) | {name.replace("__", "."): value for name, value in changes.items()}
    environment = {"env_commit": "0123456789ab", "env_os": "an OS", "env_cpu": "a processor"}
    return {name: benchmark(name, [[value]] * 3, metadata=environment) for name, value in values.items()}


@pytest.fixture
def peers() -> Run:
    """Return a run beside other stores that was never made."""
    return run_of()


def test_every_case_that_the_documents_take_exists() -> None:
    """A case that is renamed must be renamed here, or it would quietly be left out."""
    prefixes = tuple(one.prefix for one in EXPERIMENTS)
    for name in (*report.SHOWN, *steps.needs(), *plots.needs()):
        assert name in NAMES or name.startswith(prefixes), name


def test_every_finding_has_its_action_state_and_gain() -> None:
    """A list of actions without gains is a list of opinions."""
    for finding in tomllib.loads(report.FINDINGS.read_text(encoding="utf-8"))["finding"]:
        assert {"profile", "found", "action", "state"} <= finding.keys()
        assert finding["state"] in {"done", "rejected", "next"}
        measured = {finding.get("before"), finding.get("after")} <= NAMES
        assert measured or finding["gain"], finding


def test_the_change_against_the_baseline_is_worked_out(peers: Run) -> None:
    """Half the time is -50 %."""
    case = "store.append[points=10]"
    now, before = results(), results()
    before[case] = benchmark(case, [[2e-6]], metadata={"env_commit": "ba5e11e"})
    text = report.report(now, before, peers, SOURCE, [])
    assert "(2025-12-31_before.json) |" in text
    assert f"| `{case}` | 1.00 us | 1.00 us |  | 2.00 us | -50% |" in text


def test_a_figure_that_was_not_measured_is_told_as_missed(peers: Run) -> None:
    """Silence about a promise would read as a promise kept."""
    text = report.report(results(), {}, peers, SOURCE, [])
    assert "figures are met" in text
    for target in TARGETS:
        if "not measured" in figures.read(target, results()).text:
            assert target.title.split(",")[0].split(" of /")[0][:40] in " ".join(text.split())


def test_the_factor_of_a_step_is_over_the_step_before_and_over_the_first() -> None:
    """Two steps of 10x are 100x together."""
    ladder = next(one for one in steps.LADDERS if len(one.steps) == 3)
    taken = {
        step.benchmark: benchmark(step.benchmark, [[seconds]])
        for step, seconds in zip(ladder.steps, (1e-3, 1e-4, 1e-5), strict=True)
    }
    assert [(row[3], row[4]) for row in steps.rows(taken)] == [("", ""), ("10x", "10x"), ("10x", "100x")]


def test_the_highlights_name_what_a_window_takes(peers: Run) -> None:
    """The headline is the middle of what was measured."""
    text = " ".join(report.highlights(results(), peers, SOURCE, []).split())
    assert "take 1.00 us, of the newest 100,000,000 1.00 us: 1.0e+14 points a second" in text
