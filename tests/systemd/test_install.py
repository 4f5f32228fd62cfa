"""`make install`, the upgrade, `make uninstall` and the Debian package, in a machine of their own; `make test-install`.

Takes minutes and the network: everything of requirements.lock is downloaded and installed, and the kernels are compiled
for each release. What an upgrade does beside that is in test_activate.py.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.test_lifecycle import PRICES, STATISTICS
from tests.service import ROOT, wait_until
from tests.systemd.clients import load, wait_for_more
from tests.systemd.machine import SERVICE, SOURCE, Machine, booted, why_not
from tests.systemd.test_service import add, statistics, total

pytestmark = pytest.mark.install

SECOND = "hft-mmap@2.service"
BUILD = Path("build/test-install")
COMPILING_S = 600.0
CLOSED_UMASK = 0o077
"""Of many a root; what is installed must be readable to the service all the same."""


def make(*arguments: str) -> None:
    """Run make in the checkout."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(["/usr/bin/make", "-C", str(ROOT), *arguments], check=True, env=variables, umask=CLOSED_UMASK)


@pytest.fixture
def bare_machine() -> Iterator[Machine]:
    """Yield a machine on which nothing of ours is installed."""
    if reason := why_not():
        pytest.skip(f"a systemd of the tests' own {reason}")
    with booted(installed=False) as machine:
        yield machine


@pytest.fixture(scope="module")
def wheels() -> str:
    """Download what requirements.lock names; return where the machine, which has no network, sees it."""
    place = BUILD / "wheels"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    arguments = ["--only-binary", ":all:", "--requirement", "requirements.lock", "--dest", str(place)]
    subprocess.run([*pip, *arguments], check=True, cwd=ROOT)
    return f"{SOURCE}/{place}"


def releases(machine: Machine) -> set[str]:
    """Return the names of the releases that are installed."""
    return {path.name for path in (machine.root / "opt/hft-mmap").iterdir() if path.name != "current"}


def in_use(machine: Machine) -> str:
    """Return the name of the release that the link names, which is there."""
    release = (machine.root / "opt/hft-mmap/current").readlink().name
    assert release in releases(machine)
    return release


def test_install_upgrade_and_uninstall(bare_machine: Machine, wheels: str) -> None:
    """Nothing runs unasked; an upgrade loses no request and keeps settings; what is removed leaves the data."""
    machine = bare_machine
    environment = [
        "env",
        "PIP_NO_INDEX=1",
        f"PIP_FIND_LINKS={wheels}",
        "sh",
        "-c",
        f"umask {CLOSED_UMASK:o}; exec $0 $@",
    ]
    command = [*environment, "make", "-C", SOURCE]
    assert "to start it" in machine.run(*command, "install", patience_s=COMPILING_S)
    first = in_use(machine)
    assert machine.main_pid() == 0
    machine.systemctl("enable", "--now", SERVICE, SECOND)
    assert add(machine, PRICES).status_code == 200
    assert statistics(machine) == STATISTICS
    assert "ABC-USD" in machine.run("hft-mmap", "info", "--config", "/etc/hft-mmap/config.toml")

    pids = {machine.main_pid(unit) for unit in (SERVICE, SECOND)}
    with load(machine) as pushers:
        printed = machine.run(*command, "install", patience_s=COMPILING_S)
    for unit in (SERVICE, SECOND):
        assert f"restarting {unit}" in printed
        assert machine.main_pid(unit) not in {0, *pids}
    assert [pusher.lost for pusher in pushers] == [[]] * len(pushers)
    assert releases(machine) == {first, in_use(machine)}
    assert in_use(machine) != first
    assert total(machine) == len(PRICES) + sum(pusher.answered for pusher in pushers)

    machine.run(*command, "uninstall")
    for unit in (SERVICE, SECOND, "hft-mmap.socket"):
        assert (machine.show("LoadState", unit), machine.main_pid(unit) if "socket" not in unit else 0) == (
            "not-found",
            0,
        )
    left = ["opt/hft-mmap", "usr/local/bin/hft-mmap", "var/cache/hft-mmap", "usr/local/lib/sysusers.d/hft-mmap.conf"]
    assert not [path for path in left if (machine.root / path).exists()]
    assert (machine.root / "etc/hft-mmap/config.toml").exists()
    assert (machine.root / "var/lib/hft-mmap/data/ABC-USD/head").exists()

    machine.run(*command, "uninstall", "PURGE=1")
    assert not [path for path in ("etc", "var/lib", "var/log") if (machine.root / path / "hft-mmap").exists()]
    machine.run("id", "hft-mmap", expect=1)


def newer(package: Path, version: str) -> Path:
    """Return a package like `package` of another version, with one file less and one more."""
    unpacked, made = ROOT / BUILD / "unpacked", ROOT / BUILD / f"hft-mmap_{version}_amd64.deb"
    shutil.rmtree(unpacked, ignore_errors=True)
    subprocess.run(["/usr/bin/dpkg-deb", "--raw-extract", str(package), str(unpacked)], check=True)
    for name in ("control", "postinst"):
        file = unpacked / "DEBIAN" / name
        file.write_text(file.read_text().replace(package.name.split("_")[1], version))
    document = unpacked / "usr/lib/hft-mmap/release/doc/CHANGELOG.md"
    document.rename(document.with_name("NEWS.md"))
    arguments = ["--root-owner-group", "-Zzstd", "-z1", "--build", str(unpacked), str(made)]
    subprocess.run(["/usr/bin/dpkg-deb", *arguments], check=True)
    return made


def test_the_debian_package(bare_machine: Machine) -> None:
    """It installs without a network; a newer one loses no request and keeps settings; a purge leaves the data."""
    machine = bare_machine
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs the Debian package dpkg")
    make("deb")
    (package,) = (ROOT / "dist").glob("*.deb")
    inside = f"{SOURCE}/dist/{package.name}"
    machine.run("dpkg", "--install", inside, patience_s=COMPILING_S)
    first = in_use(machine)
    machine.systemctl("enable", "--now", SERVICE)
    assert add(machine, PRICES).status_code == 200
    with (machine.root / "etc/hft-mmap/config.toml").open("a") as settings:
        settings.write("sync_interval_ms = 20\n")
    pid = machine.main_pid()

    upgrade = newer(package, "9.0.0")
    with load(machine) as pushers:
        with machine.start("dpkg", "--install", f"{SOURCE}/{BUILD}/{upgrade.name}") as installing:
            # While dpkg unpacks and the kernels are compiled: a service that dies starts again from its release.
            unpacked = machine.root / "usr/lib/hft-mmap/release/doc/NEWS.md"
            wait_until(unpacked.exists, "the new version's files")
            assert in_use(machine) == first
            assert (machine.root / "opt/hft-mmap" / first / "doc/CHANGELOG.md").exists()
            wait_for_more(pushers)
            output, _ = installing.communicate(timeout=COMPILING_S)
        assert installing.returncode == 0, output
    assert [pusher.lost for pusher in pushers] == [[]] * len(pushers)
    assert machine.main_pid() not in {0, pid}
    assert in_use(machine).startswith("9.0.0-")
    assert releases(machine) == {first, in_use(machine)}
    assert "sync_interval_ms = 20" in (machine.root / "etc/hft-mmap/config.toml").read_text()
    assert total(machine) == len(PRICES) + sum(pusher.answered for pusher in pushers)

    machine.run("ln", "-sfn", first, "/opt/hft-mmap/current")
    machine.systemctl("restart", SERVICE)
    assert total(machine) == len(PRICES) + sum(pusher.answered for pusher in pushers)

    machine.run("dpkg", "--remove", "hft-mmap")
    assert machine.show("LoadState") == "not-found"
    assert not (machine.root / "opt/hft-mmap").exists()
    machine.run("dpkg", "--purge", "hft-mmap")
    assert not (machine.root / "etc/hft-mmap/config.toml").exists()
    assert (machine.root / "var/lib/hft-mmap/data/ABC-USD/head").exists()
