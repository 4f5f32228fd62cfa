"""Errors: their texts are for users, and they get through to another process whole."""

import pickle

import pytest

from hft_mmap import DiskFull, HftMmapError, OffsetConflict, SymbolNotFound, errors

ALL = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, HftMmapError)]


def test_the_text_of_symbol_not_found_is_fixed() -> None:
    """Clients match on the text of SymbolNotFound, so it is exactly this."""
    assert str(SymbolNotFound("XYZ")) == "Symbol not found: XYZ"


@pytest.mark.parametrize(
    "error", [SymbolNotFound("XYZ"), OffsetConflict("offset 5 does not fit", 7), DiskFull("no space")], ids=repr
)
def test_errors_survive_pickling(error: HftMmapError) -> None:
    """An error that comes back from a worker process has the same class, text and fields."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_is_exported_or_a_base(error: type[HftMmapError]) -> None:
    """Every error that a caller may have to handle can be imported from the package itself."""
    assert vars(__import__("hft_mmap"))[error.__name__] is error
