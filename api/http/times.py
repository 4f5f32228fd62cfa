"""How times stand in answers: whole nanoseconds since 1970, or RFC 3339 where `times=iso` asks for that."""

from collections.abc import Mapping

import numpy as np

from api.http.problems import shown
from api.http.query import bad_query
from hft_mmap.named import Column

TIMES = "times"
_FORMS = ("ns", "iso")


def wants_iso(given: Mapping[str, str]) -> bool:
    """Say whether times are asked for as RFC 3339. Raises Refusal (400) for a form that there is not."""
    form = given.get(TIMES, _FORMS[0])
    if form not in _FORMS:
        raise bad_query(f"times must be one of {', '.join(_FORMS)}, not {shown(form)}")
    return form == _FORMS[1]


def iso(times: Column) -> list[str]:
    """Return nanoseconds since 1970 as RFC 3339, with all nine digits, in UTC."""
    found: list[str] = np.datetime_as_string(times.view("M8[ns]"), unit="ns", timezone="UTC").tolist()
    return found
