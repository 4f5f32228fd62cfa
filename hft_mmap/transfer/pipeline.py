"""Work side by side, in order, and never far ahead of whoever takes the results: memory stays bounded."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOOK_S = 0.1
"""How often a thread that waits looks whether it should stop."""


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield work(item) for each item, in order, computed in `threads` threads, at most one item more than those."""
    pending: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="hft-mmap-parse")
    try:
        for item in items:
            pending.append(executor.submit(work, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


class _Channel(Generic[Item]):
    """What goes from the thread that reads to the one that takes: items, an error, or None at the end."""

    def __init__(self, depth: int) -> None:
        self.queue: Queue[tuple[Item] | BaseException | None] = Queue(depth)
        self.closed = threading.Event()

    def put(self, entry: tuple[Item] | BaseException | None) -> None:
        """Hand on an entry, as soon as there is room; drop it when nobody takes any more."""
        while not self.closed.is_set():
            try:
                self.queue.put(entry, timeout=_LOOK_S)
            except Full:
                continue
            return

    def fill(self, items: Iterable[Item]) -> None:
        """Hand on the items, and what they raise."""
        taken = iter(items)
        try:
            for item in taken:
                self.put((item,))
                if self.closed.is_set():
                    return
            self.put(None)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the other thread
            self.put(error)
        finally:
            if isinstance(taken, Generator):
                taken.close()  # in this thread: what it has open, and threads of its own, end with it


def ahead(
    items: Iterable[Item], depth: int, stop: Callable[[], bool], abandon: Callable[[], None]
) -> Generator[Item, None, None]:
    """Yield the items, taken from their source in a thread of its own, at most `depth` ahead.

    Ends early once stop() is true, also while the source makes us wait. What the source raises is raised here. abandon:
    called at the end, from whatever cause; the source, if it waits, has to end its wait then. The thread has ended when
    this generator has: one that is inside of Arrow while Python ends aborts the process (SIGABRT).
    """
    channel: _Channel[Item] = _Channel(depth)
    # A daemon still: a read that hangs in the kernel can't be ended, and a second signal ends the process.
    thread = threading.Thread(target=channel.fill, args=(items,), name="hft-mmap-read", daemon=True)
    thread.start()
    try:
        while not stop():
            try:
                entry = channel.queue.get(timeout=_LOOK_S)
            except Empty:
                continue
            if entry is None:
                return
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
    finally:
        channel.closed.set()
        abandon()
        thread.join()
