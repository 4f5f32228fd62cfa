"""Packages that only some formats need: imported when they are, with a clear word where they are missing."""

from importlib import import_module
from typing import Any, TypeAlias

from hft_mmap.extras import how_to_install
from hft_mmap.transfer.errors import MissingPackage

_OF_EXTRAS = {"python_calamine": ("python-calamine", "excel")}
"""Packages of another name than their module, and of another extra than [import]."""

Arrow: TypeAlias = Any
"""Anything of pyarrow's, which ships no types."""


def need(module: str, purpose: str) -> Arrow:
    """Return the module, imported now; MissingPackage says what needs it and how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package, extra = _OF_EXTRAS.get(module, (module.partition(".")[0], "import"))
        raise MissingPackage(f"{purpose} needs the package {package}: {how_to_install(package, extra)}") from error
