"""The settings that benchmarks run with: the service's defaults, and what APP_ variables of the caller say instead."""

import os
from pathlib import Path

from api.operation.settings import Settings, load

_NO_FILE = Path(os.devnull)
_NOT_SHOWN = "AUTH"


def settings() -> Settings:
    """Return the settings of this environment; no file is read, wherever the benchmark was started."""
    return load(_NO_FILE, dotenv_path=_NO_FILE).settings


def changed() -> str:
    """Return the APP_ variables that are set, or "defaults"; what could be a secret is named without its value."""
    found = sorted((key, value) for key, value in os.environ.items() if key.startswith("APP_"))
    shown = [f"{key}=(not shown)" if _NOT_SHOWN in key else f"{key}={value}" for key, value in found]
    return " ".join(shown) or "defaults"
