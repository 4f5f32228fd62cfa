"""What a body is, by its headers: the media types and the content codings that /add_batch takes."""

from http import HTTPStatus

from api.http.problems import Refusal, shown

JSON = "application/json"
RAW = "application/octet-stream"
ARROW = "application/vnd.apache.arrow.stream"
LINES = "application/x-ndjson"
BODY_TYPES = (JSON, RAW, ARROW, LINES)

GZIP = "gzip"
ZSTD = "zstd"
CODINGS = (GZIP, ZSTD)
_CODING_OF = {b"gzip": GZIP, b"x-gzip": GZIP, b"zstd": ZSTD, b"identity": None}

_HINT = f"send it with: -H 'Content-Type: {JSON}', or as one of {', '.join(BODY_TYPES[1:])}"
_UTF_8 = frozenset({"charset=utf-8", 'charset="utf-8"', ""})


def body_type(content_type: str | None) -> str:
    """Return the one of BODY_TYPES that `content_type` names; raise Refusal (415) for any other.

    JSON and NDJSON must be in UTF-8 where a charset is named; the parameters of binary bodies say nothing.
    """
    if not content_type:
        raise _unsupported(f"The body has no Content-Type; {_HINT}")
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind not in BODY_TYPES:
        raise _unsupported(f"The body must be {JSON}, not {shown(content_type)}; {_HINT}")
    if kind in {JSON, LINES} and not _UTF_8.issuperset(parameters):
        raise _unsupported(f"The body must be {kind} in UTF-8, not {shown(content_type)}; {_HINT}")
    return kind


def body_coding(content_encoding: bytes | None) -> str | None:
    """Return how the body is compressed, one of CODINGS, or None if it is not; raise Refusal (415) for any other."""
    if content_encoding is None:
        return None
    named = content_encoding.strip().lower()
    if named not in _CODING_OF:
        detail = (
            f"Content-Encoding {shown(content_encoding.decode('latin-1'))} is not understood: send the body as it is, "
            f"or compressed once, by {' or '.join(CODINGS)}"
        )
        headers = {"Accept-Encoding": ", ".join(CODINGS)}
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=headers)
    return _CODING_OF[named]


def _unsupported(detail: str) -> Refusal:
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept": ", ".join(BODY_TYPES)})
