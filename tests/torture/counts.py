"""What a torture run counts, and the line it ends with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.torture.stream import Fault


@dataclass(slots=True)
class Counts:
    """Faults that were made, and promises that were broken by them; each text names the seed that shows it again."""

    kills: int = 0
    service_kills: int = 0
    call_faults: int = 0
    power_cuts: int = 0
    broken: dict[str, list[str]] = field(default_factory=lambda: {"lost": [], "wrong": [], "unopenable": []})

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
        """Return the one line that a run ends with."""
        return (
            f"{self.kills} SIGKILLs of the library, {self.service_kills} of the service, "
            f"{self.call_faults} faults at system calls, {self.power_cuts} power cuts: "
            f"acknowledged points lost {len(self.broken['lost'])}, wrong statistics {len(self.broken['wrong'])}, "
            f"unopenable stores {len(self.broken['unopenable'])}"
        )
