"""perf.peers.questions: everybody answers the same, and the table says who is how far behind, or wrong."""

import pytest

from perf.peers import questions
from perf.peers.conduct import ROOT
from perf.peers.questions import OURS, QUESTIONS, REFERENCE, is_right, measure, table

PEERS_PYTHON = ROOT / ".venv-peers/bin/python"


@pytest.mark.parametrize("who", [OURS, "pandas"])
def test_answers_are_those_of_numpy(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To every question, where the last bar is not full."""
    monkeypatch.setattr(questions, "_ENOUGH_S", 1e-9)
    monkeypatch.setattr(questions, "ROLLED", 60)
    found, expected = measure(who, 5_300, "series"), measure(REFERENCE, 5_300, "series")
    assert list(found) == list(expected) == list(QUESTIONS)
    assert [question for question in found if not is_right(found[question][1], expected[question][1])] == []


def test_the_table_says_how_far_behind_and_what_is_wrong() -> None:
    """Times that of hft-mmap, and a mark at an answer that is not numpy's."""
    right = dict.fromkeys(QUESTIONS, (2e-06, (1.0,)))
    found = {OURS: right, REFERENCE: right, "other": right | {"median": (1e-2, (1.1,))}}
    lines = list(table(found))
    assert lines[0] == "| question | hft-mmap | numpy | other |"
    assert lines[4].endswith("| 2 us | 2 us (1x) | 10 ms (5e+03x, wrong) |")
    assert sum("wrong" in line for line in lines) == 1


@pytest.mark.peers
def test_every_peer_answers_as_numpy_does(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole comparison on little data, in .venv-peers."""
    if not PEERS_PYTHON.exists():
        pytest.skip("there is no .venv-peers; make test-peers makes it")
    assert questions.main(["--points", "20000"]) == 0
    printed = capsys.readouterr().out
    assert "duckdb" in printed
    assert "wrong" not in printed
