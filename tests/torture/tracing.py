"""The system calls of a child, by strace: recorded, or made to fail."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service import PATIENCE_S
from tests.torture.nursery import Child

RECORDED = (
    "openat", "close", "mkdir", "rmdir", "unlink", "rename", "ftruncate", "fallocate", "pwrite64", "write", "fsync",
    "fdatasync",
)  # fmt: skip
"""Everything that hft_mmap changes or syncs files with, and the `write` by which a child tells what it did."""

_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)")
_RESULT = re.compile(r"\) += (-?\d+|\?)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace (Debian package strace)")


@dataclass(slots=True)
class Call:
    """A system call: its name, the strings among its arguments, and the rest of them as text."""

    name: str
    strings: list[bytes]
    arguments: list[str]
    result: int | None = None

    @property
    def fd(self) -> int:
        """Return the first argument."""
        return int(self.arguments[0])

    @property
    def path(self) -> str:
        """Return the first string."""
        return self.strings[0].decode()


Moment = tuple[bool, Call]
"""A call that begins (True) or ends (False)."""


def parse(lines: Iterable[str]) -> Iterator[Moment]:
    """Yield what strace recorded, in order; calls of several threads overlap."""
    open_calls: dict[str, Call] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        thread, resumed, name, text = match.groups()
        if name:
            strings = [bytes.fromhex(found.replace("\\x", "")) for found in _STRING.findall(text)]
            plain = _RESULT.split(_STRING.sub('""', text).partition(" <unfinished")[0])[0]
            open_calls[thread] = Call(name, strings, plain.split(", "))
            yield True, open_calls[thread]
        if resumed or "<unfinished" not in text:
            call = open_calls.pop(thread)
            result = _RESULT.search(_STRING.sub('""', text))
            call.result = int(result[1]) if result and result[1] != "?" else None
            yield False, call


def _is_traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


@contextmanager
def traced(child: Child, log: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Attach strace to a child that waits, have it start, and yield strace, which ends with the child.

    Told to terminate, strace lets go of the child, which goes on with nothing injected any more.
    """
    command = ["strace", "-f", "-q", "-o", str(log), *options, "-p", str(child.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        deadline = time.monotonic() + PATIENCE_S
        while not _is_traced(child.pid) and strace.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        if strace.poll() is not None:
            child.kill()
            pytest.skip(f"strace can't attach here: {strace.communicate()[1]}")
        child.start()
        try:
            yield strace
        except BaseException:  # else a child that is stopped, or waits, would hold up the news for ever
            child.end()
            raise
        finally:
            strace.communicate(timeout=PATIENCE_S)


def record(child: Child, log: Path) -> list[Moment]:
    """Let the child do its task, and return its system calls."""
    with traced(child, log, "-xx", "-s", "1000000", "-e", f"trace={','.join(RECORDED)}"):
        code = child.wait()
    assert code == 0, child.lines()[-3:]
    with log.open() as lines:
        return list(parse(lines))
