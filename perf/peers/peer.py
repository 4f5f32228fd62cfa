"""What every store that is compared looks like to the measurement, ours included."""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Prices: TypeAlias = NDArray[np.float64]


class Unavailable(Exception):
    """A store that can't be measured here; the text says what is missing and how to get it."""


class Survives(StrEnum):
    """What an append survives once it has returned, with the settings that were measured."""

    CLOSE = "orderly close only"
    KILL = "kill -9, not power loss"
    MOSTLY = "power loss, less the newest"
    ALL = "power loss, all"


class Method(StrEnum):
    """How a window is answered: the time of a rescan grows with the window, that of a tree hardly does."""

    RESCAN = "rescan"
    TREE = "tree"


class Answer(NamedTuple):
    """Statistics of the newest points, as `hft_mmap.WindowStats` has them; var is the population variance."""

    min: float
    max: float
    last: float
    avg: float
    var: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What the report says about a store beside its figures.

    settings: each one that was chosen, and why. durability: what the documentation promises for these settings.
    """

    title: str
    version: str
    licence: str
    method: Method
    survives: Survives
    durability: str
    settings: tuple[str, ...]
    ours: bool = False


class Peer(ABC):
    """One store with one series of prices, used by one process; made anew for each opening.

    Making one imports what it needs, and raises Unavailable if that is not there.
    """

    @abstractmethod
    def facts(self) -> Facts:
        """Return what the report says; called while the store is open."""

    @abstractmethod
    def open(self, path: Path) -> None:
        """Open the series below the directory `path`, which exists and is empty at first. Raises Unavailable."""

    @abstractmethod
    def append(self, batch: Prices) -> None:
        """Append prices; a query right after sees them."""

    def settle(self) -> None:  # noqa: B027 - most need nothing
        """Do what the documentation advises once much has been appended; not in the figures."""

    @abstractmethod
    def query(self, window: int) -> Answer:
        """Return the statistics of the newest `window` prices; as many are there."""

    @abstractmethod
    def close(self) -> None:
        """Close in order, as one would before a restart of the machine."""

    def peak_memory_bytes(self) -> int:
        """Return VmHWM of the process that holds the data: this one, unless the store is a server."""
        return peak_memory_bytes(os.getpid())

    def other_variances(self, window: int) -> dict[str, float]:  # noqa: ARG002 - most have one variance only
        """Return what the store's other ways to the same variance give, by name."""
        return {}


def peak_memory_bytes(pid: int) -> int:
    """Return the most memory that a process has held at once, pages of mapped files that it read included."""
    return status_bytes(pid, "VmHWM")


def status_bytes(pid: int, key: str) -> int:
    """Return a size from /proc/PID/status, 0 if there is none."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    return 0


def bytes_on_disk(path: Path) -> int:
    """Return the disk space allocated to everything below `path`; holes in sparse files count nothing."""
    blocks = 0
    for directory, _, names in os.walk(path):
        for name in names:
            blocks += (Path(directory) / name).lstat().st_blocks
    return 512 * blocks
