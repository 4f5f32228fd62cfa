"""One reader of one document, who tries every example in the order they stand in: a bash and a Python namespace.

Both work in one scratch folder, where a real service runs on a port of its own; `127.0.0.1:8080` in an example means
that port. `hft-mmap` and `python` on the path are those under test.
"""

import contextlib
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.docs.markdown import Block, matches, printed, steps
from tests.hatchery import can_hatch, hatch_in_place
from tests.service import COMMAND, environment, running_service

DOCUMENTED_ADDRESS = "127.0.0.1:8080"
PROGRESS = '{"event":"importing",'
"""How a line of progress begins: one a second on standard error, so a busy machine decides whether there is any."""


SHIM = """#!{python} -IS
import json, os, socket, sys
if sys.argv[1] in ("serve", "demo"):
    os.execv({program[0]!r}, [*{program!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as ask:
    ask.connect({address!r})
    request = {{"args": sys.argv[1:], "directory": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(ask, [json.dumps(request).encode()], [1, 2, 0])
    sys.exit(int(ask.recv(16)) % 256)
"""
"""`hft-mmap` as a reader calls it, forked by `tests.hatchery`.

PERF: a document of forty commands imports Python's packages once, in place of forty times, for a second each.
"""


class Stale(AssertionError):
    """An example does not do what its document says."""


class Reader:
    """Runs blocks; state goes from one to the next, as it does for someone who follows the document."""

    def __init__(self, directory: Path, port: int, *, forking: bool = False) -> None:
        """Start a bash in `directory`, as someone would who has a service on `port`.

        forking: commands that end by themselves are forked from a process that has imported everything.
        """
        self._directory = directory
        self._address = f"127.0.0.1:{port}"
        self._names: dict[str, Any] = {"__name__": "__example__"}
        commands = directory / ".commands"
        commands.mkdir()
        for name, program in (("hft-mmap", COMMAND), ("python", [sys.executable])):
            command = commands / name
            command.write_text(f'#!/bin/sh\nexec {" ".join(program)} "$@"\n')
            command.chmod(0o755)
        variables = environment({"server.port": port} if port else {})
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if forking and can_hatch(variables):
            self._fork_commands(commands)
        self._bash = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc"],
            cwd=directory,
            env=variables | {"PATH": f"{commands}:{variables['PATH']}", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # what it leaves in the background ends with it
        )

    def _fork_commands(self, commands: Path) -> None:
        address = str(commands / "socket")
        self._listener.bind(address)
        self._listener.listen()
        (commands / "hft-mmap").write_text(SHIM.format(python=sys.executable, program=list(COMMAND), address=address))
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        """Fork what the shims ask for, until the reader is closed."""
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._answer_one, args=(self._listener.accept()[0],), daemon=True).start()

    @staticmethod
    def _answer_one(asking: socket.socket) -> None:
        with asking:
            raw, streams, _, _ = socket.recv_fds(asking, 1 << 17, 3)
            asking.send(str(hatch_in_place(json.loads(raw), streams)).encode())

    def run(self, block: Block) -> None:
        """Run one block; raise Stale if it does not do what the document says."""
        if block.language == "console":
            for step in steps(block):
                status, output = self._shell(step.command.replace(DOCUMENTED_ADDRESS, self._address))
                self._compare(f"{block.path}:{step.line}: {step.command}", step.expected, output)
                # A command that shows no output has nothing else by which the document could be wrong.
                if status and not step.expected:
                    raise Stale(f"{block.path}:{step.line}: {step.command}: exit status {status}")
        else:
            self._compare(f"{block.path}:{block.line}", printed(block), self._python(block))

    def close(self) -> None:
        """End the bash and everything that it started."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends the wait of the thread
        self._listener.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()
        for stream in (self._bash.stdin, self._bash.stdout):
            if stream is not None:
                stream.close()

    def _compare(self, where: str, expected: str, output: str) -> None:
        expected = expected.replace(DOCUMENTED_ADDRESS, self._address)
        if not matches(expected, output):
            raise Stale(f"{where}\n--- the document says\n{expected}\n--- it prints\n{output}")

    def _shell(self, command: str) -> tuple[int, str]:
        """Return exit status and output of a command, standard error included, run in this bash and not below it."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        mark = f"done-{secrets.token_hex(8)}"
        self._bash.stdin.write(f'{{\n{command}\n}} < /dev/null\necho "{mark} $?"\n')
        self._bash.stdin.flush()
        output = ""
        for line in self._bash.stdout:
            if line.startswith(PROGRESS):
                continue
            output += line
            before, found, status = output.rpartition(mark)
            if found:
                return int(status), before
        raise Stale(f"bash ended in: {command}\n{output}")

    def _python(self, block: Block) -> str:
        # Blank lines in front: a traceback then names the line of the document.
        source = "\n" * (block.line - 1) + block.text.replace(DOCUMENTED_ADDRESS, self._address)
        output = io.StringIO()
        with contextlib.chdir(self._directory), contextlib.redirect_stdout(output):
            exec(compile(source, str(block.path), "exec"), self._names)  # noqa: S102 - running it is the test
        return output.getvalue()


@contextmanager
def reading(directory: Path, *, with_service: bool, forking: bool = False) -> Iterator[Reader]:
    """Yield a reader in `directory`, next to a service with the settings it has by default if `with_service`."""
    with ExitStack() as stack:
        port = 0
        if with_service:
            # The points allocated by default; tests elsewhere take fewer.
            port = stack.enter_context(running_service(directory, store__starting_capacity=1_000_000)).port
        reader = Reader(directory, port, forking=forking)
        stack.callback(reader.close)
        yield reader
