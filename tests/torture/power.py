"""Power cuts: a session of the unmodified store is recorded, and the disk is taken away at any point of it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hft_mmap import Durability
from hft_mmap.testing import lose_power
from tests.torture.counts import Counts, Kind
from tests.torture.disk import Disk, stay_at_home
from tests.torture.kills import LONGEST_DELAY_S, acknowledged, check_twice, scratch
from tests.torture.nursery import Nursery
from tests.torture.stream import SYMBOLS, Fault, Setting, State, Stream, Totals, streams
from tests.torture.tracing import Moment, record

SESSION_CHUNKS = 3
CUTS_OF_A_SESSION = 40
SESSIONS_OF_A_LIFE = 2


class Bounds:
    """What must be there after a power cut, and what may be, by what the session told until then."""

    def __init__(self, state: State, durability: Durability) -> None:
        """Begin with what is on the disk, in full."""
        self.least = [total for total, _ in state]
        self.most = list(self.least)
        self._promises = {"durable", "ack"} if durability is Durability.SYNC else {"durable"}

    def told(self, data: bytes) -> None:
        """Take note of a line."""
        words = data.decode().split()
        if words[0] in self._promises:
            self.least[int(words[1])] = max(self.least[int(words[1])], int(words[2]))
        elif words[0] == "sent":
            self.most[int(words[1])] = int(words[2])


class Cuts:
    """Cuts the power of a recorded session at points drawn at random, and checks each state."""

    def __init__(
        self,
        nursery: Nursery,
        disk: Disk,
        setting: Setting,
        state: State,
        generator: np.random.Generator,
        kind: Kind = Kind.POWER_CUTS,
    ) -> None:
        """Begin with the files of `disk`, which are in `state`; the cuts are counted as `kind`."""
        self._kind = kind
        self._nursery = nursery
        self.setting = setting
        self._streams = streams(setting)
        self._generator = generator
        self._state = state
        self._disk = disk

    def run(self, moments: Sequence[Moment], untouched: Path, cuts: int, counts: Counts, what: str) -> State:
        """Cut the power `cuts` times; what the last cut leaves is put into `untouched`. Return its state."""
        target = untouched.with_name("crashed")
        chosen = set(self._generator.integers(0, len(moments) + 1, cuts).tolist())
        bounds = Bounds(self._state, Durability(self.setting.durability))
        state = self._state
        for i in range(len(moments) + 1):
            if i in chosen:
                shutil.rmtree(target, ignore_errors=True)
                self._disk.crash(self._generator, target)
                if i == max(chosen):
                    # What another session starts from is the disk as it was, with nothing repaired yet.
                    shutil.copytree(target, untouched)
                    stay_at_home(untouched)
                counts.add(self._kind, Durability(self.setting.durability))
                with counts.judged(f"power cut at moment {i} of {len(moments)}, {what}"):
                    state = self._check(target, (tuple(bounds.least), tuple(bounds.most)))
            if i < len(moments):
                begins, call = moments[i]
                (self._disk.begin if begins else self._disk.end)(call)
                if begins and call.name == "write":
                    bounds.told(call.strings[0])
        shutil.rmtree(target)
        return state

    def _check(self, root: Path, bounds: tuple[Totals, Totals]) -> State:
        """Check a state of the disk, every fourth one also after more appends and another cut."""
        path = root / "data"
        state = check_twice(path, self.setting, self._streams, bounds, writable=True)
        if not self._generator.integers(4):
            _cut_again(self._nursery, path, self.setting, self._streams, state)
        return state


def _cut_again(
    nursery: Nursery, path: Path, setting: Setting, all_streams: tuple[Stream, ...], state: State
) -> None:  # fmt: skip
    """Let a process append to a recovered store, kill it, cut the power as well, and check what is left."""
    child = nursery.spawn("append", path=str(path), setting=setting.fields())
    child.start()
    child.read_for(LONGEST_DELAY_S)
    child.kill()
    least = tuple(total for total, _ in state)
    most = tuple(map(Stream.after, all_streams, acknowledged(child, "ack", least)))
    lose_power(path)
    check_twice(path, setting, all_streams, (least, most), writable=True)


def power_life(nursery: Nursery, seed: int, durability: Durability, sessions: int, cuts: int, counts: Counts) -> None:
    """Record a session and cut its power; start the next session from one of the states that were left."""
    setting = Setting.drawn(seed, durability)
    generator = np.random.default_rng([seed, 97])
    state: State = ((0, 0),) * len(SYMBOLS)
    with scratch() as place:
        root, next_root = place / "disk", place / "next"
        root.mkdir()
        for number in range(sessions):
            what = f"tier {durability}, session {number}, seed {seed}"
            broken = len(counts.texts)
            cutter = Cuts(nursery, Disk(root), setting, state, generator)
            child = nursery.spawn(
                "session", path=str(root / "data"), setting=setting.fields(),
                batches=25 + SESSION_CHUNKS * setting.chunk_points // 50, most_tries=1,
            )  # fmt: skip
            moments = record(child, place / "trace")
            if child.lines()[-1] != ["done"]:
                raise Fault(f"{what}: the session did not end: {child.lines()[-3:]}")
            state = cutter.run(moments, next_root, cuts, counts, what)
            if len(counts.texts) > broken:
                return
            shutil.rmtree(root)
            next_root.rename(root)
