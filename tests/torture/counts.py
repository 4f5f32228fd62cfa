"""What a torture run counts, tier by tier, and how it tells: a table to read, and a line of JSON to quote."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from hft_mmap import Durability
from tests.torture.stream import Fault


class Kind(StrEnum):
    """The kinds of faults that are counted."""

    KILLS = "SIGKILLs of the library"
    SERVICE_KILLS = "SIGKILLs of the service"
    CALL_FAULTS = "faults at system calls"
    POWER_CUTS = "power cuts"
    FUSE_CUTS = "power cuts of a FUSE disk"
    EXT4_CUTS = "power cuts of an ext4"
    DEVICES = "devices that went and came back"
    WRITEBACKS = "failed writebacks"


@dataclass(slots=True)
class Counts:
    """Faults that were made, and promises that were broken by them; each text names the seed that shows it again."""

    made: Counter[tuple[Kind, Durability]] = field(default_factory=Counter)
    broken: dict[str, list[str]] = field(default_factory=lambda: {"lost": [], "wrong": [], "unopenable": []})

    def add(self, kind: Kind, durability: Durability, n: int = 1) -> None:
        """Count `n` faults."""
        self.made[kind, durability] += n

    def of(self, kind: Kind, durability: Durability | None = None) -> int:
        """Return how many faults of a kind were made, in one tier or in all."""
        return sum(n for (made, tier), n in self.made.items() if made is kind and durability in {None, tier})

    @contextmanager
    def judged(self, what: str) -> Iterator[None]:
        """Count whatever the checks inside raise, with `what` was done before."""
        try:
            yield
        except Fault as fault:
            self.broken[fault.kind].append(f"{what}: {fault}")
        except AssertionError as error:
            self.broken["wrong"].append(f"{what}: {error}")

    @property
    def texts(self) -> list[str]:
        """Return every broken promise."""
        return [f"{kind}: {text}" for kind, texts in self.broken.items() for text in texts]

    def __str__(self) -> str:
        """Return all of it in one line."""
        made = ", ".join(f"{self.of(kind)} {kind}" for kind in Kind)
        return (
            f"{made}: acknowledged points lost {len(self.broken['lost'])}, wrong statistics "
            f"{len(self.broken['wrong'])}, unopenable stores {len(self.broken['unopenable'])}"
        )

    def table(self) -> str:
        """Return a line for each tier, and one for all."""
        rows = [["tier", *Kind]]
        rows += [[tier, *(str(self.of(kind, tier)) for kind in Kind)] for tier in Durability]
        rows += [["all", *(str(self.of(kind)) for kind in Kind)]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

    def as_json(self, **more: object) -> str:
        """Return a line of JSON: the counts by tier, the promises broken, and whatever else is to be told."""
        tiers = {tier.value: {kind.name.lower(): self.of(kind, tier) for kind in Kind} for tier in Durability}
        totals = {kind.name.lower(): self.of(kind) for kind in Kind}
        return json.dumps(more | {"total": totals, "tiers": tiers, "broken": self.broken}, ensure_ascii=False)
