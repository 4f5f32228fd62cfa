"""The OpenAPI document and the service tell the same story."""

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.app import methods, routes
from api.latency import RequestCounter
from api.metrics import Metrics
from api.settings import Settings
from hft_mmap import Store
from tests.service import ROOT, Service

DOCUMENT: dict[str, Any] = json.loads((ROOT / "api" / "openapi.json").read_text())
OPERATIONS = {
    (path, method): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}

schema = schemathesis.openapi.from_dict(DOCUMENT)


def resolved(node: Any) -> Any:
    """Return `node`, or what it refers to."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


def test_every_route_is_described_and_every_description_has_a_route(tmp_path: Path) -> None:
    """The same paths, and for each the same methods (Falcon itself answers OPTIONS)."""
    with Store(tmp_path) as store:
        served = {
            (path, method.lower())
            for path, resource in routes(store, Settings(), Metrics(store, RequestCounter(), {})).items()
            for method in methods(resource)
            if method != "OPTIONS"
        }
    assert served == set(OPERATIONS)


def test_the_service_serves_the_document(shared_service: Service) -> None:
    """Byte for byte, with its own type."""
    answer = shared_service.client.get("/openapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.content == (ROOT / "api" / "openapi.json").read_bytes()


def test_the_document_is_valid() -> None:
    """By the meta-schema of OpenAPI 3.1."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    schema.validate()


def test_the_limits_are_those_of_the_settings() -> None:
    """What the document says about sizes is what the defaults are."""
    values = DOCUMENT["components"]["schemas"]["Batch"]["properties"]["values"]
    assert values["maxItems"] == Settings().server.max_batch_values


def test_every_refusal_is_a_problem_document() -> None:
    """Each status from 400 that has a body is described as application/problem+json and nothing else."""
    for (path, method), operation in OPERATIONS.items():
        for status, response in operation["responses"].items():
            content = resolved(response).get("content", {})
            if status >= "400" and method != "head":
                assert list(content) == ["application/problem+json"], (path, method, status)
                assert "X-Request-ID" in resolved(response)["headers"], (path, method, status)


@pytest.mark.parametrize("name", ["batch", "exactlyOnce"])
def test_the_examples_of_batches_are_taken(shared_service: Service, name: str) -> None:
    """What the document shows can be sent as it is."""
    body = OPERATIONS["/add_batch", "post"]["requestBody"]["content"]["application/json"]["examples"][name]["value"]
    answer = shared_service.client.post("/add_batch", json=body | {"symbol": f"EXAMPLE-{name}"})
    assert answer.status_code == 200
    assert answer.json()["added"] == len(body["values"])


# A symbol is stricter than JSON Schema can say (64 bytes, no control characters), and of exponent, k and window only
# one may be given: so a request that fits the schema may be refused, but one that does not fit must be.
@schema.parametrize()
@settings(max_examples=100)
def test_generated_requests_are_answered_as_described(case: schemathesis.Case[Any], shared_service: Service) -> None:
    """Valid, broken and absurd requests: no 5xx, a described status, type and body, refused where they do not fit."""
    case.call_and_validate(base_url=shared_service.url, excluded_checks=[positive_data_acceptance])
