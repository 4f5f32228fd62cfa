"""The API page: everything the document has is on it, and works."""

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.browser.conftest import Opened, OpenPage
from tests.browser.test_dashboard import faults, make_token
from tests.browser.test_screen import SMALL
from tests.conftest import StartService
from tests.service import PATIENCE_S, ROOT, Service

TryIt: TypeAlias = Callable[..., tuple[Opened, Locator]]

DOCUMENT: dict[str, Any] = json.loads((ROOT / "api" / "routes" / "openapi.json").read_text())
OPERATIONS = [
    (path, method)
    for path, item in DOCUMENT["paths"].items()
    for method in item
    if method in {"get", "post", "put", "patch", "delete"}
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


def test_what_the_document_says_is_written_for_people(filled: Service, open_page: OpenPage) -> None:
    """Code looks like code, bounds are those of the document, and an answer to a question speaks of no batch."""
    page = open_page(f"{filled.url}/docs").page
    sections = page.locator(".operation")
    expect(sections).to_have_count(len(OPERATIONS))
    text = page.locator("main").text_content() or ""
    for section in sections.all():
        prose = section.evaluate("node => [...node.querySelectorAll('p, td, summary')].map(one => one.textContent)")
        assert [words for words in prose if "`" in words] == []
    assert "9223372036854776000" not in text
    assert "to 2⁶³" in text
    assert "any characters" not in text
    refused = page.locator("#get-stats details", has_text="400").first
    assert "Arrow" not in (refused.text_content() or "")


def test_axe_has_nothing_to_say(filled: Service, open_page: OpenPage) -> None:
    """About the page as it opens, by the rules of WCAG; about its colours in the other theme as well."""
    opened = open_page(f"{filled.url}/docs", color_scheme="light")
    expect(opened.page.locator(".operation")).to_have_count(len(OPERATIONS))
    assert faults(opened) == []
    opened.page.emulate_media(color_scheme="dark")
    assert faults(opened, "color-contrast") == []


def test_a_telephone_has_the_list_folded(filled: Service, open_page: OpenPage) -> None:
    """So that what is looked for is near; a link of the list leads there, and all can be touched by a finger."""
    opened = open_page(f"{filled.url}/docs", viewport={"width": 390, "height": 844})
    page = opened.page
    expect(page.locator(".operation")).to_have_count(len(OPERATIONS))
    first = page.locator(".operation").first.bounding_box()
    assert first is not None
    assert first["y"] < 844
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(SMALL) == []
    page.get_by_text("Endpoints", exact=True).click()
    assert page.evaluate(SMALL) == []
    page.locator("#links a[href='#get-bars']").click()
    expect(page.locator("#get-bars h3")).to_be_in_viewport()
    expect(page.locator("#links")).to_be_hidden()
    assert faults(opened) == []


@pytest.fixture
def try_it(filled: Service, open_page: OpenPage) -> TryIt:
    """Return how to open the form of one operation, which is given by the name of its section."""

    def open_(name: str, url: str = filled.url, **options: Any) -> tuple[Opened, Locator]:
        permissions = ["clipboard-read", "clipboard-write"]
        opened = open_page(f"{url}/docs#{name}", expected_errors=True, permissions=permissions, **options)
        section = opened.page.locator(f"#{name}")
        section.get_by_text("Try it").click()
        return opened, section

    return open_


def send(section: Locator) -> Locator:
    """Send what the form says; return where the answer will be."""
    section.get_by_role("button", name="Send").click()
    return section.locator(".answer")


def run_copied(opened: Opened, section: Locator, button: str = "Copy as curl", **variables: str) -> tuple[str, str]:
    """Copy the command that a form offers, and run it in a shell; return the command and what it prints."""
    section.get_by_role("button", name=button).click()
    expect(opened.page.locator("#toast")).to_have_text("Copied")
    command: str = opened.page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run(
        ["/bin/bash", "-c", command], env=os.environ | variables, input="", capture_output=True, text=True,
        timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    return command, done.stdout


def test_every_kind_of_body_can_be_sent(shared_service: Service, try_it: TryIt, symbol: str, tmp_path: Path) -> None:
    """JSON and lines as text, with their examples; what is no text from a file. The command sends the same."""
    opened, section = try_it("post-add_batch", shared_service.url)
    section.get_by_label("Body").fill(json.dumps({"symbol": symbol, "values": [1, 2]}))
    expect(send(section)).to_contain_text('"total": 2')
    assert json.loads(run_copied(opened, section)[1])["total"] == 4
    section.get_by_label("Content type").select_option("application/x-ndjson")
    expect(section.get_by_label("Body")).to_have_value(re.compile("EUR/USD.*\n.*GBP/USD"))
    section.get_by_label("Body").fill(f'{{"symbol":"{symbol}","values":[3]}}\n{{"symbol":"{symbol}","values":[-1]}}\n')
    expect(send(section)).to_contain_text('"status": "partial"')
    lines = json.loads(run_copied(opened, section)[1])["lines"]
    assert [line["status"] for line in lines] == [200, 400]
    section.get_by_label("Content type").select_option("application/octet-stream")
    expect(section.get_by_label("Body")).to_be_hidden()
    file = tmp_path / "prices.f64"
    file.write_bytes(struct.pack("<2d", 4.5, 5.5))
    section.get_by_label("File").set_input_files(file)
    section.locator("[name='query:symbol']").fill(symbol)
    expect(send(section)).to_contain_text('"total": 8')
    assert shared_service.client.get(f"/values?symbol={symbol}&last=2").json()["values"] == [4.5, 5.5]
    section.get_by_role("button", name="Copy as curl").click()
    command: str = opened.page.evaluate("navigator.clipboard.readText()")
    assert "--data-binary '@prices.f64'" in command


def test_a_path_is_filled_in(try_it: TryIt) -> None:
    """And a long answer is cut, which the page says."""
    opened, section = try_it("get-static-name")
    section.locator("[name='path:name']").fill("uplot.js")
    expect(send(section)).to_contain_text("200 OK")
    expect(section.locator(".answer")).to_contain_text("Cut: the first 20,000 characters are shown.")
    section.locator("[name='path:name']").fill("a b.js")
    expect(send(section)).to_contain_text("No such file: 'a b.js'")
    assert "/static/a%20b.js" in run_copied(opened, section)[0]


def test_what_is_no_text_is_not_shown_as_text(try_it: TryIt) -> None:
    """Its size is."""
    _, section = try_it("get-values")
    section.locator("[name='query:symbol']").fill("EUR/USD")
    section.locator("[name='query:last']").fill("3")
    section.locator("[name='query:format']").fill("raw")
    expect(send(section)).to_contain_text("24 bytes, which are no text")


def test_a_stream_is_shown_as_it_comes_and_left_after_two_seconds(try_it: TryIt) -> None:
    """Events do not end, and the page says that it is not all of them."""
    opened, section = try_it("get-events", before=lambda page: page.clock.install())
    section.locator("[name='query:symbol']").fill("EUR/USD")
    expect(send(section)).to_contain_text("data: {")
    expect(section.locator(".answer")).not_to_contain_text("Cut")
    opened.page.clock.run_for(2000)
    expect(section.locator(".answer")).to_contain_text("Cut after 2 s; the answer had not ended.")


@pytest.mark.parametrize(("name", "stored"), [("get-symbols", False), ("post-add_batch", True)])
def test_no_answer_is_told_for_what_it_is(try_it: TryIt, name: str, *, stored: bool) -> None:
    """The page waits no longer; a batch that it sent may be stored."""
    held: list[Route] = []
    asked = re.compile(r"/(symbols|add_batch)(\?|$)")
    opened, section = try_it(name, before=lambda page: page.clock.install())
    opened.page.route(asked, lambda route: held.append(route))  # noqa: PLW0108 - playwright marks it
    with opened.page.expect_request(asked):
        answer = send(section)
    opened.page.clock.run_for(2000)
    expect(answer).to_contain_text("Nothing came within 2 s, and this page waits no longer.")
    assert ("may have been carried out" in answer.inner_text()) == stored
    opened.page.unroute_all(behavior="ignoreErrors")


def test_a_web_socket_is_opened_by_the_command_that_is_copied(filled: Service, try_it: TryIt) -> None:
    """The page has no button for it, and says why."""
    opened, section = try_it("get-stream")
    expect(section).to_contain_text("A WebSocket stays open")
    expect(section.get_by_role("button", name="Send")).to_have_count(0)
    section.locator("[name='query:mode']").fill("ingest")
    section.locator("[name='query:symbol']").fill("EUR/USD")
    section.get_by_role("button", name="Copy as command").click()
    command: str = opened.page.evaluate("navigator.clipboard.readText()")
    assert command == f"python -m websockets 'ws://127.0.0.1:{filled.port}/stream?mode=ingest&symbol=EUR%2FUSD'"
    done = subprocess.run(
        ["/bin/bash", "-c", command.replace("python", sys.executable, 1)], input="", capture_output=True, text=True,
        timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert "Connected to" in done.stdout


def test_a_token_goes_with_the_request_and_not_into_the_command(
    start_service: StartService, try_it: TryIt, tmp_path: Path
) -> None:
    """Refused without one; the command takes it from the environment."""
    token = make_token(tmp_path, tmp_path / "tokens")
    opened, section = try_it("get-symbols", url=start_service(auth__tokens_file="tokens").url)
    expect(send(section)).to_contain_text("A token is needed")
    opened.page.get_by_label("Token").fill(token)
    expect(send(section)).to_contain_text("200 OK")
    command, printed = run_copied(opened, section, TOKEN=token)
    assert token not in command
    assert json.loads(printed) == {"symbols": []}


def test_operations_can_be_found_by_a_word(filled: Service, open_page: OpenPage) -> None:
    """What does not have it disappears, from the list of contents too."""
    opened = open_page(f"{filled.url}/docs")
    expect(opened.page.locator(".operation")).to_have_count(len(OPERATIONS))
    opened.page.get_by_label("Find").fill("buckets")
    expect(opened.page.locator(".operation:visible")).to_have_count(1)
    expect(opened.page.locator("#links li:visible")).to_have_count(1)
