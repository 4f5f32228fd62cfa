"""Batches as raw numbers: float64, little-endian, one after the other, with nothing around them."""

from http import HTTPStatus

import numpy as np
from numpy.typing import NDArray

from api.http.problems import Refusal

VALUE_BYTES = 8


def raw_values(body: bytes, max_values: int) -> NDArray[np.float64]:
    """Return the numbers in `body`, shape (n,), without a copy; whether they are prices is for the store to say.

    Raises Refusal (400) unless there are whole numbers in it, `max_values` at most.
    """
    count, rest = divmod(len(body), VALUE_BYTES)
    if rest:
        detail = f"The body has {len(body)} bytes; a float64 takes {VALUE_BYTES}, so {rest} are too many"
        raise Refusal(HTTPStatus.BAD_REQUEST, detail)
    check_count(count, max_values)
    return np.frombuffer(body, np.float64) if body else np.empty(0)


def check_count(count: int, max_values: int) -> None:
    """Raise Refusal (400) if a batch of `count` numbers is too long."""
    if count > max_values:
        detail = (
            f"The body has {count} numbers; a batch has at most {max_values} (server.max_batch_values): "
            "send several batches"
        )
        raise Refusal(HTTPStatus.BAD_REQUEST, detail)
