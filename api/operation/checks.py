"""What a setting may be: each check returns the value as it is used, or raises ValueError that says what is allowed."""

import dataclasses
import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import field
from typing import Any

from hft_mmap import Limits

_SIZE = re.compile(r"([0-9][0-9_]*)\s*([a-z]*)", re.IGNORECASE)
_BYTES_OF_UNIT = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_INSTANCE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")  # part of a file name
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_MAX_SOCKET_PATH_BYTES = 107  # of sun_path, unix(7)
# Each limit of the store is tried beside these, which accept any value that is right on its own.
_WIDEST = Limits(max_data_retention=2**62, cleanup_keep_count=0)

Check = Callable[[Any], Any]


def parse_size(value: object) -> int:
    """Return a number of bytes from an integer, or from a text such as "4 MiB", "500kB" or "1048576".

    kB, MB and GB are powers of 1000; KiB, MiB and GiB are powers of 1024. Raises ValueError for anything else.
    """
    if type(value) is int:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _BYTES_OF_UNIT:
        raise ValueError(f'must be a number of bytes, or a text such as "4 MiB", not {value!r}')
    return int(match[1]) * _BYTES_OF_UNIT[match[2].lower()]


def whole(least: int, most: int) -> Check:
    """Return the check for whole numbers from `least` to `most`."""

    def check(value: object) -> int:
        if type(value) is not int or not least <= value <= most:  # `type`, because True is an int as well
            raise ValueError(f"must be a whole number from {least} to {most}, not {value!r}")
        return value

    return check


def size(least: int, most: int) -> Check:
    """Return the check for numbers of bytes from `least` to `most`, which may have units."""

    def check(value: object) -> int:
        size = parse_size(value)
        if not least <= size <= most:
            raise ValueError(f"must be {least} to {most} bytes, not {value!r}")
        return size

    return check


def one_of(*allowed: str) -> Check:
    """Return the check for some words, in letters of either case."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value.lower() not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, not {value!r}")
        return value.lower()

    return check


def text(value: object) -> str:
    """Check a text that says something."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(f"must be a text, neither empty nor with control characters, not {value!r}")
    return value


def yes_or_no(value: object) -> bool:
    """Check what is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")  # noqa: TRY004 - a wrong value like any other here
    return value


def text_or_empty(value: object) -> str:
    """Check a text, or none."""
    return "" if value == "" else text(value)


def socket_path(value: object) -> str:
    """Check the path of a Unix socket, or none."""
    path = text_or_empty(value)
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"must be a path of at most {_MAX_SOCKET_PATH_BYTES} bytes, not {value!r}")
    return path


def instance(value: object) -> str:
    """Check the name of one of several processes, or none."""
    if not isinstance(value, str) or (value and _INSTANCE.fullmatch(value) is None):
        raise ValueError(f"must be 1 to 64 letters, digits, dots, hyphens or underscores, or empty, not {value!r}")
    return value


def groups(value: object) -> str:
    """Check names of groups, and return them with commas between them."""
    names = [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"must be a list of names, or a text with commas between them, not {value!r}")
    return ", ".join(dataclasses.replace(_WIDEST, groups=tuple(names)).groups)


def host_names(value: object) -> str:
    """Check names of the service, and return them with commas between them."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"must be a list of names, or a text with commas between them, not {value!r}")
    given = [name.strip() for name in names if name.strip()]
    for name in given:
        if not _HOST_NAME.fullmatch(name) and not _is_address(name):
            raise ValueError(f"must have names such as prices.example.com, without scheme and port, not {name!r}")
    return ", ".join(given)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def limit(name: str) -> Check:
    """Return the check that `hft_mmap.Limits` itself makes of its field `name`."""

    def check(value: object) -> object:
        changes: dict[str, Any] = {name: value}
        dataclasses.replace(_WIDEST, **changes)
        return value

    return check


def setting(default: object, check: Check, *, kind: str = "int") -> Any:  # noqa: ANN401 - a dataclass field of any type
    """Declare one setting: its default, its check, and the type that its variable is read as."""
    return field(default=default, metadata={"check": check, "kind": kind})
