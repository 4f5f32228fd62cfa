"""What many symbols take of the limits of the system, open files and mappings, and what is said where that is short."""

import resource
from pathlib import Path

from hft_mmap import Limits
from hft_mmap.files.descriptors import most_awake
from hft_mmap.files.layout import KINDS

_COLUMNS = len(KINDS)
"""The files that lie beside each chunk, at most: of times and of sizes."""
_MAX_MAPS = Path("/proc/sys/vm/max_map_count")
_DEFAULT_MAPS = 65_530
_OWN_MAPS = 2_000
"""Mappings of the program, its libraries and its threads."""


def files_of_store(limits: Limits, columns: int = _COLUMNS) -> int:
    """Return how many files a store may have open whose series are all there, and used; what is mapped needs none.

    Each has its newest chunk open until its points are committed; those used last also the head, and another chunk
    while one of them rolls, commits or is opened. columns: how many of them lie beside each chunk.
    """
    chunk = 1 + columns
    return limits.max_symbols * chunk + min(limits.max_symbols, most_awake()) * (1 + chunk)


def maps_of_store(limits: Limits, columns: int = _COLUMNS) -> int:
    """Return how many mappings a store has whose series are all there, used, and full."""
    chunks = limits.max_data_retention // limits.chunk_points + 2  # the newest, and one that a cleanup has not unlinked
    return limits.max_symbols * (1 + chunks * (1 + columns))


def possible_maps() -> int:
    """Return how many mappings the system lets a process have."""
    try:
        return int(_MAX_MAPS.read_text())
    except (OSError, ValueError):
        return _DEFAULT_MAPS


def shortages(limits: Limits) -> list[str]:
    """Return which limits of the system are less than full and used series would take, a sentence each."""
    found = []
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files_of_store(limits) > files * 3 // 4:
        found.append(
            f"store.max_symbols = {limits.max_symbols}: so many symbols in use take {files_of_store(limits, 0)} open "
            f"files, with times and sizes {files_of_store(limits)}, and the system allows {files}, a quarter of them "
            "for connections: raise LimitNOFILE= or ulimit -n"
        )
    maps = possible_maps()
    if _OWN_MAPS + maps_of_store(limits) > maps:
        found.append(
            f"store.max_symbols = {limits.max_symbols}: so many symbols, each with {limits.max_data_retention} points, "
            f"take {maps_of_store(limits, 0)} mappings, with times and sizes {maps_of_store(limits)}, and the system "
            f"allows {maps}: raise the sysctl vm.max_map_count where they grow so large, or lower "
            "store.max_data_retention"
        )
    return found
