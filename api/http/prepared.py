"""What a resource leaves in the scope of a request that it has answered, so that the next one like it comes sooner.

A question that can be asked again as it stands, by the same bytes and with the same answer to who may ask it, is handed
on as a `Question`. The resource itself answers by it too: both ways run the same code (docs/design/0004).
"""

from typing import Any, Protocol, TypeAlias

QUESTION = "hft_mmap.question"
"""The `Question` of a request that was answered, where it can be asked again."""
RAISED = "hft_mmap.raised"
"""The `NotStored` that a prepared request was refused with: it is told, and not tried again."""

Batch: TypeAlias = tuple[str | None, int]
"""Symbol and number of points, as in `api.http.exchange.BATCH`."""


class Question(Protocol):
    """What a request asks, understood."""

    batch: Batch | None
    """What the last `answer` stored."""
    kept_bytes: int
    """What it takes of memory, with an answer that it keeps; about."""
    offset: int | None
    """Where its head said that a batch goes; None where it said nothing of that."""

    def answer(self, body: bytes, caller: Any, offset: int | None = None) -> bytes | None:  # noqa: ANN401 - a token, of which this room knows none
        """Return the JSON to answer with now, with status 200; None, with nothing done, where it can't be told at once.

        caller: the token that was let through, or None where there are no tokens. offset: what stands in the head in
        place of its own, where it has one. Whatever it raises means that it is to be asked the long way; NotStored,
        that it is to be refused there.
        """
        ...


class NotStored(Exception):
    """A batch was refused; nothing of it was stored. `error` says why, `batch` which it was, if it could be read."""

    def __init__(self, error: Exception, batch: Batch | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.batch = batch
