"""Packages of the environment .venv-peers: they are not in the project's, so nothing here imports one by name."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from perf.peers.peer import Unavailable


def load(module: str, package: str) -> Any:  # noqa: ANN401 - no types of these packages are known here
    """Import `module`, which the distribution `package` has; Unavailable if it can't be."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unavailable(f"{package} can't be imported ({error}); `make peers` installs it") from error


def versions(*packages: str) -> str:
    """Return "name version" of each distribution, joined."""
    return ", ".join(f"{package} {_version(package)}" for package in packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
