"""Running checksums of all points of a series up to one: what tells points from those that were never written."""

import os
from typing import NamedTuple

from hft_mmap.tree.words import MIXED_KEYS

_KIND_STEP = 0xD1B54A32D192ED03
"""Sets the kinds of columns apart; no product of a small number with the step from point to point."""


class Mark(NamedTuple):
    """The running checksum of all points below one of them. Marks of one epoch can be compared."""

    epoch: int
    checksum: int

    @staticmethod
    def begin() -> "Mark":
        """Return the first mark of an epoch of its own."""
        return Mark(int.from_bytes(os.urandom(8), "little") >> 2 | 1 | MIXED_KEYS, 0)

    @property
    def has_mixed_keys(self) -> bool:
        """Whether the checksums of its epoch are those of this release; see `tree.checksum.former_checksum`."""
        return bool(self.epoch & MIXED_KEYS)

    def after(self, checksum: int) -> "Mark":
        """Return the mark behind points that have `checksum`."""
        return Mark(self.epoch, wrapped(self.checksum + checksum))


def is_behind(mark: Mark | None, newest: Mark | None) -> bool:
    """Say whether `mark` is none, or of the checksums of an earlier release where `newest` is not."""
    return mark is None or (newest is not None and newest.has_mixed_keys and not mark.has_mixed_keys)


def wrapped(checksum: int) -> int:
    """Return `checksum` modulo 2^64, as the int64 that is stored."""
    return (checksum + 2**63) % 2**64 - 2**63


def seed_of(series_id: bytes, kind: int = 0) -> int:
    """Return what the checksums of a series begin with, of its prices or of a kind of column: all others differ."""
    return wrapped(int.from_bytes(series_id[:8], "little", signed=True) + kind * _KIND_STEP)
