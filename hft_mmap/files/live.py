"""The live words of a head file, as every process of this run of the machine sees them: one aligned store each."""

import os

import numpy as np
from numpy.typing import NDArray

from hft_mmap.files.blocks import MAX_TOTAL, settled_of
from hft_mmap.files.boot import Boot
from hft_mmap.files.marks import Mark, wrapped
from hft_mmap.tree.words import (
    BOOT_CLOCK,
    BOOT_ID,
    EPOCH,
    FLAGS,
    FLAGS_CHECK,
    NEWEST,
    RING,
    RING_PLACES,
    SALT,
    SETTLED,
    START,
    TAG_BITS,
    TAG_MASK,
    TOTAL,
    UNTOLD,
    UNTOLD_FROM,
)

FLAG_SYNC_FAILED = 1
"""Live flag: an fsync failed in this run of the machine, so pages may be clean in memory and not on the disk."""

FLAG_CLEAN = 2
"""Live flag: the newest slot is a clean one, so nothing may be published before one that is not is on the disk."""

FLAG_LEFT = 4
"""Live flag: the series was about to lose its name. Whoever would write looks first whether it still has it."""


def _tagged(total: int, salt: int) -> int:
    """Return what a place of the ring holds for `total` under `salt`."""
    return (salt & TAG_MASK) << TAG_BITS | total


class LiveWords:
    """The words of a mapped head file. Not locked: the series that owns it decides who may write, and when."""

    __slots__ = ("_array", "unsettled", "words")

    def __init__(self, array: NDArray[np.int64]) -> None:
        """Take the whole file as the int64 that it is mapped to."""
        self._array = array
        self.unsettled = False
        # PERF: reading a word through a memoryview takes 35 ns, through a numpy array 75 ns.
        self.words: memoryview = self._array.data.cast("B").cast("q")

    def raise_flag(self, flag: int) -> None:
        """Set a live flag. The caller is `committing`."""
        self.store_flags(self.words[FLAGS] | flag)

    def lower_flag(self, flag: int) -> None:
        """Clear a live flag. The caller is `committing`."""
        self.store_flags(self.words[FLAGS] & ~flag)

    def store_flags(self, flags: int) -> None:
        """Store the live flags. The caller is `committing`."""
        self.store(FLAGS, flags)
        self.store(FLAGS_CHECK, ~flags)

    def store(self, word: int, value: int) -> None:
        """Store one live word. numpy writes an aligned int64 with one 8-byte store, which readers see whole."""
        self._array[word] = value

    def live_boot(self) -> Boot:
        """Return the run of the machine in which the live words were last written."""
        raw = bytes(self._array[BOOT_ID : BOOT_ID + 2].tobytes())
        return Boot(raw, self.words[BOOT_CLOCK])

    def mark(self, total: int) -> Mark | None:
        """Return the running checksum that the ring has for `total`; None if a release that knows none published it."""
        place, salt = RING + 2 * (self.words[NEWEST] % RING_PLACES), self.words[SALT]
        # PERF: nearly always it is the newest, and a dictionary of all 64 takes 0.1 ms.
        if self.words[EPOCH] and self.words[place] == _tagged(total, salt):
            return Mark(self.words[EPOCH], wrapped(self.words[place + 1] - salt))
        return self.marks().get(total)

    def marks(self) -> dict[int, Mark]:
        """Return the marks of the newest publications, by their totals.

        Another process may publish meanwhile: a place that it has written between two looks is left out. Whoever needs
        that of a total looks at the total first.
        """
        epoch, salt = self.words[EPOCH], self.words[SALT]
        # A place that was never taken is the mark of no points, which is no harm.
        return {total: Mark(epoch, wrapped(checksum - salt)) for total, checksum in self._ring(salt).tolist() if epoch}

    def _ring(self, salt: int) -> NDArray[np.int64]:
        """Return the places of the ring of `salt` that nobody wrote between two looks: rows of a total, a checksum."""
        ring = self._array[RING : RING + 2 * RING_PLACES].reshape(RING_PLACES, 2)
        places: NDArray[np.int64] = ring.copy()
        places = places[(places == ring).all(axis=1) & (places[:, 0] >> TAG_BITS == salt & TAG_MASK)]
        places[:, 0] &= ~(TAG_MASK << TAG_BITS)
        return places

    def is_in_order(self) -> bool:
        """Say whether the ring ends with the live total, or with a publication that was about to follow it."""
        newest = self.words[NEWEST]
        if not self.words[EPOCH]:
            return True
        if not 0 <= newest < RING_PLACES:
            return False
        last, before = (self.words[RING + 2 * ((newest - age) % RING_PLACES)] for age in (0, 1))
        total = _tagged(self.words[TOTAL], self.words[SALT])
        return bool(last == total or (last > total == before and last >> TAG_BITS == total >> TAG_BITS))

    def is_ahead(self, total: int) -> bool:
        """Say whether the ring has a publication of more than `total` points."""
        return bool(self.words[EPOCH]) and bool((self._ring(self.words[SALT])[:, 0] > total).any())

    def publish(self, total: int, checksum: int) -> None:
        """Make the points below `total` visible: a place of the ring, with their running checksum, then `total`.

        Storing `total` is the last step; whatever ends it before leaves what was published before.
        """
        following = (self.words[NEWEST] + 1) % RING_PLACES
        self.store(RING + 2 * following, _tagged(total, self.words[SALT]))
        self.store(RING + 2 * following + 1, wrapped(checksum + self.words[SALT]))
        self.store(NEWEST, following)
        self.store(TOTAL, total)

    def begin_ring(self, total: int, mark: Mark) -> None:
        """Forget the ring, and begin another at `mark`, that of `total`.

        With another salt, and other tags: what the disk may have kept of the old ring fits nothing any more. To store
        the salt is what ends the old one and begins the new, wherever this is interrupted.
        """
        following = (self.words[NEWEST] + 1) % RING_PLACES
        before = salt = self.words[SALT]
        while (salt ^ before) & TAG_MASK == 0:
            salt = int.from_bytes(os.urandom(8), "little", signed=True)
        self.unsettled = True
        if self.words[EPOCH] != mark.epoch:
            self.store(EPOCH, 0)
        self.store(RING + 2 * following, _tagged(total, salt))
        self.store(RING + 2 * following + 1, wrapped(mark.checksum + salt))
        self.store(SALT, salt)
        self.store(NEWEST, following)
        self._array[RING : RING + 2 * following] = 0
        self._array[RING + 2 * following + 2 : RING + 2 * RING_PLACES] = 0
        self.store(EPOCH, mark.epoch)

    def note_loss(self, begin: int, end: int) -> None:
        """Note that the points [begin, end) are lost, before that is published: who does so may be killed untold."""
        if noted := self.untold():
            begin, end = min(begin, noted[0]), max(end, noted[1])
        self.store(UNTOLD_FROM, begin)
        self.store(UNTOLD, end)

    def untold(self) -> tuple[int, int] | None:
        """Return the points that were lost, and nobody was told of that; None if there are none."""
        begin, end = self.words[UNTOLD_FROM], self.words[UNTOLD]
        return (begin, end) if 0 <= begin < end <= MAX_TOTAL else None

    def loss_told(self) -> None:
        """Note that somebody was told of all that was lost."""
        self.store(UNTOLD, 0)
        self.store(UNTOLD_FROM, 0)

    def move_start(self, start: int) -> None:
        """Store `start`. The caller holds the series."""
        self.unsettled = True
        self.store(START, start)
        self.settle_words()

    def settle_words(self) -> None:
        """Store the checksum of the words that appends leave alone. The caller holds the series.

        `unsettled` says that an interrupt has kept this from being done after the words had changed.
        """
        self.store(SETTLED, self.settled())
        self.unsettled = False

    def settled(self) -> int:
        """Return the checksum of the words that appends leave alone, as they are now; never 0."""
        return settled_of(self._array)

    def store_live_boot(self, boot: Boot) -> None:
        """Declare the live words valid for this run of the machine.

        A crash between these stores leaves a boot id that is not ours: the next opening falls back to the commit
        slot, which then still equals the live words.
        """
        low, high = np.frombuffer(boot.boot_id, dtype=np.int64)
        self.store(BOOT_CLOCK, boot.clock_ns)
        self.store(BOOT_ID, int(low))
        self.store(BOOT_ID + 1, int(high))
