"""Compiling the kernels ahead of the first start."""

import re
import subprocess
import sys

from tests.service import ROOT


def test_warming_says_how_long_it_took() -> None:
    """`python -m hft_mmap.warm` compiles what is missing and says so in one line."""
    command = [sys.executable, "-m", "hft_mmap.warm"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"kernels ready in \d+\.\d s\n", done.stdout)
