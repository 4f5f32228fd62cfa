"""`.ci/check_docs.py` finds each kind of fault that it is there for."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.service import ROOT

CONFIG = "[server]\nport = 8080\n"
ROW = "| `server.port` | `8080` | `APP_SERVER__PORT` | where to listen |"
OPENAPI: dict[str, dict[str, object]] = {"/stats": {"get": {}, "head": {}}, "/files/{name}": {"put": {}}}


def load() -> ModuleType:
    """Return the script as a module; `.ci` is no package."""
    spec = importlib.util.spec_from_file_location("check_docs", ROOT / ".ci" / "check_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_docs = load()


def faults_of(directory: Path, text: str) -> list[str]:
    """Return the faults of a document with that text, less their lines."""
    page = directory / "page.md"
    page.write_text(text, encoding="utf-8")
    return [fault for _, fault in check_docs.faults(page)]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("# A heading, and more\n\n[up](#a-heading-and-more) [self](page.md) [far](https://example.com/)\n", []),
        ("[x](missing.md)\n", ["link leads nowhere: missing.md"]),
        ("[x](#nothing)\n", ["no such heading: #nothing"]),
        ("`[x](missing.md)`\n", []),
        ("```json\n{]\n```\n", ["json block does not parse: Expecting property name"]),
        ("```python\nx =\n```\n", ["python block does not parse: invalid syntax"]),
        ("```text\n", ["code block is never closed"]),
        ("x" * 121 + "\n", ["121 characters, 120 at most"]),
        ("|" + "x" * 121 + "|\n", []),
        ("x \n", ["space at the end of the line"]),
    ],
)
def test_faults_of_a_page(tmp_path: Path, text: str, faults: list[str]) -> None:
    """Links and anchors, code that does not parse, long lines; a row of a table may be long."""
    found = faults_of(tmp_path, text)
    assert len(found) == len(faults)
    assert all(one.startswith(fault) for one, fault in zip(found, faults, strict=True))


@pytest.mark.parametrize(
    ("table", "faults"),
    [
        (ROW, []),
        ("", ["no table has the setting server.port of config.toml"]),
        (ROW.replace("8080", "9090"), ["server.port is 8080 in config.toml, not 9090"]),
        (ROW.replace("__PORT", "_PORT"), ["the variable of server.port is APP_SERVER__PORT, not APP_SERVER_PORT"]),
        (f"{ROW}\n{ROW.replace('port', 'prot').replace('PORT', 'PROT')}", ["config.toml has no server.prot"]),
    ],
)
def test_the_table_of_settings_is_held_against_config_toml(table: str, faults: list[str]) -> None:
    """A key that is missing, too many, renamed, or has another default."""
    assert [fault for _, fault in check_docs.setting_faults(table, CONFIG)] == faults


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("GET /stats/ and `HEAD /stats`, curl http://127.0.0.1:8080/stats/?symbol=A", []),
        ("the service is on <http://127.0.0.1:8080>", []),
        ("GET /statistics", ["no such route: /statistics"]),
        ("curl http://127.0.0.1:8080/stat?symbol=A", ["no such route: /stat"]),
        ("POST /stats", ["/stats has no POST"]),
        ("`PUT /files/{name}`, curl -X PUT http://127.0.0.1:8080/files/A%2FB", []),
        ("DELETE /files/A", ["/files/A has no DELETE"]),
    ],
)
def test_routes_that_a_document_names_exist(text: str, faults: list[str]) -> None:
    """In prose and in commands, with the method where there is one."""
    assert [fault for _, fault in check_docs.route_faults(text, OPENAPI)] == faults


def test_routes_that_a_document_leaves_out_are_found() -> None:
    """The page on HTTP names every route there is."""
    assert list(check_docs.missing_routes("GET /stats, PUT /files/{name}", OPENAPI)) == []
    assert list(check_docs.missing_routes("PUT /files/{name}", OPENAPI)) == [(1, "the route /stats is not in here")]
