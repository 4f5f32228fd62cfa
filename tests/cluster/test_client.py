"""Client and AsyncClient before two shards: each call goes where its symbol is, whatever fails meanwhile."""

from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from itertools import count
from pathlib import Path
from signal import SIGKILL
from typing import Any, NamedTuple

import numpy as np
import pytest

from hft_mmap.client import Client, Misdirected, RequestRefused, Retry, Unreachable
from hft_mmap.slots import slot_of
from tests.client.conftest import Blocking
from tests.cluster.servers import Nats, nats_servers
from tests.cluster.shards import create, needs_nats, started
from tests.docs.markdown import blocks, matches, printed
from tests.service import ROOT, Service

pytestmark = needs_nats

AT_ONCE = Retry(give_up_s=0)
NAMES = [f"S{n}" for n in range(200)]
LOW = [name for name in NAMES if slot_of(name) < 512]
HIGH = [name for name in NAMES if slot_of(name) >= 512]
_fresh = count()


class Two(NamedTuple):
    """Replicas a and b of shard 0, and c of shard 1; b says that shard 0 has all slots, which is wrong."""

    a: Service
    b: Service
    c: Service
    nats: Nats

    @property
    def urls(self) -> list[str]:
        """What a client is given: what is said last holds."""
        return [self.b.url, self.a.url, self.c.url]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Yield two shards."""
    directory = tmp_path_factory.mktemp("two")
    with ExitStack() as stack:
        nats = stack.enter_context(nats_servers(directory, 1))
        for shard in (0, 1):
            create(nats, directory, cluster__shard=shard)
        a, c = [stack.enter_context(started(nats, directory, name, shard)) for name, shard in (("a", 0), ("c", 1))]
        yield Two(a, stack.enter_context(started(nats, directory, "b", 0, "0-1023")), c, nats)


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Any:
    """Return the class of the client under test."""
    return request.param


@pytest.fixture
def pair() -> list[str]:
    """Return a symbol of shard 1 and one of shard 0 that no other test uses."""
    n = next(_fresh)
    return [HIGH[n], LOW[n]]


def test_a_feed_goes_to_each_shard(two: Two, connect: Any, pair: list[str]) -> None:
    """Over a connection to each; what one shard refuses, as the symbol is of another, stops that symbol alone."""
    _, low = pair
    with connect(two.urls) as client:
        with client.feed(max_points=2) as feed:
            for k in range(5):
                for name in pair:
                    feed.add(name, float(k))
        assert [client.values(name).tolist() for name in pair] == [list(range(5))] * 2
    with connect(two.a.url) as client:
        feed = client.feed(offsets={HIGH[41]: 0})
        feed.__enter__()
        feed.add(HIGH[41], 5.0)
        feed.add(low, 5.0)
        with pytest.raises(Misdirected, match=f"421: {HIGH[41]}, batch at 0"):
            feed.close()
        assert client.total(low) == 6
    with connect(two.urls) as client:
        assert client.total(HIGH[41]) == 0


def test_each_symbol_goes_to_its_shard(two: Two, connect: Any, pair: list[str]) -> None:
    """Batches and questions; what is asked of many symbols comes from all shards, in the order that was asked for."""
    high, low = pair
    with connect(two.urls) as client:
        assert [client.append(name, [1.0, 2.0], offset=0).total for name in pair] == [2, 2]
        added = client.append(high, [4.0], times=None)
        assert (added.total, added.durability, added.seq) == (3, "replicated", int(seen(two.c, high)))
        assert client.values(low).tolist() == [1.0, 2.0]
        assert (client.series(high).total, client.total(low)) == (3, 2)
        assert client.ticks(high, last=1).prices.tolist() == [4.0]
        third = next(name for name in reversed(HIGH) if not client.total(name))
        client.append(third, [7.0])
        across = client.stats_across([high, low, third], ("count", "max"), window=10)
        assert (across["count"].tolist(), across["max"].tolist()) == ([3, 2, 1], [4.0, 2.0, 7.0])
        assert np.issubdtype(across["count"].dtype, np.integer)
        points = client.asof_across([high, low], 1)
        assert [(name, point.value) for name, point in points.items()] == [(high, 2.0), (low, 2.0)]
        names = [row.symbol for row in client.symbols()]
        assert names == sorted(names)
        assert set(pair) <= set(names)
        assert [row.symbol for row in client.symbols(after=names[0], limit=1)] == names[1:2]
        assert (client.health(), client.ready()) == (True, [])
        assert next(iter(client.stream(high, windows=[2]))).windows[2].max == 4.0
        with pytest.raises(ValueError, match="of the shards 0, 1: ask for those of each shard alone"):
            next(iter(client.stream(pair)))
        with pytest.raises(RequestRefused, match="405"):
            client.remove(high)


def seen(service: Service, symbol: str) -> str:
    """Return the record that a service has read, once it shows a symbol."""
    answer = service.client.get("/stats", params={"symbol": symbol, "window": 1})
    assert answer.status_code == 200
    return answer.headers["X-Applied-Seq"]


def test_a_batch_follows_its_symbol_to_another_shard(two: Two, connect: Any, pair: list[str]) -> None:
    """421 is followed once to each other shard; where there is none, the error says why."""
    high, _ = pair
    wrong = [two.a.url, two.c.url, two.b.url]
    with connect(wrong, retry=AT_ONCE) as client:
        assert [client.append(high, [1.0]).total, client.append(high, [2.0]).total] == [1, 2]
        assert client.values(high).tolist() == [1.0, 2.0]
    assert two.a.client.get("/stats", params={"symbol": high, "window": 1}).status_code == 404
    for urls in (two.a.url, [two.a.url], [two.a.url, two.a.url]):
        with connect(urls, retry=AT_ONCE) as client, pytest.raises(Misdirected, match=r"cluster\.slots") as error:
            client.append(HIGH[40], [1.0])
        assert error.value.status == 421


def test_the_other_replica_takes_over(two: Two, connect: Any, tmp_path: Path, pair: list[str]) -> None:
    """Each point of a producer is stored once, and seen at once, while the replica that it writes to is killed."""
    _, low = pair
    with started(two.nats, tmp_path, "d", 0) as d, connect([d.url, two.a.url, two.c.url]) as client:
        total = 0
        for k in range(60):
            if k == 30:
                d.stop(SIGKILL)
            total = client.append(low, [float(k), k + 0.5], offset=total).total
            assert client.total(low) == total
        assert client.values(low).tolist() == [k / 2 for k in range(120)]


def test_the_example_of_the_document(two: Two) -> None:
    """Does what docs/client.md says, before these shards."""
    (block,) = (one for one in blocks(ROOT / "docs" / "client.md") if "10.0.0.4" in one.text)
    text = block.text
    for n, service in enumerate((two.b, two.a, two.c)):
        text = text.replace(f"http://10.0.0.{4 + n}:8080", service.url)
    text = text.replace("symbols()]", 'symbols() if row.symbol.endswith("-USD")]')
    namespace: dict[str, Any] = {}
    with redirect_stdout(StringIO()) as output:
        exec(text, namespace)  # noqa: S102 - running it is the test
    namespace["client"].close()
    assert matches(printed(block), output.getvalue())


def test_a_shard_that_does_not_answer_is_not_left_out(two: Two, connect: Any, shared_service: Service) -> None:
    """Of neither a symbol nor a list is there half an answer."""
    with connect([two.a.url, "http://127.0.0.1:1"], retry=AT_ONCE) as client:
        for ask in (client.symbols, client.ready, lambda: client.total(HIGH[0])):
            with pytest.raises(Unreachable, match=r"no replica of .*shard.* answers"):
                ask()
        assert client.total(LOW[-1]) == 0
    with connect([two.a.url, shared_service.url]) as client, pytest.raises(ValueError, match="service on one machine"):
        client.health()
    for wrong in ([], ["unix:/run/a"], [two.a.url, "ftp://b"]):
        with pytest.raises(ValueError, match="http://"):
            connect(wrong)
