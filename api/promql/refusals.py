"""Why a query has no answer."""


class NoAnswer(Exception):
    """The query is understood, and not answered: a construct that is not spoken here, or more than a limit allows."""


class NoQuery(Exception):
    """The text is no query, or a parameter is none; says where, and what was expected."""


MOST_SHOWN_CHARS = 80


def shown(text: str) -> str:
    """Return `text` quoted and cut, so that a refusal never grows with what it refuses."""
    return repr(text if len(text) <= MOST_SHOWN_CHARS else f"{text[:MOST_SHOWN_CHARS]}…")
