"""Memory that is ready to be used: on a virtual machine the first touch of a page can cost more than the work.

Freed memory goes back to the host, and a page touched after that costs 20 ns a point whoever touches it. That is a
price of the machine, not of what is measured here, so it is paid before.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_PAGE = 4096


def touch(size: int) -> None:
    """Have the host give this machine `size` bytes, and leave them free."""
    block = np.empty(size, dtype=np.uint8)
    block[::_PAGE] = 1
    del block


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector from running inside a measurement; everything until now is out of its sight."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
