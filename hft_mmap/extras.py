"""What to do where a package of an extra is missing, in words that hold for the way in which this was installed."""

import sys
from importlib.util import find_spec
from pathlib import Path


def how_to_install(package: str, extra: str) -> str:
    """Return the command that brings `package`, which belongs to the extra `extra`."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "Makefile").is_file() and Path(sys.prefix).is_relative_to(checkout):
        return f"make venv EXTRAS={extra}"
    if find_spec("pip") is None:  # as `make install` and the Debian package leave it
        return f"make install EXTRAS={extra}, or make deb EXTRAS={extra}, in the checkout it was installed from"
    return f"{sys.executable} -m pip install {package}"
