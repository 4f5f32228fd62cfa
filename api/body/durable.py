"""Waiting for the disk without holding the event loop up."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

from api.http.problems import Refusal
from hft_mmap import Store


async def wait_durable(store: Store, symbol: str, total: int) -> None:
    """Return once the points of `symbol` below `total` are on the disk; Refusal (503) if that failed."""
    loop = asyncio.get_running_loop()
    flushed: asyncio.Future[BaseException | None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not flushed.done():  # cancelled, when the service stops before the disk has answered
            flushed.set_result(error)

    store.on_durable(symbol, total, lambda error: _call_soon(loop, settle, error))
    error = await flushed
    if error is not None:
        detail = f"The batch was stored, but may not survive a power loss: {error}"
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, detail) from error


def _call_soon(
    loop: asyncio.AbstractEventLoop, settle: Callable[[BaseException | None], None], error: BaseException | None
) -> None:
    with suppress(RuntimeError):  # the loop has closed: the service has stopped, and nobody waits any more
        loop.call_soon_threadsafe(settle, error)
