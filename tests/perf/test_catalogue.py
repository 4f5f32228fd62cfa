"""perf.case, perf.catalogue, and every suite: names, and that each guarded case really runs."""

import pytest

from perf import catalogue
from perf.case import name, short
from perf.experiments import EXPERIMENTS
from perf.lab import Lab
from perf.suites import ticks
from perf.suites.http_app import scope

GUARDED = [case.name for case in catalogue.everything() if case.guarded]


def test_names_are_unique_and_say_suite_case_and_parameters() -> None:
    """They are the keys of every result that is kept."""
    names = [case.name for case in catalogue.everything()]
    assert len(names) == len(set(names))
    assert all(one.partition(".")[0] in catalogue.SUITES for one in names)


@pytest.mark.parametrize(("number", "text"), [(10, "10"), (1000, "1000"), (10_000, "1e4"), (10**8, "1e8"), (12, "12")])
def test_large_powers_of_ten_are_short(number: int, text: str) -> None:
    """Eight zeros are misread."""
    assert short(number) == text


def test_a_name_without_parameters_has_no_brackets() -> None:
    """So that it is also the prefix of nothing else."""
    assert name("store", "open") == "store.open"
    assert name("store", "append", points=10, durability="sync") == "store.append[points=10,durability=sync]"


def test_patterns_are_beginnings_or_shell_patterns() -> None:
    """Brackets are part of names, not of patterns."""
    assert catalogue.matches("store.append[points=10]", ["store.append[points=10]"])
    assert catalogue.matches("store.append[points=10]", ["store.app"])
    assert catalogue.matches("store.append[points=10]", ["*points=10*"])
    assert catalogue.matches("store.append[points=10]", [])
    assert not catalogue.matches("store.append[points=10]", ["append", "store.open"])


def test_experiments_are_asked_for_by_a_beginning_or_by_one_of_their_benchmarks() -> None:
    """One that shares its set-up with others runs when any of them is wanted."""
    asked = [one.prefix for one in EXPERIMENTS if one.is_asked(["throughput.stats[exponent=5,cores=one,what=share]"])]
    assert asked == ["throughput.stats[exponent=5"]
    assert {one.prefix.partition(".")[0] for one in EXPERIMENTS if one.is_asked(["latency"])} == {"latency"}


@pytest.mark.parametrize("case", GUARDED)
def test_every_guarded_case_runs(case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Once; how long that takes is nobody's business here."""
    lab = Lab(tmp_path_factory.getbasetemp() / "lab")
    with catalogue.find(case).prepare(lab) as run:
        assert run(2) > 0.0


@pytest.mark.parametrize("case", [case.name for case in ticks.cases() if "1e5" in case.name])
def test_every_case_of_ticks_runs(case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Those of a hundred thousand; none is held against a revision that has no times."""
    lab = Lab(tmp_path_factory.getbasetemp() / "lab")
    with catalogue.find(case).prepare(lab) as run:
        assert run(2) > 0.0


def test_the_scope_of_a_request_is_a_new_one_each_time() -> None:
    """The service writes into it."""
    assert scope("GET", "/stats/") is not scope("GET", "/stats/")


def test_an_unknown_case_is_a_key_error() -> None:
    """A worker that was asked for what there is not must not run anything else."""
    with pytest.raises(KeyError):
        catalogue.find("store.no_such_case")
