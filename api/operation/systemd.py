"""Speak with systemd: take over the sockets that it opened, tell it when the service serves, feed its watchdog.

Both protocols are a few variables of the environment and datagrams of text: sd_listen_fds(3) and sd_notify(3). They are
spoken here because the packages for them are as short as this module and unkept, or bind a C library that has to be
compiled. Started by anything but systemd, the variables are missing and nothing here has any effect.
"""

import asyncio
import os
import socket
import stat
import time
from collections.abc import MutableMapping

import structlog

FIRST_PASSED_FD = 3
_MICROSECONDS_A_SECOND = 1_000_000
# Pid 1 reads its socket at once, unless it hangs; the service then goes on without it rather than hang as well.
_SEND_TIMEOUT_S = 1.0
_PROGRESS_EVERY_S = 0.05


def passed_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the listening sockets that systemd passed to this process, in its order; none if it passed none.

    The variables that announce them are removed, and the sockets closed to child processes: they are for this process
    only. Raises OSError for a descriptor that nothing can be accepted from.
    """
    pid, count, names = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    named = names.split(":")
    return [
        _listener(FIRST_PASSED_FD + number, named[number] if number < len(named) else "unknown")
        for number in range(int(count))
    ]


def _listener(fd: int, name: str) -> socket.socket:
    os.set_inheritable(fd, False)
    listener = None
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        # Family, type and protocol are read from the descriptor itself: only where event loops see TCP do they turn
        # Nagle's algorithm off.
        listener = socket.socket(fileno=fd)
    if (
        listener is None
        or listener.type != socket.SOCK_STREAM
        or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        raise OSError(
            f"descriptor {fd} ({name}), passed by systemd, is not a listening stream socket; "
            "the socket unit needs ListenStream= and Accept=no"
        )
    # The flag belongs to the socket, which other processes may share: NonBlocking=yes in their units keeps it set.
    listener.setblocking(False)
    return listener


class ServiceManager:
    """The process that started this one, if it wants to hear from it; else every method does nothing."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Read and remove what systemd left in `environ`, so that no child process speaks in our name."""
        address, interval_us, pid = (
            environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        )
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._beat_every_s = None
        if interval_us.isdecimal() and pid in {"", str(os.getpid())}:
            self._beat_every_s = int(interval_us) / _MICROSECONDS_A_SECOND / 2  # half, as sd_watchdog_enabled(3) asks
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.settimeout(_SEND_TIMEOUT_S)
        self._next_progress = 0.0

    def progress(self, text: str) -> None:
        """Show `text` in `systemctl status`, unless another was shown a moment ago: thousands are not worth reading."""
        now = time.monotonic()
        if self._socket is not None and now >= self._next_progress:
            self._next_progress = now + _PROGRESS_EVERY_S
            self._send(f"STATUS={text}")

    def ready(self, text: str) -> None:
        """Tell that requests are answered from now on, or again after `reloading`."""
        self._send(f"READY=1\nSTATUS={text}")

    def reloading(self) -> None:
        """Tell that settings are being read again; `ready` ends that."""
        self._send("RELOADING=1\nSTATUS=reloading")

    def stopping(self, text: str) -> None:
        """Tell that the service stops, which also ends the watchdog."""
        self._send(f"STOPPING=1\nSTATUS={text}")

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Feed the watchdog from `loop`, if there is one: once the loop hangs, nothing does, and systemd kills us."""
        if self._beat_every_s is not None:
            self._send("WATCHDOG=1")
            loop.call_later(self._beat_every_s, self.watch, loop)

    def close(self) -> None:
        """Close the socket; nothing is told any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is not None:
            try:
                self._socket.sendto(message.encode(), self._address)
            except OSError as error:
                what = message.partition("=")[0]
                structlog.get_logger().warning("service_manager_unreachable", message=what, reason=str(error))
