"""`make install`, the upgrade, `make uninstall` and the Debian package, in a machine of their own; `make test-install`.

Takes minutes and the network: everything of requirements.lock is installed, and the kernels are compiled twice.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.test_lifecycle import PRICES, STATISTICS
from tests.service import ROOT
from tests.systemd.clients import load
from tests.systemd.machine import SERVICE, Machine, booted, why_not
from tests.systemd.test_service import add, statistics, total

pytestmark = pytest.mark.install

BUILD = ROOT / "build" / "test-install"  # the machine has a /tmp of its own

COMPILING_S = 600.0


def make(*arguments: str) -> None:
    """Run make in the checkout."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(["/usr/bin/make", "-C", str(ROOT), *arguments], check=True, env=variables)


@pytest.fixture
def bare_machine() -> Iterator[Machine]:
    """Yield a machine on which nothing of ours is installed."""
    if reason := why_not():
        pytest.skip(f"a systemd of the tests' own {reason}")
    if ROOT.is_relative_to("/tmp"):  # noqa: S108 - nothing is written there
        pytest.skip("the machine has a /tmp of its own and would not see this checkout: try it elsewhere")
    with booted(installed=False) as machine:
        yield machine


@pytest.fixture(scope="module")
def staged() -> Iterator[Path]:
    """Return where `make install DESTDIR=…` has put everything."""
    shutil.rmtree(BUILD, ignore_errors=True)
    make("install", f"DESTDIR={BUILD}")
    yield BUILD
    shutil.rmtree(BUILD)


def test_install_upgrade_and_uninstall(bare_machine: Machine, staged: Path) -> None:
    """Nothing runs unasked; an upgrade loses no request and keeps settings; what is removed leaves the data."""
    machine = bare_machine
    (release,) = (path.name for path in (staged / "opt/hft-mmap").iterdir())
    machine.run("cp", "-a", f"{staged}/.", "/")
    activate = [str(ROOT / "systemd/activate"), "/opt/hft-mmap", "/usr/local/lib"]
    assert "to start it" in machine.run(*activate, release, patience_s=COMPILING_S)
    assert machine.main_pid() == 0
    machine.systemctl("enable", "--now", SERVICE)
    assert add(machine, PRICES).status_code == 200
    assert statistics(machine) == STATISTICS
    assert "ABC-USD" in machine.run("hft-mmap", "info", "--config", "/etc/hft-mmap/config.toml")

    machine.run("cp", "-a", f"/opt/hft-mmap/{release}", "/opt/hft-mmap/next")
    machine.run("sed", "-i", f"1s|{release}|next|", "/opt/hft-mmap/next/bin/hft-mmap")
    pid = machine.main_pid()
    with load(machine) as pushers:
        assert "restarting hft-mmap.service" in machine.run(*activate, "next", patience_s=COMPILING_S)
    assert [pusher.lost for pusher in pushers] == [[]] * len(pushers)
    assert machine.main_pid() not in {0, pid}
    assert (machine.root / "opt/hft-mmap/current").readlink() == Path("next")
    assert (machine.root / "opt/hft-mmap" / release).exists()  # to go back to
    stored = total(machine)
    assert stored == len(PRICES) + sum(pusher.answered for pusher in pushers)

    machine.run("make", "-C", str(ROOT), "uninstall")
    assert machine.show("LoadState") == "not-found"
    assert not (machine.root / "opt/hft-mmap").exists()
    assert not (machine.root / "usr/local/bin/hft-mmap").exists()
    assert (machine.root / "etc/hft-mmap/config.toml").exists()
    assert (machine.root / "var/lib/hft-mmap/data/ABC-USD/head").exists()


def test_the_debian_package(bare_machine: Machine) -> None:
    """It installs without a network, keeps changed settings, and leaves the data behind."""
    machine = bare_machine
    make("deb")
    (package,) = (ROOT / "dist").glob("*.deb")
    machine.run("dpkg", "--install", str(package), patience_s=COMPILING_S)
    machine.systemctl("enable", "--now", SERVICE)
    assert add(machine, PRICES).status_code == 200
    with (machine.root / "etc/hft-mmap/config.toml").open("a") as settings:
        settings.write("sync_interval_ms = 20\n")
    pid = machine.main_pid()
    machine.run("dpkg", "--install", str(package), patience_s=COMPILING_S)
    assert machine.main_pid() not in {0, pid}
    assert "sync_interval_ms = 20" in (machine.root / "etc/hft-mmap/config.toml").read_text()
    assert statistics(machine) == STATISTICS
    machine.run("dpkg", "--remove", "hft-mmap")
    assert machine.show("LoadState") == "not-found"
    assert (machine.root / "var/lib/hft-mmap/data/ABC-USD/head").exists()
