"""What a replica has read, and the rule by which a record counts. The same records give the same state, always.

No clock, no setting and no limit is looked at here. For each record, in this order:

1. It was read before: skip it.
2. It was decided on an older state than there was (`prev` lies before the last that counted): drop it. It is a repeat,
   or its writer came second.
3. Its parent is not the record that counted last: the log has lost records, or others stand in their place. Stop.
4. Else each entry: what the symbol holds already, the same, is skipped, as at a second reading; what goes on at its
   end is appended, and a first point makes its symbol; anything else stops the replica.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from api.cluster.block import NO_PARENT, BadBlock, Block, Entry, Kind, decode
from api.cluster.points import Points
from hft_mmap import Limits


class Stopped(Exception):
    """The replica must not go on: what the log has does not fit what it holds. Never passes by itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a replica has got.

    applied: the last sequence read; accepted: the last that counted, whose id is `parent`. sealed: symbols that take no
    more points here; moved: the shard of those that are elsewhere by now. retention: the most points a symbol keeps,
    and those that a cleanup keeps, None before the log has said.
    """

    applied: int = 0
    accepted: int = 0
    parent: bytes = NO_PARENT
    sealed: frozenset[str] = field(default_factory=frozenset)
    retention: tuple[int, int] | None = None
    moved: Mapping[str, int] = field(default_factory=dict)

    def limits(self) -> Limits:
        """Return the limits by which points are kept."""
        return Limits(*(self.retention or ()))


class State:
    """The points of a shard, and how far they go in its log."""

    def __init__(self, points: Points, place: Place) -> None:
        self.points = points
        self.place = place
        self.blocks = self.dropped = 0

    def take(self, sequence: int, data: bytes) -> Block | None:
        """Take the next record; return it if it counts, None if it was dropped or read before.

        Stopped; HftMmapError where the disk does not take points: then the same record has to be taken again.
        """
        place = self.place
        if sequence <= place.applied:
            return None
        try:
            block = decode(data)
        except BadBlock as error:
            raise Stopped(f"record {sequence} of the log can't be applied: {error}") from error
        if block.prev < place.accepted:
            self.dropped += 1
            self.place = replace(place, applied=sequence)
            return None
        if block.parent != place.parent:
            if place.parent == NO_PARENT:
                raise Stopped(
                    f"record {sequence} of the log goes on from points that this replica does not hold: bootstrap it"
                )
            raise Stopped(
                f"record {sequence} of the log goes on from another history than this replica has: records were lost "
                "or replaced; see docs/cluster.md"
            )
        for entry in block.entries:
            place = self._apply(sequence, entry, place)
        self.blocks += 1
        self.place = replace(place, applied=sequence, accepted=sequence, parent=block.ident)
        return block

    def _apply(self, sequence: int, entry: Entry, place: Place) -> Place:
        """Apply one entry, and return the place with what it changes there."""
        if entry.kind is Kind.SEAL:
            return replace(place, sealed=place.sealed | {entry.symbol})
        if entry.kind is Kind.MOVED:
            return replace(place, moved={**place.moved, entry.symbol: entry.numbers[0]})
        if entry.kind is Kind.LIMITS:
            most, keep = entry.numbers[:2]
            self.points.retain(most, keep)
            return replace(place, retention=(most, keep))
        total = self.points.total(entry.symbol)
        if entry.offset + len(entry.batch.prices) <= total:
            if not self.points.holds(entry.symbol, entry.batch, entry.offset):
                raise Stopped(
                    f"record {sequence} of the log has other points of {entry.symbol} than this replica holds"
                )
            return place
        if entry.kind is Kind.BEGIN and not total:
            self.points.begin(entry.symbol, entry.batch, entry.offset)
            return place
        if entry.offset != total:
            raise Stopped(
                f"record {sequence} of the log appends to {entry.symbol} at {entry.offset}, and it ends at {total} here"
            )
        self.points.append(entry.symbol, entry.batch, entry.offset)
        return place
