"""Runs the programs of contrib/: in this process where they end by themselves, which costs no start of Python."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from tests.service import ROOT, Service, environment

SAMPLES = ROOT / "contrib" / "samples"


def arguments(service: Service, journal: Path, *options: str) -> list[str]:
    """Return what a program is called with."""
    return ["--url", service.url, "--journal", str(journal), *options]


def run(program: str, service: Service, journal: Path, *options: str) -> Result:
    """Run a program to its end."""
    main = importlib.import_module(f"contrib.{program}").main
    return CliRunner().invoke(main, arguments(service, journal, *options))


@contextmanager
def running(program: str, service: Service, journal: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Yield a program that runs; it is killed at the end, if nobody did that before."""
    command = [sys.executable, "-m", f"contrib.{program}", *arguments(service, journal, *options)]
    process = subprocess.Popen(command, env=environment({}), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()
