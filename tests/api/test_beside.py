"""Long questions beside the event loop: what is bounded, and that the bounds are let go of."""

import asyncio
import threading
from functools import partial

import pytest

from api.http.problems import Refusal
from api.operation.beside import MOST_HELD_BYTES, MOST_RUNNING, MOST_WAITING, Beside


def test_too_many_long_questions_are_refused_and_the_others_answered() -> None:
    """So many run, so many wait; one more is a 503 that says when to come again."""
    beside, go = Beside(), threading.Event()

    def wait(k: int) -> int:
        go.wait()
        return k

    async def run() -> list[int]:
        many = MOST_RUNNING + MOST_WAITING
        asked = [asyncio.ensure_future(beside.answer("windows", partial(wait, k))) for k in range(many)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="wait for their turn") as refused:
            await beside.answer("quantile", lambda: 0)
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        asked.pop().cancel()  # was given up before its turn came
        go.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(run()) == list(range(MOST_RUNNING + MOST_WAITING - 1))
    counted = {"path": 0, "promql": 0, "quantile": 0, "rank": 0, "symbols": 0, "windows": MOST_RUNNING + MOST_WAITING}
    assert (beside.asked, beside.refused) == (counted, 1)
    assert beside.unfinished == 0


def test_an_error_is_passed_on_and_counts_no_longer() -> None:
    """As if the question had been asked on the event loop."""
    beside = Beside()

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(beside.answer("quantile", fail))
    assert asyncio.run(beside.answer("quantile", lambda: 1)) == 1
    assert beside.asked["quantile"] == 2


def test_answers_that_are_held_are_bounded() -> None:
    """Room is free again once the answer is forgotten, sent or not."""
    beside = Beside()
    held = beside.hold(MOST_HELD_BYTES)
    with pytest.raises(Refusal, match="bytes are being made"):
        beside.hold(1)
    del held
    assert beside.held_bytes == 0
    assert beside.hold(1) is not None
