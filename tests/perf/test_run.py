"""python -m perf: each result carries the circumstances it was taken in, and the run says how far it is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perf import catalogue, environment, history, profiling, servers, settings
from perf.experiment import Effort, Experiment
from perf.experiments import EXPERIMENTS
from perf.lab import DIRECTORY_VARIABLE, ROOT, Lab
from perf.progress import Progress, clock
from perf.record import Benchmark, benchmark, values_of

WRITING = ("append", "add_batch", "ingest", "growth", "import.", "open", "restart", "dashboard")


def run_perf(tmp_path: Path, *options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the benchmarks that the options name, as little of each as pyperf allows."""
    least = ("-p", "1", "-n", "1", "-w", "0", "-l", "1", "-o", str(tmp_path / "result.json"))
    own = {DIRECTORY_VARIABLE: str(tmp_path / "lab"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "perf", *least, *options], cwd=ROOT, env={**os.environ, **own, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_kept_result_says_effort_load_settings_and_build(tmp_path: Path) -> None:
    """So that nobody takes three rough values of a busy machine for more than that."""
    only = ("--only", "store.append[points=10]", "--only", "accuracy")
    done = run_perf(tmp_path, "--fast", *only, APP_AUTH__TOKENS="secret", APP_LOG__LEVEL="error")
    assert done.returncode == 0, done.stderr
    for bench in history.load(tmp_path / "result.json").values():
        metadata = bench.get_metadata()
        assert metadata["env_effort"] == "fast"
        assert metadata["env_settings"] == "APP_AUTH__TOKENS=(not shown) APP_LOG__LEVEL=error"
        assert metadata["env_python"].endswith(environment.python_build())
        assert metadata["load_start"] >= 0
        assert metadata["load_end"] >= 0
        assert metadata["durability"] == "process"
        assert f"n={len(values_of(bench))}, process, fast, load " in done.stdout
    assert "[2/2] " in done.stderr
    assert " left: accuracy" in done.stderr


def test_an_experiment_that_fails_is_told_and_takes_no_other_with_it(tmp_path: Path) -> None:
    """Twenty-five minutes are not lost because the last scenario found no memory."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "import-100000000.csv").write_text("no prices\n")
    done = run_perf(tmp_path, "--fast", "--only", "import.csv", "--only", "accuracy")
    assert done.returncode == 1
    assert "perf: FAILED: import.csv: ValueError: " in done.stderr
    assert "too small to have 100,000,000 rows" in done.stderr
    assert "accuracy.avg[points=1e6]" in history.load(tmp_path / "result.json")


def test_a_saved_result_is_kept_once_a_day_and_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It can be found by its label, and nothing is written over."""
    options = ("-p", "1", "-n", "1", "-w", "0", "-l", "1", "--only", "decode.batch[values=10]")
    assert history.save("mine", options, tmp_path) == 0
    file = history.find("mine", tmp_path)
    assert f"kept in {file}" in capsys.readouterr().out
    assert list(history.load(file)) == ["decode.batch[values=10]"]
    with pytest.raises(history.HistoryError, match="exists: give another label"):
        history.save("mine", options, tmp_path)
    assert history.save("nothing", ("--only", "no such case"), tmp_path) == 2
    assert "nothing was kept" in capsys.readouterr().out


def test_variables_reach_the_code_that_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A benchmark of the defaults that was asked for something else would be a wrong answer."""
    monkeypatch.setenv("APP_SERVER__MAX_BATCH_VALUES", "5")
    monkeypatch.setenv("APP_STORE__DURABILITY", "sync")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("[server]\nmax_batch_values = 7\n")
    assert settings.settings().server.max_batch_values == 5
    with pytest.raises(AssertionError, match=r"at most 5|max_batch_values"):
        catalogue.find("http_app.add_batch[values=10]").prepare(Lab(tmp_path / "lab")).__enter__()
    with servers.service(tmp_path, tmp_path / "data", {"store.durability": "process"}) as server:
        variables = Path(f"/proc/{server.process.pid}/environ").read_bytes().split(b"\0")
    assert b"APP_SERVER__MAX_BATCH_VALUES=5" in variables
    assert b"APP_STORE__DURABILITY=process" in variables


def test_every_case_that_writes_says_with_which_durability() -> None:
    """The tiers differ by a factor of a hundred."""
    for case in catalogue.everything():
        if any(word in case.name for word in WRITING) and case.suite != "naive":
            assert "durability" in case.metadata or "tree" in case.name, case.name
    for one in EXPERIMENTS:
        if any(word in one.prefix for word in WRITING):
            assert one.durability or "durability=" in one.prefix or one.prefix.startswith("latency"), one.prefix


def test_an_experiment_stamps_the_tier_and_takes_no_more_rounds_than_it_has_a_use_for(tmp_path: Path) -> None:
    """The tier that a benchmark has of its own stays."""

    def run(_lab: Lab, effort: Effort) -> Iterator[Benchmark]:
        yield benchmark("a.b", [[1.0]] * effort.rounds)
        yield benchmark("a.c", [[1.0]], metadata={"durability": "sync"})

    experiment = Experiment("a", run, "process", setup_s=10.0, round_s=1.0, loads=2, most_rounds=3)
    first, second = experiment.measure(Lab(tmp_path), Effort(5, 2.0))
    assert first.get_metadata()["durability"] == "process"
    assert len(values_of(first)) == 3
    assert second.get_metadata()["durability"] == "sync"
    assert experiment.expected_s(Effort(5, 2.0)) == 10 + 3 * (1 + 2 * 2)


def test_progress_counts_down_what_was_expected() -> None:
    """Until enough is done to know the pace, the estimate is what counts."""
    progress = Progress({"a": 100.0, "b": 50.0})
    assert progress.begin("a") == "[1/2] 0:00 gone, about 2:30 left: a"
    progress.end("a")
    assert (
        progress.begin("b") == "[2/2] 0:00 gone, about 0:25 left: b"
    )  # far quicker than expected: half of it at least
    assert clock(187.2) == "3:07"


def test_a_profiler_that_fails_is_no_profile(tmp_path: Path) -> None:
    """An empty flame graph would be taken for an answer."""
    with servers.running(servers.BARE, tmp_path) as server, pytest.raises(profiling.ProfilerFailed, match="code 3"):
        profiling._attached(["/bin/sh", "-c", "exit 3"], server, "bare", 0.05, limits_itself=True)
