"""Symbols, the directory names they are kept under, and the names of chunk files."""

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from hft_mmap.errors import InvalidSymbol
from hft_mmap.files.layout import SUFFIXES

MAX_SYMBOL_BYTES = 64
OWNER_NAME = ".cluster"
"""The file of a data directory that belongs to a replica of a shard, which holds it locked."""
CHUNK_SUFFIX = ".chunk"
NAME_DIGITS = 20

_CONTROL_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_AS_IT_IS = re.compile("[A-Za-z0-9_~-][A-Za-z0-9_~.-]*")
"""Symbols that are the names of their directories."""


def validate_symbol(symbol: object) -> str:
    """Return `symbol` if it is 1 to 64 bytes of UTF-8 without control characters; raise InvalidSymbol otherwise.

    Line and paragraph separators and lone surrogates count as control characters. The text is not normalised: two
    spellings of one letter are two symbols.
    """
    if not isinstance(symbol, str):
        message = f"symbol must be a string, not {type(symbol).__name__}"
        raise InvalidSymbol(message)
    if not symbol:
        message = f"symbol is empty: give 1 to {MAX_SYMBOL_BYTES} bytes of UTF-8"
        raise InvalidSymbol(message)
    if symbol.isascii() and symbol.isprintable():
        size = len(symbol)
    else:
        for character in symbol:
            if unicodedata.category(character) in _CONTROL_CATEGORIES:
                message = f"symbol has the control character {character!a}: {symbol[:80]!a}"
                raise InvalidSymbol(message)
        size = len(symbol.encode())
    if size > MAX_SYMBOL_BYTES:
        message = f"symbol is {size} bytes of UTF-8, at most {MAX_SYMBOL_BYTES} are allowed: {symbol[:80]!r}"
        raise InvalidSymbol(message)
    return symbol


def directory_name(symbol: str) -> str:
    """Return the directory name of `symbol`: percent-encoded, never starting with a dot, at most 192 bytes."""
    if _AS_IT_IS.fullmatch(symbol):
        return symbol
    name = quote(symbol, safe="")
    return "%2E" + name[1:] if name.startswith(".") else name


def symbol_of(name: str) -> str | None:
    """Return the symbol whose directory is `name`, or None if no symbol has that directory."""
    try:
        symbol = validate_symbol(unquote_to_bytes(name).decode())
    except (InvalidSymbol, UnicodeDecodeError):
        return None
    return symbol if directory_name(symbol) == name else None


def chunk_name(first: int, suffix: str = CHUNK_SUFFIX) -> str:
    """Return the file name of the chunk whose first point is `first`, or of its column with `suffix`."""
    return f"{first:0{NAME_DIGITS}d}{suffix}"


def first_of(name: str, suffix: str = CHUNK_SUFFIX) -> int | None:
    """Return the first point of the chunk file `name`, or None if it is no chunk file (no column with `suffix`)."""
    digits = name.removesuffix(suffix)
    return (
        int(digits)
        if len(digits) == NAME_DIGITS and digits.isdecimal() and digits.isascii() and name != digits
        else None
    )


def list_chunks(directory: Path) -> list[int]:
    """Return the first points of the chunk files in `directory`, ascending."""
    return sorted(first for first in map(first_of, os.listdir(directory)) if first is not None)


def list_files(directory: Path) -> list[tuple[int, str]]:
    """Return first point and name of every chunk file in `directory`, and of what lies beside each, in order."""
    return sorted(
        (first, name)
        for name in os.listdir(directory)
        for suffix in (CHUNK_SUFFIX, *SUFFIXES)
        if (first := first_of(name, suffix)) is not None
    )
