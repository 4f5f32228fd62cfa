"""How much of the machine other programs took while a store was measured."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# Of the first line of /proc/stat: user, nice, system, irq, softirq, steal; not idle, nor waiting for the disk.
_BUSY = (0, 1, 2, 5, 6, 7)


@dataclass(frozen=True, slots=True)
class Busy:
    """Processor time in seconds until one moment: of the whole machine, and of this process and those it waited for."""

    at_s: float
    all_s: float
    own_s: float

    @classmethod
    def now(cls) -> Self:
        """Read the clocks."""
        fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]]
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(
            time.monotonic(),
            sum(fields[place] for place in _BUSY) / os.sysconf("SC_CLK_TCK"),
            sum(usage.ru_utime + usage.ru_stime for usage in own),
        )

    def others_since(self, earlier: "Busy") -> float:
        """Return the share of all cores that others used between the two moments, from 0 to 1.

        The kernel's own work counts with others: most of it is writing to the disk what was measured here.
        """
        others_s = (self.all_s - earlier.all_s) - (self.own_s - earlier.own_s)
        whole_s = (self.at_s - earlier.at_s) * (os.cpu_count() or 1)
        return min(max(others_s / whole_s, 0.0), 1.0)
