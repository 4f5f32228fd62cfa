"""The API page: everything the document has is on it, and works."""

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.test_dashboard import faults
from tests.service import ROOT, Service

DOCUMENT: dict[str, Any] = json.loads((ROOT / "api" / "openapi.json").read_text())
OPERATIONS = [
    (path, method)
    for path, item in DOCUMENT["paths"].items()
    for method in item
    if method in {"get", "post", "put", "delete"}
]


@pytest.mark.parametrize("width", [360, 1280])
def test_every_operation_and_every_answer_is_there(filled: Service, open_page: OpenPage, width: int) -> None:
    """With its parameters; nothing sticks out."""
    opened = open_page(f"{filled.url}/docs", viewport={"width": width, "height": 900})
    sections = opened.page.locator(".operation")
    expect(sections).to_have_count(len(OPERATIONS))
    texts = sections.all_inner_texts()
    for path, method in OPERATIONS:
        (text,) = [text for text in texts if text.startswith(f"{method.upper()}\n{path}\n")]
        for status in DOCUMENT["paths"][path][method]["responses"]:
            assert status in text
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    opened.keep(f"docs-{width}")


def test_axe_has_nothing_to_say(filled: Service, open_page: OpenPage) -> None:
    """About the page as it opens, by the rules of WCAG."""
    opened = open_page(f"{filled.url}/docs")
    expect(opened.page.locator(".operation")).to_have_count(len(OPERATIONS))
    assert faults(opened) == []


def test_a_request_can_be_tried(filled: Service, open_page: OpenPage) -> None:
    """Filled in by hand, sent, answered; a refusal is shown as well."""
    opened = open_page(f"{filled.url}/docs/#get-stats", expected_errors=True)
    section = opened.page.locator("#get-stats")
    section.get_by_text("Try it").click()
    section.locator("[name='query:symbol']").fill("EUR/USD")
    section.get_by_role("button", name="Send").click()
    expect(section.locator(".answer")).to_contain_text("200 OK")
    expect(section.locator(".answer")).to_contain_text('"avg"')
    section.locator("[name='query:symbol']").fill("NO")
    section.get_by_role("button", name="Send").click()
    expect(section.locator(".answer")).to_contain_text("Symbol not found: NO")


def test_operations_can_be_found_by_a_word(filled: Service, open_page: OpenPage) -> None:
    """What does not have it disappears, from the list of contents too."""
    opened = open_page(f"{filled.url}/docs")
    expect(opened.page.locator(".operation")).to_have_count(len(OPERATIONS))
    opened.page.get_by_label("Find").fill("buckets")
    expect(opened.page.locator(".operation:visible")).to_have_count(1)
    expect(opened.page.locator("#links li:visible")).to_have_count(1)
