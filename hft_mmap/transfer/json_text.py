"""JSON: one array, of numbers, of objects or of arrays."""

from collections.abc import Iterator
from typing import Any

import orjson

from hft_mmap.transfer.errors import UnreadableFile
from hft_mmap.transfer.ndjson_text import read_ndjson
from hft_mmap.transfer.records import PIECE_ROWS, Record, layout_of, rows_of_records
from hft_mmap.transfer.rows import Rows
from hft_mmap.transfer.source import Source
from hft_mmap.transfer.text import opened_text
from hft_mmap.transfer.wanted import Wanted

MAX_JSON_BYTES = 1 << 28
"""A JSON array has to be in memory as a whole; NDJSON has not."""
_PIECE_BYTES = 1 << 20


def read_json(source: Source, wanted: Wanted) -> Iterator[Rows]:
    """Yield the rows of a JSON array; columns of arrays, and of numbers, are called 1, 2, …. UnreadableFile.

    What begins with an object, and has several, is NDJSON.
    """
    with opened_text(source, wanted) as stream:
        text = bytearray()
        while piece := stream.read(_PIECE_BYTES):
            text += piece
            if len(text) > MAX_JSON_BYTES:
                raise UnreadableFile(
                    f"{source.name}: is larger than {MAX_JSON_BYTES >> 20} MiB, the most of one JSON array: as NDJSON, "
                    f"an object a line, it may have any size (jq -c '.[]')"
                )
    try:
        found: Any = orjson.loads(bytes(text).removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        if source.can_be_read_again and text.lstrip().startswith(b"{"):
            yield from read_ndjson(source, wanted)
            return
        raise UnreadableFile(f"{source.name}: is no JSON: {error}") from error
    del text
    if not isinstance(found, list):
        lists = [name for name, value in found.items() if isinstance(value, list)] if isinstance(found, dict) else []
        hint = f"; take it out of {lists[0]!r} (jq -c '.{lists[0]}[]' makes NDJSON of it)" if lists else ""
        raise UnreadableFile(f"{source.name}: is one JSON {type(found).__name__}, and no array of rows{hint}")
    names, records = _records(found)
    layout = layout_of(names, records, wanted, source)
    yield Rows.none()
    for begin in range(0, len(records), PIECE_ROWS):
        yield rows_of_records(records[begin : begin + PIECE_ROWS], len(names), layout, wanted)


def _records(found: list[Any]) -> tuple[list[str], list[Record]]:
    """Return the names of columns, and the cells of each row."""
    first = found[0] if found else None
    if isinstance(first, dict):
        names = list(first)
        records: list[Record] = [[entry.get(name) for name in names] if isinstance(entry, dict) else [entry]
                                 for entry in found]  # fmt: skip
        return names, records
    if isinstance(first, list):
        return [str(place + 1) for place in range(len(first))], [
            entry if isinstance(entry, list) else [entry] for entry in found
        ]
    return ["1"], [[entry] for entry in found]
