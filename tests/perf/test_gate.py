"""perf.gate, perf.revision, perf.duel: exit codes, and what is laid out and measured, with real processes."""

import re
import signal
import subprocess
from pathlib import Path
from time import monotonic

import pytest

from perf import catalogue, duel, gate, proof, revision
from perf.duel import DuelError, Side, fight, p95, workers
from perf.gate import OutOfTimeError, Plan
from perf.lab import ROOT, Lab

CASE = "kernels.validate[points=1000]"
ONE_ROUND = Plan(rounds=1)


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes run the kernels as plain Python: compiling them takes longer than everything here."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the present packages, laid out as the gate lays them out."""
    return revision.lay_out_present(tmp_path_factory.mktemp("gate") / "present")


def git(directory: Path, *args: str) -> str:
    """Run git in a repository of the test's own."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["/usr/bin/env", "git", *identity, *args], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_reference_that_does_not_exist_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped name or a shallow clone must not pass for a verdict; a first commit is passed when that is said."""
    assert gate.main(["--against", "no-such-revision"]) == gate.NOT_MEASURED
    assert "there is no revision no-such-revision here" in capsys.readouterr().out
    assert gate.main(["--against", "no-such-revision", "--allow-missing"]) == gate.OK


def test_without_git_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing to ask is not the same as nothing to find."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gate.main(["--against", "HEAD~1"]) == gate.NOT_MEASURED


def test_whatever_goes_wrong_is_not_a_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 is for a case that is slower; here it is the directory of the data that cannot be made."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HFT_PERF_DIR", str(tmp_path / "file" / "lab"))
    monkeypatch.setattr(revision, "same_packages", lambda _commit: False)
    assert gate.main(["--against", "HEAD"]) == gate.NOT_MEASURED
    assert "could not measure: NotADirectoryError" in capsys.readouterr().out


def commits(directory: Path, *texts: str) -> list[str]:
    """Make a repository whose commits hold these texts in both packages; return the commits, oldest first."""
    git(directory, "init", "--quiet")
    made = []
    for number, text in enumerate(texts):
        for package in revision.PACKAGES:
            (directory / package).mkdir(exist_ok=True)
            (directory / package / "__init__.py").write_text(text)
        (directory / "README.md").write_text(str(number))
        git(directory, "add", ".")
        git(directory, "commit", "--quiet", "--message", str(number))
        made.append(git(directory, "rev-parse", "HEAD"))
    return made


def test_commits_of_documents_do_not_hide_what_is_below_them(tmp_path: Path) -> None:
    """The newest commit with other packages is the other side, if it is near enough."""
    made = commits(tmp_path, "'old'", "'new'", "'new'", "'new'")
    assert revision.newest_that_differs("HEAD~1", 20, tmp_path) == made[0]
    assert revision.newest_that_differs("HEAD~1", 1, tmp_path) is None


def test_a_shallow_clone_cannot_say_that_nothing_changed(tmp_path: Path) -> None:
    """What is below its end may differ."""
    (tmp_path / "full").mkdir()
    commits(tmp_path / "full", "'old'", "'new'", "'new'", "'new'")
    git(tmp_path, "clone", "--quiet", "--depth", "2", f"file://{tmp_path / 'full'}", "shallow")
    with pytest.raises(LookupError, match="shallow and ends 2 commits back"):
        revision.newest_that_differs("HEAD", 20, tmp_path / "shallow")


def test_other_libraries_are_said(tmp_path: Path) -> None:
    """Both sides run on what is installed, so a change of the lock file is not in the comparison."""
    (tmp_path / revision.LOCK).write_text("numpy==1\n")
    commits(tmp_path, "''")
    assert revision.same_libraries("HEAD", tmp_path)
    (tmp_path / revision.LOCK).write_text("numpy==2\n")
    assert not revision.same_libraries("HEAD", tmp_path)


def test_a_revision_without_the_packages_is_told_apart(tmp_path: Path) -> None:
    """The first commits of a project hold no code yet."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "first")
    first = revision.resolve("HEAD", tmp_path)
    assert first is not None
    assert not revision.holds_packages(first, tmp_path)
    for package in revision.PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "second")
    assert revision.holds_packages("HEAD", tmp_path)
    assert revision.resolve("HEAD~2", tmp_path) is None


def test_unchanged_packages_need_not_be_measured(tmp_path: Path) -> None:
    """A commit that only changes documents costs no minutes; a changed or a new file of a package does."""
    git(tmp_path, "init", "--quiet")
    for package in revision.PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text('"""Old."""\n')
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "old")
    (tmp_path / "README.md").touch()
    assert revision.same_packages("HEAD", tmp_path)
    new = tmp_path / "api" / "new.py"
    new.touch()
    assert not revision.same_packages("HEAD", tmp_path)
    new.unlink()
    (tmp_path / "api" / "__init__.py").write_text('"""New."""\n')
    assert not revision.same_packages("HEAD", tmp_path)


def test_a_commit_is_laid_out_with_its_own_packages_and_the_present_benchmarks(tmp_path: Path) -> None:
    """What is compared is the code, not the way it is measured."""
    git(tmp_path, "init", "--quiet")
    for package in revision.PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f'"""Old {package}."""\n')
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "old")
    laid_out = revision.lay_out("HEAD", tmp_path / "out", tmp_path)
    assert (laid_out / "hft_mmap" / "__init__.py").read_text() == '"""Old hft_mmap."""\n'
    assert (laid_out / "perf" / "gate.py").read_bytes() == (ROOT / "perf" / "gate.py").read_bytes()


def test_a_side_that_does_not_start_is_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 is for a person to look at; it must not pass for a verdict."""
    broken = revision.lay_out_present(tmp_path / "broken")
    (broken / "hft_mmap" / "__init__.py").write_text("raise RuntimeError('broken on purpose')\n")
    side = Side("after", broken)
    assert gate.run([side, side], [CASE], ONE_ROUND) == gate.NOT_MEASURED
    assert "could not measure: after: RuntimeError: broken on purpose" in capsys.readouterr().out


def test_both_sides_are_measured_and_the_verdict_printed(present: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One round proves nothing, so it can only pass."""
    sides = [Side("before", present), Side("after", present)]
    assert gate.run(sides, [CASE], ONE_ROUND) == gate.OK
    said = capsys.readouterr().out
    assert CASE in said
    assert "1 cases compared" in said


def test_a_case_that_the_older_revision_lacks_is_named_and_left_out(present: Path, tmp_path: Path) -> None:
    """A new interface has nothing to be slower than; the other cases are compared all the same."""
    older = revision.lay_out_present(tmp_path / "older")
    (older / "api" / "body" / "decode.py").unlink()
    sides = [Side("before", older), Side("after", present)]
    verdicts, missing = gate.compare(sides, ["decode.batch[values=10]", CASE], ONE_ROUND)
    assert [one.case for one in verdicts] == [CASE]
    assert "No module named 'api.body.decode'" in missing["decode.batch[values=10]"]


def test_a_case_that_fails_in_the_newer_revision_is_an_error(present: Path, tmp_path: Path) -> None:
    """Only the older side may lack something."""
    newer = revision.lay_out_present(tmp_path / "newer")
    (newer / "api" / "body" / "decode.py").unlink()
    with pytest.raises(DuelError, match=r"after: ModuleNotFoundError: No module named 'api\.body\.decode'"):
        gate.compare([Side("before", present), Side("after", newer)], ["decode.batch[values=10]"], ONE_ROUND)


def test_an_older_revision_that_fails_is_no_new_case(present: Path, tmp_path: Path) -> None:
    """Only what it has not got makes a case new; a fault would drop the case from the comparison for ever."""
    older = revision.lay_out_present(tmp_path / "older")
    with (older / "api" / "body" / "decode.py").open("a") as source:
        source.write("\n\ndef _fail(*_args): raise ValueError('a fault')\nDecoder.__init__ = _fail\n")
    sides = [Side("before", older), Side("after", present)]
    with pytest.raises(DuelError, match="before: ValueError: a fault"):
        gate.compare(sides, ["decode.batch[values=10]"], ONE_ROUND)


def test_a_process_that_dies_is_a_reason_and_not_a_crash(present: Path) -> None:
    """Its pipe is broken when the next question is asked."""
    with workers([Side("present", present)], core=None) as pair:
        pair[0].process.kill()
        pair[0].process.wait()
        with pytest.raises(DuelError, match="present: its process ended with code -9"):
            pair[0].ask(do="hello")


def test_a_process_that_never_answers_is_not_waited_for(present: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the gate would hang for ever."""
    with workers([Side("present", present)], core=None) as pair:
        pair[0].process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(duel, "PATIENCE_S", 0.1)
        with pytest.raises(DuelError, match=r"present: no answer within 0\.1 s"):
            pair[0].ask(do="hello")


def test_what_was_not_measured_in_time_is_named(present: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half a comparison is none."""
    sides = [Side("before", present), Side("after", present)]
    with pytest.raises(OutOfTimeError, match=rf"in round 1 of 3; not measured in full: {re.escape(CASE)}"):
        gate.measure(sides, [CASE], 3, deadline=monotonic())
    assert gate.run(sides, [CASE], Plan(budget_s=0.0)) == gate.NOT_MEASURED
    assert "the time was up" in capsys.readouterr().out


@pytest.mark.gate_proof  # its outcome depends on how quiet the machine is
def test_a_case_that_is_slower_ends_the_gate_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: two copies, one call made to take twice its time, measured twice, and named."""
    monkeypatch.setattr(proof, "PAIRS", 1)
    lab = Lab(tmp_path)
    plan = Plan(rounds=4, rounds_again=6)
    case = "decode.batch[values=1e4]"
    trial = proof.attempt(lab, case, [case], plan, share=1.0)
    assert trial.exit_code == gate.SLOWER, trial.said
    assert trial.is_right
    assert trial.slower_by == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize(
    ("each_s", "left_s", "runs", "expected"), [(5.0, 1000.0, 10, 20), (5.0, 1000.0, 5, 26), (5.0, -3.0, 2, 1)]
)
def test_a_run_takes_as_many_cases_as_there_is_time_for(each_s: float, left_s: float, runs: int, expected: int) -> None:
    """Fewer cases, never fewer rounds; and one at least, or a run would prove nothing."""
    assert proof.fitting(26, each_s, left_s, runs) == expected


def test_all_cases_have_their_turns_in_the_proof() -> None:
    """The next run goes on behind the last one, around the end."""
    assert proof.turn(["a", "b", "c"], 0, 2) == ["a", "b"]
    assert proof.turn(["a", "b", "c"], 2, 2) == ["c", "a"]


def test_the_readme_says_what_the_proof_found() -> None:
    """Runs, cases, exit codes, wrong answers, and how busy the machine was."""
    right: dict[str, object] = {
        "slowed": None,
        "slower_by": 0.0,
        "exit_code": 0,
        "seconds": 60.0,
        "cases": 12,
        "said": [],
    }
    wrong = {**right, "slowed": "store.open[stored=10]", "slower_by": 0.2, "said": ["ok      store.open[stored=10]"]}
    found = {"date": "2026-01-02", "environment": {"env_cpu": "x"}, "load": [0.1, 1.5], "trials": [right, wrong]}
    text = proof.section(found)
    assert "1 wrong answers in 2 runs of the gate on 2026-01-02, 2 minutes of them (load average 0.10" in text
    assert "| identical code, run 1 | 12 | 0 | no alarm | 60 s | right |" in text
    assert "| `store.open[stored=10]` made 20.0% slower | 12 | 0 | no alarm | 60 s | **WRONG** |" in text
    assert "| cpu | x |" in text


@pytest.mark.gate_proof
@pytest.mark.parametrize("case", proof.INJECTIONS)
def test_a_fifth_slower_is_caught(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At full size, with compiled kernels, on a machine that has nothing else to do."""
    monkeypatch.delenv("NUMBA_DISABLE_JIT")
    trial = proof.attempt(Lab(tmp_path), case, list(proof.INJECTIONS), Plan())
    assert trial.slower_by == pytest.approx(proof.SHARE, abs=0.03)
    assert trial.exit_code == gate.SLOWER, trial.said
    assert trial.is_right


def test_a_process_measures_the_packages_of_its_own_side_only(present: Path, tmp_path: Path) -> None:
    """Anything else would compare a revision with itself and find nothing."""
    elsewhere = Side("elsewhere", revision.lay_out_present(tmp_path / "elsewhere"))
    (elsewhere.directory / "hft_mmap").rename(tmp_path / "hidden")
    with workers([elsewhere], core=None) as pair, pytest.raises(DuelError, match=r"hft_mmap\S* would come from"):
        pair[0].ask(do="prepare", case=CASE)
    with workers([Side("present", present)], core=None) as pair:
        assert pair[0].ask(do="hello") == "hello"


def test_a_fight_gives_one_p95_for_each_side(present: Path) -> None:
    """Both are times of one operation, in seconds, and the ratio is that of neighbours."""
    side = Side("present", present)
    with workers([side, side], core=None) as pair:
        found = fight(pair, CASE, first=0)
    assert found.before_s > 0
    assert found.after_s > 0
    assert found.ratio > 0


def test_p95_is_a_sample_that_was_taken() -> None:
    """Nineteen of twenty samples do not exceed it."""
    assert p95([float(one) for one in range(20)]) == 18.0
    assert p95([1.0]) == 1.0


def test_there_are_guarded_cases_of_the_store_the_body_and_the_service() -> None:
    """A gate that guards nothing passes everything."""
    suites = {case.suite for case in catalogue.everything() if case.guarded}
    assert suites == {"kernels", "store", "reading", "answers", "decode", "protocol", "http_app", "symbols", "ticks"}
