"""A kit for testing stores: a perfect store made of lists, and a state machine that holds any store against it.

Needs hypothesis, which is not installed with the package (`pip install hypothesis`). A store of your own passes when
this does:

>>> class MyMachine(StoreMachine):  # doctest: +SKIP
...     def open_store(self):
...         return MyStore(self.directory, limits=self.limits)
>>> TestMyStore = MyMachine.TestCase  # doctest: +SKIP
"""

from hft_mmap.testing.faults import SERIES_HEADS, Damage, lose_power, move_in, restart_machine
from hft_mmap.testing.machine import PRICES, SYMBOLS, StoreMachine, batches
from hft_mmap.testing.model import RELATIVE_ERROR, SMALL_LIMITS, UNDERFLOW, ModelSeries, ModelStore, assert_close
from hft_mmap.testing.process import MEMORY, PATIENCE_S, PROCESSES, StoreProcess

__all__ = [
    "MEMORY",
    "PATIENCE_S",
    "PRICES",
    "PROCESSES",
    "RELATIVE_ERROR",
    "SERIES_HEADS",
    "SMALL_LIMITS",
    "SYMBOLS",
    "UNDERFLOW",
    "Damage",
    "ModelSeries",
    "ModelStore",
    "StoreMachine",
    "StoreProcess",
    "assert_close",
    "batches",
    "lose_power",
    "move_in",
    "restart_machine",
]
