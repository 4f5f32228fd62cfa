"""Memory that the system may not drop: pages of a file that count as clean, and are not on the disk."""

import ctypes

_mlock = ctypes.CDLL(None, use_errno=True).mlock
_mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def keep_in_memory(address: int, size: int) -> bool:
    """Read `size` mapped bytes at `address` into memory, and keep their pages there until they are unmapped (mlock).

    Returns False where the system does not allow so much (RLIMIT_MEMLOCK); then nothing has changed.
    """
    return not size or _mlock(address, size) == 0
