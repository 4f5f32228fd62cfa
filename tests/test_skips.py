"""The gate does not pass because a proof was left out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT

SKIPS = """
import pytest

@pytest.mark.skipif(True, reason="needs a tool")
def test_by_mark(): ...

def test_on_the_way():
    pytest.skip("needs another")
"""


def outcome(directory: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Run two tests that skip, and return pytest's exit code and what it said."""
    path = directory / "test_skips.py"
    path.write_text(SKIPS)
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(directory), "-p", "tests.conftest"]
    inherited = {name: value for name, value in os.environ.items() if name != "HFT_TESTS_REQUIRED"}
    done = subprocess.run(
        [*command, str(path)], env=inherited | variables, cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("value", ["", "1"])
def test_a_skip_is_a_failure_where_everything_is_required(tmp_path: Path, value: str) -> None:
    """With HFT_TESTS_REQUIRED a test that would be skipped fails with its reason."""
    code, said = outcome(tmp_path, {"HFT_TESTS_REQUIRED": value})
    assert code == (1 if value else 0)
    assert ("1 failed, 1 error" if value else "2 skipped") in said
    assert ("would be skipped: Skipped: needs another" in said) == bool(value)


def test_what_a_machine_lacks_stops_no_collection(tmp_path: Path) -> None:
    """Where the library that a package loads is missing, its tests are skipped and all others are collected."""
    (tmp_path / "mfusepy.py").write_text("raise OSError('Unable to find libfuse')\n")
    inherited = {name: value for name, value in os.environ.items() if name != "HFT_TESTS_REQUIRED"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/torture"],
        env=inherited | {"PYTHONPATH": str(tmp_path)}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "test_fuse_disk.py" in done.stdout
