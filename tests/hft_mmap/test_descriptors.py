"""The bound on how many series have descriptors, where several threads meet it at once."""

from hft_mmap.files.descriptors import Descriptors


class Named:
    """What a series is to the bound: it rests where it is idle, and another thread uses `other` while it does."""

    def __init__(self, bound: Descriptors) -> None:
        """Begin in use."""
        self.bound = bound
        self.idle = False
        self.other: Named | None = None

    def rest(self) -> bool:
        """Say whether it was idle."""
        if self.other is not None:
            self.bound.used(self.other)
        return self.idle


def test_threads_that_meet_the_bound_at_once_close_no_more_than_is_too_much() -> None:
    """Two are allowed, and two stay, though each thread has found three too many."""
    descriptors = Descriptors(2)
    busy = [Named(descriptors) for _ in range(4)]
    for series in busy:
        descriptors.used(series)
    assert len(descriptors) == 4  # none of them could rest
    one, other = Named(descriptors), Named(descriptors)
    for series in (*busy, one, other):
        series.idle = True
    busy[0].other = other
    descriptors.used(one)
    assert len(descriptors) == 2
