"""A process that has imported everything and forks a child for each task: some milliseconds instead of a second.

A child tells its parent what it did by lines through a pipe, which outlive it, and starts when it is told to, so that
a tracer can be attached before.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from functools import cache
from typing import Any

from tests.service import PATIENCE_S, ROOT


class Child:
    """A child at its task."""

    def __init__(self, nursery: "Nursery", pid: int, out: int, go: int) -> None:
        """Take over the reading end of what it tells, and the writing end of what it waits for."""
        self.pid = pid
        self._nursery = nursery
        self._out = out
        self._go = go
        self._text = b""
        self._ended = False
        self._waited = False

    def start(self) -> None:
        """Let it begin."""
        os.write(self._go, b"!")

    def read_for(self, seconds: float) -> None:
        """Read what it tells for so long, or until it ends."""
        deadline = time.monotonic() + seconds
        while not self._ended and (rest := deadline - time.monotonic()) > 0:
            if select.select([self._out], [], [], rest)[0]:
                read = os.read(self._out, 1 << 20)
                self._text += read
                self._ended = not read

    @property
    def has_ended(self) -> bool:
        """Whether it was seen to end while it was read."""
        return self._ended

    def lines(self) -> list[list[str]]:
        """Return the words of each line that it told so far."""
        return [line.split(" ") for line in self._text.decode().split("\n")[:-1]]

    def wait(self) -> int:
        """Return its exit code (-9: killed) once it has ended, with everything read that it told."""
        self.read_for(PATIENCE_S)
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
        self._waited = True
        os.close(self._out)
        os.close(self._go)
        code = int(self._nursery.ask({"wait": self.pid}))
        assert self._ended, f"a child did not end within {PATIENCE_S} s; it told {self.lines()[-5:]}"
        return code

    def end(self) -> None:
        """Kill it if nobody has waited for its end."""
        if not self._waited:
            self.kill()

    def kill(self) -> int:
        """Kill it as `kill -9` does, if it has not ended; return its exit code."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()


class Nursery:
    """The process that forks, seen from the outside."""

    def __init__(self) -> None:
        """Start it; it is ready when it answers the first request."""
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.torture.nursery", str(other.fileno())]
        self._turn = threading.Lock()
        self._process = subprocess.Popen(command, pass_fds=[other.fileno()], cwd=ROOT)
        other.close()

    def ask(self, request: dict[str, Any], *fds: int) -> Any:
        """Send a request and return the answer; threads take turns."""
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(request).encode()], fds)
            return json.loads(self._socket.recv(1 << 16))

    def spawn(self, task: str, **arguments: object) -> Child:
        """Fork a child for `task` of tests/torture/tasks.py; it waits for `start`."""
        out, out_child = os.pipe()
        go_child, go = os.pipe()
        pid = self.ask({"task": task, "arguments": arguments}, out_child, go_child)
        os.close(out_child)
        os.close(go_child)
        return Child(self, int(pid), out, go)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait(PATIENCE_S)


@cache
def shared_nursery() -> Nursery:
    """Return the one nursery of this process, which ends with it."""
    made = Nursery()
    atexit.register(made.close)
    return made


def _live(request: dict[str, Any], out: int, go: int) -> None:
    """Be the child: wait for the start, do the task, tell what went wrong, end."""
    from tests.torture import tasks  # noqa: PLC0415 - the parent of all tests needs none of it

    code = 1
    try:
        if os.read(go, 1):
            getattr(tasks, request["task"])(out, **request["arguments"])
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        os.write(out, f"crash {json.dumps(traceback.format_exc())}\n".encode())
    os._exit(code)


def main() -> None:
    """Answer requests until the other end closes."""
    from tests.torture import tasks  # noqa: PLC0415 - the same

    tasks.warm_up()
    gc.collect()
    gc.freeze()
    connection = socket.socket(fileno=int(sys.argv[1]))
    while True:
        raw, fds, _, _ = socket.recv_fds(connection, 1 << 16, 2)
        if not raw:
            return
        request = json.loads(raw)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                connection.close()
                _live(request, *fds)
            for fd in fds:
                os.close(fd)
        connection.send(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
