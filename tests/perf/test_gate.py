"""perf.gate, perf.revision, perf.duel: exit codes, and what is laid out and measured, with real processes."""

import subprocess
from pathlib import Path

import pytest

from perf import catalogue, gate, revision
from perf.duel import DuelError, Side, fight, p95, workers
from perf.lab import ROOT

CASE = "kernels.validate[points=1000]"


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


def test_a_reference_that_does_not_exist_is_nothing_to_compare_with(capsys: pytest.CaptureFixture[str]) -> None:
    """A first commit has no parent, and a shallow clone does not have it."""
    assert gate.main(["--against", "no-such-revision"]) == gate.OK
    assert "there is no revision no-such-revision here" in capsys.readouterr().out


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
    assert gate.run([side, side], [CASE], threshold=0.1, rounds=1) == gate.NOT_MEASURED
    assert "could not measure: after: RuntimeError: broken on purpose" in capsys.readouterr().out


def test_both_sides_are_measured_and_the_verdict_printed(present: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One round proves nothing, so it can only pass."""
    sides = [Side("before", present), Side("after", present)]
    assert gate.run(sides, [CASE], threshold=0.1, rounds=1) == gate.OK
    said = capsys.readouterr().out
    assert CASE in said
    assert "1 cases compared" in said


def test_a_case_that_the_older_revision_lacks_is_named_and_left_out(present: Path, tmp_path: Path) -> None:
    """A new interface has nothing to be slower than; the other cases are compared all the same."""
    older = revision.lay_out_present(tmp_path / "older")
    (older / "api" / "decode.py").unlink()
    sides = [Side("before", older), Side("after", present)]
    verdicts, missing = gate.compare(sides, ["decode.batch[values=10]", CASE], threshold=0.1, rounds=1)
    assert [one.case for one in verdicts] == [CASE]
    assert "api.decode would come from" in missing["decode.batch[values=10]"]


def test_a_case_that_fails_in_the_newer_revision_is_an_error(present: Path, tmp_path: Path) -> None:
    """Only the older side may lack something."""
    newer = revision.lay_out_present(tmp_path / "newer")
    (newer / "api" / "decode.py").unlink()
    with pytest.raises(DuelError, match=r"after: ImportError: api\.decode would come from"):
        gate.compare(
            [Side("before", present), Side("after", newer)], ["decode.batch[values=10]"], threshold=1, rounds=1
        )


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
    assert suites == {"kernels", "store", "reading", "decode", "protocol", "http_app"}
