"""The service on the lowest and on the newest versions that `pyproject.toml` allows (`make test-versions`)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT

UV = shutil.which("uv", path=f"{sys.prefix}/bin{os.pathsep}{os.environ.get('PATH', '')}")


def uv(*arguments: object) -> None:
    """Run uv; what it says is shown where it fails."""
    assert UV is not None
    done = subprocess.run([UV, "--quiet", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.versions
@pytest.mark.skipif(UV is None, reason="there is no uv; `make test-versions` installs it")
@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"])
def test_the_declared_versions_work(tmp_path: Path, resolution: str) -> None:
    """With the extras, nothing else installed: every module is imported, each way in and out is used, no warning."""
    wanted, environment = tmp_path / "wanted.txt", tmp_path / "venv"
    only_wheels = ("--only-binary", ":all:")
    uv("pip", "compile", "pyproject.toml", "--all-extras", "--resolution", resolution, *only_wheels, "-o", wanted)
    uv("venv", "--python", sys.executable, environment)
    uv("pip", "install", "--python", environment, *only_wheels, "--requirements", wanted)
    uv("pip", "install", "--python", environment, "--no-deps", ROOT)
    uv("pip", "install", "--python", environment, *only_wheels, "polars")  # 160 MB: tried here, and in no lock
    done = subprocess.run(
        [environment / "bin/python", "-m", "tests.versions.smoke"],
        cwd=ROOT,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{wanted.read_text(encoding='utf-8')}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.endswith("served\n")
