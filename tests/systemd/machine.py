"""A systemd of the tests' own: pid 1 of namespaces over a copy-on-write view of this machine, up in half a second.

The service is installed in it as `make install` does it, and its units are those of `systemd/`, unchanged.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.service import PATIENCE_S, ROOT, wait_until

BOOT = Path(__file__).parent / "boot"
SYSTEMD = Path("/lib/systemd/systemd")
PYTHON = Path("/usr/bin/python3")
NEEDED = ("nsenter", "unshare", "setpriv", "systemctl", "journalctl", "systemd-sysusers", "systemd-tmpfiles")
NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup")
CLONE_NEWNET = 0x40000000
SERVICE = "hft-mmap.service"
SOURCE = "/usr/local/src/hft-mmap"
"""Where the machine has the checkout, to read."""
DATA = Path("var/lib/hft-mmap/data")
LOGS = Path("var/log/hft-mmap")
PORT = 8080

Entry = dict[str, Any]


def why_not() -> str:
    """Return why a systemd can't be booted on this machine, or nothing if it can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or not SYSTEMD.exists():
        return f"needs the Debian package systemd: no {', '.join(missing) or SYSTEMD}"
    if PYTHON.resolve().name != f"python{sys.version_info.major}.{sys.version_info.minor}":
        return f"needs the tests to run with {PYTHON}, the one that a sandboxed unit sees: make PYTHON={PYTHON}"
    if cgroup_root() is None:
        return "needs a cgroup2 file system below /sys/fs/cgroup"
    tried = subprocess.run(
        ["/usr/bin/unshare", *NAMESPACES, "--fork", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"may not make namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


def cgroup_root() -> Path | None:
    """Return where the cgroup2 hierarchy is mounted; machines that use cgroup v1 for the rest have it one below."""
    roots = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
    return next((root for root in roots if (root / "cgroup.procs").exists()), None)


@contextmanager
def booted(binds: Mapping[Path, str] | None = None, *, installed: bool = True) -> Iterator["Machine"]:
    """Yield a machine that is up, with the service installed or without, and switch it off afterwards.

    binds: directories of this machine that are to be at another place in that one, as they are and writable.
    """
    root = cgroup_root()
    assert root is not None
    cgroup = root / f"hft-mmap-tests-{os.getpid()}"
    cgroup.mkdir()
    # Pid 1 of the new namespaces is in the group before it makes its own view of the groups, which begins there.
    enter = f'echo $$ > {cgroup}/cgroup.procs && exec setpriv --pdeathsig KILL "$@"'
    process = subprocess.Popen(
        [
            *("sh", "-c", enter, "sh", "unshare", *NAMESPACES, "--fork", "--kill-child", "--propagation", "private"),
            *(
                str(BOOT),
                str(ROOT),
                sysconfig.get_path("purelib"),
                str(PYTHON.resolve()),
                "installed" if installed else "bare",
            ),
            *(f"{source}:{target}" for source, target in (binds or {}).items()),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until(lambda: process.poll() is not None or _child(process.pid), "namespaces")
        machine = Machine(_child(process.pid))
        wait_until(lambda: process.poll() is not None or machine.is_up(), "systemd")
        assert process.poll() is None, f"systemd did not boot: {process.communicate()[0]}"
        yield machine
    finally:
        process.kill()  # and with it pid 1, and with that all the others
        process.communicate()
        wait_until(lambda: _remove(cgroup), "the processes of the machine to be gone")


def _child(pid: int) -> int:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else 0
    except FileNotFoundError:
        return 0


def _remove(cgroup: Path) -> bool:
    for directory, _, _ in os.walk(cgroup, topdown=False):
        try:
            os.rmdir(directory)  # noqa: PTH106 - os.walk gives texts
        except OSError:
            return False
    return True


class Machine:
    """A running systemd, with the service installed in it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.root = Path(f"/proc/{pid}/root")
        self._cursor = ""

    # -- commands -----------------------------------------------------------------------------------------------------

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in it."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--", *command]
        return subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *command: str, expect: int | None = 0, patience_s: float = 2 * PATIENCE_S) -> str:
        """Run a command in it and return its output; the exit code has to be `expect`, or may be any (None)."""
        with self.start(*command) as process:
            output, _ = process.communicate(timeout=patience_s)
        assert expect in {None, process.returncode}, f"{command}: exit code {process.returncode}: {output}"
        return output

    def systemctl(self, *arguments: str, expect: int | None = 0) -> str:
        """Run systemctl in it."""
        return self.run("systemctl", "--no-pager", *arguments, expect=expect)

    def is_up(self) -> bool:
        """Say whether everything that belongs to a running system was started."""
        state = self.systemctl("is-system-running", expect=None).strip()
        return state in {"running", "degraded"}

    def show(self, name: str, unit: str = SERVICE) -> str:
        """Return one property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit).strip()

    def main_pid(self, unit: str = SERVICE) -> int:
        """Return the pid of a service, as it is inside; 0 if it does not run."""
        return int(self.show("MainPID", unit))

    # -- its files ----------------------------------------------------------------------------------------------------

    def drop_in(self, text: str, unit: str = SERVICE) -> None:
        """Change a unit as `systemctl edit` does, until the next test."""
        directory = self.root / "run/systemd/system" / f"{unit}.d"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "test.conf").write_text(text)
        self.systemctl("daemon-reload")

    def reset(self) -> None:
        """Stop everything of ours, and forget all that tests have written."""
        self.systemctl("stop", "hft-mmap.socket", "hft-mmap*.service", "hft-mmap@*.socket")
        self.systemctl("reset-failed")
        for path in (self.root / "run/systemd/system").glob("hft-mmap*.d"):
            shutil.rmtree(path)
        for directory in ("var/lib/hft-mmap", "var/log/hft-mmap"):
            self.run("sh", "-c", f"umount -q /{directory}/data; find /{directory} -mindepth 1 -delete", expect=None)
        self.run("sh", "-ec", f"rm -rf /etc/hft-mmap/*; cp {SOURCE}/systemd/config.toml /etc/hft-mmap")
        self.systemctl("daemon-reload")
        self._cursor = self._entries("--lines=1")[0]["__CURSOR"]

    # -- what it says -------------------------------------------------------------------------------------------------

    def _entries(self, *arguments: str) -> list[Entry]:
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "--output=json", "--all", *arguments).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def journal(self) -> list[Entry]:
        """Return what the journal has of our units since the beginning of the test."""
        entries = self._entries(f"--after-cursor={self._cursor}")
        return [one for one in entries if str(one.get("UNIT", one.get("_SYSTEMD_UNIT"))).startswith("hft-mmap")]

    def messages(self) -> str:
        """Return the texts of `journal`."""
        return "\n".join(str(entry["MESSAGE"]) for entry in self.journal())

    def events(self, name: str | None = None, unit: str = SERVICE) -> list[Entry]:
        """Return the log lines that a service wrote since the beginning of the test."""
        lines = [
            entry["MESSAGE"]
            for entry in self.journal()
            if entry.get("_SYSTEMD_UNIT") == unit and str(entry["MESSAGE"]).startswith("{")
        ]
        return [event for event in map(json.loads, lines) if name in {None, event["event"]}]

    # -- talking to the service ---------------------------------------------------------------------------------------

    def client(self) -> httpx.Client:
        """Return a client that speaks over the Unix socket of the service."""
        path = self.root / "run/hft-mmap/http.sock"
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://unix", timeout=PATIENCE_S)

    def in_network(self, function: Callable[[], None]) -> threading.Thread:
        """Run `function` in a thread for which 127.0.0.1 is the machine; return the thread."""

        def run() -> None:
            with open(f"/proc/{self.pid}/ns/net", "rb") as namespace:  # noqa: PTH123 - of the kernel, no file
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            function()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread
