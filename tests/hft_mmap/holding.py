"""Hold a lock of the store from another thread, as somebody who is in the middle of something does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from hft_mmap import SeriesBusy
from hft_mmap.files.locks import attempts
from hft_mmap.testing import PATIENCE_S


@contextmanager
def holding(hold: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """Have `hold` do something that goes on until the end of the block; an error that it raises instead is raised.

    Where somebody else has the lock, as the flusher while it commits, it is tried again.
    """
    begun, end = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        begun.set()
        end.wait()

    def run() -> None:
        try:
            for _ in attempts(PATIENCE_S):
                with suppress(SeriesBusy):
                    return hold(work)
            hold(work)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test that asked is told
            errors.append(error)
            begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        begun.wait()
        if errors:
            raise errors[0]
        yield
    finally:
        end.set()
        thread.join()
