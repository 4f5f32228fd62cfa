"""Where a replica goes on after a restart: a file that may lag behind the points, and never leads.

First the points are put on the disk, then the file: temporary file, fsync, rename, fsync of the directory. What the log
has after it is read again, and skipped where the points are there.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import orjson
from isal import isal_zlib

from api.cluster.state import Place
from hft_mmap import StoreUnusable
from hft_mmap.files.disk import sync_directory

NAME = ".position"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log; `log` is its identity."""

    log: str
    place: Place


def load(directory: Path) -> Position | None:
    """Return what was saved in `directory`, None where nothing was. StoreUnusable if it can't be read."""
    path = directory / NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnusable(f"{path} can't be read: {error.strerror}") from error
    try:
        found = orjson.loads(_checked(text))
        retention = None if found["retention"] is None else tuple(found["retention"])
        parent, sealed = bytes.fromhex(found["parent"]), frozenset(found["sealed"])
        moved = found.get("moved", {})  # which an earlier release did not know
        place = Place(found["applied"], found["accepted"], parent, sealed, retention, moved)
        return Position(found["log"], place)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreUnusable(
            f"{path} is damaged ({error}): bootstrap this replica from a snapshot of another; see docs/cluster.md"
        ) from error


def _checked(text: bytes) -> bytes:
    """Return what stands before the checksum; ValueError if that does not fit."""
    body, _, crc = text.rstrip(b"\n").rpartition(b" ")
    if int(crc, 16) != isal_zlib.crc32(body):
        raise ValueError("its checksum does not fit")
    return body


def known(directory: Path) -> Position:
    """Return what was saved in `directory`; StoreUnusable if nothing was, or it can't be read."""
    position = load(directory)
    if position is None:
        raise StoreUnusable(f"{directory} has no position: it is no replica, or has never read a record")
    return position


def save(directory: Path, position: Position) -> None:
    """Save `position` in `directory`, whose points are on the disk as far as it says. OSError."""
    place = position.place
    body = orjson.dumps({
        "log": position.log, "applied": place.applied, "accepted": place.accepted, "parent": place.parent.hex(),
        "sealed": sorted(place.sealed), "retention": place.retention, "moved": dict(place.moved),
    })  # fmt: skip
    new = directory / f"{NAME}.new"
    with new.open("wb") as file:
        file.write(b"%b %08x\n" % (body, isal_zlib.crc32(body)))
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / NAME)
    sync_directory(directory)
