"""From what was given to the files that are meant: patterns, folders and archives, in an order that people expect."""

import glob
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.formats import (
    ARCHIVE_SUFFIX,
    MAGIC_BYTES,
    STANDARD_STREAM,
    ZIP_MAGIC,
    compression_of,
    format_by_magic,
    format_of,
    is_known,
    plain_suffix,
)
from hft_mmap.transfer.source import Source

MAX_FILES = 100_000
_PARTS = re.compile(r"([^0-9]*)([0-9]*)")
_NOT_DATA = re.compile(r"(?:^|/)(?:[._]|__MACOSX/)")
_FOLDER = re.compile(r"([^=/]+)=([^/]*)")
_WORKBOOK = ("xl/workbook.xml", "xl/workbook.bin", "mimetype")
_OF_BYTES = frozenset({"f64"})
"""Formats whose first bytes may be anything: they are believed."""


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Return names as people count them: part-2 before part-10."""
    return sorted(names, key=lambda name: [(text, int(digits or -1)) for text, digits in _PARTS.findall(name)])


def sources(given: Sequence[str], format_: str | None) -> list[Source]:
    """Return the files that are meant by names, patterns, folders and archives; each is there, and can be read.

    What a pattern, a folder or an archive has is in natural order; what is given by name stays in its order.
    UnreadableFile for what is missing, has no known format, or is empty.
    """
    found = list(islice(_sources(given, format_), MAX_FILES + 1))
    if len(found) > MAX_FILES:
        raise UnreadableFile(f"these are more than {MAX_FILES} files, the most of one import: split it")
    return found


def _sources(given: Sequence[str], format_: str | None) -> Iterator[Source]:
    for name in given:
        if name == STANDARD_STREAM:
            yield _checked(Source(name), format_)
        elif os.path.isdir(name):  # noqa: PTH112 - the name as the user gave it
            yield from _in_folder(name, format_)
        elif not os.path.lexists(name) and glob.has_magic(name):
            matching = in_natural_order(glob.glob(name, recursive=True))  # noqa: PTH207 - the pattern may be absolute
            if not matching:
                raise UnreadableFile(f"{name}: no file has a name like this")
            yield from _sources(matching, format_)
        else:
            yield from _in_file(Source(name, None, _folders(name)), format_)


def _in_folder(folder: str, format_: str | None) -> Iterator[Source]:
    """Yield the files below a folder that hold data; hidden ones, and those that begin with _, are notes."""
    names = (
        os.path.join(path, name)  # noqa: PTH118 - many of them
        for path, _, files in os.walk(folder)
        for name in files
        if not _NOT_DATA.search(os.path.relpath(os.path.join(path, name), folder))  # noqa: PTH118 - the same
    )
    data = [name for name in islice(names, MAX_FILES + 1) if format_ is not None or is_known(name)]
    if not data:
        raise UnreadableFile(f"{folder}: holds no file whose name tells a format; --format says it for all of them")
    for name in in_natural_order(data):
        yield from _in_file(Source(name, None, _folders(name)), format_)


def _folders(name: str) -> dict[str, str]:
    """Return what folders say that are called key=value, as Hive, Spark and others write them."""
    return {key: unquote(value) for part in Path(name).parts[:-1] for key, value in _FOLDER.findall(part)}


def _in_file(source: Source, format_: str | None) -> Iterator[Source]:
    """Yield the file itself, or the files that it holds if it is an archive."""
    head = b""
    if Path(source.given).is_file():
        try:
            with open(source.given, "rb") as file:  # noqa: PTH123 - the name as the user gave it
                head = file.read(MAGIC_BYTES)
        except OSError as error:
            raise UnreadableFile(f"{source.name}: {error.strerror}") from error
    suffix = plain_suffix(source.given)
    if head.startswith(ZIP_MAGIC) or (suffix == ARCHIVE_SUFFIX and head):
        members = _members(source)
        if suffix == ".npz" or (members and all(member.endswith(".npy") for member in members)):
            source.format = format_ or "npz"
        elif not any(name in members for name in _WORKBOOK):
            yield from _in_archive(source, members, format_)
            return
        else:
            source.format = format_ or "xlsx"
    elif format_ is None and format_by_magic(head) and not _believed(source.given):
        source.format = format_by_magic(head) or ""
    yield _checked(source, format_)


def _believed(name: str) -> bool:
    """Return whether a name tells a format whose files may begin with any bytes."""
    return is_known(name) and not compression_of(name) and format_of(name) in _OF_BYTES


def _checked(source: Source, format_: str | None) -> Source:
    """Return a source that is there, and whose format is known."""
    if not source.format:
        source.format = format_of(source.plain_name, format_)
    source.check(by_content=source.format not in _OF_BYTES)
    return source


def _members(source: Source) -> list[str]:
    """Return the names of the files in an archive."""
    try:
        with zipfile.ZipFile(source.given) as archive:
            return [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise UnreadableFile(f"{source.name}: is a damaged ZIP archive: {error}") from error


def _in_archive(source: Source, members: list[str], format_: str | None) -> Iterator[Source]:
    """Yield the files of an archive; UnreadableFile if it holds an archive, or nothing that has prices."""
    data = [member for member in members if not _NOT_DATA.search(member)]
    if inner := [member for member in data if plain_suffix(member) == ARCHIVE_SUFFIX]:
        raise UnreadableFile(f"{source.name}: holds an archive itself, {inner[0]}: unpack it (unzip {source.given})")
    known = data if format_ is not None else [member for member in data if is_known(member)]
    tables = [member for member in known if plain_suffix(member) != ".txt"]
    known = tables or known  # what is .txt beside others are notes, as HistData has them
    if not known:
        raise UnreadableFile(
            f"{source.name}: holds no file whose name tells a format ({', '.join(data[:5]) or 'it is empty'}); "
            f"--format says it for all of them"
        )
    for member in in_natural_order(known):
        inside = Source(source.given, member, {**source.folders, **_folders(member)})
        with inside.opened():
            pass  # an archive with a password says so before anything is stored
        yield _checked(inside, format_)
