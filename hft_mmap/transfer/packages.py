"""Packages that only some formats need: imported when they are, with a clear word where they are missing."""

from importlib import import_module
from typing import Any, TypeAlias

from hft_mmap.extras import how_to_install
from hft_mmap.transfer.errors import MissingPackage

Arrow: TypeAlias = Any
"""Anything of pyarrow's, which ships no types."""


def need(module: str, purpose: str) -> Arrow:
    """Return the module, imported now; MissingPackage says what needs it and how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise MissingPackage(f"{purpose} needs the package {package}: {how_to_install(package, 'import')}") from error
