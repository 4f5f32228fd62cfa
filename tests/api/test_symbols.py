"""The life of a symbol over HTTP: looked at, listed in pages, made, renamed, removed."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hft_mmap import Store
from tests.conftest import StartService
from tests.service import Service, run_command, wait_until

JSON = {"Content-Type": "application/json"}
PATHS = {"EUR%2FUSD": "EUR/USD", "EUR/USD": "EUR/USD", "A%2F": "A/", "A/": "A", "%2E%2E": "..", "50%25": "50%"}


@pytest.fixture
def service(start_service: StartService) -> Service:
    """Start a service with room for some symbols."""
    return start_service(store__max_symbols=20)


def test_a_symbol_is_looked_at_by_its_path(service: Service) -> None:
    """Percent-encoded or not, whatever signs it has; "%2F" at the end belongs to it, a plain slash there does not."""
    for symbol in {*PATHS.values(), "日本円"}:
        service.add(symbol, [1.0, 2.0])
    for path, symbol in PATHS.items():
        answer = service.client.get(f"/symbols/{path}")
        assert (answer.status_code, answer.json()["symbol"], answer.json()["total"]) == (200, symbol, 2)
    assert service.client.get("/symbols/日本円").json()["last"] == 2.0
    assert service.client.get("/symbols/XYZ").status_code == 404
    for path in ("%zz", "%FF", "A%00", "A?x=1"):
        assert service.client.get(f"/symbols/{path}").status_code == 400


def test_a_symbol_is_removed(service: Service) -> None:
    """It is gone for every route; a counting producer meets a conflict, and any other begins anew."""
    service.add("ABC", [1.0, 2.0])
    assert service.client.get("/stats?symbol=ABC&k=1").json()["last"] == 2.0
    answer = service.client.delete("/symbols/ABC")
    assert (answer.status_code, answer.json()) == (200, {"symbol": "ABC", "removed": True})
    for path in ("/stats?symbol=ABC&k=1", "/symbols/ABC", "/values?symbol=ABC", "/series?symbol=ABC"):
        assert service.client.get(path).status_code == 404
    assert service.client.delete("/symbols/ABC").status_code == 404
    batch = {"symbol": "ABC", "values": [3.0]}
    conflict = service.client.post("/add_batch", json={**batch, "offset": 2})
    assert (conflict.status_code, conflict.json()["total"]) == (409, 0)
    assert service.client.get("/symbols").json() == {"symbols": []}
    assert service.client.post("/add_batch", json=batch).json()["total"] == 1
    assert service.client.get("/stats?symbol=ABC&k=1").json()["last"] == 3.0


def test_a_symbol_is_renamed(service: Service) -> None:
    """A name that is taken, none at all, or more than a name in the body changes nothing."""
    service.add("ABC", [1.0, 2.0])
    service.add("TAKEN", [5.0])
    refused = [({"symbol": "TAKEN"}, 409), ({"symbol": ""}, 400), ({"symbol": 1}, 400), ({"symbol": "N", "x": 1}, 400)]
    for body, status in refused:
        assert service.client.patch("/symbols/ABC", json=body).status_code == status
    assert service.client.patch("/symbols/ABC", content=b"{", headers=JSON).status_code == 400
    assert service.client.patch("/symbols/ABC", content=b"{}").status_code == 415
    answer = service.client.patch("/symbols/ABC", json={"symbol": "EUR/USD"})
    assert (answer.status_code, answer.json()) == (200, {"symbol": "EUR/USD", "total": 2})
    assert service.client.get("/stats?symbol=EUR/USD&k=1").json()["last"] == 2.0
    assert service.client.get("/stats?symbol=ABC&k=1").status_code == 404
    assert service.client.patch("/symbols/ABC", json={"symbol": "N"}).status_code == 404


def test_a_symbol_has_to_be_made_where_batches_make_none(start_service: StartService) -> None:
    """404 names the setting; PUT makes it once, up to the limit, which is named as well."""
    service = start_service(store__create_on_append="false", store__max_symbols=1)
    refused = service.add("ABC", [1.0])
    assert refused.status_code == 404
    assert refused.json()["detail"].startswith("Symbol not found: ABC; store.create_on_append is false")
    for status, created in ((201, True), (200, False)):
        answer = service.client.put("/symbols/ABC")
        assert (answer.status_code, answer.json()) == (status, {"symbol": "ABC", "created": created})
    assert service.add("ABC", [1.0]).json()["total"] == 1
    full = service.client.put("/symbols/XYZ")
    assert full.status_code == 400
    assert "store.max_symbols" in full.json()["detail"]


def test_symbols_come_in_pages(service: Service) -> None:
    """By prefix, so many at a time, from the one on that `next` names; null at the end."""
    for number in range(5):
        service.add(f"ES.{number}", [1.0])
    service.add("NQ", [1.0])
    found: list[list[str]] = []
    after: str | None = ""
    while after is not None:
        page = service.client.get("/symbols", params={"prefix": "ES.", "limit": 2, "after": after}).json()
        found.append([row["symbol"] for row in page["symbols"]])
        after = page["next"]
    assert found == [["ES.0", "ES.1"], ["ES.2", "ES.3"], ["ES.4"]]
    assert [row["symbol"] for row in service.client.get("/symbols?after=ES.4").json()["symbols"]] == ["NQ"]
    for query in ("limit=0", "limit=x", "limit=10001", "sort=1"):
        assert service.client.get(f"/symbols?{query}").status_code == 400


def test_the_command_changes_symbols_under_a_service(service: Service) -> None:
    """Removed, cut, renamed and brought back beside it; it serves what is there at each moment, and stays ready."""
    directory = service.directory
    service.add("ABC", [float(value) for value in range(1, 101)])

    def run(*args: str) -> str:
        done = run_command(directory, *args, store__max_symbols=20)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("truncate", "ABC", "--keep", "10", "--yes") == "ABC: 90 points removed\n"
    row = service.client.get("/symbols/ABC").json()
    assert (row["start"], row["total"]) == (90, 100)
    timed = {"symbol": "T", "values": [1, 2, 3], "times": [1, 2, 3]}
    assert service.client.post("/add_batch", json=timed).status_code == 200
    assert run("truncate", "T", "--before", "1970-01-01T00:00:00.000000003Z", "--yes") == "T: 2 points removed\n"
    assert service.client.get("/stats?symbol=T&k=2").json()["min"] == 3.0
    assert run("rename", "ABC", "XYZ") == "ABC: is XYZ now, with total 100\n"
    assert service.client.get("/stats?symbol=XYZ&k=2").json()["min"] == 91.0
    run("snapshot", "copy")
    assert run("remove", "XYZ", "--yes") == "XYZ: removed\n"
    assert service.client.get("/stats?symbol=XYZ&k=2").status_code == 404
    assert run("restore", "XYZ", "--from", "copy") == "XYZ: restored, with total 100\n"
    assert service.client.get("/stats?symbol=XYZ&k=2").json()["min"] == 91.0
    assert run("create", "NEW") == "NEW: created\n"
    assert run("symbols", "--prefix", "X").splitlines()[1].split()[:4] == ["XYZ", "100", "90", "10"]
    assert service.client.get("/ready").json() == {"status": "ready"}


def test_the_command_asks_before_it_removes(tmp_path: Path) -> None:
    """Without an answer nothing is removed."""
    with Store(tmp_path / "data") as store:
        store.append("ABC", [1.0])
    done = run_command(tmp_path, "remove", "ABC")
    assert done.returncode == 1
    assert "Remove ABC and all its points, for good?" in done.stderr
    with Store(tmp_path / "data", mode="r") as store:
        assert list(store) == ["ABC"]


def files_of(service: Service) -> set[str]:
    """Return what the service has open or mapped of series, gone or not."""
    process = Path("/proc") / str(service.process.pid)
    names = [line.split(maxsplit=5)[5:] for line in (process / "maps").read_text().splitlines()]
    opened = []
    for file in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            opened.append([str(file.readlink())])
    return {name for (name,) in filter(None, names + opened) if name.startswith(f"{service.data_dir}/")}


def _by_hand(service: Service) -> None:
    shutil.rmtree(service.data_dir / "A")


def _by_command(service: Service) -> None:
    assert run_command(service.directory, "remove", "A", "--yes", store__max_symbols=20).returncode == 0


ENDS: dict[str, Callable[[Service], object]] = {
    "DELETE": lambda service: service.client.delete("/symbols/A").raise_for_status(),
    "PATCH": lambda service: service.client.patch("/symbols/A", json={"symbol": "B"}).raise_for_status(),
    "remove": _by_command,
    "rm -r": _by_hand,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_symbol_that_is_gone_takes_no_space_and_no_descriptor(service: Service, end: str) -> None:
    """Though its questions are remembered, in both places, and a stream tells of it."""
    service.add("A", [1.0, 2.0])
    with service.client.stream("GET", "/events?symbol=A") as stream:
        next(stream.iter_raw())
        for _ in range(4):
            assert service.client.get("/stats?symbol=A").json()["total"] == 2
        assert any("/A/" in name for name in files_of(service))
        ENDS[end](service)

        def has_let_go() -> bool:
            service.client.get("/ready")
            return not any("head" in name or "chunk" in name for name in files_of(service))

        wait_until(has_let_go, "the files to be let go of")
        assert service.client.get("/stats?symbol=A").status_code == (503 if end == "rm -r" else 404)
