"""Check a series bit for bit: every value a price, every node what its children give, every seal what it covers."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hft_mmap.durable import recovery
from hft_mmap.errors import FormatError
from hft_mmap.files.boot import Boot
from hft_mmap.files.chunk import Chunk
from hft_mmap.files.head import Head
from hft_mmap.tree.kernels import (
    FAN_OUT,
    MAX_PRICE,
    NODE_FIELDS,
    VALID,
    find_invalid,
    summarise_nodes,
    summarise_values,
)
from hft_mmap.tree.words import START

MOST_RUNS = 20
"""So many runs of values that are no prices are named for each chunk; of the others the number is."""


class VerifyReport(NamedTuple):
    """What was checked of a series, and every fault found; it is sound when `faults` is empty."""

    symbol: str
    points: int
    nodes: int
    faults: tuple[str, ...]


def expected_nodes(chunk: Chunk, level: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the first `count` nodes of `level` as their children give them."""
    out = np.empty((count, NODE_FIELDS))
    if level == 1:
        summarise_values(chunk.address, 0, out)
    else:
        below = chunk.address + chunk.layout.offsets[level - 1]
        summarise_nodes(below, FAN_OUT ** (level - 1), FAN_OUT, 0, out)
    return out


def _span(chunk: Chunk, level: int, index: int) -> str:
    """Return the points below node `index` of `level`, as text."""
    width = FAN_OUT**level
    first = chunk.first + index * width
    return f"points {first} to {first + width - 1}"


def _no_prices(chunk: Chunk, end: int) -> list[str]:
    """Return a fault for each run of values among the first `end` that are no prices; the first MOST_RUNS of them."""
    name, values = chunk.path.name, chunk.values[:end]
    places = np.flatnonzero(~((values >= 0) & (values <= MAX_PRICE)) | np.signbit(values))
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    faults = []
    for run in runs[:MOST_RUNS]:
        first, last, value = chunk.first + int(run[0]), chunk.first + int(run[-1]), repr(values[run[0]])
        if first == last:
            faults.append(f"{name}: point {first} is {value}, which is no price")
        else:
            faults.append(f"{name}: points {first} to {last} are no prices, the first is {value}")
    if len(runs) > MOST_RUNS:
        left = sum(map(len, runs[MOST_RUNS:]))
        faults.append(f"{name}: {left} more values are no prices, the last is point {chunk.first + places[-1]}")
    return faults


def verify_chunk(chunk: Chunk, end: int) -> tuple[int, list[str]]:
    """Check the first `end` points of `chunk`; return the number of nodes checked, and the faults."""
    faults: list[str] = []
    nodes = 0
    name = chunk.path.name
    if find_invalid(chunk.values[:end]) != VALID:
        faults += _no_prices(chunk, end)
    for level in range(1, chunk.layout.levels + 1):
        count = end // FAN_OUT**level
        if not count:
            break
        nodes += count
        stored = chunk.nodes(level)[:count].view(np.int64)
        differs = (stored != expected_nodes(chunk, level, count).view(np.int64)).any(axis=1)
        faults.extend(
            f"{name}: level {level} node {index} differs from its children ({_span(chunk, level, index)})"
            for index in np.flatnonzero(differs).tolist()
        )
    try:
        seal = chunk.read_seal()
    except FormatError as error:
        faults.append(str(error))
        seal = None
    if seal is not None and end == chunk.layout.points:
        values_crc, nodes_crc = chunk.checksums()
        covered = f"points {chunk.first} to {chunk.first + end - 1}"
        if values_crc != seal.values_crc:
            faults.append(f"{name}: the checksum of the values is wrong ({covered})")
        if nodes_crc != seal.nodes_crc:
            faults.append(f"{name}: the checksum of the nodes is wrong ({covered})")
        if tuple(chunk.root().tolist()) != seal.root:
            faults.append(f"{name}: the sealed root node is wrong ({covered})")
    return nodes, faults


def verify_directory(directory: Path, symbol: str, boot: Boot) -> VerifyReport:
    """Check the series in `directory`; nothing is written, and writers may go on. O(N), about 3 ns a point."""
    try:
        head = Head(directory, writable=False)
    except (FormatError, OSError) as error:
        return VerifyReport(symbol, 0, 0, (f"head: {error}",))
    try:
        layout = recovery.layout_of(head.identity)
        recovered = recovery.trust(head, boot)
    except FormatError as error:
        return VerifyReport(symbol, 0, 0, (f"head: {error}",))
    finally:
        head.close()
    faults = [] if head.identity.symbol == symbol else [f"head: belongs to the symbol {head.identity.symbol!r}"]
    nodes = 0
    for first, end, _ in recovery.kept_chunks(directory, recovered, layout.points):
        try:
            chunk = Chunk(directory, head.identity.series_id, first, layout)
        except (FormatError, OSError) as error:
            if recovered.origin == "live" and end <= head.words[START]:
                continue  # another process has cleaned it up since
            faults.append(f"points {first} to {end - 1}: {error}")
            continue
        checked, found = verify_chunk(chunk, end - first)
        nodes += checked
        faults += found
    return VerifyReport(symbol, recovered.total - recovered.start, nodes, tuple(faults))
