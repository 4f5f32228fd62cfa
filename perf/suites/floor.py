"""What lies beneath the store and can't be had for less: the kernel's own calls, and nothing of ours."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from perf.case import Case, Prepare, TimeFunction, Work, name, timed
from perf.lab import Lab
from perf.memory import touch
from perf.prices import random_walk

SPAN_BYTES = 1 << 26
"""Writes go round in so much of a file, which is in memory after the first time."""


@contextmanager
def _file(lab: Lab) -> Iterator[int]:
    with lab.scratch() as scratch:
        descriptor = os.open(scratch / "bytes", os.O_RDWR | os.O_CREAT)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _writing(descriptor: int, content: bytes) -> Callable[[], object]:
    """Return what writes `content` behind what it wrote before."""
    places = SPAN_BYTES // len(content)
    turn = 0

    def write() -> None:
        nonlocal turn
        os.pwrite(descriptor, content, turn % places * len(content))
        turn += 1

    return write


def _pwrite(points: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        touch(SPAN_BYTES)
        with _file(lab) as descriptor:
            os.pwrite(descriptor, bytes(SPAN_BYTES), 0)
            yield timed(_writing(descriptor, random_walk(points).tobytes()))

    return prepare


def _fdatasync(points: int) -> Prepare:
    @contextmanager
    def prepare(lab: Lab) -> Iterator[TimeFunction]:
        with _file(lab) as descriptor:
            write = _writing(descriptor, random_walk(points).tobytes())

            def put_on_disk() -> None:
                write()
                os.fdatasync(descriptor)

            yield timed(put_on_disk)

    return prepare


def cases() -> list[Case]:
    """Return the cases of this suite."""
    found = [
        Case(
            name("floor", "pwrite", points=n), _pwrite(n), Work(n, "points"), metadata={"durability": "page cache only"}
        )
        for n in (10, 10_000, 1_000_000)
    ]
    found.append(
        Case(name("floor", "fdatasync", points=10), _fdatasync(10), Work(10, "points"), metadata={"durability": "sync"})
    )
    return found
