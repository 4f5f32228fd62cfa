"""What a child of `fork` may not touch: the files that it shares with its parent.

Parent and child share each open file, and with it the locks on it: neither would keep the other out. So what holds such
files registers here, and in a child it gives them back, by a close, which leaves the locks of the parent as they are.
"""

import os
from typing import Protocol
from weakref import WeakSet

FORKED = (
    "the store was opened before this process was forked from its parent, and belongs to that: open a Store in each "
    'process, after the fork, or have multiprocessing start processes with "spawn" or "forkserver"'
)


class Holder(Protocol):
    """Something with open files that only one process may use."""

    def leave_to_parent(self) -> None:
        """Close what is shared, take no lock, and refuse every use from now on: this is a child."""


_holders: WeakSet[Holder] = WeakSet()


def watch(holder: Holder) -> None:
    """Have `holder` told, for as long as it lives, when it finds itself in a child."""
    _holders.add(holder)


def _leave_to_parent() -> None:
    for holder in list(_holders):
        holder.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parent)
