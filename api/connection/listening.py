"""Which sockets the service listens on: those that systemd passed, or else those that the settings name."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from api.operation import systemd
from api.operation.settings import ServerSettings, how_to_set

UNIX_SOCKET_MODE = 0o660
"""Who may connect is a matter of the group of the directory that the socket is made in."""

UNSENT_BYTES = 65_536
"""What the kernel takes of an answer before the client has room for it, which may be 4 MiB otherwise; the rest waits in
the process, where the client that does not read is seen and ended (`server.body_timeout_s`)."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets to listen on, one at least; `passed`: by systemd, which keeps them open beyond this process."""

    sockets: list[socket.socket]
    passed: bool

    def addresses(self) -> list[str]:
        """Return where they listen."""
        return [address_of(listener) for listener in self.sockets]

    def host_and_port(self) -> tuple[str | None, int | None]:
        """Return host and port of the first TCP socket, or twice None where there are Unix sockets only."""
        names = (listener.getsockname() for listener in self.sockets if listener.family != socket.AF_UNIX)
        return next(((str(name[0]), int(name[1])) for name in names), (None, None))


@contextmanager
def listening(settings: ServerSettings) -> Iterator[Listeners]:
    """Yield the sockets of this process, bound; uvicorn listens on them once the store is open. Raises OSError.

    Sockets that systemd passed stay open there when they are closed here: whoever connects while the service restarts
    waits in their queue, and is answered by the next process.
    """
    with ExitStack() as stack:
        passed = [stack.enter_context(listener) for listener in systemd.passed_sockets()]
        if passed:
            yield Listeners(passed, passed=True)
            return
        bound = [stack.enter_context(bind_tcp(settings.host, settings.port))]
        if settings.unix_socket:
            bound.append(stack.enter_context(_bound_unix(Path(settings.unix_socket))))
        yield Listeners(bound, passed=False)


def bound_clients(listener: socket.socket, vanished_s: float) -> None:
    """Bound what clients of `listener` may take of the kernel; a connection inherits it from its listener.

    A client whose machine is silent for `vanished_s` is gone.
    """
    if listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * vanished_s))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def address_of(listener: socket.socket) -> str:
    """Return where `listener` listens: "127.0.0.1:8080", "[::1]:8080", or the path of a Unix socket."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return "@" + os.fsdecode(name[1:]) if isinstance(name, bytes) else str(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_tcp(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to host and port (0: any free one); OSError says what to set."""
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # The protocol is named because event loops turn Nagle's algorithm off only where they see TCP.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        key = "server.port" if error.errno in {errno.EADDRINUSE, errno.EACCES} else "server.host"
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}; set {how_to_set(key)}") from error
    return listener


@contextmanager
def _bound_unix(path: Path) -> Iterator[socket.socket]:
    """Yield a socket bound to `path`, which is removed at the end; one that a killed process left there is replaced."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            _bind_unix(listener, path)
            made = path.stat()
            # Nobody can connect before uvicorn listens, so nobody gets in with the mode that the umask left.
            path.chmod(UNIX_SOCKET_MODE)
        except OSError as error:
            text = f"cannot listen on {path}: {error.strerror}; set {how_to_set('server.unix_socket')}"
            raise OSError(text) from error
        try:
            yield listener
        finally:
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), made):  # not what somebody else put there since
                    path.unlink()


def _bind_unix(listener: socket.socket, path: Path) -> None:
    try:
        listener.bind(str(path))
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not path.is_socket() or _is_listened_to(path):
            raise
        path.unlink()
        listener.bind(str(path))


def _is_listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        return True
