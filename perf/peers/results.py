"""What was found about each store, as it is kept in perf/results/ and as the report reads it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perf.peers.peer import Facts, Method, Survives


@dataclass(frozen=True, slots=True)
class WindowTime:
    """How long a window took before the restart, and how far its answer was from the exact one."""

    window: int
    repeats: int
    median_s: float
    p95_s: float
    exact_ends: bool  # min, max and last are the very values
    avg_error: float  # relative
    var_error: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A window that was not asked for, because it would have taken too long."""

    window: int
    expected_s: float


@dataclass(frozen=True, slots=True)
class PeerResult:
    """One store. None where something was not measured; `problems` says why."""

    name: str
    facts: Facts | None
    problems: tuple[str, ...]
    most_points: int | None
    points: int = 0
    append_s: float | None = None
    batch_median_s: float | None = None
    batch_p95_s: float | None = None
    batch_worst_s: float | None = None
    windows: tuple[WindowTime, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    harness_bytes: int | None = None
    peak_bytes: int | None = None
    disk_bytes: int | None = None
    settle_s: float | None = None
    close_s: float | None = None
    restart_open_s: float | None = None
    restart_process_s: float | None = None
    restart_same: bool | None = None
    var_error: float | None = None
    other_var_errors: Mapping[str, float] | None = None
    others_share: float | None = None  # of all cores, while this store was measured
    spent_s: float = 0.0
    most_points_why: str = ""

    @property
    def title(self) -> str:
        """Return how people call it."""
        return self.facts.title if self.facts else self.name

    @property
    def rate(self) -> float | None:
        """Return points appended a second."""
        return self.points / self.append_s if self.append_s else None

    def window(self, window: int) -> WindowTime | None:
        """Return what was measured for a window."""
        return next((found for found in self.windows if found.window == window), None)

    def extrapolated_s(self, window: int) -> float | None:
        """Return what a rescan of a larger window would take, in proportion; None if there is no ground for it."""
        if self.facts is None or self.facts.method is not Method.RESCAN or not self.windows:
            return None
        largest = self.windows[-1]
        return largest.median_s * window / largest.window if largest.window < window else None


@dataclass(frozen=True, slots=True)
class Run:
    """One run over all stores."""

    date: str
    points: int
    batch_points: int
    append_limit_s: float
    query_limit_s: float
    restart_limit_s: float
    spent_s: float
    environment: Mapping[str, str]
    peers: tuple[PeerResult, ...]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Run":
        """Read what `save` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**found, "peers": tuple(_peer(peer) for peer in found["peers"])})


def _peer(found: dict[str, Any]) -> PeerResult:
    return PeerResult(
        **{
            **found,
            "facts": facts_of(found["facts"]) if found["facts"] else None,
            "problems": tuple(found["problems"]),
            "windows": tuple(WindowTime(**window) for window in found["windows"]),
            "skipped": tuple(Skipped(**skipped) for skipped in found["skipped"]),
        }
    )


def facts_of(found: Mapping[str, Any]) -> Facts:
    """Return the facts from JSON."""
    return Facts(
        **{
            **found,
            "method": Method(found["method"]),
            "survives": Survives(found["survives"]),
            "settings": tuple(found["settings"]),
        }
    )
