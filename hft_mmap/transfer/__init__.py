"""Files into series, and series into files: CSV, Parquet, Arrow, NDJSON, NumPy and raw float64.

The store itself imports nothing of this package, and this package nothing of the service.
"""

from hft_mmap.transfer.errors import (
    BadRow,
    ImportConflict,
    MissingPackage,
    ServiceRefused,
    TransferError,
    UnreadableFile,
    UnwritableFile,
)
from hft_mmap.transfer.exporting import export_span
from hft_mmap.transfer.importing import ImportReport, Plan, Progress, import_files
from hft_mmap.transfer.service import ServiceSink
from hft_mmap.transfer.sink import Sink, StoreSink

__all__ = [
    "BadRow",
    "ImportConflict",
    "ImportReport",
    "MissingPackage",
    "Plan",
    "Progress",
    "ServiceRefused",
    "ServiceSink",
    "Sink",
    "StoreSink",
    "TransferError",
    "UnreadableFile",
    "UnwritableFile",
    "export_span",
    "import_files",
]
