"""perf.report, perf.steps, perf.plots: the documents say what the results say, and own up to what is missing."""

import re
import tomllib
from pathlib import Path

import pytest

from perf import catalogue, figures, history, plots, profiling, report, steps, tables
from perf.experiments import EXPERIMENTS, calls
from perf.lab import ROOT
from perf.peers import report as peers_report
from perf.peers.results import Run
from perf.record import Benchmark, benchmark
from perf.section import README
from perf.targets import TARGETS
from tests.perf.test_peers import run_of

NAMES = {case.name for case in catalogue.everything()}
SOURCE = report.Source(Path("2026-01-01_now.json"), Path("2025-12-31_before.json"), Path("2026-01-01_peers.json"))


def results(**changes: float) -> dict[str, Benchmark]:
    """Return a result that holds every time of the documents: 1 us each, unless `changes` says otherwise."""
    names = {*tables.SHOWN, *steps.needs(), *plots.needs()}
    values = dict.fromkeys(names, 1e-6) | {name.replace("__", "."): value for name, value in changes.items()}
    environment = {"env_commit": "0123456789ab", "env_os": "an OS", "env_cpu": "a processor"}
    return {name: benchmark(name, [[value]] * 3, metadata=environment) for name, value in values.items()}


def test_every_file_that_the_findings_name_exists() -> None:
    """A file that moves must be named anew, or a reader of the report looks for it in vain."""
    named = re.findall(r"\b(?:api|hft_mmap|perf|systemd)/[\w/@.-]+\.\w+", report.FINDINGS.read_text(encoding="utf-8"))
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.fixture
def peers() -> Run:
    """Return a run beside other stores that was never made."""
    return run_of()


def test_every_case_that_the_documents_take_exists() -> None:
    """A case that is renamed must be renamed here, or it would quietly be left out."""
    prefixes = tuple(one.prefix for one in EXPERIMENTS)
    for name in (*tables.SHOWN, *steps.needs(), *plots.needs()):
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
    text = report.report(now, before, peers, SOURCE)
    assert "(2025-12-31_before.json) |" in text
    assert f"| `{case}` | 3 | 1.00 us | 2.00 us | -50% | - | - | - | - | - |" in text


def test_a_p95_is_that_of_calls_that_were_timed_one_by_one() -> None:
    """The slowest of some means is no p95."""
    case = "store.append[points=10]"
    now = {name: benchmark(name, [[1e-6], [9e-6]]) for name in (case, "process.first_answer[stored=1e8]")}
    assert tables.call_p95(now, case) is None
    assert tables.call_p95(now, "process.first_answer[stored=1e8]") == 9e-6
    now[calls.label(case, 95)] = benchmark(calls.label(case, 95), [[3e-6]])
    assert tables.call_p95(now, case) == 3e-6


def test_the_baseline_is_the_report_before_unless_another_is_named(tmp_path: Path) -> None:
    """A report that is compared with nothing shows no way it went."""
    for name in ("2026-01-01_report.json", "2026-01-03_report.json", "2026-01-02_figures.json"):
        (tmp_path / name).touch()
    assert history.previous(tmp_path / "2026-01-03_report.json") == tmp_path / "2026-01-01_report.json"
    assert history.previous(tmp_path / "2026-01-01_report.json") is None


def test_what_differs_from_the_baseline_is_told(peers: Run) -> None:
    """Another processor explains more than any change of ours."""
    case = "store.append[points=10]"
    before = {case: benchmark(case, [[2e-6]], metadata={"env_commit": "ba5e11e", "env_cpu": "an older one"})}
    text = report.report(results(), before, peers, SOURCE)
    assert "- cpu: an older one before, now a processor\n- commit: ba5e11e before, now 0123456789ab\n" in text
    assert "| baseline | ba5e11e (2025-12-31_before.json) |" in text


def test_the_kept_documents_are_those_of_the_kept_results() -> None:
    """Nobody has typed a figure into them, and whoever changes how they are written has written them anew."""
    text = report.REPORT.read_text(encoding="utf-8")
    source = report.Source.named_in(text)
    for document, found in source.documents().items():
        assert document.read_text(encoding="utf-8") == found, f"{document}: run python -m perf.report --from report"


def test_the_kept_figures_and_the_kept_comparison_are_those_of_their_results() -> None:
    """The same for the table of perf/README.md and for perf/peers/REPORT.md; each names what it was made of."""
    readme = README.read_text(encoding="utf-8")
    taken = re.search(r"^Taken on \S+ \((\S+\.json)\):$", readme, re.MULTILINE)
    assert taken is not None
    table = figures.table(history.load(history.RESULTS / taken[1]), taken[1])
    assert figures.README.replaced(table, readme) == readme, "run python -m perf.figures --from LABEL"

    text = peers_report.REPORT.read_text(encoding="utf-8")
    made = re.search(r"^Generated by `make peers` on (\S+) at", text, re.MULTILINE)
    assert made is not None
    peers = Run.load(history.RESULTS / f"{made[1]}_peers.json")
    assert text == peers_report.text(peers, peers_report.HERE / "latency.png"), "run python -m perf.peers.report FILE"


def test_no_finding_has_a_figure_of_its_own() -> None:
    """What nobody measures again is what nobody can trust."""
    for finding in tomllib.loads(report.FINDINGS.read_text(encoding="utf-8"))["finding"]:
        said = " ".join(finding.get(key, "") for key in ("found", "action", "gain"))
        assert not re.search(r"\d ?(%|us|ms|ns|x)\b|\d\.\d|\d %", said), said


def test_plots_are_drawn_of_what_a_result_holds(tmp_path: Path) -> None:
    """Both, as files that a document can show; a result without their points leaves those that there are."""
    pytest.importorskip("matplotlib", reason="make report installs matplotlib")
    drawn = plots.draw_all(results(), tmp_path)
    assert [file.stem for file in drawn] == list(plots.TITLES)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in drawn)
    assert plots.draw_all({}, tmp_path / "none") == []


def test_lines_of_the_plots_have_many_points_and_a_rescan() -> None:
    """Two points make every law a straight line."""
    for lines in (plots.against_stored(), plots.against_window()):
        assert any(title.startswith("numpy") for title, _ in lines)
        assert all(len(points) >= 5 for _, points in lines)


def test_the_top_of_the_stacks_is_counted() -> None:
    """Functions by name and file, whatever called them."""
    stacks = (
        "main (api/app.py:3);send (api/cycle.py:10) 3\nsend (/srv/api/cycle.py:12) 2\nmain (api/app.py:3);__write 4\n"
    )
    assert profiling.count_tops(stacks) == {"send (cycle.py)": 5, "__write": 4}


def test_a_figure_that_was_not_measured_is_told_as_missed(peers: Run) -> None:
    """Silence about a promise would read as a promise kept."""
    text = report.report(results(), {}, peers, SOURCE)
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
    text = " ".join(report.highlights(results(), peers, SOURCE).split())
    assert "take 1.00 us, of the newest 100,000,000 1.00 us: 1.0e+14 points a second" in text
