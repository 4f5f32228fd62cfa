"""What many symbols take of the limits of the system, open files and mappings, and what is said where that is short."""

import resource
from pathlib import Path

from hft_mmap import Limits

# Of a series: its head, its newest chunk, and one more while it rolls, commits or is opened.
_FILES_OF_A_SERIES = 3
_MAX_MAPS = Path("/proc/sys/vm/max_map_count")
_DEFAULT_MAPS = 65_530
_OWN_MAPS = 2_000
"""Mappings of the program, its libraries and its threads."""


def files_of_store(limits: Limits) -> int:
    """Return how many files a store has open whose series are all there, and used; chunks are mapped without one."""
    return limits.max_symbols * _FILES_OF_A_SERIES


def maps_of_store(limits: Limits) -> int:
    """Return how many mappings a store has whose series are all there, used, and full."""
    chunks = limits.max_data_retention // limits.chunk_points + 2  # the newest, and one that a cleanup has not unlinked
    return limits.max_symbols * (1 + chunks)


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
            f"store.max_symbols = {limits.max_symbols}: so many symbols in use take {files_of_store(limits)} open "
            f"files, and the system allows {files}, a quarter of them for connections: raise LimitNOFILE= or ulimit -n"
        )
    maps = possible_maps()
    if _OWN_MAPS + maps_of_store(limits) > maps:
        found.append(
            f"store.max_symbols = {limits.max_symbols}: so many symbols, each with {limits.max_data_retention} points, "
            f"take {maps_of_store(limits)} mappings, and the system allows {maps}: raise the sysctl vm.max_map_count "
            "where they grow so large, or lower store.max_data_retention"
        )
    return found
