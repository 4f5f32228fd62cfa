"""A coroutine run at once, up to its first wait; a task does the rest.

PERF: most requests never wait, and then need no task: it saves the task, two callbacks and one turn of the event loop a
request. One consequence: before its first real wait a resource has no current task, so `asyncio.timeout` and
`TaskGroup` are not at its disposal there.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any


def begin(coroutine: Coroutine[Any, Any, None]) -> Callable[[asyncio.AbstractEventLoop], "asyncio.Task[None]"] | None:
    """Run `coroutine` up to where it waits; return None if it has ended, or what makes the task that does the rest."""
    context = contextvars.Context()
    try:
        awaited = context.run(coroutine.send, None)
    except StopIteration:
        return None
    return lambda loop: loop.create_task(_continue(coroutine, awaited), context=context)


class _Rest:
    """What is left of a coroutine that has been run up to its first wait."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: object) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine, awaited = self._coroutine, self._awaited
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - handed on, whatever it is
                step: Callable[[], Any] = partial(coroutine.throw, error)
            else:
                step = partial(coroutine.send, sent)
            try:
                awaited = step()
            except StopIteration:
                return


async def _continue(coroutine: Coroutine[Any, Any, None], awaited: object) -> None:
    await _Rest(coroutine, awaited)
