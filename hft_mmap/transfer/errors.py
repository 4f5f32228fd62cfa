"""What an import or an export refuses, one class for each reason a caller may act on."""

from hft_mmap.errors import HftMmapError


class TransferError(HftMmapError):
    """Base of the errors of this package."""


class MissingPackage(TransferError):
    """A format needs a package that is not installed; the text names the extra that brings it."""


class UnreadableFile(TransferError):
    """A file is not there, not of its format, cut short, or has no such column."""


class UnwritableFile(TransferError):
    """A file can't be written, or not in this format."""


class BadRow(TransferError):
    """A row holds no price. `file` and `row` (from 1, a header not counted) say where, `found` what stands there."""

    def __init__(self, file: str, row: int, found: str) -> None:
        """Compose the text."""
        super().__init__(f"{file}: row {row}: {found}")
        self.file = file
        self.row = row
        self.found = found


class ImportConflict(TransferError):
    """The series does not hold what this import has stored so far, or another import of the files is under way."""


class ServiceRefused(TransferError):
    """The URL of a service is none; what a service itself refuses is an error of hft_mmap.client."""


class Interrupted(TransferError):
    """Somebody wants the import to stop, and it was waiting for something that may take long."""
