"""Tries what the service may not do; systemd runs it in the sandbox of the service, as user hft-mmap.

    python3 probe.py RESULT.json

The result has the name of the error of each attempt, "" where there was none.
"""

import ctypes
import errno
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def write(directory: str) -> None:
    """Make a file and remove it."""
    path = Path(directory, "probe")
    path.write_text("x")
    path.unlink()


def unshare(flags: int) -> None:
    """Make a new namespace."""
    if LIBC.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")


def mount() -> None:
    """Mount a file system."""
    if LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")


def trace() -> None:
    """Look into another process."""
    if LIBC.ptrace(16, 1, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")


def connect() -> None:
    """Connect to another machine, or try to."""
    with socket.socket(socket.AF_INET) as outgoing:
        outgoing.settimeout(1)
        outgoing.connect(("192.0.2.1", 80))


def allowed() -> None:
    """Write where the service has to."""
    for directory in ("/var/lib/hft-mmap", "/var/log/hft-mmap", "/var/cache/hft-mmap", "/tmp"):  # noqa: S108
        write(directory)


ATTEMPTS: dict[str, Callable[[], object]] = {
    "write its own directories": allowed,
    "write /etc/hft-mmap": lambda: write("/etc/hft-mmap"),
    "write /opt/hft-mmap/current": lambda: write("/opt/hft-mmap/current"),
    "write /var/lib": lambda: write("/var/lib"),
    "write /run": lambda: write("/run"),
    "list /root": lambda: os.listdir("/root"),
    "see what is in /home": lambda: Path("/home/tester/secret").read_text(),
    "new network namespace": lambda: unshare(CLONE_NEWNET),
    "new user namespace": lambda: unshare(CLONE_NEWUSER),
    "new mount namespace": lambda: unshare(CLONE_NEWNS),
    "mount": mount,
    "trace": trace,
    "connect": connect,
    "raise its priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "become root": lambda: os.setuid(0),
    "see pid 1": lambda: Path("/proc/1/status").read_text(),
    "read the boot id": lambda: Path("/proc/sys/kernel/random/boot_id").read_text(),
    "open a disk": lambda: os.open("/dev/vda", os.O_RDONLY),
}


def outcome(attempt: Callable[[], object]) -> str:
    """Return the name of the error, or nothing."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps({name: outcome(attempt) for name, attempt in ATTEMPTS.items()}))
