"""perf.experiments.latency and the command line of perf.load: a scenario does what it is named after, or fails."""

import json
from pathlib import Path

import numpy as np
import pytest

from perf import load, servers
from perf.experiment import Effort
from perf.experiments.latency import SCENARIOS, TICKS_A_SECOND, measure
from perf.lab import Lab
from perf.load import Outcome
from perf.record import values_of

BY_LABEL = {one.label: one for one in SCENARIOS}
SHORT = Effort(2, 0.2)
STORED = 20_000


@pytest.mark.parametrize("label", ["mixed_closed_32", "flush"])
def test_a_scenario_yields_percentiles_of_rounds_and_of_all_samples(label: str, tmp_path: Path) -> None:
    """Reads and writes apart, and what happened meanwhile."""
    found = {bench.get_name(): bench for bench in measure(Lab(tmp_path), SHORT, BY_LABEL[label], STORED)}
    for stream in ("stats", "add_batch"):
        by_round = values_of(found[f"latency.{label}[of={stream},p=99.9]"])
        pooled = found[f"latency.{label}[of={stream},p=99.9,rounds=pooled]"]
        worst = found[f"latency.{label}[of={stream},p=worst,rounds=pooled]"]
        assert len(by_round) == SHORT.rounds
        assert min(by_round) <= values_of(pooled)[0] <= max(by_round)
        assert values_of(worst) == [max(values_of(found[f"latency.{label}[of={stream},p=worst]"]))]
        assert pooled.get_metadata()["requests"] > 0
    assert values_of(found[f"latency.{label}[happened=points]"])[0] >= TICKS_A_SECOND * 5 * 0.4
    assert (values_of(found[f"latency.{label}[happened=syncs]"])[0] >= 20) or label != "flush"


def test_a_scenario_in_which_nothing_was_unlinked_is_no_cleanup(tmp_path: Path) -> None:
    """Too short a load fills no chunk: that fails, and gives no figure."""
    with pytest.raises(AssertionError, match=r"latency\.cleanup: 0 (cleanups|chunks_unlinked) in 0\.4 s"):
        list(measure(Lab(tmp_path), SHORT, BY_LABEL["cleanup"], STORED))


def test_every_scenario_asks_for_what_it_is_named_after() -> None:
    """Eight of them and the closed loop with writes."""
    assert BY_LABEL["growth"].must.keys() == {"chunks_made"}
    assert BY_LABEL["cleanup"].must.keys() == {"cleanups", "chunks_unlinked"}
    assert BY_LABEL["flush"].must.keys() == {"syncs"}
    assert {one.label for one in SCENARIOS if "next_door" in one.label and one.must.keys() == {"points"}} == {
        "batches_next_door", "huge_batches_next_door",
    }  # fmt: skip
    closed = BY_LABEL["mixed_closed_32"].streams(1000.0)
    assert [(stream.name, stream.rate) for stream in closed] == [("stats", None), ("add_batch", None)]


def test_rounds_are_pooled_by_their_samples() -> None:
    """The median of two p99s is the p99 of nothing."""
    rounds = [Outcome("a", 100, 1.0, np.full(100, 1e-3)), Outcome("a", 300, 1.0, np.full(300, 9e-3))]
    together = load.pooled(rounds)
    assert (together.answered, together.seconds, together.rate) == (400, 2.0, 200.0)
    assert (together.percentile(24), together.percentile(26)) == (1e-3, 9e-3)


def test_the_command_line_loads_a_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reads, batches made for it, and a body from a file; a wrong answer is a failure."""
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"symbol": "XYZ", "values": [1.5]}))
    with servers.service(tmp_path, tmp_path / "data") as server:
        port, short = str(server.port), ("--seconds", "0.1", "--connections", "2")
        assert load.main([port, "/add_batch/", "--values", "10", "--rate", "100", *short]) == 0
        assert load.main([port, "/add_batch/", "--body", str(body), *short]) == 0
        assert load.main([port, "/stats/?symbol=ABC-USD&exponent=1", *short]) == 0
        said = capsys.readouterr().out
        assert load.main([port, "/stats/?symbol=NONE&exponent=1", *short]) == 1
    assert said.startswith("10 answers in ")
    assert said.count(", worst ") == 3
    assert "load: HTTP/1.1 404" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        load.main([port, "/", "--rate", "0"])
