"""perf.peers.questions and ticks: everybody answers the same, and the table says who is how far behind, or wrong."""

from typing import Any

import pytest

from perf.peers import questions, ticks
from perf.peers.conduct import ROOT
from perf.peers.contest import OURS, REFERENCE, Contest, is_right
from perf.peers.questions import CONTEST, QUESTIONS

PEERS_PYTHON = ROOT / ".venv-peers/bin/python"


@pytest.mark.parametrize("who", [OURS, "pandas"])
def test_answers_are_those_of_numpy(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To every question, where the last bar is not full."""
    monkeypatch.setattr(questions, "ROLLED", 60)
    found, expected = (CONTEST.measure(one, 5_300, "series", enough_s=1e-9) for one in (who, REFERENCE))
    assert list(found) == list(expected) == list(QUESTIONS)
    assert [question for question in found if not is_right(found[question][1], expected[question][1])] == []


def test_the_table_says_how_far_behind_and_what_is_wrong() -> None:
    """Times that of hft-mmap, and a mark at an answer that is not numpy's."""
    right = dict.fromkeys(QUESTIONS, (2e-06, (1.0,)))
    found = {OURS: right, REFERENCE: right, "other": right | {"median": (1e-2, (1.1,))}}
    lines = list(CONTEST.table(found))
    assert lines[0] == "| question | hft-mmap | numpy | other |"
    assert lines[4].endswith("| 2 us | 2 us (1x) | 10 ms (5e+03x, wrong) |")
    assert sum("wrong" in line for line in lines) == 1


def test_of_ticks_hft_mmap_answers_as_numpy_does() -> None:
    """Windows by time, VWAP, candles and prices as of fills."""
    found, expected = (ticks.CONTEST.measure(one, 5_300, "day", enough_s=1e-9) for one in (OURS, REFERENCE))
    assert list(found) == list(expected) == list(ticks.QUESTIONS)
    assert [question for question in found if not is_right(found[question][1], expected[question][1])] == []


def test_who_is_not_there_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A store whose program is missing says which, and how it is had."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert ticks.CONTEST.main(["--points", "5300", "--who", "questdb"]) == 0
    assert "openjdk-17-jre-headless" in capsys.readouterr().out


@pytest.mark.peers
@pytest.mark.parametrize(("contest", "last"), [(questions.CONTEST, "duckdb"), (ticks.CONTEST, "chdb")])
def test_every_peer_answers_as_numpy_does(
    contest: Contest[Any], last: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """The whole comparison on little data, in .venv-peers."""
    if not PEERS_PYTHON.exists():
        pytest.skip("there is no .venv-peers; make test-peers makes it")
    assert contest.main(["--points", "20000"]) == 0
    printed = capsys.readouterr().out
    assert last in printed
    assert "wrong" not in printed
