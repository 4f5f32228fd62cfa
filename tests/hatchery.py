"""A process that has imported the service, and forks a child for each that a test starts.

PERF: importing takes a second of a processor, forking a tenth of one, and the tests start hundreds of processes.
What a start itself does is left to those that start a real one: of the command line, of systemd, of the documents.
"""

import array
import atexit
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "python -m api.cli.command"
# What the commands import only when they run. Not pyarrow: it has threads, which no fork copies.
IMPORTED = ("api.cli.command", "api.cli.checking", "api.server", "uvicorn.lifespan.off", "uvicorn.loops.uvloop")
_REQUEST_BYTES = 1 << 17
_BEYOND = 256
"""A descriptor that is greater than all that a child inherits."""


class Hatched:
    """A forked process, with what `subprocess.Popen` offers for its own."""

    def __init__(self, pid: int, ended: int, stdout: int | None = None, stderr: int | None = None) -> None:
        """Take over descriptors: `ended` gives the exit code at the end of the process."""
        self.pid = pid
        self.returncode: int | None = None
        # They live as long as this.
        self.stdout: IO[str] | None = None if stdout is None else open(stdout)  # noqa: SIM115, PTH123
        self.stderr: IO[str] | None = None if stderr is None else open(stderr)  # noqa: SIM115, PTH123
        self._ended = ended
        self._turn = threading.Lock()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once the process has ended; TimeoutExpired."""
        select.select([self._ended], [], [], timeout) if self.returncode is None else None
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(PROGRAM, timeout or 0.0)
        return code

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        with self._turn:
            if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
                told = array.array("i", os.read(self._ended, 4))
                assert told, "the process that forks the services has ended"
                os.close(self._ended)
                (self.returncode,) = told
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ends right now
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        """Return everything it writes, once it has ended."""
        assert self.stdout is not None
        assert self.stderr is not None
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read() if self.stderr else ""))
        reader.start()
        with self.stdout as stdout:
            output = stdout.read()
        reader.join()
        self.stderr.close()
        self.wait()
        return output, errors[0]


class _Hatchery:
    """The process that forks, seen from the outside."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._turn = threading.Lock()
        command = [sys.executable, "-m", "tests.hatchery", str(other.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, cwd=ROOT)
        other.close()

    def hatch(
        self, args: Sequence[str], directory: Path, environment: Mapping[str, str], sockets: Sequence[int],
        stdin: int | None, stderr: int | None,
    ) -> Hatched:  # fmt: skip
        out, out_child = os.pipe()
        err, err_child = os.pipe() if stderr is None else (None, os.dup(stderr))
        given = [out_child, err_child] + ([] if stdin is None else [os.dup(stdin)])
        pid, ended = self.fork(args, directory, environment, given, sockets)
        return Hatched(pid, ended, out, err)

    def fork(
        self, args: Sequence[str], directory: Path, environment: Mapping[str, str], given: Sequence[int],
        sockets: Sequence[int] = (),
    ) -> tuple[int, int]:  # fmt: skip
        """Fork with the descriptors `given`, which are closed here: output, error, and input where there is one."""
        request = {"args": args, "directory": str(directory), "environment": environment, "sockets": len(sockets)}
        ended, ended_child = os.pipe()
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [ended_child, *sockets, *given])
            for fd in (ended_child, *given):
                os.close(fd)
            return json.loads(self._socket.recv(_REQUEST_BYTES)), ended

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def _hatchery() -> _Hatchery:
    made = _Hatchery()
    atexit.register(made.close)
    return made


def hatch(
    args: Sequence[str], directory: Path, environment: Mapping[str, str], sockets: Sequence[int] = (), *,
    stdin: int | None = None, stderr: int | None = None,
) -> Hatched:  # fmt: skip
    """Run `hft-mmap ARGS` in a directory and an environment, with standard output and error in pipes.

    sockets: what it finds from descriptor 3 on, and announced, as systemd passes sockets.
    stdin, stderr: what it has as standard input, which is empty else, and in place of the pipe.
    """
    return _hatchery().hatch(args, directory, environment, sockets, stdin, stderr)


def hatch_in_place(request: Mapping[str, Any], streams: Sequence[int]) -> int:
    """Run the command of a request with the descriptors of its caller, which are closed here; return its exit code."""
    pid, ended = _hatchery().fork(request["args"], request["directory"], request["environment"], streams)
    return Hatched(pid, ended).wait()


def as_passed(count: int) -> dict[str, str]:
    """Return the variables by which systemd announces so many sockets to this process."""
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": "http:local"}


def can_hatch(environment: Mapping[str, str]) -> bool:
    """Return whether a forked process does what a new one would: not where each process is measured by coverage."""
    return "COVERAGE_PROCESS_CONFIG" not in environment


# -- the process ------------------------------------------------------------------------------------------------------


def _live(request: dict[str, Any], fds: Sequence[int]) -> NoReturn:
    """Be the child: what a new process would find, then the command, and the end of any Python program."""
    sockets = [fcntl.fcntl(fd, fcntl.F_DUPFD, _BEYOND) for fd in fds[: request["sockets"]]]
    for number, stream in zip((1, 2, 0), fds[request["sockets"] :], strict=False):
        os.dup2(stream, number)
    os.closerange(3, _BEYOND)
    for number, fd in enumerate(sockets, 3):
        os.dup2(fd, number)
        os.close(fd)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    if sockets:
        os.environ.update(as_passed(len(sockets)))
    time.tzset()
    os.chdir(request["directory"])
    sys.path[0] = os.getcwd()  # noqa: PTH109 - what `python -m` puts there
    gc.enable()
    from api.cli.command import main  # noqa: PLC0415 - only the process that forks needs it

    main(request["args"], prog_name=PROGRAM)
    sys.exit(0)


def _reap(endings: dict[int, int]) -> None:
    """Tell of each child that has ended."""
    while endings:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        ended = endings.pop(pid)
        os.write(ended, array.array("i", [os.waitstatus_to_exitcode(status)]).tobytes())
        os.close(ended)


def serve(connection: socket.socket) -> None:
    """Fork a child for each request until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who run the tests
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    endings: dict[int, int] = {}
    listened = connection.fileno()
    while True:
        ready, _, _ = select.select([listened, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 10)
            _reap(endings)
        if listened not in ready:
            continue
        raw, fds, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 8)
        if not raw:
            return
        ended, *given = fds
        pid = os.fork()
        if not pid:
            _live(json.loads(raw), given)
        endings[pid] = ended
        for fd in given:
            os.close(fd)
        connection.send(json.dumps(pid).encode())


def main() -> None:
    """Import everything, then serve."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.disable()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
