"""A replica begins a new log where the old one is lost: with a record that goes on from what this replica holds.

Whoever does not hold that, an empty replica above all, finds another history at the head of the log, and stops.
"""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from api.cluster.block import NO_PARENT, decode, encode
from api.cluster.log import Log, Stale, Unknown
from api.cluster.position import Position, known, save
from hft_mmap import StoreUnusable

_TRIES, _AGAIN_S = 60, 0.5


async def begin_anew(log: Log, directory: Path) -> int:
    """Have the points in `directory`, of a replica, be where `log` begins; return how much it had read of the old one.

    The points must be on the disk as far as the position says. First the position is moved, then the record is
    written: what was ended in between is done again. StoreUnusable, ConnectionError, OSError.
    """
    await log.open()
    identity, last = await log.identity(), (await log.bounds()).last
    position = known(directory)
    place = position.place
    is_begun = position.log == identity and not place.accepted and place.parent != NO_PARENT
    if last and not is_begun:
        raise StoreUnusable(f"the log has {last} records: only a new one can be begun; see hft-mmap cluster create")
    if not is_begun:
        place = replace(place, applied=0, accepted=0, parent=os.urandom(16))
        save(directory, Position(identity, place))
    if not last:
        await _write(log, encode(0, place.parent, [])[1])
    async for _, data in log.records(0):
        if decode(data).parent != place.parent:
            raise StoreUnusable(f"another replica has begun {identity}: make a new one; see hft-mmap cluster create")
        break
    return position.place.applied


async def _write(log: Log, data: bytes) -> None:
    """Append the first record, however often that takes; a copy of it is dropped. ConnectionError."""
    why = ""
    for _ in range(_TRIES):
        try:
            await log.append(data, 0)
        except Stale:
            return
        except Unknown as error:
            why = str(error)
            await asyncio.sleep(_AGAIN_S)
        else:
            return
    raise ConnectionError(f"the log did not take its first record, so run this again: {why}")
