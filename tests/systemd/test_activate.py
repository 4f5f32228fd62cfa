"""systemd/activate: a release taken into use, one that does not start, the way back, and what is pruned."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.api.test_lifecycle import PRICES, STATISTICS
from tests.service import PATIENCE_S
from tests.systemd.clients import load
from tests.systemd.machine import SERVICE, SOURCE, Machine
from tests.systemd.test_service import add, statistics, total

SECOND = "hft-mmap@2.service"
RELEASES = Path("opt/hft-mmap")
KERNELS = Path("var/cache/hft-mmap")

Make = Callable[[str], Path]


@pytest.fixture
def make_release(machine: Machine) -> Iterator[Make]:
    """Return what puts a release beside the tested one: the same packages, for which the kernels are compiled."""
    kept, tested = "/root/kernels", "/root/tested"
    machine.run("cp", "-a", f"/{KERNELS}", kept)
    machine.run("cp", "-a", f"/{RELEASES}/tested", tested)

    def make(name: str) -> Path:
        machine.run("sh", "-ec", f"""
            cp -a {tested} /{RELEASES}/{name}
            sed -i "1s|tested|{name}|" /{RELEASES}/{name}/bin/hft-mmap
        """)  # fmt: skip
        return machine.root / RELEASES / name

    yield make
    machine.systemctl("stop", "hft-mmap.socket", "hft-mmap*.service")
    machine.run("sh", "-ec", f"""
        rm -rf /{RELEASES}/* /{KERNELS}
        mv {tested} /{RELEASES}/tested
        mv {kept} /{KERNELS}
        ln -s tested /{RELEASES}/current
    """)  # fmt: skip


def activate(machine: Machine, release: str, *, expect: int = 0) -> str:
    """Take a release into use, as `make install` does; return what was printed."""
    command = f"{SOURCE}/systemd/activate", f"/{RELEASES}", "/usr/local/lib", release
    # The kernels are compiled on the way, while others push.
    return machine.run(*command, expect=expect, patience_s=6 * PATIENCE_S)


def in_use(machine: Machine) -> str:
    """Return the name of the release in use."""
    return (machine.root / RELEASES / "current").readlink().name


def releases(machine: Machine) -> list[str]:
    """Return the names of the releases that are there."""
    return sorted(path.name for path in (machine.root / RELEASES).iterdir() if path.name != "current")


@pytest.mark.timeout(400)  # three releases, each of which compiles its kernels
def test_the_release_before_stays_and_older_ones_go(machine: Machine, make_release: Make) -> None:
    """So there is a way back: the link, and a restart; nothing is lost on either way."""
    machine.systemctl("start", SERVICE)
    assert add(machine, PRICES).status_code == 200
    with load(machine) as pushers:
        for name in ("second", "third"):
            make_release(name)
            pid = machine.main_pid()
            assert "restarting hft-mmap.service" in activate(machine, name)
            assert machine.main_pid() not in {0, pid}
        assert releases(machine) == ["second", "third"]
        machine.run("ln", "-sfn", "second", f"/{RELEASES}/current")
        machine.systemctl("restart", SERVICE)
    assert [pusher.lost for pusher in pushers] == [[]] * len(pushers)
    assert (machine.root / f"proc/{machine.main_pid()}/cmdline").read_bytes().startswith(b"/opt/hft-mmap/second/")
    assert total(machine) == len(PRICES) + sum(pusher.answered for pusher in pushers)


def test_a_release_that_does_not_start_is_left_again(machine: Machine, make_release: Make) -> None:
    """Every instance serves from the release before again, and whoever upgrades is told."""
    machine.systemctl("start", SERVICE, SECOND)
    assert add(machine, PRICES).status_code == 200
    (make_release("broken") / "bin/hft-mmap").write_text("#!/bin/sh\nexit 1\n")
    printed = activate(machine, "broken", expect=1)
    assert "hft-mmap: broken does not start, see journalctl -u hft-mmap; went back to tested, which serves" in printed
    assert in_use(machine) == "tested"
    for unit in (SERVICE, SECOND, "hft-mmap.socket"):
        assert machine.show("ActiveState", unit) == "active"
    assert statistics(machine) == STATISTICS
    assert releases(machine) == ["broken", "tested"]  # to look at; the next upgrade removes it


def test_what_the_service_wrote_into_its_cache_is_pruned_with_its_rights(machine: Machine, make_release: Make) -> None:
    """The names of folders there are the service's: with blanks, line ends, or one like an option."""
    precious = machine.root / "precious"
    precious.mkdir(exist_ok=True)
    (precious / "file").write_text("x")
    names = {"x precious", "y\nprecious", "-rf"}
    # Older than all that is kept; and one with a file that only root may remove.
    machine.run("sh", "-ec", f"""
        cd /{KERNELS}
        mkdir -p "x precious" "$(printf 'y\\nprecious')" ./-rf locked/inner newer-1 newer-2 newer-3
        ln -s /precious link
        touch locked/inner/of-root
        chown -R hft-mmap: .
        chown root: locked/inner
        chmod 755 locked/inner
        touch -d 2020-01-01 -- x* y* -rf locked
    """)  # fmt: skip
    make_release("next")
    activate(machine, "next")
    assert (precious / "file").exists()
    left = {path.name for path in (machine.root / KERNELS).iterdir()}
    assert not left & names
    assert (machine.root / KERNELS / "locked/inner/of-root").exists()
    machine.run("rm", "-rf", "/precious")
