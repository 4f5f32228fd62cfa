"""What a compiled service does on this machine in the best case: a minimal axum program, built here by cargo.

It answers constants, and has neither log nor tokens nor bounds; a POST reads its body as JSON. `python -m perf.anchors`
builds it and prints where it is.
"""

import shutil
import subprocess
from pathlib import Path

from perf.lab import ROOT

_SOURCE = Path(__file__).resolve().parent
_TARGET = ROOT / "build" / "anchors"


class NoAnchorError(Exception):
    """There is no anchor to compare with; the text says why."""


def axum() -> tuple[str, ...]:
    """Return the command of the axum program, which is built if need be. Raises NoAnchorError."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise NoAnchorError("there is no cargo here (https://rustup.rs), so no axum program to compare with")
    command = [cargo, "build", "--quiet", "--release", "--locked", "--target-dir", str(_TARGET)]
    built = subprocess.run(command, cwd=_SOURCE, capture_output=True, text=True, check=False)
    if built.returncode:
        raise NoAnchorError(f"cargo could not build {_SOURCE}: {built.stderr.strip()[-1000:]}")
    return (str(_TARGET / "release" / "anchor"),)
