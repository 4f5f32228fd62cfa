"""Which series have descriptors: a bounded number, whatever the number of symbols.

What is mapped is read without any. Only who writes to a series, or commits it, needs its head and its newest chunk
open; of those the ones that were used last keep them, and the others open them again when they are written to.
"""

import resource
import threading
from collections import OrderedDict
from typing import Protocol
from weakref import ref

LEAST = 100
"""So many series keep their descriptors in any case."""
_OF_ALL = 8
"""One series for so many files that the system allows: with two each, four with columns, at most half of them."""
_WITHOUT_LIMIT = 1 << 20


class Resting(Protocol):
    """A series, to whoever counts the descriptors."""

    def rest(self) -> bool:
        """Close the descriptors that nothing needs now; return False where that can't be done at this moment."""


def most_awake() -> int:
    """Return how many series of a store may have descriptors at once, by the limit of open files of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max((_WITHOUT_LIMIT if soft == resource.RLIM_INFINITY else soft) // _OF_ALL, LEAST)


class Descriptors:
    """The series of one store that have descriptors, in the order of their last use. For any number of threads."""

    def __init__(self, most: int) -> None:
        """Let `most` series have them, and those in use at this moment."""
        self.most = most
        self._lock = threading.Lock()
        # By reference only: whoever drops a series closes it by that.
        self._awake: OrderedDict[ref[Resting], None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many series have descriptors."""
        return len(self._awake)

    def used(self, series: Resting) -> None:
        """Note that `series` has descriptors, and is being used; beyond the bound the one used longest ago loses its.

        Waits for no series. The caller has the lock of `series` between threads.
        """
        self._note(series)
        self.let_rest()

    def let_rest(self) -> None:
        """Have those beyond the bound close theirs, the one used longest ago first; each is asked once."""
        for _ in range(len(self._awake) - self.most):
            idle = self._take_first()
            if idle is not None and not idle.rest():
                self._note(idle)

    def forget(self, series: Resting) -> None:
        """Note that `series` was closed."""
        with self._lock:
            self._awake.pop(ref(series), None)

    def _note(self, series: Resting) -> None:
        """Put `series` behind all others."""
        awake = self._awake
        with self._lock:
            awake.pop(ref(series), None)
            awake[ref(series, lambda gone: awake.pop(gone, None))] = None

    def _take_first(self) -> Resting | None:
        """Take the one used longest ago, if there is one too many by now: other threads take some as well."""
        with self._lock:
            return self._awake.popitem(last=False)[0]() if len(self._awake) > self.most else None
