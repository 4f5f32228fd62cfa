"""Check the units of `systemd/`: no setting that systemd does not know, and little that the services may do.

    python .ci/check_units.py

Runs `systemd-analyze verify` and `systemd-analyze security`, which need no running systemd; says so and passes where
they are missing, unless HFT_TESTS_REQUIRED is set. Exits 1 and prints what systemd-analyze said of every faulty unit.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

UNITS = Path(__file__).resolve().parent.parent / "systemd"
PROGRAM = "/opt/hft-mmap/current/bin/hft-mmap"
MAX_EXPOSURE_TENTHS = 2
"""0.2 of 10, as docs/operations.md says; systemd calls everything below 2 safe."""
NETWORK_TENTHS = 8
"""What it costs beside that to connect to a log, as replicas of shards do."""


def run(*arguments: str) -> str:
    """Return what systemd-analyze has to say, or nothing if it has no objection."""
    done = subprocess.run(  # noqa: S603 - our own arguments
        ["systemd-analyze", "--no-pager", *arguments],  # noqa: S607 - wherever it is installed
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr if done.returncode else ""


def use_examples(directory: Path) -> list[Path]:
    """Make a drop-in of each example, for the first unit that its text names to `systemctl edit`; return them."""
    made = []
    for example in sorted((directory / "examples").glob("*.conf")):
        unit = re.findall(r"systemctl edit (hft-mmap\S*\.(?:service|socket))", example.read_text())[0]
        drop_in = directory / f"{unit}.d" / example.name
        drop_in.parent.mkdir(exist_ok=True)
        drop_in.write_text(example.read_text())
        made.append(drop_in)
    return made


def faults(directory: Path) -> Iterator[str]:
    """Yield what is wrong with the units of `directory`."""
    copies = []
    for path in sorted([*directory.glob("*.service"), *directory.glob("*.socket")]):
        # A template is checked as one of its instances; and the program need not be installed.
        copies.append(path.with_name(path.name.replace("@.", "@2.")))
        if copies[-1] != path:
            copies[-1].write_text(path.read_text())
    for copy in copies:
        copy.write_text(copy.read_text().replace(PROGRAM, "/bin/true"))
    for copy in copies:
        yield run("verify", "--recursive-errors=one", "--man=no", str(copy))
    # The units as they come first, then with the examples.
    examples = use_examples(directory)
    for instance in (1, 2):
        for kind in ("service", "socket"):
            other = directory / f"hft-mmap@{instance}.{kind}"
            other.write_text((directory / f"hft-mmap@2.{kind}").read_text())
    for unit in sorted({path.parent.name.removesuffix(".d") for path in examples}):
        yield run("verify", "--recursive-errors=one", "--man=no", str(directory / unit.replace("@.", "@2.")))
    for service in sorted(directory.glob("*.service")):
        most = MAX_EXPOSURE_TENTHS + NETWORK_TENTHS * ("-shard@" in service.name)
        yield run("security", "--offline=true", f"--threshold={most}", str(service))


def main() -> int:
    """Check every unit, print every fault, return the exit code."""
    if shutil.which("systemd-analyze") is None:
        print("units not checked: there is no systemd-analyze (Debian package systemd)")
        return 1 if os.environ.get("HFT_TESTS_REQUIRED") else 0
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch, "systemd")
        shutil.copytree(UNITS, directory)
        found = [fault for fault in faults(directory) if fault]
        checked = len(list(UNITS.glob("*.service")) + list(UNITS.glob("*.socket")))
    for fault in found:
        print(fault)
    print(f"{checked} units, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
