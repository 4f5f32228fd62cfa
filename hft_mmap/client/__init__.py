"""The client of the service, sync and async: batches, retries that store each point once, answers as numpy arrays.

    wire.py       what is asked and how answers are read; no connection, so both clients share it
    questions.py  what is asked of any window or range, likewise
    retry.py      when a call is tried again, and when no more
    errors.py     what a refusal becomes
    shards.py     which service a call goes to, where there are several
    calling.py, async_calling.py   how calls are sent
    blocking.py   Client
    awaiting.py   AsyncClient
    buffer.py     the points that a producer has not sent yet
    producers.py  Producer and AsyncProducer, which send points in batches
    outbox.py     the points that a feed has not heard of yet, by symbols and connections
    dial.py       how a feed opens a connection
    courier.py    how it sends, hears and goes on, on an event loop
    feeds.py      Feed and AsyncFeed, which send points of many symbols over one WebSocket

It needs httpx and websockets, which the extra `client` brings. Nothing of the store imports it.
"""

try:
    import httpx as _httpx  # noqa: F401 - only to say clearly that it is missing
except ModuleNotFoundError as error:
    from hft_mmap.extras import how_to_install

    message = f"hft_mmap.client needs httpx: {how_to_install('httpx', 'client')}"
    raise ModuleNotFoundError(message, name="httpx") from error

from hft_mmap.client.awaiting import AsyncClient
from hft_mmap.client.blocking import Client
from hft_mmap.client.errors import (
    Conflict,
    Misdirected,
    NameTaken,
    NoSpace,
    NotFound,
    RequestRefused,
    ServiceError,
    TooLate,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from hft_mmap.client.feeds import AsyncFeed, Feed
from hft_mmap.client.producers import AsyncProducer, Producer
from hft_mmap.client.retry import Retry
from hft_mmap.client.wire import Added, Stats, Windows

__all__ = [
    "Added",
    "AsyncClient",
    "AsyncFeed",
    "AsyncProducer",
    "Client",
    "Conflict",
    "Feed",
    "Misdirected",
    "NameTaken",
    "NoSpace",
    "NotFound",
    "Producer",
    "RequestRefused",
    "Retry",
    "ServiceError",
    "Stats",
    "TooLate",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "Windows",
]
