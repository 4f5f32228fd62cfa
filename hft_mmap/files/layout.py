"""Where things lie in a chunk file, and in the files of its columns."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hft_mmap.tree.kernels import FAN_OUT, MAX_LEVELS, NODE_BYTES

FOOTER_BYTES = 4096
MAX_CHUNK_POINTS = 1 << 40
"""Nine terabytes; what lies above is a damaged number, and byte offsets would leave 64 bits."""


class Kind(NamedTuple):
    """What a column holds: one number of 8 bytes for each point, beside its price, in a file of its own.

    number: what the files call it, and 1 << (number - 1) its bit in the head. name: what callers call it.
    """

    number: int
    name: str
    suffix: str
    dtype: str

    @property
    def bit(self) -> int:
        """The bit of this kind in the head."""
        return 1 << (self.number - 1)


TIME = Kind(1, "times", ".time", "<i8")
"""Nanoseconds since 1970 UTC; never less than that of the point before."""
SIZE = Kind(2, "sizes", ".size", "<f8")
"""A finite number of at most MAX_PRICE, whose sign is the aggressor's: + bought, - sold; never -0.0."""
KINDS = (TIME, SIZE)


class Group(NamedTuple):
    """What summarises the points of a chunk: nodes beside those of the chunk, in a file of its own.

    number: what the file calls it. bit: what `tree.groups` calls it. fields: float64 numbers of a node. kinds: the
    columns that it is made of beside the prices; one of them has to be there.
    """

    number: int
    name: str
    suffix: str
    fields: int
    kinds: tuple[Kind, ...] = ()

    @property
    def bit(self) -> int:
        """The bit of this group among those that are wanted."""
        return 1 << (self.number - 1)


GROUPS = (
    Group(1, "returns", ".returns", 2), Group(2, "extremes", ".extremes", 2), Group(3, "moments", ".moments", 4),
    Group(4, "trades", ".trades", 5, KINDS),
)  # fmt: skip
"""What may be kept of a series; see `tree.groups`, and `tree.trade_nodes` for the last."""
SUFFIXES = (*(kind.suffix for kind in KINDS), *(group.suffix for group in GROUPS))
"""What lies beside a chunk."""


def groups_named(names: Iterable[str]) -> tuple[Group, ...]:
    """Return the groups of these names, in the order of their numbers; ValueError for a name of none."""
    wanted = set(names)
    known = [group.name for group in GROUPS]
    for name in sorted(wanted.difference(known)):
        message = f"there is no group {name!r}; there are {', '.join(known)}"
        raise ValueError(message)
    return tuple(group for group in GROUPS if group.name in wanted)


def kinds_of(bits: int) -> tuple[Kind, ...]:
    """Return the kinds whose bits are in `bits`, in the order of their numbers; ValueError for bits of none."""
    if bits < 0 or bits >> len(KINDS):
        message = f"columns of kinds {bits:#x}, this release knows {', '.join(kind.name for kind in KINDS)}"
        raise ValueError(message)
    return tuple(kind for kind in KINDS if bits & kind.bit)


def bits_of(kinds: Iterable[Kind]) -> int:
    """Return the bits of `kinds`."""
    return sum(kind.bit for kind in kinds)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a chunk of `points` values, and which columns lie beside it.

    `levels` node levels lie above the values; `offsets[k]` is the byte at which level k starts (0: the values). A
    column has its values from its first byte on, and its footer at `column_footer`.
    """

    points: int
    levels: int
    offsets: tuple[int, ...]
    footer: int
    size: int
    kinds: tuple[Kind, ...] = ()

    @staticmethod
    @lru_cache(maxsize=16)  # chunks are of a few sizes in a process, often of one
    def of(points: int, kinds: tuple[Kind, ...] = ()) -> "Layout":
        """Return the layout of chunks of `points` values, a multiple of 64 up to MAX_CHUNK_POINTS; else ValueError."""
        if not 0 < points <= MAX_CHUNK_POINTS or points % FAN_OUT:
            message = f"chunk_points must be a multiple of {FAN_OUT} from {FAN_OUT} to {MAX_CHUNK_POINTS}, not {points}"
            raise ValueError(message)
        offsets = [0]
        end = 8 * points
        while len(offsets) < MAX_LEVELS and points % FAN_OUT ** len(offsets) == 0:
            nodes = points // FAN_OUT ** len(offsets)
            offsets.append(end)
            end += NODE_BYTES * nodes
        footer = -(-end // FOOTER_BYTES) * FOOTER_BYTES
        return Layout(points, len(offsets) - 1, tuple(offsets), footer, footer + FOOTER_BYTES, kinds)

    @property
    def column_footer(self) -> int:
        """Where the footer of a column begins."""
        return -(-8 * self.points // FOOTER_BYTES) * FOOTER_BYTES

    def group_offset(self, group: Group, level: int) -> int:
        """Return the byte at which level `level`, from 1, starts in the file of a group; behind the last, its end."""
        return 8 * group.fields * sum(self.nodes(below) for below in range(1, level))

    def group_footer(self, group: Group) -> int:
        """Return where the footer of the file of a group begins."""
        return -(-self.group_offset(group, self.levels + 1) // FOOTER_BYTES) * FOOTER_BYTES

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups that can be made: those for which the points have a column, if they need one."""
        return tuple(group for group in GROUPS if not group.kinds or not set(group.kinds).isdisjoint(self.kinds))

    def nodes(self, level: int) -> int:
        """Return how many nodes a full chunk has at `level`."""
        return self.points // int(FAN_OUT**level)
