"""The command of an installed service, as an operator calls it: from anywhere, without saying where anything is."""

import json

from tests.api.test_lifecycle import PRICES
from tests.systemd.machine import DATA, SERVICE, Machine
from tests.systemd.test_service import add


def in_home(machine: Machine, *command: str, expect: int = 0) -> str:
    """Run a command of root in root's home, which the user of the service may not enter."""
    machine.run("chmod", "700", "/root")
    return machine.run("sh", "-c", 'cd /root && exec "$0" "$@"', *command, expect=expect)


def test_root_asks_for_the_data_of_the_service_from_its_home(machine: Machine) -> None:
    """The settings are the service's, not those of a working directory; and that one can't be entered is no error."""
    machine.systemctl("start", SERVICE)
    assert add(machine, PRICES).status_code == 200
    assert in_home(machine, "hft-mmap", "verify") == "ABC-USD: ok, 10 points, 0 nodes\n"
    settings = {
        one["key"]: one for one in json.loads(in_home(machine, "hft-mmap", "check-config", "--json"))["settings"]
    }
    assert settings["store.data_dir"]["value"] == f"/{DATA}"
    assert settings["store.data_dir"]["origin"] == "/etc/hft-mmap/config.toml"


def test_a_snapshot_is_restored_as_documented(machine: Machine) -> None:
    """What root copies becomes the user's again, and the stopped instances are named to start again."""
    units = (SERVICE, "hft-mmap@2.service")
    machine.systemctl("start", *units)
    assert add(machine, PRICES).status_code == 200
    in_home(machine, "hft-mmap", "snapshot", "/var/lib/hft-mmap/snapshot")
    assert add(machine, PRICES).json()["total"] == 2 * len(PRICES)
    machine.systemctl("stop", "hft-mmap.socket", SERVICE)
    assert machine.main_pid("hft-mmap@2.service") == 0
    machine.run("sh", "-ec", "cd /var/lib/hft-mmap && rm -r data && cp -r snapshot data && chown -R hft-mmap: data")
    in_home(machine, "hft-mmap", "verify")
    machine.systemctl("start", *units)
    assert add(machine, PRICES).json()["total"] == 2 * len(PRICES)


def test_root_makes_tokens_without_kernels(machine: Machine) -> None:
    """The file is root's. Kernels are not loaded from where the service may write, nor compiled for a line of text."""
    machine.run("touch", "/run/before")
    made = in_home(machine, "hft-mmap", "token", "desk", "--scope", "read", "--file", "/etc/hft-mmap/tokens")
    assert made.startswith("hft_")
    assert (machine.root / "etc/hft-mmap/tokens").stat().st_uid == 0
    assert machine.run("find", "/", "-xdev", "-newer", "/run/before", "-name", "*.kernels") == ""
