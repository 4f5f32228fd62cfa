"""What may happen to files that no process has open: another run of the machine, a power cut, a damaged byte."""

import os
import uuid
from enum import Enum
from pathlib import Path

from hft_mmap.files.chunk import SEAL_OFFSET
from hft_mmap.files.head import HEAD_NAME, SLOT_OFFSETS, Head
from hft_mmap.files.layout import Layout
from hft_mmap.files.names import chunk_name, list_chunks
from hft_mmap.tree.kernels import FAN_OUT, NODE_BYTES
from hft_mmap.tree.words import BOOT_ID, HOME, LIVE_OFFSET, START, TOTAL

SERIES_HEADS = f"[!.]*/{HEAD_NAME}"
"""The heads in a data directory, less those of series whose creation was cut short: they may be of any length."""


def restart_machine(directory: Path) -> None:
    """Make every head in `directory` say that it was written in another run of the machine, and in this very file.

    A machine that goes down keeps its files: what was copied to be looked at later is not to be taken for a copy.
    """
    for head in directory.glob(SERIES_HEADS):
        with head.open("r+b") as file:
            file.seek(8 * BOOT_ID)
            file.write(uuid.uuid4().bytes)
            file.seek(8 * HOME)
            file.write(os.fstat(file.fileno()).st_ino.to_bytes(8, "little"))


def move_in(directory: Path) -> None:
    """Make every head in `directory` say that it was written in this very file, as if it were no copy."""
    for path in directory.glob(SERIES_HEADS):
        head = Head(path.parent, writable=True)
        head.store(HOME, head.inode)
        head.settle_words()
        head.close()


def lose_power(directory: Path) -> None:
    """Do to the store in `directory` the worst that a power loss may do: keep only what a commit vouches for.

    Everything above the newest commit is overwritten with bytes that are no prices, the live words too. No process
    may have the store open.
    """
    restart_machine(directory)
    for path in directory.glob(SERIES_HEADS):
        head = Head(path.parent, writable=True)
        newest = head.commits()[0]
        layout = Layout.of(head.identity.chunk_points)
        head.store(TOTAL, -1)
        head.store(START, -1)
        head.close()
        for first in list_chunks(path.parent):
            whole = max(newest.total - first, 0)
            with (path.parent / chunk_name(first)).open("r+b") as file:
                for level, begin in enumerate(layout.offsets):
                    width = NODE_BYTES if level else 8
                    lost = layout.nodes(level) - min(whole // FAN_OUT**level, layout.nodes(level))
                    file.seek(begin + width * (layout.nodes(level) - lost))
                    file.write(b"\xff" * (width * lost))


class Damage(Enum):
    """What a damaged byte of a series belongs to, and so what a store can know of it."""

    UNPROTECTED = "the live words, or a value in a chunk that is not sealed yet: no checksum covers it"
    SLOT = "a commit slot: the other one is as good"
    PROTECTED = "everything else: the damage is harmless, or it is found"

    @staticmethod
    def of(path: Path, offset: int, *, restarted: bool) -> "Damage":
        """Return what the byte at `offset` of the file `path` is; after a restart the live words do not count."""
        if path.name == HEAD_NAME:
            if LIVE_OFFSET <= offset < SLOT_OFFSETS[0]:
                return Damage.PROTECTED if restarted else Damage.UNPROTECTED
            return Damage.SLOT if offset >= SLOT_OFFSETS[0] and restarted else Damage.PROTECTED
        head = Head(path.parent, writable=False)
        layout = Layout.of(head.identity.chunk_points)
        head.close()
        seal = path.read_bytes()[layout.footer + SEAL_OFFSET :][:64]
        return Damage.PROTECTED if any(seal) or offset >= 8 * layout.points else Damage.UNPROTECTED


def damage_byte(path: Path, offset: int, mask: int) -> None:
    """Change the bits `mask` of one byte of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        found = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([found ^ mask]))
