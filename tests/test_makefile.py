"""The Makefile: what it finds of an environment is used, unless that can't start any more."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make (Debian package make)")

MADE_ANEW = "-m venv --clear .venv"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with the Makefile, and an environment in which everything is done."""
    folder = tmp_path / "a clone"
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
        os.utime(folder / name, (0, 0))
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    (folder / ".venv/created").write_text(f"{folder.resolve()}\n")
    for name in ("installed", "warm"):
        (folder / ".venv" / name).touch()
    (folder / "hft_mmap").mkdir()
    (folder / "hft_mmap/warm.py").touch()
    os.utime(folder / "hft_mmap/warm.py", (0, 0))
    return folder


def own_variables() -> dict[str, str]:
    """Return the variables of this process, but for those that another make has left."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def would_do(folder: Path) -> str:
    """Return what `make serve` would do in a folder."""
    command = ["make", "--dry-run", "serve"]
    return subprocess.run(command, cwd=folder, env=own_variables(), capture_output=True, text=True, check=True).stdout


def moved(folder: Path) -> Path:
    """Give the folder another name."""
    return folder.rename(folder.with_name("another"))


def without_python(folder: Path) -> Path:
    """Leave a link to a Python that is gone."""
    (folder / ".venv/bin/python").unlink()
    (folder / ".venv/bin/python").symlink_to("/usr/bin/python3.1")
    return folder


def linked(folder: Path) -> Path:
    """Go there by a link."""
    link = folder.with_name("link")
    link.symlink_to(folder)
    return link


def of_an_older_release(folder: Path) -> Path:
    """Leave the stamp empty, as it was once."""
    (folder / ".venv/created").write_text("")
    os.utime(folder / ".venv/created", (0, 0))
    return folder


@pytest.mark.parametrize(
    ("version", "told"),
    [("(3, 10, 9)", "is not Python 3.11 or newer"), ("(3, 14, 0)", "not every dependency has a package")],
)
def test_a_python_that_will_not_do_is_told_before_anything_is_made(tmp_path: Path, version: str, told: str) -> None:
    """With the versions that will, and how to name one."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / "python"
    as_if = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    python.write_text(f"""#!/bin/sh\nexec {sys.executable} -c '{as_if}' "$2"\n""")
    python.chmod(0o755)
    command = ["make", f"PYTHON={python}", ".venv/created"]
    done = subprocess.run(command, cwd=tmp_path, env=own_variables(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"make: {'for the Python of ' if '14' in version else ''}{python} {told}; name one" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("change", "anew"), [(moved, True), (without_python, True), (linked, False), (of_an_older_release, False)]
)
def test_an_environment_that_starts_no_more_is_made_anew(
    place: Path, change: Callable[[Path], Path], *, anew: bool
) -> None:
    """Its scripts name the folder and the Python that they were made with; any other is left as it is."""
    assert would_do(place) == "exec .venv/bin/hft-mmap serve \n"
    assert (MADE_ANEW in would_do(change(place))) == anew
