"""When a call is tried again: after which failures, how soon, and for how long."""

import random
import ssl
from dataclasses import dataclass
from time import monotonic

import httpx

from hft_mmap.client.errors import NoSpace, ServiceError, Unavailable, Unreachable
from hft_mmap.errors import HftMmapError

# Nothing of the request can have reached the service.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Retry:
    """How a client goes on after a failure: for `give_up_s` at most, with pauses that double up to `longest_pause_s`.

    A pause is drawn between half of its length and the whole, so that clients which lost their service together do not
    come back together.
    """

    give_up_s: float = 60.0
    first_pause_s: float = 0.05
    longest_pause_s: float = 2.0

    def __post_init__(self) -> None:
        """Check every field."""
        if not (self.give_up_s >= 0 and 0 < self.first_pause_s <= self.longest_pause_s):
            message = f"give_up_s must be from 0, and first_pause_s above 0 and at most longest_pause_s: {self!r}"
            raise ValueError(message)


class Tries:
    """One call: counts its tries, and says how long to pause before the next."""

    def __init__(self, retry: Retry, *, repeatable: bool) -> None:
        """Begin; a call that is `repeatable` may be sent again after it has perhaps been carried out."""
        self._retry = retry
        self._repeatable = repeatable
        self._pause_s = retry.first_pause_s
        self._end = monotonic() + retry.give_up_s

    def pause_s(self, failure: HftMmapError) -> float:
        """Return how long to wait before the next try; raise `failure` if there is none."""
        if not self._may_repeat(failure):
            raise failure
        pause = self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
        if isinstance(failure, ServiceError):
            pause = max(pause, failure.retry_after_s)
        if monotonic() + pause > self._end:
            raise failure
        self._pause_s = min(2 * self._pause_s, self._retry.longest_pause_s)
        return pause

    def _may_repeat(self, failure: HftMmapError) -> bool:
        if isinstance(failure, NoSpace):
            return True  # nothing was stored, and there may be space soon
        if isinstance(failure, Unreachable):
            if is_lasting(failure):
                return False
            return self._repeatable or isinstance(failure.__cause__, _NOT_SENT)
        return isinstance(failure, Unavailable) and self._repeatable


def is_lasting(failure: BaseException | None) -> bool:
    """Return whether trying again can't help: the certificate is not trusted, or the other side speaks no TLS."""
    while failure is not None:
        if isinstance(failure, ssl.SSLError) and not isinstance(failure, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return True
        failure = failure.__cause__ or failure.__context__
    return False


def unreachable(error: Exception) -> Unreachable:
    """Return the error that a failed connection stands for."""
    advice = "; name a file with what signed it (verify, --ca)" if "CERTIFICATE_VERIFY_FAILED" in str(error) else ""
    failure = Unreachable(f"{type(error).__name__}: {error}{advice}")
    failure.__cause__ = error
    return failure


def ended() -> Unreachable:
    """Return the error that the end of an answer without end stands for: the service stops, or can't go on."""
    return Unreachable("the service ended the stream")
