"""Every example of the OpenAPI document is what a real service says."""

import json
import math
from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from hft_mmap.files.head import Head
from hft_mmap.files.live import FLAG_SYNC_FAILED
from hft_mmap.tree.words import FLAGS
from tests.api.streams.client import ingesting
from tests.api.test_openapi import DOCUMENT, OPERATIONS, resolved
from tests.conftest import StartService
from tests.service import Service, run_command, running_service
from tests.small_disk import SmallDisk

# The opening of a web socket is never answered with 200, so it has no example of an answer but those of its refusals.
ANSWERED = {at: operation for at, operation in OPERATIONS.items() if "200" in operation["responses"]}
EVENTS = "text/event-stream"  # an answer without an end
GETS = sorted(path for path, method in ANSWERED if method == "get")
# What differs from one run to the next, and from one machine to the next.
VOLATILE = {"bytes", "appended_at"}
JSON = {"Content-Type": "application/json"}
HANDSHAKE = {
    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}  # fmt: skip

REFUSED: dict[tuple[str, str, int], dict[str, Any]] = {
    ("/add_batch", "post", 409): {"json": {"symbol": "ABC-USD", "values": [151.9], "offset": 50}},
    ("/add_batch", "post", 413): {"content": bytes(5_000_000), "headers": JSON},
    ("/add_batch", "post", 415): {"data": {"symbol": "ABC-USD"}},
    ("/add_batch", "post", 422): {"json": {"symbol": "ABC-USD", "values": [1, 2, None]}},
    ("/stats", "get", 400): {"params": "symbol=ABC-USD&exponent=1&exponent=1"},
    ("/stats", "get", 404): {"params": "symbol=XYZ"},
    ("/stats", "get", 409): {"params": "symbol=ABC-USD&from=0&to=20"},
    ("/windows", "post", 406): {
        "params": "symbol=ABC-USD",
        "headers": {"Accept": "image/png"},
        "json": {"start": [0], "end": [1]},
    },
    ("/windows", "post", 409): {"params": "symbol=ABC-USD", "json": {"start": [0], "end": [20]}},
    ("/windows", "post", 422): {"params": "symbol=ABC-USD", "json": {"start": [1], "end": [2, 3]}},
    ("/asof", "post", 406): {"params": "symbol=ABC-USD", "headers": {"Accept": "image/png"}, "json": {"time": [1]}},
    ("/quantile", "get", 409): {"params": "symbol=ABC-USD&q=0.5&from=0&to=20"},
    ("/rank", "get", 409): {"params": "symbol=ABC-USD&value=1&from=0&to=20"},
    ("/values", "get", 406): {"params": "symbol=ABC-USD&last=3", "headers": {"Accept": "image/png"}},
    ("/values", "get", 409): {"params": "symbol=ABC-USD&from=500&to=600"},
    ("/stream", "get", 400): {"params": "mode=both"},
    ("/stream", "get", 426): {"params": "mode=stats&symbol=ABC-USD"},
    ("/symbols/{symbol}", "get", 404): {"path": "/symbols/XYZ"},
    ("/symbols/{symbol}", "delete", 404): {"path": "/symbols/XYZ"},
    ("/static/{name}", "get", 404): {"path": "/static/dashboard.exe"},
}


def content(path: str, method: str, status: int) -> dict[str, Any]:
    """Return the media types of one answer."""
    found: dict[str, Any] = resolved(OPERATIONS[path, method]["responses"][str(status)]).get("content", {})
    return found


def examples(media: dict[str, Any]) -> list[Any]:
    """Return the examples of one media type."""
    named = [resolved(one)["value"] for one in media.get("examples", {}).values()]
    return named + ([media["example"]] if "example" in media else [])


def validate(schema: dict[str, Any], value: Any) -> None:
    """Assert that `value` is what `schema` says."""
    jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def assert_alike(actual: Any, example: Any, where: str) -> None:
    """Assert that an answer is the example: names in their order, types and values."""
    if isinstance(example, dict):
        assert list(actual) == list(example), where
        for name, value in example.items():
            if name in VOLATILE:
                assert isinstance(actual[name], type(value)), f"{where}.{name}"
            else:
                assert_alike(actual[name], value, f"{where}.{name}")
    elif isinstance(example, list):
        assert len(actual) == len(example), where
        for i, (one, other) in enumerate(zip(actual, example, strict=True)):
            assert_alike(one, other, f"{where}[{i}]")
    elif isinstance(example, float):
        assert math.isclose(actual, example, rel_tol=1e-12), where
    else:
        assert actual == example, where


def assert_begins(answer: httpx.Response, example: str) -> None:
    """Assert that the first lines of an answer are the example."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, EVENTS)
    expected = example.splitlines()
    for line, actual in zip(expected, islice(answer.iter_lines(), len(expected)), strict=True):
        if line.startswith("data: "):
            assert_alike(json.loads(actual[6:]), json.loads(line[6:]), "data")
        else:
            assert actual == line


@pytest.fixture(scope="module")
def example_service(shared_service: Service) -> Service:
    """Return a service to which the first example of a batch was sent, and nothing else."""
    (batch, *_) = examples(OPERATIONS["/add_batch", "post"]["requestBody"]["content"]["application/json"])
    answer = shared_service.client.post("/add_batch", json=batch)
    assert_alike(answer.json(), examples(content("/add_batch", "post", 200)["application/json"])[0], "/add_batch")
    return shared_service


@pytest.fixture(scope="module")
def tick_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield a service to which the example of ticks was sent, and nothing else."""
    with running_service(tmp_path_factory.mktemp("ticks")) as service:
        examples_of = OPERATIONS["/add_batch", "post"]["requestBody"]["content"]["application/json"]["examples"]
        assert service.client.post("/add_batch", json=examples_of["ticks"]["value"]).is_success
        yield service


@pytest.mark.parametrize("path", GETS)
def test_the_example_of_a_question_gets_the_example_of_its_answer(request: pytest.FixtureRequest, path: str) -> None:
    """Sent with the examples of its parameters, each GET is answered with 200 and, where it shows one, its example."""
    example_service = request.getfixturevalue("tick_service" if path.startswith("/udf/") else "example_service")
    item = DOCUMENT["paths"][path]
    named = [resolved(one) for one in item.get("parameters", []) + item["get"].get("parameters", [])]
    given = {one["name"]: one["example"] for one in named if "example" in one}
    missing = [one["name"] for one in named if one.get("required") and "example" not in one]
    assert not missing
    place = {one["name"]: one["in"] for one in named}
    url = path.format(**{name: value for name, value in given.items() if place[name] == "path"})
    params = {name: value for name, value in given.items() if place[name] == "query"}
    headers = {name: str(value) for name, value in given.items() if place[name] == "header"}
    with example_service.client.stream("GET", url, params=params, headers=headers) as answer:
        if EVENTS in content(path, "get", 200):
            assert_begins(answer, content(path, "get", 200)[EVENTS]["example"])
            return
        answer.read()
    assert answer.status_code == 200, answer.text
    media = content(path, "get", 200).get("application/json")
    for one in examples(content(path, "get", 200).get("text/plain", {})):
        assert one in answer.text
    if media is not None:
        validate(media["schema"], answer.json())
        for example in examples(media):
            assert_alike(answer.json(), example, path)


@pytest.mark.parametrize(("path", "method", "status"), REFUSED)
def test_the_example_of_a_refusal_is_the_refusal(example_service: Service, path: str, method: str, status: int) -> None:
    """Word for word."""
    how = dict(REFUSED[path, method, status])
    answer = example_service.client.request(method, how.pop("path", path), **how)
    assert answer.status_code == status
    (example,) = examples(content(path, method, status)["application/problem+json"])
    assert answer.json() == example


def test_the_example_of_windows_gets_the_example_of_its_answer(example_service: Service) -> None:
    """As its schema says."""
    (asked,) = examples(OPERATIONS["/windows", "post"]["requestBody"]["content"]["application/json"])
    answer = example_service.client.post("/windows?symbol=ABC-USD", json=asked)
    media = content("/windows", "post", 200)["application/json"]
    validate(media["schema"], answer.json())
    assert_alike(answer.json(), examples(media)[0], "/windows")


def test_metrics_in_the_other_format_have_the_example(example_service: Service) -> None:
    """OpenMetrics, where Accept names it."""
    accepted = "application/openmetrics-text"
    answer = example_service.client.get("/metrics", headers={"Accept": accepted})
    assert answer.headers["Content-Type"].startswith(accepted)
    (example,) = examples(content("/metrics", "get", 200)[accepted])
    assert example in answer.text


def test_every_example_of_a_body_is_taken_as_it_stands(service: Service) -> None:
    """One that may be sent again may be; lines are answered with the example of their answer."""
    bodies = OPERATIONS["/add_batch", "post"]["requestBody"]["content"]
    assert [(type_, len(examples(media))) for type_, media in bodies.items() if examples(media)] == [
        ("application/json", 3), ("application/x-ndjson", 1)
    ]  # fmt: skip
    media = content("/add_batch", "post", 200)["application/json"]
    batch, _ticks, again = examples(bodies["application/json"])
    for _ in range(2):
        answer = service.client.post("/add_batch", json=again)
        assert (answer.status_code, answer.json()["total"]) == (200, len(again["values"]))
    assert service.client.post("/add_batch", json=batch).json()["added"] == len(batch["values"])
    (lines,) = examples(bodies["application/x-ndjson"])
    answer = service.client.post("/add_batch", content=lines, headers={"Content-Type": "application/x-ndjson"})
    validate(media["schema"], answer.json())
    assert_alike(answer.json(), examples(media)[1], "lines")


def test_the_life_of_a_symbol_is_answered_as_in_the_examples(service: Service) -> None:
    """Made, there already, in the way of another name, renamed, removed."""

    def answered(method: str, status: int, symbol: str, **options: Any) -> None:
        answer = service.client.request(method, f"/symbols/{symbol}", **options)
        assert answer.status_code == status, answer.text
        kind = "application/json" if status < HTTPStatus.BAD_REQUEST else "application/problem+json"
        media = content("/symbols/{symbol}", method.lower(), status)[kind]
        validate(media["schema"], answer.json())
        assert examples(media) == [answer.json()]

    (new,) = examples(OPERATIONS["/symbols/{symbol}", "patch"]["requestBody"]["content"]["application/json"])
    assert service.client.put("/symbols/ABC-USD").status_code == HTTPStatus.CREATED
    service.add("ABC-USD", [1.0] * 10)
    answered("PUT", 200, "ABC-USD")
    answered("PUT", 201, "XYZ-USD")
    answered("PATCH", 409, "ABC-USD", json=new)
    assert service.client.delete("/symbols/XYZ-USD").status_code == HTTPStatus.OK
    answered("PATCH", 200, "ABC-USD", json=new)
    service.add("ABC-USD", [1.0])
    answered("DELETE", 200, "ABC-USD")


def assert_example(answer: httpx.Response, path: str, method: str, status: int) -> None:
    """Assert that an answer is the only example of this refusal."""
    assert answer.status_code == status, answer.text
    (example,) = examples(content(path, method, status)["application/problem+json"])
    assert answer.json() == example


def test_refusals_for_want_of_a_token(tmp_path: Path, start_service: StartService) -> None:
    """None at all, and one that may not: the same words from a request and from the opening of a WebSocket."""
    made = run_command(tmp_path, "token", "feed-1", "--scope", "write", "--file", "tokens")
    assert made.returncode == 0, made.stderr
    service = start_service(auth__tokens_file="tokens")
    service.client.headers["Authorization"] = f"Bearer {made.stdout.strip()}"
    assert_example(service.client.get("/stats?symbol=ABC-USD&k=1"), "/stats", "get", 403)
    question = "/stream?mode=stats&symbol=ABC-USD"
    assert_example(service.client.get(question, headers=HANDSHAKE), "/stream", "get", 403)
    del service.client.headers["Authorization"]
    assert_example(service.client.get("/stats?symbol=ABC-USD&k=1"), "/stats", "get", 401)
    assert_example(service.client.get(question, headers=HANDSHAKE), "/stream", "get", 401)


def test_one_stream_too_many(start_service: StartService) -> None:
    """As many as the example has are open."""
    service = start_service(server__max_streams=2)
    service.add("ABC-USD", [1.0])
    with ingesting(service, symbol="ABC-USD"), ingesting(service, symbol="ABC-USD"):
        answer = service.client.get("/stream?mode=stats&symbol=ABC-USD", headers=HANDSHAKE)
        assert_example(answer, "/stream", "get", 503)


def test_a_series_that_is_read_only_since_a_sync_failed(start_service: StartService) -> None:
    """Batches are refused with the example."""
    before = start_service()
    before.add("ABC-USD", [1.0] * 1000)
    assert before.stop() == 0
    service = start_service()
    Head(service.data_dir / "ABC-USD", writable=True).store(FLAGS, FLAG_SYNC_FAILED)
    assert_example(service.add("ABC-USD", [1.0]), "/add_batch", "post", 503)


def test_no_space_on_the_disk(start_service: StartService, disk: SmallDisk) -> None:
    """The batch of the example is refused with the example once the disk is full."""
    service = start_service(store__data_dir=disk.path / "data", store__starting_capacity=0)
    (batch, *_) = examples(OPERATIONS["/add_batch", "post"]["requestBody"]["content"]["application/json"])
    answer = service.client.post("/add_batch", json=batch)
    disk.fill()
    while answer.status_code == 200:  # there was room in the last page of the chunk
        answer = service.client.post("/add_batch", json=batch)
    assert_example(answer, "/add_batch", "post", 507)


def test_every_refusal_has_an_example_that_fits() -> None:
    """Its status and title are those of the answer it stands at, and it is what its schema says."""
    for (path, method), operation in OPERATIONS.items():
        for status, response in operation["responses"].items():
            media = resolved(response).get("content", {}).get("application/problem+json")
            if media is None:
                continue
            (example,) = examples(media)
            validate(media["schema"], example)
            shown = (example["status"], example["title"], example["error"])
            assert shown == (int(status), HTTPStatus(int(status)).phrase, example["detail"]), (path, method)


def test_not_ready_as_in_the_example(start_service: StartService, tmp_path: Path) -> None:
    """A series whose chunk is damaged is told as the example tells it."""
    before = start_service()
    before.add("ABC-USD", [1.0])
    assert before.stop() == 0
    chunk = tmp_path / "data" / "ABC-USD" / f"{0:020d}.chunk"
    with chunk.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\0")
    answer = start_service().client.get("/ready")
    (example,) = examples(content("/ready", "get", 503)["application/problem+json"])
    assert list(answer.json()) == list(example)
    assert [list(reason) for reason in answer.json()["reasons"]] == [list(reason) for reason in example["reasons"]]
    assert [reason["code"] for reason in answer.json()["reasons"]] == [reason["code"] for reason in example["reasons"]]
