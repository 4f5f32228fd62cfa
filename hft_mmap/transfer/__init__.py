"""Files into series, and series into files: CSV, Parquet, Arrow, JSON, NumPy and raw float64.

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
from hft_mmap.transfer.importing import import_files
from hft_mmap.transfer.look import Choice, Doubt, Doubtful, Look
from hft_mmap.transfer.plan import PRESETS, Plan
from hft_mmap.transfer.preview import Preview, preview
from hft_mmap.transfer.report import ImportReport, Progress
from hft_mmap.transfer.service import ServiceSink
from hft_mmap.transfer.sink import Room, Sink, StoreSink

__all__ = [
    "PRESETS",
    "BadRow",
    "Choice",
    "Doubt",
    "Doubtful",
    "ImportConflict",
    "ImportReport",
    "Look",
    "MissingPackage",
    "Plan",
    "Preview",
    "Progress",
    "Room",
    "ServiceRefused",
    "ServiceSink",
    "Sink",
    "StoreSink",
    "TransferError",
    "UnreadableFile",
    "UnwritableFile",
    "export_span",
    "import_files",
    "preview",
]
