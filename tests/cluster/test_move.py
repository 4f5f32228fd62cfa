"""A symbol moves to another shard, and both say so; a move that is killed anywhere goes on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from api.access.tokens import ADMIN, READ, WRITE, add
from api.cli.moving import MoveError, Shard, moved
from hft_mmap import Store
from hft_mmap.client import Client
from tests.cluster.servers import Nats
from tests.cluster.shards import create, needs_nats, post, started
from tests.service import Service, run_command, wait_until

pytestmark = needs_nats

OLD, NEW = 0, 1
MOST, KEEP = 100, 60
"""Points that a symbol keeps, so that most begin above 0."""


@pytest.fixture(scope="module")
def shards(nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Service]]:
    """Yield a replica of each of two shards; the first makes all symbols."""
    directory = tmp_path_factory.mktemp("shards")
    with ExitStack() as stack:
        found = []
        for shard, slots in ((OLD, "0-1022"), (NEW, "1023")):
            create(nats, directory, cluster__shard=shard)
            kept = {"store__max_data_retention": MOST, "store__cleanup_keep_count": KEEP, "store__max_symbols": 500}
            found.append(stack.enter_context(started(nats, directory, f"s{shard}", shard, slots, **kept)))
        yield found


def rows_of(symbol: str, n: int) -> dict[str, Any]:
    """Return rows with times and sizes, or prices alone."""
    prices = [k / 8 + len(symbol) for k in range(n)]
    if symbol.startswith("P"):
        return {"values": prices}
    times, sizes = [10**18 + 5 * k for k in range(n)], [float(k % 7) - 3 for k in range(n)]
    return {"values": prices, "times": times, "sizes": sizes}


def fill(service: Service, symbol: str, n: int) -> None:
    """Store rows, in batches of 10."""
    rows = rows_of(symbol, n)
    for begin in range(0, n, 10):
        part = {name: column[begin : begin + 10] for name, column in rows.items()}
        told = service.client.post("/add_batch", json={"symbol": symbol, "offset": begin, **part})
        assert told.status_code == 200, told.text


def held(service: Service, symbol: str) -> dict[str, Any]:
    """Return what a shard keeps of a symbol."""
    answer = service.client.get("/values", params={"symbol": symbol})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ends_at(service: Service, symbol: str) -> int | None:
    """Return where a shard ends a symbol, None where it has none, or none any more."""
    answer = service.client.get(f"/symbols/{symbol}")
    assert answer.status_code in {200, 404, 421}, answer.text
    return int(answer.json()["total"]) if answer.status_code == 200 else None


def test_a_symbol_moves_and_its_old_shard_says_so(shards: list[Service]) -> None:
    """By the command: prices, times, sizes and indices are those that they were; a client finds it."""
    old, new = shards
    urls = [one.url for one in shards]
    fill(old, "MOVES", 130)
    with Client(urls) as client:
        before = held(old, "MOVES")
        assert before["first"] > 0
        assert client.stats("MOVES", 1).last == before["values"][-1]
        done = run_command(old.data_dir.parent, "cluster", "move", "MOVES", *urls, "--to", str(NEW), "--yes")
        assert done.returncode == 0, done.stderr
        assert "MOVES has moved" in done.stdout
        assert held(new, "MOVES") == before
        for answer in (
            old.client.get("/values?symbol=MOVES"), old.client.get("/symbols/MOVES"),
            post(old, "MOVES", [1.0], times=[10**18 + 10**6], sizes=[1.0]),
        ):  # fmt: skip
            assert answer.status_code == HTTPStatus.MISDIRECTED_REQUEST, answer.text
            assert "moved" in answer.json()["detail"]
        assert old.client.get("/cluster").json()["moved"]["MOVES"] == NEW
        assert client.append("MOVES", [7.0], times=[10**18 + 10**6], sizes=[1.0]).total == 131
        assert client.stats("MOVES", 1).last == 7.0
    with Client(urls) as client:
        assert client.stats("MOVES", 1).last == 7.0
    wait_until(lambda: '"MOVES"' not in old.client.get("/symbols").text, "it to be removed")
    again = run_command(old.data_dir.parent, "cluster", "move", "MOVES", *urls, "--to", str(NEW), "--yes")
    assert (again.returncode, again.stdout) == (0, "MOVES has moved already\n"), again.stderr
    with Store(new.data_dir, mode="r") as store:
        assert not [fault for report in store.verify("MOVES") for fault in report.faults]


def test_whoever_may_not_ask_of_a_symbol_is_not_told_where_it_is(nats: Nats, tmp_path: Path) -> None:
    """401 and 403 come before 421, by every way to name a symbol; a page that names one is a page."""
    scopes = {"all": [ADMIN], "reader": [READ], "writer": [WRITE], "desk": [f"{READ}:OTHER*", f"{WRITE}:OTHER*"]}
    sent = {name: {"Authorization": f"Bearer {add(tmp_path / 'tokens', name, only)}"} for name, only in scopes.items()}
    create(nats, tmp_path, cluster__shard=2)
    with started(nats, tmp_path, "guarded", 2, "0-1023", auth__tokens_file=str(tmp_path / "tokens")) as service:
        ask, batch = service.client.request, {"symbol": "GONE", "values": [1.0]}
        assert ask("POST", "/add_batch", json=batch, headers=sent["writer"]).status_code == 200
        for step in ({"seal": "GONE"}, {"moved": "GONE", "to": 9}):
            assert ask("PATCH", "/cluster", json=step, headers=sent["all"]).status_code == 200

        def told(name: str, method: str, path: str, **more: Any) -> int:
            answer = ask(method, path, headers=sent.get(name), **more)
            assert (answer.status_code == 421) == ("has moved" in answer.text), answer.text
            return answer.status_code

        for path in ("/symbols/GONE", "/symbols/GONE/", "/symbols/%47ONE", "/values?symbol=GONE", "/stats?symbol=GONE"):
            found = [told(name, "GET", path) for name in ("nobody", "writer", "desk", "reader")]
            assert found == [401, 403, 403, 421], path
        kind = {"Content-Type": "application/octet-stream"}
        assert ask("POST", "/add_batch?symbol=GONE", content=bytes(8), headers=kind).status_code == 401
        found = [told(name, "POST", "/add_batch", json=batch) for name in ("nobody", "reader", "desk", "writer")]
        assert found == [401, 403, 403, 421]
        assert [told("nobody", "GET", path) for path in ("/?symbol=GONE", "/health?symbol=GONE")] == [200, 200]


class Killed(BaseException):
    """The command is no more."""


def killing(at: int, *, sent: bool) -> Callable[..., Any]:
    """Return an `urlopen` that ends the command at its n-th request: before it is sent, or before it is answered."""
    count = 0

    def opened(request: Request, timeout: float) -> Any:
        nonlocal count
        count += 1
        if count == at and not sent:
            raise Killed
        try:
            answer = urlopen(request, timeout=timeout)  # noqa: S310 - of this machine
        except HTTPError:
            if count == at:
                raise Killed from None
            raise
        if count == at:
            answer.close()
            raise Killed
        return answer

    return opened


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("kind", ["P", "T"])
def test_a_move_that_is_killed_at_any_step_goes_on(shards: list[Service], kind: str, *, sent: bool) -> None:
    """Whatever request was the last: one shard has all of it meanwhile, and the next run ends with the same points."""
    old, new = shards
    for at in range(1, 100):
        symbol = f"{kind}{sent:d}-{at}"
        fill(old, symbol, 110)
        before = held(old, symbol)
        opened = killing(at, sent=sent)
        try:
            list(moved(symbol, Shard([old.url], "", opened), Shard([new.url], "", opened), NEW, 25))
        except Killed:
            if ends_at(old, symbol) is not None:
                assert held(old, symbol) == before
            else:
                assert held(new, symbol) == before
        else:
            break
        list(moved(symbol, Shard([old.url], ""), Shard([new.url], ""), NEW, 25))
        assert held(new, symbol) == before
        assert ends_at(old, symbol) is None
    assert at > 8


def test_a_symbol_that_the_other_shard_has_is_not_mixed(shards: list[Service]) -> None:
    """Other points there are a conflict, and stay; nothing is removed."""
    old, new = shards
    fill(old, "TWICE", 30)
    theirs = Shard([new.url], "").step("a symbol", begin="TWICE", offset=0, value=9.0, time=1, size=1.0)
    assert theirs["total"] == 1
    with pytest.raises(MoveError, match="409: offset 0 does not fit"):
        list(moved("TWICE", Shard([old.url], ""), Shard([new.url], ""), NEW))
    assert held(old, "TWICE")["total"] == 30
    assert held(new, "TWICE")["values"] == [9.0]


@pytest.mark.parametrize(
    ("urls", "says"),
    [
        ("a", "name replicas of shard 1"), ("b", "name replicas of shard 1"), ("ab", "404: Symbol not found: NONE"),
        ("ax", "does not answer"),
    ],
)  # fmt: skip
def test_what_can_not_be_moved_is_refused(shards: list[Service], urls: str, says: str) -> None:
    """With the reason; nothing is sealed."""
    places = {"a": shards[0].url, "b": shards[1].url, "x": "http://127.0.0.1:1"}
    named = [places[one] for one in urls]
    done = run_command(shards[0].data_dir.parent, "cluster", "move", "NONE", *named, "--to", "1", "--yes")
    assert (done.returncode, says in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    "body",
    [
        {"seal": "A", "to": 1}, {"begin": "A"}, {"begin": "A", "offset": -1, "value": 1.0}, {"moved": "A"},
        {"moved": "A", "to": True}, {"begin": "A", "offset": 0, "value": "1"}, {"seal": 5}, {"seal": ""},
        {"begin": "A", "offset": 0, "value": -1.0}, {"begin": "A", "offset": 0, "value": 1.0, "time": 1.5}, [], {},
    ],
)  # fmt: skip
def test_a_step_that_is_none_is_refused(shards: list[Service], body: object) -> None:
    """400, and no record is written."""
    before = shards[0].client.get("/cluster").json()["applied"]
    answer = shards[0].client.patch("/cluster", json=body)
    assert answer.status_code == 400, answer.text
    assert shards[0].client.get("/cluster").json()["applied"] == before


def test_a_symbol_is_not_left_to_the_shard_that_it_is_in(shards: list[Service]) -> None:
    """409, and 404 for one that is none."""
    fill(shards[0], "STAYS", 10)
    step = shards[0].client.patch
    assert step("/cluster", json={"moved": "STAYS", "to": OLD}).status_code == 409
    assert step("/cluster", json={"moved": "STAYS", "to": NEW}).status_code == 409
    assert step("/cluster", json={"seal": "NOBODY"}).status_code == 404
    assert np.isclose(held(shards[0], "STAYS")["values"][0], 5.0)
