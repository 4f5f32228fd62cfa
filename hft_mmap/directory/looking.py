"""Series that nobody has asked for yet: looked at in a thread of their own, one after the other, and let go of again.

A store of many symbols opens none of them at its start. Each is opened by its first use, which proves it as every
opening does; and this thread comes by all others, so that what has to be set aside is told of within a minute, whoever
asks for it. What is sound costs neither descriptors nor memory afterwards.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class NobodyCommits:
    """What a series takes for the flusher that is committed by whoever has opened it, and by nobody else."""

    def __init__(self) -> None:
        """Prepare a queue that nobody reads."""
        self.requests: SimpleQueue[Any] = SimpleQueue()

    def wake(self, series: object) -> None:
        """Do nothing: there is nobody."""

    def look_after(self) -> str | None:
        """Return None: nothing is amiss."""
        return None


class Looker:
    """A thread that has `look` done for one symbol after the other, until none is left or it is stopped."""

    def __init__(self, look: Callable[[], bool]) -> None:
        """`look` looks at one symbol, and says whether more are left."""
        self._look = look
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def look_after(self) -> None:
        """Start the thread where it could not be started before."""
        with self._starting:
            if self._thread is None and not self._stopped:
                thread = threading.Thread(target=self._run, name="hft-mmap-looker", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no thread is to be had now: whoever asks how the store stands tries again
                    return
                self._thread = thread

    def _run(self) -> None:
        while not self._stopped and self._look():
            pass

    def stop(self) -> None:
        """Look at no more, and return when the last was looked at."""
        self._stopped = True
        with self._starting:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
