"""Compiling the kernels ahead of the first start."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.service import ROOT


def test_warming_says_how_long_it_took() -> None:
    """`python -m hft_mmap.warm` compiles what is missing and says so in one line."""
    command = [sys.executable, "-m", "hft_mmap.warm"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"kernels ready in \d+\.\d s\n", done.stdout)


def test_where_kernels_cannot_be_kept_the_import_says_what_to_set(tmp_path: Path) -> None:
    """Neither the package nor the home can be written to: one clear line that names NUMBA_CACHE_DIR, which helps."""
    shutil.copytree(ROOT / "hft_mmap", tmp_path / "hft_mmap", ignore=shutil.ignore_patterns("__pycache__"))
    # Root may write everywhere; but nobody can make a folder where there is a file.
    (tmp_path / "hft_mmap" / "tree" / "__pycache__").touch()
    inherited = {name: value for name, value in os.environ.items() if name not in {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}}
    environment = inherited | {"HOME": "/dev/null", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-P", "-c", "import hft_mmap"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(
        r"^ImportError: hft_mmap can't keep .* set NUMBA_CACHE_DIR to a folder that can$", done.stderr, re.MULTILINE
    )
